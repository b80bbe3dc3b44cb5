with

conformed as (

    {{ conformed_shop_order_items() }}

),

final as (

    select {{ shop_columns('order_items') }}
    from conformed
    where reject_reason is null

)

select * from final
