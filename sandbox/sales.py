"""The sales' database, of any size, in SQLite or another system; further days change it.

What belongs here: writing the world into a database as fast as that takes it, and the sandbox's own file. What does
not: the world and its mess (`sandbox.sales_world`), what a further day does and the tables in a database's own types
(`sandbox.sales_day`), and any rule about which row counts.

The world ends on the evening of `LAST_DAY`; each day from then on is a `change`, be it part of what is written or
played afterwards: `write(until=d)` and `change(d + 1)` make what `write(until=d + 1)` makes.
"""

import os
import sqlite3
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import date, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from lake.errors import LakeError
from sandbox.sales_day import Changes, happen, indexes, schema
from sandbox.sales_world import GENERATOR, LAST_DAY, TABLES, World, generate

if TYPE_CHECKING:
    import duckdb
    from sqlalchemy import Connection, Engine

FILE = Path("sales") / "sales.db"  # below the sandbox's home
LINES, UNTIL = 20_000, date(2023, 3, 31)
BATCH_ROWS = 50_000
DUCKDB = {"memory_limit": "400MB", "threads": 2}
SQLITE_BULK = ("journal_mode = off", "synchronous = off", "locking_mode = exclusive", "cache_size = -65536")


def prepare(sandbox_home: Path) -> None:
    """Have the database below a sandbox's home."""
    write(sandbox_home / FILE)


def url(sandbox_home: Path) -> str:
    """SQLAlchemy's URL of the sandbox's database."""
    return f"sqlite:///{(sandbox_home / FILE).absolute()}"


def write(path: Path, *, lines: int = LINES, until: date = UNTIL) -> None:
    """Store the database as an SQLite file; one of the same arguments is left as it is, whatever changed in it since.

    The file is complete when it appears.

    Args:
        path: the file; its folder is made if it is missing.
        lines: invoice lines up to `LAST_DAY`; those of later days, and mess, come on top.
        until: the last day that has happened.

    Raises:
        LakeError: `until` is before `LAST_DAY`.
        ValueError: so few lines cannot hold the mess.
    """
    mark = zlib.crc32(f"{GENERATOR}/{lines}/{until}".encode()) & 0x7FFFFFFF
    days = _days(until)
    if path.exists() and _mark(path) == mark:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.unlink(missing_ok=True)
    try:
        _fill_sqlite(unfinished, World(lines), mark)
        for day in days:
            change(unfinished, day)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def create(target: "Engine | Connection", *, lines: int = LINES, until: date = UNTIL) -> None:
    """Make the tables in an empty schema of any database and fill them; PostgreSQL takes them by COPY.

    Args:
        target: an engine, whose transaction is committed, or a connection, whose transaction is the caller's.
        lines: see `write`.
        until: see `write`.

    Raises:
        LakeError: `until` is before `LAST_DAY`.
        ValueError: so few lines cannot hold the mess.
    """
    from sqlalchemy import text

    days = _days(until)
    with _connected(target) as connection:
        schema().create_all(connection)
        if connection.dialect.name == "postgresql":
            connection.execute(text("SET LOCAL TIME ZONE 'UTC'"))
            _generate(World(lines), _copy_to(connection))
        else:
            _generate(World(lines), _insert_into(connection))
        for statement in indexes():
            connection.execute(text(statement))
        for day in days:
            change(connection, day)


def change(target: "Path | Engine | Connection", day: date) -> Changes:
    """Let a further day happen: invoices, payments, corrected lines; customers change, and one closes.

    Args:
        target: the SQLite file, an engine, or a connection, whose transaction is the caller's.
        day: after all days that are there.

    Returns:
        What it did.

    Raises:
        LakeError: the day, or a later one, has happened.
    """
    from sqlalchemy import create_engine

    if isinstance(target, Path):
        engine = create_engine(f"sqlite:///{target.absolute()}")
        try:
            return change(engine, day)
        finally:
            engine.dispose()
    with _connected(target) as connection:
        return happen(connection, day)


def _days(until: date) -> list[date]:
    """The days that are changes."""
    if until < LAST_DAY:
        raise LakeError(f"sales: the world is made up to {LAST_DAY}; {until} is before that")
    return [LAST_DAY + timedelta(days=number) for number in range(1, (until - LAST_DAY).days + 1)]


@contextmanager
def _connected(target: "Engine | Connection") -> "Iterator[Connection]":
    from sqlalchemy import Connection

    if isinstance(target, Connection):
        yield target
    else:
        with target.begin() as connection:
            yield connection


# -- filling -----------------------------------------------------------------------------------------------------------


def _generate(world: World, sink: "Callable[[duckdb.DuckDBPyConnection, str, str], None]") -> None:
    import duckdb

    with TemporaryDirectory(prefix="lakegraph-sales-") as folder:
        config: dict[str, Any] = {**DUCKDB, "temp_directory": folder}
        with duckdb.connect(config=config) as connection:
            generate(world, connection, sink)


def _fill_sqlite(path: Path, world: World, mark: int) -> None:
    from sqlalchemy.dialects import sqlite
    from sqlalchemy.schema import CreateTable

    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        for pragma in SQLITE_BULK:
            database.execute(f"PRAGMA {pragma}")
        database.execute("BEGIN")
        for table in schema().sorted_tables:
            database.execute(str(CreateTable(table).compile(dialect=sqlite.dialect())))

        def sink(connection: "duckdb.DuckDBPyConnection", table: str, query: str) -> None:
            kinds = TABLES[table]
            values = ", ".join(_for_sqlite(column, kind) for column, kind in kinds.items())
            statement = f"INSERT INTO {table} VALUES ({', '.join('?' * len(kinds))})"  # noqa: S608 - ours
            connection.execute(f"SELECT {values} FROM ({query})")  # noqa: S608 - ours
            while rows := connection.fetchmany(BATCH_ROWS):
                database.executemany(statement, rows)

        _generate(world, sink)
        for statement in indexes():
            database.execute(statement)
        database.execute(f"PRAGMA application_id = {mark}")
        database.execute("COMMIT")


def _for_sqlite(column: str, kind: str) -> str:
    """A value as SQLAlchemy would bind it to SQLite: there, a decimal of 15 digits is a double, and times are text."""
    if kind == "timestamp":
        return f"strftime({column}, '%Y-%m-%d %H:%M:%S.%f')"
    if kind == "date":
        return f"CAST({column} AS VARCHAR)"
    if kind == "boolean":
        return f"CAST({column} AS INTEGER)"
    return f"CAST({column} AS DOUBLE)" if kind.startswith("decimal") else column


def _mark(path: Path) -> int | None:
    """What a file was made of; None: it is no database."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            return int(database.execute("PRAGMA application_id").fetchone()[0])
    except sqlite3.DatabaseError:
        return None


def _copy_to(connection: "Connection") -> "Callable[[duckdb.DuckDBPyConnection, str, str], None]":
    driver: Any = connection.connection.driver_connection

    def sink(source: "duckdb.DuckDBPyConnection", table: str, query: str) -> None:
        with TemporaryDirectory(prefix="lakegraph-sales-") as folder:
            rows = Path(folder, "rows.csv")
            source.execute(rf"COPY ({query}) TO '{rows}' (FORMAT csv, HEADER false, NULLSTR '\N')")
            with (
                rows.open("rb") as file,
                driver.cursor() as cursor,
                cursor.copy(rf"COPY {table} FROM STDIN (FORMAT csv, NULL '\N')") as copy,
            ):
                while part := file.read(1 << 20):
                    copy.write(part)

    return sink


def _insert_into(connection: "Connection") -> "Callable[[duckdb.DuckDBPyConnection, str, str], None]":
    def sink(source: "duckdb.DuckDBPyConnection", table: str, query: str) -> None:
        names = list(TABLES[table])
        source.execute(query)
        while rows := source.fetchmany(BATCH_ROWS):
            connection.execute(schema().tables[table].insert(), [dict(zip(names, row, strict=True)) for row in rows])

    return sink
