with

zones as (

    select * from {{ source('bronze', 'mobility_taxi_zones') }}

),

final as (

    select
        location_id as zone_id,
        borough,
        zone,
        service_zone
    from zones

)

select * from final
