"""DuckDB connections: one place that knows about its lock, its memory limit and its time zone.

What belongs here: connecting, and keeping others out for longer than a connection. What does not: SQL of any
table.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lake.errors import LakeError, TransientError

if TYPE_CHECKING:
    import duckdb

LOCK_WAIT_SECONDS = 60.0


def quote(name: str) -> str:
    """`name` as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """`text` as an SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def _is_locked(error: BaseException) -> bool:
    return type(error).__name__ == "IOException" and "Could not set lock" in str(error)


@contextmanager
def exclusive(path: Path, on_wait: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Keep out, until exit, every other process that asks for the same; waits as long as it takes, after `on_wait`.

    DuckDB's own lock is not enough for work that opens the file at `path` several times: dbt closes it between
    models, and a process that came in there would see, or publish, half a run. The lock is a file's, so the
    system releases it when its holder dies. It must not be taken twice by the same process.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


@contextmanager
def connect(
    path: Path, *, read_only: bool = False, memory_limit: str = "750MB", wait_seconds: float = LOCK_WAIT_SECONDS
) -> Iterator["duckdb.DuckDBPyConnection"]:
    """A connection to the file at `path`, closed on exit.

    DuckDB locks a file for the one process that writes it, so another waits here, up to `wait_seconds`.

    Raises:
        TransientError: the lock was not released in time.
        LakeError: a file to be read does not exist.
    """
    import duckdb
    from tenacity import retry, retry_if_exception, stop_after_delay, wait_random_exponential

    if read_only and not path.exists():
        raise LakeError(
            f"{path} does not exist yet: materialize something first (`lakegraph materialize --select ...`)"
        )
    path.parent.mkdir(parents=True, exist_ok=True)

    @retry(
        retry=retry_if_exception(_is_locked),
        stop=stop_after_delay(wait_seconds),
        wait=wait_random_exponential(0.05, max=1),
        reraise=True,
    )
    def attempt() -> "duckdb.DuckDBPyConnection":
        return duckdb.connect(str(path), read_only=read_only, config={"memory_limit": memory_limit})

    try:
        connection = attempt()
    except duckdb.IOException as error:
        if _is_locked(error):
            raise TransientError(f"{path} is locked by another process: {str(error).splitlines()[0]}") from error
        raise
    try:
        connection.execute("SET TimeZone = 'UTC'")
        yield connection
    finally:
        connection.close()
