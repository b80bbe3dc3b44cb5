"""Exports of gold: written whole, once for each content, kept for as long as somebody may read them; on both targets."""

import json
import os
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import gcp
import gold as gold_file
import lakes
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError
from typing_extensions import override

from infra_assets.gcp import Bucket
from lake import exports
from lake.errors import LakeError, TransientError
from lake.exports import FILE, Exported, Shape, current, expire, export, exports_folder, reshape
from lake.folders import Folder, LocalFolder
from lake.gcp import bigquery_client
from lake.settings import Settings, get_settings
from orchestration.assets.exports import build_exports, export_key
from orchestration.served import served_tables

COLUMNS = {"day": "date", "orders": "bigint", "revenue": "decimal(18, 2)", "note": "string"}
ROWS = "(DATE '2023-03-31', 3, 12.50, 'a'), (DATE '2023-04-01', 0, 0.05, NULL), (DATE '2023-04-02', 7, -1.00, 'é')"
MORE = ROWS + ", (DATE '2023-04-03', 1, 9.99, 'b')"
SHAPE = Shape(
    "shop_by_month",
    "shop_daily",
    "SELECT date_trunc('month', day) AS month, sum(orders)::BIGINT AS orders, sum(revenue)::DECIMAL(18,2) AS revenue FROM shop_daily GROUP BY 1",
)


@dataclass(frozen=True)
class Gold:
    """A lake whose gold has one table, `shop_daily`; `fill` makes it anew."""

    settings: Settings
    fill: Callable[[str], None]

    def read(self, table: str) -> list[dict[str, Any]]:
        """Rows of the current snapshot, as who follows the manifest reads them."""
        manifest, folder = current(self.settings, table), exports_folder(self.settings)
        assert manifest is not None
        assert manifest.location == f"{folder.uri}/{manifest.folder}"
        rows: list[dict[str, Any]] = []
        for name in sorted(folder.sizes(manifest.folder)):
            with folder.open(name) as file:
                rows += pq.read_table(file).to_pylist()
        return rows


def _local(settings: Settings) -> Gold:
    def fill(rows: str) -> None:
        with duckdb.connect(str(settings.published_path)) as connection:
            connection.execute("CREATE SCHEMA IF NOT EXISTS gold")
            connection.execute(
                "CREATE OR REPLACE TABLE gold.shop_daily (day DATE, orders BIGINT, revenue DECIMAL(18, 2), note VARCHAR)"
            )
            connection.execute(f"INSERT INTO gold.shop_daily VALUES {rows}")

    settings.published_path.parent.mkdir(parents=True)
    return Gold(settings, fill)


def _cloud(settings: Settings) -> Gold:
    client = bigquery_client(settings.gcp())

    def fill(rows: str) -> None:
        client.query_and_wait(
            "CREATE OR REPLACE TABLE gold.shop_daily (day DATE, orders INT64, revenue NUMERIC(18, 2), note STRING)"
        )
        client.query_and_wait(f"INSERT INTO gold.shop_daily VALUES {rows}")

    Bucket(settings).apply()
    client.create_dataset("gold", exists_ok=True)
    return Gold(settings, fill)


@pytest.fixture(params=["local", pytest.param("gcp", marks=pytest.mark.gcp)])
def gold(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Gold]:
    """On each target; the exports are empty."""
    if request.param == "local":
        yield _local(lakes.settings(tmp_path / "home", ""))
        return
    with gcp.variables(request.getfixturevalue("gcp_environment")):
        settings = Settings()
        made = _cloud(settings)
        folder = exports_folder(settings)
        for name in {name.partition("/")[0] for name in folder.sizes("")}:
            folder.remove(f"{name}/")
        yield made


@pytest.fixture
def local(tmp_path: Path) -> Gold:
    made = _local(lakes.settings(tmp_path / "home", ""))
    made.fill(ROWS)
    return made


def test_a_table_is_exported_once_for_each_content(gold: Gold) -> None:
    gold.fill(ROWS)
    first = export(gold.settings, "shop_daily")
    assert (first.is_new, first.manifest.rows) == (True, 3)
    assert {name: kind.replace("38, 9", "18, 2") for name, kind in first.manifest.columns.items()} == COLUMNS
    assert [
        (str(r["day"]), r["orders"], str(r["revenue"].quantize(r["revenue"].__class__("0.01"))), r["note"])
        for r in sorted(gold.read("shop_daily"), key=lambda r: r["day"])
    ] == [
        ("2023-03-31", 3, "12.50", "a"),
        ("2023-04-01", 0, "0.05", None),
        ("2023-04-02", 7, "-1.00", "é"),
    ]
    again = export(gold.settings, "shop_daily")
    assert (again.is_new, again.manifest) == (False, first.manifest)
    gold.fill(ROWS)
    assert not export(gold.settings, "shop_daily").is_new, "made anew, as dbt does, it is the same"
    gold.fill(MORE)
    second = export(gold.settings, "shop_daily").manifest
    assert second.rows == len(gold.read("shop_daily")) == 4
    assert [one.snapshot for one in second.replaced] == [first.manifest.snapshot]
    assert exports_folder(gold.settings).sizes(first.manifest.folder), "who reads it may go on"


def test_another_shape_follows_its_source(gold: Gold) -> None:
    with pytest.raises(LakeError, match="shop_by_month: shop_daily was not exported yet"):
        reshape(gold.settings, SHAPE)
    gold.fill(ROWS)
    export(gold.settings, "shop_daily")
    first = reshape(gold.settings, SHAPE)
    rows = {str(row["month"])[:7]: (row["orders"], str(row["revenue"])) for row in gold.read("shop_by_month")}
    assert rows == {"2023-03": (3, "12.50"), "2023-04": (7, "-0.95")}
    assert first.manifest.columns["revenue"] == "decimal(18, 2)"
    assert not reshape(gold.settings, SHAPE).is_new
    gold.fill(MORE)
    assert not reshape(gold.settings, SHAPE).is_new, "it is of the exported table"
    export(gold.settings, "shop_daily")
    assert reshape(gold.settings, SHAPE).is_new
    assert {row["orders"] for row in gold.read("shop_by_month")} == {3, 8}


def test_what_is_not_there_cannot_be_exported(gold: Gold) -> None:
    gold.fill(ROWS)
    with pytest.raises(LakeError, match=r"gold\.shop_weekly is not .*: materialize it first"):
        export(gold.settings, "shop_weekly")
    assert current(gold.settings, "shop_weekly") is None
    assert exports_folder(gold.settings).sizes("shop_weekly/") == {}


def test_old_snapshots_go_by_age_and_never_the_current_one(gold: Gold) -> None:
    gold.fill(ROWS)
    first = export(gold.settings, "shop_daily").manifest
    gold.fill(MORE)
    second = export(gold.settings, "shop_daily").manifest
    folder, now = exports_folder(gold.settings), datetime.now(UTC)
    assert expire(gold.settings, "shop_daily", 7, now=now + timedelta(days=6)) == []
    assert folder.sizes(first.folder)
    assert expire(gold.settings, "shop_daily", 7, now=now + timedelta(days=8)) == [first.snapshot]
    assert folder.sizes(first.folder) == {}
    assert expire(gold.settings, "shop_daily", 0, now=now + timedelta(days=999)) == []
    assert current(gold.settings, "shop_daily") == second.__class__(**{**vars(second), "replaced": ()})
    assert len(gold.read("shop_daily")) == 4


WRITER = """
import sys
from pathlib import Path
from lake.folders import LocalFolder
LocalFolder(Path(sys.argv[1])).put(Path(sys.argv[2]), sys.argv[3])
"""


def killed_in_the_middle(folder: Path, name: str, scratch: Path) -> None:
    """A process that is killed while it brings a file in: what it reads comes from a pipe, and never ends."""
    pipe = scratch / "pipe"
    os.mkfifo(pipe)
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(folder), str(pipe), name])
    try:
        with pipe.open("wb") as source:
            source.write(b"half")
            source.flush()
            deadline = time.monotonic() + 60
            while not list((folder / name).parent.glob("*")):
                assert time.monotonic() < deadline
                assert writer.poll() is None
            writer.kill()
    finally:
        writer.kill()
        writer.wait(60)


def test_what_a_dead_run_has_left_goes_after_a_day(local: Gold, tmp_path: Path) -> None:
    made = export(local.settings, "shop_daily").manifest
    snapshot = f"{datetime.now(UTC):{exports.STAMP}}-abcdef"
    left = local.settings.exports / "shop_daily" / f"snapshot={snapshot}"
    killed_in_the_middle(local.settings.exports, f"shop_daily/{left.name}/{FILE}", tmp_path)
    (half,) = left.iterdir()
    assert half.name.startswith(".")
    assert expire(local.settings, "shop_daily", 7) == [], "it may be under way"
    assert left.exists()
    assert expire(local.settings, "shop_daily", 7, now=datetime.now(UTC) + timedelta(days=2)) == [snapshot]
    assert not left.exists()
    assert current(local.settings, "shop_daily") == made
    assert len(local.read("shop_daily")) == 3


def test_what_cannot_be_removed_is_told_and_not_counted_as_gone(local: Gold, tmp_path: Path) -> None:
    export(local.settings, "shop_daily")
    left = local.settings.exports / "shop_daily" / "snapshot=20230101T000000-abcdef"
    left.symlink_to(tmp_path)  # which no removal of a folder follows
    with pytest.raises(LakeError, match=r"snapshot=20230101T000000-abcdef: cannot be removed: .*symbolic link"):
        expire(local.settings, "shop_daily", 7)


def test_where_nothing_goes_the_manifest_is_left_alone(local: Gold) -> None:
    export(local.settings, "shop_daily")
    manifest = local.settings.exports / "shop_daily" / "manifest.json"
    before = manifest.stat()
    assert expire(local.settings, "shop_daily", 7) == []
    assert manifest.stat().st_ino == before.st_ino, "each change is another file"


def test_two_expiries_at_once_are_no_failure(gold: Gold, monkeypatch: pytest.MonkeyPatch) -> None:
    """The list is replaced by one taken before: the moment between listing and removing cannot be hit by waiting."""
    gold.fill(ROWS)
    made, folder = export(gold.settings, "shop_daily").manifest, exports_folder(gold.settings)
    listed = folder.sizes(made.folder)
    assert listed
    folder.remove(made.folder)
    monkeypatch.setattr(folder, "sizes", lambda _: listed)  # as the other one has seen them
    folder.remove(made.folder)
    monkeypatch.undo()
    assert folder.sizes("shop_daily/snapshot=") == {}


def test_files_are_counted_while_others_go(tmp_path: Path) -> None:
    folder, done = LocalFolder(tmp_path), threading.Event()
    source = tmp_path / "kept" / "file"
    source.parent.mkdir()
    source.write_bytes(b"four")

    def come_and_go() -> None:
        while not done.is_set():
            for number in range(20):
                (tmp_path / f"kept/snapshot={number}").mkdir()
                (tmp_path / f"kept/snapshot={number}/part").write_bytes(b"one")
            for number in range(20):
                folder.remove(f"kept/snapshot={number}/")

    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(come_and_go)
        try:
            for _ in range(500):
                assert folder.sizes("kept/")["kept/file"] == 4
        finally:
            done.set()
        other.result(60)


def test_days_to_keep_are_one_at_least() -> None:
    """Expiry runs before StarRocks is moved to the new snapshot."""
    with pytest.raises(ValidationError, match="export_keep_days"):
        Settings(export_keep_days=0)


class AskedTwice(LocalFolder):
    """As Cloud Storage does where an answer is lost: the change is made, and asked for again."""

    @override
    def update(self, name: str, change: Callable[[bytes | None], bytes | None]) -> bytes | None:
        super().update(name, change)
        return super().update(name, change)


def test_a_lost_answer_does_not_make_the_current_snapshot_an_old_one(
    local: Gold, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(exports._FOLDERS, "local", lambda settings: AskedTwice(settings.exports))  # type: ignore[index]
    first = export(local.settings, "shop_daily")
    assert (first.is_new, first.manifest.replaced) == (True, ())
    local.fill(MORE)
    second = export(local.settings, "shop_daily")
    assert second.is_new
    assert [one.snapshot for one in second.manifest.replaced] == [first.manifest.snapshot]
    later = datetime.now(UTC) + timedelta(days=8)
    assert expire(local.settings, "shop_daily", 7, now=later) == [first.manifest.snapshot]
    assert len(local.read("shop_daily")) == 4


def test_a_current_snapshot_that_is_called_replaced_stays(local: Gold) -> None:
    """Manifests that were written before that was mended say so."""
    made = export(local.settings, "shop_daily").manifest
    file = local.settings.exports / "shop_daily" / "manifest.json"
    said = json.loads(file.read_bytes())
    file.write_text(json.dumps(said | {"replaced": [{"snapshot": made.snapshot, "at": "2023-01-01T00:00:00+00:00"}]}))
    assert expire(local.settings, "shop_daily", 7) == []
    assert len(local.read("shop_daily")) == 3


def test_an_export_that_fails_leaves_the_last_one(local: Gold, monkeypatch: pytest.MonkeyPatch) -> None:
    made = export(local.settings, "shop_daily").manifest
    local.fill(MORE)

    def dies(*_: object) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(exports, "_footers", dies)
        with pytest.raises(OSError, match="no space"):
            export(local.settings, "shop_daily")
    assert current(local.settings, "shop_daily") == made
    assert set(exports_folder(local.settings).sizes("shop_daily/snapshot=")) == {made.folder + FILE}
    assert export(local.settings, "shop_daily").manifest.rows == 4


def test_a_snapshot_whose_files_were_taken_away_is_made_again(local: Gold) -> None:
    first = export(local.settings, "shop_daily").manifest
    (local.settings.exports / first.folder / FILE).unlink()
    again = export(local.settings, "shop_daily")
    assert again.is_new
    assert len(local.read("shop_daily")) == 3


def test_a_column_that_changes_its_type_is_another_content(local: Gold) -> None:
    first = export(local.settings, "shop_daily").manifest
    with duckdb.connect(str(local.settings.published_path)) as connection:
        connection.execute("ALTER TABLE gold.shop_daily ALTER orders TYPE INTEGER")
    second = export(local.settings, "shop_daily").manifest
    assert (first.columns["orders"], second.columns["orders"]) == ("bigint", "integer")


def test_sql_that_does_not_fit_is_told_with_its_shape(local: Gold) -> None:
    export(local.settings, "shop_daily")
    wrong = Shape("by_week", "shop_daily", "SELECT week FROM shop_daily")
    with pytest.raises(LakeError, match=r"by_week: its SQL on shop_daily: .*week"):
        reshape(local.settings, wrong)
    assert not (local.settings.exports / "by_week" / "manifest.json").exists()


def test_exports_at_once_leave_one_snapshot(local: Gold) -> None:
    """The others find that what they have read is exported."""
    start, count = threading.Barrier(4), 4

    def one(_: int) -> Exported:
        start.wait(30)
        return export(local.settings, "shop_daily")

    with ThreadPoolExecutor(count) as pool:
        made = list(pool.map(one, range(count)))
    manifest = current(local.settings, "shop_daily")
    assert manifest is not None
    assert {one.manifest.snapshot for one in made} == {manifest.snapshot}
    assert [one.is_new for one in made].count(True) == 1
    assert manifest.replaced == ()
    assert exports_folder(local.settings).folders("shop_daily") == {f"snapshot={manifest.snapshot}"}
    assert len(local.read("shop_daily")) == 3


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Has something done once, while an export is written: writing is wrapped, for that moment cannot be waited for."""

    def do(something: Callable[[], object]) -> None:
        write, once = exports._Duckdb.write, iter([something])

        def slow(self: exports._Duckdb, folder: Folder, prefix: str) -> None:
            write(self, folder, prefix)
            next(once, lambda: None)()

        monkeypatch.setattr(exports._Duckdb, "write", slow)

    return do


def test_a_slow_export_does_not_take_the_place_of_a_newer_one(
    local: Gold, meanwhile: Callable[[Callable[[], object]], None]
) -> None:
    newer: list[Exported] = []

    def another() -> None:
        local.fill(MORE)
        newer.append(export(local.settings, "shop_daily"))

    meanwhile(another)
    slow = export(local.settings, "shop_daily")
    assert (slow.is_new, slow.manifest) == (False, newer[0].manifest)
    assert len(local.read("shop_daily")) == 4
    assert exports_folder(local.settings).folders("shop_daily") == {f"snapshot={newer[0].manifest.snapshot}"}


def test_a_fast_export_of_older_rows_does_not_stay(
    local: Gold, meanwhile: Callable[[Callable[[], object]], None]
) -> None:
    older: list[Exported] = []

    def another() -> None:
        local.fill(ROWS)
        older.append(export(local.settings, "shop_daily"))
        local.fill(MORE)

    local.fill(MORE)
    meanwhile(another)
    newer = export(local.settings, "shop_daily")
    assert newer.is_new
    assert [one.snapshot for one in newer.manifest.replaced] == [older[0].manifest.snapshot]
    assert len(local.read("shop_daily")) == 4


def test_an_export_that_others_always_overtake_gives_up(local: Gold, monkeypatch: pytest.MonkeyPatch) -> None:
    """Naming is replaced: real exports overtake each other once or twice (the tests above), never each time."""
    monkeypatch.setattr(exports, "_name", lambda *_: None)
    with pytest.raises(TransientError, match=r"shop_daily: each time, another export of it was faster; 4 attempts"):
        export(local.settings, "shop_daily")
    assert exports_folder(local.settings).folders("shop_daily") == set()


def test_a_folder_may_be_moved(local: Gold) -> None:
    first = export(local.settings, "shop_daily").manifest
    moved = lakes.settings(local.settings.home.rename(local.settings.home.with_name("moved")), "")
    again = export(moved, "shop_daily")
    assert (again.is_new, again.manifest.snapshot) == (False, first.snapshot)
    assert again.manifest.location == f"{moved.exports.as_uri()}/shop_daily/snapshot={first.snapshot}/"


def _in_two_parts(write: Callable[..., None], scratch: Path) -> Callable[..., None]:
    """Writes a second part with the same rows, as BigQuery does of a gigabyte; the emulator and DuckDB write one."""

    def written(self: Any, folder: Folder, prefix: str) -> None:
        write(self, folder, prefix)
        with folder.open(prefix + FILE) as first:
            (scratch / "part").write_bytes(first.read())
        folder.put(scratch / "part", f"{prefix}part-000000000001.parquet")

    return written


def test_all_parts_of_a_table_are_counted_and_shaped(
    gold: Gold, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = {"local": exports._Duckdb, "gcp": exports._Bigquery}[gold.settings.target]
    monkeypatch.setattr(kind, "write", _in_two_parts(kind.write, tmp_path))
    gold.fill(ROWS)
    made = export(gold.settings, "shop_daily").manifest
    sizes = exports_folder(gold.settings).sizes(made.folder)
    assert [name.removeprefix(made.folder) for name in sorted(sizes)] == [FILE, "part-000000000001.parquet"]
    assert (made.rows, made.size_bytes) == (6, sum(sizes.values()))
    reshape(gold.settings, SHAPE)
    assert {row["orders"] for row in gold.read("shop_by_month")} == {6, 14}


def test_a_shape_of_missing_files_is_refused(local: Gold, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(exports._Duckdb, "write", _in_two_parts(exports._Duckdb.write, tmp_path))
        made = export(local.settings, "shop_daily").manifest
    for name in (FILE, "part-000000000001.parquet"):  # first one of two, then all
        (local.settings.exports / made.folder / name).unlink()
        with pytest.raises(LakeError, match=r"shop_by_month: shop_daily lacks files in .*; export it again"):
            reshape(local.settings, SHAPE)
    assert current(local.settings, "shop_by_month") is None


@pytest.mark.parametrize("kind", ["HUGEINT", "UHUGEINT"])
def test_whole_numbers_that_would_become_doubles_are_refused(local: Gold, kind: str) -> None:
    export(local.settings, "shop_daily")
    wide = Shape("wide", "shop_daily", f"SELECT day, sum(orders)::{kind} AS orders FROM shop_daily GROUP BY day;")
    with pytest.raises(LakeError, match=f"wide: orders is {kind}, which no column of Parquet is: cast it to BIGINT"):
        reshape(local.settings, wide)
    assert current(local.settings, "wide") is None


# -- as assets, over all of gold ---------------------------------------------------------------------------------------

ORDERS, MONTHLY, USERS = "shop_orders_daily", "shop_orders_monthly", "mobility_users_by_city"
ALL = {one.table for one in served_tables()} | {shape.name for one in served_tables() for shape in one.shapes}


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """All of gold, published."""
    monkeypatch.setenv("LAKEGRAPH_HOME", str(tmp_path / "home"))
    get_settings.cache_clear()
    gold_file.write(get_settings().published_path)
    yield get_settings()
    get_settings.cache_clear()


def materialized() -> tuple[set[str], str]:
    """What a run of all exports has made, and how it failed."""
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([build_exports()], instance=instance, raise_on_error=False)
    made = {event.asset_key for event in result.get_asset_materialization_events()}
    failures = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    causes = [str(failure.user_failure_data and failure.user_failure_data.description) for failure in failures]
    return {key.path[-1] for key in made if key == export_key(key.path[-1])}, "".join(causes)


def test_the_shape_of_orders_by_month_adds_up_to_gold(published: Settings) -> None:
    assert materialized() == (ALL, "")
    columns = ("orders", "net_revenue", "refunds")
    sums: dict[str, list[Any]] = defaultdict(lambda: [0, Decimal(0), Decimal(0)])
    with duckdb.connect(str(published.published_path), read_only=True) as connection:
        days = connection.execute(f"SELECT order_date, {', '.join(columns)} FROM gold.{ORDERS}").fetchall()
    for day, *values in days:
        sums[f"{day:%Y-%m}-01"] = [old + new for old, new in zip(sums[f"{day:%Y-%m}-01"], values, strict=True)]
    manifest = current(published, MONTHLY)
    assert manifest is not None
    assert manifest.columns == {"order_month": "date", "orders": "bigint"} | dict.fromkeys(
        columns[1:], "decimal(18, 2)"
    )
    rows = pq.read_table(published.exports / manifest.folder / FILE).to_pylist()
    assert {str(row["order_month"]): [row[name] for name in columns] for row in rows} == dict(sums)
    assert len(rows) == len(sums) == 2


def test_a_shape_is_not_made_of_a_table_that_could_not_be_exported(published: Settings) -> None:
    assert materialized() == (ALL, "")
    with duckdb.connect(str(published.published_path)) as connection:
        connection.execute(f"DROP TABLE gold.{ORDERS}")
    made, cause = materialized()
    assert made == ALL - {ORDERS, MONTHLY}
    assert cause == f"{ORDERS}: gold.{ORDERS} is not published: materialize it first (and 1 more)"


def test_a_table_that_may_be_exported_soon_holds_up_no_other(
    published: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One table's export is replaced: on this target nothing that a test can take away fails for a while."""
    attempts = {"count": 0}

    def busy(settings: Settings, table: str, run_id: str = "") -> Exported:
        if table == USERS:
            attempts["count"] += 1
            raise TransientError("no answer")
        return export(settings, table, run_id)

    monkeypatch.setattr(exports, "export", busy)
    monkeypatch.setattr("orchestration.assets.exports.RETRY", dg.RetryPolicy(max_retries=2))  # without the waits
    made, cause = materialized()
    assert (made, cause, attempts["count"]) == (ALL - {USERS}, f"{USERS}: no answer", 3)
