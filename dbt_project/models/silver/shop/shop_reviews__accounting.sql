with

states as (

    {{ version_states(
        ref('shop_reviews__versions'),
        ref('shop_reviews__current'),
        ref('shop_reviews'),
        ref('shop_reviews__rejected'),
        'review_id',
        ['source_day']
    ) }}

),

final as (

    {{ version_accounts('states', ref('shop_reviews__versions')) }}

)

select * from final
