with

conformed as (

    {{ conformed_shop_customers() }}

),

final as (

    select
        reject_reason,
        {{ shop_columns('customers') }}
    from conformed
    where reject_reason is not null

)

select * from final
