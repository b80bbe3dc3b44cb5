with

staged as (

    select * from {{ ref('membership_top_ups__staged') }}
    where recency = 1

),

final as (

    select
        *,
        {{ topup_day_segment('topup_hour') }} as topup_day_segment,
        case
            when status not in ('succeeded', 'failed', 'refunded') then 'unknown_status'
            -- amounts are added up: there is one currency
            when currency is null or currency <> 'TWD' then 'unknown_currency'
            when amount is null or amount < 0 then 'invalid_amount'
            when diamonds < 0 then 'invalid_diamonds'
            -- a mistyped year would stretch every week to it
            when topup_date > source_day then 'later_than_workbook'
        end as reject_reason
    from staged

)

select * from final
