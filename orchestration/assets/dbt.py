"""Silver and gold: one dbt op for all models, one invocation for a run.

What belongs here: how a run's selection and partitions become dbt's arguments, and what comes back. What does
not: SQL.
"""

import json
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

import dagster as dg
from dagster_dbt import dbt_assets
from dagster_dbt.errors import DagsterDbtCliRuntimeError

from infra_assets.steps import step_failures
from lake.errors import LakeError
from lake.settings import Settings, get_settings
from orchestration.partitions import month_of
from orchestration.project import dbt_project
from orchestration.resources.dbt import LakegraphDbt
from orchestration.translators import translator

DUCKDB_POOL = "duckdb_writer"
WAITING = "waiting: another run writes DuckDB"


def window_vars(months: list[date]) -> dict[str, str]:
    """Dbt's variables for the months of a run: the first and the last; none of them means every month."""
    if not months:
        return {}
    return {"from_month": min(months).isoformat(), "to_month": max(months).isoformat()}


def build_args(months: list[date]) -> list[str]:
    """The arguments of dbt; dagster-dbt adds the selection."""
    variables = window_vars(months)
    return ["build", *(["--vars", json.dumps(variables)] if variables else [])]


def failure_cause(run_results: Mapping[str, Any]) -> str:
    """The first node that failed, with dbt's reason on one line; "" if none did."""
    for result in run_results.get("results", []):
        if result["status"] in {"error", "fail"}:
            name = result["unique_id"].split(".", 2)[-1]
            return f"{name}: {' '.join(str(result.get('message') or result['status']).split())}"
    return ""


def _check_sources(context: dg.AssetExecutionContext, months: list[date], settings: Settings) -> None:
    """Refuse to build silver on a table, or a month of it, that bronze does not hold: it would be empty, and green.

    Raises:
        LakeError: names the table, and the month.
    """
    from lake.audit import absent_partitions, is_loaded

    sources = {parent for key in context.selected_asset_keys for parent in context.assets_def.asset_deps[key]}
    for source in sorted(s for s in sources if s.path[0] == "bronze"):
        table = f"bronze.{'_'.join(source.path[1:])}"
        if not is_loaded(table, settings):
            raise LakeError(f"{table} is not loaded yet: materialize {source.to_user_string()} first")
        if absent := absent_partitions(table, [month.isoformat() for month in months], settings):
            raise LakeError(f"{table} holds no {absent[0][:7]}: materialize {source.to_user_string()} for it first")


@dbt_assets(
    manifest=dbt_project.manifest_path,
    project=dbt_project,
    dagster_dbt_translator=translator,
    name="dbt_build",
    pool=DUCKDB_POOL,
    backfill_policy=dg.BackfillPolicy.single_run(),
    retry_policy=dg.RetryPolicy(max_retries=1, delay=5),
)
def dbt_build(context: dg.AssetExecutionContext, dbt: LakegraphDbt) -> Iterator[Any]:
    """Point the bronze views at the current snapshots, then build what is selected."""
    from lake import views
    from lake.duck import connect, exclusive

    settings = get_settings()
    with step_failures(), exclusive(settings.duckdb_path, on_wait=lambda: context.log.info(WAITING)):
        with connect(settings.duckdb_path, memory_limit=settings.duckdb_memory_limit) as connection:
            views.refresh(connection, settings)
        partitioned = context.has_partition_key or context.has_partition_key_range
        months = [month_of(key) for key in context.partition_keys] if partitioned else []
        _check_sources(context, months, settings)
        invocation = dbt.run(build_args(months), settings, context.run_id, context=context)
        try:
            yield from invocation.stream().fetch_row_counts().fetch_column_metadata()
        except DagsterDbtCliRuntimeError as error:
            results = invocation.target_path / "run_results.json"
            cause = failure_cause(json.loads(results.read_text())) if results.exists() else ""
            if cause:  # a model or a test said no: it will again, so no retry
                raise LakeError(cause) from error
            raise
