with

pre as (

    select * from {{ source('bronze', 'membership_pre_deduction') }}
    where {{ every_month('source_day') }}

),

post as (

    select * from {{ source('bronze', 'membership_post_deduction') }}
    where {{ every_month('source_day') }}

),

final as (

    select
        'pre' as report,
        settlement_date,
        channel_code,
        channel_name,
        channel_type,
        top_up_count,
        {{ rounded('gross_amount') }} as gross_amount,
        null as deduction_rate,
        null as platform_fee,
        null as tax,
        null as net_amount,
        {{ workbook_place() }},
        {{ newest_first(['settlement_date', 'channel_code']) }} as recency
    from pre
    union all
    select
        'post' as report,
        settlement_date,
        channel_code,
        null as channel_name,
        null as channel_type,
        null as top_up_count,
        null as gross_amount,
        {{ rounded('deduction_rate', 4) }} as deduction_rate,
        {{ rounded('platform_fee') }} as platform_fee,
        {{ rounded('tax') }} as tax,
        {{ rounded('net_amount') }} as net_amount,
        {{ workbook_place() }},
        {{ newest_first(['settlement_date', 'channel_code']) }} as recency
    from post

)

select * from final
