"""Infrastructure of the embedded target on real folders, a real SQLite catalog and a real DuckDB file."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from infra_assets import resources
from infra_assets.assets import build_infra_assets
from infra_assets.local import DuckdbSchemas, Folders, IcebergNamespaces
from infra_assets.plan import Change, apply_all, plan_all
from lake.catalog import open_catalog
from lake.errors import LakeError
from lake.settings import Settings, get_settings

PROGRAM = (
    "from infra_assets import resources; from infra_assets.plan import apply_all; "
    "from lake.settings import get_settings; import sys; sys.stdin.readline(); "
    "print(*(c.resource for c in apply_all(resources(get_settings()))), sep='\\n')"
)
DIE_WHILE_WRITING = (
    "import os, signal, sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('PRAGMA cache_size = 1'); "
    "c.execute('CREATE TABLE half (a)'); "
    "c.executemany('INSERT INTO half VALUES (?)', [('x' * 1000,)] * 2000); "
    "os.kill(os.getpid(), signal.SIGKILL)"
)
HOLD_THE_LOCK = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.readline()"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "a home" / "data")


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """Every path below `folder` with its modification time and size."""
    return {str(p): (p.stat().st_mtime_ns, p.stat().st_size) for p in sorted(folder.rglob("*"))}


def namespaces(settings: Settings) -> set[str]:
    with closing(open_catalog(settings)) as catalog:
        return {".".join(name) for name in catalog.list_namespaces()}


def schemas(settings: Settings) -> set[str]:
    with duckdb.connect(str(settings.duckdb_path), read_only=True) as connection:
        rows = connection.execute(
            "SELECT schema_name FROM duckdb_schemas() WHERE database_name = 'work' AND NOT internal"
        )
        return {name for (name,) in rows.fetchall()} - {"main"}


def drop_a_folder(settings: Settings) -> Change:
    shutil.rmtree(settings.staging)
    return Change("create", f"folder {settings.staging}")


def drop_a_namespace(settings: Settings) -> Change:
    with closing(open_catalog(settings)) as catalog:
        catalog.drop_namespace("silver")
    return Change("create", "namespace silver", f"in {settings.catalog_db}")


def drop_a_schema(settings: Settings) -> Change:
    with duckdb.connect(str(settings.duckdb_path)) as connection:
        connection.execute("DROP SCHEMA gold")
    return Change("create", "schema gold", f"in {settings.duckdb_path}")


DRIFTS = [
    pytest.param("folders", drop_a_folder, id="folder"),
    pytest.param("iceberg_namespaces", drop_a_namespace, id="namespace"),
    pytest.param("duckdb_schemas", drop_a_schema, id="schema"),
]


def test_a_plan_lists_what_apply_then_makes_and_writes_nothing(settings: Settings, tmp_path: Path) -> None:
    before = snapshot(tmp_path)
    planned = plan_all(resources(settings))
    assert snapshot(tmp_path) == before == {}

    assert apply_all(resources(settings)) == planned
    folders = {str(p) for p in settings.home.rglob("*") if p.is_dir()} | {str(settings.home)}
    assert {c.resource.removeprefix("folder ") for c in planned if c.resource.startswith("folder")} == folders
    assert {c.resource.removeprefix("namespace ") for c in planned if "namespace" in c.resource} == namespaces(settings)
    assert {c.resource.removeprefix("schema ") for c in planned if "schema" in c.resource} == schemas(settings)
    assert namespaces(settings) == {"bronze", "silver"}
    assert schemas(settings) == {"bronze", "silver", "gold"}


def test_after_apply_the_plan_is_empty_and_neither_it_nor_another_apply_changes_anything(
    settings: Settings,
) -> None:
    apply_all(resources(settings))
    before = snapshot(settings.home)
    assert plan_all(resources(settings)) == ()
    assert snapshot(settings.home) == before
    assert apply_all(resources(settings)) == ()
    assert snapshot(settings.home).keys() == before.keys()


@pytest.mark.parametrize(("name", "drop"), DRIFTS)
def test_drift_is_planned_and_repaired(
    name: str,
    drop: Callable[[Settings], Change],
    settings: Settings,
) -> None:
    apply_all(resources(settings))
    lost = drop(settings)
    before = snapshot(settings.home)
    assert {r.name for r in resources(settings) if r.plan()} == {name}
    assert plan_all(resources(settings)) == (lost,)
    assert snapshot(settings.home) == before
    assert apply_all(resources(settings)) == (lost,)
    assert plan_all(resources(settings)) == ()


def test_a_duckdb_file_appears_whole_because_an_empty_one_looks_broken(tmp_path: Path) -> None:
    for race in range(20):
        settings = Settings(home=tmp_path / str(race))
        with ThreadPoolExecutor(1) as watcher:
            first_seen = watcher.submit(size_when_it_appears, settings.duckdb_path)
            assert len(DuckdbSchemas(settings).apply()) == 3
        assert first_seen.result() > 0
        assert [path.name for path in settings.duckdb_path.parent.iterdir()] == ["work.duckdb"]


def size_when_it_appears(path: Path) -> int:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with suppress(FileNotFoundError):
            return path.stat().st_size
    raise TimeoutError(path)


@pytest.mark.slow
def test_processes_that_apply_at_once_make_each_thing_once(settings: Settings) -> None:
    planned = plan_all(resources(settings))
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            env={"LAKEGRAPH_HOME": str(settings.home)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for worker in workers:
        assert worker.stdin
        worker.stdin.write("go\n")
        worker.stdin.flush()
    results = [worker.communicate(timeout=120) for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * 4, [stderr for _, stderr in results]
    made = [line for stdout, _ in results for line in stdout.splitlines() if line]
    assert sorted(made) == sorted(change.resource for change in planned)
    assert plan_all(resources(settings)) == ()


def test_a_catalog_whose_maker_died_before_its_tables_is_planned_and_completed(settings: Settings) -> None:
    Folders(settings).apply()
    settings.catalog_db.touch()
    namespaces_ = IcebergNamespaces(settings)
    assert len(namespaces_.plan()) == 2
    assert settings.catalog_db.stat().st_size == 0
    assert namespaces_.apply() != ()
    assert namespaces_.plan() == ()


def test_a_catalog_whose_writer_was_killed_is_not_written_by_a_plan_and_repaired_by_apply(
    settings: Settings,
) -> None:
    apply_all(resources(settings))
    subprocess.run([sys.executable, "-c", DIE_WHILE_WRITING, str(settings.catalog_db)], check=False)
    before = snapshot(settings.home)
    assert str(settings.catalog_db) + "-journal" in before
    with pytest.raises(LakeError, match="a process was killed while it wrote; materialize infra/iceberg_namespaces"):
        IcebergNamespaces(settings).plan()
    assert snapshot(settings.home) == before
    assert IcebergNamespaces(settings).apply() == ()
    assert IcebergNamespaces(settings).plan() == ()


@pytest.mark.parametrize("name", ["home", "staging"])
def test_a_file_where_a_folder_is_wanted_is_left_alone_and_named(name: str, settings: Settings) -> None:
    path: Path = getattr(settings, name)
    path.parent.mkdir(parents=True)
    path.write_text("precious")
    for verb in (Folders(settings).plan, Folders(settings).apply):
        with pytest.raises(LakeError, match="is in the way of a folder of that name: move it away") as error:
            verb()
        assert str(path) in str(error.value)
    assert path.read_text() == "precious"


def test_a_home_that_cannot_be_written_is_one_clear_line() -> None:
    settings = Settings(home=Path("/sys/lakegraph"))  # nobody makes folders there, not even root
    for resource in (Folders(settings), IcebergNamespaces(settings), DuckdbSchemas(settings)):
        with pytest.raises(LakeError, match=r"/sys/lakegraph.* cannot be made .*set LAKEGRAPH_HOME") as error:
            resource.apply()
        assert "\n" not in str(error.value)


def test_a_file_that_is_no_database_is_one_clear_line(settings: Settings) -> None:
    Folders(settings).apply()
    for path, resource in (
        (settings.catalog_db, IcebergNamespaces(settings)),
        (settings.duckdb_path, DuckdbSchemas(settings)),
    ):
        path.write_text("not a database " * 1000)
        for verb in (resource.plan, resource.apply):
            with pytest.raises(LakeError) as error:
                verb()
            assert str(path) in str(error.value)
            assert "\n" not in str(error.value)


@contextmanager
def another_process_holds(path: Path) -> Iterator[Callable[[], None]]:
    """DuckDB's lock in another process; yields the function that lets it go."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD_THE_LOCK, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdin
    assert holder.stdout
    assert holder.stdout.readline() == "held\n"

    def release() -> None:
        assert holder.stdin
        holder.stdin.close()

    try:
        yield release
    finally:
        release()
        holder.wait(timeout=30)


def test_the_duckdb_lock_is_waited_for_and_then_named(settings: Settings) -> None:
    Folders(settings).apply()
    with another_process_holds(settings.duckdb_path) as release:
        with pytest.raises(LakeError, match="locked by another process"):
            DuckdbSchemas(settings, lock_seconds=0.2).apply()
        release()
        assert len(DuckdbSchemas(settings, lock_seconds=30).apply()) == 3


# -- the same in Dagster --------------------------------------------------------------------------------


@pytest.fixture
def home(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """The settings as a process gets them: from the environment."""
    monkeypatch.setenv("LAKEGRAPH_HOME", str(settings.home))
    get_settings.cache_clear()
    yield get_settings()
    get_settings.cache_clear()


def materialize(
    graph: Sequence[dg.AssetsDefinition],
) -> dg.ExecuteInProcessResult:
    return dg.materialize(graph, raise_on_error=False)


def drifts(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {e.asset_key.path[-1]: e.passed for e in result.get_asset_check_evaluations()}


def test_the_assets_materialize_with_their_changes_and_a_version_of_the_desired_state(home: Settings) -> None:
    planned = plan_all(resources(home))
    graph = build_infra_assets()
    first, second = materialize(graph), materialize(graph)
    assert first.success
    assert second.success
    assert drifts(first) == drifts(second) == dict.fromkeys(("folders", "iceberg_namespaces", "duckdb_schemas"), True)

    counts, tables, versions = [], [], []
    for result in (first, second):
        events = [result.asset_materializations_for_node(f"infra__{r.name}")[0] for r in resources(home)]
        counts.append(sum(int(str(e.metadata["changes_count"].value)) for e in events))
        tables.append("\n".join(str(e.metadata["changes"].value) for e in events))
        versions.append([(e.tags or {})["dagster/data_version"] for e in events])
    assert counts == [len(planned), 0]
    assert all(f"| {c.action} | {c.resource} | {c.detail} |" in tables[0] for c in planned)
    assert tables[1].splitlines() == ["nothing to change"] * 3
    assert versions[0] == versions[1]
    assert len(set(versions[0])) == 3


@pytest.mark.parametrize(("name", "drop"), DRIFTS)
def test_the_drift_check_fails_until_the_asset_is_materialized(
    name: str, drop: Callable[[Settings], Change], home: Settings
) -> None:
    graph = build_infra_assets()
    assert materialize(graph).success
    lost = drop(home)

    definitions = dg.Definitions(
        assets=graph,
        jobs=[dg.define_asset_job("drift", selection=dg.AssetSelection.all_asset_checks())],
    )
    result = definitions.resolve_job_def("drift").execute_in_process()
    assert {n for n, passed in drifts(result).items() if not passed} == {name}
    (failed,) = [e for e in result.get_asset_check_evaluations() if not e.passed]
    assert failed.severity == dg.AssetCheckSeverity.ERROR
    assert f"| create | {lost.resource} | {lost.detail} |" in str(failed.metadata["pending"].value)

    assert all(drifts(materialize(graph)).values())


def test_a_step_that_cannot_apply_fails_once_with_the_reason_on_top(home: Settings) -> None:
    home.home.parent.mkdir(parents=True)
    home.home.write_text("a file")
    result = materialize(build_infra_assets())
    assert not result.success
    (event,) = [e for e in result.all_events if e.is_step_failure]
    assert event.step_key == "infra__folders"
    cause = event.step_failure_data.user_failure_data
    assert cause
    assert (cause.description or "").startswith(f"{home.home} is in the way of a folder of that name")
    assert not [e for e in result.all_events if e.is_step_up_for_retry]
    assert not result.asset_materializations_for_node("infra__folders")
