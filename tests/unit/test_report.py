"""The KPI report: right numbers, escaped texts, nothing from the network, whole files only."""

import json
import re
import shutil
import subprocess
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import duckdb
import pytest

from lake.errors import LakeError
from lake.report import SECTIONS, Section, render
from lake.report.page import show

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
EVIL = "<img src=x onerror=alert(1)> & </script><script>alert(2)</script>"


SHOP = """
    CREATE TABLE gold.shop_orders_daily AS SELECT DATE '2023-03-31' AS order_date, 4 AS orders, 100.50 AS net_revenue,
        -20.00 AS refunds, 120.50 AS gross_revenue, 0.50 AS discount;
    CREATE TABLE gold.shop_product_performance AS
    FROM (VALUES ('p1', 'Tee', 'tops', 70.25), ('p2', 'Tee', 'tops', 9.75), ('p3', 'Coat', NULL, 90.00))
        AS p (product_id, name, category, revenue);
    CREATE TABLE gold.shop_customer_lifetime_value AS
    FROM (VALUES ('FR', 'vip', 60.00), ('FR', 'new', 20.00), (NULL, 'new', 90.00)) AS c (country, segment, lifetime_value);
    CREATE TABLE gold.shop_stock_on_hand AS SELECT 'p1' AS product_id, 'Tee' AS product_name, 'LYS2' AS warehouse,
        -3 AS on_hand, 5 AS sold, TIMESTAMP '2023-03-31 18:00:00' AS last_moved_at;
""" + "".join(
    f"CREATE TABLE silver.shop_{name}__accounting AS SELECT DATE '2023-03-31' AS source_day, 10 AS bronze_rows, 7 AS "
    "live_rows, 1 AS rejected_rows, 1 AS deleted_rows, 1 AS superseded_rows, 0 AS repeated_rows, 0 AS unaccounted_rows;"
    for name in ("customers", "orders", "products", "reviews", "stock_movements")
)

# Two days of two channels. Anna paid twice, Ben once, his refunded order does not count; the shop's second day is not
# settled, and its first misses what was paid by half a dollar.
MEMBERSHIP = """
    CREATE TABLE gold.membership_dim_dates AS FROM (VALUES (DATE '2023-03-29'), (DATE '2023-03-30')) AS d (date_day);
    CREATE TABLE gold.membership_dim_users AS FROM (VALUES ('anna', 'gold', 2), ('ben', 'basic', 0), ('cleo', 'basic', 0),
        ('dan', NULL, NULL)) AS u (user_id, membership_level, level_rank);
    CREATE TABLE gold.membership_dim_channels AS FROM (VALUES ('app', 'App', 'app_store', DATE '2023-03-30'),
        ('cvs', 'Shop', 'carrier', DATE '2023-03-29')) AS c (channel_code, channel_name, channel_type, last_settled_on);
    CREATE TABLE gold.membership_fct_topup AS FROM (VALUES
        ('anna', 'succeeded', 13, 'afternoon', FALSE, 300.40), ('anna', 'succeeded', 2, 'dawn', TRUE, 100.20),
        ('ben', 'succeeded', 14, 'afternoon', FALSE, 50.00), ('ben', 'refunded', 20, 'evening', TRUE, 0.00),
        ('cleo', 'failed', 3, 'dawn', FALSE, 0.00)
    ) AS t (user_id, status, topup_hour, topup_day_segment, is_repeat_topup, paid_amount);
    CREATE TABLE gold.membership_fct_user_activity AS FROM (VALUES (DATE '2023-03-29', 'anna', 30.5),
        (DATE '2023-03-29', 'ben', 10.5), (DATE '2023-03-30', 'anna', 7.0)) AS a (activity_date, user_id, watch_minutes);
    CREATE TABLE gold.membership_fct_channel_settlement AS
    FROM (VALUES (300.00, 60.00), (100.00, 12.00), (5000.00, NULL)) AS s (gross_amount, deductions);
    CREATE TABLE gold.membership_topup_funnel AS FROM (VALUES
        (DATE '2023-03-29', 2, '2 visited page', 3), (DATE '2023-03-29', 1, '1 active', 5),
        (DATE '2023-03-30', 1, '1 active', 2), (DATE '2023-03-30', 2, '2 visited page', 0)
    ) AS f (activity_date, stage_order, stage, users);
    CREATE TABLE gold.membership_channel_performance AS FROM (VALUES
        ('app', 'App', 3, 2, 1, 120.00, 36.00, 84.00), ('cvs', 'Shop', 1, 1, 0, 200.00, 20.00, 179.50),
        ('cvs', 'Shop', 2, 1, 1, 130.60, NULL, NULL)
    ) AS p (channel_code, channel_name, orders, paid_orders, repeat_orders, paid_amount, deductions, net_amount);
    CREATE TABLE gold.membership_user_retention AS FROM (VALUES
        (DATE '2023-03-20', 0, 4, 4), (DATE '2023-03-20', 1, 4, 3), (DATE '2023-03-20', 2, 4, 0),
        (DATE '2023-03-27', 0, 6, 6), (DATE '2023-03-27', 1, 6, 1)
    ) AS r (cohort_week, week_number, cohort_users, active_users);
    CREATE TABLE gold.membership_membership_movement AS FROM (VALUES
        (DATE '2023-03-27', 'upgraded', 'basic', 'silver', 2), (DATE '2023-03-27', 'upgraded', 'silver', 'gold', 1),
        (DATE '2023-03-27', 'stayed', 'gold', 'gold', 9), (DATE '2023-03-20', 'joined', NULL, 'basic', 4),
        (DATE '2023-03-27', 'dropped_off', 'basic', NULL, 1)
    ) AS m (week_start, movement, from_level, to_level, users);
    CREATE TABLE gold.membership_deduction_deviation AS FROM (VALUES
        (DATE '2023-03-29', 'app', 'App', 36.50, 36.00, 0.50, 0.01, TRUE),
        (DATE '2023-03-29', 'cvs', 'Shop', 20.00, 20.00, 0.00, -0.50, FALSE),
        (DATE '2023-03-30', 'app', 'App', 10.00, 12.25, -2.25, 0.00, TRUE)
    ) AS d (settlement_date, channel_code, channel_name, deductions, expected_deductions, deviation, settlement_gap,
        is_within_tolerance);
    CREATE TABLE silver.membership_top_ups__accounting AS FROM (VALUES (20, 15, 2, 3, 0), (10, 8, 0, 1, 1))
        AS a (bronze_rows, silver_rows, rejected_rows, superseded_rows, unaccounted_rows);
    CREATE TABLE silver.membership_user_activity__accounting AS FROM (VALUES (7, 7, 0, 0, 0))
        AS a (bronze_rows, silver_rows, rejected_rows, superseded_rows, unaccounted_rows);
    CREATE TABLE silver.membership_channel_settlements__accounting AS
    FROM (VALUES ('pre', 4, 3, 1, 0, 0), ('post', 3, 3, 0, 0, 0))
        AS a (report, bronze_rows, silver_rows, rejected_rows, superseded_rows, unaccounted_rows);
    CREATE TABLE silver.membership_top_ups__rejected AS
    FROM (VALUES ('unknown_status', 'a'), ('no_user', 'b')) AS r (reject_reason, top_up_id);
    CREATE TABLE silver.membership_channel_settlements__rejected AS
    FROM (VALUES ('negative_amount', 1), ('negative_amount', 2), ('negative_amount', 3)) AS r (reject_reason, sheet_row);
    CREATE TABLE silver.membership_user_activity__rejected AS
    FROM (VALUES ('no_user', DATE '2023-03-29')) AS r (reject_reason, activity_date);
"""

# Two customers, two services, two teams. A void invoice, a line of an unknown one, a month of churn more than a year ago,
# and half a euro of March that is nowhere.
SALES = """
    CREATE TABLE gold.sales_revenue_monthly AS FROM (VALUES
        (DATE '2023-03-01', 'compute', 'smb', 500.00, 0.00), (DATE '2023-03-01', 'storage', 'enterprise', 300.50, 99.50),
        (DATE '2023-02-01', 'compute', 'smb', 900.00, 100.00)
    ) AS r (revenue_month, category, segment, net_revenue, discount_amount);
    CREATE TABLE gold.sales_churn_monthly AS FROM (VALUES
        (DATE '2022-03-01', 'smb', 10, 10, 10, 0, 10, 9000.00, 0.00, 0.00, 0.00, 8000.00, 1000.00),
        (DATE '2022-04-01', 'smb', 10, 2, 1, 1, 12, 1000.00, 200.00, 50.00, 20.00, 100.00, 1130.00),
        (DATE '2023-03-01', 'smb', 12, 0, 2, 0, 10, 1130.00, 0.00, 0.00, 30.00, 200.00, 900.00),
        (DATE '2023-03-01', 'enterprise', 0, 1, 0, 0, 1, 0.00, 400.00, 0.00, 0.00, 0.00, 400.00)
    ) AS c (month_start, segment, customers_at_start, new_customers, churned_customers, returned_customers,
        customers_at_end, mrr_at_start, mrr_new, mrr_expansion, mrr_contraction, mrr_churned, mrr_at_end);
    CREATE TABLE gold.sales_receivables_ageing AS FROM (VALUES ('4 over 90 days', 'enterprise', 299.75, 5.00),
        ('0 not due', 'smb', 100.25, 0.00), ('1 1-30 days', 'smb', 0.00, 12.50), ('1 1-30 days', 'enterprise', 1.00, 0.00)
    ) AS a (bucket, segment, outstanding_amount, overpaid_amount);
    CREATE TABLE gold.sales_dim_customer AS FROM (VALUES (1, 'smb'), (2, 'enterprise'), (-1, 'unknown')) AS c (customer_key, segment);
    CREATE TABLE gold.sales_dim_service AS FROM (VALUES (1, 'VM', 'C1', 'compute'), (2, NULL, 'Disk', 'storage'), (-1, 'unknown', 'unknown', 'unknown'))
        AS s (service_key, service_name, service_code, category);
    CREATE TABLE gold.sales_dim_employee AS FROM (VALUES (1, 'North'), (2, 'South'), (-1, 'unknown')) AS e (employee_key, team);
    CREATE TABLE gold.sales_dim_date AS FROM (VALUES (20230331, DATE '2023-03-01'), (20230430, DATE '2023-04-01'), (-1, NULL))
        AS d (date_key, month_start);
    CREATE TABLE gold.sales_fct_invoice_line AS FROM (VALUES
        (DATE '2023-03-01', 'paid', 1, 1, 1, 20230430, 500.00, 600.00), (DATE '2023-03-01', 'open', 2, 2, 2, 20230430, 300.50, 360.60),
        (DATE '2023-02-01', 'open', 1, 1, 1, 20230331, 900.00, 1080.00), (DATE '2023-02-01', 'void', 2, 1, 1, 20230331, 5000.00, 6000.00),
        (DATE '1900-01-01', 'unknown', 1, -1, -1, -1, 7.00, 8.40)
    ) AS f (invoice_month, invoice_status, service_key, customer_key, employee_key, due_date_key, net_amount, gross_amount);
    CREATE TABLE gold.sales_fct_payment AS FROM (VALUES (DATE '2023-03-05', 600.00, 'card'), (DATE '2023-03-20', -50.50, 'card'),
        (DATE '2023-02-11', 100.00, 'bank_transfer')) AS p (paid_on, amount, method);
    CREATE TABLE silver.sales_invoice_totals AS FROM (VALUES (DATE '2023-03-01', 801.00, 0.00, 0.00),
        (DATE '2023-02-01', 5900.00, 0.00, 0.00), (DATE '2023-02-01', 10.02, 10.00, 0.02),
        (DATE '1900-01-01', 0.00, 0.00, -7.00)
    ) AS t (invoice_month, header_net, rejected_net, difference_net);
    CREATE TABLE silver.sales_customers__accounting AS FROM (VALUES (20, 15, 2, 3, 0), (10, 8, 1, 1, 0))
        AS a (bronze_rows, silver_rows, rejected_rows, superseded_rows, unaccounted_rows);
    CREATE TABLE silver.sales_customers__rejected AS FROM (VALUES ('unknown_segment', 7)) AS r (reject_reason, customer_id);
    CREATE TABLE silver.sales_invoice_lines__rejected AS FROM (VALUES ('net_mismatch'), ('net_mismatch'), ('invalid_quantity'))
        AS r (reject_reason);
    CREATE TABLE silver.sales_payments__rejected AS SELECT 'zero_amount' AS reject_reason;
""" + "".join(
    f"CREATE TABLE silver.sales_{name}__accounting AS SELECT 5 AS bronze_rows, 5 AS silver_rows, 0 AS rejected_rows, "
    "0 AS superseded_rows, 0 AS unaccounted_rows;"
    + (
        ""
        if name in ("invoice_lines", "payments")
        else f"CREATE TABLE silver.sales_{name}__rejected AS SELECT 'none' AS reject_reason WHERE FALSE;"
    )
    for name in ("contracts", "employees", "invoice_lines", "invoices", "payments", "services")
)


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A published file as dbt would build it: services, months, and a little of the shop, of membership and of sales."""
    path = tmp_path / "published.duckdb"
    with duckdb.connect(str(path)) as db:
        db.execute("CREATE SCHEMA gold; CREATE SCHEMA silver")
        db.execute("""
            CREATE TABLE gold.mobility_trips_by_zone_day AS
            SELECT service, day::DATE AS pickup_date, zone AS pickup_zone_id, 'Manhattan' AS borough,
                'Zone number ' || zone AS zone,
                (base * (10 + day_of * 2 + zone % 7))::BIGINT AS trips,
                (base * (10 + zone % 7) * 17.35)::DECIMAL(18, 2) AS revenue, 2.5 AS avg_distance_miles,
                600.0 AS avg_duration_seconds, 1800.0 AS p95_duration_seconds,
                strftime(day, '%Y-%m') AS source_month
            FROM (VALUES ('yellow', 9), ('green', 2), ('fhvhv', 14)) AS s (service, base),
                (SELECT day, dayofweek(day) AS day_of
                 FROM generate_series(DATE '2024-01-01', DATE '2024-02-29', INTERVAL 1 DAY) AS d (day)),
                range(1, 31) AS z (zone)
        """)
        db.execute("""
            CREATE TABLE gold.mobility_trips_by_hour AS
            SELECT service, hour::INT AS pickup_hour, 1000.0 AS revenue,
                (base * (30 + 20 * sin((hour - 9) / 3.8)))::BIGINT AS trips
            FROM (VALUES ('yellow', 900), ('green', 200), ('fhvhv', 1400)) AS s (service, base),
                range(24) AS h (hour)
        """)
        db.execute("""
            CREATE TABLE gold.mobility_green_trips_by_payment_type AS
            FROM (VALUES (1, 'Credit card', 51234, 1.0), (2, 'Cash', 20111, 1.0), (3, 'No charge', 402, 1.0),
                (NULL, NULL, 77, 1.0)) AS p (payment_type, payment_type_name, trips, revenue)
        """)
        db.execute("CREATE TABLE gold.mobility_users_by_city (city VARCHAR, users BIGINT, companies BIGINT)")
        db.executemany(
            "INSERT INTO gold.mobility_users_by_city VALUES (?, ?, 1)",
            [[city, 3 if city == EVIL else 1] for city in (EVIL, "Gwenborough", "Wisokyburgh", "South Elvis")],
        )
        for service, unaccounted in (("yellow", 0), ("green", 7)):
            db.execute(f"""
                CREATE TABLE silver.mobility_{service}_trips__accounting AS
                SELECT '{service}' AS service, month AS source_month, 1000000 AS bronze_rows,
                    990000 AS silver_rows,
                    9000 AS rejected_rows, 1000 AS duplicate_rows, {unaccounted} AS unaccounted_rows
                FROM (VALUES ('2024-01'), ('2024-02')) AS m (month)
            """)
            db.execute(f"""
                CREATE TABLE silver.mobility_{service}_trips__rejected AS
                SELECT reason AS reject_reason, '{service}' AS service, '2024-01' AS source_month,
                    {"1" if service == "green" else "{'a': 1}"} AS raw
                FROM (VALUES ('pickup_after_dropoff', 60), ('zone_missing', 25), ('negative_fare', 12))
                    AS r (reason, rows), range(rows)
            """)
        db.execute(SHOP)
        db.execute(MEMBERSHIP)
        db.execute(SALES)
    return path


def figures(page: str) -> dict[str, Any]:
    match = re.search(r"const figures = (\{.*\});\n", page)
    assert match
    found: dict[str, Any] = json.loads(match[1])
    return found


def charts(page: str) -> dict[str, Any]:
    """Each chart by its section's title."""
    drawn = figures(page)
    named = re.findall(r'id="(chart-\d+)" role="img" aria-label="(.*?)"', page)
    assert [number for number, _ in named] == list(drawn)
    return {unescape(title): drawn[number] for number, title in named}


def bars(chart: Any, along: str = "x") -> dict[str, list[tuple[Any, Any]]]:
    """What a chart shows: for each series, the pairs of category and value in their order."""
    across = "y" if along == "x" else "x"
    return {trace["name"]: list(zip(trace[along], trace[across], strict=True)) for trace in chart["data"]}


def cells(page: str, title: str) -> list[list[str]]:
    """The rows of a section's table as texts, head first."""
    card = page.split(f'<p class="kicker">{title}</p>')[1].split("</article>", maxsplit=1)[0]
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall(r"<tr>(.*?)</tr>", card)]


class Tags(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


def test_numbers_come_from_the_tables(published: Path, tmp_path: Path) -> None:
    page = render(published, tmp_path / "reports" / "kpi.html").read_text()
    with duckdb.connect(str(published), read_only=True) as db:
        total = db.execute("SELECT sum(trips), sum(revenue) FROM gold.mobility_trips_by_zone_day").fetchone()
    assert total
    tiles = dict(re.findall(r'<div class="tile"><dt>(.*?)</dt><dd>(.*?)</dd>', page))
    assert tiles == {
        "Days covered": "2",
        "Paid amount": "NT$451",
        "Paying users": "2",
        "Retention in week 1": "40.00 %",
        "Deductions share": "18.00 %",
        "Trips": f"{total[0]:,}",
        "Revenue": f"${total[1]:,.0f}",
        "Services": "3",
        "Months": "2",
        "Rejected share": "0.90 %",
        "Net revenue, all months": "€1,700",
        "Discount share, all months": "10.50 %",
        "Recurring, last month": "€1,300",
        "Churn a month, of 12 months": "13.64 %",
        "Outstanding, gross": "€401",
        "Overdue share": "75.00 %",
        "Orders": "4",
        "Net revenue": "€100",
        "Refunds": "-€20",
        "Average basket": "€30",
    }
    drawn = charts(page)
    assert len(drawn) == 33
    assert bars(drawn["Top 15 products"], "y") == {"Revenue": [("Coat", 90.0), ("Tee", 80.0)]}
    countries = bars(drawn["Customers' value by country"], "y")
    assert countries == {"new": [("Unknown", 90.0), ("FR", 20.0)], "vip": [("FR", 60.0)]}
    per_day = {trace["name"]: trace for trace in drawn["Trips per day"]["data"]}
    assert per_day.keys() == {"yellow", "green", "fhvhv"}
    assert per_day["yellow"]["x"][0] == "2024-01-01"
    assert len(per_day["yellow"]["x"]) == 60
    assert sum(sum(trace["y"]) for trace in per_day.values()) == total[0]
    zones = drawn["Top 15 pickup zones"]["data"][0]
    assert len(zones["y"]) == 15
    assert zones["x"] == sorted(zones["x"], reverse=True)
    reasons = [("pickup_after_dropoff", 60), ("zone_missing", 25), ("negative_fare", 12)]
    assert bars(drawn["Reject reasons"], "y") == {"yellow": reasons, "green": reasons}
    assert page.count('<td class="n bad">7</td>') == 2
    assert "Left out" not in page


def test_the_numbers_of_membership_come_from_its_tables(published: Path, tmp_path: Path) -> None:
    page = render(published, tmp_path / "kpi.html").read_text()
    drawn = charts(page)
    assert bars(drawn["Funnel"], "y") == {"Users of an average day": [("1 active", 3.5), ("2 visited page", 1.5)]}
    days = ("2023-03-29", "2023-03-30")
    assert bars(drawn["Funnel by day"]) == {
        "1 active": list(zip(days, (5, 2), strict=True)),
        "2 visited page": list(zip(days, (3, 0), strict=True)),
    }
    assert bars(drawn["Paid amount by channel"], "y") == {  # the one that brings most on top
        "Left after deductions": [("Shop", 179.5), ("App", 84.0)],
        "Deductions": [("Shop", 20.0), ("App", 36.0)],
        "Not settled yet": [("Shop", 130.6)],
    }
    (cohorts,) = drawn["Retention"]["data"]
    assert list(zip(cohorts["y"], cohorts["x"], cohorts["z"], strict=True)) == [
        ("2023-03-20", 0, 1.0), ("2023-03-20", 1, 0.75), ("2023-03-20", 2, 0.0),
        ("2023-03-27", 0, 1.0), ("2023-03-27", 1, pytest.approx(1 / 6)),
    ]  # fmt: skip
    assert bars(drawn["Movement between levels"]) == {  # who stayed would hide the others
        "joined": [("2023-03-20", 4)],
        "dropped_off": [("2023-03-27", 1)],
        "upgraded": [("2023-03-27", 3)],
    }
    assert bars(drawn["Deducted and expected"]) == {
        "Deducted": list(zip(days, (56.5, 10.0), strict=True)),
        "Expected": list(zip(days, (56.0, 12.25), strict=True)),
    }
    assert bars(drawn["Users by level"], "y") == {"Users": [("gold", 1), ("basic", 2), ("Unknown", 1)]}
    assert bars(drawn["Top-ups by part of the day"]) == {"Repeat": [("dawn", 1)], "First": [("afternoon", 2)]}
    assert drawn["Top-ups by part of the day"]["layout"]["xaxis"]["categoryarray"] == ["dawn", "afternoon"]
    assert bars(drawn["Minutes watched"]) == {
        "Watched by an active user": list(zip(days, (20.5, 7.0), strict=True)),
    }
    assert bars(drawn["Reject reasons of membership"], "y") == {
        "Settlements": [("negative_amount", 3)],
        "Top-ups": [("no_user", 1), ("unknown_status", 1)],
        "User activity": [("no_user", 1)],
    }


def test_the_tables_of_membership_show_cents_where_they_matter_and_alarms(published: Path, tmp_path: Path) -> None:
    page = render(published, tmp_path / "kpi.html").read_text()
    assert cells(page, "Channels")[1:] == [
        ["Shop", "carrier", "3", "2", "1", "NT$331", "NT$20", "NT$180", "10.00 %", "2023-03-29"],
        ["App", "app_store", "3", "2", "1", "NT$120", "NT$36", "NT$84", "30.00 %", "2023-03-30"],
    ]
    assert cells(page, "Deviation by channel")[1:] == [
        ["Shop", "1", "20", "20", "0", "0.50", "1"],
        ["App", "2", "46.50", "48.25", "-1.75", "0", "0"],
    ]
    assert cells(page, "Row accounting of membership")[1:] == [
        ["Settlements", "post", "3", "3", "0", "0", "0"],
        ["Settlements", "pre", "4", "3", "1", "0", "0"],
        ["Top-ups", "", "30", "23", "2", "4", "1"],
        ["User activity", "", "7", "7", "0", "0", "0"],
    ]
    assert page.count('<td class="n bad">1</td>') == 2  # a settlement outside tolerance, a row that is lost


def test_the_numbers_of_sales_come_from_its_tables(published: Path, tmp_path: Path) -> None:
    page = render(published, tmp_path / "kpi.html").read_text()
    drawn = charts(page)
    assert bars(drawn["Revenue by month and category"]) == {
        "compute": [("2023-02", 900.0), ("2023-03", 500.0)],
        "storage": [("2023-03", 300.5)],
    }
    assert bars(drawn["Revenue by month and segment"]).keys() == {"smb", "enterprise"}
    assert bars(drawn["Top 15 services"], "y") == {
        "Net revenue": [("VM", 1400.0), ("Disk", 300.5)]
    }  # void is no revenue
    assert bars(drawn["Discount share by month"])["enterprise"] == [("2023-03-01", pytest.approx(99.5 / 400))]
    assert bars(drawn["Ageing of receivables"]) == {  # nothing is owed where something was overpaid
        "smb": [("not due", 100.25)],
        "enterprise": [("1-30 days", 1.0), ("over 90 days", 299.75)],
    }
    assert bars(drawn["Open invoices by due month"]) == {
        "smb": [("2023-03", 1080.0)],
        "enterprise": [("2023-04", 360.6)],
    }
    assert bars(drawn["Payments by month"]) == {
        "bank_transfer": [("2023-02", 100.0)],
        "card": [("2023-03", 600.0)],
        "refunds": [("2023-03", -50.5)],
    }
    assert drawn["Payments by month"]["layout"]["barmode"] == "relative"  # so that a refund goes downwards
    assert bars(drawn["Revenue by team"], "y") == {"compute": [("North", 1400.0)], "storage": [("South", 300.5)]}
    assert bars(drawn["Churn by month"])["smb"][1:] == [("2022-04-01", 0.1), ("2023-03-01", pytest.approx(1 / 6))]
    assert bars(drawn["Reject reasons of sales"], "y") == {
        "invoice_lines": [("net_mismatch", 2), ("invalid_quantity", 1)],
        "customers": [("unknown_segment", 1)],
        "payments": [("zero_amount", 1)],
    }


def test_the_recurring_revenue_of_a_year_goes_from_its_start_to_its_end(published: Path, tmp_path: Path) -> None:
    (steps,) = charts(render(published, tmp_path / "kpi.html").read_text())["Recurring revenue in a year"]["data"]
    assert list(zip(steps["x"], steps["measure"], steps["y"], steps["text"], strict=True)) == [
        ("At the start", "absolute", 1000.0, "€1,000"),
        ("New", "relative", 600.0, "€600"),
        ("Expansion", "relative", 50.0, "€50"),
        ("Contraction", "relative", -50.0, "-€50"),
        ("Churned", "relative", -300.0, "-€300"),
        ("At the end", "total", 1300.0, "€1,300"),
    ]
    assert steps["type"] == "waterfall"


def test_the_tables_of_sales_show_who_left_and_a_gap_as_an_alarm(published: Path, tmp_path: Path) -> None:
    page = render(published, tmp_path / "kpi.html").read_text()
    assert cells(page, "Customers and recurring revenue by month")[1:3] == [
        ["2023-03", "12", "1", "0", "2", "11", "16.67 %", "€400", "€0", "-€30", "-€200", "€1,300"],
        ["2022-04", "10", "2", "1", "1", "12", "10.00 %", "€200", "€50", "-€20", "-€100", "€1,130"],
    ]
    assert cells(page, "Reconciliation of sales")[1:] == [
        ["unknown", "0", "7", "0", "-7", "0"],  # a line whose invoice is not there: first, for old months are cut off
        ["2023-03", "801", "800.50", "0", "0", "0.50"],
        ["2023-02", "5,910.02", "5,900", "10", "0.02", "0"],
    ]
    assert page.count('<td class="n bad">0.50</td>') == 1
    assert cells(page, "Row accounting of sales")[1:4] == [
        ["contracts", "5", "5", "0", "0", "0"],
        ["customers", "30", "23", "3", "4", "0"],
        ["employees", "5", "5", "0", "0", "0"],
    ]


def test_sales_without_rows_or_without_tables_are_no_error(published: Path, tmp_path: Path) -> None:
    named = "SELECT table_schema || '.' || table_name FROM information_schema.tables WHERE table_name LIKE 'sales_%'"
    with duckdb.connect(str(published)) as db:
        tables = [name for (name,) in db.execute(named).fetchall()]
        for table in tables:
            db.execute(f"DELETE FROM {table}")
    page = render(published, tmp_path / "kpi.html").read_text()
    sections = [one.title for one in SECTIONS if one.domain == "Sales" and one.figure != "tiles"]
    sales = page.split("<h2>Sales</h2>")[1].split("<h2>")[0]
    assert sales.count("No rows.") == len(sections)
    assert set(re.findall("<dd>(.*?)</dd>", sales)) == {"\N{EN DASH}"}
    with duckdb.connect(str(published)) as db:
        for table in tables:
            db.execute(f"DROP TABLE {table}")
    page = render(published, tmp_path / "kpi.html").read_text()
    assert "<h2>Sales</h2>" not in page
    left_out = page.split("Left out because their tables do not exist yet: ")[1].split("</p>")[0]
    assert all(f"{title} (" in left_out for title in sections)


def test_the_units_of_money_stand_before_the_number() -> None:
    assert [show(-1234.5, unit) for unit in ("$", "€", "NT$")] == ["-$1,234", "-€1,234", "-NT$1,234"]
    assert show(0.125, "NT$, cents") == "0.12"


def test_the_page_loads_nothing_and_runs_nothing_from_data(published: Path, tmp_path: Path) -> None:
    page = render(published, tmp_path / "kpi.html").read_text()
    tags = Tags(page).seen
    loading = [attrs[a] for _, attrs in tags for a in ("src", "href", "srcset", "data", "action") if a in attrs]
    assert loading == []
    assert not {"img", "link", "iframe", "object", "base"} & {tag for tag, _ in tags}
    assert [tag for tag, _ in tags].count("script") == 2
    own = re.sub(r"<script>.*?</script>", "", page, count=1, flags=re.DOTALL)  # without Plotly's own code
    assert not re.search(r"https?:|@import|url\(|<script>alert", own)
    assert "default-src 'none'" in page
    assert "&lt;img src=x onerror=alert(1)&gt; &amp; &lt;/script&gt;" in page  # in the table
    cities = charts(page)["Users by city"]["data"][0]["y"]
    assert cities[0] == "&lt;img src=x onerror=alert(1)&gt; &amp; &lt;/script&gt;&lt;script&gt;alert(2)&lt;/script&gt;"


def test_a_section_without_tables_is_named_in_the_footer(published: Path, tmp_path: Path) -> None:
    with duckdb.connect(str(published)) as db:
        db.execute("DROP TABLE gold.mobility_users_by_city")
        db.execute("DROP TABLE silver.mobility_yellow_trips__rejected")
        db.execute("DROP TABLE silver.mobility_green_trips__rejected")
    page = render(published, tmp_path / "kpi.html").read_text()
    assert (
        "Left out because their tables do not exist yet: Reject reasons (silver.mobility_*_trips__rejected); "
        "Users by city (gold.mobility_users_by_city)."
    ) in page
    assert "Where do the users live?" not in page
    assert len(figures(page)) == 31


def test_an_empty_table_is_no_error(published: Path, tmp_path: Path) -> None:
    with duckdb.connect(str(published)) as db:
        db.execute("DELETE FROM gold.mobility_trips_by_zone_day; DELETE FROM gold.mobility_trips_by_hour")
    page = render(published, tmp_path / "kpi.html").read_text()
    assert page.count("No rows.") == 5
    assert "<dt>Trips</dt><dd>\N{EN DASH}</dd>" in page


def test_another_domain_adds_an_entry_only(published: Path, tmp_path: Path) -> None:
    sql = 'SELECT city AS "City", companies AS "Firms" FROM {gold.mobility_users_by_city} ORDER BY 1'
    page = render(published, tmp_path / "k.html", [Section("Shop", "Firms", "Which?", sql, "table")]).read_text()
    assert "<h2>Shop</h2>" in page
    assert '<td class="">Gwenborough</td>' in page


def test_a_failed_render_leaves_the_old_report(published: Path, tmp_path: Path) -> None:
    out = render(published, tmp_path / "reports" / "kpi.html", [])
    before = out.read_text()
    broken = Section("Mobility", "Broken", "?", "SELECT nothing FROM {gold.mobility_trips_by_hour}", "table")
    with pytest.raises(duckdb.BinderException):
        render(published, out, [broken])
    assert out.read_text() == before
    assert list(out.parent.iterdir()) == [out]


def test_nothing_published_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(LakeError, match="nothing is published yet; materialise gold"):
        render(tmp_path / "published.duckdb", tmp_path / "kpi.html")
    (tmp_path / "published.duckdb").write_text("not a database, but long enough to be looked at" * 100)
    with pytest.raises(LakeError, match="cannot be read as a DuckDB file"):
        render(tmp_path / "published.duckdb", tmp_path / "kpi.html")


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium")
def test_a_browser_draws_every_chart_from_disk(published: Path, tmp_path: Path) -> None:
    out = render(published, tmp_path / "kpi.html")
    switches = "--headless --no-sandbox --disable-gpu --disable-background-networking --no-first-run --disable-sync"
    switches += " --disable-component-update --virtual-time-budget=10000 --dump-dom"
    dom = subprocess.run(
        [str(CHROMIUM), *switches.split(), f"--user-data-dir={tmp_path / 'profile'}", out.as_uri()],
        check=True, capture_output=True, text=True, timeout=90,
    ).stdout  # fmt: skip
    assert len(re.findall(r'class="chart js-plotly-plot"', dom)) == 33
    assert dom.count("<img") == 0
    assert "<script>alert" not in dom
