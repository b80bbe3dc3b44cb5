{#- Products as they are now and not deleted, with the reason for rejection if there is one. -#}
{% macro conformed_shop_products() -%}
    select
        *,
        case
            when name is null then 'missing_name'
            when list_price is null or list_price < 0 then 'invalid_amount'
        end as reject_reason
    from {{ ref('shop_products__current') }}
    where deleted_at is null
{%- endmacro %}
