"""Partitions in parallel do not touch each other: four months, three at once, equal four months one after another."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import lakes
import pytest
from command import wait_for
from homes import Home, spawn, write_sources

from lake import iceberg
from lake.audit import audit
from lake.duck import connect, exclusive

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("e2e-heavy")]

MONTHS = tuple(f"2023-0{n}" for n in range(1, 5))  # more than run at once: one begins where another has ended
ROWS = {"yellow": 900, "green": 600}
AT_ONCE = 3


def _load(settings: dict[str, Any], name: str, month: str) -> None:
    lakes.load_table(lakes.settings(settings["home"], settings["base"]), name, month, run_id=f"backfill {month}")


def load_in_parallel(home: Home, name: str) -> None:
    """One process a month, all of them at once at the start of the work."""
    where = {"home": home.path, "base": home.tlc_base}

    def one(month: str) -> int | None:
        process = spawn(_load, where, name, month)
        process.join(120)
        return process.exitcode

    with ThreadPoolExecutor(AT_ONCE) as pool:
        assert list(pool.map(one, MONTHS)) == [0] * len(MONTHS)


@pytest.fixture(scope="module")
def backfills(tmp_path_factory) -> tuple[Home, Home]:
    """Two homes with the same sources: filled in parallel, and in one run from the first month to the last."""
    base = tmp_path_factory.mktemp("backfill")
    files = str(write_sources(base / "tlc", MONTHS, ROWS))
    parallel, sequential = Home(base / "parallel", files), Home(base / "sequential", files)
    load_in_parallel(parallel, "yellow_trips")
    for month in MONTHS:
        lakes.load_table(sequential.settings, "yellow_trips", month)

    def one(month: str) -> tuple[str, int, str]:
        done = parallel.start("materialize", "--select", "*green*", "--partition", month, "--no-publish").wait()
        return month, done.code, done.err if done.code else ""

    with ThreadPoolExecutor(AT_ONCE) as pool:
        ended = list(pool.map(one, MONTHS))
    assert ended == [(month, 0, "") for month in MONTHS]
    assert not parallel.settings.published_path.exists()
    runs = [
        sequential.start("materialize", "--select", "*green*", "--from", MONTHS[0], "--to", MONTHS[-1]),
        parallel.start("materialize", "--select", "serving/duckdb"),
    ]
    for run in runs:
        done = run.wait()
        assert done.code == 0, done.err
    return parallel, sequential


def test_months_in_parallel_give_the_tables_of_months_in_sequence(backfills):
    parallel, sequential = (home.contents() for home in backfills)
    assert parallel == sequential
    assert parallel["bronze.mobility_green_trips"][0] == 600 * len(MONTHS)
    assert parallel["bronze.mobility_yellow_trips"][0] == 900 * len(MONTHS)
    assert parallel["silver.mobility_green_trips"][0] > 500 * len(MONTHS)


@pytest.mark.parametrize("name", ["green_trips", "yellow_trips"])
def test_every_month_has_its_own_account(backfills, name):
    spec, _ = lakes.declared(name)
    for home in backfills:
        findings = audit(spec, [f"{month}-01" for month in MONTHS], home.settings)
        assert [(f.rows_read, f.unaccounted) for f in findings] == [(ROWS[name.split("_")[0]], 0)] * len(MONTHS)


def test_silver_accounts_for_every_month(backfills):
    for home in backfills:
        assert home.unaccounted() == {"mobility_green_trips__accounting": 0}
        months = home.rows("SELECT source_month::VARCHAR FROM silver.mobility_green_trips__accounting ORDER BY 1")
        assert months == [(f"{month}-01",) for month in MONTHS]


def test_one_snapshot_for_each_month(backfills):
    """No commit is lost to another, and none is replayed on top of another's files."""
    for home in backfills:
        table = lakes.open_table(home.settings)
        assert len(table.snapshots()) == len(MONTHS)
        assert len(iceberg.current_files(table)) == len(MONTHS)


def test_a_build_keeps_a_publish_out_between_its_models(tmp_path):
    """Dbt closes the DuckDB file between models; a publish that came in there would show half a run."""
    path = tmp_path / "work.duckdb"
    order: list[str] = []
    inside, asked = threading.Event(), threading.Event()

    def publish() -> None:
        assert inside.wait(30)
        asked.set()
        with exclusive(path):
            order.append("published")

    other = threading.Thread(target=publish)
    other.start()
    with exclusive(path):
        inside.set()
        assert asked.wait(30)
        for model in ("silver", "gold"):
            with connect(path) as connection:
                connection.execute(f"CREATE TABLE {model} AS SELECT 1 AS n")
            order.append(model)
    other.join(30)
    assert order == ["silver", "gold", "published"]


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    path = tmp_path / "work.duckdb"
    holder = spawn(_hold, path)
    wait_for((tmp_path / "held").exists, "the lock is held")
    free = threading.Event()

    def take() -> None:
        with exclusive(path):
            free.set()

    waiting = threading.Thread(target=take, daemon=True)
    waiting.start()
    assert not free.is_set()
    holder.kill()
    holder.join(30)
    assert free.wait(30)


def _hold(path: Any) -> None:
    with exclusive(path):
        path.with_name("held").touch()
        threading.Event().wait()
