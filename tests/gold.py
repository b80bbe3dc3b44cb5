"""A small published file whose gold keeps dbt's contract, made without running anything.

What belongs here: the tables and some hundred rows of them, by rule and without chance. What does not: what is
expected of whoever reads them.
"""

from pathlib import Path

import duckdb

from infra_assets.superset.contract import gold_contract
from lake.duck import quote

DAYS, ZONES, PRODUCTS, CUSTOMERS, MEMBERS, WEEKS = 45, 12, 18, 30, 40, 7
CLIENTS, SERVICES, EMPLOYEES, MONTHS = 36, 12, 9, 12  # of sales
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
    # The star of sales by rule, and what is paid, owed and earned out of it. A sixth of the clients changed their segment.
    "gold.sales_dim_customer": f"""
        SELECT client * 10 + version AS customer_key, client AS customer_id, 'Client ' || client AS customer_name,
            ['smb', 'mid_market', 'enterprise'][(client + version) % 3 + 1] AS segment,
            ['Software', 'Retail', 'Energy', NULL][client % 4 + 1] AS industry,
            ['AT', 'DE', 'FR', 'PT'][client % 4 + 1] AS country, client % {EMPLOYEES} + 1 AS account_manager_key,
            DATE '2021-05-01' + client::INTEGER AS created_on, CASE WHEN client % 11 = 0 THEN DATE '2023-02-28' END AS closed_on,
            CASE version WHEN 1 THEN DATE '1900-01-01' ELSE DATE '2022-10-15' END AS valid_from,
            CASE WHEN version = 1 AND client % 6 = 0 THEN DATE '2022-10-15' ELSE DATE '9999-12-31' END AS valid_to,
            valid_to = DATE '9999-12-31' AS is_current
        FROM range(1, {CLIENTS + 1}) clients(client), range(1, 3) versions(version) WHERE version = 1 OR client % 6 = 0
        UNION ALL BY NAME
        SELECT -1 AS customer_key, -1 AS customer_id, 'unknown' AS customer_name, 'unknown' AS segment, 'unknown' AS industry,
            'unknown' AS country, -1 AS account_manager_key, DATE '1900-01-01' AS valid_from, DATE '9999-12-31' AS valid_to,
            TRUE AS is_current""",
    "gold.sales_dim_service": f"""
        SELECT service AS service_key, service AS service_id, 'SV-' || service AS service_code,
            ['Virtual machine ', 'Block storage ', 'Load balancer ', 'SQL database ', 'Support plan '][service % 5 + 1]
                || ['S', 'M', 'L'][service // 5 + 1] AS service_name,
            ['compute', 'storage', 'network', 'database', 'support'][service % 5 + 1] AS category,
            ['hour', 'GB', 'GB', 'hour', 'month'][service % 5 + 1] AS unit, 0.0125 * service AS list_price,
            service <> 7 AS is_active
        FROM range(1, {SERVICES + 1}) services(service)
        UNION ALL BY NAME SELECT -1 AS service_key, -1 AS service_id, 'unknown' AS service_code, 'unknown' AS service_name,
            'unknown' AS category, 'unknown' AS unit""",
    "gold.sales_dim_employee": f"""
        SELECT employee AS employee_key, employee AS employee_id, 'Employee ' || employee AS full_name,
            ['North', 'South', 'Partners'][employee % 3 + 1] AS team, CASE WHEN employee > 1 THEN 1 ELSE -1 END AS manager_key,
            DATE '2020-01-01' AS hired_on
        FROM range(1, {EMPLOYEES + 1}) employees(employee)
        UNION ALL BY NAME SELECT -1 AS employee_key, -1 AS employee_id, 'unknown' AS full_name, 'unknown' AS team,
            -1 AS manager_key""",
    "gold.sales_dim_date": """
        SELECT year(date_day) * 10000 + month(date_day) * 100 + day(date_day) AS date_key, date_day, year(date_day) AS year,
            quarter(date_day) AS quarter, month(date_day) AS month, date_trunc('month', date_day)::DATE AS month_start,
            date_trunc('week', date_day)::DATE AS week_start, isodow(date_day) AS day_of_week, day_of_week > 5 AS is_weekend
        FROM (SELECT day::DATE AS date_day FROM generate_series(DATE '2022-04-01', DATE '2023-05-31', INTERVAL 1 DAY) days(day))
        UNION ALL BY NAME SELECT -1 AS date_key, DATE '1900-01-01' AS date_day,
            DATE '1900-01-01' AS month_start, DATE '1900-01-01' AS week_start""",
    "gold.sales_fct_invoice_line": f"""
        SELECT nth * 1000 + client * 10 + line_number AS line_id, nth * 100 + client AS invoice_id, 'INV-' || invoice_id AS invoice_number,
            line_number, (DATE '2022-04-01' + INTERVAL (nth) MONTH)::DATE AS invoice_month,
            invoice_month + (client % 27)::INTEGER AS issued_on,
            year(issued_on) * 10000 + month(issued_on) * 100 + day(issued_on) AS date_key,
            year(issued_on + 30) * 10000 + month(issued_on + 30) * 100 + day(issued_on + 30) AS due_date_key,
            CASE WHEN client = 35 AND nth = 11 THEN -1 WHEN client % 6 = 0 AND issued_on >= DATE '2022-10-15' THEN client * 10 + 2
                ELSE client * 10 + 1 END AS customer_key,
            (client + line_number * 5) % {SERVICES} + 1 AS service_key, client % {EMPLOYEES} + 1 AS employee_key,
            client * 10 + line_number AS contract_id,
            CASE WHEN invoice_id % 23 = 0 THEN 'void' WHEN nth < 6 + client % 5 OR client % 4 = 0 THEN 'paid' ELSE 'open' END AS invoice_status,
            100 + client * 7 % 40 + nth * 4 AS quantity, 2.4975 + service_key * 0.35 AS unit_price,
            CASE WHEN (client + nth) % 5 > 2 THEN round(quantity * unit_price * 0.04 * line_number, 2) END AS discount_amount,
            round(quantity * unit_price, 2) - coalesce(discount_amount, 0) AS net_amount, round(net_amount * 0.2, 2) AS tax_amount,
            net_amount + tax_amount AS gross_amount
        FROM range({MONTHS}) months(nth), range(1, {CLIENTS + 1}) clients(client), range(1, 4) numbers(line_number)
        WHERE client <= 14 + nth * 2 AND NOT (client % 11 = 0 AND nth = 11)""",
    # Each in three is paid by two thirds, one is paid twice, and some get a little back.
    "gold.sales_fct_payment": """
        WITH invoices AS (
            SELECT invoice_id, issued_on, customer_key, sum(gross_amount) AS gross, any_value(invoice_status) AS status
            FROM gold.sales_fct_invoice_line WHERE invoice_status <> 'void' GROUP BY ALL),
        paid AS (
            SELECT invoice_id, customer_key, issued_on + 9 + (invoice_id % 23)::INTEGER AS paid_on,
                CASE WHEN status = 'paid' THEN gross ELSE round(gross * 0.6, 2) END AS amount
            FROM invoices WHERE status = 'paid' OR invoice_id % 3 = 0
            UNION ALL SELECT invoice_id, customer_key, issued_on + 20, -50 FROM invoices WHERE invoice_id % 17 = 0
            UNION ALL SELECT invoice_id, customer_key, issued_on + 12, gross FROM invoices WHERE invoice_id = 204)
        SELECT row_number() OVER (ORDER BY invoice_id, amount DESC) AS payment_id, invoice_id, paid_on,
            year(paid_on) * 10000 + month(paid_on) * 100 + day(paid_on) AS date_key, customer_key, amount,
            ['bank_transfer', 'card', 'direct_debit'][invoice_id % 3 + 1] AS method, 'R' || invoice_id AS reference
        FROM paid WHERE paid_on <= DATE '2023-03-31'""",
    "gold.sales_revenue_monthly": """
        SELECT invoice_month AS revenue_month, category, segment, sum(net_amount) AS net_revenue,
            coalesce(sum(discount_amount), 0) AS discount_amount, count(DISTINCT invoice_id) AS invoices, count(*) AS lines,
            count(DISTINCT customer_id) AS customers
        FROM gold.sales_fct_invoice_line JOIN gold.sales_dim_customer USING (customer_key)
        JOIN gold.sales_dim_service USING (service_key) WHERE invoice_status <> 'void' GROUP BY ALL""",
    "gold.sales_churn_monthly": f"""
        WITH moved AS (
            SELECT nth, segment, size, 2 + (nth + size) % 2 AS new, CASE WHEN nth > 1 THEN (nth + size) % 3 ELSE 0 END AS lost,
                CASE WHEN nth % 5 = 4 THEN 1 ELSE 0 END AS back
            FROM range({MONTHS}) months(nth), (VALUES ('smb', 3), ('mid_market', 2), ('enterprise', 1)) segments(segment, size)),
        ended AS (
            SELECT *, 10 * size + sum(new + back - lost) OVER months AS customers_at_end,
                20000 + sum(new_mrr + grown - shrunk - lost_mrr) OVER months AS mrr_at_end
            FROM (SELECT *, (new + back) * 600 AS new_mrr, 300 + nth % 4 * 150 AS grown, nth % 3 * 120 AS shrunk,
                lost * 450 AS lost_mrr FROM moved) WINDOW months AS (PARTITION BY segment ORDER BY nth))
        SELECT (DATE '2022-04-01' + INTERVAL (nth) MONTH)::DATE AS month_start, segment,
            customers_at_end - new - back + lost AS customers_at_start, new AS new_customers, lost AS churned_customers,
            back AS returned_customers, customers_at_end, lost / customers_at_start AS churn_rate,
            mrr_at_end - new_mrr - grown + shrunk + lost_mrr AS mrr_at_start, new_mrr AS mrr_new, grown AS mrr_expansion,
            shrunk AS mrr_contraction, lost_mrr AS mrr_churned, mrr_at_end
        FROM ended""",
    "gold.sales_receivables_ageing": """
        WITH owed AS (
            SELECT segment, DATE '2023-03-31' - issued_on - 30 AS overdue, gross - coalesce(paid, 0) AS rest
            FROM (SELECT invoice_id, issued_on, customer_key, sum(gross_amount) AS gross FROM gold.sales_fct_invoice_line
                WHERE invoice_status <> 'void' GROUP BY ALL)
            LEFT JOIN (SELECT invoice_id, sum(amount) AS paid FROM gold.sales_fct_payment GROUP BY ALL) USING (invoice_id)
            JOIN gold.sales_dim_customer USING (customer_key))
        SELECT DATE '2023-03-31' AS as_of,
            CASE WHEN overdue <= 0 THEN '0 not due' WHEN overdue <= 30 THEN '1 1-30 days' WHEN overdue <= 60 THEN '2 31-60 days'
                WHEN overdue <= 90 THEN '3 61-90 days' ELSE '4 over 90 days' END AS bucket,
            segment, count(*) FILTER (rest > 0) AS invoices, coalesce(sum(rest) FILTER (rest > 0), 0) AS outstanding_amount,
            coalesce(-sum(rest) FILTER (rest < 0), 0) AS overpaid_amount
        FROM owed WHERE rest <> 0 GROUP BY ALL""",
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
