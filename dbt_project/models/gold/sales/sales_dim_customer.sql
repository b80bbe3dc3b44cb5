-- depends_on: {{ ref('sales_customers__accounting') }}
-- depends_on: {{ ref('sales_employees__accounting') }}

with

-- of several versions of one day the last one counts
versions as (

    select
        *,
        cast(dbt_valid_from as date) as changed_on
    from {{ ref('sales_customers_snapshot') }}
    qualify row_number() over (partition by customer_id, cast(dbt_valid_from as date) order by dbt_valid_from desc) = 1

),

ranged as (

    select
        *,
        case
            when row_number() over (partition by customer_id order by changed_on) = 1 then date '1900-01-01'
            else changed_on
        end as valid_from,
        lead(changed_on) over (partition by customer_id order by changed_on) as next_from
    from versions

),

final as (

    select
        {{ surrogate_key(['ranged.customer_id', 'ranged.valid_from']) }} as customer_key,
        ranged.customer_id,
        ranged.customer_name,
        coalesce(ranged.segment, 'unknown') as segment,
        coalesce(ranged.industry, 'unknown') as industry,
        coalesce(ranged.country, 'unknown') as country,
        coalesce(managers.employee_key, -1) as account_manager_key,
        cast(ranged.created_at as date) as created_on,
        cast(ranged.closed_at as date) as closed_on,
        ranged.valid_from,
        coalesce(ranged.next_from, date '9999-12-31') as valid_to,
        ranged.next_from is null as is_current
    from ranged
    left join {{ ref('sales_dim_employee') }} as managers on ranged.account_manager_id = managers.employee_id
    union all
    select
        {{ unknown_member(['customer_key']) }},
        -1 as customer_id,
        'unknown' as customer_name,
        'unknown' as segment,
        'unknown' as industry,
        'unknown' as country,
        -1 as account_manager_key,
        {{ no_date() }} as created_on,
        {{ no_date() }} as closed_on,
        date '1900-01-01' as valid_from,
        date '9999-12-31' as valid_to,
        true as is_current

)

select * from final
