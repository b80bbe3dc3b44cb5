with

final as (

    {{ repeated_rows(source('bronze', 'mobility_fhv_trips'), trip_keys('fhv')) }}

)

select * from final
