with

final as (

    select
        activity_date,
        user_id,
        nickname,
        registered_on,
        membership_level,
        level_rank,
        coalesce(logins, 0) as logins,
        coalesce(watch_minutes, 0) as watch_minutes,
        coalesce(gifts_sent, 0) as gifts_sent,
        coalesce(topup_page_views, 0) as topup_page_views,
        source_day
    from {{ ref('membership_user_activity__current') }}
    where reject_reason is null

)

select * from final
