with

conformed as (

    {{ conformed_shop_reviews() }}

),

final as (

    select
        reject_reason,
        {{ shop_columns('reviews') }}
    from conformed
    where reject_reason is not null

)

select * from final
