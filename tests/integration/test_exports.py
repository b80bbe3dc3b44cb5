"""Exports of gold: written whole, once for each content, kept for as long as somebody may read them; on both targets."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import gcp
import lakes
import pyarrow.parquet as pq
import pytest

from infra_assets.gcp import Bucket
from lake import exports
from lake.errors import LakeError
from lake.exports import FILE, Shape, current, expire, export, exports_folder, reshape
from lake.gcp import bigquery_client
from lake.settings import Settings

COLUMNS = {"day": "date", "orders": "bigint", "revenue": "decimal(18, 2)", "note": "string"}
ROWS = "(DATE '2023-03-31', 3, 12.50, 'a'), (DATE '2023-04-01', 0, 0.05, NULL), (DATE '2023-04-02', 7, -1.00, 'é')"
MORE = ROWS + ", (DATE '2023-04-03', 1, 9.99, 'b')"
SHAPE = Shape(
    "shop_by_month",
    "shop_daily",
    "SELECT date_trunc('month', day) AS month, sum(orders) AS orders, sum(revenue)::DECIMAL(18,2) AS revenue FROM shop_daily GROUP BY 1",
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


def test_what_a_dead_run_has_left_goes_after_a_day(local: Gold) -> None:
    made = export(local.settings, "shop_daily").manifest
    left = local.settings.exports / "shop_daily" / "snapshot=20230101T000000-abcdef"
    left.mkdir()
    (left / FILE).write_bytes(b"half")
    young = local.settings.exports / "shop_daily" / f"snapshot={datetime.now(UTC):%Y%m%dT%H%M%S}-abcdef"
    young.mkdir()
    (young / FILE).write_bytes(b"under way")
    assert expire(local.settings, "shop_daily", 7) == ["20230101T000000-abcdef"]
    assert not left.exists()
    assert young.exists()
    assert current(local.settings, "shop_daily") == made


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


def test_exports_at_once_name_each_snapshot(local: Gold) -> None:
    """Whichever is last is current; the others are known, and go by age."""
    start, count = threading.Barrier(4), 4

    def one(_: int) -> str:
        start.wait(30)
        return export(local.settings, "shop_daily").manifest.snapshot

    with ThreadPoolExecutor(count) as pool:
        made = set(pool.map(one, range(count)))
    manifest = current(local.settings, "shop_daily")
    assert manifest is not None
    assert {manifest.snapshot, *(old.snapshot for old in manifest.replaced)} == made
    assert len(local.read("shop_daily")) == 3
