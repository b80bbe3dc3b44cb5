-- depends_on: {{ ref('sales_employees__accounting') }}

with

employees as (

    select * from {{ ref('sales_employees') }}

),

keyed as (

    select
        {{ surrogate_key(['employees.employee_id']) }} as employee_key,
        employees.employee_id,
        employees.full_name,
        employees.team,
        coalesce({{ surrogate_key(['managers.employee_id']) }}, -1) as manager_key,
        employees.hired_on,
        employees.left_on
    from employees
    left join employees as managers on employees.manager_id = managers.employee_id

),

final as (

    select *
    from keyed
    union all
    select
        {{ unknown_member(['employee_key']) }},
        -1 as employee_id,
        'unknown' as full_name,
        'unknown' as team,
        -1 as manager_key,
        {{ no_date() }} as hired_on,
        {{ no_date() }} as left_on

)

select * from final
