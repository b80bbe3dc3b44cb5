with

final as (

    select
        invoice_id,
        invoice_number,
        customer_id,
        issued_on,
        due_on,
        status,
        net_total,
        tax_total,
        updated_at,
        source_day
    from {{ ref('sales_invoices__current') }}
    where reject_reason is null

)

select * from final
