with

valid as (

    select
        invoice_id,
        {{ money('sum(net_amount)') }} as lines_net,
        {{ money('sum(tax_amount)') }} as lines_tax
    from {{ ref('sales_invoice_lines') }}
    group by invoice_id

),

rejected as (

    select
        invoice_id,
        {{ money('sum(net_amount)') }} as rejected_net,
        {{ money('sum(tax_amount)') }} as rejected_tax
    from {{ ref('sales_invoice_lines__rejected') }}
    group by invoice_id

),

invoices as (

    select * from {{ ref('sales_invoices') }}

),

ids as (

    select invoice_id from invoices
    union distinct
    select invoice_id from valid
    union distinct
    select invoice_id from rejected

),

joined as (

    select
        ids.invoice_id,
        invoices.invoice_id is not null as is_known,
        coalesce({{ month_start('invoices.issued_on') }}, date '1900-01-01') as invoice_month,
        coalesce(invoices.net_total, 0) as header_net,
        coalesce(invoices.tax_total, 0) as header_tax,
        coalesce(valid.lines_net, 0) as lines_net,
        coalesce(valid.lines_tax, 0) as lines_tax,
        coalesce(rejected.rejected_net, 0) as rejected_net,
        coalesce(rejected.rejected_tax, 0) as rejected_tax
    from ids
    left join invoices on ids.invoice_id = invoices.invoice_id
    left join valid on ids.invoice_id = valid.invoice_id
    left join rejected on ids.invoice_id = rejected.invoice_id

),

final as (

    select
        *,
        {{ money('header_net - lines_net - rejected_net') }} as difference_net,
        {{ money('header_tax - lines_tax - rejected_tax') }} as difference_tax
    from joined

)

select * from final
