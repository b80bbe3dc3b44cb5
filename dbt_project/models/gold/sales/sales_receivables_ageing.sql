-- depends_on: {{ ref('sales_invoices__accounting') }}
-- depends_on: {{ ref('sales_payments__accounting') }}
-- depends_on: {{ ref('sales_customers__accounting') }}

with

invoices as (

    select * from {{ ref('sales_invoices') }}

),

payments as (

    select * from {{ ref('sales_payments') }}

),

last_day as (

    select max(source_day) as as_of
    from (
        select source_day from invoices
        union all
        select source_day from payments
    ) as days

),

paid as (

    select
        payments.invoice_id,
        sum(payments.amount) as amount
    from payments
    cross join last_day
    where payments.paid_on <= last_day.as_of
    group by payments.invoice_id

),

balances as (

    select
        last_day.as_of,
        invoices.customer_id,
        invoices.net_total + invoices.tax_total - coalesce(paid.amount, 0) as balance,
        {{ days_from('coalesce(invoices.due_on, invoices.issued_on)', 'last_day.as_of') }} as days_overdue
    from invoices
    cross join last_day
    left join paid on invoices.invoice_id = paid.invoice_id
    where invoices.status <> 'void' and invoices.issued_on <= last_day.as_of

),

bucketed as (

    select
        balances.as_of,
        balances.balance,
        coalesce(customers.segment, 'unknown') as segment,
        case
            when balances.days_overdue <= 0 then '0 not due'
            when balances.days_overdue <= 30 then '1 1-30 days'
            when balances.days_overdue <= 60 then '2 31-60 days'
            when balances.days_overdue <= 90 then '3 61-90 days'
            else '4 over 90 days'
        end as bucket
    from balances
    left join {{ ref('sales_dim_customer') }} as customers
        on balances.customer_id = customers.customer_id and customers.is_current
    where balances.balance <> 0

),

final as (

    select
        as_of,
        bucket,
        segment,
        {{ count_where('balance > 0') }} as invoices,
        {{ money('sum(case when balance > 0 then balance else 0 end)') }} as outstanding_amount,
        {{ money('sum(case when balance < 0 then -balance else 0 end)') }} as overpaid_amount
    from bucketed
    group by as_of, bucket, segment

)

select * from final
