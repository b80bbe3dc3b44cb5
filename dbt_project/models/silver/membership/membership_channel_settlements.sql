with

valid as (

    select * from {{ ref('membership_channel_settlements__current') }}
    where reject_reason is null

),

side_by_side as (

    select
        settlement_date,
        channel_code,
        max(channel_name) as channel_name,
        max(channel_type) as channel_type,
        max(top_up_count) as top_up_count,
        max(gross_amount) as gross_amount,
        max(deduction_rate) as deduction_rate,
        max(case when report = 'post' then coalesce(platform_fee, 0) end) as platform_fee,
        max(case when report = 'post' then coalesce(tax, 0) end) as tax,
        max(net_amount) as net_amount,
        max(case when report = 'pre' then 1 else 0 end) as pre_lines,
        max(case when report = 'post' then 1 else 0 end) as post_lines,
        max(source_day) as source_day
    from valid
    group by settlement_date, channel_code

),

final as (

    select
        settlement_date,
        channel_code,
        channel_name,
        channel_type,
        top_up_count,
        gross_amount,
        deduction_rate,
        platform_fee,
        tax,
        {{ money('platform_fee + tax') }} as deductions,
        net_amount,
        pre_lines > 0 as has_pre,
        post_lines > 0 as has_post,
        source_day
    from side_by_side

)

select * from final
