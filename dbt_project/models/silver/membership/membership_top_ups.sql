with

valid as (

    select * from {{ ref('membership_top_ups__current') }}
    where reject_reason is null

),

counted as (

    select
        *,
        sum(case when status = 'succeeded' then 1 else 0 end) over (
            partition by user_id
            order by paid_at, top_up_id
            rows between unbounded preceding and 1 preceding
        ) as earlier
    from valid

),

final as (

    select
        top_up_id,
        user_id,
        nickname,
        channel_code,
        paid_at,
        topup_date,
        topup_hour,
        topup_day_segment,
        coalesce(earlier, 0) > 0 as is_repeat_topup,
        amount,
        diamonds,
        payment_method,
        status,
        source_day
    from counted

)

select * from final
