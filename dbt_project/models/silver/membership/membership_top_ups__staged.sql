with

top_up as (

    select * from {{ source('bronze', 'membership_top_up') }}
    where {{ every_month('source_day') }}

),

localised as (

    select
        *,
        {{ local_time('paid_at', var('membership_zone')) }} as paid_at_local
    from top_up

),

final as (

    select
        top_up_id,
        user_id,
        nickname,
        channel_code,
        paid_at,
        cast(paid_at_local as date) as topup_date,
        cast(extract(hour from paid_at_local) as bigint) as topup_hour,
        {{ rounded('amount') }} as amount,
        currency,
        diamonds,
        payment_method,
        status,
        {{ workbook_place() }},
        {{ newest_first(['top_up_id']) }} as recency
    from localised

)

select * from final
