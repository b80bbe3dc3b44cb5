"""DuckDB views over the current snapshots of Iceberg tables: no extension, no copy, row groups prune.

What belongs here: the SQL of a view and the refreshing of views. What does not: committing tables.

The view lists the snapshot's files, so it is a fixed state of the table until it is refreshed, and a reader
needs no pyiceberg. Columns are matched by name without regard to case, as DuckDB does; the partition column
comes from the folder's name (`source_month=2023-01-01`), so that a filter on it skips whole files.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from lake import iceberg
from lake.catalog import open_catalog
from lake.duck import literal, quote
from lake.errors import LakeError
from lake.settings import Settings

if TYPE_CHECKING:
    import duckdb
    from pyiceberg.table import Table
    from pyiceberg.types import IcebergType

LOADED_AT = "_loaded_at"


def duckdb_type(kind: "IcebergType") -> str:
    """The DuckDB type of an Iceberg type."""
    from pyiceberg import types as it

    if isinstance(kind, it.DecimalType):
        return f"DECIMAL({kind.precision},{kind.scale})"
    names: dict[type[IcebergType], str] = {
        it.BooleanType: "BOOLEAN",
        it.IntegerType: "INTEGER",
        it.LongType: "BIGINT",
        it.FloatType: "FLOAT",
        it.DoubleType: "DOUBLE",
        it.DateType: "DATE",
        it.TimestampType: "TIMESTAMP",
        it.TimestamptzType: "TIMESTAMPTZ",
        it.StringType: "VARCHAR",
        it.BinaryType: "BLOB",
    }
    try:
        return names[type(kind)]
    except KeyError:
        raise LakeError(f"no DuckDB type for the Iceberg type {kind}") from None


def view_sql(table: "Table", view: str, *, snapshot_id: int | None = None, loaded_at: bool = True) -> str:
    """`CREATE OR REPLACE VIEW` over the files of a snapshot (the current one by default).

    Args:
        table: the Iceberg table.
        view: the quoted name of the view.
        snapshot_id: an older snapshot, for time travel.
        loaded_at: whether to add the column `_loaded_at`, the time of the snapshot's commit in UTC.

    Raises:
        LakeError: the table has no such snapshot (any more).
    """
    if snapshot_id and not table.snapshot_by_id(snapshot_id):
        raise LakeError(f"{'.'.join(table.name())}: has no snapshot {snapshot_id}; it may have expired")
    snapshot = table.snapshot_by_id(snapshot_id) if snapshot_id else table.current_snapshot()
    files = iceberg.files_of(table, snapshot)
    schema = table.schema()
    partition = schema.find_column_name(table.spec().fields[0].source_id) if table.spec().fields else None
    present = {field_id for file in files for field_id in file.column_sizes}
    columns = []
    for field in schema.fields:
        kind = duckdb_type(field.field_type)
        known = field.field_id in present or (field.name == partition and files)
        columns.append(f"CAST({quote(field.name) if known else 'NULL'} AS {kind}) AS {quote(field.name)}")
    if loaded_at:
        moment = f"make_timestamp({snapshot.timestamp_ms} * 1000)" if snapshot else "CAST(NULL AS TIMESTAMP)"
        columns.append(f"{moment} AS {LOADED_AT}")
    select = f"CREATE OR REPLACE VIEW {view} AS SELECT {', '.join(columns)}"
    if not files:
        return f"{select} WHERE false"
    paths = ", ".join(literal(file.file_path.removeprefix("file://")) for file in files)
    options = ["union_by_name = true"]
    if partition:
        options += ["hive_partitioning = true", f"hive_types = {{{literal(partition)}: DATE}}"]
    else:
        options.append("hive_partitioning = false")
    return f"{select} FROM read_parquet([{paths}], {', '.join(options)})"


def refresh(
    connection: "duckdb.DuckDBPyConnection", settings: Settings, tables: Iterable[str] | None = None
) -> list[str]:
    """Point the bronze views at the current snapshots.

    Args:
        connection: DuckDB, writable.
        settings: where the catalog is.
        tables: names inside `bronze`; all tables of the catalog by default. Those that do not exist yet are
            left out.

    Returns:
        The views made.
    """
    from pyiceberg.exceptions import NoSuchNamespaceError

    catalog = open_catalog(settings)
    try:
        existing = sorted(name for _, name in catalog.list_tables("bronze"))
    except NoSuchNamespaceError:
        existing = []
    wanted = set(existing if tables is None else tables)
    made = [name for name in existing if name in wanted]
    connection.execute("BEGIN")
    connection.execute("CREATE SCHEMA IF NOT EXISTS bronze")
    for name in made:
        connection.execute(view_sql(catalog.load_table(f"bronze.{name}"), f"bronze.{quote(name)}"))
    connection.execute("COMMIT")
    return made
