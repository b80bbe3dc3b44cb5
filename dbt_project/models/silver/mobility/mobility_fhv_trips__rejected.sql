with

conformed as (

    {{ conformed_fhv_trips() }}

),

final as (

    select
        reject_reason,
        {{ trip_columns() }}
    from conformed
    where reject_reason is not null

)

select * from final
