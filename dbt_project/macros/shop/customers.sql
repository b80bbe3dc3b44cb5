{#- Customers as they are now and not deleted, with the reason for rejection if there is one. -#}
{% macro conformed_shop_customers() -%}
    select
        *,
        valid_from as updated_at,
        case
            when email is null or email not like '%_@_%' then 'invalid_email'
            when segment is null or segment not in ('new', 'regular', 'vip') then 'unknown_segment'
        end as reject_reason
    from {{ ref('shop_customers_history') }}
    where is_current and deleted_at is null
{%- endmacro %}

{#- The customers that were ever known, one row each: a parent that is deleted, or rejected, is still a parent. -#}
{% macro known_shop_customers() -%}
    select customer_id
    from {{ ref('shop_customers_history') }}
    where is_current
{%- endmacro %}
