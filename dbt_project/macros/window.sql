{#-
  The window: what this invocation (re)builds, both ends included. For what is built by months it lies between the vars
  `from_month` and `to_month`, first days of months; for what is built by hours or days of changes between `from_day` and `to_day`, the days of
  bronze that the hours touch. None given: everything. A full refresh rebuilds tables whole, so it ignores the window.
-#}
{% macro window_bounds(unit='month') -%}
    {%- set form, example = {
        'month': ('[0-9]{4}-[0-9]{2}-01', 'the first day of a month like 2023-01-01'),
        'day': ('[0-9]{4}-[0-9]{2}-[0-9]{2}', 'a day like 2023-01-31'),
    }[unit] -%}
    {%- set bounds = {'from': none, 'to': none} -%}
    {%- for end in bounds -%}
        {%- set value = var(end ~ '_' ~ unit, none) -%}
        {%- if value is not none -%}
            {%- if not modules.re.fullmatch(form, value | string) -%}
                {{ exceptions.raise_compiler_error(end ~ "_" ~ unit ~ " must be " ~ example ~ ", not " ~ value) }}
            {%- endif -%}
            {%- do bounds.update({end: value | string}) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- if flags.FULL_REFRESH -%}
        {{ return({'from': none, 'to': none}) }}
    {%- endif -%}
    {{ return(bounds) }}
{%- endmacro %}

{#- The window of months as a predicate on `column`. -#}
{% macro in_window(column='source_month') %}{{ between_bounds(column, window_bounds('month')) }}{% endmacro %}

{#- The window of days as a predicate on `column`. -#}
{% macro in_days(column='source_day') %}{{ between_bounds(column, window_bounds('day')) }}{% endmacro %}

{#- `column` is within `bounds`: plain comparisons with literals, which scans can prune by. -#}
{% macro between_bounds(column, bounds) -%}
    {%- set parts = [] -%}
    {%- if bounds['from'] is not none -%}{%- do parts.append(column ~ " >= date '" ~ bounds['from'] ~ "'") -%}{%- endif -%}
    {%- if bounds['to'] is not none -%}{%- do parts.append(column ~ " <= date '" ~ bounds['to'] ~ "'") -%}{%- endif -%}
    {{- parts | join(' and ') if parts else every_month(column) -}}
{%- endmacro %}

{#- The window of the model that is being built: of days if it is partitioned by them, else of months; of the sales' fact the months
    of invoices that a run makes anew. -#}
{% macro in_partitions() -%}
    {%- set field = (config.get('partition_by') or {}).get('field') -%}
    {%- if field == 'invoice_month' -%}
        {{- is_one_of(field, invoice_months()) -}}
    {%- else -%}
        {{- in_days() if field == 'source_day' else in_window() -}}
    {%- endif -%}
{%- endmacro %}

{#- A predicate on `column`, a date, that holds for every month and day. BigQuery refuses a query without one where a filter is
    required. -#}
{% macro every_month(column) %}{{ return(adapter.dispatch('every_month')(column)) }}{% endmacro %}
{% macro default__every_month(column) %}true{% endmacro %}
{% macro bigquery__every_month(column) %}{{ column }} >= date '0001-01-01'{% endmacro %}

{#- Incremental strategy `replace_window`: the rows of the window go, whatever the query gives comes. A month (or day) that
    became empty is emptied; those outside the window are not touched. -#}
{% macro get_incremental_replace_window_sql(arg_dict) -%}
    {%- set columns = get_quoted_csv(arg_dict['dest_columns'] | map(attribute='name')) -%}
    delete from {{ arg_dict['target_relation'] }} where {{ in_partitions() }};
    insert into {{ arg_dict['target_relation'] }} ({{ columns }})
    select {{ columns }} from {{ arg_dict['temp_relation'] }}
{%- endmacro %}

{#- BigQuery's `insert_overwrite`, the same there. (The adapter's own would leave a month that became empty as it was, for it
    replaces the partitions of the rows that come.) Deleting whole partitions costs nothing. -#}
{% macro bq_insert_overwrite_sql(
    tmp_relation, target_relation, sql, unique_key, partition_by, partitions, dest_columns, tmp_relation_exists, copy_partitions
) -%}
    {%- set columns = get_quoted_csv(dest_columns | map(attribute='name')) -%}
    begin transaction;
    delete from {{ target_relation }} where {{ in_partitions() }};
    insert into {{ target_relation }} ({{ columns }})
    {% if tmp_relation_exists -%}
        select {{ columns }} from {{ tmp_relation }};
    {%- else -%}
        select {{ columns }} from (
            {{ sql }}
        );
    {%- endif %}
    commit transaction;
{%- endmacro %}

{#- Tests may say `where: __in_window__` or `where: __in_days__`: their cost then follows the delta, not the table. -#}
{% macro get_where_subquery(relation) -%}
    {%- set where = (config.get('where') or '') | replace('__in_window__', in_window()) | replace('__in_days__', in_days()) -%}
    {%- if where -%}
        (select * from {{ relation }} where {{ where }}) as dbt_subquery
    {%- else -%}
        {{ relation }}
    {%- endif -%}
{%- endmacro %}

{#- `partition_by` is written for BigQuery. A DuckDB table has no partitions: only one in DuckLake, where dbt-duckdb means to use
    it, and it takes no mapping. -#}
{% macro duckdb__get_partitioned_by(relation, temporary) -%}
    {{ return(none) }}
{%- endmacro %}
