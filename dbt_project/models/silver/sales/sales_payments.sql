with

final as (

    select
        payment_id,
        invoice_id,
        paid_on,
        amount,
        method,
        reference,
        updated_at,
        source_day
    from {{ ref('sales_payments__current') }}
    where reject_reason is null

)

select * from final
