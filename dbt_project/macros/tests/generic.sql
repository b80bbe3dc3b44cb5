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

{#- Every value of `column_name` is one of `field` in the relation `to`. Rows with another one say where, by the columns `place`. -#}
{% test known_in(model, column_name, to, field, place) %}
    select {{ place | join(', ') }}, {{ column_name }}, count(*) as row_count
    from {{ model }}
    where {{ column_name }} not in (select {{ field }} from {{ to }} where {{ field }} is not null)
    group by {{ place | join(', ') }}, {{ column_name }}
{% endtest %}

{#- `column_name` is at most `tolerance` from 0; the rows that are not say where. -#}
{% test within(model, column_name, tolerance) %}
    select * from {{ model }} where abs({{ column_name }}) > {{ tolerance }}
{% endtest %}

{#- Each of `columns` adds up to what the column that it is mapped to adds up to in the relation `to`; of no rows it is 0. -#}
{% test same_totals(model, columns, to) %}
    select *
    from (
        select
            {% for column in columns -%}
            coalesce(sum({{ column }}), 0) as {{ column }}{{ ',' if not loop.last }}
            {% endfor -%}
        from {{ model }}
    ) as here
    cross join (
        select
            {% for other in columns.values() -%}
            coalesce(sum({{ other }}), 0) as {{ other }}_there{{ ',' if not loop.last }}
            {% endfor -%}
        from {{ to }}
    ) as there
    where
        {% for column, other in columns.items() -%}
        here.{{ column }} <> there.{{ other }}_there{{ ' or' if not loop.last }}
        {% endfor -%}
{% endtest %}

{#- Every row keeps the condition; one for which it is null does not. -#}
{% test holds(model, condition) %}
    select * from {{ model }} where not coalesce({{ condition }}, false)
{% endtest %}
