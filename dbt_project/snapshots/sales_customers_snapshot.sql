{% snapshot sales_customers_snapshot %}

-- depends_on: {{ ref('sales_customers__accounting') }}

{{ config(unique_key='customer_id', strategy='changed', updated_at='updated_at') }}

with

final as (

    select
        customer_id,
        customer_name,
        segment,
        industry,
        country,
        account_manager_id,
        created_at,
        closed_at,
        updated_at
    from {{ ref('sales_customers') }}

)

select * from final

{% endsnapshot %}
