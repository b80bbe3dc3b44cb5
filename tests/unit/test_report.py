"""The KPI report: right numbers, escaped texts, nothing from the network, whole files only."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import duckdb
import pytest

from lake.errors import LakeError
from lake.report import Section, render

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


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A published file as dbt would build it: three services, two months, and a day of the shop."""
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
    return path


def figures(page: str) -> dict[str, Any]:
    match = re.search(r"const figures = (\{.*\});\n", page)
    assert match
    found: dict[str, Any] = json.loads(match[1])
    return found


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
        "Trips": f"{total[0]:,}",
        "Revenue": f"${total[1]:,.0f}",
        "Services": "3",
        "Months": "2",
        "Rejected share": "0.90 %",
        "Orders": "4",
        "Net revenue": "€100",
        "Refunds": "-€20",
        "Average basket": "€30",
    }
    charts = list(figures(page).values())
    assert len(charts) == 12
    products = charts[10]["data"][0]
    assert list(zip(products["y"], products["x"], strict=True)) == [("Coat", 90.0), ("Tee", 80.0)]
    countries = {trace["name"]: dict(zip(trace["y"], trace["x"], strict=True)) for trace in charts[11]["data"]}
    assert countries == {"new": {"Unknown": 90.0, "FR": 20.0}, "vip": {"FR": 60.0}}
    per_day = {trace["name"]: trace for trace in charts[0]["data"]}
    assert per_day.keys() == {"yellow", "green", "fhvhv"}
    assert per_day["yellow"]["x"][0] == "2024-01-01"
    assert len(per_day["yellow"]["x"]) == 60
    assert sum(sum(trace["y"]) for trace in per_day.values()) == total[0]
    zones = charts[4]["data"][0]
    assert len(zones["y"]) == 15
    assert zones["x"] == sorted(zones["x"], reverse=True)
    reasons = charts[5]["data"]
    assert {(t["name"], y, x) for t in reasons for y, x in zip(t["y"], t["x"], strict=True)} == {
        (service, reason, rows)
        for service in ("yellow", "green")
        for reason, rows in (("pickup_after_dropoff", 60), ("zone_missing", 25), ("negative_fare", 12))
    }
    assert page.count('<td class="n bad">7</td>') == 2
    assert "Left out" not in page


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
    cities = figures(page)["chart-7"]["data"][0]["y"]
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
    assert len(figures(page)) == 10


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
    assert len(re.findall(r'class="chart js-plotly-plot"', dom)) == 12
    assert dom.count("<img") == 0
    assert "<script>alert" not in dom
