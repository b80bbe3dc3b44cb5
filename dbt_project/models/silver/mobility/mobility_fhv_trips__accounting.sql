with

final as (

    {{ row_accounts(
        'fhv',
        source('bronze', 'mobility_fhv_trips'),
        ref('mobility_fhv_trips'),
        ref('mobility_fhv_trips__rejected'),
        ref('mobility_fhv_trips__duplicates')
    ) }}

)

select * from final
