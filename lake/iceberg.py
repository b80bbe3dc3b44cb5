"""Iceberg tables as this project uses them: made from columns, replaced by partition, read back with their
accounts.

What belongs here: creating, evolving and committing tables, in one snapshot each, and reading what their
metadata says. What does
not: how files come to be (`lake.load`, `lake.dbt_plugin`), and SQL views (`lake.views`).

Files are registered, not rewritten: a Parquet file whose column names match the table's but for case joins
the table as it is, its columns resolved through the table's name mapping. `Table.add_files` would refuse such
a file (it checks names before the mapping) and takes partition values only from column statistics; we build
the `DataFile` with the partition we know. A reader fills an identity partition column that is absent from the
file from the partition's value, as the Iceberg specification says ("Column Projection").
"""

import contextlib
import dataclasses
import os
import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lake.accounting import LoadAccount
from lake.errors import LakeError, TransientError

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.catalog import Catalog
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table
    from pyiceberg.table.snapshots import Snapshot

NAME_MAPPING = "schema.name-mapping.default"
PROPERTIES = {
    "format-version": "2",
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "10",
    # pyiceberg would replay a lost commit with the file list it began with, and so keep both of two loads of
    # one partition. `replace` works the commit out anew instead.
    "commit.retry.num-retries": "0",
}
COMMIT_ATTEMPTS = 20


@dataclass(frozen=True)
class NewFile:
    """A Parquet file to be registered. `partition` is the date of the partition it belongs to, None if there
    is none.
    """

    path: Path
    partition: date | None = None


def iceberg_type(arrow_type: "pa.DataType") -> Any:
    """The Iceberg type of an Arrow type; small integers widen to long and floats to double, for sources drift
    between them.

    Raises:
        LakeError: there is no such Iceberg type.
    """
    import pyarrow.types as pt
    from pyiceberg import types as it

    if pt.is_integer(arrow_type):
        return it.LongType()
    if pt.is_floating(arrow_type):
        return it.DoubleType()
    if pt.is_decimal(arrow_type):
        return it.DecimalType(arrow_type.precision, arrow_type.scale)
    if pt.is_timestamp(arrow_type):
        return it.TimestamptzType() if arrow_type.tz else it.TimestampType()
    simple: list[tuple[Callable[[Any], bool], Any]] = [
        (pt.is_boolean, it.BooleanType()),
        (pt.is_date, it.DateType()),
        (lambda t: pt.is_string(t) or pt.is_large_string(t), it.StringType()),
        (lambda t: pt.is_binary(t) or pt.is_large_binary(t), it.BinaryType()),
    ]
    for test, result in simple:
        if test(arrow_type):
            return result
    raise LakeError(f"a column of Arrow type {arrow_type} has no place in an Iceberg table")


def table_location(warehouse: Path, identifier: str) -> Path:
    """The folder of a table: `<warehouse>/<namespace>/<table>`."""
    return warehouse.joinpath(*identifier.split("."))


def load_or_create(
    catalog: "Catalog",
    identifier: str,
    columns: Mapping[str, Any],
    partition_column: str | None,
    warehouse: Path,
) -> "Table":
    """The table `identifier`, created with `columns` (name to Iceberg type) if it does not exist.

    `partition_column`, a date, is added and partitions the table by identity. Losing a race to create it is
    no error.
    """
    from pyiceberg.exceptions import NamespaceAlreadyExistsError, NoSuchTableError, TableAlreadyExistsError
    from pyiceberg.partitioning import PartitionField, PartitionSpec
    from pyiceberg.schema import Schema
    from pyiceberg.table.name_mapping import create_mapping_from_schema
    from pyiceberg.transforms import IdentityTransform
    from pyiceberg.types import DateType, NestedField
    from sqlalchemy.exc import IntegrityError

    with contextlib.suppress(NoSuchTableError):
        return catalog.load_table(identifier)
    fields = [NestedField(i, name, kind, required=False) for i, (name, kind) in enumerate(columns.items(), start=1)]
    spec = PartitionSpec()
    if partition_column:
        fields.append(NestedField(len(fields) + 1, partition_column, DateType(), required=False))
        spec = PartitionSpec(PartitionField(len(fields), 1000, IdentityTransform(), partition_column))
    schema = Schema(*fields)
    with contextlib.suppress(NamespaceAlreadyExistsError, IntegrityError):  # the latter in a race
        catalog.create_namespace(identifier.split(".", maxsplit=1)[0])
    with contextlib.suppress(TableAlreadyExistsError):
        return catalog.create_table(
            identifier,
            schema,
            location=f"file://{table_location(warehouse, identifier)}",
            partition_spec=spec,
            properties={**PROPERTIES, NAME_MAPPING: create_mapping_from_schema(schema).model_dump_json()},
        )
    return catalog.load_table(identifier)


def adopt_file(source: Path, table: "Table", partition: date | None) -> NewFile:
    """Put `source` into `table`'s data folder (by hard link where possible) under a name of its own.

    Until a commit names it, the file is an orphan that no reader sees; maintenance sweeps those.
    """
    target = new_file(table, partition)
    try:
        os.link(source, target.path)
    except OSError:
        shutil.copyfile(source, target.path)
    return target


def new_file(table: "Table", partition: date | None) -> NewFile:
    """A name for a new file in `table`'s data folder, which is made; the file itself is the caller's to write."""
    folder = Path(table.location().removeprefix("file://")) / "data"
    if partition:
        folder /= f"{table.spec().fields[0].name}={partition.isoformat()}"
    folder.mkdir(parents=True, exist_ok=True)
    return NewFile(folder / f"{uuid.uuid4().hex}.parquet", partition)


def current_files(table: "Table") -> list["DataFile"]:
    """The data files of the current snapshot (`files_of`)."""
    return files_of(table, table.current_snapshot())


def files_of(table: "Table", snapshot: "Snapshot | None") -> list["DataFile"]:
    """The data files of `snapshot`; none if it is None.

    Raises:
        LakeError: the table has delete files, which nothing here writes: another engine has written it.
    """
    return list(_files_of(_State(snapshot.manifest_list, snapshot, table))) if snapshot else []


@dataclass(frozen=True)
class _State:
    """A snapshot, told from others by its manifest list: a file whose name is used once, and that never changes."""

    manifest_list: str
    snapshot: "Snapshot" = dataclasses.field(compare=False)
    table: "Table" = dataclasses.field(compare=False)


@lru_cache(maxsize=16)  # a load asks for the same few states again and again, and to read all manifests is most of it
def _files_of(state: _State) -> Sequence["DataFile"]:
    files, table = [], state.table
    for manifest in state.snapshot.manifests(table.io):
        for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True):
            if entry.data_file.content.value != 0:
                raise LakeError(f"{'.'.join(table.name())}: has delete files; only one engine may write a table")
            files.append(entry.data_file)
    return files


def partition_of(table: "Table", file: "DataFile") -> date | None:
    """The date of the partition that `file` belongs to, None for an unpartitioned table or a null."""
    from pyiceberg.utils.datetime import days_to_date

    if not table.spec().fields:
        return None
    value = file.partition[0]
    return days_to_date(value) if isinstance(value, int) else value


def rows_by_partition(table: "Table") -> dict[date | None, int]:
    """Rows of the current snapshot for each partition, from the manifests alone: no data is read."""
    counts: dict[date | None, int] = {}
    for file in current_files(table):
        key = partition_of(table, file)
        counts[key] = counts.get(key, 0) + file.record_count
    return counts


def accounts(table: "Table") -> dict[str, LoadAccount]:
    """The newest account of each partition ("" for an unpartitioned table), from the snapshots'
    properties.
    """
    newest: dict[str, LoadAccount] = {}
    for snapshot in sorted(table.snapshots(), key=lambda s: s.sequence_number or 0):
        properties = dict(snapshot.summary.additional_properties) if snapshot.summary else {}
        if account := LoadAccount.from_properties(properties):
            newest[account.partition] = account
    return newest


def _data_file(table: "Table", file: NewFile) -> "DataFile":
    """The manifest entry of `file`: statistics from its footer, columns resolved by name without regard to
    case.
    """
    import pyarrow.parquet as pq
    from pyiceberg.io.pyarrow import compute_statistics_plan, data_file_statistics_from_parquet_metadata
    from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
    from pyiceberg.typedef import Record
    from pyiceberg.utils.datetime import date_to_days

    schema = table.schema()
    metadata = pq.read_metadata(file.path)
    ids = {name.lower(): schema.find_field(name).field_id for name in schema.column_names}
    mapping = {column: ids[column.lower()] for column in (c.path for c in metadata.schema)}
    # Columns without statistics (the TLC's files have none) are left out of the plan: pyiceberg would warn
    # about each one.
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    bare = [c.path for i, c in enumerate(metadata.schema) if not all(g.column(i).is_stats_set for g in groups)]
    modes = {f"write.metadata.metrics.column.{schema.find_column_name(mapping[path])}": "none" for path in bare}
    statistics = data_file_statistics_from_parquet_metadata(
        metadata, compute_statistics_plan(schema, {**table.metadata.properties, **modes}), mapping
    )
    partition = Record(date_to_days(file.partition)) if file.partition else Record()
    return DataFile.from_args(
        content=DataFileContent.DATA,
        file_path=f"file://{file.path}",
        file_format=FileFormat.PARQUET,
        partition=partition,
        file_size_in_bytes=file.path.stat().st_size,
        sort_order_id=None,
        spec_id=table.metadata.default_spec_id,
        equality_ids=None,
        key_metadata=None,
        **statistics.to_serialized_dict(),
    )


def _with_new_names(mapping_json: str, names: Sequence[str]) -> str | None:
    """The name mapping with each of `names` listed under the column it equals without case; None if nothing
    is new.
    """
    from pyiceberg.table.name_mapping import MappedField, NameMapping

    mapping = NameMapping.model_validate_json(mapping_json)
    fields, changed = [], False
    for field in mapping.root:
        lowered = {n.lower() for n in field.names}
        missing = [n for n in names if n.lower() in lowered and n not in field.names]
        changed |= bool(missing)
        fields.append(MappedField(field_id=field.field_id, names=[*field.names, *missing], fields=field.fields))
    return NameMapping(root=fields).model_dump_json() if changed else None


def _check_types(table: "Table", schemas: "Sequence[pa.Schema]") -> None:
    """Refuse a file whose column is of another type than the table's: another load has added it in the
    meantime, as it saw it.
    """
    from pyiceberg import types as it

    widened: dict[Any, Any] = {it.IntegerType(): it.LongType(), it.FloatType(): it.DoubleType()}
    types = {field.name.lower(): field.field_type for field in table.schema().fields}
    for field in (f for schema in schemas for f in schema):
        have, want = iceberg_type(field.type), types[field.name.lower()]
        if have != widened.get(want, want):
            raise TransientError(
                f"{'.'.join(table.name())}: column {field.name} has become {want} and the file holds {have}"
            )


def _with_new_columns(catalog: "Catalog", table: "Table", identifier: str, schemas: "Sequence[pa.Schema]") -> "Table":
    """The table, with a column added for each one of `schemas` that it lacks."""
    known = {name.lower() for name in table.schema().column_names}
    new = {f.name: f.type for schema in schemas for f in schema if f.name.lower() not in known}
    if not new:
        return table
    with table.transaction() as transaction, transaction.update_schema() as update:
        for name, arrow_type in new.items():
            update.add_column(name, iceberg_type(arrow_type))
    return catalog.load_table(identifier)


def replace(
    catalog: "Catalog",
    identifier: str,
    files: Sequence[NewFile],
    *,
    replaces: Callable[[date | None], bool],
    properties: Mapping[str, str],
    unless: Callable[["Table"], bool] = lambda _table: False,
) -> tuple["Table", bool]:
    """Replace, in one snapshot, the files of every partition for which `replaces` holds by `files`; evolve
    the schema before it.

    Other writers may commit in between: the replacement is then worked out anew on their table, up to
    `COMMIT_ATTEMPTS` times. A column of a file that the table lacks is added; names that differ in case alone
    join the name mapping.

    Args:
        catalog: the catalog that holds the table.
        identifier: the table's name with its namespace.
        files: files that lie in the table's data folder (`adopt_file`).
        replaces: given a partition's date (None for an unpartitioned table), whether its present files go.
        properties: written to the snapshot's summary.
        unless: given the freshly loaded table, whether there is nothing to do after all.

    Returns:
        The table after the commit, and whether anything was committed.

    Raises:
        TransientError: other writers won the race every time, or gave a new column another type.
    """
    import pyarrow.parquet as pq

    def change(table: "Table") -> Change | None:
        if unless(table):
            return None
        gone = [old for old in current_files(table) if replaces(partition_of(table, old))]
        return Change(files, gone, properties)

    return commit(catalog, identifier, [pq.read_schema(file.path) for file in files], change)


@dataclass(frozen=True)
class Change:
    """What a commit does to a table as it was found: files that come, files that go, properties of the snapshot."""

    new: Sequence[NewFile]
    gone: "Sequence[DataFile]"
    properties: Mapping[str, str]


def commit(
    catalog: "Catalog",
    identifier: str,
    schemas: "Sequence[pa.Schema]",
    change: Callable[["Table"], Change | None],
) -> tuple["Table", bool]:
    """Commit, in one snapshot, what `change` makes of the table; it is asked anew if another writer was faster.

    Args:
        catalog: the catalog that holds the table.
        identifier: the table's name with its namespace.
        schemas: of the rows that come; a column that the table lacks is added.
        change: given the freshly loaded table, what to do; None if there is nothing to do.

    Returns:
        The table after the commit, and whether anything was committed.

    Raises:
        TransientError: other writers won the race `COMMIT_ATTEMPTS` times, or gave a new column another type.
    """
    from pyiceberg.exceptions import CommitFailedException, ValidationException
    from sqlalchemy.exc import OperationalError
    from tenacity import (
        RetryError,
        retry,
        retry_if_exception_type,
        stop_after_attempt,
        wait_random_exponential,
    )

    names = sorted({f.name for schema in schemas for f in schema})

    @retry(
        retry=retry_if_exception_type((CommitFailedException, ValidationException, OperationalError)),
        stop=stop_after_attempt(COMMIT_ATTEMPTS),
        wait=wait_random_exponential(0.05, max=2),
    )
    def attempt() -> tuple["Table", bool]:
        found = catalog.load_table(identifier)
        wanted = change(found)
        if wanted is None:
            return found, False
        table = _with_new_columns(catalog, found, identifier, schemas)
        if table is not found:  # loaded anew, and perhaps with what another writer has committed
            wanted = change(table)
            if wanted is None:
                return table, False
        _check_types(table, schemas)
        with table.transaction() as transaction:
            if mapping := _with_new_names(table.properties[NAME_MAPPING], names):
                transaction.set_properties({NAME_MAPPING: mapping})
            with transaction.update_snapshot(snapshot_properties=dict(wanted.properties)).overwrite() as snapshot:
                for old in wanted.gone:
                    snapshot.delete_data_file(old)
                for file in wanted.new:
                    snapshot.append_data_file(_data_file(table, file))
        return table, True

    try:
        return attempt()
    except RetryError as error:
        cause = error.last_attempt.exception()
        raise TransientError(
            f"{identifier}: {COMMIT_ATTEMPTS} commits in a row lost to other writers: {cause}"
        ) from cause
