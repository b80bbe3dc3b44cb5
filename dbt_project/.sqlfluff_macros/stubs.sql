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
{% macro in_days() %}true{% endmacro %}
{% macro decimal_from_text(text) %}{{ text }}{% endmacro %}
{% macro integer_from_text(text) %}{{ text }}{% endmacro %}
{% macro json_is_missing(column, path) %}{{ column }} is null{% endmacro %}
{% macro trimmed(text) %}{{ text }}{% endmacro %}
{% macro json_array_size(column) %}{{ column }}{% endmacro %}
{% macro json_elements(relation, column) %}select *, 1 as element, 1 as element_number from {{ relation }}{% endmacro %}
{% macro one_for_each(rows, keys, order) %}select * from {{ rows }}{% endmacro %}
{% macro newest_version(versions, key, places) %}select * from {{ versions }}{% endmacro %}
{% macro newer_than_known(rows, key, places) %}select * from {{ rows }}{% endmacro %}
{% macro known_of_changed(rows, key, columns) %}select * from {{ rows }}{% endmacro %}
{% macro with_waiting(rows, key) %}select {{ key }} from {{ rows }}{% endmacro %}
{% macro not_as_known(rows, keys, columns) %}select * from {{ rows }}{% endmacro %}
{% macro version_states(versions, current, live, rejected, key, places) %}select 1 as state from {{ versions }}{% endmacro %}
{% macro version_accounts(states, versions) %}select 1 as bronze_rows from {{ states }}{% endmacro %}
{% macro row_state(current_rows, key) %}coalesce(live_rows.{{ key }}, rejected_rows.{{ key }}, {{ current_rows }}.{{ key }}){% endmacro %}
{% macro shop_columns(table) %}source_day{% endmacro %}
{% macro conformed_shop_customers() %}select 1 as source_day, 'r' as reject_reason from shop_customers{% endmacro %}
{% macro conformed_shop_products() %}select 1 as source_day, 'r' as reject_reason from shop_products{% endmacro %}
{% macro conformed_shop_orders() %}select 1 as source_day, 'r' as reject_reason from shop_orders{% endmacro %}
{% macro conformed_shop_order_items() %}select 1 as source_day, 'r' as reject_reason from shop_order_items{% endmacro %}
{% macro conformed_shop_reviews() %}select 1 as source_day, 'r' as reject_reason from shop_reviews{% endmacro %}
{% macro conformed_shop_stock_movements() %}select 1 as source_day, 'r' as reject_reason from shop_stock_movements{% endmacro %}
{% macro rounded(value, scale) %}{{ value }}{% endmacro %}
{% macro local_time(column, zone) %}{{ column }}{% endmacro %}
{% macro week_start(day) %}{{ day }}{% endmacro %}
{% macro day_of_week(day) %}{{ day }}{% endmacro %}
{% macro weeks_from(first, last) %}{{ last }} - {{ first }}{% endmacro %}
{% macro days_within(bounds) %}select first_day as date_day from {{ bounds }}{% endmacro %}
{% macro workbook_place() %}workbook, source_day{% endmacro %}
{% macro newest_first(keys) %}row_number() over (partition by {{ keys | join(', ') }} order by workbook){% endmacro %}
{% macro membership_level_rank(level) %}length({{ level }}){% endmacro %}
{% macro topup_day_segment(hour) %}{{ hour }}{% endmacro %}
{% macro workbook_accounts(states, staged, keys) %}select 1 as bronze_rows from {{ states }} cross join {{ staged }}{% endmacro %}
{% macro workbook_row_state(recency, valid, rejected) %}coalesce({{ recency }}, {{ valid }}, {{ rejected }}){% endmacro %}
{% macro newest_rows(relation, key, columns) %}select {{ columns | join(', ') }} from {{ relation }}{% endmacro %}
{% macro sales_accounts(bronze, current, valid, rejected, key) %}select 1 as bronze_rows from {{ bronze }}{% endmacro %}
{% macro surrogate_key(columns) %}{{ columns[0] }}{% endmacro %}
{% macro unknown_member(keys) %}-1 as {{ keys[0] }}{% endmacro %}
{% macro no_date() %}null{% endmacro %}
{% macro date_key(day) %}{{ day }}{% endmacro %}
{% macro count_where(condition) %}sum({{ condition }}){% endmacro %}
{% macro is_one_of(column, days) %}{{ column }} is not null{% endmacro %}
{% macro invoice_months() %}{% endmacro %}
{% macro month_start(day) %}{{ day }}{% endmacro %}
{% macro next_month(day) %}{{ day }}{% endmacro %}
{% macro days_from(first, last) %}{{ last }} - {{ first }}{% endmacro %}
