-- depends_on: {{ ref('shop_products__versions') }}

with

versions as (

    select
        product_id,
        name,
        category,
        size,
        color,
        {{ money('list_price') }} as list_price,
        active,
        updated_at,
        deleted_at,
        version,
        source_day,
        source_object
    from {{ source('bronze', 'shop_products') }}
    where {{ in_days() }}

),

newest as (

    {{ newest_version('versions', 'product_id', ['source_day', 'source_object']) }}

),

final as (

    {{ newer_than_known('newest', 'product_id', ['source_day', 'source_object']) }}

)

select * from final
