with

final as (

    {{ row_accounts(
        'yellow',
        source('bronze', 'mobility_yellow_trips'),
        ref('mobility_yellow_trips'),
        ref('mobility_yellow_trips__rejected'),
        ref('mobility_yellow_trips__duplicates')
    ) }}

)

select * from final
