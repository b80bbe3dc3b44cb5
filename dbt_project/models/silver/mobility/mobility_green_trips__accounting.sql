with

final as (

    {{ row_accounts(
        'green',
        source('bronze', 'mobility_green_trips'),
        ref('mobility_green_trips'),
        ref('mobility_green_trips__rejected'),
        ref('mobility_green_trips__duplicates')
    ) }}

)

select * from final
