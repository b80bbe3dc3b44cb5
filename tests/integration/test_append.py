"""Tables that are appended to: whatever is delivered, and however often, a row is stored once; on both targets."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import gcp
import pyarrow as pa
import pytest

from infra_assets import resources
from infra_assets.plan import apply_all
from lake.accounting import LoadResult
from lake.append import COMPACT_FILES
from lake.audit import audit
from lake.errors import LakeError
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


def test_many_small_loads_are_few_files(local):
    """And a reader of the files sees each row once all the while."""
    from lake import iceberg
    from lake.catalog import open_catalog

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
    from lake import iceberg, maintenance
    from lake.catalog import open_catalog

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
