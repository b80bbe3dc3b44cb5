with

newest as (

    {{ newest_rows(source('bronze', 'sales_employees'), 'employee_id', [
        'employee_id',
        'full_name',
        'email',
        'team',
        'manager_id',
        'hired_on',
        'left_on',
        'updated_at'
    ]) }}

),

final as (

    select
        *,
        cast(updated_at as date) as source_day,
        nullif('none', 'none') as reject_reason -- there is no rule yet
    from newest

)

select * from final
