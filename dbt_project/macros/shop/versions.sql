{#-
  Versions: what bronze holds of the shop. A row of the source comes again whenever it has changed, in any order, and as often as
  loads repeat; silver takes what every load so far has brought together, so it does not depend on the order of the loads.

  The newest version of a key is the one changed last; of two that were changed at the same moment the one with the greater
  digest, so that every run decides alike. One version that came twice (S3: in two objects, or on two days) is the first of them.
-#}

{#- One row of `rows` for each combination of `keys`: the first by `order`. -#}
{% macro one_for_each(rows, keys, order) -%}
    select *
    from {{ rows }}
    qualify row_number() over (partition by {{ keys | join(', ') }} order by {{ order | join(', ') }}) = 1
{%- endmacro %}

{#- The newest of `versions` for each `key`. `places` tell where a version came from, for one that came twice. -#}
{% macro newest_version(versions, key, places) -%}
    {{ one_for_each(versions, [key], ['updated_at desc', 'version desc'] + places) }}
{%- endmacro %}

{#- Those of `rows`, one for each `key`, that the model's own table does not hold yet, or holds in an older version. So an hour
    that is run late, or again, never puts an older version over a newer one, and nothing is written that does not change. -#}
{% macro newer_than_known(rows, key, places) -%}
    select fresh.*
    from {{ rows }} as fresh
    {%- if is_incremental() %}
    left join {{ this }} as known on fresh.{{ key }} = known.{{ key }}
    where known.{{ key }} is null or {{ is_newer('fresh', 'known', places) }}
    {%- endif %}
{%- endmacro %}

{#- The rows of the keys in `rows` that the model's own table holds, as `columns`, which `rows` has. -#}
{% macro known_of_changed(rows, key, columns) -%}
    {%- if is_incremental() -%}
    select {{ columns }}
    from {{ this }}
    where {{ key }} in (select {{ key }} from {{ rows }})
    {%- else -%}
    select {{ columns }}
    from {{ rows }}
    where false
    {%- endif -%}
{%- endmacro %}

{#- The keys in `rows`, and those of the model's own table whose rows wait for a parent: they are looked at by every run. -#}
{% macro with_waiting(rows, key) -%}
    select {{ key }}
    from {{ rows }}
    union distinct
    select {{ key }}
    from {{ this if is_incremental() else rows }}
    {%- if is_incremental() %}
    where is_waiting
    {%- endif %}
{%- endmacro %}

{#- Those of `rows` that the model's own table does not hold, by `keys`, or holds with another value in one of `columns`. Only what
    it holds of the first key's values is compared: a join by all columns would read it whole. -#}
{% macro not_as_known(rows, keys, columns) -%}
    select fresh.*
    from {{ rows }} as fresh
    {%- if is_incremental() %}
    where not exists (
        select 1
        from (
            select {{ (keys + columns) | join(', ') }}
            from {{ this }}
            where {{ keys[0] }} in (select {{ keys[0] }} from {{ rows }})
        ) as known
        where
            {% for key in keys -%}known.{{ key }} = fresh.{{ key }}{{ ' and ' if not loop.last }}{%- endfor %}
            {%- for column in columns %} and known.{{ column }} is not distinct from fresh.{{ column }}{% endfor %}
    )
    {%- endif %}
{%- endmacro %}

{#- Whether the version `a` comes before the version `b` of the same key in the order of `newest_version`. -#}
{% macro is_newer(a, b, places) -%}
    {%- set steps = [('updated_at', '>'), ('version', '>')] -%}
    {%- for place in places -%}{%- do steps.append((place, '<')) -%}{%- endfor -%}
    {%- set alternatives = [] -%}
    {%- for column, sign in steps -%}
        {%- set parts = [] -%}
        {%- for equal, _ in steps[:loop.index0] -%}{%- do parts.append(a ~ '.' ~ equal ~ ' = ' ~ b ~ '.' ~ equal) -%}{%- endfor -%}
        {%- do parts.append(a ~ '.' ~ column ~ ' ' ~ sign ~ ' ' ~ b ~ '.' ~ column) -%}
        {%- do alternatives.append('(' ~ parts | join(' and ') ~ ')') -%}
    {%- endfor -%}
    ({{ alternatives | join(' or ') }})
{%- endmacro %}

{#-
  What became of each row of `versions`, a model `__versions`, as source_day, state: `live` and `rejected` (the relations
  say so), `deleted`, `superseded` by a newer version, `repeated` (the same version was taken from elsewhere), or null if none of
  these, or more than one.
-#}
{% macro version_states(versions, current, live, rejected, key, places) -%}
    select
        versions.source_day,
        case
            when current_rows.{{ key }} is null then null
            when {{ is_newer('current_rows', 'versions', []) }} then 'superseded'
            when not (versions.version = current_rows.version and versions.updated_at = current_rows.updated_at) then null
            {%- for place in places %}
            when versions.{{ place }} <> current_rows.{{ place }} then 'repeated'
            {%- endfor %}
            else {{ row_state('current_rows', key) }}
        end as state
    from {{ versions }} as versions
    left join {{ current }} as current_rows on versions.{{ key }} = current_rows.{{ key }}
    left join {{ live }} as live_rows on versions.{{ key }} = live_rows.{{ key }}
    left join {{ rejected }} as rejected_rows on versions.{{ key }} = rejected_rows.{{ key }}
{%- endmacro %}

{#- What became of a row that is its key's newest version, beside joins to `live_rows` and `rejected_rows`: one thing, or null. -#}
{% macro row_state(current_rows, key) -%}
    case
        when live_rows.{{ key }} is not null and rejected_rows.{{ key }} is not null then null
        when {{ current_rows }}.deleted_at is not null
            then case when live_rows.{{ key }} is null and rejected_rows.{{ key }} is null then 'deleted' end
        when live_rows.{{ key }} is not null then 'live'
        when rejected_rows.{{ key }} is not null then 'rejected'
    end
{%- endmacro %}

{#- Where the bronze rows of `versions`, a model `__versions`, went, day by day: `states` is what `version_states` gives. They are
    counted apart, so that neither a row that is lost nor one that is there twice adds up. -#}
{% macro version_accounts(states, versions) -%}
    {%- set kinds = ['live', 'rejected', 'deleted', 'superseded', 'repeated'] -%}
    select
        bronze.source_day,
        bronze.bronze_rows,
        {% for state in kinds -%}
        coalesce(placed.{{ state }}_rows, 0) as {{ state }}_rows,
        {% endfor -%}
        bronze.bronze_rows - coalesce({% for state in kinds %}placed.{{ state }}_rows{{ ' + ' if not loop.last }}{% endfor %}, 0)
            as unaccounted_rows
    from (
        select
            source_day,
            cast(sum(copies) as bigint) as bronze_rows
        from {{ versions }}
        group by 1
    ) as bronze
    left join (
        select
            source_day
            {%- for state in kinds -%}
            ,
            cast(sum(case when state = '{{ state }}' then 1 else 0 end) as bigint) as {{ state }}_rows
            {%- endfor %}
        from {{ states }}
        group by 1
    ) as placed on bronze.source_day = placed.source_day
{%- endmacro %}
