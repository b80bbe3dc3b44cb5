-- depends_on: {{ ref('membership_top_ups') }}
-- depends_on: {{ ref('membership_top_ups__accounting') }}
-- depends_on: {{ ref('membership_user_activity__accounting') }}
-- depends_on: {{ ref('membership_channel_settlements__accounting') }}
-- depends_on: {{ ref('membership_channel_settlements__crosscheck') }}

with

final as (

    select
        settlement_date,
        channel_code,
        top_up_count,
        gross_amount,
        deduction_rate,
        platform_fee,
        tax,
        deductions,
        net_amount
    from {{ ref('membership_channel_settlements') }}

)

select * from final
