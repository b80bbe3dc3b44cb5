with

topups as (

    select
        topup_date,
        channel_code,
        count(*) as topups,
        sum(amount) as topup_amount
    from {{ ref('membership_top_ups') }}
    where status = 'succeeded'
    group by topup_date, channel_code

),

settled as (

    select * from {{ ref('membership_channel_settlements') }}
    where has_pre and has_post

),

final as (

    select
        settled.settlement_date,
        settled.channel_code,
        settled.top_up_count,
        coalesce(topups.topups, 0) as topups,
        settled.gross_amount,
        {{ money('coalesce(topups.topup_amount, 0)') }} as topup_amount,
        settled.deductions,
        settled.net_amount,
        settled.top_up_count - coalesce(topups.topups, 0) as count_gap,
        {{ money('settled.gross_amount - coalesce(topups.topup_amount, 0)') }} as gross_gap,
        {{ money('settled.net_amount - (coalesce(topups.topup_amount, 0) - settled.deductions)') }} as net_gap
    from settled
    left join topups
        on settled.settlement_date = topups.topup_date and settled.channel_code = topups.channel_code

)

select * from final
