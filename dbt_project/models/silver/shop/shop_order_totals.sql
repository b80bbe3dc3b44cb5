with

-- what an order is worth depends on its newest version and on whether its parents are known: a run looks at the orders whose
-- newest version lies in its days, and at those that waited for a customer or a product
changed as (

    select order_id
    from {{ ref('shop_orders__current') }}
    where {{ in_days() }}

),

affected as (

    {{ with_waiting('changed', 'order_id') }}

),

current_orders as (

    select * from {{ ref('shop_orders__current') }}
    where order_id in (select order_id from affected)

),

orders as (

    select * from {{ ref('shop_orders') }}
    where order_id in (select order_id from affected) and status <> 'cancelled'

),

orphans as (

    select order_id
    from {{ ref('shop_orders__rejected') }}
    where order_id in (select order_id from affected) and reject_reason = 'orphan_customer'
    union distinct
    select order_id
    from {{ ref('shop_order_items__rejected') }}
    where order_id in (select order_id from affected) and reject_reason = 'orphan_product'

),

added_up as (

    select
        order_id,
        sum(quantity) as items,
        sum(gross_amount) as gross_revenue,
        sum(discount_amount) as discount,
        sum(net_amount) as basket
    from {{ ref('shop_order_items') }}
    where order_id in (select order_id from affected)
    group by 1

),

totals as (

    select
        orders.order_id,
        cast(coalesce(added_up.items, 0) as bigint) as items,
        {{ money('coalesce(added_up.gross_revenue, 0)') }} as gross_revenue,
        {{ money('coalesce(added_up.discount, 0)') }} as discount,
        {{ money('coalesce(added_up.basket, 0)') }} as basket,
        {{ money('coalesce(orders.refund_amount, 0)') }} as refunds,
        {{ money('coalesce(added_up.basket, 0) - coalesce(orders.refund_amount, 0)') }} as net_revenue
    from orders
    left join added_up on orders.order_id = added_up.order_id

),

fresh as (

    select
        current_orders.order_id,
        current_orders.customer_id,
        cast(current_orders.ordered_at as date) as order_date,
        totals.order_id is not null as is_revenue,
        orphans.order_id is not null as is_waiting,
        totals.items,
        totals.gross_revenue,
        totals.discount,
        totals.basket,
        totals.refunds,
        totals.net_revenue
    from current_orders
    left join totals on current_orders.order_id = totals.order_id
    left join orphans on current_orders.order_id = orphans.order_id

),

final as (

    {{ not_as_known(
        'fresh',
        ['order_id'],
        [
            'customer_id',
            'order_date',
            'is_revenue',
            'is_waiting',
            'items',
            'gross_revenue',
            'discount',
            'basket',
            'refunds',
            'net_revenue',
        ]
    ) }}

)

select * from final
