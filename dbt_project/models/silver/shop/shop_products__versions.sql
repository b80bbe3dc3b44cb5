with

bronze as (

    select * from {{ source('bronze', 'shop_products') }}
    where {{ in_days() }}

),

final as (

    select
        source_day,
        product_id,
        version,
        updated_at,
        source_object,
        count(*) as copies
    from bronze
    group by 1, 2, 3, 4, 5

)

select * from final
