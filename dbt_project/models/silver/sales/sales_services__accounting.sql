with

final as (

    {{ sales_accounts(
        source('bronze', 'sales_services'),
        ref('sales_services__current'),
        ref('sales_services'),
        ref('sales_services__rejected'),
        'service_id'
    ) }}

)

select * from final
