with

active as (

    select distinct
        user_id,
        {{ week_start('activity_date') }} as week_start
    from {{ ref('membership_fct_user_activity') }}

),

cohorts as (

    select
        user_id,
        min(week_start) as cohort_week
    from active
    group by user_id

),

sizes as (

    select
        cohort_week,
        count(*) as cohort_users
    from cohorts
    group by cohort_week

),

weeks as (

    select distinct week_start
    from {{ ref('membership_dim_dates') }}

),

returned as (

    select
        cohorts.cohort_week,
        active.week_start,
        count(*) as active_users
    from active
    inner join cohorts on active.user_id = cohorts.user_id
    group by cohorts.cohort_week, active.week_start

),

final as (

    select
        sizes.cohort_week,
        cast({{ weeks_from('sizes.cohort_week', 'weeks.week_start') }} as bigint) as week_number,
        sizes.cohort_users,
        coalesce(returned.active_users, 0) as active_users
    from sizes
    inner join weeks on sizes.cohort_week <= weeks.week_start
    left join returned
        on sizes.cohort_week = returned.cohort_week and weeks.week_start = returned.week_start

)

select * from final
