-- depends_on: {{ ref('sales_invoice_lines__accounting') }}
-- depends_on: {{ ref('sales_invoices__accounting') }}
-- depends_on: {{ ref('sales_services__accounting') }}
-- depends_on: {{ ref('sales_invoice_lines__current') }}
-- depends_on: {{ ref('sales_invoices__current') }}

with

lines as (

    select * from {{ ref('sales_invoice_lines') }}

),

-- the customer as of the day of the invoice; a day that is out of the calendar is unknown
invoices as (

    select
        invoices.invoice_id,
        invoices.invoice_number,
        invoices.issued_on,
        {{ month_start('invoices.issued_on') }} as invoice_month,
        invoices.status,
        coalesce(issued.date_key, -1) as date_key,
        coalesce(due.date_key, -1) as due_date_key,
        coalesce(customers.customer_key, -1) as customer_key
    from {{ ref('sales_invoices') }} as invoices
    left join {{ ref('sales_dim_date') }} as issued on invoices.issued_on = issued.date_day
    left join {{ ref('sales_dim_date') }} as due on invoices.due_on = due.date_day
    left join {{ ref('sales_dim_customer') }} as customers
        on
            invoices.customer_id = customers.customer_id
            and invoices.issued_on >= customers.valid_from
            and invoices.issued_on < customers.valid_to

),

final as (

    select
        lines.line_id,
        lines.invoice_id,
        invoices.invoice_number,
        lines.line_number,
        coalesce(invoices.invoice_month, date '1900-01-01') as invoice_month,
        invoices.issued_on,
        coalesce(invoices.date_key, -1) as date_key,
        coalesce(invoices.due_date_key, -1) as due_date_key,
        coalesce(invoices.customer_key, -1) as customer_key,
        coalesce(services.service_key, -1) as service_key,
        coalesce(employees.employee_key, -1) as employee_key,
        lines.contract_id,
        coalesce(invoices.status, 'unknown') as invoice_status,
        lines.quantity,
        lines.unit_price,
        coalesce(lines.discount_amount, 0) as discount_amount,
        lines.net_amount,
        lines.tax_amount,
        {{ money('lines.net_amount + lines.tax_amount') }} as gross_amount
    from lines
    left join invoices on lines.invoice_id = invoices.invoice_id
    left join {{ ref('sales_dim_service') }} as services on lines.service_id = services.service_id
    left join {{ ref('sales_dim_employee') }} as employees on lines.employee_id = employees.employee_id
    where {{ is_one_of("coalesce(invoices.invoice_month, date '1900-01-01')", invoice_months()) }}

)

select * from final
