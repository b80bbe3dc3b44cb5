with

trips as (

    {{ distinct_rows(source('bronze', 'mobility_green_trips'), ref('mobility_green_trips__duplicates'), trip_keys('green')) }}

),

renamed as (

    select
        {{ row_id(source('bronze', 'mobility_green_trips')) }} as trip_id,
        lpep_pickup_datetime as pickup_at,
        lpep_dropoff_datetime as dropoff_at,
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

    {{ conformed_trips('renamed', 'green') }}

)

select * from final
