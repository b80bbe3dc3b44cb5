{% snapshot membership_user_levels %}

-- depends_on: {{ ref('membership_user_activity__accounting') }}

{{ config(unique_key='user_id', strategy='reported', check_cols=['membership_level'], updated_at='reported_on') }}

with

activity as (

    select * from {{ ref('membership_user_activity__current') }}
    where reject_reason is null

),

final as (

    select
        user_id,
        membership_level,
        level_rank,
        activity_date as reported_on,
        workbook_modified_at
    from activity
    qualify row_number() over (partition by user_id order by activity_date desc) = 1

)

select * from final

{% endsnapshot %}
