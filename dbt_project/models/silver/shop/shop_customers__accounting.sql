with

versions as (

    select * from {{ ref('shop_customers__versions') }}

),

history as (

    select * from {{ ref('shop_customers_history') }}

),

live_rows as (

    select * from {{ ref('shop_customers') }}

),

rejected_rows as (

    select * from {{ ref('shop_customers__rejected') }}

),

-- every version is a row of the history, and only the newest one is its customer's state
states as (

    select
        versions.source_day,
        case
            when history.customer_id is null then null
            when versions.source_day <> history.source_day then 'repeated'
            when not history.is_current then 'superseded'
            else {{ row_state('history', 'customer_id') }}
        end as state
    from versions
    left join history on versions.customer_id = history.customer_id and versions.version = history.version
    left join live_rows on versions.customer_id = live_rows.customer_id
    left join rejected_rows on versions.customer_id = rejected_rows.customer_id

),

final as (

    {{ version_accounts('states', ref('shop_customers__versions')) }}

)

select * from final
