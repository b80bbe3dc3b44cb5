"""Bronze on the embedded target: each table is an Iceberg table, each load one snapshot of it.

What belongs here: commits and accounts in terms of `lake.iceberg`. What does not: Iceberg itself, and dlt.

Delivered files are registered as they are. Rejected rows are committed first, so that an account is only ever seen with
all that it accounts for; a load that dies on the way leaves files that no snapshot names, swept later by maintenance.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lake import append, iceberg
from lake.accounting import LoadAccount
from lake.append import REJECTED_IDENTITY
from lake.catalog import open_catalog
from lake.duck import literal, quote
from lake.errors import LakeError
from lake.quarantine import rejected_schema
from lake.settings import Settings
from lake.spec import TableSpec
from lake.store import Commit, Delivery

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.catalog import Catalog
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table


@dataclass(frozen=True)
class IcebergStore:
    """Implements `lake.store.BronzeStore` on the SQL catalog of `settings`."""

    settings: Settings

    @cached_property
    def _catalog(self) -> "Catalog":
        return open_catalog(self.settings)

    def _find(self, identifier: str) -> "Table | None":
        from pyiceberg.exceptions import NoSuchTableError

        try:
            return self._catalog.load_table(identifier)
        except NoSuchTableError:
            return None

    def known_columns(self, spec: TableSpec) -> "dict[str, pa.DataType]":
        """Columns beyond the declaration, with their Arrow types."""
        from pyiceberg.io.pyarrow import schema_to_pyarrow

        table = self._find(spec.identifier)
        if table is None:
            return {}
        schema = schema_to_pyarrow(table.schema(), include_field_ids=False)
        return {f.name: f.type for f in schema if f.name not in spec.columns and f.name != spec.partition_column}

    def check_declaration(self, spec: TableSpec) -> None:
        """Compare the declared types with the table's."""
        table = self._find(spec.identifier)
        if table is None:
            return
        stored = {field.name.lower(): field.field_type for field in table.schema().fields}
        for name, column in spec.columns.items():
            want = iceberg.iceberg_type(column.arrow_type())
            have = stored.get(name.lower(), want)
            if have != want:
                raise LakeError(
                    f"{spec.identifier}.{name}: declared {want}, but the table holds {have}; declare {have}, or drop "
                    f"the table (lake.catalog.open_catalog(settings).drop_table({spec.identifier!r})) and load "
                    "what it held again"
                )

    def commit(self, delivery: Delivery) -> Commit:
        """Rejected rows, then rows with the account in their snapshot's properties."""
        spec = delivery.spec
        if spec.mode == "append":
            return self._append(delivery)
        rejected = f"bronze.{spec.rejected_table}"
        if delivery.rejected or self._catalog.table_exists(rejected):
            self._replace(delivery, rejected, rejected_schema(), delivery.rejected)
        table, changed = self._replace(delivery, spec.identifier, spec.arrow_schema(), delivery.files)
        snapshot = table.current_snapshot()
        rows = sum(iceberg.rows_by_partition(table).values())
        return Commit(changed, snapshot.snapshot_id if snapshot else None, rows, delivery.account)

    def _append(self, delivery: Delivery) -> Commit:
        """As `commit`: rejected rows first, for the account tells of both."""
        spec, account = delivery.spec, delivery.account
        columns = {f.name: iceberg.iceberg_type(f.type) for f in rejected_schema()}
        rejected, home = f"bronze.{spec.rejected_table}", self.settings.warehouse
        iceberg.load_or_create(self._catalog, rejected, columns, None, home)
        rejects = self._join(delivery, rejected, delivery.rejected, REJECTED_IDENTITY, account)
        counted = replace(account, rows_rejected=rejects.new, rows_known=rejects.known)
        columns = {f.name: iceberg.iceberg_type(f.type) for f in spec.arrow_schema()}
        iceberg.load_or_create(self._catalog, spec.identifier, columns, spec.partition_column, home)
        rows = self._join(delivery, spec.identifier, delivery.files, spec.identity, counted)
        snapshot = rows.table.current_snapshot()
        return Commit(
            bool(rows.new or rejects.new),
            snapshot.snapshot_id if snapshot else None,
            sum(iceberg.rows_by_partition(rows.table).values()),
            replace(counted, rows_loaded=rows.new, rows_known=rejects.known + rows.known),
        )

    def _join(
        self, delivery: Delivery, identifier: str, files: Sequence[Path], identity: Sequence[str], account: LoadAccount
    ) -> append.Appended:
        return append.append(
            self._catalog,
            identifier,
            files,
            identity,
            account,
            working=delivery.working,
            memory_limit=self.settings.duckdb_memory_limit,
            refresh=delivery.refresh,
        )

    def _replace(
        self, delivery: Delivery, identifier: str, schema: "pa.Schema", files: tuple[Path, ...]
    ) -> tuple[Any, bool]:
        spec, account = delivery.spec, delivery.account
        table = iceberg.load_or_create(
            self._catalog,
            identifier,
            {f.name: iceberg.iceberg_type(f.type) for f in schema},
            spec.partition_column,
            self.settings.warehouse,
        )
        if account.same_content(iceberg.accounts(table).get(account.partition)):
            return table, False
        adopted = [iceberg.adopt_file(path, table, delivery.partition) for path in files]
        whole_table = spec.mode == "replace"
        return iceberg.replace(
            self._catalog,
            identifier,
            adopted,
            replaces=lambda partition: whole_table or partition == delivery.partition,
            properties=account.to_properties(),
            unless=lambda fresh: account.same_content(iceberg.accounts(fresh).get(account.partition)),
        )

    def accounts(self, spec: TableSpec) -> dict[str, LoadAccount]:
        """From the snapshots' properties."""
        table = self._find(spec.identifier)
        return iceberg.accounts(table) if table else {}

    def stored_rows(self, spec: TableSpec, *, rejected: bool = False) -> dict[str, int]:
        """From the manifests: no data is read."""
        table = self._find(f"bronze.{spec.rejected_table}" if rejected else spec.identifier)
        counts = iceberg.rows_by_partition(table) if table else {}
        return {_key(partition): rows for partition, rows in counts.items()}

    def appended_rows(self, spec: TableSpec, *, rejected: bool = False) -> int:
        """From the newest load's snapshot."""
        table = self._find(f"bronze.{spec.rejected_table}" if rejected else spec.identifier)
        return append.total_rows(table) if table else 0

    def held_keys(self, spec: TableSpec) -> int:
        """Counted in the files' columns of the key."""
        table = self._find(spec.identifier)
        keys = ", ".join(map(quote, spec.key))
        return int(self._ask(iceberg.current_files(table) if table else [], f"count(DISTINCT ({keys}))") or 0)

    def newest(self, spec: TableSpec, column: str, since: date) -> datetime | None:
        """Asked of the files' column."""
        table = self._find(spec.identifier)
        files = iceberg.current_files(table) if table else []
        late = [file for file in files if table and (iceberg.partition_of(table, file) or date.min) >= since]
        found: datetime | None = self._ask(late, f"max({quote(column)})")
        return found

    def _ask(self, files: "Sequence[DataFile]", aggregate: str) -> Any:
        """An aggregate over the rows of `files`; None if there are none."""
        import duckdb

        if not files:
            return None
        paths = ", ".join(literal(file.file_path.removeprefix("file://")) for file in files)
        limits: dict[str, Any] = {
            "memory_limit": self.settings.duckdb_memory_limit,
            "temp_directory": str(self.settings.staging / "spill"),
        }
        with duckdb.connect(config=limits) as connection:
            return connection.sql(
                f"SELECT {aggregate} FROM read_parquet([{paths}], union_by_name = true)"  # noqa: S608
            ).fetchall()[0][0]

    def partitions(self, table: str) -> frozenset[str] | None:
        """From the manifests."""
        found = self._find(f"bronze.{table}")
        if found is None:
            return None
        if not found.spec().fields:
            return frozenset({""})
        return frozenset(_key(partition) for partition, rows in iceberg.rows_by_partition(found).items() if rows)

    def preview(self, spec: TableSpec, rows: int) -> "pa.Table":
        """The first rows of a scan."""
        return self._catalog.load_table(spec.identifier).scan(limit=rows).to_arrow().slice(0, rows)


def _key(partition: date | None) -> str:
    return partition.isoformat() if partition else ""
