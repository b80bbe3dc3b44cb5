-- depends_on: {{ ref('shop_reviews__versions') }}

with

versions as (

    select
        id as review_id,
        product_id,
        customer_id,
        order_id,
        rating,
        title,
        body,
        created_at,
        updated_at,
        deleted_at,
        version,
        source_day
    from {{ source('bronze', 'shop_reviews') }}
    where {{ in_days() }}

),

newest as (

    {{ newest_version('versions', 'review_id', ['source_day']) }}

),

final as (

    {{ newer_than_known('newest', 'review_id', ['source_day']) }}

)

select * from final
