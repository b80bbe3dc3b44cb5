"""A small published file whose gold keeps dbt's contract, made without running anything.

What belongs here: the tables and some hundred rows of them, by rule and without chance. What does not: what is
expected of whoever reads them.
"""

from pathlib import Path

import duckdb

from infra_assets.superset.contract import gold_contract
from lake.duck import quote

DAYS, ZONES, PRODUCTS, CUSTOMERS, MEMBERS, WEEKS = 45, 12, 18, 30, 40, 7
SETTLEMENT_GAP = 25.5  # of one settlement, outside tolerance

ROWS = {
    "gold.mobility_trips_by_zone_day": f"""
        SELECT service, DATE '2023-01-01' + day::INTEGER AS pickup_date, zone AS pickup_zone_id,
            ['Manhattan', 'Queens', 'Brooklyn', 'Bronx'][zone % 4 + 1] AS borough, 'Zone ' || zone AS zone,
            (zone * 3 + day % 7 * 5 + factor * 10) AS trips,
            CASE WHEN service <> 'fhv' THEN trips * (15 + zone) END AS revenue,
            CASE WHEN service <> 'fhv' THEN 1.5 + zone / 4 END AS avg_distance_miles,
            600 + zone * 20 AS avg_duration_seconds, 1800 + zone AS p95_duration_seconds,
            date_trunc('month', pickup_date) AS source_month
        FROM range({DAYS}) days(day), range(1, {ZONES + 1}) zones(zone),
            (VALUES ('yellow', 6), ('green', 1), ('fhv', 3)) services(service, factor)""",
    "gold.mobility_trips_by_hour": """
        SELECT service, hour::INTEGER AS pickup_hour, 100 + hour * factor AS trips,
            CASE WHEN service <> 'fhv' THEN trips * 20 END AS revenue
        FROM range(24) hours(hour), (VALUES ('yellow', 6), ('green', 1), ('fhv', 3)) services(service, factor)""",
    "gold.mobility_green_trips_by_payment_type": """
        SELECT code AS payment_type, name AS payment_type_name, trips, trips * 18 AS revenue, 2.5 AS avg_tip_amount,
            2.1 AS avg_distance_miles
        FROM (VALUES (1, 'Credit card', 900), (2, 'Cash', 400), (NULL, 'Not recorded', 50)) AS t(code, name, trips)""",
    "gold.mobility_users_by_city": """
        SELECT city, users, users AS companies FROM (VALUES ('Port Amara', 4), ('Qadira', 2), ('Velmoor', 1)) t(city, users)""",
    "gold.shop_orders_daily": f"""
        SELECT DATE '2023-03-01' + day::INTEGER AS order_date, 20 + day % 7 AS orders, orders * 3 AS items,
            orders * 80 AS gross_revenue, orders * 5 AS discount, day % 5 * 30 AS refunds,
            gross_revenue - discount - refunds AS net_revenue, 75 AS average_basket
        FROM range({DAYS}) days(day)""",
    "gold.shop_product_performance": f"""
        SELECT 'P' || product AS product_id, 'Product ' || product AS name,
            ['tops', 'trousers', 'shoes', 'outerwear'][product % 4 + 1] AS category, product % 9 = 0 AS is_deleted,
            40 - product AS orders, orders * 2 AS units, units * 25 AS gross_revenue, units AS discount,
            gross_revenue - discount AS revenue, product % 3 AS reviews,
            CASE WHEN product % 3 > 0 THEN 1 + product % 5 END AS average_rating
        FROM range({PRODUCTS}) products(product)""",
    "gold.shop_stock_on_hand": f"""
        SELECT 'P' || product AS product_id, 'Product ' || product AS product_name, warehouse, product * 4 - 8 AS on_hand,
            60 AS received, 60 - on_hand AS sold, 1 AS returned, -1 AS adjusted, 5 AS movements,
            TIMESTAMP '2023-04-10 08:00:00' + product * INTERVAL 3 HOUR AS last_moved_at
        FROM range({PRODUCTS}) products(product), (VALUES ('VIE1'), ('LYS2')) warehouses(warehouse)""",
    "gold.shop_customer_lifetime_value": f"""
        SELECT 'c' || customer AS customer_id, ['new', 'regular', 'vip'][customer % 3 + 1] AS segment,
            ['AT', 'FR', 'PT', NULL][customer % 4 + 1] AS country, customer % 10 = 0 AS is_deleted,
            DATE '2023-03-01' AS first_order_date, DATE '2023-04-01' AS last_order_date, customer % 8 + 1 AS orders,
            orders * 3 AS items, orders * 80 AS gross_revenue, orders * 5 AS discount, 10 AS refunds,
            gross_revenue - discount - refunds AS lifetime_value, 75 AS average_basket
        FROM range({CUSTOMERS}) customers(customer)""",
    # The facts of membership by rule, and the rest of it out of them: so its charts agree with each other.
    "gold.membership_fct_user_activity": f"""
        SELECT DATE '2023-03-01' + day::INTEGER AS activity_date, 'u' || member AS user_id,
            least(3, greatest(0, member % 4 + CASE WHEN member % 3 = 0 AND day >= 20 THEN 1
                WHEN member % 7 = 1 AND day >= 30 THEN -1 ELSE 0 END)) AS level_rank,
            ['basic', 'silver', 'gold', 'diamond'][level_rank + 1] AS membership_level,
            1 + (member + day) % 3 AS logins, 12.5 + member * 2 + day % 7 * 4 AS watch_minutes, member % 4 AS gifts_sent,
            (member * 3 + day * 4) % 5 AS topup_page_views
        FROM range({DAYS}) days(day), range({MEMBERS}) members(member)
        WHERE day >= member % 5 * 7 AND (member + day) % 3 > 0 AND NOT (member % 6 = 0 AND day > 25)""",
    "gold.membership_fct_topup": """
        SELECT 'T' || (1000 + row_number() OVER (ORDER BY activity_date, member)) AS top_up_id, user_id,
            ['APL', 'GGL', 'CVS', 'BNK'][member % 4 + 1] AS channel_code, activity_date AS topup_date,
            (member * 5 + day * 7) % 24 AS topup_hour,
            ['dawn', 'morning', 'afternoon', 'evening'][topup_hour // 6 + 1] AS topup_day_segment,
            activity_date + topup_hour * INTERVAL 1 HOUR - INTERVAL 8 HOUR AS paid_at,
            CASE (member + day) % 9 WHEN 0 THEN 'failed' WHEN 1 THEN 'refunded' ELSE 'succeeded' END AS status,
            coalesce(bool_or(status = 'succeeded') OVER (PARTITION BY user_id ORDER BY activity_date
                ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), FALSE) AS is_repeat_topup,
            [150, 300, 990, 1990][(member + day) % 4 + 1] AS amount,
            CASE WHEN status = 'succeeded' THEN amount ELSE 0 END AS paid_amount, amount * 7 AS diamonds,
            ['apple_pay', 'google_pay', 'convenience_store', 'bank_transfer'][member % 4 + 1] AS payment_method
        FROM (SELECT *, substr(user_id, 2)::INTEGER AS member, activity_date - DATE '2023-03-01' AS day
            FROM gold.membership_fct_user_activity WHERE topup_page_views > 2)""",
    # A fee is now and then above its rate, and one settlement misses its top-ups.
    "gold.membership_fct_channel_settlement": f"""
        SELECT settlement_date, channel_code, top_up_count, gross_amount,
            CASE channel_code WHEN 'APL' THEN 0.35 WHEN 'GGL' THEN 0.20 ELSE 0.10 END AS deduction_rate,
            round(gross_amount * (deduction_rate - 0.05), 2) + CASE WHEN day(settlement_date) % 9 = 0 THEN 40 ELSE 0 END
                AS platform_fee,
            round(gross_amount * 0.05, 2) AS tax, platform_fee + tax AS deductions,
            gross_amount - deductions - CASE WHEN settlement_date = DATE '2023-03-20' AND channel_code = 'CVS' THEN {SETTLEMENT_GAP} ELSE 0 END
                AS net_amount
        FROM (SELECT topup_date AS settlement_date, channel_code, count(*) AS top_up_count, sum(paid_amount) AS gross_amount
            FROM gold.membership_fct_topup WHERE status = 'succeeded' GROUP BY ALL)""",
    "gold.membership_dim_users": """
        SELECT user_id, 'Member ' || user_id AS nickname, min(activity_date) - 3 AS registered_on,
            min(activity_date) AS first_active_on, max(activity_date) AS last_active_on,
            max_by(membership_level, activity_date) AS membership_level, max_by(level_rank, activity_date) AS level_rank,
            min(activity_date) AS level_since, any_value(t.topups) AS topups, any_value(t.topup_amount) AS topup_amount
        FROM gold.membership_fct_user_activity LEFT JOIN (
            SELECT user_id, count(*) AS topups, sum(paid_amount) AS topup_amount
            FROM gold.membership_fct_topup WHERE status = 'succeeded' GROUP BY ALL) t USING (user_id) GROUP BY user_id""",
    "gold.membership_dim_channels": """
        SELECT channel_code, channel_name, channel_type, min(settlement_date) AS first_settled_on,
            max(settlement_date) AS last_settled_on
        FROM gold.membership_fct_channel_settlement JOIN (VALUES ('APL', 'App Store', 'app_store'),
            ('GGL', 'Google Play', 'app_store'), ('CVS', 'Corner shop', 'carrier'), ('BNK', 'Bank', 'bank'))
            names(channel_code, channel_name, channel_type) USING (channel_code) GROUP BY ALL""",
    "gold.membership_dim_dates": f"""
        SELECT DATE '2023-03-01' + day::INTEGER AS date_day, year(date_day) AS year, quarter(date_day) AS quarter,
            month(date_day) AS month, date_trunc('week', date_day)::DATE AS week_start, isodow(date_day) AS day_of_week,
            day_of_week > 5 AS is_weekend
        FROM range({DAYS}) days(day)""",
    "gold.membership_topup_funnel": """
        WITH days AS (
            SELECT a.activity_date, a.topup_page_views > 0 AS visited, t.user_id IS NOT NULL AS attempted,
                coalesce(t.status = 'succeeded', FALSE) AS paid, paid AND t.is_repeat_topup AS again
            FROM gold.membership_fct_user_activity a LEFT JOIN gold.membership_fct_topup t
                ON t.user_id = a.user_id AND t.topup_date = a.activity_date)
        SELECT activity_date, stage_order, stage, count(*) FILTER (
            CASE stage_order WHEN 1 THEN TRUE WHEN 2 THEN visited WHEN 3 THEN attempted WHEN 4 THEN paid ELSE again END) AS users
        FROM days, (VALUES (1, '1 active'), (2, '2 visited page'), (3, '3 attempted'), (4, '4 paid'), (5, '5 paid again'))
            stages(stage_order, stage) GROUP BY ALL""",
    "gold.membership_channel_performance": """
        SELECT topup_date, t.channel_code, any_value(channel_name) AS channel_name, any_value(channel_type) AS channel_type,
            count(*) AS orders, count(*) FILTER (status = 'succeeded') AS paid_orders,
            count(DISTINCT user_id) FILTER (status = 'succeeded') AS paying_users,
            count(*) FILTER (status = 'succeeded' AND is_repeat_topup) AS repeat_orders, sum(paid_amount) AS paid_amount,
            any_value(s.deductions) AS deductions, any_value(s.net_amount) AS net_amount
        FROM gold.membership_fct_topup t JOIN gold.membership_dim_channels USING (channel_code)
        LEFT JOIN gold.membership_fct_channel_settlement s
            ON s.channel_code = t.channel_code AND s.settlement_date = t.topup_date
        GROUP BY topup_date, t.channel_code""",
    "gold.membership_user_retention": f"""
        SELECT DATE '2023-02-27' + (cohort * 7)::INTEGER AS cohort_week, week AS week_number, 8 + cohort AS cohort_users,
            CASE week WHEN 0 THEN cohort_users ELSE greatest(0, 6 - week + cohort % 2) END AS active_users
        FROM range(5) cohorts(cohort), range({WEEKS}) weeks(week) WHERE cohort + week < {WEEKS}""",
    "gold.membership_membership_movement": f"""
        SELECT DATE '2023-02-27' + (week * 7)::INTEGER AS week_start, movement, from_level, to_level,
            CASE movement WHEN 'joined' THEN 8 - week ELSE users + week % 3 END AS users
        FROM range({WEEKS}) weeks(week), (VALUES ('joined', NULL, 'basic', 8), ('stayed', 'basic', 'basic', 14),
            ('stayed', 'gold', 'gold', 6), ('upgraded', 'basic', 'silver', 3), ('upgraded', 'silver', 'gold', 2),
            ('downgraded', 'gold', 'silver', 1), ('dropped_off', 'basic', NULL, 2), ('returned', NULL, 'silver', 1))
            moves(movement, from_level, to_level, users) WHERE movement = 'joined' OR week > 0""",
    "gold.membership_deduction_deviation": """
        SELECT settlement_date, channel_code, channel_name, gross_amount, deductions, net_amount,
            gross_amount AS topup_amount, round(gross_amount * deduction_rate, 2) AS expected_deductions,
            deductions - expected_deductions AS deviation, net_amount - (topup_amount - deductions) AS settlement_gap,
            abs(settlement_gap) <= 0.01 AS is_within_tolerance
        FROM gold.membership_fct_channel_settlement JOIN gold.membership_dim_channels USING (channel_code)""",
}


def write(path: Path) -> None:
    """Make the file, with every table that dbt's contract has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    contract = gold_contract()
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE SCHEMA gold")
        for table, rows in ROWS.items():
            columns = ", ".join(f"{quote(name)} {kind}" for name, kind in contract[table].items())
            connection.execute(f"CREATE TABLE {table} ({columns})")
            connection.execute(f"INSERT INTO {table} BY NAME {rows}")
    assert ROWS.keys() == contract.keys(), "gold has other tables than this file makes"
