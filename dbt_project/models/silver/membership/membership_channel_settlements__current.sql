with

staged as (

    select * from {{ ref('membership_channel_settlements__staged') }}
    where recency = 1

),

final as (

    select
        *,
        case
            when report = 'pre' and channel_type not in ('app_store', 'web', 'carrier', 'bank') then 'unknown_channel_type'
            when report = 'pre' and (gross_amount is null or gross_amount < 0) then 'invalid_amount'
            when top_up_count < 0 then 'negative_count'
            when report = 'post' and (net_amount is null or platform_fee < 0 or tax < 0) then 'invalid_amount'
            when not deduction_rate between 0 and 1 then 'invalid_rate'
            -- a mistyped year would stretch every week to it
            when settlement_date > source_day then 'later_than_workbook'
        end as reject_reason
    from staged

)

select * from final
