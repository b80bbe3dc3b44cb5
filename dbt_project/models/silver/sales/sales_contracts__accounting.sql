with

final as (

    {{ sales_accounts(
        source('bronze', 'sales_contracts'),
        ref('sales_contracts__current'),
        ref('sales_contracts'),
        ref('sales_contracts__rejected'),
        'contract_id'
    ) }}

)

select * from final
