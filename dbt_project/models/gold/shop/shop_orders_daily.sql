-- depends_on: {{ ref('shop_customers__accounting') }}
-- depends_on: {{ ref('shop_products__accounting') }}
-- depends_on: {{ ref('shop_orders__accounting') }}
-- depends_on: {{ ref('shop_order_items__accounting') }}

with

order_totals as (

    select * from {{ ref('shop_order_totals') }}
    where is_revenue

),

final as (

    select
        order_date,
        count(*) as orders,
        cast(sum(items) as bigint) as items,
        {{ money('sum(gross_revenue)') }} as gross_revenue,
        {{ money('sum(discount)') }} as discount,
        {{ money('sum(net_revenue)') }} as net_revenue,
        {{ money('sum(refunds)') }} as refunds,
        {{ money_mean('basket') }} as average_basket
    from order_totals
    group by 1

)

select * from final
