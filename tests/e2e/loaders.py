"""The shop's steps in processes of their own: loads at once, in any order, or killed on the way; silver and gold by dbt alone.

What belongs here: such a process, and what bronze holds. What does not: expectations, sources, and the command
(`homes`). The imports at the top are what a load needs: the fork server has them before it forks, so that a load's time
is the load's.
"""

import json
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import aiobotocore.session
import dlt
import duckdb
import lakes
import pyarrow.csv
import pyarrow.dataset
import pyarrow.parquet
import pyiceberg.catalog.sql
import pymongo
import s3fs
import tenacity
from homes import pipe, spawn
from pyiceberg.exceptions import NoSuchTableError

from lake.accounting import LoadAccount
from lake.load import Window, load
from lake.settings import Settings
from orchestration.assets.dbt import window_vars
from orchestration.partitions import hour_key, span_of_range
from orchestration.project import DBT_DIR
from orchestration.resources.dbt import environment, warehouse
from sandbox.shop_world import DAY

_PRELOADED = (aiobotocore.session, dlt, duckdb, pyarrow, pyiceberg.catalog.sql, pymongo, s3fs, tenacity)

TABLES = ("orders", "stock_movements", "customers", "products", "reviews")  # from MongoDB and S3 in turn
Row = frozenset[tuple[str, Any]]
Rows = Counter[Row]


def hours(first: int, last: int | None = None) -> list[str]:
    """The keys of some hours of the shop's day."""
    return [hour_key(DAY.replace(hour=hour)) for hour in range(first, (first if last is None else last) + 1)]


def window(keys: list[str]) -> Window:
    """What a run over these hours asks for."""
    span = span_of_range(keys)
    return Window(f"{keys[0]}...{keys[-1]}", span.since, span.end)


def load_hours(lake: Settings, table: str, keys: list[str]) -> LoadAccount:
    """One load as the graph's step makes it."""
    spec, source = lakes.declared(table, "shop")
    return load(spec, source, lake, window=window(keys), run_id=f"test {keys[-1]}").account


def transform_hours(lake: Settings, keys: list[str]) -> None:
    """Silver and gold after these hours: what dbt does in the graph's step, without its tests."""
    from dbt.cli.main import dbtRunner

    target = lake.dbt_target / "test"
    place = ["--project-dir", str(DBT_DIR), "--profiles-dir", str(DBT_DIR), "--log-path", str(target)]
    place += ["--quiet", "--target-path", str(target)]
    os.environ.update(environment(lake, "test"))
    models = ["path:models/silver/shop", "path:models/gold/shop"]
    with warehouse(lake):
        runner = dbtRunner(_manifest(tuple(place)))
        done = runner.invoke(["run", *place, "--select", *models, "--vars", json.dumps(window_vars(keys))])
    assert done.success, done.exception or [result.message for result in done.result]


_parsed: list[Any] = []


def _manifest(place: Sequence[str]) -> Any:
    """The project, which a process parses once."""
    from dbt.cli.main import dbtRunner

    if not _parsed:
        _parsed.append(dbtRunner().invoke(["parse", *place]).result)
    return _parsed[0]


# -- processes -----------------------------------------------------------------------------------------------------


def _serve(jobs: Any) -> None:
    jobs.send("ready")
    while job := jobs.recv():
        do, *given = job
        try:
            jobs.send(do(*given))
        except Exception as error:  # noqa: BLE001 - told to the test, which fails
            jobs.send(error)


class Worker:
    """A process that does what it is told, one thing at a time."""

    def __init__(self) -> None:
        self._jobs, theirs = pipe()
        self.process = spawn(_serve, theirs)
        theirs.close()
        assert self._jobs.recv() == "ready"

    def begin(self, do: Callable[..., Any], *given: Any) -> None:
        self._jobs.send((do, *given))

    def ends_within(self, seconds: float) -> bool:
        """Waits for the end of what was begun, but no longer."""
        return bool(self._jobs.poll(seconds))

    def end(self) -> Any:
        """What it returns; raises what it raised."""
        if isinstance(answer := self._jobs.recv(), Exception):
            raise answer
        return answer

    def do(self, do: Callable[..., Any], *given: Any) -> Any:
        self.begin(do, *given)
        return self.end()

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.process.kill()
        self._gone()

    def dismiss(self) -> None:
        """Let it end."""
        self._jobs.send(None)
        self._gone()

    def _gone(self) -> None:
        self.process.join(30)
        assert not self.process.is_alive()
        self._jobs.close()


@contextmanager
def workers(count: int) -> Iterator[list[Worker]]:
    running = [Worker() for _ in range(count)]
    try:
        yield running
    finally:
        for worker in running:
            worker.dismiss()


# -- bronze --------------------------------------------------------------------------------------------------------


def as_dicts(lake: Settings, name: str) -> list[dict[str, Any]]:
    """The rows of a table of bronze; none if there is no table."""
    try:
        rows: list[dict[str, Any]] = lakes.rows(lake, f"shop_{name}").to_pylist()
    except NoSuchTableError:
        return []
    return rows


def as_row(row: Mapping[str, Any], *, without: Collection[str] = ()) -> Row:
    """A row to be compared: what it has, by column. A column that joins the table later makes no other row of it."""
    return frozenset((name, value) for name, value in row.items() if value is not None and name not in without)


def bronze(lake: Settings, table: str) -> Rows:
    """How often each row is there."""
    return Counter(map(as_row, as_dicts(lake, table)))


def rejected(lake: Settings, table: str) -> Rows:
    """The same of the rows that were rejected, whichever load they came with."""
    rows = as_dicts(lake, f"{table}__rejected")
    return Counter(as_row(row, without=("run_id", "row_ordinal")) for row in rows)
