with

conformed as (

    {{ conformed_shop_orders() }}

),

final as (

    select {{ shop_columns('orders') }}
    from conformed
    where reject_reason is null

)

select * from final
