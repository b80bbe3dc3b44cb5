with

final as (

    {{ sales_accounts(
        source('bronze', 'sales_employees'),
        ref('sales_employees__current'),
        ref('sales_employees'),
        ref('sales_employees__rejected'),
        'employee_id'
    ) }}

)

select * from final
