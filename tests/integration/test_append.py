"""Tables that are appended to: whatever is delivered, and however often, a row is stored once; on both targets."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import gcp
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table
from pyiceberg.types import DecimalType, StringType

from infra_assets import resources
from infra_assets.plan import apply_all
from lake import iceberg, maintenance
from lake.accounting import LoadAccount, LoadResult
from lake.append import COMPACT_FILES, MANIFESTS, SNAPSHOTS, Appended, append, total_rows
from lake.audit import _whole, audit
from lake.catalog import open_catalog
from lake.errors import LakeError
from lake.iceberg_store import IcebergStore
from lake.load import LoadRequest, SourceReport, Window, load
from lake.quarantine import rejected_schema
from lake.settings import Settings
from lake.spec import TableSpec
from lake.store import open_store

SPEC = TableSpec.model_validate(
    {
        "domain": "t",
        "name": "things",
        "description": "Things.",
        "mode": "append",
        "partition_column": "source_day",
        "identity": ["id", "version"],
        "columns": {
            "id": {"type": "string", "required": True},
            "version": {"type": "string", "required": True},
            "price": {"type": "decimal(18,2)"},
            "at": {"type": "timestamp"},
        },
    }
)
DAY = date(2023, 3, 31)
Thing = tuple[str, str, date]


@dataclass(frozen=True)
class Lake:
    """A target with nothing in it, and a source that delivers what it is told."""

    settings: Settings

    def refresh(self, things: list[Thing], rejected: tuple[str, ...] = ()) -> LoadResult:
        def source(request: LoadRequest, report: SourceReport) -> Any:
            return _source(request, report, things, rejected, {})

        spec = SPEC.model_copy(update={"key": ["id"]})
        return load(spec, source, self.settings, window=Window.everything(datetime.now(UTC)), run_id="refresh")

    def load(self, things: list[Thing], rejected: tuple[str, ...] = (), hour: int = 5, **columns: Any) -> LoadResult:
        def source(request: LoadRequest, report: SourceReport) -> Any:
            return _source(request, report, things, rejected, columns)

        start = datetime(2023, 3, 31, hour, tzinfo=UTC)
        window = Window(f"2023-03-31-{hour:02}:00", start - timedelta(hours=2), start + timedelta(hours=1))
        return load(SPEC, source, self.settings, window=window, run_id=f"run-{hour}")

    def stored(self) -> dict[str, int]:
        return open_store(self.settings, "test").stored_rows(SPEC)

    def rejected(self) -> int:
        return sum(open_store(self.settings, "test").stored_rows(SPEC, rejected=True).values())

    def unaccounted(self) -> int:
        (finding,) = audit(SPEC, [], self.settings)
        return finding.unaccounted


def _source(
    request: LoadRequest, report: SourceReport, things: list[Thing], rejected: tuple[str, ...], new: Any
) -> Any:
    import dlt

    from dlt_sources.tlc import with_rejected

    @dlt.resource(name=SPEC.table, file_format="parquet")
    def rows() -> Iterator[Any]:
        assert request.window
        report.source_object, report.rows_read = "a list", len(things) + len(rejected)
        columns: dict[str, Any] = {
            "id": pa.array([thing[0] for thing in things], pa.string()),
            "version": pa.array([thing[1] for thing in things], pa.string()),
            "price": pa.array([None for _ in things], pa.decimal128(18, 2)),
            "at": pa.array([request.window.end.replace(tzinfo=None)] * len(things), pa.timestamp("us")),
            "source_day": pa.array([thing[2] for thing in things], pa.date32()),
        }
        if things:
            yield pa.table({**columns, **{name: pa.array([value] * len(things)) for name, value in new.items()}})
        turned_away = [("no_id", "a list", i, request.run_id, raw) for i, raw in enumerate(rejected, 1)]
        arrays = zip(*turned_away, strict=True) if turned_away else [()] * len(rejected_schema())
        yield from with_rejected(
            SPEC.rejected_table,
            [
                pa.table(
                    [pa.array(a, f.type) for a, f in zip(arrays, rejected_schema(), strict=True)],
                    schema=rejected_schema(),
                )
            ],
        )

    return dlt.source(lambda: rows, name="things", max_table_nesting=0)()


@pytest.fixture
def local(tmp_path: Path) -> Lake:
    return Lake(Settings(home=tmp_path))


@pytest.fixture
def cloud(gcp_environment: dict[str, str], tmp_path: Path) -> Iterator[Lake]:
    from lake.gcp import bigquery_client

    with gcp.variables({**gcp_environment, "LAKEGRAPH_HOME": str(tmp_path)}):
        settings = Settings()
        client = bigquery_client(settings.gcp())
        for dataset in client.list_datasets():
            client.delete_dataset(dataset.reference, delete_contents=True)
        apply_all(resources(settings))
        yield Lake(settings)


@pytest.fixture(params=["local", pytest.param("gcp", marks=pytest.mark.gcp)])
def lake(request: pytest.FixtureRequest) -> Lake:
    return request.getfixturevalue({"local": "local", "gcp": "cloud"}[request.param])


def numbers(result: LoadResult) -> tuple[int, int, int, int]:
    a = result.account
    return (a.rows_read, a.rows_loaded, a.rows_rejected, a.rows_known)


def test_a_row_is_stored_once_however_often_it_comes(lake):
    before = date(2023, 3, 30)
    first = [("a", "1", DAY), ("b", "1", before), ("a", "1", DAY)]
    result = lake.load(first, rejected=("{1}", "{1}", "{2}"))
    assert (result.changed, numbers(result)) == (True, (6, 2, 2, 2))
    again = lake.load(first, rejected=("{1}",), hour=6)
    assert (again.changed, numbers(again)) == (False, (4, 0, 0, 4))
    more = lake.load([("a", "2", DAY), ("b", "1", before), ("b", "1", DAY)], rejected=("{3}",), hour=4)
    assert numbers(more) == (4, 2, 1, 1), "another version, and the same one of another day, are rows of their own"
    assert lake.stored() == {"2023-03-30": 1, "2023-03-31": 3}
    assert (lake.rejected(), lake.unaccounted(), more.total_rows) == (3, 0, 4)


def test_a_load_that_commits_while_rows_are_counted_is_no_missing_row(local):
    """The fault: the accounts had been added up before it, the rows were counted after it, and silver was blocked."""
    local.load([("a", "1", DAY)])

    class Overtaken(IcebergStore):
        """Another load commits between the two counts, once."""

        def stored_rows(self, spec: TableSpec, *, rejected: bool = False) -> dict[str, int]:
            if len(local.stored()) == 1:
                local.load([("b", "1", DAY - timedelta(days=1))])
            return super().stored_rows(spec, rejected=rejected)

    finding = _whole(Overtaken(local.settings), SPEC)
    assert (finding.rows_read, finding.rows_stored, finding.unaccounted) == (2, 2, 0)


def test_an_hour_in_which_nothing_changed_is_a_load_of_no_rows(lake):
    assert numbers(lake.load([])) == (0, 0, 0, 0)
    lake.load([("a", "1", DAY)])
    result = lake.load([], hour=7)
    assert (result.changed, result.total_rows, lake.unaccounted()) == (False, 1, 0)


def test_rows_that_are_all_rejected_are_no_failure(lake):
    assert numbers(lake.load([], rejected=("{}",))) == (1, 0, 1, 0)
    assert (lake.stored(), lake.rejected(), lake.unaccounted()) == ({}, 1, 0)


def test_loads_at_once_that_bring_the_same_rows_store_them_once(lake):
    common = [(f"c{i}", "1", DAY) for i in range(50)]
    own: Callable[[int], list[Thing]] = lambda hour: [(f"h{hour}-{i}", "1", DAY) for i in range(20)]  # noqa: E731
    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(lambda hour: lake.load(common + own(hour), ("{}",), hour), range(4, 8)))
    assert lake.stored() == {"2023-03-31": 50 + 4 * 20}
    assert sum(r.account.rows_loaded for r in results) == 130
    assert (lake.rejected(), lake.unaccounted()) == (1, 0)


def test_a_column_that_appears_joins_the_table(lake):
    lake.load([("a", "1", DAY)])
    lake.load([("b", "1", DAY)], hour=6, loyalty="gold")
    assert lake.stored() == {"2023-03-31": 2}
    rows = {r["id"]: r["loyalty"] for r in open_store(lake.settings, "t").preview(SPEC, 5).to_pylist()}
    assert rows == {"a": None, "b": "gold"}


def test_a_refresh_takes_the_place_of_rows_quarantine_and_count(lake):
    before = date(2023, 3, 30)
    keyed = SPEC.model_copy(update={"key": ["id"]})
    lake.load([("a", "1", DAY), ("b", "1", before), ("c", "1", DAY)], rejected=("{1}", "{2}"))
    lake.load([("a", "2", DAY)], hour=6)
    store = open_store(lake.settings, "t")
    assert store.held_keys(keyed) == 3
    assert store.newest(SPEC, "at", DAY) == datetime(2023, 3, 31, 7)  # noqa: DTZ001 - bronze's times have no zone
    assert store.newest(SPEC, "at", DAY + timedelta(days=1)) is None
    result = lake.refresh([("a", "3", DAY), ("b", "1", before - timedelta(days=1)), ("a", "3", DAY)], rejected=("{3}",))
    assert numbers(result) == (4, 2, 1, 1)
    assert lake.stored() == {"2023-03-29": 1, "2023-03-31": 1}
    assert (lake.rejected(), lake.unaccounted(), result.total_rows) == (1, 0, 2)
    assert store.held_keys(keyed) == 2
    lake.load([("a", "3", DAY), ("d", "1", DAY)], hour=8)
    assert (lake.stored(), lake.unaccounted()) == ({"2023-03-29": 1, "2023-03-31": 2}, 0)
    assert numbers(lake.refresh([("a", "3", DAY), ("d", "1", DAY)])) == (2, 2, 0, 0)
    assert (lake.stored(), lake.rejected(), lake.unaccounted()) == ({"2023-03-31": 2}, 0, 0)


def test_many_days_come_in_one_load_and_each_lies_in_its_own_partition(local):
    days = [DAY - timedelta(days=number) for number in range(40)]
    things = [(f"{number}-{day}", "1", day) for day in days for number in range(3)]
    local.load(things + things[:50])
    assert local.stored() == {day.isoformat(): 3 for day in days}
    table = open_catalog(local.settings).load_table(SPEC.identifier)
    assert len(iceberg.current_files(table)) == len(days)
    rows = table.scan().to_arrow().to_pylist()
    assert sorted((row["id"], row["source_day"]) for row in rows) == sorted((name, day) for name, _, day in things)


def test_many_small_loads_are_few_files(local):
    """And a reader of the files sees each row once all the while."""
    for hour in range(20):
        local.load([(f"a{hour}", "1", DAY)], hour=hour, **({"late": "x"} if hour > 5 else {}))
        table = open_catalog(local.settings).load_table(SPEC.identifier)
        assert len(iceberg.current_files(table)) <= COMPACT_FILES
        assert table.scan(selected_fields=("id",)).to_arrow().num_rows == hour + 1
    rows = table.scan().to_arrow()
    assert sorted(rows["id"].to_pylist()) == sorted(f"a{hour}" for hour in range(20))
    assert rows["late"].null_count == 6
    assert set(rows["source_day"].to_pylist()) == {DAY}
    assert local.unaccounted() == 0


def test_old_snapshots_go_and_the_account_stays(local):
    for hour in range(4):
        local.load([(f"a{hour}", "1", DAY)], hour=hour)
    table = open_catalog(local.settings).load_table(SPEC.identifier)
    ids = maintenance.expirable(table, datetime.now(UTC) + timedelta(days=1))
    assert len(ids) == 3
    table.maintenance.expire_snapshots().by_ids(ids).commit()
    assert local.unaccounted() == 0
    assert iceberg.rows_by_partition(open_catalog(local.settings).load_table(SPEC.identifier)) == {DAY: 4}


@pytest.mark.parametrize(("partition", "windowed"), [(DAY, True), (None, False), (DAY, False)])
def test_a_window_and_nothing_else_is_asked_for(local, partition, windowed):
    now = datetime(2023, 3, 31, tzinfo=UTC)
    window = Window("k", now, now) if windowed else None
    with pytest.raises(LakeError, match="do not fit a table of mode append"):
        load(SPEC, lambda *_: None, local.settings, partition=partition, window=window)


# -- many appends, without a source: what is put together and what is forgotten ----------------------------------

APPENDS, PER_DAY, READER = 60, 3, 5  # loads in all and a day; how many loads ago a reader has opened the table
COLUMNS = {"id": StringType(), "version": StringType(), "price": DecimalType(18, 2)}


@dataclass(frozen=True)
class Step:
    """The table after an append.

    Attributes:
        table: as a reader holds it who opens it now.
        expected: the rows that were delivered so far.
        appended: what `append` told.
        total: `total_rows`.
        manifests: how many there are.
        files: how many each partition has.
        touched: the partitions that the delivery named.
        snapshots: those there are, oldest first.
        earlier: the rows that a reader finds who opened the table `READER` appends before; None: nobody did.
    """

    table: Table
    expected: frozenset[Thing]
    appended: Appended
    total: int
    manifests: int
    files: Mapping[date | None, int]
    touched: frozenset[date | None]
    snapshots: tuple[int, ...]
    earlier: Counter[Thing] | None


@dataclass
class History:
    """A table, and its state after each append.

    Attributes:
        partitioned: whether it is, by day.
        steps: after each append.
        named: the data files of every snapshot that there ever was, oldest first.
    """

    home: Path
    partitioned: bool = True
    steps: list[Step] = field(default_factory=list)
    named: dict[int, frozenset[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.settings = Settings(home=self.home)
        self.catalog = open_catalog(self.settings)
        column = "source_day" if self.partitioned else None
        iceberg.load_or_create(self.catalog, "t.things", COLUMNS, column, self.settings.warehouse)

    def append(self, *deliveries: Sequence[Thing]) -> Step:
        """Append deliveries at once, each of them a file."""
        number = len(self.steps)
        files = [self._file(f"{number}-{i}", things) for i, things in enumerate(deliveries)]
        things = [thing for delivery in deliveries for thing in delivery]
        account = LoadAccount("p", f"run-{number}", f"hour-{number}", "a list", "d", "f", len(things), 0, 0)
        appended = append(
            self.catalog, "t.things", files, ["id", "version"], account, working=self.home, memory_limit="256MB"
        )
        table = self.catalog.load_table("t.things")
        assert appended.table.metadata == table.metadata
        expected = (self.steps[-1].expected if self.steps else frozenset()) | {*things}
        current, files_now = table.current_snapshot(), iceberg.current_files(table)
        assert sum(file.record_count for file in files_now) == len(expected), "or each append would double the rows"
        snapshots = sorted(table.snapshots(), key=lambda s: s.sequence_number or 0)
        for snapshot in snapshots:
            if snapshot.snapshot_id not in self.named:
                paths = (file.file_path for file in iceberg.files_of(table, snapshot))
                self.named[snapshot.snapshot_id] = frozenset(paths)
        step = Step(
            table=table,
            expected=expected,
            appended=appended,
            total=total_rows(table),
            manifests=len(current.manifests(table.io)) if current else 0,
            files=Counter(iceberg.partition_of(table, file) for file in files_now),
            touched=frozenset(day if self.partitioned else None for _, _, day in things),
            snapshots=tuple(snapshot.snapshot_id for snapshot in snapshots),
            earlier=rows_of(self.steps[-READER].table) if len(self.steps) >= READER else None,
        )
        self.steps.append(step)
        return step

    def _file(self, name: str, things: Sequence[Thing]) -> Path:
        folder = self.home / "delivered"
        folder.mkdir(exist_ok=True)
        columns: dict[str, Any] = {
            "id": pa.array([thing[0] for thing in things], pa.string()),
            "version": pa.array([thing[1] for thing in things], pa.string()),
            "price": pa.array([Decimal("1.50") for _ in things], pa.decimal128(18, 2)),
        }
        if self.partitioned:
            columns["source_day"] = pa.array([thing[2] for thing in things], pa.date32())
        pq.write_table(pa.table(columns), folder / f"{name}.parquet")
        return folder / f"{name}.parquet"


def rows_of(table: Table) -> Counter[Thing]:
    """All rows of the table as it was when it was opened, with how often each is there."""
    rows = table.scan().to_arrow().to_pylist()
    assert {row["price"] for row in rows} <= {Decimal("1.50")}
    return Counter((row["id"], row["version"], row.get("source_day", DAY)) for row in rows)


def hourly(number: int, *, partitioned: bool) -> tuple[list[Thing], list[Thing]]:
    """What a load brings: rows of its day, a late one of the day before; and again what came two loads ago."""
    day = DAY + timedelta(days=number // PER_DAY) if partitioned else DAY
    before = day - timedelta(days=1) if partitioned else DAY
    own = [
        *((f"r{number}-{i}", "1", day) for i in range(4)),
        (f"r{number}-0", "2", day),
        (f"late{number}", "1", before),
    ]
    again = hourly(number - 2, partitioned=partitioned)[0] if number > 1 else []
    return own, [*again[:2], *own[:1]]


def month(home: Path, *, partitioned: bool) -> History:
    """Loads of 20 days."""
    made = History(home, partitioned)
    for number in range(APPENDS):
        made.append(*hourly(number, partitioned=partitioned))
    return made


@pytest.fixture(scope="module")
def by_day(tmp_path_factory: pytest.TempPathFactory) -> History:
    return month(tmp_path_factory.mktemp("by_day"), partitioned=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> History:
    """Of a table without partitions, as the quarantine is."""
    return month(tmp_path_factory.mktemp("whole"), partitioned=False)


@pytest.fixture(params=["by_day", "whole"])
def history(request: pytest.FixtureRequest) -> History:
    found: History = request.getfixturevalue(request.param)
    return found


def test_many_appends_hold_each_delivered_row_once(history: History) -> None:
    last = history.steps[-1]
    assert rows_of(last.table) == dict.fromkeys(last.expected, 1)
    assert len(last.expected) == 6 * APPENDS
    assert [step.total for step in history.steps] == [len(step.expected) for step in history.steps]
    assert [step.appended.new for step in history.steps] == [6] * APPENDS
    assert [step.appended.known for step in history.steps] == [1, 1, *[3] * (APPENDS - 2)]


def test_a_reader_of_an_earlier_state_reads_all_of_it(history: History) -> None:
    for opened, step in zip(history.steps, history.steps[READER:], strict=False):
        assert step.earlier == dict.fromkeys(opened.expected, 1)


def test_many_appends_are_few_files_and_manifests(history: History) -> None:
    for step in history.steps:
        assert max(step.files.values()) <= COMPACT_FILES
        assert step.manifests < MANIFESTS


def test_manifests_are_put_together_when_they_are_many(by_day: History) -> None:
    assert max(step.manifests for step in by_day.steps) == MANIFESTS - 1
    assert by_day.steps[-1].manifests < sum(by_day.steps[-1].files.values()) // 2


def test_snapshots_are_forgotten_unless_they_are_new_or_files_went_with_them(history: History) -> None:
    """The fault: those of a table without partitions stayed, for its manifests never were many."""
    ever = list(history.named)
    for step in history.steps:
        seen = ever[: 1 + ever.index(step.snapshots[-1])]
        assert set(seen[-SNAPSHOTS:]) <= set(step.snapshots)
        pairs = [{a, b} for a, b in pairwise(seen) if history.named[a] - history.named[b]]
        needed: set[int] = set().union(*pairs)
        assert needed <= set(step.snapshots)
        assert len(set(step.snapshots) - needed) <= SNAPSHOTS + SNAPSHOTS // 2
    assert len(ever) - len(history.steps[-1].snapshots) > SNAPSHOTS // 2, "else nothing was put to the test"


def test_every_file_that_ever_was_is_there_and_named_by_a_snapshot(history: History) -> None:
    """So maintenance does not take for an orphan what a reader of an older state holds."""
    last = history.steps[-1]
    ever: set[str] = set().union(*history.named.values())
    assert set().union(*(history.named[one] for one in last.snapshots)) == ever
    data = Path(last.table.location().removeprefix("file://")) / "data"
    assert {f"file://{path}" for path in data.rglob("*.parquet")} == ever


def test_maintenance_leaves_every_earlier_state_to_its_readers(history: History) -> None:
    """All files are old by then, and all snapshots young."""
    old = (datetime.now(UTC) - timedelta(days=30)).timestamp()
    for path in history.settings.warehouse.rglob("*"):
        os.utime(path, (old, old))
    gone = maintenance.maintain(history.settings, keep_days=1)
    assert gone.snapshots_expired == 0
    assert gone.files, "what removed snapshots alone named: lists and manifests"
    for path in map(str, gone.files):
        assert not path.endswith(".parquet")
    for step in history.steps:
        if step.snapshots[-1] in history.steps[-1].snapshots:
            assert rows_of(step.table) == dict.fromkeys(step.expected, 1)


def test_days_that_no_load_touches_any_more_are_few_files(by_day: History) -> None:
    recent: set[date | None] = set().union(*(step.touched for step in by_day.steps[-PER_DAY:]))
    left = {day: count for day, count in by_day.steps[-1].files.items() if day not in recent}
    assert len(left) >= APPENDS // PER_DAY - 3
    assert max(left.values()) < COMPACT_FILES // 2


def test_partitions_left_behind_are_put_together_one_a_load(tmp_path: Path) -> None:
    made, enough = History(tmp_path), COMPACT_FILES // 2
    days = [DAY - timedelta(days=i) for i in range(7)]
    for number in range(enough):
        some = days if number else days[:-1]  # the last one has a file less than the others
        step = made.append([(f"{number}-{i}", "1", day) for i, day in enumerate(some)])
    assert step.files == {**dict.fromkeys(days, enough), days[-1]: enough - 1}
    today = DAY + timedelta(days=1)
    for number in range(enough - 1):
        step = made.append([(f"today-{number}", "1", today)])
        assert sorted(step.files[day] for day in days[:-1]) == [1] * (number + 1) + [enough] * (5 - number)
    known = made.append([("today-0", "1", today)])
    assert known.snapshots == step.snapshots, "what brings nothing new changes nothing"
    for number in range(enough - 1, 8):
        step = made.append([(f"today-{number}", "1", today)])
    assert step.files == {**dict.fromkeys(days, 1), days[-1]: enough - 1, today: 8}
    assert rows_of(step.table) == dict.fromkeys(step.expected, 1)


class Rivalled(SqlCatalog):
    """A catalog in which another one is faster to remove snapshots, once."""

    rival: Callable[[list[int]], None] | None = None

    def commit_table(self, table: Table, requirements: Any, updates: Any) -> Any:
        removed = [one for update in updates for one in getattr(update, "snapshot_ids", [])]
        if removed and self.rival:
            act, self.rival = self.rival, None
            act(removed)
        return super().commit_table(table, requirements, updates)


def test_a_load_does_not_fail_because_its_old_snapshots_are_gone_already(tmp_path: Path) -> None:
    """The fault: maintenance that removed one of them first made a load fail that had been committed."""
    made = History(tmp_path)
    rivalled = Rivalled("lake", **made.catalog.properties)
    rival, done = made.catalog, list[int]()

    def remove(ids: list[int]) -> None:
        done.append(ids[0])
        rival.load_table("t.things").maintenance.expire_snapshots().by_ids(ids[:1]).commit()

    rivalled.rival, made.catalog = remove, rivalled
    for number in range(3 * MANIFESTS):
        step = made.append([(f"r{number}", "1", DAY + timedelta(days=number))])
    assert done
    assert done[0] not in step.snapshots
    assert len(step.snapshots) <= SNAPSHOTS + SNAPSHOTS // 2, "a later load removes the others"
    assert rows_of(step.table) == dict.fromkeys(step.expected, 1)
