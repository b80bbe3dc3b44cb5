with

conformed as (

    {{ conformed_fhv_trips() }}

),

final as (

    select {{ trip_columns() }}
    from conformed
    where reject_reason is null

)

select * from final
