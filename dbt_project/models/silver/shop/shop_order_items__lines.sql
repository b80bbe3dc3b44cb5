-- depends_on: {{ ref('shop_orders__current') }}

with

versions as (

    select
        id as order_id,
        version,
        items,
        source_day
    from {{ source('bronze', 'shop_orders') }}
    where {{ in_days() }}

),

distinct_versions as (

    {{ one_for_each('versions', ['order_id', 'version'], ['source_day']) }}

),

-- a version does not change, so its lines are taken once
fresh as (

    {{ not_as_known('distinct_versions', ['order_id', 'version'], []) }}

),

elements as (

    {{ json_elements('fresh', 'items') }}

),

final as (

    select
        order_id,
        version,
        element_number as line_number,
        {{ integer_from_text(json_text('element', '$.line')) }} as source_line,
        {{ json_text('element', '$.product_id') }} as product_id,
        {{ integer_from_text(json_text('element', '$.quantity')) }} as quantity,
        {{ decimal_from_text(json_text('element', '$.unit_price')) }} as unit_price,
        -- a discount of a shape that has no amount is not none
        case
            when {{ json_is_missing('element', '$.discount') }} then {{ decimal_from_text("'0'") }}
            else {{ decimal_from_text(json_text('element', '$.discount')) }}
        end as discount_amount,
        source_day
    from elements

)

select * from final
