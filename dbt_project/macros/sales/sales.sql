{#-
  What the models of the sales share. Bronze holds every version of a row that a load has seen, by the month of its change; a run
  looks at the days of its window, and one without a first day at all of them: it builds its tables anew.
-#}

{#- The window of days as a predicate on bronze: whole months, by which scans prune, and the days in them. -#}
{% macro changed_in_window() -%}
    {%- set bounds = window_bounds('day') -%}
    {%- if bounds['from'] is none -%}
        {{ every_month('source_month') }}
    {%- else -%}
        {%- set months = {'from': bounds['from'][:7] ~ '-01', 'to': bounds['to'][:7] ~ '-01' if bounds['to'] is not none else none} -%}
        {{ between_bounds('source_month', months) }} and {{ between_bounds('cast(updated_at as date)', bounds) }}
    {%- endif -%}
{%- endmacro %}

{#- Whether the model is one of the sales' that a run without a first day builds anew. (dbt asks this itself, of incremental
    models; the rest is its own macro.) -#}
{% macro should_full_refresh() -%}
    {%- set wanted = config.get('full_refresh') -%}
    {%- if wanted is none -%}
        {%- set wanted = flags.FULL_REFRESH -%}
    {%- endif -%}
    {%- set partitions = (config.get('meta') or {}).get('lakegraph', {}).get('partitions') -%}
    {{ return(wanted or (partitions == 'utc_daily' and window_bounds('day')['from'] is none)) }}
{%- endmacro %}

{#- The newest version of each `key` in the window, as `columns`, which end with `updated_at`; of an incremental run those that the
    model's own table does not hold, or holds in an older version. Few keys come in several versions: they alone are remembered with
    their newest one, and no row is sorted. -#}
{% macro newest_rows(relation, key, columns) -%}
    select
        {% for column in columns -%}
        bronze.{{ column }}{{ ',' if not loop.last }}
        {% endfor -%}
    from (
        select {{ columns | join(', ') }}
        from {{ relation }}
        where {{ changed_in_window() }}
    ) as bronze
    left join (
        select
            {{ key }},
            max(updated_at) as updated_at
        from {{ relation }}
        where {{ changed_in_window() }}
        group by {{ key }}
        having count(*) > 1
    ) as repeated on bronze.{{ key }} = repeated.{{ key }}
    {%- if is_incremental() %}
    left join {{ this }} as known on bronze.{{ key }} = known.{{ key }}
    {%- endif %}
    where
        (repeated.{{ key }} is null or bronze.updated_at = repeated.updated_at)
        {%- if is_incremental() %}
        and (known.{{ key }} is null or bronze.updated_at > known.updated_at)
        {%- endif %}
{%- endmacro %}

{#- Where the rows of `bronze` went, by the day of their change: counted in the tables `valid` and `rejected` themselves, and as
    superseded if `current` holds a newer version. No join stands between a row and its count. -#}
{% macro sales_accounts(bronze, current, valid, rejected, key) -%}
    select
        held.source_day,
        held.bronze_rows,
        coalesce(valid.row_count, 0) as silver_rows,
        coalesce(rejected.row_count, 0) as rejected_rows,
        coalesce(superseded.row_count, 0) as superseded_rows,
        held.bronze_rows - coalesce(valid.row_count, 0) - coalesce(rejected.row_count, 0) - coalesce(superseded.row_count, 0)
            as unaccounted_rows
    from (
        select
            cast(updated_at as date) as source_day,
            count(*) as bronze_rows
        from {{ bronze }}
        where {{ every_month('source_month') }}
        group by 1
    ) as held
    left join (
        select
            cast(updated_at as date) as source_day,
            count(*) as row_count
        from {{ bronze }} as versions
        where
            {{ every_month('source_month') }}
            and exists (
                select 1
                from {{ current }} as newest
                where newest.{{ key }} = versions.{{ key }} and newest.updated_at > versions.updated_at
            )
        group by 1
    ) as superseded on held.source_day = superseded.source_day
    left join (
        select
            source_day,
            count(*) as row_count
        from {{ valid }}
        group by source_day
    ) as valid on held.source_day = valid.source_day
    left join (
        select
            source_day,
            count(*) as row_count
        from {{ rejected }}
        group by source_day
    ) as rejected on held.source_day = rejected.source_day
{%- endmacro %}
