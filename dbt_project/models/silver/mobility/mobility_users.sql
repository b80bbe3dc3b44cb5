with

users as (

    select * from {{ source('bronze', 'mobility_users') }}

),

final as (

    select
        id as user_id,
        name,
        username,
        lower({{ trimmed('email') }}) as email,
        phone,
        website,
        {{ json_text('address', '$.street') }} as street,
        {{ json_text('address', '$.suite') }} as suite,
        {{ json_text('address', '$.city') }} as city,
        {{ json_text('address', '$.zipcode') }} as zipcode,
        {{ double_from_text(json_text('address', '$.geo.lat')) }} as latitude,
        {{ double_from_text(json_text('address', '$.geo.lng')) }} as longitude,
        {{ json_text('company', '$.name') }} as company_name,
        {{ json_text('company', '$.catchPhrase') }} as company_catch_phrase,
        {{ json_text('company', '$.bs') }} as company_bs
    from users

)

select * from final
