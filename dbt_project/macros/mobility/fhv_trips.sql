{#- For-hire vehicle trips of the window, each once, renamed and typed, with the reason for rejection if there is one. -#}
{% macro conformed_fhv_trips() -%}
    with

    trips as (

        {{ distinct_rows(source('bronze', 'mobility_fhv_trips'), ref('mobility_fhv_trips__duplicates'), trip_keys('fhv')) }}

    ),

    renamed as (

        select
            *,
            pickup_datetime as pickup_at,
            dropOff_datetime as dropoff_at,
            -- the service may leave the zone open; 264 is the TLC's "unknown"
            coalesce(PUlocationID, 264) as pickup_zone_id,
            DOlocationID as dropoff_zone_id,
            cast(null as bigint) as passenger_count,
            {{ double('null') }} as trip_distance_miles,
            {{ double('null') }} as fare_amount,
            {{ double('null') }} as tip_amount,
            {{ double('null') }} as total_amount,
            cast(null as bigint) as payment_type
        from trips

    ),

    final as (

        {{ conformed_trips('renamed', 'fhv', source('bronze', 'mobility_fhv_trips')) }}

    )

    select * from final
{%- endmacro %}
