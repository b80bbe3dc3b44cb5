with

op_stats as (

    select * from {{ source('bronze', 'membership_op_stats') }}
    where {{ every_month('source_day') }}

),

final as (

    select
        activity_date,
        user_id,
        nickname,
        registered_on,
        membership_level,
        cast({{ membership_level_rank('membership_level') }} as bigint) as level_rank,
        logins,
        {{ rounded('watch_minutes') }} as watch_minutes,
        gifts_sent,
        topup_page_views,
        {{ workbook_place() }},
        {{ newest_first(['activity_date', 'user_id']) }} as recency
    from op_stats

)

select * from final
