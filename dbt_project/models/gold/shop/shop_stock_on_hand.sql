-- depends_on: {{ ref('shop_products__accounting') }}
-- depends_on: {{ ref('shop_stock_movements__accounting') }}

with

movements as (

    select * from {{ ref('shop_stock_movements') }}

),

products as (

    select * from {{ ref('shop_products__current') }}

),

stock as (

    select
        product_id,
        warehouse,
        sum(stock_change) as on_hand,
        sum(case when kind = 'receipt' then stock_change else 0 end) as received,
        sum(case when kind = 'sale' then -stock_change else 0 end) as sold,
        sum(case when kind = 'return' then stock_change else 0 end) as returned,
        sum(case when kind = 'adjustment' then stock_change else 0 end) as adjusted,
        count(*) as movements,
        max(moved_at) as last_moved_at
    from movements
    group by 1, 2

),

final as (

    select
        stock.product_id,
        products.name as product_name,
        stock.warehouse,
        cast(stock.on_hand as bigint) as on_hand,
        cast(stock.received as bigint) as received,
        cast(stock.sold as bigint) as sold,
        cast(stock.returned as bigint) as returned,
        cast(stock.adjusted as bigint) as adjusted,
        stock.movements,
        stock.last_moved_at
    from stock
    left join products on stock.product_id = products.product_id

)

select * from final
