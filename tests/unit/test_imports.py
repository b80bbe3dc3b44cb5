"""What an import brings along, looked at in processes of their own.

Start-up time follows the number of modules; `make bench` measures the time itself.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestration import project

ROOT = Path(__file__).parents[2]
HEAVY = (
    "dlt",
    "pyiceberg",
    "duckdb",
    "pyarrow",
    "pandas",
    "numpy",
    "plotly",
    "google.cloud",
    "googleapiclient",
    "httpx",
    "sqlalchemy",
    "psutil",
    "pymysql",
)
SEPARATOR = "-- modules --"


def modules_after(statement: str, tmp_path: Path) -> set[str]:
    """The modules that a fresh interpreter has loaded after `statement`, which must not print anything."""
    script = f"{statement}\nimport json, sys\nprint({SEPARATOR!r} + json.dumps(sorted(sys.modules)))"
    clean = {
        key: value for key, value in os.environ.items() if not key.startswith(("LAKEGRAPH_", "PYTHON", "DAGSTER_"))
    }
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**clean, "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "importing prints a warning"
    printed, modules = done.stdout.split(SEPARATOR)
    assert printed == "", "importing prints"
    return set(json.loads(modules))


def of(package: str, modules: set[str]) -> list[str]:
    """The modules of `package`; the empty namespace `google.cloud`, made at each start by a .pth file, is none."""
    below = sorted(name for name in modules if name.startswith(f"{package}."))
    return below if package == "google.cloud" else sorted({package} & modules) + below


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the graph is loaded."""
    return tmp_path_factory.mktemp("graph")


@pytest.fixture(scope="module")
def graph(home: Path) -> set[str]:
    project.prepare()  # a stale manifest would be read as it is; a missing one would be made by the import
    return modules_after("import orchestration.definitions", home)


@pytest.mark.parametrize("package", HEAVY)
def test_the_graph_is_loaded_without_engines_and_clients(graph: set[str], package: str) -> None:
    """Each of them costs up to seconds, in every process of Dagster's; steps import what they need."""
    assert of(package, graph) == []


def test_the_graph_is_loaded_without_the_sandbox_and_the_tests(graph: set[str]) -> None:
    assert of("sandbox", graph) + of("pytest", graph) + of("dlt_sources", graph) == []


def test_the_graph_loads_no_more_modules_than_dagster_and_its_integrations(graph: set[str], tmp_path: Path) -> None:
    yardstick = modules_after("import dagster, dagster_dbt, dagster_dlt", tmp_path)
    ours = {name for name in graph if name.split(".")[0] in {"orchestration", "infra_assets", "lake"}}
    assert ours, "the graph's own modules are counted"
    assert len(graph) <= len(yardstick)


def test_loading_the_graph_writes_nothing(graph: set[str], home: Path) -> None:
    assert list(home.iterdir()) == []


def test_a_notebook_uses_lake_and_sources_without_dagster(tmp_path: Path) -> None:
    sources = sorted(path.stem for path in (ROOT / "dlt_sources").glob("[!_]*.py"))
    assert {"tlc", "users_api"} <= set(sources)
    lake = sorted(path.stem for path in (ROOT / "lake").glob("[!_]*.py"))
    assert "load" in lake
    everything = ", ".join(["lake", *(f"lake.{name}" for name in lake), *(f"dlt_sources.{name}" for name in sources)])
    modules = modules_after(f"import {everything}", tmp_path)
    assert sorted(name for name in modules if name.startswith("dagster")) == []
    assert of("orchestration", modules) + of("infra_assets", modules) + of("sandbox", modules) == []


def test_sources_and_loads_are_named_without_importing_what_they_use(tmp_path: Path) -> None:
    modules = modules_after("import lake, lake.load, dlt_sources.tlc, dlt_sources.users_api", tmp_path)
    assert [
        name for package in ("dlt", "pyiceberg", "duckdb", "pyarrow", "httpx") for name in of(package, modules)
    ] == []


def test_help_does_not_load_the_graph(tmp_path: Path) -> None:
    """`lakegraph --help` is for people who wait."""
    modules = modules_after("import orchestration.cli", tmp_path)
    assert (
        of("dagster_dbt", modules) + of("orchestration.definitions", modules) + of("orchestration.build", modules) == []
    )
