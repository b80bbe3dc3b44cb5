{#-
  Strategy `reported` of snapshots: as `check`, by the day of the report (`updated_at`, a date), not of the run. dbt's own takes two
  things for granted that workbooks do not keep. A row never goes back: here a report that is older than what is known changes
  nothing. And a row changes once at a moment, so that key and moment make a version: here a corrected workbook may tell another
  level for the same day, so the level and the workbook's time are part of the identity. The corrected version then ends on the day
  on which it began.
-#}
{% macro snapshot_reported_strategy(node, snapshotted_rel, current_rel, model_config, target_exists) -%}
    {%- set strategy = snapshot_check_strategy(node, snapshotted_rel, current_rel, model_config, target_exists) -%}
    {%- set parts = [
        strategy.unique_key,
        "cast(" ~ strategy.updated_at ~ " as " ~ dbt.type_string() ~ ")",
        "cast(" ~ epoch_micros('workbook_modified_at') ~ " as " ~ dbt.type_string() ~ ")",
    ] + config.get('check_cols') -%}
    {%- do strategy.update({
        'row_changed': '(' ~ snapshotted_rel ~ '.dbt_valid_from <= ' ~ current_rel ~ '.' ~ strategy.updated_at
            ~ ' and ' ~ strategy.row_changed ~ ')',
        'scd_id': md5_hex(parts | join(" || '|' || ")),
    }) -%}
    {{ return(strategy) }}
{%- endmacro %}
