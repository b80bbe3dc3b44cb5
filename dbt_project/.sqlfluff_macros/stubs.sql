{#- Stand-ins by which sqlfluff can template the models without dbt: each gives SQL of the shape that our macro gives. -#}
{% macro in_window() %}true{% endmacro %}
{% macro trip_keys(service) %}{% endmacro %}
{% macro trip_columns() %}trip_id{% endmacro %}
{% macro repeated_rows(relation, keys) %}select 1 as copies from {{ relation }}{% endmacro %}
{% macro row_accounts(service, bronze, silver, rejected, duplicates) %}select 1 as bronze_rows from {{ bronze }}{% endmacro %}
{% macro json_text(column, path) %}{{ column }}{% endmacro %}
{% macro double(value) %}{{ value }}{% endmacro %}
{% macro decimal(value, scale) %}{{ value }}{% endmacro %}
{% macro double_from_text(text) %}{{ text }}{% endmacro %}
{% macro percentile_disc(column, fraction) %}max({{ column }}){% endmacro %}
{% macro conformed_yellow_trips() %}select 1 as trip_id, 'r' as reject_reason from mobility_yellow_trips{% endmacro %}
{% macro conformed_green_trips() %}select 1 as trip_id, 'r' as reject_reason from mobility_green_trips{% endmacro %}
{% macro conformed_fhv_trips() %}select 1 as trip_id, 'r' as reject_reason from mobility_fhv_trips{% endmacro %}
{% macro money(value) %}{{ value }}{% endmacro %}
{% macro money_mean(column) %}avg({{ column }}){% endmacro %}
{% macro every_month(column) %}true{% endmacro %}
