with

conformed as (

    {{ conformed_shop_orders() }}

),

final as (

    select
        reject_reason,
        {{ shop_columns('orders') }}
    from conformed
    where reject_reason is not null

)

select * from final
