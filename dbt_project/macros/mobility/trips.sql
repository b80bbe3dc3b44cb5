{#- What the trip services share: keys, the conformed form, the reasons for rejection, the account. -#}

{#- Columns that tell most trips of a service apart: they find the candidates for duplicates. -#}
{% macro trip_keys(service) -%}
    {{ return({
        'yellow': ['tpep_pickup_datetime', 'tpep_dropoff_datetime', 'PULocationID', 'DOLocationID'],
        'green': ['lpep_pickup_datetime', 'lpep_dropoff_datetime', 'PULocationID', 'DOLocationID'],
        'fhv': ['dispatching_base_num', 'pickup_datetime', 'dropOff_datetime', 'PUlocationID'],
    }[service]) }}
{%- endmacro %}

{#- The columns of a silver trip table, in their order. -#}
{% macro trip_columns() -%}
    trip_id, service, pickup_at, dropoff_at, pickup_date, pickup_hour, pickup_zone_id, dropoff_zone_id, passenger_count,
    trip_distance_miles, duration_seconds, fare_amount, tip_amount, total_amount, payment_type, source_month
{%- endmacro %}

{#- Why a trip is not valid: the first reason that holds, or null. Written so that NaN is never valid and null decides nothing. -#}
{% macro trip_reject_reason() -%}
    case
        when pickup_at is null or dropoff_at is null then 'missing_timestamp'
        when cast({{ dbt.date_trunc('month', 'pickup_at') }} as date) <> source_month then 'outside_partition'
        when dropoff_at < pickup_at then 'dropoff_before_pickup'
        when duration_seconds > 86400 then 'duration_over_24h'
        when pickup_zone_id is null or pickup_zone_id not between 1 and 265 then 'unknown_zone'
        when fare_amount < 0 or total_amount < 0 then 'negative_amount'
        when not trip_distance_miles between 0 and 500 then 'impossible_distance'
        -- what no decimal(18, 2) holds would become null in silver: rather here, where it is seen
        when not (fare_amount < 1e16 and total_amount < 1e16 and abs(coalesce(tip_amount, 0)) < 1e16) then 'amount_out_of_range'
    end
{%- endmacro %}

{#-
  `trips`, which holds the columns of `source` and its own names for them, in the conformed types, with `reject_reason` first.
  The costly `trip_id` is worked out in the last projection, above the filter by reason: only for rows that are wanted.
-#}
{% macro conformed_trips(trips, service, source) -%}
    select
        {{ trip_reject_reason() }} as reject_reason,
        {{ row_id(source) }} as trip_id,
        '{{ service }}' as service,
        pickup_at,
        dropoff_at,
        cast(pickup_at as date) as pickup_date,
        cast(extract(hour from pickup_at) as integer) as pickup_hour,
        cast(pickup_zone_id as bigint) as pickup_zone_id,
        cast(dropoff_zone_id as bigint) as dropoff_zone_id,
        cast(passenger_count as bigint) as passenger_count,
        {{ double('trip_distance_miles') }} as trip_distance_miles,
        duration_seconds,
        {{ decimal('fare_amount') }} as fare_amount,
        {{ decimal('tip_amount') }} as tip_amount,
        {{ decimal('total_amount') }} as total_amount,
        cast(payment_type as bigint) as payment_type,
        source_month
    from (
        select *, {{ dbt.datediff('pickup_at', 'dropoff_at', 'second') }} as duration_seconds
        from {{ trips }}
    ) as timed
{%- endmacro %}

{#- Where the window's bronze rows went, month by month. -#}
{% macro row_accounts(service, bronze, silver, rejected, duplicates) -%}
    select
        '{{ service }}' as service,
        source_month,
        cast(sum(bronze_rows) as bigint) as bronze_rows,
        cast(sum(silver_rows) as bigint) as silver_rows,
        cast(sum(rejected_rows) as bigint) as rejected_rows,
        cast(sum(duplicate_rows) as bigint) as duplicate_rows,
        cast(sum(bronze_rows - silver_rows - rejected_rows - duplicate_rows) as bigint) as unaccounted_rows
    from (
        select source_month, count(*) as bronze_rows, 0 as silver_rows, 0 as rejected_rows, 0 as duplicate_rows
        from {{ bronze }} where {{ in_window() }} group by 1
        union all
        select source_month, 0, count(*), 0, 0 from {{ silver }} where {{ in_window() }} group by 1
        union all
        select source_month, 0, 0, count(*), 0 from {{ rejected }} where {{ in_window() }} group by 1
        union all
        select source_month, 0, 0, 0, sum(copies - 1) from {{ duplicates }} where {{ in_window() }} group by 1
    ) as counts
    group by 2
{%- endmacro %}
