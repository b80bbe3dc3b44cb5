"""The same sources on both targets give the same silver and gold, row by row, types included."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import gcp
import parity
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from googlesql import offences
from homes import Done, Home, serving
from pydantic import SecretStr

from infra_assets.starrocks.client import StarRocks
from lake.gcp import bigquery_client
from lake.settings import Settings
from orchestration.resources.dbt import environment
from orchestration.served import served_tables
from sandbox import membership_workbooks, sales, shop, tlc
from sandbox.mongodb import MongoStandIn
from sandbox.s3 import S3StandIn
from sandbox.starrocks import StarRocksStandIn

pytestmark = [pytest.mark.gcp, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
MONTHS = ("2023-02", "2023-03")  # in the latter lie the shop's day and those of the membership and the sales
# When the day is over, these have nothing to reject: whose parents were late has come out of quarantine.
EMPTY = {f"silver.shop_{table}__rejected" for table in ("customers", "products", "reviews", "stock_movements")}
EMPTY |= {f"silver.sales_{table}__rejected" for table in ("employees", "payments")}  # nothing is wrong with them
DEADLINE = 1_200  # seconds, for the whole graph on both targets side by side
LINES = 2_000  # of the sales, as few as hold all of their mess
ROWS: dict[tlc.Service, int] = {"yellow": 700, "green": 500, "fhv": 500}
# Green trips that an engine may round or write in its own way: payment type, tip, fare, distance. By payment type, which no
# other row has, the mean tip is half a cent off; fares are half a cent off as well, as nearly as a double can say; distances
# need 16 or 17 digits, or an exponent.
HARD = (
    (5, 1.00, 1.005, 0.1 + 0.2),
    (5, 1.01, 2.675, 2 / 3),
    (6, -1.00, 0.125, 1.2345678901234567e-05),
    (6, -1.01, 1.115, 100 / 7),
)
MEAN_TIPS = {5: Decimal("1.01"), 6: Decimal("-1.01")}


def _write(folder: Path, month: str, seed: int) -> None:
    for service, rows in ROWS.items():
        if service != "green":
            tlc.write(service, month, folder, rows, seed=seed)
            continue
        path = tlc.write(service, month, folder, rows - len(HARD), seed=seed)
        table = pq.read_table(path).replace_schema_metadata()  # it is not what the generator made
        start = datetime.fromisoformat(f"{month}-07 12:00")
        hard = [
            {
                "lpep_pickup_datetime": start + timedelta(hours=number),
                "lpep_dropoff_datetime": start + timedelta(hours=number, minutes=9),
                "PULocationID": 7,
                "payment_type": payment_type,
                "tip_amount": tip,
                "fare_amount": fare,
                "total_amount": fare,
                "trip_distance": distance,
            }
            for number, (payment_type, tip, fare, distance) in enumerate(HARD)
        ]
        pq.write_table(pa.concat_tables([table, pa.Table.from_pylist(hard, table.schema)]), path)


@dataclass(frozen=True)
class Targets:
    """Both targets after the same runs, the first of which began at `began`; their tables, with types; and what readers
    of StarRocks see of each.
    """

    local: Home
    cloud: Home
    began: datetime
    here: Mapping[str, Any]
    there: Mapping[str, Any]
    read_here: Mapping[str, Any]
    read_there: Mapping[str, Any]


@pytest.fixture(scope="module")
def targets(tmp_path_factory, gcp_environment) -> Targets:
    """Both targets after a run over two months, the days of the shop, the membership and the sales among them, then one
    over the second month with other trips: the models have been made anew and have replaced a month of theirs.
    """
    base, began = tmp_path_factory.mktemp("parity"), datetime.now(UTC)
    files = base / "tlc"
    tlc.write_zones(files)
    _write(files, MONTHS[0], 1)
    _write(files, MONTHS[1], 2)
    storage = gcp_environment["STORAGE_EMULATOR_HOST"]
    with (
        serving(files) as server,
        MongoStandIn() as mongo,
        S3StandIn() as s3,
        StarRocksStandIn(base / "starrocks" / "here.json") as near,
        StarRocksStandIn(base / "starrocks_gcp" / "there.json", storage=storage) as far,
    ):
        shop.play(mongo.url, s3.url)
        sales.write(base / "sales.db", lines=LINES)
        shared = {
            "LAKEGRAPH_SHOP_MONGODB": mongo.url,
            "LAKEGRAPH_SHOP_S3": s3.url.replace("://", "://sandbox:sandbox@"),
            "LAKEGRAPH_SALES_DATABASE": f"sqlite:///{base / 'sales.db'}",
        }
        more = {k: v for k, v in gcp_environment.items() if k != "LAKEGRAPH_HOME"}
        more["LAKEGRAPH_STARROCKS"] = far.endpoint
        more["LAKEGRAPH_MEMBERSHIP_FOLDER"] = _workbooks(base / "workbooks_gcp")
        here = {"LAKEGRAPH_STARROCKS": near.endpoint, "LAKEGRAPH_MEMBERSHIP_FOLDER": _workbooks(base / "workbooks")}
        cloud = Home(base / "gcp", str(files), server.users_api, more | shared, DEADLINE)
        local = Home(base / "local", str(files), server.users_api, here | shared, DEADLINE)

        def run(*arguments: str) -> None:
            with ThreadPoolExecutor(2) as pool:
                runs = [pool.submit(home.run, "materialize", "--select", *arguments) for home in (local, cloud)]
                ended: list[Done] = [future.result() for future in runs]
            assert [done.code for done in ended] == [0, 0], "\n".join(done.err[:2000] for done in ended)

        run("*", "--from", MONTHS[0], "--to", MONTHS[1])
        _write(files, MONTHS[1], 3)
        changed = "bronze/mobility/*_trips silver/mobility/* gold/mobility/*"
        run(f"{changed} serving/exports/* serving/starrocks/*", "--partition", MONTHS[1])
        read_here, read_there = _readers(near), _readers(far)
    with _in_the_cloud(cloud) as settings:
        there = parity.gcp_tables(settings.gcp())
    with duckdb.connect(str(local.settings.published_path), read_only=True) as connection:
        return Targets(local, cloud, began, parity.local_tables(connection), there, read_here, read_there)


def _workbooks(folder: Path) -> str:
    """The sandbox's workbooks, in a folder of each target's own, for some are moved aside."""
    membership_workbooks.write(folder)
    return str(folder)


def _readers(stand_in: StarRocksStandIn) -> dict[str, list[tuple[Any, ...]]]:
    """What StarRocks shows of each view of `bi`, in order."""
    with StarRocks.from_url(SecretStr(stand_in.endpoint)).session() as session:
        views = [str(name) for (name,) in session.query("SHOW TABLES FROM bi")]
        return {view: sorted(session.query(f"SELECT * FROM bi.`{view}`"), key=repr) for view in views}


@contextmanager
def _in_the_cloud(home: Home) -> Iterator[Settings]:
    with gcp.variables({k: v for k, v in home.variables.items() if k != "COLUMNS"}):
        yield Settings()


def test_every_table_of_silver_and_gold_is_the_same_on_both_targets(targets):
    here, there = targets.here, targets.there
    assert here.keys() == there.keys()
    assert len(here) >= 18 + 30 + 28 + 39
    assert {name for name, (rows, _) in here.items() if not rows.num_rows} == EMPTY
    found = [
        *(d for name in here for d in parity.type_differences(name, here[name][1], there[name][1])),
        *(d for name in here for d in parity.differences(name, here[name][0], there[name][0])),
    ]
    assert not found, "\n".join(map(str, found))


def test_half_a_cent_goes_away_from_zero_on_both_targets(targets):
    for tables in (targets.here, targets.there):
        rows = tables["gold.mobility_green_trips_by_payment_type"][0].to_pylist()
        assert {r["payment_type"]: r["avg_tip_amount"] for r in rows if r["payment_type"] in MEAN_TIPS} == MEAN_TIPS


def test_readers_of_starrocks_see_the_same_on_both_targets(targets):
    """From the published copy through files here, from BigQuery through Cloud Storage there; after a second run too."""
    here, there = targets.read_here, targets.read_there
    assert here.keys() == there.keys()
    for one in served_tables():
        gold = targets.here[f"gold.{one.table}"][0]
        rows = sorted((tuple(row.values()) for row in gold.to_pylist()), key=repr)
        assert here[one.table] == rows
        assert there[one.table] == rows
        for shape in one.shapes:
            assert here[shape.name]
            assert here[shape.name] == there[shape.name]


def test_rows_add_up_in_the_cloud_too(targets):
    for service, rows in ROWS.items():
        accounts = targets.there[f"silver.mobility_{service}_trips__accounting"][0].to_pylist()
        assert {a["bronze_rows"] for a in accounts} == {rows}
        assert {a["unaccounted_rows"] for a in accounts} == {0}


def test_the_command_queries_the_cloud(targets):
    cloud = targets.cloud
    sql = "SELECT service, sum(trips) AS trips FROM gold.mobility_trips_by_hour GROUP BY 1 ORDER BY 1"
    done = cloud.run("query", sql, "--format", "csv")
    assert done.code == 0, done.err
    assert [line.split(",")[0] for line in done.out.splitlines()] == ["service", "fhv", "green", "yellow"]
    assert cloud.run("query", "SELECT nonsense FROM gold.nowhere").code == 1


def test_every_statement_of_a_run_is_googlesql(targets):
    """Of the runs above (loads, models, tests), and of the models' unit tests, which runs leave out."""
    with _in_the_cloud(targets.cloud) as settings:
        unit = settings.dbt_target / "unit"
        variables = {**os.environ, **environment(settings, "unit tests")}
        command = [Path(sys.executable).parent / "dbt", "test", "--select", "test_type:unit", "--profiles-dir", "."]
        command += ["--target-path", unit, "--log-path", unit]
        done = subprocess.run(
            command, cwd=ROOT / "dbt_project", env=variables, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout
        jobs = bigquery_client(settings.gcp()).query_and_wait(
            "SELECT DISTINCT query FROM `region-us`.INFORMATION_SCHEMA.JOBS WHERE query IS NOT NULL"
            f" AND creation_time >= TIMESTAMP '{targets.began.isoformat()}'"
        )
        sent = [row[0] for row in jobs]
        files = [path for part in ("compiled", "run") for path in settings.dbt_target.glob(f"*/{part}/**/*.sql")]
    manifest = json.loads((ROOT / "dbt_project" / "target" / "gcp" / "manifest.json").read_text())
    nodes = [n for n in manifest["nodes"].values() if n["resource_type"] in {"model", "test"}]
    known = {Path(node["path"]).stem for node in nodes} | {u["name"] for u in manifest["unit_tests"].values()}
    assert known - {path.stem for path in files} == set()
    assert any("merge into" in sql for sql in sent)
    assert any("begin transaction" in sql for sql in sent)
    found = {sql: offences(sql) for sql in {*(path.read_text() for path in files), *sent}}
    assert {sql: wrong for sql, wrong in found.items() if wrong} == {}


def test_a_difference_names_table_key_column_and_both_values():
    def table(amounts: list[str]) -> pa.Table:
        when = [datetime(2023, 1, 1)] * len(amounts)  # noqa: DTZ001 - the source's clock has no zone
        ids = [f"t{n}" for n in range(len(amounts))]
        return pa.table({"trip_id": ids, "pickup_at": when, "total_amount": [Decimal(a) for a in amounts]})

    same = table(["1.00", "2.00"])
    assert parity.differences("silver.t", same, same.take([1, 0])) == []
    (found,) = parity.differences("silver.t", same, table(["1.00", "2.01"]))
    assert str(found) == "silver.t [t1] total_amount: Decimal('2.00') != Decimal('2.01')"
    (missing,) = parity.differences("silver.t", same, table(["1.00"]))
    assert str(missing) == "silver.t [t1] row: True != False"
    assert [str(d) for d in parity.type_differences("silver.t", {"a": "DOUBLE"}, {"a": "INT64"})] == [
        "silver.t [types] a: 'DOUBLE' != 'INT64'"
    ]
