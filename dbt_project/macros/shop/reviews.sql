{#- Reviews as they are now and not deleted, with the reason for rejection if there is one. -#}
{% macro conformed_shop_reviews() -%}
    with

    customers as (

        {{ known_shop_customers() }}

    )

    select
        reviews.*,
        case
            when products.product_id is null then 'orphan_product'
            when customers.customer_id is null then 'orphan_customer'
            -- a review may be of no order
            when reviews.order_id is not null and orders.order_id is null then 'orphan_order'
            when reviews.rating is null or reviews.rating not between 1 and 5 then 'rating_out_of_range'
        end as reject_reason
    from {{ ref('shop_reviews__current') }} as reviews
    left join {{ ref('shop_products__current') }} as products on reviews.product_id = products.product_id
    left join customers on reviews.customer_id = customers.customer_id
    left join {{ ref('shop_orders__current') }} as orders on reviews.order_id = orders.order_id
    where reviews.deleted_at is null
{%- endmacro %}
