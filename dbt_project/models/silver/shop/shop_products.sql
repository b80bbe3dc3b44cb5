with

conformed as (

    {{ conformed_shop_products() }}

),

final as (

    select {{ shop_columns('products') }}
    from conformed
    where reject_reason is null

)

select * from final
