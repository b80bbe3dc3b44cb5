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
  On BigQuery: a BigQuery-managed Iceberg table, its files under `storage_uri`, reached through our connection. It takes no
  partitions, so it is clustered by month. It cannot be renamed, truncated or swapped, so after the first time the window is
  replaced in place; a full refresh is a window of every month. (dbt's own support writes `with connection default`.)
-#}
{% materialization iceberg, adapter='bigquery' %}
    {%- set target_relation = this.incorporate(type='table') -%}
    {%- set existing = load_cached_relation(this) -%}
    {%- set folder = env_var('LAKEGRAPH_LAKE_URI') ~ '/' ~ this.schema ~ '/' ~ this.identifier -%}

    {{ run_hooks(pre_hooks) }}
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
            {%- set columns = get_quoted_csv(adapter.get_columns_in_relation(existing) | map(attribute='name')) -%}
            {#- one statement, for such a table takes no part in transactions -#}
            merge into {{ target_relation }} as dbt_internal_dest
            using (
                {{ compiled_code }}
            ) as dbt_internal_source
            on false
            when not matched by source and {{ in_window('dbt_internal_dest.source_month') }} then delete
            when not matched then insert ({{ columns }}) values ({{ columns }})
        {%- endif -%}
    {%- endcall %}
    {{ run_hooks(post_hooks) }}
    {{ return({'relations': [target_relation]}) }}
{% endmaterialization %}
