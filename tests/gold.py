"""A small published file whose gold keeps dbt's contract, made without running anything.

What belongs here: the tables and some hundred rows of them, by rule and without chance. What does not: what is
expected of whoever reads them.
"""

from pathlib import Path

import duckdb

from infra_assets.superset.contract import gold_contract
from lake.duck import quote

DAYS, ZONES, PRODUCTS, CUSTOMERS = 45, 12, 18, 30

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
