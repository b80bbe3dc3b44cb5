with

final as (

    select
        reject_reason,
        report,
        settlement_date,
        channel_code,
        channel_type,
        top_up_count,
        gross_amount,
        deduction_rate,
        platform_fee,
        tax,
        net_amount,
        {{ workbook_place() }}
    from {{ ref('membership_channel_settlements__current') }}
    where reject_reason is not null

)

select * from final
