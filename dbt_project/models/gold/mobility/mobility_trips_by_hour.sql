-- depends_on: {{ ref('mobility_yellow_trips__accounting') }}
-- depends_on: {{ ref('mobility_green_trips__accounting') }}
-- depends_on: {{ ref('mobility_fhv_trips__accounting') }}

with

trips as (

    select
        service,
        pickup_hour,
        total_amount
    from {{ ref('mobility_yellow_trips') }}
    where {{ every_month('source_month') }}
    union all
    select
        service,
        pickup_hour,
        total_amount
    from {{ ref('mobility_green_trips') }}
    where {{ every_month('source_month') }}
    union all
    select
        service,
        pickup_hour,
        total_amount
    from {{ ref('mobility_fhv_trips') }}
    where {{ every_month('source_month') }}

),

final as (

    select
        service,
        pickup_hour,
        count(*) as trips,
        {{ money('sum(total_amount)') }} as revenue
    from trips
    group by 1, 2

)

select * from final
