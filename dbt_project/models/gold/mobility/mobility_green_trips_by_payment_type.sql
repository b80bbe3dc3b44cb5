-- depends_on: {{ ref('mobility_green_trips__accounting') }}

with

trips as (

    select * from {{ ref('mobility_green_trips') }}

),

final as (

    select
        payment_type,
        case payment_type
            when 0 then 'Flex fare'
            when 1 then 'Credit card'
            when 2 then 'Cash'
            when 3 then 'No charge'
            when 4 then 'Dispute'
            when 5 then 'Unknown'
            when 6 then 'Voided trip'
            else 'Not recorded'
        end as payment_type_name,
        count(*) as trips,
        {{ money('sum(total_amount)') }} as revenue,
        {{ money_mean('tip_amount') }} as avg_tip_amount,
        round(
            {{ double('sum(' ~ decimal('trip_distance_miles', 4) ~ ')') }} / count(trip_distance_miles), 4
        ) as avg_distance_miles
    from trips
    group by 1, 2

)

select * from final
