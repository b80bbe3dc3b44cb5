{#-
  What the star of the sales shares: keys, unknown members, and which months of the fact a run makes anew.
-#}

{#- The key of a dimension's member: 60 bits of the MD5 of its natural key, the same on both engines and in every run. -#}
{% macro surrogate_key(columns) -%}
    {%- set texts = [] -%}
    {%- for column in columns -%}{%- do texts.append("cast(" ~ column ~ " as " ~ dbt.type_string() ~ ")") -%}{%- endfor -%}
    {{ integer_from_hex(md5_hex(texts | join(" || '|' || "))) }}
{%- endmacro %}

{#- The key of what is unknown. -#}
{% macro unknown_member(keys) -%}
    {%- for key in keys -%}-1 as {{ key }}{{ ', ' if not loop.last }}{%- endfor -%}
{%- endmacro %}

{#- No day, as one. -#}
{% macro no_date() %}cast(null as date){% endmacro %}

{#- The day as yyyymmdd. -#}
{% macro date_key(day) -%}
    cast(extract(year from {{ day }}) * 10000 + extract(month from {{ day }}) * 100 + extract(day from {{ day }}) as bigint)
{%- endmacro %}

{#- Aggregate: how many rows hold the condition. -#}
{% macro count_where(condition) %}cast(sum(case when {{ condition }} then 1 else 0 end) as bigint){% endmacro %}

{#- `column` is one of `days`, written out: scans prune by them. No days: none; none given: it may be any. -#}
{% macro is_one_of(column, days) -%}
    {%- if days is none -%}
        true
    {%- elif days -%}
        {{ column }} in ({% for day in days %}date '{{ day }}'{{ ', ' if not loop.last }}{% endfor %})
    {%- else -%}
        {{ column }} is null
    {%- endif -%}
{%- endmacro %}

{#-
  The months of the fact that a run makes anew, as ISO days; none: all of them, for the table is built anew. They are
  - the present and the former month of each line that changed in the window, and of each line of an invoice that did;
  - those with a line whose customer, service or employee was unknown, and is known now; or the other way round, for a newer version
    of it may break a rule;
  - those with an invoice whose customer, in the version of its day, or whose status is another one now, however that was missed.
-#}
{% macro invoice_months() -%}
    {%- if not (execute and is_incremental()) -%}{{ return(none) }}{%- endif -%}
    {%- set query -%}
        with

        changed_lines as (select line_id, invoice_id from {{ ref('sales_invoice_lines__current') }} where {{ in_days() }}),

        changed_invoices as (select invoice_id from {{ ref('sales_invoices__current') }} where {{ in_days() }}),

        months as (
            select coalesce({{ month_start('invoices.issued_on') }}, date '1900-01-01') as invoice_month
            from (
                select invoice_id from changed_lines
                union distinct
                select invoice_id from changed_invoices
            ) as changed
            left join {{ ref('sales_invoices') }} as invoices on changed.invoice_id = invoices.invoice_id
            union distinct
            select invoice_month
            from {{ this }}
            where
                line_id in (select line_id from changed_lines)
                or invoice_id in (select invoice_id from changed_invoices)
            union distinct
            select fact.invoice_month
            from {{ this }} as fact
            inner join {{ ref('sales_invoices') }} as invoices on fact.invoice_id = invoices.invoice_id
            left join {{ ref('sales_dim_customer') }} as customers
                on
                    invoices.customer_id = customers.customer_id
                    and invoices.issued_on >= customers.valid_from
                    and invoices.issued_on < customers.valid_to
            where fact.customer_key <> coalesce(customers.customer_key, -1) or fact.invoice_status <> invoices.status
            union distinct
            select fact.invoice_month
            from {{ this }} as fact
            inner join {{ ref('sales_invoice_lines') }} as fact_lines on fact.line_id = fact_lines.line_id
            where
                (fact.service_key = -1 and fact_lines.service_id in (select service_id from {{ ref('sales_dim_service') }}))
                or (fact.employee_key = -1 and fact_lines.employee_id in (select employee_id from {{ ref('sales_dim_employee') }}))
            union distinct
            select invoice_month
            from {{ this }}
            where
                date_key not in (select date_key from {{ ref('sales_dim_date') }})
                or due_date_key not in (select date_key from {{ ref('sales_dim_date') }})
                or customer_key not in (select customer_key from {{ ref('sales_dim_customer') }})
                or service_key not in (select service_key from {{ ref('sales_dim_service') }})
                or employee_key not in (select employee_key from {{ ref('sales_dim_employee') }})
        )

        select invoice_month from months order by 1
    {%- endset -%}
    {%- set days = [] -%}
    {%- for day in run_query(query).columns[0].values() -%}{%- do days.append((day | string)[:10]) -%}{%- endfor -%}
    {{ return(days) }}
{%- endmacro %}

{#- The fact adds up, month by month and to the cent, to what the source's invoices say by themselves, less what is listed as missing:
    lines in quarantine, and what an invoice's own lines lack. So a line that is lost after silver, or counted twice, shows here; one
    that never came to silver is in the list, which `adds_up` looks at. -#}
{% test reconciles_to_source(model, totals) %}
    select
        coalesce(facts.invoice_month, source.invoice_month) as invoice_month,
        facts.net_amount,
        source.net_amount as source_net_amount,
        facts.tax_amount,
        source.tax_amount as source_tax_amount
    from (
        select
            invoice_month,
            sum(net_amount) as net_amount,
            sum(tax_amount) as tax_amount
        from {{ model }}
        group by invoice_month
    ) as facts
    full outer join (
        select
            invoice_month,
            sum(header_net - rejected_net - difference_net) as net_amount,
            sum(header_tax - rejected_tax - difference_tax) as tax_amount
        from {{ totals }}
        group by invoice_month
    ) as source on facts.invoice_month = source.invoice_month
    where
        coalesce(facts.net_amount, 0) <> coalesce(source.net_amount, 0)
        or coalesce(facts.tax_amount, 0) <> coalesce(source.tax_amount, 0)
{% endtest %}

{#- Invoices whose lines do not add up to what they say by themselves. -#}
{% test adds_up(model) %}
    select * from {{ model }} where difference_net <> 0 or difference_tax <> 0
{% endtest %}
