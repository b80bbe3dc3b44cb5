"""Publishing: readers never wait, never fail, never see half a run; what dies on the way changes nothing."""

import multiprocessing
import queue
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import duckdb
import lakes
import pytest
from lakes import load_green

from lake.duck import connect
from lake.errors import LakeError, TransientError
from lake.publish import publish, query
from sandbox import tlc

ROUNDS = 30
ROWS = 2_000
HOLD_THE_LOCK = (
    "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.readline(); c.close()"
)


def build(lake, version):
    """A run of dbt in small: two tables that belong together, written one after the other."""
    with connect(lake.duckdb_path) as connection:
        connection.execute("CREATE SCHEMA IF NOT EXISTS gold")
        for name in ("first", "second"):
            connection.execute(
                f"CREATE OR REPLACE TABLE gold.{name} AS "
                f"SELECT {version} AS version, i FROM range({ROWS + version}) t(i)"
            )


LOOK = """
SELECT (SELECT count(*) FROM gold.first), (SELECT max(version) FROM gold.first),
       (SELECT count(*) FROM gold.second), (SELECT max(version) FROM gold.second)
"""


def read_until(path, stop, seen):
    """Open the published copy anew and read it, until told to stop; puts (reads, versions, complaints)."""
    versions, complaints, reads = [0], [], 0
    while True:
        last = stop.is_set()
        try:
            with duckdb.connect(path, read_only=True) as connection:
                first, version, second, other = connection.execute(LOOK).fetchone()
        except Exception as error:  # noqa: BLE001 - whatever a reader meets is a finding
            complaints.append(f"{type(error).__name__}: {error}")
        else:
            reads += 1
            if not (first == second == ROWS + version and version == other):
                complaints.append(f"half a state: {first, version, second, other}")
            if version < versions[-1]:
                complaints.append(f"back from {versions[-1]} to {version}")
            if version != versions[-1]:
                versions.append(version)
        if last:  # one more read after the last publish
            break
    seen.put((reads, versions[1:], complaints[:5]))


@pytest.fixture
def published(lake):
    build(lake, 1)
    publish(lake)
    return lake


def test_readers_in_other_processes_never_fail_and_never_see_half_a_run(published):
    context = multiprocessing.get_context("spawn")
    stop, seen = context.Event(), context.Queue()
    arguments = (str(published.published_path), stop, seen)
    readers = [context.Process(target=read_until, args=arguments, daemon=True) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        for version in range(2, ROUNDS + 1):
            build(published, version)
            publish(published)
    finally:
        stop.set()
    results = [seen.get(timeout=60) for _ in readers]
    for reader in readers:
        reader.join(30)
    assert [complaints for _, _, complaints in results] == [[], []]
    assert all(reads > 0 and versions[-1] == ROUNDS for reads, versions, _ in results)


def test_a_reader_in_threads_of_one_process_sees_whole_states_while_many_are_published(published):
    stop, seen = threading.Event(), queue.Queue()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(read_until, str(published.published_path), stop, seen)
        try:
            for version in range(2, ROUNDS + 1):
                build(published, version)
                publish(published)
        finally:
            stop.set()
        reads, versions, complaints = seen.get(timeout=60)
    assert complaints == []
    assert reads > 0
    assert versions[-1] == ROUNDS


def test_who_has_the_old_copy_open_reads_on_in_it(published):
    with duckdb.connect(str(published.published_path), read_only=True) as old:
        assert old.execute("SELECT max(version) FROM gold.first").fetchone() == (1,)
        build(published, 2)
        publish(published)
        assert old.execute(LOOK).fetchone() == (ROWS + 1, 1, ROWS + 1, 1)
    assert query(published, "SELECT max(version) v FROM gold.second").to_pylist() == [{"v": 2}]


def test_what_was_published_is_told(lake, files):
    tlc.write("green", "2023-02", files, 120)
    load_green(lake)
    build(lake, 1)
    done = publish(lake)
    assert (done.path, done.relations) == (lake.published_path, {"bronze": 1, "gold": 2})
    assert done.bytes == lake.published_path.stat().st_size
    assert lake.published_path.stat().st_mode & 0o777 == 0o644
    assert query(lake, "SELECT count(*) n FROM bronze.mobility_green_trips").to_pylist() == [{"n": 120}]
    assert [p.name for p in lake.published_path.parent.iterdir() if p.name.startswith(".")] == []


def test_the_bronze_views_of_the_copy_are_refreshed_by_publishing(lake, files):
    for month in ("2023-02", "2023-03"):
        tlc.write("green", month, files, 120)
        load_green(lake, month)
        if month == "2023-02":
            publish(lake)
    assert query(lake, "SELECT count(*) n FROM bronze.mobility_green_trips").to_pylist() == [{"n": 120}]
    publish(lake)
    assert query(lake, "SELECT count(*) n FROM bronze.mobility_green_trips").to_pylist() == [{"n": 240}]


# -- locks ---------------------------------------------------------------------------------------------------


@contextmanager
def held(path):
    """Another process that writes the file at `path`; yields what makes it let go."""
    path.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-c", HOLD_THE_LOCK, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"

        def release():
            process.communicate("\n", timeout=30)

        try:
            yield release
        finally:
            process.kill()


def test_a_lock_that_is_not_released_in_time_is_one_sentence(lake):
    with held(lake.duckdb_path), pytest.raises(TransientError) as raised, connect(lake.duckdb_path, wait_seconds=0.3):
        pytest.fail("connected in spite of the lock")
    assert str(raised.value).startswith(f"{lake.duckdb_path} is locked by another process: ")
    assert "\n" not in str(raised.value)


def test_publishing_waits_for_the_writer_and_publishes_what_it_wrote(published):
    build(published, 2)
    with held(published.duckdb_path) as release, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(publish, published)
        assert query(published, "SELECT max(version) v FROM gold.first").to_pylist() == [{"v": 1}]
        assert not waiting.done()
        release()
        waiting.result(60)
    assert query(published, "SELECT max(version) v FROM gold.first").to_pylist() == [{"v": 2}]


# -- what dies on the way ------------------------------------------------------------------------------------


def test_a_copy_that_was_never_swapped_in_is_ignored(published):
    folder = published.published_path.parent
    (folder / ".publishing-dead.duckdb").write_bytes(b"half a copy")
    assert query(published, "SELECT max(version) v FROM gold.first").to_pylist() == [{"v": 1}]
    build(published, 2)
    publish(published)
    assert query(published, "SELECT max(version) v FROM gold.first").to_pylist() == [{"v": 2}]


def test_a_publish_that_fails_at_the_swap_leaves_the_old_copy_and_no_other(published):
    folder, path = published.published_path.parent, published.published_path
    kept = path.rename(folder / "kept")
    path.mkdir()  # what no file can replace
    (path / "in the way").touch()
    with pytest.raises(OSError, match="published"):
        publish(published)
    assert [p.name for p in folder.iterdir() if p.name.startswith(".publishing")] == []
    (path / "in the way").unlink()
    path.rmdir()
    kept.rename(path)
    assert query(published, "SELECT max(version) v FROM gold.first").to_pylist() == [{"v": 1}]


KILLED = """
import os, signal, sys
from pathlib import Path
from lake.publish import publish
from lake.settings import Settings

def die(event, arguments):
    if event == sys.argv[2]:
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(die)
publish(Settings(home=Path(sys.argv[1])))
"""


@pytest.mark.parametrize("moment", ["tempfile.mkstemp", "os.chmod", "os.rename"])
def test_kill_9_at_any_moment_leaves_the_old_copy_and_the_next_run_publishes(published, moment):
    build(published, 2)
    command = [sys.executable, "-c", KILLED, str(published.home), moment]
    assert subprocess.run(command, check=False, timeout=60, cwd=lakes.ROOT).returncode == -9
    assert query(published, LOOK).num_rows == 1
    assert query(published, "SELECT max(version) v FROM gold.first").to_pylist() == [{"v": 1}]
    publish(published)
    assert query(published, "SELECT max(version) v FROM gold.first").to_pylist() == [{"v": 2}]


# -- queries -------------------------------------------------------------------------------------------------


def test_a_query_before_anything_is_published(lake):
    with pytest.raises(
        LakeError, match=re.escape(f"{lake.published_path} does not exist yet: materialize something first")
    ):
        query(lake, "SELECT 1")
    assert not lake.published_path.parent.exists()


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("SELECT * FROM gold.nothing", "Table with name nothing does not exist"),
        ("SELEC 1", "syntax error"),
        ("DROP TABLE gold.first", "read-only"),
        ("SELECT 1 / 0 ::INTEGER; SELECT * FROM", "syntax error"),
    ],
)
def test_a_query_that_fails_gives_duckdbs_reason(published, sql, reason):
    with pytest.raises(LakeError, match=reason):
        query(published, sql)
    assert query(published, "SELECT count(*) n FROM gold.first").to_pylist() == [{"n": ROWS + 1}]


def test_a_statement_without_rows_gives_an_empty_table(published):
    assert query(published, "SET threads = 1").num_rows == 0
