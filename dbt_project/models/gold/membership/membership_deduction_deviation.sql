with

checked as (

    select * from {{ ref('membership_channel_settlements__crosscheck') }}

),

settlements as (

    select * from {{ ref('membership_fct_channel_settlement') }}

),

expected as (

    select
        settlement_date,
        channel_code,
        {{ rounded('gross_amount * deduction_rate') }} as expected_deductions
    from settlements

),

final as (

    select
        checked.settlement_date,
        checked.channel_code,
        channels.channel_name,
        checked.gross_amount,
        checked.deductions,
        checked.net_amount,
        checked.topup_amount,
        expected.expected_deductions,
        {{ money('checked.deductions - expected.expected_deductions') }} as deviation,
        checked.net_gap as settlement_gap,
        abs(checked.net_gap) <= 0.01 as is_within_tolerance
    from checked
    inner join expected
        on checked.settlement_date = expected.settlement_date and checked.channel_code = expected.channel_code
    left join {{ ref('membership_dim_channels') }} as channels on checked.channel_code = channels.channel_code

)

select * from final
