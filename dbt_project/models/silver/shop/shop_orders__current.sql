-- depends_on: {{ ref('shop_orders__versions') }}

with

versions as (

    select
        id as order_id,
        customer_id,
        status,
        currency,
        ordered_at,
        {{ json_array_size('items') }} as line_count,
        {{ money('refund_amount') }} as refund_amount,
        updated_at,
        deleted_at,
        version,
        source_day
    from {{ source('bronze', 'shop_orders') }}
    where {{ in_days() }}

),

newest as (

    {{ newest_version('versions', 'order_id', ['source_day']) }}

),

final as (

    {{ newer_than_known('newest', 'order_id', ['source_day']) }}

)

select * from final
