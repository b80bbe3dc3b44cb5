with

topups as (

    select
        topup_date,
        channel_code,
        count(*) as orders,
        sum(case when status = 'succeeded' then 1 else 0 end) as paid_orders,
        count(distinct case when status = 'succeeded' then user_id end) as paying_users,
        sum(case when status = 'succeeded' and is_repeat_topup then 1 else 0 end) as repeat_orders,
        sum(paid_amount) as paid_amount
    from {{ ref('membership_fct_topup') }}
    group by topup_date, channel_code

),

settlements as (

    select * from {{ ref('membership_fct_channel_settlement') }}

),

joined as (

    select
        coalesce(topups.topup_date, settlements.settlement_date) as topup_date,
        coalesce(topups.channel_code, settlements.channel_code) as channel_code,
        coalesce(topups.orders, 0) as orders,
        coalesce(topups.paid_orders, 0) as paid_orders,
        coalesce(topups.paying_users, 0) as paying_users,
        coalesce(topups.repeat_orders, 0) as repeat_orders,
        coalesce(topups.paid_amount, 0) as paid_amount,
        settlements.deductions,
        settlements.net_amount
    from topups
    full outer join settlements
        on topups.topup_date = settlements.settlement_date and topups.channel_code = settlements.channel_code

),

final as (

    select
        joined.topup_date,
        joined.channel_code,
        channels.channel_name,
        channels.channel_type,
        joined.orders,
        cast(joined.paid_orders as bigint) as paid_orders,
        joined.paying_users,
        cast(joined.repeat_orders as bigint) as repeat_orders,
        {{ money('joined.paid_amount') }} as paid_amount,
        joined.deductions,
        joined.net_amount
    from joined
    left join {{ ref('membership_dim_channels') }} as channels on joined.channel_code = channels.channel_code

)

select * from final
