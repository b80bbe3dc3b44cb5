{#- Every bronze row is in silver, rejected or a duplicate: fails for each month with rows unaccounted for. -#}
{% test row_accounting(model) %}
    select * from {{ model }} where unaccounted_rows <> 0
{% endtest %}

{#- `unique` for large tables: hashes first, values only where hashes meet; a fifth of the memory. -#}
{% test unique_by_hash(model, column_name) %}
    select {{ column_name }}, count(*) as copies
    from {{ model }}
    where {{ quick_hash([column_name]) }} in (
        select {{ quick_hash([column_name]) }} as value_hash from {{ model }} group by 1 having count(*) > 1
    )
    group by 1
    having count(*) > 1
{% endtest %}

{#- No two rows agree in all of `columns`. -#}
{% test unique_combination(model, columns) %}
    select {{ columns | join(', ') }}, count(*) as copies
    from {{ model }}
    group by {{ columns | join(', ') }}
    having count(*) > 1
{% endtest %}
