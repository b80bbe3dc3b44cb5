with

conformed as (

    {{ conformed_shop_order_items() }}

),

final as (

    select
        reject_reason,
        {{ shop_columns('order_items') }}
    from conformed
    where reject_reason is not null

)

select * from final
