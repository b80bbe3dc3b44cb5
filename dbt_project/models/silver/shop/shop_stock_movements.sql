with

conformed as (

    {{ conformed_shop_stock_movements() }}

),

final as (

    select {{ shop_columns('stock_movements') }}
    from conformed
    where reject_reason is null

)

select * from final
