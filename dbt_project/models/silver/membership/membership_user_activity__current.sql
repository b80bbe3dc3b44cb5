with

staged as (

    select * from {{ ref('membership_user_activity__staged') }}
    where recency = 1

),

final as (

    select
        *,
        case
            when level_rank is null then 'unknown_level'
            when logins < 0 or watch_minutes < 0 or gifts_sent < 0 or topup_page_views < 0 then 'negative_count'
            -- a mistyped year would stretch every week to it, and end the history of levels
            when activity_date > source_day then 'later_than_workbook'
        end as reject_reason
    from staged

)

select * from final
