{#- Stock movements as they are now and not deleted, with what each adds to the stock, and the reason for rejection if any. -#}
{% macro conformed_shop_stock_movements() -%}
    with

    judged as (

        select
            movements.*,
            case
                when products.product_id is null then 'orphan_product'
                when movements.warehouse is null then 'missing_warehouse'
                when
                    movements.kind is null or movements.kind not in ('receipt', 'sale', 'return', 'adjustment')
                    then 'unknown_kind'
                when movements.quantity not between -1000000000 and 1000000000 or movements.quantity = 0 then 'invalid_quantity'
                when movements.kind <> 'adjustment' and movements.quantity < 0 then 'invalid_quantity'
            end as reject_reason
        from {{ ref('shop_stock_movements__current') }} as movements
        left join {{ ref('shop_products__current') }} as products on movements.product_id = products.product_id
        where movements.deleted_at is null

    )

    select
        *,
        case
            when reject_reason is not null then null
            when kind = 'sale' then -quantity
            else quantity
        end as stock_change
    from judged
{%- endmacro %}
