{#- Green taxi trips of the window, each once, renamed and typed, with the reason for rejection if there is one. -#}
{% macro conformed_green_trips() -%}
    with

    trips as (

        {{ distinct_rows(source('bronze', 'mobility_green_trips'), ref('mobility_green_trips__duplicates'), trip_keys('green')) }}

    ),

    renamed as (

        select
            *,
            lpep_pickup_datetime as pickup_at,
            lpep_dropoff_datetime as dropoff_at,
            PULocationID as pickup_zone_id,
            DOLocationID as dropoff_zone_id,
            trip_distance as trip_distance_miles
        from trips

    ),

    final as (

        {{ conformed_trips('renamed', 'green', source('bronze', 'mobility_green_trips')) }}

    )

    select * from final
{%- endmacro %}
