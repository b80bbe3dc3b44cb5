with

activity as (

    select
        user_id,
        activity_date,
        {{ week_start('activity_date') }} as week_start,
        membership_level,
        level_rank
    from {{ ref('membership_fct_user_activity') }}

),

-- a user's level of a week is that of his last day in it
levels as (

    select *
    from activity
    qualify row_number() over (partition by user_id, week_start order by activity_date desc) = 1

),

firsts as (

    select
        user_id,
        min(week_start) as first_week
    from levels
    group by user_id

),

weeks as (

    select
        week_start,
        lag(week_start) over (order by week_start) as week_before
    from (select distinct week_start from {{ ref('membership_dim_dates') }}) as known

),

here as (

    select
        weeks.week_start,
        levels.user_id,
        levels.membership_level,
        levels.level_rank
    from weeks
    inner join levels on weeks.week_start = levels.week_start

),

there as (

    select
        weeks.week_start,
        levels.user_id,
        levels.membership_level,
        levels.level_rank
    from weeks
    inner join levels on weeks.week_before = levels.week_start

),

moved as (

    select
        coalesce(here.week_start, there.week_start) as week_start,
        there.membership_level as from_level,
        here.membership_level as to_level,
        case
            when here.user_id is null then 'dropped_off'
            when there.user_id is null and firsts.first_week = here.week_start then 'joined'
            when there.user_id is null then 'returned'
            when here.level_rank > there.level_rank then 'upgraded'
            when here.level_rank < there.level_rank then 'downgraded'
            else 'stayed'
        end as movement
    from here
    full outer join there on here.week_start = there.week_start and here.user_id = there.user_id
    left join firsts on here.user_id = firsts.user_id

),

final as (

    select
        week_start,
        movement,
        from_level,
        to_level,
        count(*) as users
    from moved
    group by week_start, movement, from_level, to_level

)

select * from final
