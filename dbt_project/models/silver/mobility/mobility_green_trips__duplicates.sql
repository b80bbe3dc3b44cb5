with

final as (

    {{ repeated_rows(source('bronze', 'mobility_green_trips'), trip_keys('green')) }}

)

select * from final
