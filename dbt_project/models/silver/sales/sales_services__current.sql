with

newest as (

    {{ newest_rows(source('bronze', 'sales_services'), 'service_id', [
        'service_id',
        'service_code',
        'service_name',
        'category',
        'unit',
        'list_price',
        'is_active',
        'updated_at'
    ]) }}

),

final as (

    select
        *,
        cast(updated_at as date) as source_day,
        case
            when category not in ('compute', 'storage', 'network', 'database', 'support') then 'unknown_category'
            when list_price < 0 then 'invalid_price'
        end as reject_reason
    from newest

)

select * from final
