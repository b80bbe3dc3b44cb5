{#-
  Strategy `changed` of snapshots: as `timestamp`, but a version's identity is the same on both engines. dbt's own has the time in it
  as a text, and parts of a second are written in as many digits as needed on DuckDB, in three or six on BigQuery.
-#}
{% macro snapshot_changed_strategy(node, snapshotted_rel, current_rel, model_config, target_exists) -%}
    {%- set strategy = snapshot_timestamp_strategy(node, snapshotted_rel, current_rel, model_config, target_exists) -%}
    {%- set parts = [
        "cast(" ~ strategy.unique_key ~ " as " ~ dbt.type_string() ~ ")",
        "cast(" ~ epoch_micros(strategy.updated_at) ~ " as " ~ dbt.type_string() ~ ")",
    ] -%}
    {%- do strategy.update({'scd_id': md5_hex(parts | join(" || '|' || "))}) -%}
    {{ return(strategy) }}
{%- endmacro %}
