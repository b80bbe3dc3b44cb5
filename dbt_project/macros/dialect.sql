{#- Every difference between DuckDB and BigQuery that the models meet, one dispatched macro each. -#}

{#- `value` as DECIMAL(18, scale), null if it does not fit or is not a number. -#}
{% macro decimal(value, scale=2) %}{{ return(adapter.dispatch('decimal')(value, scale)) }}{% endmacro %}
{% macro default__decimal(value, scale) %}try_cast({{ value }} as decimal(18, {{ scale }})){% endmacro %}
{% macro bigquery__decimal(value, scale) -%}
    case when abs({{ value }}) < 1e16 then cast(round({{ value }} * 1e{{ scale }}) as numeric) / {{ 10 ** scale }} end
{%- endmacro %}

{#- A sum of money: `value`, which is a decimal or a number of whole cents, as DECIMAL(18, 2); an error if it does not fit. -#}
{% macro money(value) %}{{ return(adapter.dispatch('money')(value)) }}{% endmacro %}
{% macro default__money(value) %}cast({{ value }} as decimal(18, 2)){% endmacro %}
{% macro bigquery__money(value) %}cast({{ value }} as numeric){% endmacro %}

{#- Aggregate: the mean of `column`, which is DECIMAL(18, 2), as one, half a cent away from zero; null of no value. Worked out in
    whole cents: DuckDB's quotient is a double, whose 1.005 is a little less than that, BigQuery's is rounded to nine places. -#}
{% macro money_mean(column) %}{{ return(adapter.dispatch('money_mean')(column)) }}{% endmacro %}
{% macro default__money_mean(column) -%}
    cast(
        cast(
            sign(sum({{ column }}))
            * ((abs(cast(sum({{ column }}) * 100 as hugeint)) * 2 + count({{ column }})) // nullif(count({{ column }}) * 2, 0))
            as decimal(18, 0)
        ) * 0.01 as decimal(18, 2)
    )
{%- endmacro %}
{#- An error beyond a sum of 4e16 dollars. (Parentheses, and no `/`, for the emulator: div is an operator there, `/` gives a double.) -#}
{% macro bigquery__money_mean(column) -%}
    cast(
        cast(
            sign(sum({{ column }}))
            * div((abs(cast(sum({{ column }}) * 100 as int64)) * 2 + count({{ column }})), nullif(count({{ column }}) * 2, 0))
            as numeric
        ) * numeric '0.01' as numeric
    )
{%- endmacro %}

{#- `value` as DOUBLE. -#}
{% macro double(value) %}{{ return(adapter.dispatch('double')(value)) }}{% endmacro %}
{% macro default__double(value) %}cast({{ value }} as double){% endmacro %}
{% macro bigquery__double(value) %}cast({{ value }} as float64){% endmacro %}

{#- MD5 of a text, 32 hex digits. -#}
{% macro md5_hex(text) %}{{ return(adapter.dispatch('md5_hex')(text)) }}{% endmacro %}
{% macro default__md5_hex(text) %}md5({{ text }}){% endmacro %}
{% macro bigquery__md5_hex(text) %}to_hex(md5({{ text }})){% endmacro %}

{#- The texts one after another; a null adds nothing. -#}
{% macro concat_non_null(texts) %}{{ return(adapter.dispatch('concat_non_null')(texts)) }}{% endmacro %}
{% macro default__concat_non_null(texts) %}concat({{ texts | join(', ') }}){% endmacro %}
{% macro bigquery__concat_non_null(texts) -%}
    concat({% for text in texts %}coalesce({{ text }}, ''){{ ', ' if not loop.last }}{% endfor %})
{%- endmacro %}

{#- A 63-bit hash of some columns, never null; fast, and not the same on every engine or release: join by it within one run. -#}
{% macro quick_hash(columns) %}{{ return(adapter.dispatch('quick_hash')(columns)) }}{% endmacro %}
{% macro default__quick_hash(columns) %}cast(hash({{ columns | join(', ') }}) >> 1 as bigint){% endmacro %}
{% macro bigquery__quick_hash(columns) %}farm_fingerprint(to_json_string(struct({{ columns | join(', ') }}))){% endmacro %}

{#- `tag`, the shortest text that reads back as the same DOUBLE (`3.0`, never `-0.0`), `|`; null for null.
    DuckDB evaluates casts and text functions once for each dictionary entry, arithmetic and CASE once for each row. -#}
{% macro tagged_double(tag, column) %}{{ return(adapter.dispatch('tagged_double')(tag, column)) }}{% endmacro %}
{% macro default__tagged_double(tag, column) -%}
    replace('{{ tag }}' || cast({{ column }} as varchar) || '|', '{{ tag }}-0.0|', '{{ tag }}0.0|')
{%- endmacro %}
{% macro bigquery__tagged_double(tag, column) -%}
    '{{ tag }}' || case
        when {{ column }} = trunc({{ column }}) and abs({{ column }}) < 1e15
            then cast(cast({{ column }} as int64) as string) || '.0'
        -- cast to string takes 15 or 17 digits: a double that needs 16 would have another text than in DuckDB
        when cast(format('%.15g', {{ column }}) as float64) = {{ column }} then format('%.15g', {{ column }})
        when cast(format('%.16g', {{ column }}) as float64) = {{ column }} then format('%.16g', {{ column }})
        else format('%.17g', {{ column }})
    end || '|'
{%- endmacro %}

{#- Microseconds since 1970 of a timestamp without time zone. -#}
{% macro epoch_micros(column) %}{{ return(adapter.dispatch('epoch_micros')(column)) }}{% endmacro %}
{% macro default__epoch_micros(column) %}epoch_us({{ column }}){% endmacro %}
{% macro bigquery__epoch_micros(column) %}unix_micros(timestamp({{ column }})){% endmacro %}

{#- The text at `path` ($.a.b) of a JSON text; null for what is an object or an array, and if the text is no JSON. -#}
{% macro json_text(column, path) %}{{ return(adapter.dispatch('json_text')(column, path)) }}{% endmacro %}
{% macro default__json_text(column, path) -%}
    case when json_valid({{ column }}) then json_extract_string(json_value({{ column }}, '{{ path }}'), '$') end
{%- endmacro %}
{% macro bigquery__json_text(column, path) %}json_value({{ column }}, '{{ path }}'){% endmacro %}

{#- How many elements a JSON text has; null if it is no array. -#}
{% macro json_array_size(column) %}{{ return(adapter.dispatch('json_array_size')(column)) }}{% endmacro %}
{% macro default__json_array_size(column) -%}
    case when json_valid({{ column }}) then
        case when json_type({{ column }}) = 'ARRAY' then cast(json_array_length({{ column }}) as bigint) end
    end
{%- endmacro %}
{% macro bigquery__json_array_size(column) %}array_length({{ _json_query_array(column) }}){% endmacro %}
{#- The condition is for the emulator: BigQuery itself gives null for what is no array. -#}
{% macro _json_query_array(column) -%}
    case when starts_with(ltrim({{ column }}), '[') then json_query_array({{ column }}) end
{%- endmacro %}

{#- A query: each row of `relation` once for each element of `column`, a JSON text, with the element (JSON text too) and its
    place in the array, from 1, as `element` and `element_number`. No rows for what is no array. -#}
{% macro json_elements(relation, column) %}{{ return(adapter.dispatch('json_elements')(relation, column)) }}{% endmacro %}
{% macro default__json_elements(relation, column) -%}
    select * exclude (elements) replace (cast(element as varchar) as element)
    from (
        select
            *,
            unnest(elements) as element,
            unnest(range(1, len(elements) + 1)) as element_number
        from (
            select
                *,
                case when json_valid({{ column }}) then json_extract({{ column }}, '$[*]') end as elements
            from {{ relation }}
        ) as listed
    ) as unnested
{%- endmacro %}
{% macro bigquery__json_elements(relation, column) -%}
    select rows_with_elements.*, element, element_offset + 1 as element_number
    from {{ relation }} as rows_with_elements
    cross join unnest({{ _json_query_array('rows_with_elements.' ~ column) }}) as element with offset as element_offset
{%- endmacro %}

{#- Whether a JSON text has nothing at `path`, or null; null if it is no JSON. -#}
{% macro json_is_missing(column, path) %}{{ return(adapter.dispatch('json_is_missing')(column, path)) }}{% endmacro %}
{% macro default__json_is_missing(column, path) -%}
    coalesce(json_type({{ column }}, '{{ path }}'), 'NULL') = 'NULL'
{%- endmacro %}
{#- `null` is for the emulator: BigQuery itself gives null for JSON's. -#}
{% macro bigquery__json_is_missing(column, path) -%}
    coalesce(json_query({{ column }}, '{{ path }}'), 'null') = 'null'
{%- endmacro %}

{#- `text` without white space around it: the same pattern on both, for `trim` takes off spaces alone on DuckDB. -#}
{% macro trimmed(text) %}{{ return(adapter.dispatch('trimmed')(text)) }}{% endmacro %}
{% macro default__trimmed(text) %}regexp_replace({{ text }}, '^\s+|\s+$', '', 'g'){% endmacro %}
{% macro bigquery__trimmed(text) %}regexp_replace({{ text }}, r'^\s+|\s+$', ''){% endmacro %}

{#- `text` as DOUBLE, null if it is none. -#}
{% macro double_from_text(text) %}{{ return(adapter.dispatch('double_from_text')(text)) }}{% endmacro %}
{% macro default__double_from_text(text) %}try_cast({{ text }} as double){% endmacro %}
{% macro bigquery__double_from_text(text) %}safe_cast({{ text }} as float64){% endmacro %}

{#- `text` as an exact number; null if it is none. `1_000` is none, though DuckDB casts it. -#}
{% macro exact_from_text(text) %}{{ return(adapter.dispatch('exact_from_text')(text)) }}{% endmacro %}
{% macro default__exact_from_text(text) -%}
    try_cast(case when strpos({{ text }}, '_') = 0 then {{ text }} end as decimal(38, 9))
{%- endmacro %}
{#- The condition is for the emulator. -#}
{% macro bigquery__exact_from_text(text) -%}
    safe_cast(case when strpos({{ text }}, '_') = 0 then {{ text }} end as numeric)
{%- endmacro %}

{#- `text` as DECIMAL(18, scale), the last place half away from zero; null if it does not fit or is not a number. -#}
{% macro decimal_from_text(text, scale=2) %}{{ return(adapter.dispatch('decimal_from_text')(text, scale)) }}{% endmacro %}
{% macro default__decimal_from_text(text, scale) -%}
    try_cast({{ exact_from_text(text) }} as decimal(18, {{ scale }}))
{%- endmacro %}
{% macro bigquery__decimal_from_text(text, scale) -%}
    case
        when abs(round({{ exact_from_text(text) }}, {{ scale }})) < {{ 10 ** (18 - scale) }}
            then round({{ exact_from_text(text) }}, {{ scale }})
    end
{%- endmacro %}

{#- `text` as BIGINT; null if it does not fit or is not a whole number (`2.0` is). -#}
{% macro integer_from_text(text) %}{{ return(adapter.dispatch('integer_from_text')(text)) }}{% endmacro %}
{% macro default__integer_from_text(text) -%}
    case when {{ exact_from_text(text) }} = trunc({{ exact_from_text(text) }}) then try_cast({{ exact_from_text(text) }} as bigint) end
{%- endmacro %}
{% macro bigquery__integer_from_text(text) -%}
    case when {{ exact_from_text(text) }} = trunc({{ exact_from_text(text) }}) then safe_cast({{ exact_from_text(text) }} as int64) end
{%- endmacro %}

{#- Aggregate: the smallest value whose rank is at least ceil(fraction * n); exact, nulls do not count. -#}
{% macro percentile_disc(column, fraction) %}{{ return(adapter.dispatch('percentile_disc')(column, fraction)) }}{% endmacro %}
{% macro default__percentile_disc(column, fraction) %}quantile_disc({{ column }}, {{ fraction }}){% endmacro %}
{% macro bigquery__percentile_disc(column, fraction) -%}
    array_agg({{ column }} ignore nulls order by {{ column }})[
        safe_ordinal(cast(ceil(cast({{ fraction }} as numeric) * count({{ column }})) as int64))
    ]
{%- endmacro %}

{#- An exact number as DECIMAL(18, scale), the last place half away from zero; null if it does not fit. -#}
{% macro rounded(value, scale=2) %}{{ return(adapter.dispatch('rounded')(value, scale)) }}{% endmacro %}
{% macro default__rounded(value, scale) %}try_cast({{ value }} as decimal(18, {{ scale }})){% endmacro %}
{% macro bigquery__rounded(value, scale) -%}
    case when abs(round({{ value }}, {{ scale }})) < {{ 10 ** (18 - scale) }} then round({{ value }}, {{ scale }}) end
{%- endmacro %}

{#- `column`, a time in UTC without a zone, as the clock on the wall shows it in `zone`. -#}
{% macro local_time(column, zone) %}{{ return(adapter.dispatch('local_time')(column, zone)) }}{% endmacro %}
{% macro default__local_time(column, zone) -%}
    (({{ column }} at time zone 'UTC') at time zone '{{ zone }}')
{%- endmacro %}
{% macro bigquery__local_time(column, zone) %}datetime(timestamp({{ column }}), '{{ zone }}'){% endmacro %}

{#- The Monday of the week that `day` is in. -#}
{% macro week_start(day) %}{{ return(adapter.dispatch('week_start')(day)) }}{% endmacro %}
{% macro default__week_start(day) %}cast(date_trunc('week', {{ day }}) as date){% endmacro %}
{% macro bigquery__week_start(day) %}date_trunc({{ day }}, isoweek){% endmacro %}

{#- 1 for Monday to 7 for Sunday. -#}
{% macro day_of_week(day) %}{{ return(adapter.dispatch('day_of_week')(day)) }}{% endmacro %}
{% macro default__day_of_week(day) %}isodow({{ day }}){% endmacro %}
{% macro bigquery__day_of_week(day) %}mod(extract(dayofweek from {{ day }}) + 5, 7) + 1{% endmacro %}

{#- How many weeks after `first` `last` is; both are Mondays. -#}
{% macro weeks_from(first, last) %}{{ return(adapter.dispatch('weeks_from')(first, last)) }}{% endmacro %}
{% macro default__weeks_from(first, last) %}date_diff('day', {{ first }}, {{ last }}) // 7{% endmacro %}
{#- The parentheses are for the emulator, as in `money_mean`. -#}
{% macro bigquery__weeks_from(first, last) %}div((date_diff({{ last }}, {{ first }}, day)), 7){% endmacro %}

{#- One row for each day from `first_day` to `last_day` of `bounds`, which has one row: date_day. -#}
{% macro days_within(bounds) %}{{ return(adapter.dispatch('days_within')(bounds)) }}{% endmacro %}
{% macro default__days_within(bounds) -%}
    select cast(unnest(generate_series(cast(first_day as timestamp), cast(last_day as timestamp), interval 1 day)) as date) as date_day
    from {{ bounds }}
{%- endmacro %}
{% macro bigquery__days_within(bounds) -%}
    select date_day
    from {{ bounds }}, unnest(generate_date_array(first_day, last_day)) as date_day
{%- endmacro %}

{#- The first 60 bits of a text of hex digits as an integer. -#}
{% macro integer_from_hex(text) %}{{ return(adapter.dispatch('integer_from_hex')(text)) }}{% endmacro %}
{% macro default__integer_from_hex(text) %}cast('0x' || substr({{ text }}, 1, 15) as bigint){% endmacro %}
{% macro bigquery__integer_from_hex(text) %}cast('0x' || substr({{ text }}, 1, 15) as int64){% endmacro %}

{#- The first day of the month that `day` is in. -#}
{% macro month_start(day) %}{{ return(adapter.dispatch('month_start')(day)) }}{% endmacro %}
{% macro default__month_start(day) %}cast(date_trunc('month', {{ day }}) as date){% endmacro %}
{% macro bigquery__month_start(day) %}date_trunc({{ day }}, month){% endmacro %}

{#- The day a month after `day`, which is a first. -#}
{% macro next_month(day) %}{{ return(adapter.dispatch('next_month')(day)) }}{% endmacro %}
{% macro default__next_month(day) %}cast({{ day }} + interval 1 month as date){% endmacro %}
{% macro bigquery__next_month(day) %}date_add({{ day }}, interval 1 month){% endmacro %}

{#- How many days after `first` `last` is. -#}
{% macro days_from(first, last) %}{{ return(adapter.dispatch('days_from')(first, last)) }}{% endmacro %}
{% macro default__days_from(first, last) %}date_diff('day', {{ first }}, {{ last }}){% endmacro %}
{% macro bigquery__days_from(first, last) %}date_diff({{ last }}, {{ first }}, day){% endmacro %}
