-- depends_on: {{ ref('shop_stock_movements__versions') }}

with

versions as (

    select
        movement_id,
        product_id,
        warehouse,
        kind,
        quantity,
        moved_at,
        updated_at,
        deleted_at,
        version,
        source_day,
        source_object
    from {{ source('bronze', 'shop_stock_movements') }}
    where {{ in_days() }}

),

newest as (

    {{ newest_version('versions', 'movement_id', ['source_day', 'source_object']) }}

),

final as (

    {{ newer_than_known('newest', 'movement_id', ['source_day', 'source_object']) }}

)

select * from final
