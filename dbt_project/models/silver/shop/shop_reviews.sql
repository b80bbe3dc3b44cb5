with

conformed as (

    {{ conformed_shop_reviews() }}

),

final as (

    select {{ shop_columns('reviews') }}
    from conformed
    where reject_reason is null

)

select * from final
