with

states as (

    select
        staged.source_day,
        {{ workbook_row_state('staged.recency', 'valid.user_id', 'rejected.user_id') }} as state
    from {{ ref('membership_user_activity__staged') }} as staged
    left join {{ ref('membership_user_activity') }} as valid
        on staged.activity_date = valid.activity_date and staged.user_id = valid.user_id
    left join {{ ref('membership_user_activity__rejected') }} as rejected
        on staged.activity_date = rejected.activity_date and staged.user_id = rejected.user_id

),

final as (

    {{ workbook_accounts('states', ref('membership_user_activity__staged'), ['source_day']) }}

)

select * from final
