with

states as (

    {{ version_states(
        ref('shop_stock_movements__versions'),
        ref('shop_stock_movements__current'),
        ref('shop_stock_movements'),
        ref('shop_stock_movements__rejected'),
        'movement_id',
        ['source_day', 'source_object']
    ) }}

),

final as (

    {{ version_accounts('states', ref('shop_stock_movements__versions')) }}

)

select * from final
