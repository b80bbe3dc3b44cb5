with

final as (

    select
        employee_id,
        full_name,
        email,
        team,
        manager_id,
        hired_on,
        left_on,
        updated_at,
        source_day
    from {{ ref('sales_employees__current') }}
    where reject_reason is null

)

select * from final
