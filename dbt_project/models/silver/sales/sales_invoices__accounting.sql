with

final as (

    {{ sales_accounts(
        source('bronze', 'sales_invoices'),
        ref('sales_invoices__current'),
        ref('sales_invoices'),
        ref('sales_invoices__rejected'),
        'invoice_id'
    ) }}

)

select * from final
