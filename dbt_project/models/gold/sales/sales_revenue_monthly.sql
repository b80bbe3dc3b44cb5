with

lines as (

    select * from {{ ref('sales_fct_invoice_line') }}
    where invoice_status not in ('void', 'unknown')

),

final as (

    select
        lines.invoice_month as revenue_month,
        services.category,
        customers.segment,
        {{ money('sum(lines.net_amount)') }} as net_revenue,
        {{ money('sum(lines.discount_amount)') }} as discount_amount,
        count(distinct lines.invoice_id) as invoices,
        count(*) as lines,
        count(distinct customers.customer_id) as customers
    from lines
    inner join {{ ref('sales_dim_service') }} as services on lines.service_key = services.service_key
    inner join {{ ref('sales_dim_customer') }} as customers on lines.customer_key = customers.customer_key
    group by 1, 2, 3

)

select * from final
