with

states as (

    select
        staged.source_day,
        {{ workbook_row_state('staged.recency', 'valid.top_up_id', 'rejected.top_up_id') }} as state
    from {{ ref('membership_top_ups__staged') }} as staged
    left join {{ ref('membership_top_ups') }} as valid on staged.top_up_id = valid.top_up_id
    left join {{ ref('membership_top_ups__rejected') }} as rejected on staged.top_up_id = rejected.top_up_id

),

final as (

    {{ workbook_accounts('states', ref('membership_top_ups__staged'), ['source_day']) }}

)

select * from final
