"""Rows that join an Iceberg table: only those that it does not hold yet, in one snapshot.

What belongs here: which rows of a delivery are new, the files they are written to, and the running count of all that
was ever appended. What does not: commits and their races (`lake.iceberg`), and where the rows come from.

A row is held if another one equals it in the table's `identity` and lies in the same partition. So only partitions
that a delivery touches are looked at, and of those only the columns of the identity: the cost of a load follows the
load, not the table. (A quarantine has no partitions: a load that rejects rows looks at all rejected ones.) If another
writer commits first, the comparison is made anew against what it left: two loads that bring the same row at once store
it once. A full refresh compares with nothing: its rows take the place of all that is held.

What a load adds, later ones put together, or every load and every reader would pay for all that ever were: a partition
with `COMPACT_FILES` files gets all its rows in one file by the next load; of one that loads have left behind, half as
many are enough, one such partition a load. A table with `MANIFESTS` manifests gets one. Snapshots older than the newest
`SNAPSHOTS` go that name no file that a later one does not, several at a time: readers of an older state keep every file
of theirs until maintenance finds it old.
"""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from lake import iceberg
from lake.accounting import LoadAccount
from lake.duck import literal, quote

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa
    from pyiceberg.catalog import Catalog
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table

COMPACT_FILES = 8
MANIFESTS = 16
SNAPSHOTS = 24
MERGED = {"commit.manifest-merge.enabled": "true", "commit.manifest.min-count-to-merge": "2"}
REJECTED_IDENTITY = ("reject_reason", "source_object", "raw_row")
GONE = "deleted-data-files"  # snapshot property, of Iceberg itself
TOTAL_ROWS = "lakegraph.total-rows"  # snapshot property: rows that all loads together have appended


@dataclass(frozen=True)
class Appended:
    """What became of a delivery.

    Attributes:
        table: after the commit.
        new: rows that were appended.
        known: rows that the table held already, or that came twice.
    """

    table: "Table"
    new: int
    known: int


def total_rows(table: "Table") -> int:
    """Rows that all loads together have appended, by the newest load's snapshot."""
    newest = 0
    for snapshot in sorted(table.snapshots(), key=lambda s: s.sequence_number or 0):
        properties = dict(snapshot.summary.additional_properties) if snapshot.summary else {}
        newest = int(properties.get(TOTAL_ROWS, newest))
    return newest


def append(
    catalog: "Catalog",
    identifier: str,
    files: Sequence[Path],
    identity: Sequence[str],
    account: LoadAccount,
    *,
    working: Path,
    memory_limit: str,
    refresh: bool = False,
) -> Appended:
    """Append the rows of `files` that the table does not hold.

    Args:
        catalog: the catalog that holds the table.
        identifier: the table's name with its namespace.
        files: Parquet files with the table's columns, its partition column included.
        identity: columns that make a row of a partition the same.
        account: goes into the snapshot's properties, with the rows loaded and known as they turn out.
        working: a folder for DuckDB, which compares, to spill into.
        memory_limit: DuckDB's.
        refresh: whether they take the place of all rows that it holds.

    Raises:
        TransientError: other writers won every race.
    """
    if not files:
        return Appended(_emptied(catalog, identifier, account) if refresh else catalog.load_table(identifier), 0, 0)
    with _compared(files, identity, working, memory_limit) as delivery:

        def change(table: "Table") -> iceberg.Change | None:
            new, gone = delivery.write_new(table, refresh=refresh)
            if not delivery.new:
                return None
            known = account.rows_known + delivery.known
            told = replace(account, rows_loaded=delivery.new, rows_known=known).to_properties()
            total = delivery.new if refresh else total_rows(table) + delivery.new
            return iceberg.Change(new, gone, {**told, TOTAL_ROWS: str(total)})

        table, changed = iceberg.commit(catalog, identifier, [delivery.schema], change)
        if changed:
            table = _tidied(catalog, table)
    return Appended(table, delivery.new, delivery.known)


def _emptied(catalog: "Catalog", identifier: str, account: LoadAccount) -> "Table":
    """The table without its rows, and with the count begun anew."""

    def change(table: "Table") -> iceberg.Change | None:
        gone = iceberg.current_files(table)
        return iceberg.Change([], gone, {**account.to_properties(), TOTAL_ROWS: "0"}) if gone else None

    return iceberg.commit(catalog, identifier, [], change)[0]


def _tidied(catalog: "Catalog", table: "Table") -> "Table":
    """The table with its manifests in one, and without snapshots that nobody would miss; as it is, if it has few, or if
    another writer is faster: a later load will do it.
    """
    from pyiceberg.exceptions import CommitFailedException
    from pyiceberg.table.update import RemoveSnapshotsUpdate
    from sqlalchemy.exc import OperationalError

    snapshot = table.current_snapshot()
    scattered = snapshot is not None and len(snapshot.manifests(table.io)) >= MANIFESTS
    if not scattered and len(dispensable(table)) < SNAPSHOTS // 2:
        return table
    with suppress(CommitFailedException, OperationalError):
        if scattered:
            with table.transaction() as transaction:
                transaction.set_properties(MERGED)
                with transaction.update_snapshot().merge_append():
                    pass  # no file comes
        if ids := dispensable(table):
            # pyiceberg's `expire_snapshots` copies all metadata twice for each of them
            with suppress(ValueError):  # one of them is gone already: maintenance was faster
                catalog.commit_table(table, (), (RemoveSnapshotsUpdate(snapshot_ids=ids),))
    return catalog.load_table(table.name())


def dispensable(table: "Table") -> list[int]:
    """Snapshots beyond the newest `SNAPSHOTS` that name no file which a later one, that stays, does not name too.

    Whatever took files away stays, and so does what it took them from: those files are needed by who reads them still,
    and when they no longer are is for maintenance to say (`lake.maintenance.expirable`).
    """
    snapshots = sorted(table.snapshots(), key=lambda s: s.sequence_number or 0)
    adding = {s.snapshot_id for s in snapshots if s.summary and not s.summary.additional_properties.get(GONE)}
    followed = {s.parent_snapshot_id for s in snapshots if s.snapshot_id in adding}
    return [s.snapshot_id for s in snapshots[:-SNAPSHOTS] if s.snapshot_id in adding & followed]


@contextmanager
def _compared(
    files: Sequence[Path], identity: Sequence[str], working: Path, memory_limit: str
) -> Iterator["_Delivery"]:
    import duckdb
    import pyarrow as pa
    import pyarrow.parquet as pq

    with duckdb.connect(config={"memory_limit": memory_limit, "temp_directory": f"{working}/spill"}) as connection:
        connection.execute("SET preserve_insertion_order = false")  # nothing asks for it, and it holds rows in memory
        connection.execute(f"CREATE VIEW delivered AS SELECT * FROM {_parquet(files)}")  # noqa: S608 - paths are literals
        schema = pa.unify_schemas([pq.read_schema(file).remove_metadata() for file in files])
        yield _Delivery(connection, identity, schema, working)


class _Delivery:
    """The delivered rows in DuckDB, compared with a table as it is found; `new` and `known` are of the last time."""

    def __init__(
        self, connection: "duckdb.DuckDBPyConnection", identity: Sequence[str], schema: "pa.Schema", working: Path
    ) -> None:
        self.schema, self.new, self.known = schema, 0, 0
        self._connection, self._identity, self._working = connection, identity, working
        self._written: list[Path] = []

    def write_new(self, table: "Table", *, refresh: bool) -> tuple[list[iceberg.NewFile], "list[DataFile]"]:
        """Write what the table does not hold (of a refresh: all) into its folder: the files to add, and those that they
        stand in for.
        """
        current = iceberg.current_files(table)
        named = {file.file_path.removeprefix("file://") for file in current}
        for path in self._written:  # of an attempt that lost its race, or was told so
            if str(path) not in named:
                path.unlink(missing_ok=True)
        fields = table.spec().fields
        column = fields[0].name if fields else None
        stored: dict[date | None, list[DataFile]] = {}
        for file in current if not refresh else []:
            stored.setdefault(iceberg.partition_of(table, file), []).append(file)
        held = {day: stored.pop(day, []) for day in self._days("delivered", column)}
        self._compare(column, held)
        full = dict(self._rewritten(column, held, stored) if self.new else [])
        alone = [day for day, files in full.items() if not files]
        new = self._write_apart(table, column, alone) if column and len(alone) > 1 else []
        new += [self._write(table, column, day, files) for day, files in full.items() if files or not new]
        self._written = [file.path for file in new]
        return new, list(current) if refresh else [file for files in full.values() for file in files]

    def _rewritten(
        self,
        column: str | None,
        held: "Mapping[date | None, Sequence[DataFile]]",
        others: "Mapping[date | None, Sequence[DataFile]]",
    ) -> "Iterator[tuple[date | None, Sequence[DataFile]]]":
        """The partitions that get a file, with the files whose rows it takes over."""
        for day in self._days("fresh", column):
            yield day, held[day] if len(held[day]) >= COMPACT_FILES else []
        left = max(others, key=lambda day: len(others[day]), default=None)
        if len(others.get(left, [])) >= COMPACT_FILES // 2:
            yield left, others[left]

    def _days(self, relation: str, column: str | None) -> list[date | None]:
        if column is None:
            return [None]
        found = self._connection.sql(f"SELECT DISTINCT {quote(column)} FROM {relation} ORDER BY 1")  # noqa: S608
        return [day for (day,) in found.fetchall()]

    def _compare(self, column: str | None, held: "dict[date | None, list[DataFile]]") -> None:
        """Make the view `fresh` of what is new. Few rows come twice: a pass over hashes finds the candidates, and only
        those are compared with each other.
        """
        keys = ", ".join(map(quote, [*self._identity, *([column] if column else [])]))
        files = [
            path for day, files in held.items() if day or not column for path in _paths(files)
        ]  # null equals nothing
        where = f"SEMI JOIN {_keys(files, column)} AS stored USING ({keys})" if files else "WHERE false"
        self._connection.execute(
            f"""
            CREATE OR REPLACE TEMP TABLE suspects AS
                SELECT hash({keys}) AS suspect FROM delivered GROUP BY 1 HAVING count(*) > 1;
            CREATE OR REPLACE TEMP TABLE held AS SELECT DISTINCT {keys} FROM delivered {where};
            CREATE OR REPLACE TEMP VIEW fresh AS
                SELECT * FROM delivered ANTI JOIN held USING ({keys})
                WHERE hash({keys}) NOT IN (SELECT suspect FROM suspects)
                UNION ALL
                SELECT DISTINCT ON ({keys}) * FROM delivered ANTI JOIN held USING ({keys})
                WHERE hash({keys}) IN (SELECT suspect FROM suspects);
            """  # noqa: S608
        )
        self.new = self._count("SELECT count(*) FROM fresh")
        self.known = self._count("SELECT count(*) FROM delivered") - self.new

    def _count(self, sql: str) -> int:
        return int(self._connection.sql(sql).fetchall()[0][0])

    def _write_apart(self, table: "Table", column: str, days: Sequence[date | None]) -> list[iceberg.NewFile]:
        """The new rows of several partitions, each in files of its own, in one pass over what was delivered."""
        folder = self._working / f"apart-{uuid.uuid4().hex}"
        name = quote(column)
        listed = ", ".join(map(_date, days))
        self._connection.execute(
            f"COPY (SELECT * FROM fresh WHERE {name} IN ({listed})) TO {literal(str(folder))} "  # noqa: S608
            f"(FORMAT parquet, COMPRESSION zstd, PARTITION_BY ({name}))"
        )
        return [
            iceberg.adopt_file(path, table, date.fromisoformat(path.parent.name.partition("=")[2]))
            for path in sorted(folder.glob("*/*.parquet"))
        ]

    def _write(
        self, table: "Table", column: str | None, day: date | None, full: "Sequence[DataFile]"
    ) -> iceberg.NewFile:
        target = iceberg.new_file(table, day)
        rows = "SELECT * FROM fresh"
        if column:
            name = quote(column)
            rows = f"SELECT * EXCLUDE ({name}) FROM fresh WHERE {name} = {_date(day)}"  # noqa: S608
        if full:
            rows += f" UNION ALL BY NAME SELECT * FROM {_parquet(_paths(full))}"  # noqa: S608
        self._connection.execute(f"COPY ({rows}) TO {literal(str(target.path))} (FORMAT parquet, COMPRESSION zstd)")
        return target


def _parquet(paths: Sequence[Path]) -> str:
    listed = ", ".join(literal(str(path)) for path in paths)
    return f"read_parquet([{listed}], union_by_name = true, hive_partitioning = false)"


def _keys(paths: Sequence[Path], column: str | None) -> str:
    """Files of any number of partitions, for what all of them have: the identity. So one footer tells the columns."""
    listed = ", ".join(literal(str(path)) for path in paths)
    by_folder = f"true, hive_types = {{{literal(column)}: DATE}}" if column else "false"
    return f"read_parquet([{listed}], hive_partitioning = {by_folder})"


def _paths(files: "Sequence[DataFile]") -> list[Path]:
    return [Path(file.file_path.removeprefix("file://")) for file in files]


def _date(day: date | None) -> str:
    return f"DATE '{day}'" if day else "NULL"
