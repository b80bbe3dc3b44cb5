with

final as (

    {{ sales_accounts(
        source('bronze', 'sales_customers'),
        ref('sales_customers__current'),
        ref('sales_customers'),
        ref('sales_customers__rejected'),
        'customer_id'
    ) }}

)

select * from final
