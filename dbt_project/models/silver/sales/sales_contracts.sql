with

final as (

    select
        contract_id,
        customer_id,
        service_id,
        employee_id,
        starts_on,
        ends_on,
        monthly_amount,
        status,
        terms,
        updated_at,
        source_day
    from {{ ref('sales_contracts__current') }}
    where reject_reason is null

)

select * from final
