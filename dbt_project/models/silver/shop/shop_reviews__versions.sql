with

bronze as (

    select * from {{ source('bronze', 'shop_reviews') }}
    where {{ in_days() }}

),

final as (

    select
        source_day,
        id as review_id,
        version,
        updated_at,
        count(*) as copies
    from bronze
    group by 1, 2, 3, 4

)

select * from final
