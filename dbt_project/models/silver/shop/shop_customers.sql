with

conformed as (

    {{ conformed_shop_customers() }}

),

final as (

    select {{ shop_columns('customers') }}
    from conformed
    where reject_reason is null

)

select * from final
