-- depends_on: {{ ref('shop_customers__versions') }}

with

versions as (

    select
        id as customer_id,
        version,
        lower({{ trimmed('email') }}) as email,
        {{ json_text('name', '$.first') }} as first_name,
        {{ json_text('name', '$.last') }} as last_name,
        phone,
        {{ json_text('address', '$.street') }} as street,
        {{ json_text('address', '$.city') }} as city,
        {{ json_text('address', '$.postcode') }} as postcode,
        {{ json_text('address', '$.country') }} as country,
        segment,
        marketing_consent,
        created_at,
        deleted_at,
        updated_at as valid_from,
        source_day
    from {{ source('bronze', 'shop_customers') }}
    where {{ in_days() }}

),

-- what is known of the customers that changed: a version that comes late cuts an interval that is there already
known as (

    {{ known_of_changed('versions', 'customer_id', shop_columns('customer_versions')) }}

),

changed as (

    select {{ shop_columns('customer_versions') }}
    from versions
    union all
    select {{ shop_columns('customer_versions') }}
    from known

),

distinct_versions as (

    {{ one_for_each('changed', ['customer_id', 'version'], ['source_day']) }}

),

intervals as (

    select
        *,
        lead(valid_from) over (partition by customer_id order by valid_from, version) as valid_to
    from distinct_versions

),

fresh as (

    select
        *,
        valid_to is null as is_current
    from intervals

),

final as (

    {{ not_as_known('fresh', ['customer_id', 'version'], ['valid_to']) }}

)

select * from final
