with

conformed as (

    {{ conformed_shop_products() }}

),

final as (

    select
        reject_reason,
        {{ shop_columns('products') }}
    from conformed
    where reject_reason is not null

)

select * from final
