-- depends_on: {{ ref('membership_top_ups__accounting') }}
-- depends_on: {{ ref('membership_user_activity__accounting') }}
-- depends_on: {{ ref('membership_channel_settlements__accounting') }}
-- depends_on: {{ ref('membership_channel_settlements__crosscheck') }}

with

days as (

    select topup_date as day from {{ ref('membership_top_ups') }}
    union all
    select activity_date as day from {{ ref('membership_user_activity') }}
    union all
    select settlement_date as day from {{ ref('membership_channel_settlements') }}

),

bounds as (

    select
        min(day) as first_day,
        max(day) as last_day
    from days

),

spine as (

    {{ days_within('bounds') }}

),

final as (

    select
        date_day,
        cast(extract(year from date_day) as bigint) as year,
        cast(extract(quarter from date_day) as bigint) as quarter,
        cast(extract(month from date_day) as bigint) as month,
        {{ week_start('date_day') }} as week_start,
        cast({{ day_of_week('date_day') }} as bigint) as day_of_week,
        {{ day_of_week('date_day') }} >= 6 as is_weekend
    from spine

)

select * from final
