"""dbt as a Dagster resource.

What belongs here: how dbt is started, with which environment and folders. What does not: what it builds.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

from dagster_dbt import DbtCliInvocation, DbtCliResource
from packaging import version

from lake import views
from lake.dbt_parsed import PARSED
from lake.duck import connect, exclusive
from lake.errors import LakeError
from lake.gcp_access import check_access
from lake.settings import Settings, Target
from orchestration.project import DBT_DIR, dbt_project, manifest_is_stale, parsed_project


class LakegraphDbt(DbtCliResource):
    """`DbtCliResource` that does not run `dbt --version` in each process (6 s of start-up).

    `_cli_version` is private to dagster-dbt; `tests/unit/test_dbt_resource.py` fails if it changes.
    """

    @cached_property
    def _cli_version(self) -> version.Version:
        return version.parse(installed("dbt-core"))

    def run(self, args: Sequence[str], settings: Settings, run_id: str, **kwargs: Any) -> DbtCliInvocation:
        """Start dbt with the settings' files, and its artifacts in a folder of this run's own under
        `settings.dbt_target`.
        """
        os.environ.update(environment(settings, run_id))
        target = settings.dbt_target / run_id
        target.mkdir(parents=True, exist_ok=True)
        return self.cli(args, target_path=target, **kwargs)


def dbt_resource() -> LakegraphDbt:
    """The resource `dbt`: the executable that is installed beside this interpreter, whatever the PATH. It starts dbt
    with the project as it was parsed.
    """
    project: Any = dbt_project  # a DbtProject, which the base class takes though pydantic's mypy plugin sees a str
    return LakegraphDbt(project_dir=project, dbt_executable=str(Path(sys.executable).with_name("lakegraph-dbt")))


def environment(settings: Settings, run_id: str) -> dict[str, str]:
    """The variables that `dbt_project/profiles.yml` and `lake.dbt_plugin` read."""
    return {
        "LAKEGRAPH_HOME": str(settings.home),
        "LAKEGRAPH_TARGET": settings.target,
        "LAKEGRAPH_RUN_ID": run_id,
        PARSED: "",  # of no other run in this process
        # a test of two tables is run where both are there: with the table it is of, and not with the other one alone
        "DBT_INDIRECT_SELECTION": "buildable",
        **_TARGETS[settings.target].environment(settings),
    }


@contextmanager
def warehouse(settings: Settings, on_wait: Callable[[], object] = lambda: None) -> Iterator[None]:
    """What has to hold while dbt runs: on DuckDB, its lock (after `on_wait`, if another run has it) and bronze's
    views as they are now.
    """
    with _TARGETS[settings.target].session(settings, on_wait):
        yield


def _duckdb_environment(settings: Settings) -> dict[str, str]:
    Path(settings.duckdb_path).parent.mkdir(parents=True, exist_ok=True)
    return {
        # BigQuery has none: the name of its project is part of what is parsed.
        PARSED: "" if manifest_is_stale() else str(parsed_project()),
        "LAKEGRAPH_DUCKDB_PATH": str(settings.duckdb_path),
        "LAKEGRAPH_DUCKDB_MEMORY_LIMIT": settings.duckdb_memory_limit,
        "LAKEGRAPH_STAGING": str(settings.staging),
    }


@contextmanager
def _duckdb_session(settings: Settings, on_wait: Callable[[], object]) -> Iterator[None]:
    with exclusive(settings.duckdb_path, on_wait):
        with connect(settings.duckdb_path, memory_limit=settings.duckdb_memory_limit) as connection:
            views.refresh(connection, settings)
        yield


def _bigquery_environment(settings: Settings) -> dict[str, str]:
    target = settings.gcp()
    return {
        "LAKEGRAPH_GCP_PROJECT": target.project,
        "LAKEGRAPH_GCP_LOCATION": target.location,
        "LAKEGRAPH_GCP_MAXIMUM_BYTES_BILLED": str(settings.gcp_maximum_bytes_billed),
        "LAKEGRAPH_GCP_CONNECTION_NAME": target.connection_name,
        "LAKEGRAPH_LAKE_URI": target.lake_uri,
    }


@contextmanager
def _bigquery_session(settings: Settings, on_wait: Callable[[], object]) -> Iterator[None]:
    """One dbt at a time for this home: of transactions on one table at once, BigQuery cancels all but one."""
    check_access(settings.gcp())
    with exclusive(settings.dbt_target / "bigquery", on_wait):
        yield


@dataclass(frozen=True)
class _DbtTarget:
    environment: Callable[[Settings], dict[str, str]]
    session: Callable[[Settings, Callable[[], object]], AbstractContextManager[None]]


_TARGETS: Mapping[Target, _DbtTarget] = {
    "local": _DbtTarget(_duckdb_environment, _duckdb_session),
    "gcp": _DbtTarget(_bigquery_environment, _bigquery_session),
}


def write_docs(settings: Settings) -> Path:
    """Dbt's documentation in one HTML page under `settings.reports`, from the tables as they are.

    Raises:
        LakeError: dbt could not make it, with its last words.
    """
    target = settings.dbt_target / "docs"
    target.mkdir(parents=True, exist_ok=True)
    command = [
        str(Path(sys.executable).with_name("dbt")),
        "--quiet",
        "docs",
        "generate",
        "--static",
        "--target-path",
        str(target),
    ]
    command += ["--project-dir", str(DBT_DIR), "--profiles-dir", str(DBT_DIR), "--log-path", str(target)]
    with warehouse(settings):
        done = subprocess.run(  # noqa: S603 - our own executable and arguments
            command,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, **environment(settings, "docs")},
        )
    if done.returncode:
        raise LakeError(f"dbt docs: {(done.stdout + done.stderr).strip().splitlines()[-1]}")
    page = settings.reports / "dbt.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    (target / "static_index.html").replace(page)
    return page
