-- depends_on: {{ ref('membership_top_ups') }}
-- depends_on: {{ ref('membership_top_ups__accounting') }}
-- depends_on: {{ ref('membership_user_activity__accounting') }}
-- depends_on: {{ ref('membership_channel_settlements__accounting') }}
-- depends_on: {{ ref('membership_channel_settlements__crosscheck') }}

with

final as (

    select
        activity_date,
        user_id,
        membership_level,
        level_rank,
        logins,
        watch_minutes,
        gifts_sent,
        topup_page_views
    from {{ ref('membership_user_activity') }}

)

select * from final
