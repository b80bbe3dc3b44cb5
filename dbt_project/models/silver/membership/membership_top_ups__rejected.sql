with

final as (

    select
        reject_reason,
        top_up_id,
        user_id,
        channel_code,
        paid_at,
        amount,
        currency,
        diamonds,
        status,
        {{ workbook_place() }}
    from {{ ref('membership_top_ups__current') }}
    where reject_reason is not null

)

select * from final
