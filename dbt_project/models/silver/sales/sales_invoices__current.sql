with

newest as (

    {{ newest_rows(source('bronze', 'sales_invoices'), 'invoice_id', [
        'invoice_id',
        'invoice_number',
        'customer_id',
        'issued_on',
        'due_on',
        'status',
        'net_total',
        'tax_total',
        'updated_at'
    ]) }}

),

final as (

    select
        *,
        cast(updated_at as date) as source_day,
        case
            when coalesce(status, '') not in ('open', 'paid', 'void') then 'unknown_status'
            when due_on < issued_on then 'due_before_issue'
        end as reject_reason
    from newest

)

select * from final
