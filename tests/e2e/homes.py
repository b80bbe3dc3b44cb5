"""The whole product from outside: homes of their own, the command, and what its tables hold.

What belongs here: starting `lakegraph` in three ways (a fresh process; a warm one, forked with the heavy imports behind
it; this process, by `command.call`, for commands that only read) and comparing published copies. What does not:
expectations.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import duckdb
import pytest
from command import DEADLINE, Done

from lake.duck import quote
from lake.settings import Settings, get_settings
from sandbox import tlc
from sandbox.server import SandboxServer

LAKEGRAPH = Path(sys.executable).with_name("lakegraph")
SMALL: Mapping[tlc.Service, int] = {"yellow": 1_200, "green": 800, "fhv": 800}
UNLIKE_ANYWHERE = {"_loaded_at", "run_id"}  # when and by whom a row was loaded is no part of its content


def write_sources(folder: Path, months: Sequence[str], rows: Mapping[tlc.Service, int] = SMALL) -> Path:
    for month in months:
        for service, count in rows.items():
            tlc.write(service, month, folder, count)
    tlc.write_zones(folder)
    return folder


@dataclass
class Home:
    """A LAKEGRAPH_HOME with the sources it reads."""

    path: Path
    tlc_base: str
    users_api: str = "http://127.0.0.1:9"  # discard: nobody answers
    more: dict[str, str] = field(default_factory=dict)
    deadline: float = DEADLINE  # seconds, for one command

    @property
    def dropped(self) -> Path:
        """The folder that workbooks would be dropped into: an empty one."""
        folder = self.path.with_name(f"{self.path.name}-dropped")
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @property
    def settings(self) -> Settings:
        return Settings(
            home=self.path,
            tlc_base=self.tlc_base,
            users_api=self.users_api,
            membership_folder=str(self.dropped),
            http_attempts=1,
        )

    @property
    def variables(self) -> dict[str, str]:
        return {
            "LAKEGRAPH_HOME": str(self.path),
            "LAKEGRAPH_TLC_BASE": self.tlc_base,
            "LAKEGRAPH_MEMBERSHIP_FOLDER": str(self.dropped),
            "LAKEGRAPH_USERS_API": self.users_api,
            "LAKEGRAPH_HTTP_ATTEMPTS": "2",
            "DAGSTER_DISABLE_TELEMETRY": "1",
            "RUNTIME__DLTHUB_TELEMETRY": "false",
            "COLUMNS": "200",
        } | self.more

    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("LAKEGRAPH_", "DAGSTER_", "DBT_"))}
        return kept | self.variables

    def run(self, *arguments: str, cwd: Path | None = None) -> Done:
        """`lakegraph …` in a fresh process, from a folder that is not the project's."""
        done = subprocess.run(
            [str(LAKEGRAPH), *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=self.deadline,
            env=self.environment(),
            cwd=cwd or self.path.parent,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments: str, first: Callable[[], object] | None = None) -> "Warm":
        """`lakegraph …` in a process and session of its own, forked with the heavy imports behind it; `first` is called
        there before.
        """
        return Warm(self, arguments, first)

    def contents(self, tables: Sequence[str] | None = None) -> dict[str, tuple[int, int]]:
        """Of every table and view of the published copy: rows, and a hash that does not depend on their order."""
        with duckdb.connect(str(self.settings.published_path), read_only=True) as connection:
            return contents(connection, tables)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(self.settings.published_path), read_only=True) as connection:
            return connection.execute(sql).fetchall()

    def unaccounted(self) -> dict[str, int]:
        """Rows without account in silver, by table; every silver table with an account is there."""
        everything = self.rows(
            "SELECT DISTINCT table_name FROM information_schema.tables WHERE table_schema = 'silver'"
        )
        names = [row for row in everything if row[0].endswith("__accounting")]
        return {
            name: self.rows(f"SELECT coalesce(sum(abs(unaccounted_rows)), 0) FROM silver.{quote(name)}")[0][0]
            for (name,) in names
        }

    def log(self) -> str:
        path = self.settings.dagster_home / "lakegraph.log"
        return path.read_text(errors="replace") if path.exists() else ""


def contents(connection: duckdb.DuckDBPyConnection, tables: Sequence[str] | None = None) -> dict[str, tuple[int, int]]:
    connection.execute("SET TimeZone = 'UTC'")
    columns: dict[str, list[str]] = {}
    for schema, table, column in connection.execute(
        "SELECT table_schema, table_name, column_name FROM information_schema.columns "
        "WHERE table_schema IN ('bronze', 'silver', 'gold') ORDER BY ALL"
    ).fetchall():
        if column not in UNLIKE_ANYWHERE:
            columns.setdefault(f"{schema}.{quote(table)}", []).append(quote(column))
    return {
        name.replace('"', ""): connection.execute(
            f"SELECT count(*), coalesce(sum(hash({', '.join(names)})::HUGEINT), 0) FROM {name}"
        ).fetchall()[0]
        for name, names in columns.items()
        if tables is None or name.replace('"', "") in tables
    }


# -- warm processes ------------------------------------------------------------------------------------------

_forkserver = multiprocessing.get_context("forkserver")
_forkserver.set_forkserver_preload(["orchestration.definitions", "orchestration.runner", "loaders"])


_starting = threading.Lock()


def _serve_forks() -> None:
    """Start the fork server, if it does not run. It finds modules by PYTHONPATH alone, and passes over those that it does
    not find.
    """
    with _starting, pytest.MonkeyPatch.context() as patch:
        for folder in Path(__file__).parents[:2]:
            patch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
        forkserver.ensure_running()


def _command(
    arguments: Sequence[str],
    variables: Mapping[str, str],
    cwd: str,
    printed: str,
    first: Callable[[], object] | None,
) -> None:
    os.setsid()
    for number, ending in ((1, ".out"), (2, ".err")):
        os.dup2(os.open(printed + ending, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), number)
    os.chdir(cwd)
    for name in [n for n in os.environ if n.startswith(("LAKEGRAPH_", "DAGSTER_", "DBT_"))]:
        del os.environ[name]
    os.environ.update(variables)
    get_settings.cache_clear()
    from orchestration import cli

    if first:
        first()
    sys.argv = ["lakegraph", *arguments]
    cli.main()


class Warm:
    """A `lakegraph` command under way."""

    def __init__(self, home: Home, arguments: Sequence[str], first: Callable[[], object] | None = None) -> None:
        home.path.parent.mkdir(parents=True, exist_ok=True)
        self._printed = str(home.path.parent / f"{home.path.name}-{time.monotonic_ns()}")
        self._process = spawn(_command, arguments, home.variables, str(home.path.parent), self._printed, first)

    @property
    def ended(self) -> bool:
        return self._process.exitcode is not None

    def kill(self) -> None:
        """SIGKILL to the whole group, dbt included, and wait until it is gone."""
        with suppress(ProcessLookupError):  # it has ended, or has no group of its own yet
            if self._process.pid and not self.ended:
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        self._process.join(30)
        assert self.ended

    def wait(self) -> Done:
        self._process.join(DEADLINE)
        if not self.ended:
            self.kill()
            pytest.fail(f"did not end within {DEADLINE:.0f} s:\n{self.printed('.err')[-3000:]}")
        return Done(self._process.exitcode or 0, self.printed(".out"), self.printed(".err"))

    def printed(self, ending: str) -> str:
        """What it has printed so far to `.out` or `.err`."""
        path = Path(self._printed + ending)
        return path.read_text(errors="replace") if path.exists() else ""


def spawn(target: Callable[..., object], *arguments: Any) -> Any:
    """A warm process that calls `target`, started."""
    _serve_forks()
    process = _forkserver.Process(target=target, args=arguments)
    process.start()
    return process


def pipe() -> tuple[Connection, Connection]:
    """Two ends to send and receive objects, one of them for a warm process."""
    return _forkserver.Pipe()


@contextmanager
def serving(folder: Path) -> Iterator[SandboxServer]:
    with SandboxServer(folder) as server:
        yield server


@dataclass
class Demo:
    """A home on which the whole graph was materialised once, with generated sources."""

    home: Home
    files: Path
    summary: Done
    after: dict[str, tuple[int, int]]
