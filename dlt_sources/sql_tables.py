"""Changed rows of a table in any relational database that SQLAlchemy knows, read by dlt's `sql_database` in chunks.

What belongs here: connecting without being able to write, the query for a window of changes, and what is wrong at the
source. What does not: any table by name, and what its rows mean.

A load asks for what changed in its window, both ends of which are fixed beforehand, so that a repeat asks for the same;
besides, for rows that no window would bring: without a time of change, or one in the future. Those are rejected until
the source mends them. The rows are read in one transaction, of one consistent state where the database has such; the
table is looked at before, in others:

| dialect | transaction | statements end after | values come as |
|---|---|---|---|
| PostgreSQL | repeatable read, read only | the timeout (each fetch counts by itself) | text |
| SQLite | read only, the file too | never: a file, only its lock is waited for | text |
| Oracle | read only | the timeout | the driver's types |
| others | as the database has it | never | the driver's types |

As text: the database writes it, DuckDB reads it, and Python sees text alone. A DECIMAL stays exact, and a value that
Python has no object for (`infinity`; text in a column of numbers, which SQLite allows) ends in quarantine with its row,
not with the load.
"""

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote as percent_encoded

from dlt_sources.rejects import with_rejected
from dlt_sources.retries import retried
from lake.duck import literal, quote
from lake.errors import LakeError, TransientError
from lake.load import Changes, LoadRequest, SourceReport, Window
from lake.quarantine import Origin, split
from lake.spec import TableSpec

if TYPE_CHECKING:
    import pyarrow as pa
    from dlt.extract import DltSource
    from sqlalchemy import URL, ColumnElement, Engine, Select, Table

CHUNK_ROWS = 50_000
AHEAD = timedelta(days=1)  # what claims to change later than this is wrong, and no clock's drift
DUPLICATES = 10_000  # keys that occur twice; with more, the declared key is none
AS_TEXT = frozenset({"postgresql", "sqlite"})
DENIED = ("password", "authentication", "ORA-01017", "ORA-28000", "Access denied", "role ", "permission denied")
CANCELLED = ("statement timeout", "ORA-03136", "DPY-4024", "call timeout")
DRIVERS = {"postgresql": "postgres", "oracle": "oracle"}  # dialect → extra of this project


@dataclass(frozen=True)
class Database:
    """Where tables are, and how long to wait for them.

    Attributes:
        address: SQLAlchemy URL; may hold a password, so it is shown nowhere.
        schema: that the tables are in; None: the user's own.
        connect_seconds: to connect, or to wait for a lock.
        statement_seconds: how long a statement may run; see above which database keeps to it.
        attempts: to connect.
        statement_setting: the setting that `statement_seconds` is from, for messages.
    """

    address: str
    schema: str | None
    connect_seconds: float
    statement_seconds: float
    attempts: int
    statement_setting: str = "statement_seconds"

    def __repr__(self) -> str:
        return f"Database({self.place})"

    @property
    def url(self) -> "URL":
        """The address, taken apart.

        Raises:
            LakeError: it is none.
        """
        from sqlalchemy import make_url
        from sqlalchemy.exc import ArgumentError

        try:
            return make_url(self.address)
        except (ArgumentError, ValueError):
            raise LakeError(
                "the database's address is not an SQLAlchemy URL like postgresql://user:password@host:5432/name "
                "(user and password percent-encoded)"
            ) from None

    @property
    def place(self) -> str:
        """Dialect, host and name: nothing secret."""
        url = self.url
        if url.get_backend_name() == "sqlite":
            return f"sqlite:///{url.database or ''}"
        host = f"{url.host}:{url.port}" if url.host and url.port else url.host or ""
        return f"{url.get_backend_name()}:{'//' + host + '/' if host else ''}{url.database or ''}"


def changed_rows(
    request: LoadRequest,
    report: SourceReport,
    *,
    database: Database,
    table: str,
    changed: str = "updated_at",
    chunk_rows: int = CHUNK_ROWS,
) -> "DltSource":
    """The rows that changed in the request's window (of a refresh: all), and those that no window would bring.

    Rows that share a key (`spec.key`) with another are rejected, whichever load asks for them: which one counts is for
    the source to say, and to tell by a new time of change. Where the database itself keeps the key unique that is not
    asked.

    Args:
        request: the table and its window.
        report: filled in with the table, the rows read, the newest change and new columns.
        database: where the table is.
        table: its name, or a view's.
        changed: column of the time of a row's last change.
        chunk_rows: rows a chunk.

    Returns:
        A source with the resources `request.spec.table` and `request.spec.rejected_table`.

    Raises:
        LakeError: the load has no window.
    """
    import dlt

    spec, window = request.spec, request.window
    if window is None:
        raise LakeError(f"{spec.identifier}: changed rows are loaded by a window of time")
    name = f"sql:{database.schema}.{table}" if database.schema else f"sql:{table}"  # the same after a move of the host

    @dlt.resource(name=spec.table, file_format="parquet")
    def rows() -> Iterator[Any]:
        report.source_object = name
        future = datetime.now(UTC) + AHEAD
        with _reader(database, name) as reader:
            found = retried(database.attempts, partial(reader.look, table, spec, changed, future))
            report.changes = Changes(changed, found.newest, found.clock)
            for chunk in reader.read(found, window, future, chunk_rows):
                origin = _origin(chunk, spec, changed, found, future, report.rows_read)
                good, rejected = split(chunk, spec, source_object=name, run_id=request.run_id, origin=origin)
                report.rows_read += chunk.num_rows
                known = {*spec.columns, spec.partition_column, *request.known_columns}
                report.new_columns = tuple(column for column in good.column_names if column not in known)
                yield good
                yield from with_rejected(spec.rejected_table, [rejected])

    @dlt.source(name="sql_database", max_table_nesting=0)
    def sql_database() -> Any:
        return rows

    return sql_database()


# -- reading -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Found:
    """What a table is like before its rows are read.

    Attributes:
        table: as the database describes it.
        changed: the column of the time of change.
        newest: its greatest value, in UTC without a zone, future ones aside; None: it has none.
        clock: what time it is there, likewise; None: it does not tell in UTC.
        duplicates: keys that several rows have, as text, by column of the key.
    """

    table: "Table"
    changed: "ColumnElement[Any]"
    newest: datetime | None
    clock: datetime | None
    duplicates: Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class _Reader:
    """A connection's worth of questions to one table; what goes wrong says so in one line."""

    database: Database
    engine: "Engine"
    name: str

    def look(self, table: str, spec: TableSpec, changed: str, future: datetime) -> _Found:
        """Describe the table; see `_Found`.

        Raises:
            TransientError: the database is away.
            LakeError: there is no such table, it lacks a declared column, or the time of change is none.
        """
        with _errors(self.database, self.name):
            return self._look(table, spec, changed, future)

    def _look(self, table: str, spec: TableSpec, changed: str, future: datetime) -> _Found:
        from sqlalchemy import DateTime, MetaData, Table, func, select
        from sqlalchemy.exc import NoSuchTableError

        try:
            with self.engine.connect() as connection:
                found = Table(table, MetaData(), schema=self.database.schema, autoload_with=connection)
        except NoSuchTableError:
            raise LakeError(f"{self.name}: there is no such table or view in {self.database.place}") from None
        columns = {column.name.lower(): column for column in found.columns}
        for name, column in spec.columns.items():
            if (column.source or name).lower() not in columns:
                raise LakeError(
                    f"{self.name}: column {column.source or name} of {spec.identifier} is gone at the source; found "
                    f"{', '.join(c.name for c in found.columns)}. Restore it, or take it out of the declaration"
                )
        moment = columns[(spec.columns[changed].source or changed).lower()]
        if not isinstance(moment.type, DateTime):
            raise LakeError(
                f"{self.name}: column {moment.name} is {moment.type} at the source, not a timestamp: what changed "
                "cannot be asked for"
            )
        with self.engine.connect() as connection:
            newest = connection.scalar(select(self._text(func.max(moment))).where(moment < _bound(moment, future)))
            tells = self.engine.dialect.name in _DIALECTS  # whose sessions go by UTC
            clock = connection.scalar(select(self._text(func.current_timestamp()))) if tells else None
        duplicates = self._duplicates(found, [columns[key] for key in spec.key])
        return _Found(found, moment, _utc(newest), _utc(clock), duplicates)

    def _duplicates(self, table: "Table", key: Sequence[Any]) -> Mapping[str, Sequence[str]]:
        """The values that occur twice of a key that nobody keeps unique."""
        from sqlalchemy import func, select

        names = {column.name for column in key}
        kept = [{column.name for column in table.primary_key}]
        kept += [{column.name for column in index.columns} for index in table.indexes if index.unique]
        if not key or any(columns and columns <= names for columns in kept):
            return {}
        query = select(*(self._text(column).label(column.name) for column in key)).group_by(*key)
        with self.engine.connect() as connection:
            rows = connection.execute(query.having(func.count() > 1).limit(DUPLICATES + 1)).all()
        if len(rows) > DUPLICATES:
            raise LakeError(
                f"{self.name}: more than {DUPLICATES:,} values of {', '.join(sorted(names))} occur twice: "
                "it is no key of the table"
            )
        return {column.name: [str(row[i]) for row in rows] for i, column in enumerate(key)} if rows else {}

    def read(self, found: _Found, window: Window, future: datetime, chunk_rows: int) -> Iterator["pa.Table"]:
        """The rows of the window, and those that none would bring, by dlt's loader, in chunks."""
        from dlt.sources.sql_database import TableLoader
        from dlt.sources.sql_database.schema_types import table_to_columns
        from sqlalchemy import select

        columns: Any = table_to_columns(found.table, "full_with_precision")
        wanted: list[Any] = list(found.table.columns)
        if self.engine.dialect.name in AS_TEXT:
            columns = {column.name: {"name": column.name, "data_type": "text"} for column in found.table.columns}
            wanted = [self._text(column).label(column.name) for column in found.table.columns]

        def query(_query: Any, _table: Any) -> "Select[Any]":
            return select(*wanted).where(within(found.changed, window, future))

        loader = TableLoader(
            self.engine, "pyarrow", found.table, columns, chunk_size=chunk_rows, query_adapter_callback=query
        )
        yield from loader.load_rows()

    def _text(self, value: Any) -> Any:
        """`value` as the database writes it, where that is what is read."""
        from sqlalchemy import Text, cast

        return cast(value, Text) if self.engine.dialect.name in AS_TEXT else value


def within(changed: Any, window: Window, future: datetime) -> "ColumnElement[bool]":
    """The condition for what a load asks for: `changed` lies in the window, or no window would ever hold it."""
    from sqlalchemy import and_, or_

    inside = changed < _bound(changed, window.end)
    if window.since:
        inside = and_(changed >= _bound(changed, window.since), inside)
    return or_(inside, changed >= _bound(changed, future), changed.is_(None))


def _bound(changed: Any, moment: datetime) -> datetime:
    """`moment` for a comparison with `changed`: a column without a zone holds UTC."""
    return moment if getattr(changed.type, "timezone", False) else moment.replace(tzinfo=None)


def _utc(moment: Any) -> datetime | None:
    """A time as the database gave it, in UTC without a zone; None for none, and for what is no time."""
    if isinstance(moment, str):
        try:
            moment = datetime.fromisoformat(moment)
        except ValueError:
            return None
    if not isinstance(moment, datetime):
        return None
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


def _origin(chunk: "pa.Table", spec: TableSpec, changed: str, found: _Found, future: datetime, before: int) -> Origin:
    """What is wrong with rows beside their columns: a key that others have, a change in the future."""
    import duckdb
    import pyarrow as pa

    count = chunk.num_rows
    ordinals = pa.array(range(before + 1, before + 1 + count), pa.int64())
    moment = f"TRY_CAST(CAST({quote(found.changed.name)} AS VARCHAR) AS TIMESTAMPTZ)"
    late = literal(future.isoformat())
    cases = [f"WHEN {moment} >= TIMESTAMPTZ {late} THEN {literal('future_' + changed)}"]
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("chunk", chunk)
        if found.duplicates:
            connection.register("duplicates", pa.table(dict(found.duplicates)))
            keys = [(quote(key), f"CAST(chunk.{quote(key)} AS VARCHAR)") for key in found.duplicates]
            same = " AND ".join(f"duplicates.{key} = {value}" for key, value in keys)
            reason = literal("duplicate_" + "_".join(spec.key))
            cases.insert(0, f"WHEN EXISTS (SELECT 1 FROM duplicates WHERE {same}) THEN {reason}")  # noqa: S608
        reasons = connection.sql(f"SELECT CASE {' '.join(cases)} END AS reason FROM chunk").to_arrow_table()  # noqa: S608
    return Origin(ordinals=ordinals, reasons=reasons.column("reason").combine_chunks(), day_of=changed)


# -- connecting --------------------------------------------------------------------------------------------------------


@contextmanager
def _reader(database: Database, name: str) -> Iterator[_Reader]:
    with _errors(database, name):
        engine = _engine(database)
        try:
            yield _Reader(database, engine, name)
        finally:
            engine.dispose()


def _engine(database: Database) -> "Engine":
    """An engine whose connections cannot write; nothing is connected yet.

    Raises:
        LakeError: the dialect is unknown, or its driver is not installed.
    """
    from sqlalchemy import create_engine
    from sqlalchemy.exc import NoSuchModuleError

    url = database.url
    dialect = url.get_backend_name()
    try:
        return _DIALECTS[dialect](url, database) if dialect in _DIALECTS else create_engine(url)
    except NoSuchModuleError:
        raise LakeError(f"{database.place}: SQLAlchemy knows no dialect {url.drivername}") from None
    except ModuleNotFoundError as error:
        extra = f"; install lakegraph[{DRIVERS[dialect]}]" if dialect in DRIVERS else ""
        raise LakeError(f"{database.place}: the driver {error.name} is not installed{extra}") from None


def _postgresql(url: "URL", database: Database) -> "Engine":
    from sqlalchemy import create_engine

    session = {
        "statement_timeout": f"{round(database.statement_seconds * 1000)}",
        "lock_timeout": f"{round(database.connect_seconds * 1000)}",
        "timezone": "UTC",
        "datestyle": "ISO",
    }
    options = " ".join([str(url.query.get("options", "")), *(f"-c {name}={value}" for name, value in session.items())])
    engine = create_engine(
        url.difference_update_query(["options"]),
        connect_args={"options": options.strip(), "connect_timeout": max(1, round(database.connect_seconds))},
    )
    return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True, stream_results=True)


def _sqlite(url: "URL", database: Database) -> "Engine":
    from sqlalchemy import create_engine

    path = url.database or ""

    def connect() -> sqlite3.Connection:
        if not Path(path).exists():  # which time does not heal
            raise LakeError(f"{database.place}: there is no such file")
        uri = f"file:{percent_encoded(path)}?mode=ro"  # a missing file is an error, and not a new database
        return sqlite3.connect(uri, uri=True, timeout=database.connect_seconds, check_same_thread=False)

    return create_engine("sqlite://", creator=connect)


def _oracle(url: "URL", database: Database) -> "Engine":
    from sqlalchemy import create_engine, event

    engine = create_engine(url, connect_args={"tcp_connect_timeout": database.connect_seconds})

    @event.listens_for(engine, "connect")
    def limited(connection: Any, _record: Any) -> None:
        connection.call_timeout = round(database.statement_seconds * 1000)
        with connection.cursor() as cursor:
            cursor.execute("ALTER SESSION SET TIME_ZONE = '+00:00'")

    @event.listens_for(engine, "begin")
    def read_only(connection: Any) -> None:
        connection.exec_driver_sql("SET TRANSACTION READ ONLY")

    return engine


_DIALECTS: Mapping[str, Callable[["URL", Database], "Engine"]] = {
    "postgresql": _postgresql,
    "sqlite": _sqlite,
    "oracle": _oracle,
}


def answer(database: Database) -> None:
    """Connect once, and read nothing.

    Raises:
        LakeError: the database does not answer, or lets nobody in; TransientError if that may pass.
    """
    from sqlalchemy import literal_column, select

    with _errors(database):
        engine = _engine(database)
        try:
            with engine.connect() as connection:
                connection.execute(select(literal_column("1")))
        finally:
            engine.dispose()


@contextmanager
def _errors(database: Database, name: str = "") -> Iterator[None]:
    """SQLAlchemy's errors as ours: what may pass by itself is transient, and nothing secret is repeated.

    With a `name`, of what was to be loaded.
    """
    from sqlalchemy.exc import DBAPIError, SQLAlchemyError

    try:
        yield
    except DBAPIError as error:
        text = _sentence(error, database)
        place = f"{name} in {database.place}" if name else database.place
        so = "; nothing was loaded" if name else ""
        if any(word in text for word in CANCELLED):
            raise LakeError(
                f"{place}: {text}; a statement may take {database.statement_seconds:g} s: raise "
                f"{database.statement_setting}, or index the column of changes"
            ) from None
        if any(word in text for word in DENIED):
            raise LakeError(f"{place}: access denied ({text}); check user, password and rights") from None
        if type(error).__name__ in {"OperationalError", "InterfaceError", "InternalError"}:
            raise TransientError(f"{place}: {text}{so}") from None
        raise LakeError(f"{place}: {text}{so}") from None
    except SQLAlchemyError as error:
        raise LakeError(
            f"{name or 'connecting'} in {database.place}: {type(error).__name__}: {_sentence(error, database)}"
        ) from None


def _sentence(error: Any, database: Database) -> str:
    """The driver's words on one line, without what the address keeps secret."""
    text = " ".join(str(getattr(error, "orig", None) or error).split())
    if password := database.url.password:
        text = text.replace(str(password), "***")
    return text[:300] or type(error).__name__
