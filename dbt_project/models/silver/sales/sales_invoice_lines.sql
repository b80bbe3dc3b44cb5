with

final as (

    select
        line_id,
        invoice_id,
        line_number,
        contract_id,
        service_id,
        employee_id,
        description,
        quantity,
        unit_price,
        discount_amount,
        net_amount,
        tax_amount,
        updated_at,
        source_day
    from {{ ref('sales_invoice_lines__current') }}
    where reject_reason is null

)

select * from final
