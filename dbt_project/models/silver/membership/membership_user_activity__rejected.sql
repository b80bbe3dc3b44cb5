with

final as (

    select
        reject_reason,
        activity_date,
        user_id,
        registered_on,
        membership_level,
        logins,
        watch_minutes,
        gifts_sent,
        topup_page_views,
        {{ workbook_place() }}
    from {{ ref('membership_user_activity__current') }}
    where reject_reason is not null

)

select * from final
