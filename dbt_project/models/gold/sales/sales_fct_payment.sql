-- depends_on: {{ ref('sales_payments__accounting') }}
-- depends_on: {{ ref('sales_invoices__accounting') }}

with

payments as (

    select * from {{ ref('sales_payments') }}

),

final as (

    select
        payments.payment_id,
        payments.invoice_id,
        payments.paid_on,
        coalesce(days.date_key, -1) as date_key,
        coalesce(customers.customer_key, -1) as customer_key,
        payments.amount,
        payments.method,
        payments.reference
    from payments
    left join {{ ref('sales_invoices') }} as invoices on payments.invoice_id = invoices.invoice_id
    left join {{ ref('sales_dim_date') }} as days on payments.paid_on = days.date_day
    left join {{ ref('sales_dim_customer') }} as customers
        on
            invoices.customer_id = customers.customer_id
            and payments.paid_on >= customers.valid_from
            and payments.paid_on < customers.valid_to

)

select * from final
