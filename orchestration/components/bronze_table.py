"""`BronzeTable`: one YAML file is one bronze table in the graph.

What belongs here: turning the declaration into an asset, its checks, job, schedule and sensor. What does not:
reading or storing; the step calls `lake.load` with the source that the declaration names. Nothing here
imports dlt or touches a network while the graph is imported.
"""

import importlib
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, Self

import dagster as dg
from pydantic import Field, model_validator

from infra_assets import check_access
from infra_assets.assets import infra_key
from infra_assets.steps import step_failures
from lake.accounting import LoadResult
from lake.errors import LakeError
from lake.load import Window
from lake.settings import Settings, Target, get_settings
from lake.spec import Storage, TableSpec
from orchestration import freshness
from orchestration.partitions import (
    FULL_REFRESH,
    PARTITIONS,
    ZONE,
    PartitionName,
    closes,
    date_of,
    is_full_refresh,
    range_tags,
    span_of_range,
)
from orchestration.sensors import new_file_sensor, new_object_sensor, new_workbook_sensor

RETRY = dg.RetryPolicy(max_retries=3, delay=5, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)
ACCOUNTING = "row_accounting"
DRIFT = "schema_drift"
FILES = "files_read"
EXTRA_CELLS = "extra_cells"  # where a table keeps what it has no column for
PREVIEW_ROWS = 5
_S = dg.DagsterRunStatus
UNFINISHED = [_S.QUEUED, _S.NOT_STARTED, _S.STARTING, _S.STARTED, _S.CANCELING]
WATCHED: Mapping[PartitionName, str] = {"monthly": "files", "daily": "layout", "hourly": "prefix"}  # of params
PARTITION_COLUMNS: Mapping[PartitionName, str] = {
    "monthly": "The month of the file the row came with.",
    "daily": "The day of the workbook the row came with.",
    "utc_daily": "The first day of the month in which the source changed the row, in UTC.",
    "hourly": "The day on which the source changed the row, or the object it came with, in UTC.",
}
CHANGES: Mapping[PartitionName | None, str] = {"hourly": "hours", "utc_daily": "days"}  # loaded by changes; the noun
NEEDED: Mapping[Target, Sequence[str]] = {"local": ["iceberg_namespaces"], "gcp": ["bucket", "datasets", "lake_grant"]}
ENGINES: Mapping[tuple[Target, Storage], str] = {
    ("local", "warehouse"): "iceberg",
    ("local", "lake"): "iceberg",
    ("gcp", "warehouse"): "bigquery",
    ("gcp", "lake"): "gcs",
}
ADDS_UP = {
    False: "read = loaded + rejected in every load",
    True: "the table and its quarantine hold what all loads together have brought",
}
DISPLAY_TYPES = {"long": "bigint", "string": "varchar"}


class BronzeTable(dg.Component, dg.Model, dg.Resolvable):
    """A table of the layer bronze: what it is, which source fills it, and when."""

    table: TableSpec = Field(description="The table: name, columns, rules.")
    source: str = Field(description="Source factory", examples=["dlt_sources.tlc.trips"])
    params: dict[str, Any] = Field(default_factory=dict, description="Keyword arguments of the factory.")
    partitions: PartitionName | None = Field(None, description="The partitions it is loaded by.")
    cron: str | None = Field(None, description="When it is loaded; a partitioned table loads its latest partition.")
    local_time: bool = Field(False, description="Whether `cron` is of the membership's zone; days always are.")
    lag_months: int = Field(0, ge=0, description="How many months after its end a month is published.")
    reads_files: bool = Field(False, description="Whether its source may refuse a file of several: a check tells.")
    watch: bool = Field(False, description="Whether a sensor loads what appears or changes in the source.")
    kinds: list[str] = Field(default_factory=list)
    owners: list[str] = Field(default_factory=lambda: ["team:data"])
    fresh: freshness.FreshnessName | None = Field(None, description="A policy of orchestration.freshness.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        column, by_partition = self.table.partition_column, self.table.mode != "replace"
        if not bool(self.partitions) == bool(column) == by_partition:
            raise ValueError("partitions, table.partition_column and a mode other than replace go together")
        if (self.partitions in CHANGES) != (self.table.mode == "append"):
            raise ValueError("partitions: hourly or utc_daily and table.mode: append go together: they bring changes")
        if self.watch and not (self.partitions and self.params.get(WATCHED.get(self.partitions, ""))):
            raise ValueError("watch needs partitions and params.files, layout or prefix: what a sensor looks for")
        return self

    @property
    def key(self) -> dg.AssetKey:
        """`bronze/<domain>/<name>`."""
        return dg.AssetKey(["bronze", self.table.domain, self.table.name])

    @property
    def job_name(self) -> str:
        """The job that loads this table alone."""
        return f"load_{self.table.table}"

    def _check_specs(self) -> list[dg.AssetCheckSpec]:
        account = "Every row read is in the table or among the rejected: read = loaded + rejected."
        drift = "The source brought no column that the table's declaration does not know."
        specs = [
            dg.AssetCheckSpec(ACCOUNTING, asset=self.key, blocking=True, description=account),
            dg.AssetCheckSpec(DRIFT, asset=self.key, description=drift),
        ]
        if self.reads_files:
            files = "Every file that was there could be read, and is known."
            specs.append(dg.AssetCheckSpec(FILES, asset=self.key, description=files))
        return specs

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:  # noqa: ARG002 - Dagster's signature
        """The asset with its checks, a job, and a schedule and a sensor where they are declared."""
        asset = self._asset()
        # Its own checks only: dbt's source freshness has a job of its own, and costs a start of dbt.
        own = dg.AssetSelection.checks(*(spec.key for spec in self._check_specs()))
        job = dg.define_asset_job(self.job_name, selection=dg.AssetSelection.assets(self.key).without_checks() | own)
        schedules, sensors = [], []
        if self.cron and self.partitions:
            schedules.append(self._partitioned_schedule(job, self.cron))
        elif self.cron:
            name = f"{self.job_name}_schedule"
            zone = ZONE if self.local_time else None
            schedules.append(
                dg.ScheduleDefinition(name=name, job=job, cron_schedule=self.cron, execution_timezone=zone)
            )
        if self.watch and self.partitions:
            sensors.append(self._sensor(job, self.partitions))
        return dg.Definitions(assets=[asset], jobs=[job], schedules=schedules, sensors=sensors)

    def _sensor(self, job: Any, kind: PartitionName) -> dg.SensorDefinition:
        name, source = self.table.table, self.source.rpartition(".")[0]
        partitions, wanted = PARTITIONS[kind], self.params[WATCHED[kind]]
        if kind == "monthly":
            return new_file_sensor(name, job, partitions, wanted)
        new = new_object_sensor if kind == "hourly" else new_workbook_sensor
        return new(name, job, partitions, source, wanted)

    def _partitioned_schedule(self, job: Any, cron: str) -> dg.ScheduleDefinition:
        partitions = PARTITIONS[self.partitions] if self.partitions else None

        zone = ZONE if self.partitions == "daily" else None

        @dg.schedule(name=f"{self.job_name}_schedule", job=job, cron_schedule=cron, execution_timezone=zone)
        def latest_partition(context: dg.ScheduleEvaluationContext) -> Any:
            assert partitions is not None  # noqa: S101
            now = context.scheduled_execution_time
            closed = [k for k in partitions.get_partition_keys(current_time=now) if closes(k) <= now]
            due = closed[: len(closed) - self.lag_months]
            if not due:
                return dg.SkipReason("nothing is due yet")
            if self.table.mode == "append":
                return self._missed(context, due, f"{now:%Y-%m-%dT%H}")
            return dg.RunRequest(run_key=f"{due[-1]}@{now:%Y-%m-%d}", partition_key=due[-1])

        return latest_partition

    def _missed(self, context: dg.ScheduleEvaluationContext, due: list[str], tick: str) -> Any:
        """One run for all that was never loaded, however long ago: an hour or day that failed is asked for again, and
        the first run brings all there ever was. A table that is gone, or another target's, was never loaded, whatever
        Dagster remembers.
        """
        from lake.store import open_store

        unfinished = dg.RunsFilter(job_name=self.job_name, statuses=UNFINISHED)
        if runs := context.instance.get_run_records(unfinished, limit=1):
            run = runs[0].dagster_run.run_id
            return dg.SkipReason(f"run {run} is under way: what it leaves undone is asked for at the next tick")
        is_there = open_store(get_settings(), "schedule").partitions(self.table.table) is not None
        loaded = context.instance.get_materialized_partitions(self.key) if is_there else set()
        missing = [key for key in due if key not in loaded]
        if not missing:
            return dg.SkipReason(f"all {CHANGES[self.partitions]} to {due[-1]} are loaded")
        if len(missing) == 1:
            return dg.RunRequest(run_key=f"{missing[0]}@{tick}", partition_key=missing[0])
        return dg.RunRequest(run_key=f"{missing[0]}...@{tick}", tags=range_tags(missing))

    def _asset(self) -> dg.AssetsDefinition:
        spec, target = self.table, get_settings().target
        columns = [
            dg.TableColumn(name, DISPLAY_TYPES.get(c.type, c.type), c.description or None)
            for name, c in spec.columns.items()
        ]
        if spec.partition_column:
            told = PARTITION_COLUMNS[self.partitions] if self.partitions else None
            columns.append(dg.TableColumn(spec.partition_column, "date", told))

        @dg.asset(
            key=self.key,
            deps=[infra_key(name) for name in NEEDED[target]],
            description=spec.description,
            group_name="bronze",
            kinds={"dlt", ENGINES[target, spec.storage], *self.kinds},
            owners=self.owners,
            partitions_def=PARTITIONS[self.partitions] if self.partitions else None,
            backfill_policy=dg.BackfillPolicy.single_run() if self.partitions else None,
            retry_policy=RETRY,
            freshness_policy=freshness.POLICIES[self.fresh] if self.fresh else None,
            metadata={
                "dagster/table_name": spec.identifier,
                "dagster/column_schema": dg.TableSchema(columns=columns),
                "source": self.source,
            },
            check_specs=self._check_specs(),
        )
        def load_table(context: dg.AssetExecutionContext) -> Iterator[Any]:
            with step_failures():
                yield from self.run(context, get_settings())

        return load_table

    def run(self, context: dg.AssetExecutionContext, settings: Settings) -> Iterator[Any]:
        """Load each partition of the run (or the table), then report and check what was committed."""
        from lake.load import load

        check_access(settings)  # the clients would try for minutes to reach what is not there
        module, _, attribute = self.source.rpartition(".")
        factory = partial(getattr(importlib.import_module(module), attribute), **self.params)
        results: list[tuple[LoadResult, float]] = []
        keys = sorted(context.partition_keys) if self.partitions else []
        refresh = bool(self.table.key) and is_full_refresh(context.run.tags)
        for key, when in self._refresh(keys) if refresh else self._loads(keys):
            started = time.perf_counter()
            result = load(self.table, factory, settings, run_id=context.run_id, **when)
            account = result.account
            results.append((result, time.perf_counter() - started))
            context.log.info(_sentence(self.table, key, result))
            if key:
                metadata = {"dagster/partition_row_count": account.rows_loaded, **_account_metadata(result)}
                context.add_asset_metadata(metadata, asset_key=self.key, partition_key=key)
        yield dg.MaterializeResult(asset_key=self.key, metadata=self._metadata(results, settings))
        yield self._accounting(results, settings)
        yield self._drift(results)
        if self.reads_files:
            yield self._files(results)

    def _loads(self, keys: list[str]) -> Iterator[tuple[str | None, dict[str, Any]]]:
        """What to load, and the partition that the account is told with: each month or day alone, all hours at once."""
        if not keys:
            yield None, {}
        elif self.table.mode == "append":
            span = span_of_range(keys)
            name = keys[0] if len(keys) == 1 else f"{keys[0]}...{keys[-1]}"
            yield keys[-1], {"window": Window(name, span.since, span.end)}
        else:
            yield from ((key, {"partition": date_of(key)}) for key in keys)

    def _refresh(self, keys: list[str]) -> Iterator[tuple[str | None, dict[str, Any]]]:
        """One load of all that the source holds. It is the first partition's, for that one stands for all that is
        older, and what rests on it is built anew whole.
        """
        first = PARTITIONS[self.partitions].get_first_partition_key() if self.partitions else None
        if keys[0] != first:
            raise LakeError(
                f"{self.table.identifier}: a full refresh takes everything anew, and goes by the first partition: run "
                f"{first} with the tag {FULL_REFRESH}: true"
            )
        yield keys[-1], {"window": Window.everything(datetime.now(UTC))}

    def _metadata(self, results: list[tuple[LoadResult, float]], settings: Settings) -> dict[str, Any]:
        last = results[-1][0]
        totals = {
            name: sum(getattr(r.account, name) for r, _ in results)
            for name in ("rows_read", "rows_loaded", "rows_rejected")
            if self.table.mode != "append"  # each partition of the run would carry them as its own
        }
        loads = [
            dg.TableRecord(
                {
                    "partition": r.account.partition or "-",
                    "read": r.account.rows_read,
                    "loaded": r.account.rows_loaded,
                    "rejected": r.account.rows_rejected,
                    "known": r.account.rows_known,
                    "changed": r.changed,
                    "seconds": round(seconds, 2),
                    "source": r.account.source_object,
                }
            )
            for r, seconds in results
        ]
        notes = [f"{r.account.partition or 'table'}: {note}" for r, _ in results for note in r.notes]
        return {
            "dagster/row_count": last.total_rows,
            **totals,
            "loads": dg.MetadataValue.table(loads),
            "preview": dg.MetadataValue.md(_preview(self.table, settings, last.account.run_id)),
            **({"notes": dg.MetadataValue.md("\n".join(f"- {n}" for n in notes))} if notes else {}),
            **({"iceberg_snapshot": str(last.snapshot_id)} if last.snapshot_id else {}),
        }

    def _accounting(self, results: list[tuple[LoadResult, float]], settings: Settings) -> dg.AssetCheckResult:
        from lake.audit import audit

        run_id = results[-1][0].account.run_id
        findings = audit(self.table, [r.account.partition for r, _ in results], settings, run_id)
        wrong = [f for f in findings if f.unaccounted]
        return dg.AssetCheckResult(
            check_name=ACCOUNTING,
            asset_key=self.key,
            passed=not wrong,
            severity=dg.AssetCheckSeverity.ERROR,
            description="; ".join(f.sentence() for f in wrong) or ADDS_UP[self.table.mode == "append"],
            metadata={
                "rows_read": sum(f.rows_read for f in findings),
                "rows_stored": sum(f.rows_stored for f in findings),
                "rows_rejected": sum(f.rows_rejected for f in findings),
                "rows_unaccounted": sum(f.unaccounted for f in findings),
            },
        )

    def _drift(self, results: list[tuple[LoadResult, float]]) -> dg.AssetCheckResult:
        new = {r.account.partition: r.new_columns for r, _ in results if r.new_columns}
        text = "; ".join(f"{partition or 'table'} brought {', '.join(columns)}" for partition, columns in new.items())
        kept = f"kept in {EXTRA_CELLS}" if EXTRA_CELLS in self.table.columns else "added to the table"
        return dg.AssetCheckResult(
            check_name=DRIFT,
            asset_key=self.key,
            passed=not new,
            severity=dg.AssetCheckSeverity.WARN,
            description=f"{text}: {kept}; declare it if silver should use it" if new else "no new columns",
            metadata={"new_columns": ", ".join(sorted({c for columns in new.values() for c in columns})) or "none"},
        )

    def _files(self, results: list[tuple[LoadResult, float]]) -> dg.AssetCheckResult:
        refused = [one for r, _ in results for one in r.refused]
        return dg.AssetCheckResult(
            check_name=FILES,
            asset_key=self.key,
            passed=not refused,
            severity=dg.AssetCheckSeverity.WARN,
            description="; ".join(refused) or "every file was read",
            metadata={"refused_files": len(refused)},
        )


def _sentence(spec: TableSpec, key: str | None, result: LoadResult) -> str:
    account = result.account
    known = "" if result.changed else " (the same content was there already)"
    counts = f"{account.rows_read:,} read, {account.rows_loaded:,} loaded, {account.rows_rejected:,} rejected"
    if account.rows_known:
        counts += f", {account.rows_known:,} known"
    return f"{spec.identifier} {key or ''}: {counts} from {account.source_object}{known}"


def _account_metadata(result: LoadResult) -> dict[str, Any]:
    account = result.account
    return {
        "rows_read": account.rows_read,
        "rows_loaded": account.rows_loaded,
        "rows_rejected": account.rows_rejected,
        "rows_known": account.rows_known,
        "source_object": account.source_object,
        "digest": account.digest,
    }


def _preview(spec: TableSpec, settings: Settings, run_id: str) -> str:
    """The first rows of the table as a Markdown table."""
    from lake.store import open_store

    rows = open_store(settings, run_id).preview(spec, PREVIEW_ROWS)
    if not rows.num_rows:
        return "no rows"
    head = ["| " + " | ".join(rows.column_names) + " |", "|" + " --- |" * rows.num_columns]
    cells = (["" if v is None else str(v).replace("|", "\\|") for v in row.values()] for row in rows.to_pylist())
    return "\n".join([*head, *("| " + " | ".join(row) + " |" for row in cells)])
