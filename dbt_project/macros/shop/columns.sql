{#- The columns of a silver table of the shop, in their order; `__rejected` has `reject_reason` before them. -#}
{% macro shop_columns(table) -%}
    {{ return({
        'customers': 'customer_id, email, first_name, last_name, phone, street, city, postcode, country, segment,
            marketing_consent, created_at, updated_at, version, source_day',
        'customer_versions': 'customer_id, version, email, first_name, last_name, phone, street, city, postcode, country,
            segment, marketing_consent, created_at, deleted_at, valid_from, source_day',
        'products': 'product_id, name, category, size, color, list_price, active, updated_at, version, source_day',
        'orders': 'order_id, customer_id, status, currency, ordered_at, order_date, line_count, refund_amount, updated_at,
            version, source_day',
        'order_items': 'order_id, line_number, source_line, product_id, quantity, unit_price, gross_amount, discount_amount,
            net_amount, version, source_day',
        'reviews': 'review_id, product_id, customer_id, order_id, rating, title, body, created_at, updated_at, version,
            source_day',
        'stock_movements': 'movement_id, product_id, warehouse, kind, quantity, stock_change, moved_at, updated_at, version,
            source_day',
    }[table]) }}
{%- endmacro %}
