with

newest as (

    {{ newest_rows(source('bronze', 'sales_contracts'), 'contract_id', [
        'contract_id',
        'customer_id',
        'service_id',
        'employee_id',
        'starts_on',
        'ends_on',
        'monthly_amount',
        'status',
        'terms',
        'updated_at'
    ]) }}

),

final as (

    select
        *,
        cast(updated_at as date) as source_day,
        case
            when ends_on < starts_on then 'ends_before_start'
            when status not in ('active', 'ended', 'cancelled') then 'unknown_status'
        end as reject_reason
    from newest

)

select * from final
