with

trips as (

    {{ distinct_rows(source('bronze', 'mobility_yellow_trips'), ref('mobility_yellow_trips__duplicates'), trip_keys('yellow')) }}

),

renamed as (

    select
        {{ row_id(source('bronze', 'mobility_yellow_trips')) }} as trip_id,
        tpep_pickup_datetime as pickup_at,
        tpep_dropoff_datetime as dropoff_at,
        PULocationID as pickup_zone_id,
        DOLocationID as dropoff_zone_id,
        passenger_count,
        trip_distance as trip_distance_miles,
        fare_amount,
        tip_amount,
        total_amount,
        payment_type,
        source_month
    from trips

),

final as (

    {{ conformed_trips('renamed', 'yellow') }}

)

select * from final
