{#-
  Materialization `iceberg`: the query's rows become Parquet files, one folder for each month; the plugin `iceberg` commits them
  to the table in one snapshot that replaces the window, and points the view of the model's name at that snapshot.

  The staging folder is this invocation's own; the plugin takes its files by link and may remove it.
-#}
{% materialization iceberg, adapter='duckdb' %}
    {%- set target_relation = this.incorporate(type='view') -%}
    {%- set existing = load_cached_relation(this) -%}
    {%- set partition_by = config.get('partition_by').field -%}
    {%- set bounds = window_bounds() -%}
    {%- set folder = env_var('LAKEGRAPH_STAGING', '../data/staging') ~ '/' ~ this.identifier ~ '-' ~ invocation_id -%}

    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}

    {%- set columns = adapter.get_column_schema_from_query(compiled_code) -%}
    {% call statement('main') -%}
        copy (
            {{ compiled_code }}
        ) to '{{ adapter.escape_sql_string(folder) }}' (
            format parquet, compression zstd, partition_by ({{ partition_by }}), write_partition_columns false, overwrite true
        )
    {%- endcall %}
    {%- if existing is not none and not existing.is_view -%}
        {% do adapter.drop_relation(existing) %}
    {%- endif -%}
    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {{ adapter.commit() }}

    {%- set described = [] -%}
    {%- for column in columns -%}{%- do described.append({'name': column.name, 'dtype': column.dtype}) -%}{%- endfor -%}
    {%- do adapter.store_relation('iceberg', target_relation, columns, folder, 'parquet', {
        'partition_by': partition_by,
        'from_month': bounds['from'],
        'to_month': bounds['to'],
        'columns': described,
    }) -%}

    {{ run_hooks(post_hooks, inside_transaction=False) }}
    {{ return({'relations': [target_relation]}) }}
{% endmaterialization %}

{#-
  The columns of `query` that `table` lacks. One that the table has and the query does not, or has in another type, is an error:
  the months of the window would be of another form than the others, and to write only what both have would hide it.
-#}
{% macro new_columns(relation, table, query, remedy) -%}
    {%- set types, known, wrong, new = {}, [], [], [] -%}
    {%- for column in query -%}{%- do types.update({column.name | lower: column.data_type}) -%}{%- endfor -%}
    {%- for column in table -%}
        {%- set here, there = column.data_type, types.get(column.name | lower) -%}
        {%- do known.append(column.name | lower) -%}
        {%- if there is none -%}
            {%- do wrong.append("column " ~ column.name ~ " is in the table and not in the query") -%}
        {%- elif there != here -%}
            {%- do wrong.append("column " ~ column.name ~ " is " ~ here ~ " in the table and " ~ there ~ " in the query") -%}
        {%- endif -%}
    {%- endfor -%}
    {%- if wrong -%}
        {%- set name = relation.schema ~ "." ~ relation.identifier -%}
        {{ exceptions.raise_compiler_error(name ~ ": " ~ wrong | join(", ") ~ "; " ~ remedy) }}
    {%- endif -%}
    {%- for column in query if column.name | lower not in known -%}{%- do new.append(column) -%}{%- endfor -%}
    {{ return(new) }}
{%- endmacro %}

{#-
  On BigQuery: a BigQuery-managed Iceberg table, its files under `storage_uri`, reached through our connection. It takes no
  partitions, so it is clustered by month. It cannot be renamed, truncated or swapped, so after the first time the window is
  replaced in place; a full refresh is a window of every month. (dbt's own support writes `with connection default`.)
  A column that the query has anew is added first, null in months outside the window.
-#}
{% materialization iceberg, adapter='bigquery' %}
    {%- set target_relation = this.incorporate(type='table') -%}
    {%- set existing = load_cached_relation(this) -%}
    {%- set folder = env_var('LAKEGRAPH_LAKE_URI') ~ '/' ~ this.schema ~ '/' ~ this.identifier -%}

    {{ run_hooks(pre_hooks) }}
    {%- if existing is not none -%}
        {#- BigQuery leaves a dropped table's files where they are -#}
        {%- set remedy -%}
            drop the table (drop table {{ target_relation }}), remove its files under {{ folder }}/ and build every month again
        {%- endset -%}
        {%- set columns = get_column_schema_from_query(compiled_code) -%}
        {%- set new = new_columns(target_relation, adapter.get_columns_in_relation(existing), columns, remedy) -%}
        {%- if new -%}
            {% call statement('new_columns') -%}
                alter table {{ target_relation }}
                {% for column in new %}add column {{ column.quoted }} {{ column.data_type }}{{ ', ' if not loop.last }}{% endfor %}
            {%- endcall %}
        {%- endif -%}
    {%- endif -%}
    {% call statement('main') -%}
        {%- if existing is none -%}
            create table {{ target_relation }}
            cluster by {{ config.get('partition_by').field }}
            with connection `{{ env_var('LAKEGRAPH_GCP_CONNECTION_NAME') }}`
            options (
                file_format = 'PARQUET',
                table_format = 'ICEBERG',
                storage_uri = '{{ folder }}',
                description = {{ (model.description or '') | trim | tojson }},
                labels = [('app', 'lakegraph')]
            )
            as (
                {{ compiled_code }}
            )
        {%- else -%}
            {%- set names = get_quoted_csv(columns | map(attribute='name')) -%}
            {#- one statement, for such a table takes no part in transactions -#}
            merge into {{ target_relation }} as dbt_internal_dest
            using (
                {{ compiled_code }}
            ) as dbt_internal_source
            on false
            when not matched by source and {{ in_window('dbt_internal_dest.source_month') }} then delete
            when not matched then insert ({{ names }}) values ({{ names }})
        {%- endif -%}
    {%- endcall %}
    {{ run_hooks(post_hooks) }}
    {{ return({'relations': [target_relation]}) }}
{% endmaterialization %}
