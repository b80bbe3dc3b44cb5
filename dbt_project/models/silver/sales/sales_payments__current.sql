with

newest as (

    {{ newest_rows(source('bronze', 'sales_payments'), 'payment_id', [
        'payment_id',
        'invoice_id',
        'paid_on',
        'amount',
        'method',
        'reference',
        'updated_at'
    ]) }}

),

final as (

    select
        *,
        cast(updated_at as date) as source_day,
        case
            when amount = 0 then 'zero_amount'
            when method not in ('bank_transfer', 'card', 'direct_debit') then 'unknown_method'
        end as reject_reason
    from newest

)

select * from final
