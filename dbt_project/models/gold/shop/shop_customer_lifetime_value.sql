-- depends_on: {{ ref('shop_customers__accounting') }}
-- depends_on: {{ ref('shop_products__accounting') }}
-- depends_on: {{ ref('shop_orders__accounting') }}
-- depends_on: {{ ref('shop_order_items__accounting') }}

with

customers as (

    select * from {{ ref('shop_customers_history') }}
    where is_current

),

order_totals as (

    select * from {{ ref('shop_order_totals') }}
    where is_revenue

),

totals as (

    select
        customer_id,
        min(order_date) as first_order_date,
        max(order_date) as last_order_date,
        count(*) as orders,
        sum(items) as items,
        sum(gross_revenue) as gross_revenue,
        sum(discount) as discount,
        sum(refunds) as refunds,
        sum(net_revenue) as lifetime_value,
        {{ money_mean('basket') }} as average_basket
    from order_totals
    group by 1

),

final as (

    select
        customers.customer_id,
        customers.segment,
        customers.country,
        customers.deleted_at is not null as is_deleted,
        totals.first_order_date,
        totals.last_order_date,
        coalesce(totals.orders, 0) as orders,
        cast(coalesce(totals.items, 0) as bigint) as items,
        {{ money('coalesce(totals.gross_revenue, 0)') }} as gross_revenue,
        {{ money('coalesce(totals.discount, 0)') }} as discount,
        {{ money('coalesce(totals.refunds, 0)') }} as refunds,
        {{ money('coalesce(totals.lifetime_value, 0)') }} as lifetime_value,
        totals.average_basket
    from customers
    left join totals on customers.customer_id = totals.customer_id

)

select * from final
