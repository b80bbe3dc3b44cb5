-- depends_on: {{ ref('mobility_yellow_trips__accounting') }}
-- depends_on: {{ ref('mobility_green_trips__accounting') }}
-- depends_on: {{ ref('mobility_fhv_trips__accounting') }}

with

trips as (

    select
        service,
        pickup_date,
        pickup_zone_id,
        total_amount,
        trip_distance_miles,
        duration_seconds,
        source_month
    from {{ ref('mobility_yellow_trips') }}
    where {{ in_window() }}
    union all
    select
        service,
        pickup_date,
        pickup_zone_id,
        total_amount,
        trip_distance_miles,
        duration_seconds,
        source_month
    from {{ ref('mobility_green_trips') }}
    where {{ in_window() }}
    union all
    select
        service,
        pickup_date,
        pickup_zone_id,
        total_amount,
        trip_distance_miles,
        duration_seconds,
        source_month
    from {{ ref('mobility_fhv_trips') }}
    where {{ in_window() }}

),

zones as (

    select * from {{ ref('mobility_taxi_zones') }}

),

days as (

    select
        service,
        pickup_date,
        pickup_zone_id,
        source_month,
        count(*) as trips,
        sum(total_amount) as revenue,
        -- distances are added as decimals, whose sum does not depend on the order of the rows
        {{ double('sum(' ~ decimal('trip_distance_miles', 4) ~ ')') }} / count(trip_distance_miles) as avg_distance_miles,
        {{ double('sum(duration_seconds)') }} / count(*) as avg_duration_seconds,
        {{ percentile_disc('duration_seconds', 0.95) }} as p95_duration_seconds
    from trips
    group by 1, 2, 3, 4

),

final as (

    select
        days.service,
        days.pickup_date,
        days.pickup_zone_id,
        zones.borough,
        zones.zone,
        days.trips,
        {{ money('days.revenue') }} as revenue,
        round(days.avg_distance_miles, 4) as avg_distance_miles,
        round(days.avg_duration_seconds, 4) as avg_duration_seconds,
        cast(days.p95_duration_seconds as bigint) as p95_duration_seconds,
        days.source_month
    from days
    left join zones on days.pickup_zone_id = zones.zone_id

)

select * from final
