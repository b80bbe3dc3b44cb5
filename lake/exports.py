"""Exports: gold as Parquet snapshots in the object store, for engines that read files.

What belongs here: writing a snapshot whole, the manifest that names the current one, other shapes of a table, and
what may be removed. What does not: where files lie (`lake.folders`), which tables are exported (dbt's `meta` says so,
and `orchestration` reads it), and who reads them.

`exports/<table>/snapshot=<id>/part-*.parquet` is written, its rows are counted out of the files' own footers, and only
then does `exports/<table>/manifest.json` name it: who follows the manifest never meets half a table. An export of what
has not changed writes nothing. Of two at once, the one that comes second reads again what there is to export, so that
the current snapshot is never older than one before it. A snapshot stays for as long as it is current and some days
after it was replaced, for a reader may still be at it; what a dead run has left goes after a day.
"""

import hashlib
import json
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Protocol

from typing_extensions import override

from lake.duck import connect, literal, quote
from lake.errors import LakeError, TransientError
from lake.folders import Folder, GcsFolder, LocalFolder
from lake.settings import Settings, Target

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

MANIFEST = "manifest.json"
FILE = "part-000000000000.parquet"  # as BigQuery names the first of several
STAMP = "%Y%m%dT%H%M%S"
LEFT_BEHIND = timedelta(days=1)  # longer than an export takes
ATTEMPTS = 4  # of an export, if each time another is faster
TOO_WIDE = ("HUGEINT", "UHUGEINT")  # whole numbers of 128 bits, as `sum` makes them, would become doubles in Parquet


@dataclass(frozen=True)
class Shape:
    """Another shape of an exported table, for a consumer who needs it.

    Attributes:
        name: of the table that it gives.
        source: the exported table it is made of, by which `sql` calls it.
        sql: one SELECT, DuckDB's.
        description: what it is for.
    """

    name: str
    source: str
    sql: str
    description: str = ""


@dataclass(frozen=True)
class Replaced:
    """A snapshot that was current until `at` (ISO, UTC)."""

    snapshot: str
    at: str


@dataclass(frozen=True)
class Manifest:
    """What `manifest.json` says of a table.

    Attributes:
        table: its name.
        snapshot: id of the current snapshot, which begins with the time of its making.
        location: URI of the folder of its files, ends in `/`; it is not stored, for the exports may be moved.
        content: of what it was made: equal for equal contents.
        rows: in all files.
        size_bytes: of all files.
        columns: name → SQL type.
        replaced: earlier snapshots that are still there.
    """

    table: str
    snapshot: str
    location: str
    content: str
    rows: int
    size_bytes: int
    columns: Mapping[str, str]
    replaced: tuple[Replaced, ...] = ()

    @staticmethod
    def parse(text: bytes, exports: str) -> "Manifest":
        """The manifest that `dump` wrote; `exports` is the URI of the folder of all exports."""
        said = json.loads(text)
        location = f"{exports}/{_prefix(said['table'], said['snapshot'])}"
        replaced = tuple(Replaced(**one) for one in said["replaced"])
        return Manifest(**{**said, "location": location, "replaced": replaced})

    def dump(self) -> bytes:
        """As JSON."""
        return json.dumps({key: value for key, value in asdict(self).items() if key != "location"}, indent=1).encode()

    @property
    def folder(self) -> str:
        """Of the files, below the folder of all exports."""
        return _prefix(self.table, self.snapshot)

    @property
    def snapshots(self) -> set[str]:
        """All that it names: the current one and those before it."""
        return {self.snapshot, *(one.snapshot for one in self.replaced)}


def _prefix(table: str, snapshot: str) -> str:
    return f"{table}/snapshot={snapshot}/"


@dataclass(frozen=True)
class Exported:
    """The table's manifest, and whether this export has made its snapshot."""

    manifest: Manifest
    is_new: bool


class _Source(Protocol):
    """What a snapshot is made of."""

    @property
    def content(self) -> str:
        """Equal for equal contents."""

    def write(self, folder: Folder, prefix: str) -> None:
        """Write the files below `prefix`."""


def exports_folder(settings: Settings) -> Folder:
    """Where the exports of the target lie."""
    return _FOLDERS[settings.target](settings)


_FOLDERS: Mapping[Target, Callable[[Settings], Folder]] = {
    "local": lambda settings: LocalFolder(settings.exports),
    "gcp": lambda settings: GcsFolder(settings.gcp(), "exports"),
}


def current(settings: Settings, table: str) -> Manifest | None:
    """The manifest of a table; None if it was never exported."""
    folder = exports_folder(settings)
    text = folder.read(f"{table}/{MANIFEST}")
    return None if text is None else Manifest.parse(text, folder.uri)


def export(settings: Settings, table: str, run_id: str = "") -> Exported:
    """Export `gold.<table>` as it is: on the embedded target of the published copy, on `gcp` of BigQuery's table.

    Raises:
        LakeError: the table is not there, or cannot be written; the exports are as before.
    """
    return _export(settings, table, lambda: _SOURCES[settings.target](settings, table, run_id))


def reshape(settings: Settings, shape: Shape) -> Exported:
    """Export another shape of the current snapshot of its source.

    Raises:
        LakeError: the source was never exported or lacks files, or the SQL does not fit it; the exports are as before.
    """

    def shaped() -> _Source:
        source = current(settings, shape.source)
        if source is None:
            raise LakeError(f"{shape.name}: {shape.source} was not exported yet; export it first")
        if not _is_whole(exports_folder(settings), source):
            raise LakeError(f"{shape.name}: {shape.source} lacks files in {source.location}; export it again")
        return _Shaped(settings, shape, source)

    return _export(settings, shape.name, shaped)


def expire(settings: Settings, table: str, keep_days: int, *, now: datetime | None = None) -> list[str]:
    """Remove the snapshots of a table that were replaced more than `keep_days` ago, and what dead runs have left.

    Returns:
        Ids of what went; the current one never does.
    """
    folder, now = exports_folder(settings), now or datetime.now(UTC)
    replaced_before, made_before = now - timedelta(days=keep_days), f"{now - LEFT_BEHIND:{STAMP}}"
    gone: list[str] = []

    def without_old(text: bytes | None) -> bytes | None:
        """A snapshot is not named any more before its files go."""
        gone.clear()
        if text is None:
            return None
        manifest = Manifest.parse(text, folder.uri)
        old = {one.snapshot for one in manifest.replaced if datetime.fromisoformat(one.at) < replaced_before}
        old -= {manifest.snapshot}
        left = {one for one in _snapshots(folder, table) - manifest.snapshots if one < made_before}
        gone.extend(sorted(old | left))
        kept = tuple(one for one in manifest.replaced if one.snapshot not in old)
        return None if kept == manifest.replaced else replace(manifest, replaced=kept).dump()

    folder.update(f"{table}/{MANIFEST}", without_old)
    for snapshot in gone:
        folder.remove(_prefix(table, snapshot))
    return gone


def _snapshots(folder: Folder, table: str) -> set[str]:
    """Those that are there, whole or not."""
    return {name.removeprefix("snapshot=") for name in folder.folders(table) if name.startswith("snapshot=")}


def _export(settings: Settings, table: str, read: Callable[[], _Source]) -> Exported:
    folder = exports_folder(settings)
    for _ in range(ATTEMPTS):
        before = current(settings, table)  # before the source is read, so that the source is the newer of the two
        source = read()
        content = source.content
        if before and before.content == content and _is_whole(folder, before):
            return Exported(before, is_new=False)
        made = _written(folder, table, source, content)
        named = _name(folder, made, before)
        if named is not None:
            return Exported(named, is_new=named.snapshot == made.snapshot)
        folder.remove(made.folder)
    raise TransientError(f"{table}: each time, another export of it was faster; {ATTEMPTS} attempts")


def _written(folder: Folder, table: str, source: _Source, content: str) -> Manifest:
    """A snapshot, whole, that nothing names yet."""
    snapshot = f"{datetime.now(UTC):{STAMP}}-{uuid.uuid4().hex[:6]}"
    prefix = _prefix(table, snapshot)
    try:
        source.write(folder, prefix)
        rows, columns = _footers(folder, prefix)
        size = sum(folder.sizes(prefix).values())
    except BaseException:
        with suppress(LakeError):  # what stays goes after a day
            folder.remove(prefix)
        raise
    return Manifest(table, snapshot, f"{folder.uri}/{prefix}", content, rows, size, columns)


def _name(folder: Folder, made: Manifest, before: Manifest | None) -> Manifest | None:
    """Make a snapshot the current one in the place of `before`.

    Returns:
        The manifest; None if another export has taken the place, whose source may have been read later.
    """

    def named(text: bytes | None) -> bytes | None:
        last = None if text is None else Manifest.parse(text, folder.uri)
        if last and made.snapshot in last.snapshots:
            return text  # asked again: it was written, and the answer lost
        if (last and last.snapshot) != (before and before.snapshot):
            return None
        replaced = (*last.replaced, Replaced(last.snapshot, datetime.now(UTC).isoformat())) if last else ()
        return replace(made, replaced=replaced).dump()

    text = folder.update(f"{made.table}/{MANIFEST}", named)
    return None if text is None else Manifest.parse(text, folder.uri)


def _is_whole(folder: Folder, manifest: Manifest) -> bool:
    """Whether the snapshot's files are still there."""
    return sum(folder.sizes(manifest.folder).values()) == manifest.size_bytes


def _footers(folder: Folder, prefix: str) -> tuple[int, dict[str, str]]:
    """Rows, and columns with their types, as the files themselves say.

    Raises:
        LakeError: there is no file, or two differ in their columns.
    """
    import pyarrow.parquet as pq

    rows, columns = 0, dict[str, str]()
    for name in sorted(folder.sizes(prefix)):
        with folder.open(name) as file:
            footer = pq.ParquetFile(file)
            rows += footer.metadata.num_rows
            found = {field.name: sql_type(field.type) for field in footer.schema_arrow}
        if columns not in ({}, found):
            raise LakeError(f"{folder.uri}/{name}: other columns than the files before it: {found}, not {columns}")
        columns = found
    if not columns:
        raise LakeError(f"{folder.uri}/{prefix}: the export has written no file")
    return rows, columns


def sql_type(kind: "pa.DataType") -> str:
    """The SQL type of a column of a Parquet file.

    Raises:
        LakeError: no reader of the exports has one for it.
    """
    import pyarrow.types as pt

    if pt.is_decimal(kind):
        return f"decimal({kind.precision}, {kind.scale})"
    tests = (
        (pt.is_boolean, "boolean"),
        (pt.is_int64, "bigint"),
        (pt.is_integer, "integer"),
        (pt.is_floating, "double"),
        (pt.is_date, "date"),
        (pt.is_timestamp, "timestamp"),
        (lambda k: pt.is_string(k) or pt.is_large_string(k), "string"),
    )
    for test, name in tests:
        if test(kind):
            return name
    raise LakeError(f"{kind}: no type for it in exports")


# -- what a snapshot is made of ----------------------------------------------------------------------------------------


def _copy(connection: "duckdb.DuckDBPyConnection", query: str, folder: Folder, name: str) -> None:
    columns = connection.execute(f"DESCRIBE SELECT * FROM ({query})").fetchall()  # noqa: S608 - the project's own
    for column, kind, *_ in columns:
        if kind in TOO_WIDE:
            table = name.partition("/")[0]
            raise LakeError(f"{table}: {column} is {kind}, which no column of Parquet is: cast it to BIGINT or DECIMAL")
    with TemporaryDirectory(prefix="lakegraph-export-") as scratch:
        file = Path(scratch) / FILE
        connection.execute(f"COPY ({query}) TO {literal(str(file))} (FORMAT parquet, COMPRESSION zstd)")
        folder.put(file, name)


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


class _Duckdb(_Source):
    """A table of the published copy."""

    def __init__(self, settings: Settings, table: str, _run_id: str) -> None:
        self._settings, self._table, self._name = settings, table, f"gold.{quote(table)}"

    @property
    @override
    def content(self) -> str:
        """Columns, number of rows, and a hash of the rows that does not depend on their order."""
        import duckdb

        with self._published() as connection:
            try:
                columns = connection.execute(f"DESCRIBE {self._name}").fetchall()
            except duckdb.CatalogException as error:
                raise LakeError(f"gold.{self._table} is not published: materialize it first") from error
            listed = ", ".join(quote(column[0]) for column in columns)
            rows = f"SELECT count(*), coalesce(sum(hash({listed})::HUGEINT), 0) FROM {self._name}"  # noqa: S608
            counted = connection.execute(rows).fetchall()[0]
        return _digest([column[:2] for column in columns], counted)

    @override
    def write(self, folder: Folder, prefix: str) -> None:
        with self._published() as connection:
            _copy(connection, f"SELECT * FROM {self._name} ORDER BY ALL", folder, prefix + FILE)  # noqa: S608

    def _published(self) -> Any:
        limit = self._settings.duckdb_memory_limit
        return connect(self._settings.published_path, read_only=True, memory_limit=limit)


class _Bigquery(_Source):
    """A table of BigQuery, which an extract job writes; that is not billed, but the query for its content is."""

    def __init__(self, settings: Settings, table: str, run_id: str) -> None:
        from lake.gcp import bigquery_client, job_labels

        self._table, self._labels = table, job_labels(f"exports/{table}", run_id)
        self._maximum_bytes = settings.gcp_maximum_bytes_billed
        self._client = bigquery_client(settings.gcp())
        self._id = f"{settings.gcp().project}.gold.{table}"

    @property
    @override
    def content(self) -> str:
        """Columns, number of rows, and a hash of the rows that does not depend on their order.

        dbt makes the table anew each time, so when it last changed says nothing.
        """
        from google.api_core.exceptions import NotFound

        from lake.gcp import clear_errors, query_config

        hashed = "SUM(CAST(FARM_FINGERPRINT(TO_JSON_STRING(whole_row)) AS NUMERIC))"  # an INT64 would overflow
        rows = f"SELECT COUNT(*), {hashed} FROM `{self._id}` AS whole_row"  # noqa: S608 - a model's name
        with clear_errors(f"gold.{self._table}"):
            try:
                table = self._client.get_table(self._id)
            except NotFound as error:
                raise LakeError(f"gold.{self._table} is not there: materialize it first") from error
            config = query_config(self._maximum_bytes, self._labels)
            (counted,) = self._client.query_and_wait(rows, job_config=config)
        columns = [field.to_api_repr() for field in table.schema]
        return _digest(columns, counted.values())

    @override
    def write(self, folder: Folder, prefix: str) -> None:
        from google.cloud import bigquery

        from lake.gcp import clear_errors

        config = bigquery.ExtractJobConfig(  # type: ignore[no-untyped-call]
            destination_format=bigquery.DestinationFormat.PARQUET,
            compression="ZSTD",
            labels=self._labels,
        )
        with clear_errors(f"export of gold.{self._table}"):
            self._client.extract_table(self._id, f"{folder.uri}/{prefix}part-*.parquet", job_config=config).result()


class _Shaped(_Source):
    """A query over the files of another snapshot."""

    def __init__(self, settings: Settings, shape: Shape, source: Manifest) -> None:
        self._settings, self._shape, self._source = settings, shape, source

    @property
    @override
    def content(self) -> str:
        return _digest(self._source.snapshot, self._shape.sql)

    @override
    def write(self, folder: Folder, prefix: str) -> None:
        import duckdb

        with TemporaryDirectory(prefix="lakegraph-shape-") as scratch, duckdb.connect() as connection:
            connection.execute(
                f"SET memory_limit = {literal(self._settings.duckdb_memory_limit)}; SET TimeZone = 'UTC'"
            )
            files = ", ".join(literal(str(path)) for path in folder.fetch(self._source.folder, Path(scratch)))
            # `snapshot=…` in the path is not a column
            read = f"SELECT * FROM read_parquet([{files}], hive_partitioning = false)"  # noqa: S608
            connection.execute(f"CREATE VIEW {quote(self._shape.source)} AS {read}")
            try:
                _copy(connection, self._shape.sql.strip().rstrip(";"), folder, prefix + FILE)
            except duckdb.Error as error:
                raise LakeError(f"{self._shape.name}: its SQL on {self._shape.source}: {error}") from error


_SOURCES: Mapping[Target, Callable[[Settings, str, str], _Source]] = {"local": _Duckdb, "gcp": _Bigquery}
