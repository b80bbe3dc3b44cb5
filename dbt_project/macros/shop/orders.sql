{#- Orders as they are now and not deleted, with the reason for rejection if there is one. -#}
{% macro conformed_shop_orders() -%}
    with

    customers as (

        {{ known_shop_customers() }}

    )

    select
        orders.*,
        cast(orders.ordered_at as date) as order_date,
        case
            when customers.customer_id is null then 'orphan_customer'
            when
                orders.status is null
                or orders.status not in ('placed', 'paid', 'shipped', 'delivered', 'cancelled', 'refunded')
                then 'unknown_status'
            -- amounts are added up: there is one currency
            when orders.currency is null or orders.currency <> 'EUR' then 'unknown_currency'
            when orders.line_count is null or orders.line_count = 0 then 'invalid_items'
            when orders.refund_amount < 0 or (orders.status = 'refunded' and orders.refund_amount is null) then 'invalid_amount'
        end as reject_reason
    from {{ ref('shop_orders__current') }} as orders
    left join customers on orders.customer_id = customers.customer_id
    where orders.deleted_at is null
{%- endmacro %}
