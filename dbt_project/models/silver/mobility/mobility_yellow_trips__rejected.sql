with

conformed as (

    select * from {{ ref('mobility_yellow_trips__conformed') }}

),

final as (

    select
        reject_reason,
        {{ trip_columns() }}
    from conformed
    where reject_reason is not null

)

select * from final
