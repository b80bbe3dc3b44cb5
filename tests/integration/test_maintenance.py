"""House-keeping: what goes is old and named by nobody; what anybody may still need stays."""

import json
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import lakes
import pytest
from lakes import load_green

from lake import iceberg
from lake.audit import audit
from lake.catalog import open_catalog
from lake.maintenance import expirable, maintain
from lake.publish import publish, query
from sandbox import tlc

DAY_MS = 86_400_000


def age(lake, days):
    """Make everything in the lake `days` older: the times in the tables' metadata, and those of files and folders."""
    catalog = open_catalog(lake)
    for identifier in catalog.list_tables("bronze"):
        path = Path(catalog.load_table(identifier).metadata_location.removeprefix("file://"))
        document = json.loads(path.read_text())
        for entry in [*document["snapshots"], *document["snapshot-log"], *document["metadata-log"], document]:
            for key in {"timestamp-ms", "last-updated-ms"} & entry.keys():
                entry[key] -= days * DAY_MS
        path.write_text(json.dumps(document))
    for path in sorted(lake.home.rglob("*"), reverse=True):
        set_age(path, days + (time.time() - path.stat().st_mtime) / 86_400)


def set_age(path, days):
    then = time.time() - days * 86_400
    os.utime(path, (then, then))


def everything(lake):
    return {path for path in lake.home.rglob("*") if path.is_file()}


def load_months(lake, files, *months, rows=110, seed=1):
    for month in months:
        tlc.write("green", month, files, rows, seed=seed)
        load_green(lake, month)


@pytest.fixture
def rewritten(lake, files):
    """2023-02 loaded three times and 2023-03 once, all of it thirty days ago."""
    load_months(lake, files, "2023-02", "2023-03")
    for seed in (2, 3):
        load_months(lake, files, "2023-02", rows=110 + seed, seed=seed)
    age(lake, 30)
    return lake


def orphan(lake, name, days):
    path = iceberg.table_location(lake.warehouse, "bronze.mobility_green_trips") / "data" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * 1000)
    set_age(path, days)
    return path


def test_old_orphans_go_and_young_ones_stay(lake, files):
    load_months(lake, files, "2023-02")
    before = lakes.state(lake)
    old, young = orphan(lake, "old.parquet", 8), orphan(lake, "young.parquet", 6)
    done = maintain(lake, keep_days=7)
    assert (done.files, done.bytes_removed, done.snapshots_expired) == ((old,), 1000, 0)
    assert (old.exists(), young.exists()) == (False, True)
    assert lakes.state(lake) == before


def test_a_named_file_stays_however_old_it_is(lake, files):
    load_months(lake, files, "2023-02", "2023-03")
    age(lake, 1000)
    before, rows = lakes.state(lake), lakes.canonical(lakes.rows(lake))
    named = {Path(name.removeprefix("file://")) for name in lakes.data_files(lake)}
    done = maintain(lake, keep_days=7)
    assert not named & set(done.files)
    assert lakes.state(lake) == before
    assert lakes.canonical(lakes.rows(lake)).equals(rows)


def test_expired_snapshots_take_their_files_with_them_and_the_newest_accounts_stay(rewritten):
    table = lakes.open_table(rewritten)
    first, march, second, third = [s.snapshot_id for s in table.snapshots()]
    superseded = {
        Path(f.file_path.removeprefix("file://"))
        for s in (first, second)
        for f in iceberg.files_of(table, table.snapshot_by_id(s))
    } - {Path(f.file_path.removeprefix("file://")) for f in iceberg.current_files(table)}
    assert len(superseded) == 2
    rows, accounts = lakes.canonical(lakes.rows(rewritten)), iceberg.accounts(table)

    done = maintain(rewritten, keep_days=7)

    assert done.snapshots_expired == 2
    kept = lakes.open_table(rewritten)
    assert [s.snapshot_id for s in kept.snapshots()] == [march, third]  # March's is not current and has March's account
    assert iceberg.accounts(kept) == accounts
    assert {f.unaccounted for f in audit(lakes.declared("green_trips")[0], list(accounts), rewritten)} == {0}
    assert lakes.canonical(lakes.rows(rewritten)).equals(rows)
    # March's snapshot still names the first files of February; the second ones are named by nobody and gone.
    named = {Path(f.file_path.removeprefix("file://")) for s in kept.snapshots() for f in iceberg.files_of(kept, s)}
    assert {path for path in superseded if path.exists()} == superseded & named
    assert len(superseded & named) == 1
    assert not load_green(rewritten).changed  # a repeat is still known to be one
    assert maintain(rewritten, keep_days=7).snapshots_expired == 0


def test_a_dry_run_says_what_a_run_does_and_touches_nothing(rewritten):
    stale = rewritten.dlt_home / "mobility_green_trips-dead"
    stale.mkdir(parents=True)
    (stale / "package").write_text("x")
    set_age(stale, 9)
    orphan(rewritten, "old.parquet", 9)
    before, files = lakes.state(rewritten), everything(rewritten)
    said = maintain(rewritten, keep_days=7, dry_run=True)
    assert (lakes.state(rewritten), everything(rewritten)) == (before, files)
    assert said.snapshots_expired == 2
    assert said.folders == (stale,)
    done = maintain(rewritten, keep_days=7)
    assert (done.snapshots_expired, done.folders) == (said.snapshots_expired, said.folders)
    assert set(said.files) == set(done.files)
    assert said.bytes_removed == done.bytes_removed


def test_nothing_of_the_last_day_goes_whatever_is_asked(lake, files):
    load_months(lake, files, "2023-02")
    load_months(lake, files, "2023-02", rows=120)
    path = orphan(lake, "an-hour-old.parquet", 1 / 24)
    before = lakes.state(lake)
    for days in (0, -5, 1):
        done = maintain(lake, keep_days=days)
        assert (done.files, done.folders, done.snapshots_expired) == ((), (), 0)
    assert path.exists()
    assert lakes.state(lake) == before


def test_the_published_copy_reads_on_after_a_reload_and_maintenance(lake, files):
    """A snapshot of last month that was current until a minute ago is still being read."""
    load_months(lake, files, "2023-02")
    publish(lake)
    age(lake, 30)
    load_months(lake, files, "2023-02", rows=120, seed=2)
    maintain(lake, keep_days=7)
    sql = "SELECT count(total_amount) n FROM bronze.mobility_green_trips"
    assert query(lake, sql).to_pylist() == [{"n": 110}]
    publish(lake)
    assert query(lake, sql).to_pylist() == [{"n": 120}]


def test_what_may_expire_is_decided_by_when_it_was_replaced(lake, files):
    load_months(lake, files, "2023-02")
    age(lake, 30)
    load_months(lake, files, "2023-02", rows=120)
    table = lakes.open_table(lake)
    first, last = table.snapshots()
    now = datetime.now(UTC)
    assert expirable(table, now - timedelta(days=7)) == []
    assert expirable(table, now + timedelta(minutes=1)) == [first.snapshot_id]
    assert last.snapshot_id == table.current_snapshot().snapshot_id


def test_folders_that_dead_runs_left_go_when_they_are_old(lake):
    for root in (lake.dlt_home, lake.dbt_target, lake.staging):
        for name, days in (("old", 8), ("young", 1)):
            (root / name).mkdir(parents=True)
            (root / name / "file").write_text("x")
            set_age(root / name, days)
        (root / "old-file").write_text("x")
        set_age(root / "old-file", 8)
    done = maintain(lake, keep_days=7)
    assert len(done.folders) == 6
    for root in (lake.dlt_home, lake.dbt_target, lake.staging):
        assert [p.name for p in root.iterdir()] == ["young"]


def test_rejected_rows_are_maintained_too(lake, files):
    path = files / "taxi_zone_lookup.csv"
    for number in range(3):
        path.write_text(f"LocationID,Borough,Zone,service_zone\n{number},A,B,C\nx,A,B,C\n")
        lakes.load_table(lake, "taxi_zones", run_id=str(number))
    age(lake, 30)
    assert maintain(lake, keep_days=7).snapshots_expired == 4  # two of the table, two of its rejects
    assert lakes.rows(lake, "mobility_taxi_zones")["location_id"].to_pylist() == [2]
    (rejected,) = lakes.rows(lake, "mobility_taxi_zones__rejected").to_pylist()
    assert (rejected["run_id"], rejected["row_ordinal"]) == ("2", 2)


def test_an_empty_lake_needs_none(lake):
    done = maintain(lake)
    assert (done.snapshots_expired, done.files, done.folders, done.bytes_removed) == (0, (), (), 0)
