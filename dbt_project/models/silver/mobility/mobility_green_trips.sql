with

conformed as (

    select * from {{ ref('mobility_green_trips__conformed') }}

),

final as (

    select {{ trip_columns() }}
    from conformed
    where reject_reason is null

)

select * from final
