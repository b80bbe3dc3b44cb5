with

states as (

    {{ version_states(
        ref('shop_products__versions'),
        ref('shop_products__current'),
        ref('shop_products'),
        ref('shop_products__rejected'),
        'product_id',
        ['source_day', 'source_object']
    ) }}

),

final as (

    {{ version_accounts('states', ref('shop_products__versions')) }}

)

select * from final
