-- depends_on: {{ ref('sales_services__accounting') }}

with

services as (

    select * from {{ ref('sales_services') }}

),

final as (

    select
        {{ surrogate_key(['service_id']) }} as service_key,
        service_id,
        service_code,
        service_name,
        coalesce(category, 'unknown') as category,
        unit,
        list_price,
        is_active
    from services
    union all
    select
        {{ unknown_member(['service_key']) }},
        -1 as service_id,
        'unknown' as service_code,
        'unknown' as service_name,
        'unknown' as category,
        'unknown' as unit,
        null as list_price,
        null as is_active

)

select * from final
