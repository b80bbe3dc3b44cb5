"""Silver and gold of the shop on BigQuery (the emulator): by hours, backwards, they end as DuckDB's in one pass."""

import json
import os
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import gcp
import parity
import pytest
import shops
from googlesql import offences
from shops import Rows, Shop, Step, days

from lake.gcp import bigquery_client
from lake.settings import Settings

pytestmark = [pytest.mark.gcp, pytest.mark.slow]

HOURS = shops.hours(seed=11)
TYPES = {
    "TIMESTAMP": "DATETIME",
    "VARCHAR": "STRING",
    "BOOLEAN": "BOOL",
    "BIGINT": "INT64",
    "DECIMAL(18,2)": "NUMERIC(18, 2)",
}


def literal(value: Any) -> str:
    if isinstance(value, bool | int | Decimal | None):
        return str(value).upper() if value is not None else "NULL"
    if isinstance(value, datetime):
        return f"DATETIME '{value:%Y-%m-%d %H:%M:%S}'"
    if isinstance(value, date):
        return f"DATE '{value}'"
    return json.dumps(value)


class Cloud:
    """The stand-ins of Google Cloud with the shop's bronze in them, and dbt to build the rest."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings, self.folder = settings, folder
        self.client = bigquery_client(settings.gcp())
        self.held: set[tuple[Any, ...]] = set()
        for layer in ("bronze", "silver", "gold"):
            self.client.create_dataset(layer, exists_ok=True)
        for table, columns in shops.COLUMNS.items():
            listed = ", ".join(f"{name} {TYPES.get(kind, kind)}" for name, kind in columns.items())
            self.client.query_and_wait(
                f"CREATE TABLE bronze.shop_{table} ({listed}, _loaded_at TIMESTAMP) PARTITION BY source_day"
                " OPTIONS (require_partition_filter = true)"
            )

    def deliver(self, delivered: Rows) -> None:
        """Append to bronze what it does not hold yet."""
        for table, rows in delivered.items():
            fresh = {(table, *(one[key] for key in shops.identity(table))): one for one in rows}
            values = [
                f"({', '.join(literal(one.get(name)) for name in shops.COLUMNS[table])}, CURRENT_TIMESTAMP())"
                for known, one in fresh.items()
                if known not in self.held
            ]
            self.held |= set(fresh)
            if values:
                self.client.query_and_wait(f"INSERT INTO bronze.shop_{table} VALUES {', '.join(values)}")

    def dbt(self, *arguments: str, **window: str) -> None:
        environment = {
            **os.environ,
            "PYTHONPATH": str(shops.PROJECT.parent),
            "LAKEGRAPH_GCP_CONNECTION_NAME": self.settings.gcp().connection_name,
            "LAKEGRAPH_LAKE_URI": self.settings.gcp().lake_uri,
            "DBT_TARGET_PATH": str(self.folder / "target"),
            "DBT_LOG_PATH": str(self.folder / "logs"),
        }
        done = shops.run_dbt(environment, *arguments, **window)
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]

    def sent(self) -> dict[str, str]:
        """The SQL that dbt has made of models and tests, by file."""
        parts = (self.folder / "target" / part for part in ("compiled", "run"))
        return {str(path): path.read_text() for part in parts for path in part.rglob("*.sql")}


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """In a home of this module's own, for the names of its tables are the project's."""
    with gcp.running(tmp_path_factory.mktemp("gcp")) as environment, gcp.variables(environment):
        yield Cloud(Settings(), tmp_path_factory.mktemp("dbt"))


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """On DuckDB, everything at once."""
    shop = Shop(tmp_path_factory.mktemp("local"))
    shop.prepare(HOURS)
    shop.run([Step(list(range(len(HOURS))))])
    return shop


def test_hours_run_backwards_on_bigquery_end_as_one_pass_on_duckdb(cloud: Cloud, local: Shop) -> None:
    for delivered in ([HOURS[3], HOURS[2]], [HOURS[1], HOURS[0]]):  # the tables are made, then merged into
        for rows in delivered:
            cloud.deliver(rows)
        cloud.dbt("run", "--select", *shops.SELECT, **days(*delivered))
        assert {offence: path for path, sql in cloud.sent().items() for offence in offences(sql)} == {}
    found = {name: held for name, held in parity.gcp_tables(cloud.settings.gcp()).items() if ".shop_" in name}
    with duckdb.connect(str(local.path), read_only=True) as connection:
        expected = parity.local_tables(connection)
    assert set(found) == set(expected)
    different = []
    for name, (rows, types) in expected.items():
        different += parity.type_differences(name, types, found[name][1])
        different += parity.differences(name, rows, found[name][0])
    assert list(map(str, different)) == []
