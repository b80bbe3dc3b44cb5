{#-
  What the models of the membership share. Workbooks are read whole and often twice: of rows with one key the one of the workbook
  that was changed last counts, the others are superseded. Nothing here is built by parts: a late workbook re-opens its day, and
  whether somebody topped up before, or came back, is asked of all days.
-#}

{#- Where a row of bronze is from. -#}
{% macro workbook_place() %}workbook, workbook_modified_at, sheet, sheet_row, source_day{% endmacro %}

{#- How many rows with the same `keys` are newer, plus one: 1 counts, the others are superseded. -#}
{% macro newest_first(keys) -%}
    row_number() over (
        partition by {{ keys | join(', ') }}
        order by workbook_modified_at desc, source_day desc, workbook desc, sheet desc, sheet_row desc
    )
{%- endmacro %}

{#- Levels from the lowest on; null for one that is none of them. -#}
{% macro membership_level_rank(level) -%}
    case {{ level }} when 'basic' then 0 when 'silver' then 1 when 'gold' then 2 when 'diamond' then 3 end
{%- endmacro %}

{#- The part of the day of an hour from 0 to 23. -#}
{% macro topup_day_segment(hour) -%}
    case
        when {{ hour }} < 6 then 'dawn'
        when {{ hour }} < 12 then 'morning'
        when {{ hour }} < 18 then 'afternoon'
        else 'evening'
    end
{%- endmacro %}

{#- Where the rows of `staged` went, by `keys`: `states` has those and the state of each row. They are counted apart, so that neither
    a row that is lost nor one that is there twice adds up. -#}
{% macro workbook_accounts(states, staged, keys) -%}
    {%- set kinds = ['silver', 'rejected', 'superseded'] -%}
    select
        {% for key in keys -%}
        bronze.{{ key }},
        {% endfor -%}
        bronze.bronze_rows,
        {% for kind in kinds -%}
        coalesce(placed.{{ kind }}_rows, 0) as {{ kind }}_rows,
        {% endfor -%}
        bronze.bronze_rows - coalesce(placed.silver_rows + placed.rejected_rows + placed.superseded_rows, 0) as unaccounted_rows
    from (
        select
            {{ keys | join(', ') }},
            count(*) as bronze_rows
        from {{ staged }}
        group by {{ keys | join(', ') }}
    ) as bronze
    left join (
        select
            {{ keys | join(', ') }}
            {%- for kind in kinds -%}
            ,
            cast(sum(case when state = '{{ kind }}' then 1 else 0 end) as bigint) as {{ kind }}_rows
            {%- endfor %}
        from {{ states }}
        group by {{ keys | join(', ') }}
    ) as placed on {% for key in keys %}bronze.{{ key }} = placed.{{ key }}{{ ' and ' if not loop.last }}{% endfor %}
{%- endmacro %}

{#- What became of a row: one thing, or null. Asked of the tables that it should be in, not of the rule that sent it there. -#}
{% macro workbook_row_state(recency, valid, rejected) -%}
    case
        when {{ recency }} > 1 then 'superseded'
        when {{ valid }} is not null and {{ rejected }} is null then 'silver'
        when {{ valid }} is null and {{ rejected }} is not null then 'rejected'
    end
{%- endmacro %}
