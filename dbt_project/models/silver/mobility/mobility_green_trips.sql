with

conformed as (

    {{ conformed_green_trips() }}

),

final as (

    select {{ trip_columns() }}
    from conformed
    where reject_reason is null

)

select * from final
