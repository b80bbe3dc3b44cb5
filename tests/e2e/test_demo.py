"""What `make demo` promises: the whole graph from source to report, exact to the row, and again the same."""

import re
from collections import Counter
from datetime import date
from typing import Any

import duckdb
import pytest
from homes import Demo, Home, contents
from lakes import REAL_FILES, needs_real_files

from lake import views
from lake.catalog import open_catalog
from lake.exports import current
from orchestration.served import served_tables
from sandbox import tlc
from sandbox.users import USERS

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("e2e-demo")]

MONTHS = ("2023-01", "2023-02")
GREEN = "silver.mobility_green_trips"
METERED = ("PULocationID", "trip_distance", "total_amount", "fare_amount")
COLUMNS = {  # pickup, drop-off, zone, distance, total, fare
    "yellow": ("tpep_pickup_datetime", "tpep_dropoff_datetime", *METERED),
    "green": ("lpep_pickup_datetime", "lpep_dropoff_datetime", *METERED),
    "fhv": ("pickup_datetime", "dropOff_datetime", "coalesce(PUlocationID, 264)", *["NULL::DOUBLE"] * 3),
}


def valid_trips(files: Any) -> str:
    """The valid trips straight from the source files: DOMAINS.md's rules, written down a second time."""
    parts = []
    for service, (pickup, dropoff, zone, distance, total, fare) in COLUMNS.items():
        for month in MONTHS:
            payment = "payment_type::BIGINT" if service == "green" else "NULL::BIGINT"
            parts.append(f"""
                SELECT '{service}' AS service, DATE '{month}-01' AS month, pickup, dropoff, zone, distance, total,
                       payment
                FROM (SELECT {pickup} AS pickup, {dropoff} AS dropoff, {zone} AS zone, {distance} AS distance,
                             {total} AS total, {fare} AS fare, {payment} AS payment
                      FROM (SELECT DISTINCT * FROM read_parquet('{files / tlc.file_name(service, month)}')))
                WHERE pickup >= TIMESTAMP '{month}-01' AND pickup < TIMESTAMP '{month}-01' + INTERVAL 1 MONTH
                  AND dropoff >= pickup AND date_diff('second', pickup, dropoff) <= 86400 AND zone BETWEEN 1 AND 265
                  AND coalesce(fare, 0) >= 0 AND coalesce(total, 0) >= 0 AND coalesce(distance, 0) BETWEEN 0 AND 500""")
    return " UNION ALL ".join(parts)


# -- the issue's own command, on the real files --------------------------------------------------------------


@needs_real_files
def test_the_real_green_months_of_2023(tmp_path):
    home = Home(tmp_path / "home", f"file://{REAL_FILES.resolve()}")
    done = home.run("materialize", "--select", "*green*", "--from", "2023-01", "--to", "2023-03")
    assert done.code == 0, done.err
    counts = home.run(
        "query", "--format", "csv",
        "SELECT source_month, count(*) AS n FROM bronze.mobility_green_trips GROUP BY 1 ORDER BY 1",
    )  # fmt: skip
    expected = {"2023-01-01": 68_211, "2023-02-01": 64_809, "2023-03-01": 72_044}
    assert counts.out.splitlines() == ["source_month,n", *(f"{month},{n}" for month, n in expected.items())]
    where_they_went = home.rows("""
        SELECT source_month::VARCHAR, sum(good), sum(bad), sum(again) FROM (
            SELECT source_month, 1 AS good, 0 AS bad, 0 AS again FROM silver.mobility_green_trips
            UNION ALL SELECT source_month, 0, 1, 0 FROM silver.mobility_green_trips__rejected
            UNION ALL SELECT source_month, 0, 0, copies - 1 FROM silver.mobility_green_trips__duplicates)
        GROUP BY 1 ORDER BY 1""")
    assert {month: good + bad + again for month, good, bad, again in where_they_went} == expected
    assert all(good > 0.9 * expected[month] and bad for month, good, bad, _ in where_they_went)
    assert home.unaccounted() == {"mobility_green_trips__accounting": 0}


# -- the whole graph -----------------------------------------------------------------------------------------


def test_the_summary_names_what_was_read_loaded_and_rejected(demo: Demo):
    cells = [[c.strip() for c in line.split("│")[1:-1]] for line in demo.summary.out.splitlines() if "│" in line]
    table = {row[0]: row[1:] for row in cells}
    for service, rows in (("yellow", "2,400"), ("green", "1,600"), ("fhv", "1,600")):
        assert table[f"bronze/mobility/{service}_trips"][:3] == [rows, rows, "0"]
        read, *parts = (int(n.replace(",", "")) for n in table[f"silver/mobility/{service}_trips"][:4])
        assert read == sum(parts) == int(rows.replace(",", ""))
        assert all(parts)
    assert table["bronze/mobility/users"][:3] == ["10", "10", "0"]
    assert table["bronze/mobility/taxi_zones"][:3] == ["265", "265", "0"]
    assert {"infra/folders", "ops/maintenance", "serving/duckdb", "serving/kpi_report"} <= table.keys()
    assert re.search(r"\d s; peak memory \d+ MB", demo.summary.out)
    assert re.search(r"^\d+ checks passed$", demo.summary.out, re.MULTILINE)
    assert f"report: {demo.home.settings.reports / 'kpi.html'}" in demo.summary.out


def test_the_report_opens_without_a_network(demo: Demo):
    page = (demo.home.settings.reports / "kpi.html").read_text()
    tags = re.findall(r"<(?:script|link|img|iframe)\b[^>]*>", page)
    assert tags
    assert not [tag for tag in tags if re.search(r"(?:src|href)\s*=\s*[\"']?(?:https?:)?//", tag)]
    assert "yellow" in page


def test_gold_equals_what_the_source_files_give(demo: Demo):
    published = str(demo.home.settings.published_path)
    with duckdb.connect() as own:
        own.execute(f"ATTACH '{published}' AS lake (READ_ONLY)")
        own.execute(f"CREATE TABLE trips AS {valid_trips(demo.files)}")

        def differences(gold: str, expected: str) -> list[Any]:
            assert own.execute(f"SELECT count(*) FROM ({gold})").fetchone() != (0,)
            return own.execute(
                f"(({gold}) EXCEPT ALL ({expected})) UNION ALL (({expected}) EXCEPT ALL ({gold}))"
            ).fetchall()

        money = "sum(total::DECIMAL(18, 2))::DECIMAL(18, 2)"
        assert not differences(
            "SELECT service, pickup_date, pickup_zone_id, source_month, trips, revenue, p95_duration_seconds, "
            "avg_duration_seconds, avg_distance_miles FROM lake.gold.mobility_trips_by_zone_day",
            f"SELECT service, pickup::DATE, zone::BIGINT, month, count(*), {money}, "
            "quantile_disc(date_diff('second', pickup, dropoff), 0.95)::BIGINT, "
            "round(avg(date_diff('second', pickup, dropoff)), 4), "
            "round(sum(distance::DECIMAL(18, 4))::DOUBLE / count(distance), 4) FROM trips GROUP BY 1, 2, 3, 4",
        )
        assert not differences(
            "SELECT service, pickup_date, sum(trips)::BIGINT FROM lake.gold.mobility_trips_by_zone_day GROUP BY 1, 2",
            "SELECT service, pickup::DATE, count(*) FROM trips GROUP BY 1, 2",
        )
        assert not differences(
            "SELECT service, pickup_hour, trips, revenue FROM lake.gold.mobility_trips_by_hour",
            f"SELECT service, hour(pickup)::INTEGER, count(*), {money} FROM trips GROUP BY 1, 2",
        )
        assert not differences(
            "SELECT payment_type, trips, revenue FROM lake.gold.mobility_green_trips_by_payment_type",
            f"SELECT payment, count(*), {money} FROM trips WHERE service = 'green' GROUP BY 1",
        )
    cities = Counter(user["address"]["city"] for user in USERS)  # type: ignore[index]
    assert dict(demo.home.rows("SELECT city, users FROM gold.mobility_users_by_city")) == cities


def test_every_table_is_there_and_every_row_accounted_for(demo: Demo):
    assert len([name for name in demo.after if name.startswith("gold.")]) == 4
    assert {name for name, (rows, _) in demo.after.items() if not rows} <= {
        name for name in demo.after if name.endswith("__rejected") and name.startswith("bronze.")
    } | {"bronze.membership_workbooks"}  # nothing was dropped
    accounts = {f"mobility_{service}_trips__accounting": 0 for service in COLUMNS}
    assert demo.home.unaccounted() == accounts


def test_what_is_served_is_exported_as_it_is_published(demo: Demo):
    settings = demo.home.settings
    published = {name.removeprefix("gold."): rows for name, (rows, _) in demo.after.items() if name.startswith("gold.")}
    served = {one.table for one in served_tables() if one.table.startswith("mobility_")}
    exported = {folder.name: current(settings, folder.name) for folder in settings.exports.iterdir()}
    assert exported.keys() == published.keys() == served
    with duckdb.connect() as own:
        for table, manifest in exported.items():
            assert manifest is not None
            files = f"read_parquet('{settings.exports / manifest.folder / '*.parquet'}')"
            assert own.execute(f"SELECT count(*) FROM {files}").fetchone() == (published[table],)
            assert manifest.rows == published[table] > 0


# -- again ---------------------------------------------------------------------------------------------------


def bronze_snapshots(home: Home) -> dict[str, int]:
    catalog = open_catalog(home.settings)
    tables = {name: catalog.load_table(("bronze", name)) for _, name in catalog.list_tables("bronze")}
    return {name: table.current_snapshot().snapshot_id for name, table in tables.items()}


@pytest.fixture(scope="module")
def again(demo: Demo) -> dict[str, Any]:
    """The same command a second time."""
    before = bronze_snapshots(demo.home)
    done = demo.home.run("materialize", "--select", "*", "--from", "2023-01", "--to", "2023-02")
    assert done.code == 0, done.err
    return {"before": before, "after": bronze_snapshots(demo.home), "contents": demo.home.contents()}


def test_the_record_of_a_run_names_what_it_was_of(demo):
    """The fault: it named nothing, so automation made again, behind each run, what the run had just made."""
    from orchestration.runner import open_instance

    with open_instance(demo.home.settings) as instance:
        (record,) = instance.get_run_records(limit=1, ascending=True)
    named = {key.to_user_string() for key in record.dagster_run.asset_selection or ()}
    assert named >= {
        "bronze/mobility/users",
        "silver/mobility/green_trips",
        "gold/mobility/trips_by_hour",
        "serving/duckdb",
    }


def test_a_second_run_gives_the_same_tables(demo: Demo, again):
    assert again["contents"] == demo.after


def test_a_second_run_commits_nothing_to_bronze(demo: Demo, again):
    assert again["after"] == again["before"]
    assert len(again["before"]) >= 5


@pytest.fixture(scope="module")
def changed(demo: Demo, again) -> dict[str, Any]:
    """The second month of green again, after its file was replaced by another."""
    before = open_catalog(demo.home.settings).load_table(GREEN).current_snapshot().snapshot_id
    old = demo.home.contents()
    tlc.write("green", "2023-02", demo.files, 700, seed=7)
    done = demo.home.run("materialize", "--select", "*green*", "--partition", "2023-02")
    assert done.code == 0, done.err
    return {"snapshot": before, "old": old, "new": demo.home.contents()}


def test_a_changed_month_replaces_that_month_alone(demo: Demo, changed):
    counts = dict(demo.home.rows("SELECT source_month::VARCHAR, count(*) FROM bronze.mobility_green_trips GROUP BY 1"))
    assert counts == {"2023-01-01": 800, "2023-02-01": 700}
    differing = {name for name in changed["old"] if changed["old"][name] != changed["new"][name]}
    assert {"bronze.mobility_green_trips", GREEN, "gold.mobility_green_trips_by_payment_type"} <= differing
    assert not [name for name in differing if "green" not in name]
    with duckdb.connect() as own:
        january = own.execute(
            f"SELECT count(*) FROM ({valid_trips(demo.files)}) WHERE service = 'green' AND month = DATE '2023-01-01'"
        ).fetchone()
    assert demo.home.rows(f"SELECT count(*) FROM {GREEN} WHERE source_month = DATE '2023-01-01'") == [january]


def test_time_travel_gives_the_old_rows(demo: Demo, changed):
    table = open_catalog(demo.home.settings).load_table(GREEN)
    old_rows = table.scan(snapshot_id=changed["snapshot"]).to_arrow()
    now = table.scan().to_arrow()
    february = date(2023, 2, 1)
    assert old_rows.num_rows == changed["old"][GREEN][0]
    assert now.num_rows == changed["new"][GREEN][0]
    assert set(old_rows["source_month"].to_pylist()) == {date(2023, 1, 1), february}
    old_ids, new_ids = (
        {i for i, m in zip(rows["trip_id"].to_pylist(), rows["source_month"].to_pylist(), strict=True) if m == february}
        for rows in (old_rows, now)
    )
    assert not old_ids & new_ids
    with duckdb.connect() as own:
        own.execute("CREATE SCHEMA silver")
        own.execute(views.view_sql(table, GREEN, snapshot_id=changed["snapshot"], loaded_at=False))
        assert contents(own) == {GREEN: changed["old"][GREEN]}
        own.execute("CREATE OR REPLACE TABLE pyiceberg AS SELECT * FROM old_rows")
        assert own.execute(f"SELECT count(*) FROM (FROM pyiceberg EXCEPT ALL FROM {GREEN})").fetchone() == (0,)
