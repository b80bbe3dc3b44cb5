with

states as (

    {{ version_states(
        ref('shop_orders__versions'),
        ref('shop_orders__current'),
        ref('shop_orders'),
        ref('shop_orders__rejected'),
        'order_id',
        ['source_day']
    ) }}

),

final as (

    {{ version_accounts('states', ref('shop_orders__versions')) }}

)

select * from final
