{#-
  The window: the months that this invocation (re)builds, from the vars `from_month` and `to_month` (first days of months,
  inclusive). Neither given: every month. A full refresh rebuilds tables whole, so it ignores the window.
-#}
{% macro window_bounds() -%}
    {%- set bounds = {'from': none, 'to': none} -%}
    {%- for end in bounds -%}
        {%- set value = var(end ~ '_month', none) -%}
        {%- if value is not none -%}
            {%- if not modules.re.fullmatch('[0-9]{4}-[0-9]{2}-01', value | string) -%}
                {{ exceptions.raise_compiler_error(end ~ "_month must be the first day of a month like 2023-01-01, not " ~ value) }}
            {%- endif -%}
            {%- do bounds.update({end: value | string}) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- if flags.FULL_REFRESH -%}
        {{ return({'from': none, 'to': none}) }}
    {%- endif -%}
    {{ return(bounds) }}
{%- endmacro %}

{#- The window as a predicate on `column`: plain comparisons with literals, which scans can prune by. -#}
{% macro in_window(column='source_month') -%}
    {%- set bounds = window_bounds() -%}
    {%- set parts = [] -%}
    {%- if bounds['from'] is not none -%}{%- do parts.append(column ~ " >= date '" ~ bounds['from'] ~ "'") -%}{%- endif -%}
    {%- if bounds['to'] is not none -%}{%- do parts.append(column ~ " <= date '" ~ bounds['to'] ~ "'") -%}{%- endif -%}
    {{- parts | join(' and ') if parts else every_month(column) -}}
{%- endmacro %}

{#- A predicate on `column` that holds for every month. BigQuery refuses a query without one where a filter is required. -#}
{% macro every_month(column) %}{{ return(adapter.dispatch('every_month')(column)) }}{% endmacro %}
{% macro default__every_month(column) %}true{% endmacro %}
{% macro bigquery__every_month(column) %}{{ column }} >= date '0001-01-01'{% endmacro %}

{#- Incremental strategy `replace_window`: the rows of the window go, whatever the query gives comes. A month that became
    empty is emptied; months outside the window are not touched. -#}
{% macro get_incremental_replace_window_sql(arg_dict) -%}
    {%- set columns = get_quoted_csv(arg_dict['dest_columns'] | map(attribute='name')) -%}
    delete from {{ arg_dict['target_relation'] }} where {{ in_window() }};
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
    delete from {{ target_relation }} where {{ in_window() }};
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

{#- Tests may say `where: __in_window__`: their cost then follows the delta, not the table. -#}
{% macro get_where_subquery(relation) -%}
    {%- set where = (config.get('where') or '') | replace('__in_window__', in_window()) -%}
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
