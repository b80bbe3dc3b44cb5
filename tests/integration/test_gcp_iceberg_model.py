"""A model that is an Iceberg table on the target gcp keeps the columns of its query, or says why it cannot."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import gcp
import pytest
from google.cloud import bigquery
from googlesql import offences

from lake.gcp import bigquery_client
from lake.settings import Settings

pytestmark = pytest.mark.gcp

PROJECT = Path(__file__).parents[2] / "dbt_project"
DBT = Path(sys.executable).with_name("dbt")
COLUMNS = "select {{ trip_columns() }}"
MODELS = ("mobility_green_trips__duplicates", "mobility_green_trips")
JANUARY, FEBRUARY = date(2023, 1, 1), date(2023, 2, 1)
BRONZE = """
    CREATE TABLE bronze.mobility_green_trips AS
    SELECT
        DATETIME_ADD(DATETIME '2023-01-05 10:00:00', INTERVAL n DAY) AS lpep_pickup_datetime,
        DATETIME_ADD(DATETIME '2023-01-05 10:10:00', INTERVAL n DAY) AS lpep_dropoff_datetime,
        7 AS PULocationID, 8 AS DOLocationID, 1 AS passenger_count, 1.5 AS trip_distance, 10.0 AS fare_amount,
        2.0 AS tip_amount, 12.5 AS total_amount, 1 AS payment_type,
        IF(n < 27, DATE '2023-01-01', DATE '2023-02-01') AS source_month
    FROM UNNEST([0, 1, 30]) AS n
"""


class Warehouse:
    """A project of its own on the emulator, and dbt's project to build it with, where a model may be edited."""

    def __init__(self, folder: Path, variables: dict[str, str]) -> None:
        self.folder, self.client = folder, bigquery_client(Settings().gcp())
        self.environment = {
            **os.environ,
            **variables,
            "LAKEGRAPH_GCP_CONNECTION_NAME": Settings().gcp().connection_name,
            "LAKEGRAPH_LAKE_URI": Settings().gcp().lake_uri,
        }
        shutil.copytree(PROJECT, folder, ignore=shutil.ignore_patterns("target", "logs"))

    def run(self, edit: Callable[[str], str], month: date | None = None) -> subprocess.CompletedProcess[str]:
        """`dbt run` of green trips with its model edited, over a month or all of them."""
        model = self.folder / "models" / "silver" / "mobility" / "mobility_green_trips.sql"
        original = model.read_text()
        assert COLUMNS in original
        model.write_text(edit(original))
        window = f"{{from_month: '{month}', to_month: '{month}'}}" if month else "{}"
        command = [DBT, "--no-use-colors", "run", "--profiles-dir", ".", "--select", *MODELS, "--vars", window]
        try:
            return subprocess.run(
                command, env=self.environment, capture_output=True, text=True, check=False, cwd=self.folder
            )
        finally:
            model.write_text(original)

    def build(self, edit: Callable[[str], str] = str, month: date | None = None) -> None:
        done = self.run(edit, month)
        assert done.returncode == 0, done.stdout

    def table(self) -> tuple[list[str], list[dict[str, Any]]]:
        found = self.client.query_and_wait("SELECT * FROM silver.mobility_green_trips ORDER BY pickup_at")
        return [field.name for field in found.schema], [dict(row.items()) for row in found]


@pytest.fixture(scope="module")
def warehouse(gcp_environment, tmp_path_factory):
    """Green trips in silver, two of January and one of February, in a project that no other test looks into."""
    own = dict.fromkeys(("LAKEGRAPH_GCP_PROJECT", "GOOGLE_CLOUD_PROJECT"), "iceberg-columns")
    with gcp.variables({**gcp_environment, **own}):
        made = Warehouse(tmp_path_factory.mktemp("dbt") / "project", {**gcp_environment, **own})
        made.client.create_dataset(bigquery.Dataset("iceberg-columns.bronze"))
        made.client.query_and_wait(BRONZE)
        made.build()
        yield made


def with_minutes(model: str) -> str:
    return model.replace(COLUMNS, f"{COLUMNS}, duration_seconds / 60 as duration_minutes")


def test_a_column_added_to_the_query_is_added_to_the_table_and_filled(warehouse):
    names, rows = warehouse.table()
    warehouse.build(with_minutes, JANUARY)
    after, filled = warehouse.table()
    assert after == [*names, "duration_minutes"]
    assert [(row["source_month"], row["duration_minutes"]) for row in filled] == [
        (JANUARY, 10.0),
        (JANUARY, 10.0),
        (FEBRUARY, None),
    ]
    assert [{name: row[name] for name in names} for row in filled] == rows
    assert warehouse.client.get_table("silver.mobility_green_trips").schema[-1].field_type == "FLOAT"
    jobs = warehouse.client.list_jobs(max_results=1000)
    (added,) = [job for job in jobs if job.job_type == "query" and "add column" in job.query]
    assert offences(added.query) == []
    assert added.labels["asset"] == "silver-mobility_green_trips"


def test_a_column_that_the_query_lacks_or_has_in_another_type_is_refused_in_one_line(warehouse):
    def changed(model: str) -> str:
        other = "replace('payment_type, ', '') | replace('tip_amount', 'cast(tip_amount as float64) as tip_amount')"
        return model.replace(COLUMNS, f"select {{{{ trip_columns() | {other} }}}}, 1 as one")

    before = warehouse.table()
    done = warehouse.run(changed, JANUARY)
    assert done.returncode == 1
    (line,) = [text.strip() for text in done.stdout.splitlines() if "is in the table" in text]
    assert line.startswith(
        "silver.mobility_green_trips: column tip_amount is NUMERIC in the table and FLOAT64 in the query, "
    )
    assert "column payment_type is in the table and not in the query" in line
    assert line.endswith(
        "; drop the table (drop table `iceberg-columns`.`silver`.`mobility_green_trips`), remove its files under "
        "gs://lakegraph-local-lake/lake/silver/mobility_green_trips/ and build every month again"
    )
    assert warehouse.table() == before
