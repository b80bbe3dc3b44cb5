with

final as (

    select
        reject_reason,
        payment_id,
        invoice_id,
        paid_on,
        amount,
        method,
        reference,
        updated_at,
        source_day
    from {{ ref('sales_payments__current') }}
    where reject_reason is not null

)

select * from final
