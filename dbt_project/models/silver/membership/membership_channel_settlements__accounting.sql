with

valid as (

    select
        'pre' as report,
        settlement_date,
        channel_code
    from {{ ref('membership_channel_settlements') }}
    where has_pre
    union all
    select
        'post' as report,
        settlement_date,
        channel_code
    from {{ ref('membership_channel_settlements') }}
    where has_post

),

states as (

    select
        staged.report,
        staged.source_day,
        {{ workbook_row_state('staged.recency', 'valid.channel_code', 'rejected.channel_code') }} as state
    from {{ ref('membership_channel_settlements__staged') }} as staged
    left join valid
        on
            staged.report = valid.report
            and staged.settlement_date = valid.settlement_date
            and staged.channel_code = valid.channel_code
    left join {{ ref('membership_channel_settlements__rejected') }} as rejected
        on
            staged.report = rejected.report
            and staged.settlement_date = rejected.settlement_date
            and staged.channel_code = rejected.channel_code

),

final as (

    {{ workbook_accounts('states', ref('membership_channel_settlements__staged'), ['report', 'source_day']) }}

)

select * from final
