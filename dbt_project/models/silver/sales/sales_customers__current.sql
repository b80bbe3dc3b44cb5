with

newest as (

    {{ newest_rows(source('bronze', 'sales_customers'), 'customer_id', [
        'customer_id',
        'customer_name',
        'segment',
        'industry',
        'country',
        'account_manager_id',
        'created_at',
        'closed_at',
        'updated_at'
    ]) }}

),

final as (

    select
        *,
        cast(updated_at as date) as source_day,
        case
            when segment not in ('smb', 'mid_market', 'enterprise') then 'unknown_segment'
        end as reject_reason
    from newest

)

select * from final
