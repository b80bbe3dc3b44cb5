with

final as (

    {{ repeated_rows(source('bronze', 'mobility_yellow_trips'), trip_keys('yellow')) }}

)

select * from final
