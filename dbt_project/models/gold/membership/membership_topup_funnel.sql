with

topups as (

    select
        topup_date as activity_date,
        user_id,
        max(case when status = 'succeeded' then 1 else 0 end) as has_paid,
        max(case when status = 'succeeded' and is_repeat_topup then 1 else 0 end) as has_paid_again
    from {{ ref('membership_fct_topup') }}
    group by topup_date, user_id

),

activity as (

    select
        activity_date,
        user_id,
        topup_page_views
    from {{ ref('membership_fct_user_activity') }}

),

-- who orders has seen the page and was active, whatever the day's statistics missed: no stage is larger than the one before
users as (

    select
        coalesce(activity.activity_date, topups.activity_date) as activity_date,
        case when activity.topup_page_views > 0 or topups.user_id is not null then 1 else 0 end as has_visited,
        case when topups.user_id is not null then 1 else 0 end as has_attempted,
        coalesce(topups.has_paid, 0) as has_paid,
        coalesce(topups.has_paid_again, 0) as has_paid_again
    from activity
    full outer join topups on activity.activity_date = topups.activity_date and activity.user_id = topups.user_id

),

daily as (

    select
        activity_date,
        count(*) as active,
        sum(has_visited) as visited,
        sum(has_attempted) as attempted,
        sum(has_paid) as paid,
        sum(has_paid_again) as paid_again
    from users
    group by activity_date

),

final as (

    select
        activity_date,
        cast(1 as bigint) as stage_order,
        '1 active' as stage,
        cast(active as bigint) as users
    from daily
    union all
    select
        activity_date,
        cast(2 as bigint) as stage_order,
        '2 visited page' as stage,
        cast(visited as bigint) as users
    from daily
    union all
    select
        activity_date,
        cast(3 as bigint) as stage_order,
        '3 attempted' as stage,
        cast(attempted as bigint) as users
    from daily
    union all
    select
        activity_date,
        cast(4 as bigint) as stage_order,
        '4 paid' as stage,
        cast(paid as bigint) as users
    from daily
    union all
    select
        activity_date,
        cast(5 as bigint) as stage_order,
        '5 paid again' as stage,
        cast(paid_again as bigint) as users
    from daily

)

select * from final
