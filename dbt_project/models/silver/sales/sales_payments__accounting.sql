with

final as (

    {{ sales_accounts(
        source('bronze', 'sales_payments'),
        ref('sales_payments__current'),
        ref('sales_payments'),
        ref('sales_payments__rejected'),
        'payment_id'
    ) }}

)

select * from final
