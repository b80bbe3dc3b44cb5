with

current_orders as (

    select * from {{ ref('shop_orders__current') }}

),

lines as (

    select * from {{ ref('shop_order_items__lines') }}

),

orders as (

    select * from {{ ref('shop_orders') }}

),

live_rows as (

    select * from {{ ref('shop_order_items') }}

),

rejected_rows as (

    select * from {{ ref('shop_order_items__rejected') }}

),

-- the lines of each order's newest version: each of them is in one place
states as (

    select
        current_orders.order_id,
        current_orders.source_day,
        coalesce(current_orders.line_count, 0) as order_lines,
        lines.line_number,
        case
            when live_rows.order_id is not null and rejected_rows.order_id is not null then null
            when orders.order_id is null
                then case when live_rows.order_id is null and rejected_rows.order_id is null then 'withheld' end
            when live_rows.order_id is not null then 'live'
            when rejected_rows.order_id is not null then 'rejected'
        end as state
    from current_orders
    left join lines on current_orders.order_id = lines.order_id and current_orders.version = lines.version
    left join orders on current_orders.order_id = orders.order_id
    left join live_rows on lines.order_id = live_rows.order_id and lines.line_number = live_rows.line_number
    left join rejected_rows on lines.order_id = rejected_rows.order_id and lines.line_number = rejected_rows.line_number

),

per_order as (

    select
        order_id,
        source_day,
        order_lines,
        sum(case when line_number is not null and state = 'live' then 1 else 0 end) as live_rows,
        sum(case when line_number is not null and state = 'rejected' then 1 else 0 end) as rejected_rows,
        sum(case when line_number is not null and state = 'withheld' then 1 else 0 end) as withheld_rows,
        sum(case when line_number is not null and state is null then 1 else 0 end)
        + abs(order_lines - count(line_number)) as unaccounted_rows
    from states
    group by 1, 2, 3

),

final as (

    select
        source_day,
        cast(sum(order_lines) as bigint) as order_lines,
        cast(sum(live_rows) as bigint) as live_rows,
        cast(sum(rejected_rows) as bigint) as rejected_rows,
        cast(sum(withheld_rows) as bigint) as withheld_rows,
        cast(sum(unaccounted_rows) as bigint) as unaccounted_rows
    from per_order
    group by 1

)

select * from final
