with

newest as (

    {{ newest_rows(source('bronze', 'sales_invoice_lines'), 'line_id', [
        'line_id',
        'invoice_id',
        'line_number',
        'contract_id',
        'service_id',
        'employee_id',
        'description',
        'quantity',
        'unit_price',
        'discount_amount',
        'net_amount',
        'tax_amount',
        'updated_at'
    ]) }}

),

final as (

    select
        *,
        cast(updated_at as date) as source_day,
        case
            when quantity = 0 then 'invalid_quantity'
            when abs(net_amount - (quantity * unit_price - coalesce(discount_amount, 0))) > 0.01 then 'net_mismatch'
        end as reject_reason
    from newest

)

select * from final
