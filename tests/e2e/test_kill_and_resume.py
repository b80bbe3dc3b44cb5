"""`kill -9` at any moment, then the same command again: the same tables as if nothing had happened."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import lakes
import pytest
from command import wait_for
from homes import Home, Warm, serving, spawn, write_sources

from lake import iceberg, publish
from lake.catalog import open_catalog
from lake.errors import LakeError
from lake.settings import Settings
from sandbox import tlc

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("e2e-heavy")]

MONTHS = ("2023-01", "2023-02")
ROWS = {"yellow": 900, "green": 600, "fhv": 500}
EVERYTHING = ("materialize", "--select", '* and not key:"serving/kpi_report"', "--from", MONTHS[0], "--to", MONTHS[-1])


class Run:
    """One run of the whole graph as seen from outside, from the moment it was started."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.log_before = len(home.log())
        self.left_before = self.left()  # by the runs that were killed before
        self.published_before = self.published()
        self.snapshots_before = self.snapshots()
        self.command: Warm = home.start(*EVERYTHING)

    def left(self) -> set[Path]:
        """Working folders and files of runs, dead ones too."""
        settings = self.home.settings
        publishing = settings.published_path.parent.glob(".publishing-*")
        return {*settings.dbt_target.glob("*"), *settings.dlt_home.glob("*"), *settings.staging.glob("*"), *publishing}

    def new(self, pattern: str) -> list[Path]:
        """Paths of this run by now, below LAKEGRAPH_HOME."""
        return [path for path in self.home.path.glob(pattern) if not {path, *path.parents} & self.left_before]

    def published(self) -> int:
        path = self.home.settings.published_path
        return path.stat().st_ino if path.exists() else 0

    def snapshots(self) -> int:
        return len(list(self.home.settings.warehouse.glob("bronze/*/metadata/*.metadata.json")))

    def said(self, text: str) -> bool:
        """Whether the run's log has `text` by now."""
        return text in self.home.log()[self.log_before :]

    def models(self) -> int:
        """How many nodes dbt has finished."""
        return sum(log.read_text(errors="replace").count(" OK ") for log in self.new("dbt/*/dbt.log"))


# In the order in which they are tried; each run resumes the one killed before it.
MOMENTS: dict[str, Callable[[Run], Any]] = {
    "the catalog's file appears": lambda run: run.home.settings.catalog_db.exists(),
    "a first bronze file lies there": lambda run: any(run.home.settings.warehouse.glob("bronze/*/data/**/*.parquet")),
    "the published copy is being written": lambda run: (
        run.new("duckdb/.publishing-*") or run.published() != run.published_before
    ),
    "a load delivers": lambda run: run.new("dlt/mobility_*_trips-*/delivered/*"),
    "bronze has two more commits": lambda run: run.snapshots() >= run.snapshots_before + 2,
    "dbt is being started": lambda run: run.said("dbt_build - STEP_START"),
    "dbt has built a first model": lambda run: run.models() >= 1,
    "silver is being written": lambda run: run.new("staging/*/**/*.parquet"),
    "dbt has built half": lambda run: run.models() >= 40,
    "all is built and not published": lambda run: run.said("dbt_build - STEP_SUCCESS"),
}


@contextmanager
def reading(settings: Settings) -> Iterator[list[str]]:
    """Somebody queries the published copy all the while; gives what went wrong."""
    stop, wrong, seen = threading.Event(), list[str](), list[int]()
    sql = (
        "SELECT (SELECT sum(trips) FROM gold.mobility_trips_by_hour) AS by_hour, "
        "(SELECT sum(trips) FROM gold.mobility_trips_by_zone_day) AS by_day, "
        "(SELECT sum(silver_rows) FROM (FROM silver.mobility_yellow_trips__accounting "
        "UNION ALL FROM silver.mobility_green_trips__accounting "
        "UNION ALL FROM silver.mobility_fhv_trips__accounting)) AS accounted, "
        "(SELECT count(*) FROM silver.mobility_yellow_trips) + (SELECT count(*) FROM silver.mobility_green_trips) "
        "+ (SELECT count(*) FROM silver.mobility_fhv_trips) AS trips"
    )

    def read() -> None:
        while not stop.wait(0.05):
            if not settings.published_path.exists():
                continue
            try:
                (row,) = publish.query(settings, sql).to_pylist()
            except (LakeError, duckdb.Error) as error:
                wrong.append(str(error))
                continue
            if len(set(row.values())) != 1:
                wrong.append(f"half a run: {row}")
            seen.append(1)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield wrong
    finally:
        stop.set()
        thread.join(30)
    assert seen, "nobody could read"


def replace_a_month(files: Path, cycle: int) -> None:
    """Other trips in one of the files, as many: there is work for the next run to lose."""
    service, month = list(ROWS)[cycle % 3], MONTHS[cycle % 2]
    tlc.write(service, month, files, ROWS[service], seed=1_000 + cycle)  # type: ignore[arg-type]


def check_bronze(home: Home) -> None:
    """Each table can be read, and each month that is there is there whole and once."""
    if not home.settings.catalog_db.exists():
        return
    catalog = open_catalog(home.settings)
    for _, name in catalog.list_tables("bronze") if ("bronze",) in catalog.list_namespaces() else []:
        table = catalog.load_table(("bronze", name))
        counts = iceberg.rows_by_partition(table)
        if name.endswith("_trips"):
            assert set(counts.values()) <= {ROWS[name.split("_")[1]]}, name
        assert table.scan().to_arrow().num_rows == sum(counts.values())


@pytest.fixture(scope="module")
def killed(tmp_path_factory) -> Iterator[dict[str, Any]]:
    """A home whose run was killed at every moment and then came through, and one that was left in peace."""
    base = tmp_path_factory.mktemp("killed")
    files = write_sources(base / "tlc", MONTHS, ROWS)
    with serving(files) as server:
        home, undisturbed = (Home(base / name, str(files), server.users_api) for name in ("killed", "undisturbed"))
        moments, began = dict[str, bool](), time.monotonic()
        with reading(home.settings) as wrong:
            for cycle, (name, reached) in enumerate(MOMENTS.items()):
                run = Run(home)
                try:
                    wait_for(lambda run=run, reached=reached: reached(run) or run.command.ended, name, poll=0.005)
                    moments[name] = not run.command.ended
                finally:
                    run.command.kill()
                print(f"{time.monotonic() - began:.0f} s: {name}")  # noqa: T201 - shown if a test fails
                assert moments[name], f"ended before {name}: {run.command.printed('.err')[-2000:]}"
                check_bronze(home)
                replace_a_month(files, cycle)
            leftover = home.settings.published_path.with_name(".publishing-left.duckdb")
            leftover.write_bytes(b"half a copy")
            runs = [home.start(*EVERYTHING), undisturbed.start(*EVERYTHING)]
            ended = [run.wait() for run in runs]
            assert [done.code for done in ended] == [0, 0], "\n".join(done.err[-2000:] for done in ended)
            again = home.start("materialize", "--select", "serving/duckdb").wait()
            assert again.code == 0, again.err
        yield {"home": home, "undisturbed": undisturbed, "moments": moments, "wrong": wrong}


def test_ten_kills_lose_nothing(killed):
    assert len(killed["moments"]) == 10
    assert killed["home"].contents() == killed["undisturbed"].contents()
    assert len([name for name in killed["home"].contents() if name.startswith("gold.")]) == 4


def test_ten_kills_leave_every_row_accounted_for(killed):
    expected = {f"mobility_{service}_trips__accounting": 0 for service in ROWS}
    assert killed["home"].unaccounted() == killed["undisturbed"].unaccounted() == expected


def test_a_reader_never_fails_and_never_sees_half_a_run(killed):
    assert killed["wrong"] == []


# -- one bronze table, killed in the midst of a load ----------------------------------------------------------

LARGE = 200_000
YELLOW = "mobility_yellow_trips"


def _load(home: Path, files: Path, ready: Path) -> None:
    settings = lakes.settings(home, files)
    open_catalog(settings)
    ready.touch()
    lakes.load_table(settings, "yellow_trips", "2023-01")


def _content(settings: Settings) -> int:
    """A hash of the bronze table's rows, whatever their order; 0 if there is no table."""
    catalog = open_catalog(settings)
    if not catalog.table_exists(f"bronze.{YELLOW}"):
        return 0
    paths = [f.file_path.removeprefix("file://") for f in iceberg.current_files(lakes.open_table(settings, YELLOW))]
    if not paths:
        return 0
    with duckdb.connect() as connection:
        row = connection.execute("SELECT sum(hash(t)::HUGEINT) FROM read_parquet(?) AS t", [paths]).fetchall()[0]
    return int(row[0])


def test_a_load_killed_at_random_moments_is_all_or_nothing(tmp_path):
    files, ready = tmp_path / "tlc", tmp_path / "ready"
    source = tlc.write("yellow", "2023-01", files, LARGE)
    versions = [source.read_bytes()]
    versions.append(tlc.write("yellow", "2023-01", files, LARGE, seed=2).read_bytes())
    clean, expected = lakes.settings(tmp_path / "clean", files), []
    for version in versions:
        source.write_bytes(version)
        began = time.monotonic()
        lakes.load_table(clean, "yellow_trips", "2023-01")
        seconds = time.monotonic() - began
        expected.append(_content(clean))
    assert len({*expected, 0}) == 3

    home, rng = tmp_path / "home", random.Random(20230101)  # noqa: S311 - moments, not secrets
    lake, present, kills, lost = lakes.settings(home, files), 0, 0, 0
    for attempt in range(10):
        wanted = attempt % 2
        source.write_bytes(versions[wanted])
        ready.unlink(missing_ok=True)
        process = spawn(_load, home, files, ready)
        wait_for(ready.exists, "the load begins", poll=0.001)
        process.join(rng.uniform(0, seconds))  # a moment in the load, not a wait for anything
        kills += process.exitcode is None
        process.kill()
        process.join(30)
        now = _content(lake)
        assert now in {present, expected[wanted]}, f"attempt {attempt}: neither what was there nor the new month"
        lost += now == present
        present = now
    assert kills >= 5
    assert lost >= 1
    final = lakes.load_table(lake, "yellow_trips", "2023-01")
    assert (final.account.rows_read, final.total_rows) == (LARGE, LARGE)
    assert _content(lake) == expected[1]
    assert lakes.by_month(lake, YELLOW) == {"2023-01": LARGE}
    assert iceberg.rows_by_partition(lakes.open_table(lake, YELLOW)) == {date(2023, 1, 1): LARGE}


# -- the catalog, killed in the midst of a commit -------------------------------------------------------------


def _die_in_a_transaction(path: str, ready: str) -> None:
    import sqlite3

    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA cache_size = 1")  # spill: pages reach the file before the commit, so the journal is hot
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("CREATE TABLE half (text TEXT)")
    for n in range(500):
        connection.execute("INSERT INTO half VALUES (?)", [str(n) * 500])
    Path(ready).touch()
    threading.Event().wait()


def test_a_catalog_killed_in_its_transaction_is_rolled_back_by_the_next_run(tmp_path, here):
    """`infra plan` reads only and cannot roll back; a run must not stop at that, for it is the repair."""
    home = Home(tmp_path / "home", str(write_sources(tmp_path / "tlc", ("2023-01",), {"green": 200})))
    assert here(home, "infra", "apply").code == 0
    ready = tmp_path / "ready"
    writer = spawn(_die_in_a_transaction, str(home.settings.catalog_db), str(ready))
    wait_for(ready.exists, "a half-written catalog")
    writer.kill()
    writer.join(30)
    journal = home.settings.catalog_db.with_name("catalog.db-journal")
    assert journal.exists()
    plan = here(home, "infra", "plan")
    assert plan.code == 1
    assert "a process was killed while it wrote; materialize infra/iceberg_namespaces" in plan.first
    done = home.start("materialize", "--select", "bronze/mobility/green_trips", "--partition", "2023-01").wait()
    assert done.code == 0, done.err
    assert not journal.exists()
    assert here(home, "infra", "plan").out == "nothing to change\n"
    assert home.rows("SELECT count(*) FROM bronze.mobility_green_trips") == [(200,)]
