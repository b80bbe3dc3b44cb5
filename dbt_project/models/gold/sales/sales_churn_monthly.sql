-- depends_on: {{ ref('sales_contracts__accounting') }}
-- depends_on: {{ ref('sales_customers__accounting') }}
-- depends_on: {{ ref('sales_invoices__accounting') }}
-- depends_on: {{ ref('sales_payments__accounting') }}
-- depends_on: {{ ref('sales_employees__accounting') }}

with

contracts as (

    select * from {{ ref('sales_contracts') }}
    where not (coalesce(status, '') = 'cancelled' and ends_on is null)

),

-- how far the data goes: contracts end by themselves, so the newest change of one does not tell
changes as (

    select source_day from {{ ref('sales_contracts') }}
    union all
    select source_day from {{ ref('sales_invoices') }}
    union all
    select source_day from {{ ref('sales_payments') }}

),

bounds as (

    select
        (select min(starts_on) from contracts) as first_start,
        max(source_day) as newest
    from changes

),

-- months that contracts have seen, to the month of the newest change; of that one the days that are over
calendar as (

    select
        days.month_start,
        max(days.date_day) as last_day
    from {{ ref('sales_dim_date') }} as days
    cross join bounds
    where days.date_day between {{ month_start('bounds.first_start') }} and bounds.newest
    group by days.month_start

),

running as (

    select
        calendar.month_start,
        contracts.customer_id,
        sum(coalesce(contracts.monthly_amount, 0)) as mrr
    from contracts
    inner join calendar
        on
            contracts.starts_on <= calendar.last_day
            and (contracts.ends_on is null or contracts.ends_on >= calendar.last_day)
    group by calendar.month_start, contracts.customer_id

),

first_months as (

    select
        customer_id,
        min(month_start) as first_month
    from running
    group by customer_id

),

months as (

    select
        month_start,
        customer_id
    from running
    union distinct
    select
        {{ next_month('month_start') }} as month_start,
        customer_id
    from running

),

-- a customer in a month in which it has contracts, or had some in the month before
states as (

    select
        months.month_start,
        months.customer_id,
        coalesce(before.mrr, 0) as mrr_before,
        coalesce(now.mrr, 0) as mrr_now,
        before.customer_id is not null as was_customer,
        now.customer_id is not null as is_customer,
        before.customer_id is not null and now.customer_id is not null as stays,
        months.month_start = first_months.first_month as is_first
    from months
    inner join calendar on months.month_start = calendar.month_start
    inner join first_months on months.customer_id = first_months.customer_id
    left join running as now on months.month_start = now.month_start and months.customer_id = now.customer_id
    left join running as before
        on months.month_start = {{ next_month('before.month_start') }} and months.customer_id = before.customer_id

),

counted as (

    select
        states.month_start,
        coalesce(customers.segment, 'unknown') as segment,
        {{ count_where('was_customer') }} as customers_at_start,
        {{ count_where('is_first') }} as new_customers,
        {{ count_where('was_customer and not is_customer') }} as churned_customers,
        {{ count_where('is_customer and not was_customer and not is_first') }} as returned_customers,
        {{ count_where('is_customer') }} as customers_at_end,
        {{ money('sum(mrr_before)') }} as mrr_at_start,
        {{ money('sum(case when not was_customer then mrr_now else 0 end)') }} as mrr_new,
        {{ money('sum(case when stays and mrr_now > mrr_before then mrr_now - mrr_before else 0 end)') }} as mrr_expansion,
        {{ money('sum(case when stays and mrr_now < mrr_before then mrr_before - mrr_now else 0 end)') }} as mrr_contraction,
        {{ money('sum(case when not is_customer then mrr_before else 0 end)') }} as mrr_churned,
        {{ money('sum(mrr_now)') }} as mrr_at_end
    from states
    left join {{ ref('sales_dim_customer') }} as customers on states.customer_id = customers.customer_id and customers.is_current
    group by states.month_start, coalesce(customers.segment, 'unknown')

),

final as (

    select
        month_start,
        segment,
        customers_at_start,
        new_customers,
        churned_customers,
        returned_customers,
        customers_at_end,
        {{ double('churned_customers') }} / nullif(customers_at_start, 0) as churn_rate,
        mrr_at_start,
        mrr_new,
        mrr_expansion,
        mrr_contraction,
        mrr_churned,
        mrr_at_end
    from counted

)

select * from final
