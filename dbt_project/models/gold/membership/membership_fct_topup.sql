-- depends_on: {{ ref('membership_top_ups__accounting') }}
-- depends_on: {{ ref('membership_user_activity__accounting') }}
-- depends_on: {{ ref('membership_channel_settlements__accounting') }}
-- depends_on: {{ ref('membership_channel_settlements__crosscheck') }}

with

final as (

    select
        top_up_id,
        user_id,
        channel_code,
        topup_date,
        paid_at,
        topup_hour,
        topup_day_segment,
        is_repeat_topup,
        status,
        amount,
        {{ money("case when status = 'succeeded' then amount else 0 end") }} as paid_amount,
        diamonds,
        payment_method
    from {{ ref('membership_top_ups') }}

)

select * from final
