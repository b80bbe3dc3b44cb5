-- depends_on: {{ ref('shop_customers__accounting') }}
-- depends_on: {{ ref('shop_products__accounting') }}
-- depends_on: {{ ref('shop_orders__accounting') }}
-- depends_on: {{ ref('shop_order_items__accounting') }}
-- depends_on: {{ ref('shop_reviews__accounting') }}

with

products as (

    select * from {{ ref('shop_products__current') }}

),

order_totals as (

    select * from {{ ref('shop_order_totals') }}
    where is_revenue

),

items as (

    select * from {{ ref('shop_order_items') }}

),

reviews as (

    select * from {{ ref('shop_reviews') }}

),

sold as (

    select
        items.product_id,
        count(distinct items.order_id) as orders,
        sum(items.quantity) as units,
        sum(items.gross_amount) as gross_revenue,
        sum(items.discount_amount) as discount,
        sum(items.net_amount) as revenue
    from items
    inner join order_totals on items.order_id = order_totals.order_id
    group by 1

),

rated as (

    select
        product_id,
        count(*) as reviews,
        {{ money_mean(money('rating')) }} as average_rating
    from reviews
    group by 1

),

final as (

    select
        products.product_id,
        products.name,
        products.category,
        products.deleted_at is not null as is_deleted,
        coalesce(sold.orders, 0) as orders,
        cast(coalesce(sold.units, 0) as bigint) as units,
        {{ money('coalesce(sold.gross_revenue, 0)') }} as gross_revenue,
        {{ money('coalesce(sold.discount, 0)') }} as discount,
        {{ money('coalesce(sold.revenue, 0)') }} as revenue,
        coalesce(rated.reviews, 0) as reviews,
        rated.average_rating
    from products
    left join sold on products.product_id = sold.product_id
    left join rated on products.product_id = rated.product_id

)

select * from final
