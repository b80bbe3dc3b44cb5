"""One load of one bronze table: run a dlt pipeline over a source, account for its rows, hand the files to the store.

What belongs here: the request, the dlt destination, the account. What does not: sources, Dagster, and how a store
commits (`lake.store`).

dlt extracts, normalises and delivers Parquet files into a working folder; nothing is committed before every row read
is among the delivered ones. A load that dies on the way is simply run again. Each load has a dlt working folder of its
own, for a package left behind by a dead run would block the next one.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from lake.accounting import REFRESH, LoadAccount, LoadResult
from lake.errors import LakeError, root_cause
from lake.settings import Settings
from lake.spec import TableSpec
from lake.store import BronzeStore, Delivery, open_store

if TYPE_CHECKING:
    import pyarrow as pa
    from dlt.extract import DltSource

OVERLAP = timedelta(hours=2)
"""How long before its time a load looks for changes that show late, or were stamped by a clock that is off."""


@dataclass(frozen=True)
class Window:
    """What a load of a table that is appended to asks its source for: what changed from `since` on, before `end`.

    Attributes:
        key: of the Dagster partition, or of the range of them.
        since: in UTC; before the partition's own start, for changes may show late. None: from the beginning.
        end: in UTC, excluded.
        refresh: whether the source is asked for all that it holds, and that takes the place of all that the table
            holds.
    """

    key: str
    since: datetime | None
    end: datetime
    refresh: bool = False

    @classmethod
    def everything(cls, now: datetime) -> Self:
        """The window of a full refresh at `now`, in UTC."""
        return cls(REFRESH, None, now, refresh=True)

    def holds(self, moment: datetime) -> bool:
        """Whether `moment`, in UTC, lies in the window."""
        return (self.since is None or self.since <= moment) and moment < self.end


@dataclass(frozen=True)
class LoadRequest:
    """What is to be loaded: a table, one of its partitions (None if it has none) or a window of its source's changes
    (None if it is not appended to), for which run, under which settings.

    `working` is a folder for the source's temporary files; it is removed when the load ends.
    """

    spec: TableSpec
    partition: date | None
    run_id: str
    settings: Settings
    working: Path
    known_columns: Mapping[str, "pa.DataType"] = field(default_factory=dict)
    window: Window | None = None

    @property
    def pipeline_name(self) -> str:
        """Stable for a table and partition, so that dlt's traces of one are found under one name."""
        part = f"{self.partition:%Y%m%d}" if self.partition else f"{self.window.end:%Y%m%d%H}" if self.window else ""
        return "_".join(filter(None, ["bronze", self.spec.table, part]))


@dataclass
class SourceReport:
    """What a source learns while it is read; it fills this in, the commit reads it.

    `rows_read` counts rows at the source, independently of what arrives: read = loaded + rejected is then a
    check that can fail. `notes` are for whoever looks at the load: columns that were cast, what was left out;
    `refused` are files that were not read, each with the reason. `changes` is what a source that is asked by the time
    of change knows of all its changes, whatever was asked for.
    """

    source_object: str = ""
    digest: str = ""
    rows_read: int = 0
    new_columns: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    changes: "Changes | None" = None


@dataclass(frozen=True)
class Changes:
    """The times of a source's changes, in UTC without a zone.

    Attributes:
        column: that tells when a row changed.
        newest: its greatest value; None: there is none.
        clock: what time it is at the source; None: it does not tell.
    """

    column: str
    newest: datetime | None
    clock: datetime | None


SourceFactory = Callable[[LoadRequest, SourceReport], "DltSource"]


def zoneless(types: "Mapping[str, pa.DataType]") -> dict[str, Any]:
    """Dlt's column hints that keep timestamps without a zone as they are."""
    import pyarrow.types as pt

    return {
        name: {"name": name, "timezone": False}
        for name, kind in types.items()
        if pt.is_timestamp(kind) and kind.tz is None
    }


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
        name="delivered_files",
        naming_convention="direct",
        skip_dlt_columns_and_tables=True,
        max_parallel_load_jobs=1,
    )
    def delivered_files(path: Any, table: Any, /) -> None:
        target = folder / f"{len(delivered)}_{Path(path).name}"
        try:
            target.hardlink_to(path)
        except OSError:
            shutil.copyfile(path, target)
        delivered.setdefault(table["name"], []).append(target)

    pipeline = dlt.pipeline(
        request.pipeline_name,
        destination=delivered_files,
        dataset_name="bronze",
        pipelines_dir=str(request.working / "pipelines"),
    )
    # dlt labels a timestamp without a zone as UTC unless told not to; readers in another zone would then see
    # other times.
    known = {**{f.name: f.type for f in request.spec.arrow_schema()}, **request.known_columns}
    source.resources[request.spec.table].apply_hints(columns=zoneless(known))
    pipeline.config.restore_from_destination = False  # state lives with the tables, never in a folder
    pipeline.run(source, loader_file_format="parquet")
    return delivered


def load(
    spec: TableSpec,
    factory: SourceFactory,
    settings: Settings,
    *,
    partition: date | None = None,
    window: Window | None = None,
    run_id: str = "manual",
) -> LoadResult:
    """Load one table, or one of its partitions, from its source.

    Args:
        spec: the table.
        factory: given the request and a report to fill in, the dlt source. Its resources are named
            `spec.table` and `spec.rejected_table`.
        settings: where the tables live.
        partition: the date of the partition that is replaced; None for a table without, or one that is appended to.
        window: which changes of the source to bring; for a table that is appended to, and only there.
        run_id: who asks.

    Returns:
        The account. `changed` is False if the table already held this very content: then nothing was
        committed.

    Raises:
        LakeError: what stopped the load, in one line; the table is as it was.
    """
    import pyarrow.parquet as pq
    from dlt.pipeline.exceptions import PipelineStepFailed

    appends, refresh = spec.mode == "append", window is not None and window.refresh
    if (window is None) == appends or (partition is None) != (appends or spec.partition_column is None):
        raise LakeError(
            f"{spec.identifier}: partition {partition} and window {window} do not fit a table of mode {spec.mode} "
            f"partitioned by {spec.partition_column}"
        )
    if refresh and not spec.key:
        raise LakeError(f"{spec.identifier}: cannot be refreshed whole, for its declaration has no key")
    store = open_store(settings, run_id)
    store.check_declaration(spec)
    report = SourceReport()
    settings.dlt_home.mkdir(parents=True, exist_ok=True)
    working = Path(tempfile.mkdtemp(prefix=f"{spec.table}-", dir=settings.dlt_home))
    request = LoadRequest(spec, partition, run_id, settings, working, store.known_columns(spec), window)
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
            partition=window.key if window else partition.isoformat() if partition else "",
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
        if account.rows_read and not account.rows_loaded and not appends:
            raise LakeError(
                f"{report.source_object}: all {account.rows_read:,} rows break the rules of {spec.identifier}; "
                "the table is left as it was"
            )
        if refresh:
            _check_refresh(store, spec, account)
        elif report.changes:
            _check_clock(store, spec, account, report.changes)
        rejected = delivered.get(spec.rejected_table, []) if account.rows_rejected else []
        files = delivered.get(spec.table, [])
        commit = store.commit(Delivery(spec, partition, tuple(files), tuple(rejected), account, working, refresh))
    finally:
        shutil.rmtree(working, ignore_errors=True)
    account = commit.account
    if account.unaccounted:
        raise LakeError(
            f"{spec.identifier} {account.partition}: read {account.rows_read:,} rows, of which {account.rows_loaded:,} "
            f"were committed, {account.rows_rejected:,} rejected, {account.rows_known:,} known: "
            f"{account.unaccounted:,} unaccounted for"
        )
    return LoadResult(
        account=account,
        changed=commit.changed,
        snapshot_id=commit.snapshot_id,
        total_rows=commit.total_rows,
        new_columns=report.new_columns,
        notes=report.notes,
        refused=report.refused,
    )


def _check_refresh(store: BronzeStore, spec: TableSpec, account: LoadAccount) -> None:
    """Refuse a refresh that would leave much less than there is: more likely the source is half restored, or the wrong
    one, than that so much is gone.
    """
    held = store.held_keys(spec)
    if account.rows_loaded < spec.refresh_keeps * held or (held and not account.rows_loaded):
        raise LakeError(
            f"{account.source_object}: a full refresh would leave {account.rows_loaded:,} valid rows of the "
            f"{account.rows_read:,} read where {spec.identifier} holds {held:,}, which is less than "
            f"{spec.refresh_keeps:.0%}; nothing was replaced. If so much is gone, lower refresh_keeps in its "
            "declaration"
        )


def _check_clock(store: BronzeStore, spec: TableSpec, account: LoadAccount, changes: Changes) -> None:
    """Refuse a source whose clock has gone back, or that was emptied or restored to an older state: what changes now
    would bear times that were loaded long ago, and be asked for by no load.
    """
    times = {f"newest {changes.column}": changes.newest, "clock": changes.clock}
    earliest = min((moment for moment in times.values() if moment), default=datetime.min)  # noqa: DTZ901 - as they are
    held = store.newest(spec, changes.column, earliest.date().replace(day=1) if changes.newest else date.min)
    if held and not changes.newest:
        raise LakeError(
            f"{account.source_object}: holds no {changes.column} any more, but {spec.identifier} holds "
            f"{held:%Y-%m-%d %H:%M:%S}: it was emptied; nothing was loaded. If that is meant, refresh the table whole"
        )
    for what, moment in times.items():
        if held and moment and moment < held - OVERLAP:
            raise LakeError(
                f"{account.source_object}: its {what} is {moment:%Y-%m-%d %H:%M:%S} UTC, but {spec.identifier} "
                f"holds {held:%Y-%m-%d %H:%M:%S}: its clock has gone back, or an older state was restored; nothing was "
                "loaded. Set the clock right, or refresh the table whole"
            )


def _digest(files: list[Path]) -> str:
    """SHA-256 over the content of `files`, for sources that have no digest of their own."""
    digest = hashlib.sha256()
    for path in sorted(files):
        with path.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()
