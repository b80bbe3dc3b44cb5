{#-
  Lines of the newest versions of valid orders, with the reason for rejection if there is one. The bounds keep what is worked out
  of valid lines within DECIMAL(18, 2).
-#}
{% macro conformed_shop_order_items() -%}
    with

    judged as (

        select
            lines.*,
            case
                when products.product_id is null then 'orphan_product'
                when lines.quantity is null or lines.quantity not between 1 and 1000000 then 'invalid_quantity'
                when lines.unit_price is null or lines.unit_price not between 0 and 1000000000 then 'invalid_amount'
                when
                    lines.discount_amount is null
                    or lines.discount_amount < 0
                    or lines.discount_amount > lines.quantity * lines.unit_price
                    then 'invalid_amount'
            end as reject_reason
        from {{ ref('shop_order_items__lines') }} as lines
        inner join {{ ref('shop_orders') }} as orders
            on lines.order_id = orders.order_id and lines.version = orders.version
        left join {{ ref('shop_products__current') }} as products on lines.product_id = products.product_id

    )

    select
        *,
        case when reject_reason is null then {{ money('quantity * unit_price') }} end as gross_amount,
        case when reject_reason is null then {{ money('quantity * unit_price - discount_amount') }} end as net_amount
    from judged
{%- endmacro %}
