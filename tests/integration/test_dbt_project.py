"""Silver and gold of mobility, built by dbt over a small hand-written bronze schema."""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from lake.settings import Settings

PROJECT = Path(__file__).parents[2] / "dbt_project"
Tables = dict[str, list[tuple[Any, ...]]]
JANUARY, FEBRUARY = date(2023, 1, 1), date(2023, 2, 1)

TAXI = {
    "VendorID": "BIGINT",
    "passenger_count": "DOUBLE",
    "trip_distance": "DOUBLE",
    "RatecodeID": "DOUBLE",
    "store_and_fwd_flag": "VARCHAR",
    "PULocationID": "BIGINT",
    "DOLocationID": "BIGINT",
    "payment_type": "BIGINT",
    "fare_amount": "DOUBLE",
    "extra": "DOUBLE",
    "tip_amount": "DOUBLE",
    "total_amount": "DOUBLE",
}
OURS = {"source_month": "DATE", "_loaded_at": "TIMESTAMP"}
COLUMNS = {
    "yellow_trips": {
        "tpep_pickup_datetime": "TIMESTAMP",
        "tpep_dropoff_datetime": "TIMESTAMP",
        **TAXI,
        **OURS,
    },
    "green_trips": {
        "lpep_pickup_datetime": "TIMESTAMP",
        "lpep_dropoff_datetime": "TIMESTAMP",
        **TAXI,
        **OURS,
    },
    "fhv_trips": {
        "dispatching_base_num": "VARCHAR",
        "pickup_datetime": "TIMESTAMP",
        "dropOff_datetime": "TIMESTAMP",
        "PUlocationID": "BIGINT",
        "DOlocationID": "BIGINT",
        "SR_Flag": "BIGINT",
        "Affiliated_base_number": "VARCHAR",
        **OURS,
    },
}
TAXI_TRIP = {
    "pickup": "2023-01-05 10:00:00",
    "dropoff": "2023-01-05 10:10:00",
    "VendorID": 2,
    "passenger_count": 1.0,
    "trip_distance": 1.5,
    "RatecodeID": 1.0,
    "store_and_fwd_flag": "N",
    "PULocationID": 1,
    "DOLocationID": 2,
    "payment_type": 1,
    "fare_amount": 10.0,
    "extra": 0.5,
    "tip_amount": 2.0,
    "total_amount": 12.5,
    "source_month": JANUARY,
}
IN_FEBRUARY = {"pickup": "2023-02-07 08:00:00", "dropoff": "2023-02-07 08:05:00", "source_month": FEBRUARY}
REASONS: list[tuple[str, dict[str, Any]]] = [
    ("missing_timestamp", {"dropoff": None}),
    ("missing_timestamp", {"pickup": None, "PULocationID": None, "fare_amount": -1.0}),
    ("outside_partition", {"pickup": "2008-12-31 23:00:00", "dropoff": "2008-12-31 22:00:00"}),
    ("dropoff_before_pickup", {"dropoff": "2023-01-05 09:59:59"}),
    ("duration_over_24h", {"dropoff": "2023-01-06 10:00:01"}),
    ("unknown_zone", {"PULocationID": 266}),
    ("unknown_zone", {"PULocationID": None}),
    ("negative_amount", {"fare_amount": -10.0}),  # the refund of the plain trip: equal keys, no duplicate
    ("impossible_distance", {"trip_distance": 500.5}),
    ("impossible_distance", {"trip_distance": float("nan")}),
]
PLAIN: dict[str, Any] = {}
WITH_NULLS = {"store_and_fwd_flag": None, "passenger_count": None, "trip_distance": None}
TRIPLE = {"VendorID": 1, "store_and_fwd_flag": "|1", "PULocationID": 265}
SIGNED_ZERO = {"VendorID": 6, "tip_amount": -0.0}
YELLOW = [
    PLAIN,
    *(changes for _, changes in REASONS),
    *[WITH_NULLS] * 2,
    *[TRIPLE] * 3,
    SIGNED_ZERO,
    {**SIGNED_ZERO, "tip_amount": 0.0},
    {"total_amount": 1e300, "dropoff": "2023-01-06 10:00:00"},
    IN_FEBRUARY,
    {**IN_FEBRUARY, "VendorID": 1},
    {**IN_FEBRUARY, "fare_amount": -1.0},
    *[{**IN_FEBRUARY, "VendorID": 7}] * 2,
]
GREEN = [PLAIN, {"payment_type": 2, "tip_amount": 0.0}, IN_FEBRUARY, {**IN_FEBRUARY, "PULocationID": 0}]
FHV: list[dict[str, Any]] = [
    {"PUlocationID": None},
    {"PUlocationID": None},
    {"PUlocationID": 7, "dispatching_base_num": "B2"},
    {"PUlocationID": 0},
]


def add(connection: duckdb.DuckDBPyConnection, table: str, rows: list[dict[str, Any]]) -> None:
    """Insert `rows`, given as changes to a plain trip, into a bronze table."""
    columns = list(COLUMNS[table])
    for changes in rows:
        if table == "fhv_trips":
            plain = {
                "dispatching_base_num": "B1",
                "pickup": TAXI_TRIP["pickup"],
                "dropoff": TAXI_TRIP["dropoff"],
            }
            row = {**plain, "source_month": JANUARY, **changes}
        else:
            row = {**TAXI_TRIP, **changes}
        row[next(c for c in columns if c.lower().endswith("pickup_datetime"))] = row.pop("pickup")
        row[next(c for c in columns if c.lower().endswith("dropoff_datetime"))] = row.pop("dropoff")
        names = ", ".join(f'"{name}"' for name in row)
        connection.execute(
            f"INSERT INTO bronze.mobility_{table} ({names}) VALUES ({', '.join('?' * len(row))})",
            list(row.values()),
        )


def make_bronze(path: Path) -> None:
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE SCHEMA bronze")
        for table, columns in COLUMNS.items():
            ddl = ", ".join(f'"{name}" {kind}' for name, kind in columns.items())
            connection.execute(f"CREATE TABLE bronze.mobility_{table} ({ddl})")
        for table, rows in (("yellow_trips", YELLOW), ("green_trips", GREEN), ("fhv_trips", FHV)):
            add(connection, table, rows)
        connection.execute(
            "CREATE TABLE bronze.mobility_taxi_zones AS SELECT i AS location_id, 'Borough ' || i AS borough,"
            " 'Zone ' || i AS zone, 'Boro Zone' AS service_zone FROM range(1, 266) t(i)"
        )
        connection.execute(
            "CREATE TABLE bronze.mobility_users (id BIGINT, name VARCHAR, username VARCHAR, email VARCHAR,"
            " phone VARCHAR, website VARCHAR, address VARCHAR, company VARCHAR)"
        )
        for identity, city in ((1, "Gwenborough"), (2, "Gwenborough"), (3, "Howemouth")):
            address = json.dumps({"street": "S", "city": city, "geo": {"lat": "-37.3", "lng": "81.1"}})
            company = json.dumps({"name": "One", "catchPhrase": "c", "bs": "b"})
            user = [
                identity,
                f"N{identity}",
                f"u{identity}",
                f" U{identity}@X.org",
                "1",
                "x.org",
                address,
                company,
            ]
            connection.execute("INSERT INTO bronze.mobility_users VALUES (?, ?, ?, ?, ?, ?, ?, ?)", user)


@dataclass
class Warehouse:
    """A DuckDB file with bronze in it, and dbt to build the rest."""

    settings: Settings

    def dbt(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            "LAKEGRAPH_TARGET": "local",
            "LAKEGRAPH_HOME": str(self.settings.home),
            "LAKEGRAPH_DUCKDB_PATH": str(self.settings.duckdb_path),
            "LAKEGRAPH_STAGING": str(self.settings.staging),
            "DBT_TARGET_PATH": str(self.settings.dbt_target),
            "DBT_LOG_PATH": str(self.settings.dbt_target / "logs"),
            "DBT_PROFILES_DIR": str(PROJECT),
            "DBT_PROJECT_DIR": str(PROJECT),
        }
        command = [sys.executable, "-m", "dbt.cli.main", "--no-use-colors", *arguments]
        return subprocess.run(
            command, env=environment, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=300
        )

    def build(self, **window: str) -> None:
        mobility = ("path:models/silver/mobility", "path:models/gold/mobility")
        result = self.dbt("build", "--select", *mobility, "--vars", json.dumps(window))
        assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-2000:]

    def change(self, *statements: str) -> None:
        with duckdb.connect(str(self.settings.duckdb_path)) as connection:
            for statement in statements:
                connection.execute(statement)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(self.settings.duckdb_path), read_only=True) as connection:
            return connection.execute(sql).fetchall()

    def everything(self, where: str = "true") -> Tables:
        """All rows of every silver and gold table that is partitioned by month, sorted."""
        tables = self.rows(
            "SELECT table_schema || '.' || table_name FROM information_schema.columns"
            " WHERE table_schema IN ('silver', 'gold') AND column_name = 'source_month' ORDER BY 1"
        )
        return {name: self.rows(f"SELECT * FROM {name} WHERE {where} ORDER BY ALL") for (name,) in tables}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    settings = Settings(home=tmp_path_factory.mktemp("home"))
    for folder in (settings.duckdb_path.parent, settings.staging, settings.warehouse):
        folder.mkdir(parents=True)
    make_bronze(settings.duckdb_path)
    warehouse = Warehouse(settings)
    warehouse.build()
    return warehouse


@pytest.fixture(scope="module")
def first(built: Warehouse) -> Tables:
    """What the first build made, before other tests build again."""
    return built.everything()


@pytest.mark.usefixtures("first")
class TestFirstBuild:
    """Every month at once. Runs before the module's later classes change bronze."""

    def test_each_invalid_row_is_rejected_for_its_first_reason(self, built: Warehouse) -> None:
        found = built.rows(
            "SELECT reject_reason FROM silver.mobility_yellow_trips__rejected"
            " WHERE source_month = '2023-01-01' ORDER BY 1"
        )
        assert [reason for (reason,) in found] == sorted([*(reason for reason, _ in REASONS), "amount_out_of_range"])

    def test_equal_rows_are_kept_once(self, built: Warehouse) -> None:
        copies = built.rows("SELECT source_month, copies FROM silver.mobility_yellow_trips__duplicates ORDER BY ALL")
        assert copies == [(JANUARY, 2), (JANUARY, 2), (JANUARY, 3), (FEBRUARY, 2)]
        kept = built.rows(
            "SELECT pickup_zone_id, passenger_count, trip_distance_miles, tip_amount"
            " FROM silver.mobility_yellow_trips WHERE source_month = '2023-01-01' ORDER BY ALL"
        )
        two, nothing = Decimal("2.00"), Decimal("0.00")
        assert kept == [
            (1, 1, 1.5, nothing),
            (1, 1, 1.5, two),
            (1, None, None, two),
            (265, 1, 1.5, two),
        ]

    def test_an_amount_that_no_decimal_holds_is_rejected_not_lost(self, built: Warehouse) -> None:
        found = built.rows(
            "SELECT duration_seconds FROM silver.mobility_yellow_trips__rejected"
            " WHERE reject_reason = 'amount_out_of_range'"
        )
        assert found == [(86400,)]
        assert built.rows("SELECT count(*) FROM silver.mobility_yellow_trips WHERE total_amount IS NULL") == [(0,)]

    def test_the_accounts_balance(self, built: Warehouse) -> None:
        for service in ("yellow", "green", "fhv"):
            table = f"mobility_{service}_trips"
            bronze = dict(built.rows(f"SELECT source_month, count(*) FROM bronze.{table} GROUP BY 1"))
            accounts = built.rows(f"SELECT * EXCLUDE (service) FROM silver.{table}__accounting")
            assert {month: account[0] for month, *account in accounts} == bronze
            assert all(bronze == sum(parts) and left == 0 for _, bronze, *parts, left in accounts)
        yellow = built.rows("SELECT * FROM silver.mobility_yellow_trips__accounting ORDER BY source_month")
        assert yellow == [("yellow", JANUARY, 19, 4, 11, 4, 0), ("yellow", FEBRUARY, 5, 3, 1, 1, 0)]

    def test_fhv_without_a_zone_is_zone_264_and_has_no_money(self, built: Warehouse) -> None:
        found = built.rows(
            "SELECT pickup_zone_id, duration_seconds, passenger_count, trip_distance_miles,"
            " fare_amount, tip_amount, total_amount, payment_type FROM silver.mobility_fhv_trips ORDER BY 1"
        )
        assert found == [(7, 600, *[None] * 6), (264, 600, *[None] * 6)]

    def test_a_silver_trip_has_the_agreed_form(self, built: Warehouse) -> None:
        agreed = (
            "trip_id VARCHAR, service VARCHAR, pickup_at TIMESTAMP, dropoff_at TIMESTAMP, pickup_date DATE,"
            " pickup_hour INTEGER, pickup_zone_id BIGINT, dropoff_zone_id BIGINT, passenger_count BIGINT,"
            " trip_distance_miles DOUBLE, duration_seconds BIGINT, fare_amount DECIMAL(18,2),"
            " tip_amount DECIMAL(18,2), total_amount DECIMAL(18,2),"
            " payment_type BIGINT, source_month DATE"
        )
        for service in ("yellow", "green", "fhv"):
            columns = built.rows(f"DESCRIBE silver.mobility_{service}_trips")
            assert ", ".join(f"{name} {kind}" for name, kind, *_ in columns) == agreed
            columns = built.rows(f"DESCRIBE silver.mobility_{service}_trips__rejected")
            assert ", ".join(f"{name} {kind}" for name, kind, *_ in columns) == f"reject_reason VARCHAR, {agreed}"

    def test_the_trip_id_is_the_md5_of_the_documented_text(self, built: Warehouse) -> None:
        def md5(text: str) -> str:
            return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()

        def micros(text: str) -> str:
            return str(int(datetime.fromisoformat(f"{text}+00:00").timestamp()) * 1_000_000)

        values = {name: str(TAXI_TRIP[name]) for name in TAXI}
        values |= {"store_and_fwd_flag": "2:|1", "VendorID": "1", "PULocationID": "265"}
        values |= {f"tpep_{end}_datetime": micros(str(TAXI_TRIP[end])) for end in ("pickup", "dropoff")}
        lowered = sorted((name.lower(), value) for name, value in values.items())
        text = "".join(f"{md5(name)[:4]}{value}|" for name, value in lowered) + "1"
        found = built.rows("SELECT trip_id FROM silver.mobility_yellow_trips WHERE pickup_zone_id = 265")
        assert found == [(md5(text),)]

    def test_gold(self, built: Warehouse) -> None:
        days = built.rows("SELECT * FROM gold.mobility_trips_by_zone_day WHERE service <> 'green' ORDER BY ALL")
        january, february = date(2023, 1, 5), date(2023, 2, 7)
        # the plain trip, and the ones with nulls and with a signed zero
        assert days == [
            ("fhv", january, 7, "Borough 7", "Zone 7", 1, None, None, 600.0, 600, JANUARY),
            ("fhv", january, 264, "Borough 264", "Zone 264", 1, None, None, 600.0, 600, JANUARY),
            ("yellow", january, 1, "Borough 1", "Zone 1", 3, Decimal("37.50"), 1.5, 600.0, 600, JANUARY),
            (
                "yellow",
                january,
                265,
                "Borough 265",
                "Zone 265",
                1,
                Decimal("12.50"),
                1.5,
                600.0,
                600,
                JANUARY,
            ),
            ("yellow", february, 1, "Borough 1", "Zone 1", 3, Decimal("37.50"), 1.5, 300.0, 300, FEBRUARY),
        ]
        hours = built.rows("SELECT * FROM gold.mobility_trips_by_hour WHERE service = 'yellow' ORDER BY ALL")
        assert hours == [("yellow", 8, 3, Decimal("37.50")), ("yellow", 10, 4, Decimal("50.00"))]
        payments = built.rows("SELECT * FROM gold.mobility_green_trips_by_payment_type ORDER BY 1")
        assert payments == [
            (1, "Credit card", 2, Decimal("25.00"), Decimal("2.00"), 1.5),
            (2, "Cash", 1, Decimal("12.50"), Decimal("0.00"), 1.5),
        ]
        cities = built.rows("SELECT * FROM gold.mobility_users_by_city ORDER BY 1")
        assert cities == [("Gwenborough", 2, 1), ("Howemouth", 1, 1)]


class TestOneMonthAgain:
    """February of yellow changed, of green it went; January changed too but is not in the window."""

    @pytest.fixture(scope="class")
    def rebuilt(self, first: Tables, built: Warehouse) -> Warehouse:
        assert first  # remembered before bronze changes
        built.change(
            "ALTER TABLE bronze.mobility_yellow_trips ADD COLUMN cbd_congestion_fee DOUBLE",
            "DELETE FROM bronze.mobility_yellow_trips WHERE source_month = '2023-01-01' AND VendorID = 1",
            "DELETE FROM bronze.mobility_yellow_trips WHERE source_month = '2023-02-01' AND VendorID <> 2",
            "DELETE FROM bronze.mobility_green_trips WHERE source_month = '2023-02-01'",
        )
        built.build(from_month="2023-02-01", to_month="2023-02-01")
        return built

    def test_the_other_month_is_untouched(self, rebuilt: Warehouse, first: Tables) -> None:
        january = {
            name: [row for row in rows if JANUARY in row and FEBRUARY not in row] for name, rows in first.items()
        }
        # compared as text, for NaN equals nothing
        assert repr(rebuilt.everything("source_month = '2023-01-01'")) == repr(january)

    def test_the_month_is_replaced(self, rebuilt: Warehouse) -> None:
        account = rebuilt.rows(
            "SELECT * FROM silver.mobility_yellow_trips__accounting WHERE source_month = '2023-02-01'"
        )
        assert account == [("yellow", FEBRUARY, 2, 1, 1, 0, 0)]
        copies = rebuilt.rows("SELECT source_month, copies FROM silver.mobility_yellow_trips__duplicates")
        assert {month for month, _ in copies} == {JANUARY}
        day = rebuilt.rows(
            "SELECT trips, revenue FROM gold.mobility_trips_by_zone_day"
            " WHERE service = 'yellow' AND source_month = '2023-02-01'"
        )
        assert day == [(1, Decimal("12.50"))]

    def test_a_new_column_that_is_null_changes_no_identity(self, rebuilt: Warehouse, first: Tables) -> None:
        before = {row[0] for row in first["silver.mobility_yellow_trips"]}
        after = rebuilt.rows("SELECT trip_id FROM silver.mobility_yellow_trips WHERE source_month = '2023-02-01'")
        assert len(after) == 1
        assert {identity for (identity,) in after} <= before

    def test_an_emptied_month_is_empty_everywhere(self, rebuilt: Warehouse) -> None:
        for suffix in ("", "__rejected", "__duplicates", "__accounting"):
            table = f"silver.mobility_green_trips{suffix}"
            assert rebuilt.rows(f"SELECT * FROM {table} WHERE source_month = '2023-02-01'") == []
        assert rebuilt.rows("SELECT count(*) FROM silver.mobility_green_trips") == [(2,)]
        days = rebuilt.rows("SELECT source_month FROM gold.mobility_trips_by_zone_day WHERE service = 'green'")
        assert set(days) == {(JANUARY,)}

    def test_rows_unaccounted_for_stop_gold(self, rebuilt: Warehouse) -> None:
        before = rebuilt.rows("SELECT * FROM gold.mobility_trips_by_hour ORDER BY ALL")
        # bronze of January lost rows since silver was built, and silver is not built again
        result = rebuilt.dbt("build", "--select", "mobility_yellow_trips__accounting", "mobility_trips_by_hour")
        assert result.returncode == 1
        assert "FAIL 1 row_accounting_mobility_yellow_trips__accounting" in result.stdout
        assert "SKIP relation gold.mobility_trips_by_hour" in result.stdout
        assert rebuilt.rows("SELECT * FROM gold.mobility_trips_by_hour ORDER BY ALL") == before

    def test_a_window_that_is_no_month_is_refused(self, rebuilt: Warehouse) -> None:
        result = rebuilt.dbt("compile", "--select", "mobility_yellow_trips", "--vars", '{"from_month": "2023-02-15"}')
        assert result.returncode != 0
        assert "from_month must be the first day of a month" in result.stdout
