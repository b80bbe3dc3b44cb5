"""Bronze on Google Cloud: tables in BigQuery, or Parquet in GCS under a BigLake table; one account for both.

What belongs here: commits and accounts in terms of BigQuery and GCS. What does not: infrastructure (`infra_assets.gcp`
makes datasets, bucket and connection), and sources.

dlt brings the delivered files to a table of their own in the dataset `bronze_staging`, through Parquet in GCS. Then one
transaction replaces the partition, its rejected rows and adds the account: readers see all of it or nothing, and the
partition is deleted by a literal, so BigQuery touches no other. (dlt's own merge deletes by a subquery, which scans the
whole table, and which `require_partition_filter` refuses.) dlt's staging tables expire with their dataset's default.

Every query of ours is labelled with the table, run and partition it is for, and refused beyond `maximum_bytes`. dlt's
own jobs are not: it lets nobody set labels. They are loads, which BigQuery does not bill, and look-ups of its state.

A table whose `storage` is `lake` has one Parquet object a partition: overwriting an object is atomic in GCS, so that is
the commit of its rows. The account follows it; a load that dies between the two is done again, to the same end.
"""

import json
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lake.accounting import REFRESH, LoadAccount
from lake.append import REJECTED_IDENTITY
from lake.errors import LakeError, root_cause
from lake.gcp import LABELS, bigquery_client, clear_errors, job_labels, query_config, storage_client
from lake.quarantine import rejected_schema
from lake.settings import GcpTarget
from lake.spec import DECIMAL, TableSpec
from lake.store import Commit, Delivery

if TYPE_CHECKING:
    import pyarrow as pa
    from google.cloud import bigquery, storage

DATASET = "bronze"
STAGING = "bronze_staging"
STAGING_FOLDER = "staging"  # in the bucket
ACCOUNTS = "load_accounts"
LOADED_AT = "_loaded_at"
EVER = "DATE '0001-01-01'"  # a partition filter that leaves nothing out
# Of transactions, in BigQuery's words and the stand-in's; and of two that replace one table at once.
LOST_RACES = ("concurrent update", "Failed to commit", "Not found: Table", "violates primary key constraint")
NEW_COLUMNS = "lakegraph.new-columns"  # metadata of an object: name → GoogleSQL type
TURN_SUFFIX = "__turn"  # of the table that loads which append take turns on
ATTEMPTS = 8  # of a statement that another one stands in the way of

SCALARS = {
    "boolean": "BOOL",
    "long": "INT64",
    "double": "FLOAT64",
    "string": "STRING",
    "date": "DATE",
    "timestamp": "DATETIME",  # without a time zone
    "timestamptz": "TIMESTAMP",
}
# The API's older names of types.
STANDARD_NAMES = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL"}


def column_type(kind: str) -> str:
    """The GoogleSQL type of a declared type."""
    if match := DECIMAL.fullmatch(kind):
        return f"NUMERIC({match[1]}, {match[2]})"
    return SCALARS[kind]


def arrow_column_type(kind: "pa.DataType") -> str:
    """The GoogleSQL type in which a column of an Arrow type is stored.

    Raises:
        LakeError: there is none.
    """
    import pyarrow.types as pt

    if pt.is_decimal(kind):
        return f"NUMERIC({kind.precision}, {kind.scale})"
    if pt.is_timestamp(kind):
        return "TIMESTAMP" if kind.tz else "DATETIME"
    tests = (
        (pt.is_boolean, "BOOL"),
        (pt.is_integer, "INT64"),
        (pt.is_floating, "FLOAT64"),
        (pt.is_date, "DATE"),
        (lambda k: pt.is_string(k) or pt.is_large_string(k), "STRING"),
        (lambda k: pt.is_binary(k) or pt.is_large_binary(k), "BYTES"),
    )
    for test, name in tests:
        if test(kind):
            return name
    raise LakeError(f"no BigQuery type for the Arrow type {kind}")


def field_type(field: "bigquery.SchemaField") -> str:
    """The GoogleSQL type of a column that the API describes."""
    name = STANDARD_NAMES.get(field.field_type, field.field_type)
    if name == "NUMERIC" and field.precision:
        return f"NUMERIC({field.precision}, {field.scale or 0})"
    return str(name)


def _arrow_type(field: "bigquery.SchemaField") -> "pa.DataType":
    import pyarrow as pa

    types = {
        "BOOL": pa.bool_(),
        "INT64": pa.int64(),
        "FLOAT64": pa.float64(),
        "STRING": pa.string(),
        "DATE": pa.date32(),
        "DATETIME": pa.timestamp("us"),
        "TIMESTAMP": pa.timestamp("us", "UTC"),
        "BYTES": pa.binary(),
    }
    name = field_type(field)
    return types[name] if name in types else pa.decimal128(field.precision or 38, field.scale or 9)


def quote(name: str) -> str:
    """`name` as a quoted GoogleSQL identifier; dots part it."""
    return "`" + name.replace("`", "") + "`"


def literal(text: str) -> str:
    """`text` as a GoogleSQL string literal."""
    return json.dumps(text, ensure_ascii=False)


@dataclass(frozen=True)
class _Staged:
    """A table of the staging dataset: its full name, the folder in the bucket that it was loaded from, and its columns
    (name in the files → GoogleSQL type).
    """

    name: str
    folder: str
    columns: dict[str, str]


@dataclass(frozen=True)
class BigQueryStore:
    """Implements `lake.store.BronzeStore` on a project.

    Attributes:
        target: the project, and where in it.
        maximum_bytes: a query that would be billed for more is refused.
        run_id: who asks, for the jobs' labels.
    """

    target: GcpTarget
    maximum_bytes: int
    run_id: str

    @cached_property
    def _client(self) -> "bigquery.Client":
        return bigquery_client(self.target)

    @cached_property
    def _bucket(self) -> "storage.Bucket":
        return storage_client(self.target).bucket(self.target.bucket)

    def _name(self, table: str, dataset: str = DATASET) -> str:
        return f"{self.target.project}.{dataset}.{table}"

    # -- looking

    def _find(self, table: str) -> "bigquery.Table | None":
        from google.api_core.exceptions import NotFound

        with clear_errors(f"{DATASET}.{table}"):
            try:
                return self._client.get_table(self._name(table))
            except NotFound:
                return None

    def known_columns(self, spec: TableSpec) -> "dict[str, pa.DataType]":
        """Columns beyond the declaration, with their Arrow types."""
        table = self._find(spec.table)
        ours = {LOADED_AT, spec.partition_column}
        found = table.schema if table else ()
        return {f.name: _arrow_type(f) for f in found if not spec.match(f.name) and f.name not in ours}

    def check_declaration(self, spec: TableSpec) -> None:
        """Compare the declared types, and the storage, with the table's."""
        table = self._find(spec.table)
        if table is None:
            return
        stored = {field.name.lower(): field_type(field) for field in table.schema}
        for name, column in spec.columns.items():
            want = column_type(column.type)
            have = stored.get(name.lower(), want)
            if have != want:
                raise LakeError(
                    f"{spec.identifier}.{name}: declared {want}, but the table holds {have}; declare what it holds, or "
                    "drop the table and load its months again"
                )
        external = table.table_type == "EXTERNAL"
        if external != (spec.storage == "lake"):
            raise LakeError(
                f"{spec.identifier}: storage is declared as {spec.storage}, but the table is "
                f"{'in GCS' if external else 'in BigQuery'}; drop the table and load its months again"
            )

    def accounts(self, spec: TableSpec) -> dict[str, LoadAccount]:
        """The newest of each partition in `bronze.load_accounts`, which is only ever added to."""
        from google.api_core.exceptions import NotFound
        from google.cloud import bigquery

        columns = ", ".join(list(_ACCOUNT_COLUMNS)[1:])
        sql = (
            f"SELECT {columns} FROM {quote(self._name(ACCOUNTS))} WHERE table_name = @table_name "  # noqa: S608
            "QUALIFY row_number() OVER (PARTITION BY partition_key ORDER BY loaded_at DESC) = 1"
        )
        parameter = bigquery.ScalarQueryParameter("table_name", "STRING", spec.table)
        with clear_errors(f"{DATASET}.{ACCOUNTS}"):
            try:
                rows = list(self._rows(sql, spec.identifier, [parameter]))
            except NotFound:
                return {}
        names = [f.name for f in fields(LoadAccount)]
        found = (LoadAccount(**dict(zip(names, row.values(), strict=True))) for row in rows)
        return {account.partition: account for account in found}

    def newest_loads(self) -> "dict[str, datetime]":
        """When each bronze table was last changed by a load, in UTC."""
        from google.api_core.exceptions import NotFound

        sql = f"SELECT table_name, max(loaded_at) FROM {quote(self._name(ACCOUNTS))} GROUP BY 1"  # noqa: S608
        with clear_errors(f"{DATASET}.{ACCOUNTS}"):
            try:
                return dict(row.values() for row in self._rows(sql, f"{DATASET}.{ACCOUNTS}"))
            except NotFound:
                return {}

    def stored_rows(self, spec: TableSpec, *, rejected: bool = False) -> dict[str, int]:
        """Counted in the tables themselves."""
        if rejected:
            return self._count(spec.rejected_table, _rejected_partition(spec))
        return self._count(spec.table, spec.partition_column)

    def _count(self, table: str, partition_column: str | None) -> dict[str, int]:
        from google.api_core.exceptions import NotFound

        name = quote(self._name(table))
        if partition_column:
            month = quote(partition_column)
            sql = f"SELECT {month}, count(*) FROM {name} WHERE {month} >= {EVER} GROUP BY 1"  # noqa: S608
        else:
            sql = f"SELECT NULL, count(*) FROM {name}"  # noqa: S608
        with clear_errors(f"{DATASET}.{table}"):
            try:
                rows = [row.values() for row in self._rows(sql, f"{DATASET}.{table}")]
            except NotFound:
                return {}
        return {key.isoformat() if key else "": count for key, count in rows if count}

    def partitions(self, table: str) -> frozenset[str] | None:
        """By a count, or by the names of the objects."""
        found = self._find(table)
        if found is None:
            return None
        if found.table_type == "EXTERNAL":
            with clear_errors(f"{DATASET}.{table}"):
                return frozenset(name.split("/")[-2].partition("=")[2] for name, _ in self._objects(table))
        if found.time_partitioning:
            return frozenset(self._count(table, found.time_partitioning.field))
        return frozenset({""})

    def preview(self, spec: TableSpec, rows: int) -> "pa.Table":
        """Some rows: of a native table without a query, of files by one over the newest partition."""
        name = quote(self._name(spec.table))
        with clear_errors(spec.identifier):
            if spec.storage == "warehouse":
                listed = self._client.list_rows(self._name(spec.table), max_results=rows)
                return listed.to_arrow(create_bqstorage_client=False)
            newest = max(self.accounts(spec))
            sql = f"SELECT * FROM {name} WHERE {spec.partition_column} = DATE '{newest}' LIMIT {rows}"  # noqa: S608
            return self._rows(sql, spec.identifier).to_arrow(create_bqstorage_client=False)

    # -- committing

    def commit(self, delivery: Delivery) -> Commit:
        """Stage by dlt, write the partition's object if the rows live in GCS, then one transaction for the rest."""
        spec = delivery.spec
        if spec.mode == "append":
            return self._append(delivery)
        in_lake = spec.storage == "lake"
        changed = not self._holds(delivery)
        if changed:
            rows = () if in_lake else delivery.files
            staged = self._stage(delivery, {spec.table: rows, spec.rejected_table: delivery.rejected})
            with clear_errors(spec.identifier):
                self._make_tables(delivery, staged)
                if in_lake:
                    self._write_object(delivery)
                self._transact(delivery, staged)
                self._unstage(staged)
        with clear_errors(spec.identifier):
            if in_lake:
                self._declare_external(delivery)
        return Commit(changed, None, sum(self.stored_rows(spec).values()), delivery.account)

    def _append(self, delivery: Delivery) -> Commit:
        """Stage, then one transaction: the account of what is new by comparison, then the new rows themselves.

        Only the partitions that the delivery touches are compared, by their literal days. Transactions that only insert
        do not conflict in BigQuery, and two loads of the same row would each find it new: so each first changes the one
        row of a table made for that, on which all but one of them are cancelled, and tried again.
        """
        spec = delivery.spec
        staged = self._stage(delivery, {spec.table: delivery.files, spec.rejected_table: delivery.rejected})
        loaded_at = datetime.now(UTC)
        with clear_errors(spec.identifier):
            self._make_tables(delivery, staged)
            turn = quote(self._name(spec.table + TURN_SUFFIX))
            self._run(delivery, f"CREATE TABLE IF NOT EXISTS {turn} AS SELECT 0 AS loads")
            self._run(delivery, *self._joining(delivery, staged, loaded_at))
            self._unstage(staged)
            account = self._account_of(delivery, loaded_at)
        changed = bool(account.rows_loaded or account.rows_rejected)
        return Commit(changed, None, sum(self.stored_rows(spec).values()), account)

    def _joining(
        self, delivery: Delivery, staged: dict[str, _Staged], loaded_at: datetime
    ) -> tuple[str, list["bigquery.ScalarQueryParameter"]]:
        """The transaction's statements, and their parameters."""
        from google.cloud import bigquery

        spec, account = delivery.spec, delivery.account
        joins = [_Join(self, spec, name, staged[name], delivery.files) for name in staged]
        counts = {
            "rows_loaded": [join.new for join in joins if join.table == spec.table],
            "rows_rejected": [join.new for join in joins if join.table == spec.rejected_table],
            "rows_known": [join.known for join in joins],
        }
        told = {"table_name": spec.table, **{f.name: getattr(account, f.name) for f in fields(LoadAccount)}}
        values = [
            " + ".join(f"({count})" for count in counts[name]) or "0" if name in counts else f"@{name}"
            for name in _ACCOUNT_COLUMNS
        ]
        tell = (
            f"INSERT INTO {quote(self._name(ACCOUNTS))} ({', '.join(_ACCOUNT_COLUMNS)}, loaded_at) "
            f"SELECT {', '.join(values)}, @loaded_at"
        )
        take = f"UPDATE {quote(self._name(spec.table + TURN_SUFFIX))} SET loads = loads + 1 WHERE TRUE"  # noqa: S608
        emptied = self._emptied(delivery) if delivery.refresh else []
        statements = ["BEGIN TRANSACTION", take, *emptied, tell, *(join.insert for join in joins), "COMMIT TRANSACTION"]
        parameters = [
            bigquery.ScalarQueryParameter(column, kind, value)
            for (column, kind), value in zip(_ACCOUNT_COLUMNS.items(), told.values(), strict=True)
            if column not in counts
        ]
        parameters.append(bigquery.ScalarQueryParameter("loaded_at", "TIMESTAMP", loaded_at))
        return ";\n".join(statements) + ";", parameters

    def _emptied(self, delivery: Delivery) -> list[str]:
        """The statements that make room for a refresh."""
        spec = delivery.spec
        ever = f"{quote(spec.partition_column or '')} >= {EVER}"
        rows, rejected = quote(self._name(spec.table)), quote(self._name(spec.rejected_table))
        return [f"DELETE FROM {rows} WHERE {ever}", f"DELETE FROM {rejected} WHERE TRUE"]  # noqa: S608

    def _account_of(self, delivery: Delivery, loaded_at: datetime) -> LoadAccount:
        """The account that the load of that moment has left."""
        from google.cloud import bigquery

        sql = (
            f"SELECT rows_loaded, rows_rejected, rows_known FROM {quote(self._name(ACCOUNTS))} "  # noqa: S608
            "WHERE table_name = @table_name AND run_id = @run_id AND loaded_at = @loaded_at"
        )
        parameters = [
            bigquery.ScalarQueryParameter("table_name", "STRING", delivery.spec.table),
            bigquery.ScalarQueryParameter("run_id", "STRING", delivery.account.run_id),
            bigquery.ScalarQueryParameter("loaded_at", "TIMESTAMP", loaded_at),
        ]
        ((loaded, rejected, known),) = (r.values() for r in self._rows(sql, delivery.spec.identifier, parameters))
        return replace(delivery.account, rows_loaded=loaded, rows_rejected=rejected, rows_known=known)

    def appended_rows(self, spec: TableSpec, *, rejected: bool = False) -> int:
        """The sum over the accounts, from that of the last refresh on."""
        from google.api_core.exceptions import NotFound
        from google.cloud import bigquery

        column = "rows_rejected" if rejected else "rows_loaded"
        accounts = quote(self._name(ACCOUNTS))
        sql = (
            f"WITH accounts AS (SELECT * FROM {accounts} WHERE table_name = @table_name) "  # noqa: S608
            f"SELECT coalesce(sum({column}), 0) FROM accounts WHERE loaded_at >= coalesce("
            "(SELECT max(loaded_at) FROM accounts WHERE partition_key = @refresh), TIMESTAMP '0001-01-01')"
        )
        parameters = [
            bigquery.ScalarQueryParameter("table_name", "STRING", spec.table),
            bigquery.ScalarQueryParameter("refresh", "STRING", REFRESH),
        ]
        with clear_errors(f"{DATASET}.{ACCOUNTS}"):
            try:
                return sum(row[0] for row in self._rows(sql, spec.identifier, parameters))
            except NotFound:
                return 0

    def held_keys(self, spec: TableSpec) -> int:
        """Counted in the table."""
        keys = ", ".join(map(quote, spec.key))
        return int(self._ask(spec, lambda rows: f"SELECT count(*) FROM (SELECT DISTINCT {keys} FROM {rows})") or 0)  # noqa: S608

    def newest(self, spec: TableSpec, column: str, since: date) -> datetime | None:
        """By a query over those partitions."""
        found: datetime | None = self._ask(spec, lambda rows: f"SELECT max({quote(column)}) FROM {rows}", _date(since))  # noqa: S608
        return found

    def _ask(self, spec: TableSpec, sql: Callable[[str], str], since: str = EVER) -> Any:
        """The one value of a query over the table's rows in the partitions from `since` on; None without a table."""
        from google.api_core.exceptions import NotFound

        rows = f"{quote(self._name(spec.table))} WHERE {quote(spec.partition_column or '')} >= {since}"
        with clear_errors(spec.identifier):
            try:
                ((value,),) = (row.values() for row in self._rows(sql(rows), spec.identifier))
            except NotFound:
                return None
        return value

    def _holds(self, delivery: Delivery) -> bool:
        """Whether the table holds this very content: by its account, and by what is there. An account may outlive its
        rows (a table was dropped, or has expired), and an object may be of a load that died before its account.
        """
        spec, account = delivery.spec, delivery.account
        if not account.same_content(self.accounts(spec).get(account.partition)):
            return False
        if spec.storage == "lake":
            blob = self._bucket.get_blob(self._key(spec, delivery.partition))
            stored = LoadAccount.from_properties(blob.metadata or {}) if blob else None
            if account.rows_loaded and not account.same_content(stored):
                return False
        counts = (
            self.stored_rows(spec).get(account.partition, 0),
            self.stored_rows(spec, rejected=True).get(account.partition, 0),
        )
        return counts == (account.rows_loaded, account.rows_rejected)

    def _stage(self, delivery: Delivery, tables: dict[str, tuple[Path, ...]]) -> dict[str, _Staged]:
        """The files of each table in a staging table of this load's own, by dlt; tables without files are left out."""
        import dlt
        import pyarrow.parquet as pq
        from dlt.common.libs.pyarrow import py_arrow_to_table_schema_columns
        from dlt.pipeline.exceptions import PipelineStepFailed

        suffix = uuid.uuid4().hex[:12]
        staged, resources = {}, []
        for table, paths in tables.items():
            if not paths:
                continue
            schema = pq.read_schema(paths[0])
            name = f"{table}__{suffix}"
            columns = {f.name: arrow_column_type(f.type) for f in schema}
            staged[table] = _Staged(self._name(name, STAGING), f"{STAGING_FOLDER}/{suffix}", columns)
            hints = dlt.mark.make_hints(columns=py_arrow_to_table_schema_columns(schema))
            resources.append(dlt.resource(_imports(paths, hints), name=name, write_disposition="append"))
        if not staged:
            return {}
        pipeline = dlt.pipeline(
            f"{delivery.account.pipeline}_bigquery",
            destination=dlt.destinations.bigquery(
                project_id=self.target.project, location=self.target.location, naming_convention="direct"
            ),
            staging=dlt.destinations.filesystem(f"gs://{self.target.bucket}/{STAGING_FOLDER}/{suffix}"),
            dataset_name=STAGING,
            pipelines_dir=str(delivery.working / "bigquery"),
        )
        pipeline.config.restore_from_destination = False
        source = dlt.source(lambda: resources, name=f"load_{suffix}", max_table_nesting=0)()
        try:
            with clear_errors(delivery.spec.identifier), warnings.catch_warnings():
                # dlt's few look-ups need no bulk reader
                warnings.filterwarnings("ignore", message="Cannot create BigQuery Storage client")
                _run_patiently(pipeline, source)
        except PipelineStepFailed as error:
            with clear_errors(delivery.spec.identifier):
                raise root_cause(error) from error
        return staged

    def _unstage(self, staged: dict[str, _Staged]) -> None:
        """Clear away what is of no use any more; what a load that died has left expires by itself."""
        for table in staged.values():
            self._client.delete_table(table.name, not_found_ok=True)
        for folder in {table.folder for table in staged.values()}:
            self._bucket.delete_blobs(list(self._bucket.list_blobs(prefix=f"{folder}/")))

    def _make_tables(self, delivery: Delivery, staged: dict[str, _Staged]) -> None:
        """Create what is missing, with partitions and clusters, and add columns that are new."""
        spec = delivery.spec
        accounts = ", ".join(f"{name} {kind}" for name, kind in _ACCOUNT_COLUMNS.items())
        self._run(
            delivery,
            f"CREATE TABLE IF NOT EXISTS {quote(self._name(ACCOUNTS))} ({accounts}, loaded_at TIMESTAMP) "
            "CLUSTER BY table_name OPTIONS(description='One row for each load of a bronze table.')",
        )
        rejected = {f.name: arrow_column_type(f.type) for f in rejected_schema()}
        self._make_table(delivery, spec.rejected_table, rejected, f"Rows that break a rule of {spec.identifier}.")
        if spec.storage == "warehouse":
            declared = {name: column_type(column.type) for name, column in spec.columns.items()}
            self._make_table(delivery, spec.table, declared, spec.description)
            arrived = staged[spec.table].columns if spec.table in staged else {}
            new = {n: kind for n, kind in arrived.items() if not spec.match(n) and n != spec.partition_column}
            for name, kind in new.items():
                table = quote(self._name(spec.table))
                self._run(delivery, f"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {quote(name)} {kind}")

    def _make_table(self, delivery: Delivery, table: str, columns: dict[str, str], description: str) -> None:
        spec = delivery.spec
        listed = ", ".join(f"{quote(name)} {kind}" for name, kind in columns.items())
        options = [f"description={literal(description)}", f"labels=[{', '.join(map(_label, LABELS.items()))}]"]
        partitioned, month = "", ""
        by = spec.partition_column if table == spec.table else _rejected_partition(spec)
        if by:
            month = f", {quote(by)} DATE"
            partitioned = f" PARTITION BY {quote(by)}"
            options.append("require_partition_filter=true")
        clustered = ""
        if spec.cluster_by and table == spec.table:
            clustered = f" CLUSTER BY {', '.join(map(quote, spec.cluster_by))}"
        self._run(
            delivery,
            f"CREATE TABLE IF NOT EXISTS {quote(self._name(table))} ({listed}{month}, {LOADED_AT} TIMESTAMP)"
            f"{partitioned}{clustered} OPTIONS({', '.join(options)})",
        )

    def _transact(self, delivery: Delivery, staged: dict[str, _Staged]) -> None:
        """Replace rows and rejects, and add the account, in one transaction."""
        from google.cloud import bigquery

        spec, account = delivery.spec, delivery.account
        statements = ["BEGIN TRANSACTION"]
        tables = [spec.rejected_table, *([spec.table] if spec.storage == "warehouse" else [])]
        for table in tables:
            statements += self._replacement(delivery, table, staged.get(table))
        names = [*_ACCOUNT_COLUMNS, "loaded_at"]
        values = [*(f"@{name}" for name in _ACCOUNT_COLUMNS), "CURRENT_TIMESTAMP()"]
        statements.append(
            f"INSERT INTO {quote(self._name(ACCOUNTS))} ({', '.join(names)}) VALUES ({', '.join(values)})"  # noqa: S608
        )
        statements.append("COMMIT TRANSACTION")
        values_of = [spec.table, *(getattr(account, f.name) for f in fields(LoadAccount))]
        parameters = [
            bigquery.ScalarQueryParameter(name, kind, value)
            for (name, kind), value in zip(_ACCOUNT_COLUMNS.items(), values_of, strict=True)
        ]

        self._run(delivery, ";\n".join(statements) + ";", parameters)

    def _replacement(self, delivery: Delivery, table: str, staged: _Staged | None) -> Iterator[str]:
        spec = delivery.spec
        where = "TRUE" if delivery.partition is None else f"{spec.partition_column} = {_date(delivery.partition)}"
        yield f"DELETE FROM {quote(self._name(table))} WHERE {where}"  # noqa: S608
        if staged is None:
            return
        casts = _casts(spec, staged.columns)
        into, values = [quote(name) for name in casts], list(casts.values())
        if delivery.partition is not None:
            into.append(quote(spec.partition_column or ""))
            values.append(_date(delivery.partition))
        into.append(LOADED_AT)
        values.append("CURRENT_TIMESTAMP()")
        yield (
            f"INSERT INTO {quote(self._name(table))} ({', '.join(into)}) "  # noqa: S608
            f"SELECT {', '.join(values)} FROM {quote(staged.name)}"
        )

    def _folder(self, table: str) -> str:
        return f"lake/{DATASET}/{table}"

    def _key(self, spec: TableSpec, partition: date | None) -> str:
        return f"{self._folder(spec.table)}/{spec.partition_column}={partition}/rows.parquet"

    def _objects(self, table: str) -> "dict[tuple[str, int], dict[str, str]]":
        """Name and generation of each object of a table, with the columns it holds beyond the declaration."""
        blobs = self._bucket.list_blobs(prefix=f"{self._folder(table)}/")
        return {(b.name, b.generation): json.loads((b.metadata or {}).get(NEW_COLUMNS, "{}")) for b in blobs}

    def _write_object(self, delivery: Delivery) -> None:
        """The partition's one object; an upload replaces it at once. A partition without rows has none."""
        import pyarrow.parquet as pq
        from google.api_core.exceptions import NotFound

        spec = delivery.spec
        blob = self._bucket.blob(self._key(spec, delivery.partition))
        if not delivery.files:
            with suppress(NotFound):
                blob.delete()
            return
        path = _one_file(delivery.files, delivery.working)
        new = {f.name: arrow_column_type(f.type) for f in pq.read_schema(path) if not spec.match(f.name)}
        blob.metadata = {**delivery.account.to_properties(), NEW_COLUMNS: json.dumps(new)}
        blob.upload_from_filename(str(path), content_type="application/vnd.apache.parquet")

    def _declare_external(self, delivery: Delivery) -> None:
        """The BigLake table over the objects: the declared columns, and those that objects say they have brought.

        Done again if the objects have changed meanwhile: another load may have declared the table before this one did,
        for more columns than this one knew of.
        """
        spec = delivery.spec
        declared = {name: column_type(column.type) for name, column in spec.columns.items()}
        prefix = f"gs://{self.target.bucket}/{self._folder(spec.table)}"
        objects = None
        while objects != (found := self._objects(spec.table)):
            objects = found
            columns = {**declared, **{name: kind for new in objects.values() for name, kind in new.items()}}
            listed = ", ".join(f"{quote(name)} {kind}" for name, kind in columns.items())
            self._run(
                delivery,
                f"CREATE OR REPLACE EXTERNAL TABLE {quote(self._name(spec.table))} ({listed}) "
                f"WITH PARTITION COLUMNS ({quote(spec.partition_column or '')} DATE) "
                f"WITH CONNECTION {quote(self.target.connection_name)} "
                f"OPTIONS(format='PARQUET', uris=['{prefix}/*.parquet'], hive_partition_uri_prefix='{prefix}', "
                f"require_hive_partition_filter=true, description={literal(spec.description)})",
            )

    def _run(self, delivery: Delivery, sql: str, parameters: Sequence[Any] = ()) -> None:
        """A statement of a load; again if that of another one stands in the way, which leaves nothing behind."""
        from google.api_core.exceptions import Conflict, GoogleAPIError
        from tenacity import retry, retry_if_exception, stop_after_attempt, wait_random_exponential

        labels = job_labels(delivery.spec.identifier, self.run_id, delivery.account.partition)
        config = query_config(self.maximum_bytes, labels, parameters)

        def in_the_way(error: BaseException) -> bool:
            said = any(text in str(error) for text in LOST_RACES)
            return isinstance(error, Conflict) or (isinstance(error, GoogleAPIError) and said)

        @retry(
            retry=retry_if_exception(in_the_way),
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_random_exponential(0.5, max=20),
            reraise=True,
        )
        def attempt() -> None:
            self._client.query(sql, job_config=config).result()

        attempt()

    def _rows(self, sql: str, identifier: str, parameters: Sequence[Any] = ()) -> "bigquery.table.RowIterator":
        """A question about a table."""
        config = query_config(self.maximum_bytes, job_labels(identifier, self.run_id), parameters)
        return self._client.query_and_wait(sql, job_config=config)


# `bronze.load_accounts`: the table, then the account's fields in their order. PARTITION is a reserved word.
_ACCOUNT_COLUMNS = {
    "table_name": "STRING",
    **{
        {"partition": "partition_key"}.get(f.name, f.name): "INT64" if f.type is int else "STRING"
        for f in fields(LoadAccount)
    },
}


@dataclass(frozen=True)
class _Join:
    """What of a staged table a table does not hold yet, as SQL; `files` say which partitions to compare."""

    store: BigQueryStore
    spec: TableSpec
    table: str
    staged: _Staged
    files: Sequence[Path]

    @property
    def _keys(self) -> tuple[str, ...]:
        if self.table == self.spec.table:
            return (self.spec.partition_column or "", *self.spec.identity)
        return REJECTED_IDENTITY

    @property
    def _held(self) -> str:
        """Whether the table holds the row `d`."""
        target = quote(self.store._name(self.table))  # noqa: SLF001 - the store's own part
        equal = [f"t.{quote(key)} = d.{quote(key)}" for key in self._keys]
        if self.table == self.spec.table:
            column = self.spec.partition_column or ""
            equal.insert(0, f"t.{quote(column)} IN ({', '.join(_date(day) for day in _days(self.files, column))})")
        return f"EXISTS (SELECT 1 FROM {target} AS t WHERE {' AND '.join(equal)})"  # noqa: S608

    @property
    def _once(self) -> str:
        """Each staged row once."""
        keys = ", ".join(map(quote, self._keys))
        return f"(SELECT * FROM {quote(self.staged.name)} QUALIFY row_number() OVER (PARTITION BY {keys}) = 1)"  # noqa: S608

    @property
    def new(self) -> str:
        """A query for the number of rows to come."""
        return f"SELECT count(*) FROM {self._once} AS d WHERE NOT {self._held}"  # noqa: S608

    @property
    def known(self) -> str:
        """A query for the number of rows that are held, or come twice."""
        keys = ", ".join(map(quote, self._keys))
        numbered = f"(SELECT *, row_number() OVER (PARTITION BY {keys}) AS _nth FROM {quote(self.staged.name)})"  # noqa: S608
        return f"SELECT count(*) FROM {numbered} AS d WHERE _nth > 1 OR {self._held}"  # noqa: S608

    @property
    def insert(self) -> str:
        """The statement that brings them."""
        casts = _casts(self.spec, self.staged.columns)
        target = quote(self.store._name(self.table))  # noqa: SLF001
        return (
            f"INSERT INTO {target} ({', '.join(map(quote, casts))}, {LOADED_AT}) "  # noqa: S608
            f"SELECT {', '.join(casts.values())}, @loaded_at FROM {self._once} AS d WHERE NOT {self._held}"
        )


def _casts(spec: TableSpec, columns: dict[str, str]) -> dict[str, str]:
    """Column of the table → its value out of a staged table of `columns`."""
    names = {spec.match(name) or name: (name, kind) for name, kind in columns.items()}
    declared = {name: column_type(column.type) for name, column in spec.columns.items()}
    kinds = {to: declared.get(to, kind).partition("(")[0] for to, (_, kind) in names.items()}  # the column rounds
    return {to: f"CAST({quote(name)} AS {kinds[to]})" for to, (name, _) in names.items()}


def _rejected_partition(spec: TableSpec) -> str | None:
    """The column that rejected rows are partitioned by; those of appended tables are no partition's."""
    return None if spec.mode == "append" else spec.partition_column


def _days(files: Sequence[Path], column: str) -> list[date]:
    """The distinct values of a date column of Parquet files."""
    import pyarrow.parquet as pq

    return sorted({day for path in files for day in pq.read_table(path, columns=[column])[column].unique().to_pylist()})


def _label(pair: tuple[str, str]) -> str:
    return f"({literal(pair[0])}, {literal(pair[1])})"


def _date(day: date) -> str:
    return f"DATE '{day.isoformat()}'"


def _run_patiently(pipeline: Any, source: Any) -> None:
    """Run the pipeline; loads of other tables race with it to create dlt's own tables, and the loser tries again."""
    from dlt.pipeline.helpers import retry_schema_update
    from tenacity import retry, retry_if_exception, stop_after_attempt, wait_random_exponential

    @retry(
        retry=retry_if_exception(retry_schema_update()),
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_random_exponential(0.5, max=20),
        reraise=True,
    )
    def attempt() -> None:
        if pipeline.has_pending_data:  # extracted by the attempt before
            pipeline.load()
        else:
            pipeline.run(source, loader_file_format="parquet")

    attempt()


def _imports(paths: Sequence[Path], hints: Any) -> Iterator[Any]:
    """The files as they are, for dlt to send on without reading them."""
    import dlt
    import pyarrow.parquet as pq

    for path in paths:
        yield dlt.mark.with_file_import(str(path), "parquet", pq.read_metadata(path).num_rows, hints=hints)


def _one_file(paths: Sequence[Path], working: Path) -> Path:
    """The files' rows in one file: a partition in GCS is one object."""
    import pyarrow.parquet as pq

    if len(paths) == 1:
        return paths[0]
    target = working / "rows.parquet"
    with pq.ParquetWriter(target, pq.read_schema(paths[0]), compression="zstd") as writer:
        for path in paths:
            with pq.ParquetFile(path) as parquet:
                for group in range(parquet.num_row_groups):
                    writer.write_table(parquet.read_row_group(group))
    return target
