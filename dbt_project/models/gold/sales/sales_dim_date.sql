-- depends_on: {{ ref('sales_invoices__accounting') }}
-- depends_on: {{ ref('sales_payments__accounting') }}
-- depends_on: {{ ref('sales_contracts__accounting') }}

with

days as (

    select
        issued_on as day,
        source_day
    from {{ ref('sales_invoices') }}
    union all
    select
        due_on as day,
        source_day
    from {{ ref('sales_invoices') }}
    union all
    select
        paid_on as day,
        source_day
    from {{ ref('sales_payments') }}
    union all
    select
        starts_on as day,
        source_day
    from {{ ref('sales_contracts') }}

),

loaded as (

    select
        min(extract(year from source_day)) as first_year,
        max(extract(year from source_day)) as last_year
    from days

),

-- a mistyped year stretches the calendar by ten years at the most
sane as (

    select days.day
    from days
    cross join loaded
    where extract(year from days.day) between loaded.first_year - 10 and loaded.last_year + 10

),

bounds as (

    select
        min(day) as first_day,
        max(day) as last_day
    from sane

),

spine as (

    {{ days_within('bounds') }}

),

final as (

    select
        {{ date_key('date_day') }} as date_key,
        date_day,
        cast(extract(year from date_day) as bigint) as year,
        cast(extract(quarter from date_day) as bigint) as quarter,
        cast(extract(month from date_day) as bigint) as month,
        {{ month_start('date_day') }} as month_start,
        {{ week_start('date_day') }} as week_start,
        cast({{ day_of_week('date_day') }} as bigint) as day_of_week,
        {{ day_of_week('date_day') }} >= 6 as is_weekend
    from spine
    union all
    select
        {{ unknown_member(['date_key']) }},
        date '1900-01-01' as date_day,
        null as year,
        null as quarter,
        null as month,
        date '1900-01-01' as month_start,
        date '1900-01-01' as week_start,
        null as day_of_week,
        null as is_weekend

)

select * from final
