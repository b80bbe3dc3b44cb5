with

final as (

    select
        service_id,
        service_code,
        service_name,
        category,
        unit,
        list_price,
        is_active,
        updated_at,
        source_day
    from {{ ref('sales_services__current') }}
    where reject_reason is null

)

select * from final
