"""The questions of the domain membership: who comes, pays and stays, and what the channels leave of it.

Money is in New Taiwan dollars. Where a cent matters its unit is `NT$, cents`: the page shows `NT$` without them.
"""

from lake.report.sections import Section

REPORTS = {"Top-ups": "top_ups", "Settlements": "channel_settlements", "User activity": "user_activity"}
ACCOUNTS = " UNION ALL BY NAME ".join(
    f"SELECT '{title}' AS rows_of, * FROM {{silver.membership_{name}__accounting}}"  # noqa: S608 - our own names
    for title, name in REPORTS.items()
)
REJECTED = " UNION ALL BY NAME ".join(
    f"SELECT '{title}' AS rows_of, reject_reason "  # noqa: S608 - our own names
    f"FROM {{silver.membership_{name}__rejected: reject_reason}}"
    for title, name in REPORTS.items()
)

SECTIONS: tuple[Section, ...] = (
    Section(
        "Membership",
        "Days covered",
        "Which days are in it?",
        """
        SELECT count(*) AS "Days covered" FROM {gold.membership_dim_dates}
        """,
        "tiles",
    ),
    Section(
        "Membership",
        "Paid",
        "How much was paid, and by how many?",
        """
        SELECT sum(paid_amount) AS "Paid amount [NT$]",
            count(DISTINCT user_id) FILTER (status = 'succeeded') AS "Paying users"
        FROM {gold.membership_fct_topup}
        """,
        "tiles",
    ),
    Section(
        "Membership",
        "Retention in week 1",
        "How many come back in the week after their first?",
        """
        SELECT sum(active_users) / nullif(sum(cohort_users), 0) AS "Retention in week 1 [%]"
        FROM {gold.membership_user_retention} WHERE week_number = 1
        """,
        "tiles",
    ),
    Section(
        "Membership",
        "Deductions share",
        "How much of what was settled was deducted?",
        """
        SELECT sum(deductions) / nullif(sum(gross_amount) FILTER (deductions IS NOT NULL), 0) AS "Deductions share [%]"
        FROM {gold.membership_fct_channel_settlement}
        """,
        "tiles",
    ),
    Section(
        "Membership",
        "Funnel",
        "On an average day, how many come how far?",
        """
        SELECT stage AS "Stage", sum(users) / count(DISTINCT activity_date) AS "Users of an average day"
        FROM {gold.membership_topup_funnel} GROUP BY stage_order, stage ORDER BY stage_order
        """,
        "hbars",
    ),
    Section(
        "Membership",
        "Funnel by day",
        "How does that develop from day to day?",
        """
        SELECT activity_date AS "Day", stage AS "Stage", users AS "Users"
        FROM {gold.membership_topup_funnel} ORDER BY activity_date, stage_order
        """,
        "line",
    ),
    Section(
        "Membership",
        "Paid amount by channel",
        "Which channels bring money, and how much of it is left?",
        """
        WITH settled AS (
            SELECT coalesce(channel_name, channel_code) AS channel, coalesce(sum(paid_amount), 0) AS paid,
                coalesce(sum(net_amount), 0) AS net, coalesce(sum(deductions), 0) AS deductions,
                coalesce(sum(paid_amount) FILTER (net_amount IS NULL), 0) AS unsettled
            FROM {gold.membership_channel_performance} GROUP BY 1
        ),

        parts AS (
            SELECT channel, paid, unnest([1, 2, 3]) AS part_order,
                unnest(['Left after deductions', 'Deductions', 'Not settled yet']) AS part,
                unnest([net, deductions, unsettled]) AS amount
            FROM settled
        )
        SELECT channel AS "Channel", part AS "Part", amount AS "Amount [NT$]" FROM parts
        WHERE amount <> 0 ORDER BY paid DESC, channel, part_order
        """,
        "hbars",
    ),
    Section(
        "Membership",
        "Retention",
        "What share of those who came first in a week was active in the weeks after it?",
        """
        SELECT week_number AS "Weeks later", cohort_week AS "First week, its Monday",
            sum(active_users) / nullif(sum(cohort_users), 0) AS "Still active [%]"
        FROM {gold.membership_user_retention} GROUP BY ALL ORDER BY 2, 1
        """,
        "heatmap",
    ),
    Section(
        "Membership",
        "Channels",
        "What does each channel do?",
        """
        SELECT coalesce(c.channel_name, p.channel_code) AS "Channel", c.channel_type AS "Kind",
            sum(p.orders) AS "Top-ups", sum(p.paid_orders) AS "Paid [top-ups]",
            sum(p.repeat_orders) AS "Repeat [top-ups]", sum(p.paid_amount) AS "Paid [NT$]",
            sum(p.deductions) AS "Deductions [NT$]", sum(p.net_amount) AS "Left [NT$]",
            sum(p.deductions) / nullif(sum(p.paid_amount) FILTER (p.deductions IS NOT NULL), 0) AS "Deducted [%]",
            c.last_settled_on AS "Last settled"
        FROM {gold.membership_channel_performance} AS p
        LEFT JOIN {gold.membership_dim_channels} AS c ON p.channel_code = c.channel_code
        GROUP BY ALL ORDER BY sum(p.paid_amount) DESC, 1
        """,
        "table",
    ),
    Section(
        "Membership",
        "Movement between levels",
        "Who joins, moves up or down, leaves, returns, by week?",
        """
        SELECT week_start AS "Week, its Monday", movement AS "Movement", sum(users) AS "Users"
        FROM {gold.membership_membership_movement} WHERE movement <> 'stayed' GROUP BY ALL ORDER BY ALL
        """,
        "bars",
    ),
    Section(
        "Membership",
        "Deducted and expected",
        "Is as much deducted as the rates say?",
        """
        SELECT settlement_date AS "Day", unnest(['Deducted', 'Expected']) AS "Amounts",
            unnest([sum(deductions), sum(expected_deductions)]) AS "Amount [NT$]"
        FROM {gold.membership_deduction_deviation} GROUP BY 1 ORDER BY 1, 2
        """,
        "line",
    ),
    Section(
        "Membership",
        "Deviation by channel",
        "Which channels deduct other than expected, or settle other than was paid?",
        """
        SELECT coalesce(channel_name, channel_code) AS "Channel", count(*) AS "Settlements",
            sum(deductions) AS "Deducted [NT$, cents]", sum(expected_deductions) AS "Expected [NT$, cents]",
            sum(deviation) AS "Deviation [NT$, cents]",
            coalesce(sum(abs(settlement_gap)) FILTER (NOT is_within_tolerance), 0) AS "Gap [NT$, cents]",
            count(*) FILTER (NOT is_within_tolerance) AS "Outside tolerance [expected 0]"
        FROM {gold.membership_deduction_deviation} GROUP BY 1 ORDER BY 7 DESC, abs(sum(deviation)) DESC, 1
        """,
        "table",
    ),
    Section(
        "Membership",
        "Users by level",
        "Which levels do the users have?",
        """
        SELECT coalesce(membership_level, 'Unknown') AS "Level", count(*) AS "Users"
        FROM {gold.membership_dim_users} GROUP BY ALL ORDER BY max(level_rank) DESC NULLS LAST, 1
        """,
        "hbars",
    ),
    Section(
        "Membership",
        "Top-ups by part of the day",
        "When do people pay, for the first time and again?",
        """
        SELECT topup_day_segment AS "Part of the day", if(is_repeat_topup, 'Repeat', 'First') AS "Top-up",
            count(*) AS "Paid top-ups"
        FROM {gold.membership_fct_topup} WHERE status = 'succeeded' GROUP BY ALL ORDER BY min(topup_hour) // 6, 2
        """,
        "bars",
    ),
    Section(
        "Membership",
        "Minutes watched",
        "How long does an active user watch, by day?",
        """
        SELECT activity_date AS "Day", sum(watch_minutes) / count(DISTINCT user_id)
            AS "Watched by an active user [minutes]"
        FROM {gold.membership_fct_user_activity} GROUP BY 1 ORDER BY 1
        """,
        "line",
    ),
    Section(
        "Membership",
        "Reject reasons of membership",
        "Why were rows refused?",
        "WITH counted AS (SELECT reject_reason, rows_of, count(*) AS rejected FROM ("  # noqa: S608 - our own names
        + REJECTED
        + """
        ) GROUP BY ALL)
        SELECT reject_reason AS "Reason", rows_of AS "Rows of", rejected AS "Rows" FROM counted
        ORDER BY sum(rejected) OVER (PARTITION BY reject_reason) DESC, 1, 2
        """,
        "hbars",
    ),
    Section(
        "Membership",
        "Row accounting of membership",
        "Is every row accounted for?",
        """
        SELECT rows_of AS "Rows of", coalesce(report, '') AS "Report", sum(bronze_rows) AS "Bronze [rows]",
            sum(silver_rows) AS "Silver [rows]", sum(rejected_rows) AS "Rejected [rows]",
            sum(superseded_rows) AS "Older versions [rows]", sum(unaccounted_rows) AS "Unaccounted [expected 0]"
        FROM (
        """  # noqa: S608 - our own names
        + ACCOUNTS
        + ") GROUP BY ALL ORDER BY ALL",
        "table",
    ),
)
