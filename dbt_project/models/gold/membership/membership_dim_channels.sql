-- depends_on: {{ ref('membership_top_ups') }}
-- depends_on: {{ ref('membership_top_ups__accounting') }}
-- depends_on: {{ ref('membership_user_activity__accounting') }}
-- depends_on: {{ ref('membership_channel_settlements__accounting') }}
-- depends_on: {{ ref('membership_channel_settlements__crosscheck') }}

with

settlements as (

    select * from {{ ref('membership_channel_settlements') }}

),

spans as (

    select
        channel_code,
        min(settlement_date) as first_settled_on,
        max(settlement_date) as last_settled_on,
        max(case when has_pre then settlement_date end) as named_on
    from settlements
    group by channel_code

),

final as (

    select
        spans.channel_code,
        settlements.channel_name,
        settlements.channel_type,
        spans.first_settled_on,
        spans.last_settled_on
    from spans
    left join settlements
        on spans.channel_code = settlements.channel_code and spans.named_on = settlements.settlement_date

)

select * from final
