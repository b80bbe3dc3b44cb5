-- depends_on: {{ ref('membership_top_ups__accounting') }}
-- depends_on: {{ ref('membership_user_activity__accounting') }}
-- depends_on: {{ ref('membership_channel_settlements__accounting') }}
-- depends_on: {{ ref('membership_channel_settlements__crosscheck') }}

with

activity as (

    select * from {{ ref('membership_user_activity') }}

),

changes as (

    select
        user_id,
        activity_date,
        membership_level,
        lag(membership_level) over (partition by user_id order by activity_date) as level_before
    from activity

),

since as (

    select
        user_id,
        max(activity_date) as level_since
    from changes
    where level_before is null or level_before <> membership_level
    group by user_id

),

spans as (

    select
        user_id,
        min(registered_on) as registered_on,
        min(activity_date) as first_active_on,
        max(activity_date) as last_active_on
    from activity
    group by user_id

),

topups as (

    select
        user_id,
        count(*) as topups,
        sum(amount) as topup_amount
    from {{ ref('membership_top_ups') }}
    where status = 'succeeded'
    group by user_id

),

final as (

    select
        spans.user_id,
        activity.nickname,
        spans.registered_on,
        spans.first_active_on,
        spans.last_active_on,
        activity.membership_level,
        activity.level_rank,
        since.level_since,
        coalesce(topups.topups, 0) as topups,
        {{ money('coalesce(topups.topup_amount, 0)') }} as topup_amount
    from spans
    inner join activity
        on spans.user_id = activity.user_id and spans.last_active_on = activity.activity_date
    inner join since on spans.user_id = since.user_id
    left join topups on spans.user_id = topups.user_id

)

select * from final
