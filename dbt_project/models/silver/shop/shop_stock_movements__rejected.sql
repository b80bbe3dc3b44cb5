with

conformed as (

    {{ conformed_shop_stock_movements() }}

),

final as (

    select
        reject_reason,
        {{ shop_columns('stock_movements') }}
    from conformed
    where reject_reason is not null

)

select * from final
