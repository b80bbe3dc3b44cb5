with

users as (

    select * from {{ ref('mobility_users') }}

),

final as (

    select
        city,
        count(*) as users,
        count(distinct company_name) as companies
    from users
    group by 1

)

select * from final
