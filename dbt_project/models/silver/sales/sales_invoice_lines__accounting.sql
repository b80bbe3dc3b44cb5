with

final as (

    {{ sales_accounts(
        source('bronze', 'sales_invoice_lines'),
        ref('sales_invoice_lines__current'),
        ref('sales_invoice_lines'),
        ref('sales_invoice_lines__rejected'),
        'line_id'
    ) }}

)

select * from final
