with

final as (

    select
        reject_reason,
        customer_id,
        customer_name,
        segment,
        industry,
        country,
        account_manager_id,
        created_at,
        closed_at,
        updated_at,
        source_day
    from {{ ref('sales_customers__current') }}
    where reject_reason is not null

)

select * from final
