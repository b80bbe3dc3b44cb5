"""One load of one bronze table: run a dlt pipeline over a source, then commit what it delivered in one
snapshot.

What belongs here: the request, the dlt destination, the order of commits. What does not: sources, Dagster.

dlt extracts, normalises and delivers Parquet files into the table's data folder, where no snapshot names them
yet; the commit is ours: rejected rows first, then the rows, so that an account is only ever seen with all
that it accounts for. A load that dies on the way leaves files without a name, swept later by maintenance, and
is simply run again. Each load has a dlt working folder of its own, for a package left behind by a dead run
would block the next one.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lake import iceberg
from lake.accounting import LoadAccount, LoadResult
from lake.catalog import open_catalog
from lake.errors import LakeError, root_cause
from lake.settings import Settings
from lake.spec import TableSpec

if TYPE_CHECKING:
    import pyarrow as pa
    from dlt.extract import DltSource
    from pyiceberg.catalog import Catalog


@dataclass(frozen=True)
class LoadRequest:
    """What is to be loaded: a table, one of its partitions (None if it has none), for which run, under which
    settings.

    `working` is a folder for the source's temporary files; it is removed when the load ends.
    """

    spec: TableSpec
    partition: date | None
    run_id: str
    settings: Settings
    working: Path
    known_columns: Mapping[str, "pa.DataType"] = field(default_factory=dict)

    @property
    def pipeline_name(self) -> str:
        """Stable for a table and partition, so that dlt's traces of one are found under one name."""
        return "_".join(["bronze", self.spec.table, *([f"{self.partition:%Y%m%d}"] if self.partition else [])])


@dataclass
class SourceReport:
    """What a source learns while it is read; it fills this in, the commit reads it.

    `rows_read` counts rows at the source, independently of what arrives: read = loaded + rejected is then a
    check that can fail.
    """

    source_object: str = ""
    digest: str = ""
    rows_read: int = 0
    new_columns: tuple[str, ...] = ()
    casts: tuple[str, ...] = ()


SourceFactory = Callable[[LoadRequest, SourceReport], "DltSource"]


def known_columns(catalog: "Catalog", spec: TableSpec) -> dict[str, "pa.DataType"]:
    """Columns that the table has gained beyond its declaration, with their Arrow types; empty if there is no
    table yet.
    """
    from pyiceberg.exceptions import NoSuchTableError
    from pyiceberg.io.pyarrow import schema_to_pyarrow

    try:
        table = catalog.load_table(spec.identifier)
    except NoSuchTableError:
        return {}
    schema = schema_to_pyarrow(table.schema(), include_field_ids=False)
    return {f.name: f.type for f in schema if f.name not in spec.columns and f.name != spec.partition_column}


def zoneless(types: "Mapping[str, pa.DataType]") -> dict[str, Any]:
    """Dlt's column hints that keep timestamps without a zone as they are."""
    import pyarrow.types as pt

    return {
        name: {"name": name, "timezone": False}
        for name, kind in types.items()
        if pt.is_timestamp(kind) and kind.tz is None
    }


def _check_declaration(catalog: "Catalog", spec: TableSpec) -> None:
    """Refuse a declaration whose types the table cannot take any more: no load would ever succeed.

    Raises:
        LakeError: names the column, both types and the remedy.
    """
    from pyiceberg.exceptions import NoSuchTableError

    try:
        table = catalog.load_table(spec.identifier)
    except NoSuchTableError:
        return
    stored = {field.name.lower(): field.field_type for field in table.schema().fields}
    for name, column in spec.columns.items():
        want = iceberg.iceberg_type(column.arrow_type())
        have = stored.get(name.lower(), want)
        if have != want:
            raise LakeError(
                f"{spec.identifier}.{name}: declared {want}, but the table holds {have}; declare {have}, or drop the "
                f"table (lake.catalog.open_catalog(settings).drop_table({spec.identifier!r})) and load its months again"
            )


def _deliver(request: LoadRequest, source: "DltSource") -> dict[str, list[Path]]:
    """Run the pipeline; the files it delivers, by table. They lie in the request's working folder."""
    os.environ.setdefault(
        "RUNTIME__DLTHUB_TELEMETRY", "false"
    )  # before dlt is imported: a load tells nobody about itself
    import dlt

    delivered: dict[str, list[Path]] = {}
    folder = request.working / "delivered"
    folder.mkdir(parents=True)

    @dlt.destination(
        batch_size=0,
        loader_file_format="parquet",
        name="iceberg_files",
        naming_convention="direct",
        skip_dlt_columns_and_tables=True,
        max_parallel_load_jobs=1,
    )
    def iceberg_files(path: Any, table: Any, /) -> None:
        target = folder / f"{len(delivered)}_{Path(path).name}"
        try:
            target.hardlink_to(path)
        except OSError:
            shutil.copyfile(path, target)
        delivered.setdefault(table["name"], []).append(target)

    pipeline = dlt.pipeline(
        request.pipeline_name,
        destination=iceberg_files,
        dataset_name="bronze",
        pipelines_dir=str(request.working / "pipelines"),
    )
    # dlt labels a timestamp without a zone as UTC unless told not to; readers in another zone would then see
    # other times.
    known = {**{f.name: f.type for f in request.spec.arrow_schema()}, **request.known_columns}
    source.resources[request.spec.table].apply_hints(columns=zoneless(known))
    pipeline.config.restore_from_destination = False  # state lives in Iceberg's snapshots, never in a folder
    pipeline.run(source, loader_file_format="parquet")
    return delivered


def _commit(
    catalog: "Catalog",
    request: LoadRequest,
    identifier: str,
    schema: "pa.Schema",
    files: list[Path],
    account: LoadAccount,
) -> tuple[Any, bool]:
    """Register `files` as the whole content of the partition (or of the table), unless the same load is there
    already.
    """
    spec = request.spec
    table = iceberg.load_or_create(
        catalog,
        identifier,
        {f.name: iceberg.iceberg_type(f.type) for f in schema},
        spec.partition_column,
        request.settings.warehouse,
    )
    if account.same_content(iceberg.accounts(table).get(account.partition)):
        return table, False
    adopted = [iceberg.adopt_file(path, table, request.partition) for path in files]
    whole_table = spec.mode == "replace"
    return iceberg.replace(
        catalog,
        identifier,
        adopted,
        replaces=lambda partition: whole_table or partition == request.partition,
        properties=account.to_properties(),
        unless=lambda fresh: account.same_content(iceberg.accounts(fresh).get(account.partition)),
    )


def load(
    spec: TableSpec,
    factory: SourceFactory,
    settings: Settings,
    *,
    partition: date | None = None,
    run_id: str = "manual",
) -> LoadResult:
    """Load one table, or one of its partitions, from its source.

    Args:
        spec: the table.
        factory: given the request and a report to fill in, the dlt source. Its resources are named
            `spec.table` and `spec.rejected_table`.
        settings: where the tables live.
        partition: the date of the partition; None for an unpartitioned table.
        run_id: who asks.

    Returns:
        The account. `changed` is False if the table already held this very content: then nothing was
        committed.

    Raises:
        LakeError: what stopped the load, in one line; the table is as it was.
    """
    import pyarrow.parquet as pq
    from dlt.pipeline.exceptions import PipelineStepFailed

    from lake.quarantine import rejected_schema

    if (spec.partition_column is None) != (partition is None):
        raise LakeError(
            f"{spec.identifier}: partition {partition} does not fit a table partitioned by {spec.partition_column}"
        )
    catalog = open_catalog(settings)
    _check_declaration(catalog, spec)
    report = SourceReport()
    settings.dlt_home.mkdir(parents=True, exist_ok=True)
    working = Path(tempfile.mkdtemp(prefix=f"{spec.table}-", dir=settings.dlt_home))
    request = LoadRequest(spec, partition, run_id, settings, working, known_columns(catalog, spec))
    try:
        try:
            delivered = _deliver(request, factory(request, report))
        except PipelineStepFailed as error:
            cause = root_cause(error)
            if isinstance(cause, LakeError):
                raise cause from None
            raise
        counts = {name: sum(pq.read_metadata(f).num_rows for f in files) for name, files in delivered.items()}
        account = LoadAccount(
            pipeline=request.pipeline_name,
            run_id=run_id,
            partition=partition.isoformat() if partition else "",
            source_object=report.source_object,
            digest=report.digest or _digest([f for files in delivered.values() for f in files]),
            fingerprint=spec.fingerprint(),
            rows_read=report.rows_read,
            rows_loaded=counts.get(spec.table, 0),
            rows_rejected=counts.get(spec.rejected_table, 0),
        )
        if account.unaccounted:
            raise LakeError(
                f"{report.source_object}: read {account.rows_read:,} rows, but {account.rows_loaded:,} loaded and "
                f"{account.rows_rejected:,} rejected: {account.unaccounted:,} unaccounted for; nothing was committed"
            )
        if account.rows_read and not account.rows_loaded:
            raise LakeError(
                f"{report.source_object}: all {account.rows_read:,} rows break the rules of {spec.identifier}; "
                "the table is left as it was"
            )
        rejected_files = delivered.get(spec.rejected_table, []) if account.rows_rejected else []
        if rejected_files or catalog.table_exists(f"bronze.{spec.rejected_table}"):
            _commit(catalog, request, f"bronze.{spec.rejected_table}", rejected_schema(), rejected_files, account)
        files = delivered.get(spec.table, [])
        table, changed = _commit(catalog, request, spec.identifier, spec.arrow_schema(), files, account)
    finally:
        shutil.rmtree(working, ignore_errors=True)
    snapshot = table.current_snapshot()
    return LoadResult(
        account=account,
        changed=changed,
        snapshot_id=snapshot.snapshot_id if snapshot else None,
        total_rows=sum(iceberg.rows_by_partition(table).values()),
        new_columns=report.new_columns,
        casts=report.casts,
    )


def _digest(files: list[Path]) -> str:
    """SHA-256 over the content of `files`, for sources that have no digest of their own."""
    digest = hashlib.sha256()
    for path in sorted(files):
        with path.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()
