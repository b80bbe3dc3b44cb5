{#- Yellow taxi trips of the window, each once, renamed and typed, with the reason for rejection if there is one. -#}
{% macro conformed_yellow_trips() -%}
    with

    trips as (

        {{ distinct_rows(source('bronze', 'mobility_yellow_trips'), ref('mobility_yellow_trips__duplicates'), trip_keys('yellow')) }}

    ),

    renamed as (

        select
            *,
            tpep_pickup_datetime as pickup_at,
            tpep_dropoff_datetime as dropoff_at,
            PULocationID as pickup_zone_id,
            DOLocationID as dropoff_zone_id,
            trip_distance as trip_distance_miles
        from trips

    ),

    final as (

        {{ conformed_trips('renamed', 'yellow', source('bronze', 'mobility_yellow_trips')) }}

    )

    select * from final
{%- endmacro %}
