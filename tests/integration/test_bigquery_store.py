"""Bronze on the target gcp: the same loads as on the embedded one, their rows and accounts in BigQuery and GCS."""

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import gcp
import lakes
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra_assets import resources
from infra_assets.plan import apply_all
from lake.audit import audit
from lake.bigquery_store import BigQueryStore
from lake.errors import LakeError
from lake.gcp import bigquery_client, storage_client
from lake.settings import Settings
from lake.store import Delivery, open_store
from orchestration.checks.source_freshness import verdict
from sandbox import tlc

pytestmark = pytest.mark.gcp


@pytest.fixture
def cloud(gcp_environment, tmp_path: Path) -> Iterator[Settings]:
    """The target gcp with nothing in it but its infrastructure, that reads `tmp_path/tlc`."""
    files = tmp_path / "tlc"
    files.mkdir()
    own = {"LAKEGRAPH_HOME": str(tmp_path / "home"), "LAKEGRAPH_TLC_BASE": str(files)}
    with gcp.variables({**gcp_environment, **own}):
        settings = Settings()
        target = settings.gcp()
        client, bucket = bigquery_client(target), storage_client(target).bucket(target.bucket)
        for dataset in client.list_datasets():
            client.delete_dataset(dataset.reference, delete_contents=True)
        if bucket.exists():
            bucket.delete_blobs(list(bucket.list_blobs()))
        apply_all(resources(settings))
        yield settings


def files_of(settings: Settings) -> Path:
    return Path(settings.endpoint("tlc_base"))


def count(settings: Settings, name: str, *, rejected: bool = False) -> dict[str, int]:
    spec, _ = lakes.declared(name)
    return open_store(settings, "test").stored_rows(spec, rejected=rejected)


def ask(settings: Settings, sql: str) -> list[tuple]:
    return [tuple(row.values()) for row in bigquery_client(settings.gcp()).query_and_wait(sql)]


@pytest.mark.parametrize(("service", "kind"), [("yellow", "TABLE"), ("green", "EXTERNAL")])
def test_a_month_is_replaced_and_no_other_and_a_repeat_changes_nothing(cloud, service, kind):
    """Twice: once for a table in BigQuery, once for files in GCS under a BigLake table."""
    name = f"{service}_trips"
    for month, rows in (("2023-01", 300), ("2023-02", 200)):
        tlc.write(service, month, files_of(cloud), rows)
        result = lakes.load_table(cloud, name, month)
        assert (result.changed, result.account.rows_read, result.account.rows_loaded) == (True, rows, rows)
    table = bigquery_client(cloud.gcp()).get_table(f"bronze.mobility_{name}")
    assert table.table_type == kind
    assert count(cloud, name) == {"2023-01-01": 300, "2023-02-01": 200}

    shutil.rmtree(cloud.dlt_home)  # nothing is remembered in a folder
    again = lakes.load_table(cloud, name, "2023-02")
    assert (again.changed, again.total_rows) == (False, 500)
    assert ask(cloud, "SELECT count(*) FROM bronze.load_accounts") == [(2,)]

    where = f"FROM bronze.mobility_{name} WHERE source_month = DATE '2023-01-01'"
    january = ask(cloud, f"SELECT sum(trip_distance), sum(PULocationID) {where}")
    tlc.write(service, "2023-02", files_of(cloud), 250, seed=9)
    assert lakes.load_table(cloud, name, "2023-02").total_rows == 550
    assert count(cloud, name) == {"2023-01-01": 300, "2023-02-01": 250}
    assert ask(cloud, f"SELECT sum(trip_distance), sum(PULocationID) {where}") == january
    spec, _ = lakes.declared(name)
    assert [f.unaccounted for f in audit(spec, ["2023-01-01", "2023-02-01"], cloud, run_id="test")] == [0, 0]


def test_nothing_is_left_in_staging(cloud):
    tlc.write("yellow", "2023-01", files_of(cloud), 100)
    lakes.load_table(cloud, "yellow_trips", "2023-01")
    left = [t.table_id for t in bigquery_client(cloud.gcp()).list_tables("bronze_staging")]
    assert [name for name in left if not name.startswith("_dlt")] == []
    bucket = storage_client(cloud.gcp()).bucket(cloud.gcp().bucket)
    assert list(bucket.list_blobs(prefix="staging/")) == []


def test_rows_are_rejected_and_accounted_for_as_on_the_embedded_target(cloud, tmp_path):
    header = "LocationID,Borough,Zone,service_zone\n"
    text = f"{header}1,EWR,Newark Airport,EWR\nx,Queens,Nowhere,Boro Zone\n1,EWR,Again,EWR\n2,Queens,Jamaica Bay\n"
    path = files_of(cloud) / "taxi_zone_lookup.csv"
    path.write_text(text)
    result = lakes.load_table(cloud, "taxi_zones")
    local = lakes.load_table(lakes.settings(tmp_path / "local", files_of(cloud)), "taxi_zones")
    numbers = [(r.account.rows_read, r.account.rows_loaded, r.account.rows_rejected) for r in (result, local)]
    assert numbers == [(4, 1, 3), (4, 1, 3)]
    assert (count(cloud, "taxi_zones"), count(cloud, "taxi_zones", rejected=True)) == ({"": 1}, {"": 3})
    reasons = ask(cloud, "SELECT reject_reason, row_ordinal FROM bronze.mobility_taxi_zones__rejected ORDER BY 2")
    assert [reason.split(":")[0] for reason, _ in reasons] == [
        "invalid_location_id",
        "duplicate_location_id",
        "ragged_row",
    ]
    path.write_text(f"{header}1,EWR,Newark Airport,EWR\n")
    lakes.load_table(cloud, "taxi_zones")
    assert count(cloud, "taxi_zones", rejected=True) == {}, "rejected rows are replaced with their load"


@pytest.mark.parametrize("service", ["yellow", "green"])
def test_drift_between_months_is_one_table(cloud, service):
    """Doubles in columns of whole numbers, null-typed columns, other widths and cases, a column that is new."""
    name = f"{service}_trips"
    for month in ("2025-01", "2023-01", "2023-02"):
        tlc.write(service, month, files_of(cloud), 120)
    with_new = pq.read_table(files_of(cloud) / tlc.file_name(service, "2023-02"))
    with_new = with_new.append_column("surprise", pa.array([1.5] * with_new.num_rows))
    pq.write_table(with_new, files_of(cloud) / tlc.file_name(service, "2023-02"))
    results = {m: lakes.load_table(cloud, name, m) for m in ("2023-01", "2023-02", "2025-01")}
    assert "surprise" in results["2023-02"].new_columns
    assert set(count(cloud, name).values()) == {120}
    ever = "source_month >= DATE '2000-01-01'"
    table = f"bronze.mobility_{name}"
    assert ask(cloud, f"SELECT sum(surprise), countif(surprise IS NULL) FROM {table} WHERE {ever}") == [(180.0, 240)]
    assert ask(cloud, f"SELECT count(cbd_congestion_fee) > 0 FROM {table} WHERE source_month = DATE '2025-01-01'") == [
        (True,)
    ]
    open_store(cloud, "test").check_declaration(lakes.declared(name)[0])


def test_months_at_once_lose_nothing(cloud):
    months = ("2023-01", "2023-02", "2023-03")
    for month in months:
        tlc.write("yellow", month, files_of(cloud), 100)
        tlc.write("green", month, files_of(cloud), 100)
    with ThreadPoolExecutor(3) as pool:
        loads = [(name, month) for month in months for name in ("green_trips", "yellow_trips")]
        list(pool.map(lambda load: lakes.load_table(cloud, *load), loads))
    for name in ("green_trips", "yellow_trips"):
        assert count(cloud, name) == {f"{month}-01": 100 for month in months}


def test_columns_that_two_months_bring_at_once_are_both_there(cloud):
    """The fault: each declared the BigLake table with the columns it had read before the other's were there."""
    months = ("2023-01", "2023-02")
    for month in months:
        path = tlc.write("green", month, files_of(cloud), 100)
        rows = pq.read_table(path)
        pq.write_table(rows.append_column(f"new_{month[-2:]}", pa.array([1.5] * rows.num_rows)), path)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda month: lakes.load_table(cloud, "green_trips", month), months))
    sums = "SELECT sum(new_01), sum(new_02) FROM bronze.mobility_green_trips WHERE source_month >= DATE '2000-01-01'"
    assert ask(cloud, sums) == [(150.0, 150.0)]


@pytest.mark.parametrize("service", ["yellow", "green"])
def test_a_delivery_without_rows_empties_its_partition_and_no_other(cloud, service):
    for month in ("2023-01", "2023-02"):
        tlc.write(service, month, files_of(cloud), 100)
        account = lakes.load_table(cloud, f"{service}_trips", month).account
    spec, _ = lakes.declared(f"{service}_trips")
    store = open_store(cloud, "test")
    assert store.partitions(spec.table) == {"2023-01-01", "2023-02-01"}
    empty = replace(account, rows_read=0, rows_loaded=0, digest="of nothing")
    delivery = Delivery(spec, date(2023, 2, 1), (), (), empty, cloud.dlt_home)
    assert store.commit(delivery).changed
    assert not store.commit(delivery).changed
    assert count(cloud, f"{service}_trips") == {"2023-01-01": 100}
    assert store.partitions(spec.table) == {"2023-01-01"}
    assert store.partitions("mobility_nowhere") is None


def test_a_load_that_died_before_its_account_is_done_again(cloud, monkeypatch):
    """The object of a partition in GCS is replaced before the account follows: the repeat must not take it for done."""
    tlc.write("green", "2023-01", files_of(cloud), 100)
    with monkeypatch.context() as patch:
        patch.setattr(BigQueryStore, "_transact", lambda *_: (_ for _ in ()).throw(LakeError("killed")))
        with pytest.raises(LakeError, match="killed"):
            lakes.load_table(cloud, "green_trips", "2023-01")
    assert lakes.load_table(cloud, "green_trips", "2023-01").changed
    assert count(cloud, "green_trips") == {"2023-01-01": 100}


def test_an_object_without_its_account_is_not_taken_for_the_load_before_it(cloud, monkeypatch):
    """The fault: the object of a corrected file was written, the run died, the file went back, and all was "unchanged"."""
    first = tlc.write("green", "2023-01", files_of(cloud), 100).read_bytes()
    lakes.load_table(cloud, "green_trips", "2023-01")
    expected = ask(cloud, "SELECT sum(fare_amount) FROM bronze.mobility_green_trips WHERE source_month = '2023-01-01'")
    path = tlc.write("green", "2023-01", files_of(cloud), 100, seed=7)
    with monkeypatch.context() as patch:
        patch.setattr(BigQueryStore, "_transact", lambda *_: (_ for _ in ()).throw(LakeError("killed")))
        with pytest.raises(LakeError, match="killed"):
            lakes.load_table(cloud, "green_trips", "2023-01")
    path.write_bytes(first)
    assert lakes.load_table(cloud, "green_trips", "2023-01").changed
    found = ask(cloud, "SELECT sum(fare_amount) FROM bronze.mobility_green_trips WHERE source_month = '2023-01-01'")
    assert found == expected


@pytest.mark.parametrize("service", ["yellow", "green"])
def test_a_table_that_was_dropped_is_loaded_again(cloud, service):
    """The fault: its account was still there, so that every load was "unchanged"."""
    tlc.write(service, "2023-01", files_of(cloud), 100)
    lakes.load_table(cloud, f"{service}_trips", "2023-01")
    bigquery_client(cloud.gcp()).delete_table(f"bronze.mobility_{service}_trips")
    assert lakes.load_table(cloud, f"{service}_trips", "2023-01").changed
    assert count(cloud, f"{service}_trips") == {"2023-01-01": 100}


def test_a_source_that_cannot_be_read_leaves_bronze_as_it_was(cloud):
    tlc.write("yellow", "2023-01", files_of(cloud), 100)
    lakes.load_table(cloud, "yellow_trips", "2023-01")
    (files_of(cloud) / tlc.file_name("yellow", "2023-01")).write_bytes(b"PAR1 and no more")
    with pytest.raises(LakeError, match="the Parquet file is truncated"):
        lakes.load_table(cloud, "yellow_trips", "2023-01")
    assert count(cloud, "yellow_trips") == {"2023-01-01": 100}
    assert ask(cloud, "SELECT count(*) FROM bronze.load_accounts") == [(1,)]


def test_a_table_without_a_partition_filter_is_not_scanned(cloud):
    tlc.write("yellow", "2023-01", files_of(cloud), 50)
    lakes.load_table(cloud, "yellow_trips", "2023-01")
    table = bigquery_client(cloud.gcp()).get_table("bronze.mobility_yellow_trips")
    assert table.require_partition_filter
    assert table.time_partitioning.field == "source_month"
    assert table.clustering_fields == ["PULocationID"]
    with pytest.raises(Exception, match="without a filter"):
        ask(cloud, "SELECT max(fare_amount) FROM bronze.mobility_yellow_trips")


def test_freshness_is_read_off_the_accounts(cloud):
    store = open_store(cloud, "test")
    assert store.newest_loads() == {}
    tlc.write("green", "2023-01", files_of(cloud), 50)
    lakes.load_table(cloud, "green_trips", "2023-01")
    (loaded,) = store.newest_loads().values()
    assert datetime.now(UTC) - loaded < timedelta(minutes=5)
    limits = {"warn_after": {"count": 2, "period": "day"}, "error_after": {"count": 5, "period": "day"}}
    ages = (timedelta(hours=1), timedelta(days=3), timedelta(days=6))
    assert [verdict(age, limits) for age in ages] == ["pass", "warn", "error"]
    assert verdict(timedelta(days=99), {"warn_after": {"count": None}}) == "pass"
