"""Silver and gold: one dbt op for all models, one invocation for a run.

What belongs here: how a run's selection and partitions become dbt's arguments, and what comes back. What does
not: SQL.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import dagster as dg
from dagster_dbt import DbtCliInvocation, dbt_assets
from dagster_dbt.core.dbt_event_iterator import DbtEventIterator
from dagster_dbt.errors import DagsterDbtCliRuntimeError

from infra_assets.steps import step_failures
from lake.errors import LakeError
from lake.settings import Settings, Target, get_settings
from orchestration.dbt_costs import with_costs
from orchestration.partitions import date_of, kind_of, span_of_range
from orchestration.project import dbt_project
from orchestration.resources.dbt import LakegraphDbt, warehouse
from orchestration.translators import translator

DUCKDB_POOL = "duckdb_writer"
# BigQuery cancels all but one of the transactions that change a table at once, whichever months they are of.
POOLS: Mapping[Target, str] = {"local": DUCKDB_POOL, "gcp": "bigquery_writer"}
WAITING = "waiting: another run of dbt is under way"


def window_vars(keys: list[str]) -> dict[str, str]:
    """Dbt's variables for the partitions of a run: its first and last month, or for hours the days of bronze on which
    what they brought may lie, from the beginning if one of them is the first; likewise for days of changes, but with
    the first one all is built anew. (The models of workbooks, whose days look the same, pay no heed to them.) Without
    partitions none: every month, every day.
    """
    if not keys:
        return {}
    keys = sorted(keys)
    kind = kind_of(keys[0])
    if kind == "monthly":
        return {"from_month": date_of(keys[0]).isoformat(), "to_month": date_of(keys[-1]).isoformat()}
    span = span_of_range(keys)
    if kind == "daily" and not span.first_day:
        return {}
    first = {"from_day": span.first_day.isoformat()} if span.first_day else {}
    return {**first, "to_day": span.last_day.isoformat()}


def build_args(keys: list[str], settings: Settings) -> list[str]:
    """The arguments of dbt; dagster-dbt adds the selection.

    Unit tests are left out: they are of the models' code, which `make test` asks, and say nothing of a run's data.
    """
    variables = {"membership_zone": settings.membership_zone, **window_vars(keys)}
    return ["build", "--exclude-resource-type", "unit_test", "--vars", json.dumps(variables)]


def failure_cause(run_results: Mapping[str, Any]) -> str:
    """The first node that failed, with dbt's reason on one line; "" if none did."""
    for result in run_results.get("results", []):
        if result["status"] in {"error", "fail"}:
            name = result["unique_id"].split(".", 2)[-1]
            return f"{name}: {' '.join(str(result.get('message') or result['status']).split())}"
    return ""


def _check_sources(context: dg.AssetExecutionContext, keys: list[str], settings: Settings) -> None:
    """Refuse to build silver on a table, or a month of it, that bronze does not hold: it would be empty, and green.
    An hour may be empty, for nothing may have happened in it.

    Raises:
        LakeError: names the table, and the month.
    """
    from lake.store import open_store

    store = open_store(settings, context.run_id)
    sources = {parent for key in context.selected_asset_keys for parent in context.assets_def.asset_deps[key]}
    for source in sorted(s for s in sources if s.path[0] == "bronze"):
        table = "_".join(source.path[1:])
        held = store.partitions(table)
        if held is None:
            raise LakeError(f"bronze.{table} is not loaded yet: materialize {source.to_user_string()} first")
        months = (date_of(key) for key in keys if kind_of(key) == "monthly")
        absent = [month for month in months if not held & {month.isoformat(), ""}]
        if absent:
            raise LakeError(
                f"bronze.{table} holds no {absent[0]:%Y-%m}: materialize {source.to_user_string()} for it first"
            )


def _with_counts(invocation: DbtCliInvocation) -> Iterable[Any]:
    """dagster-dbt's events with rows and columns of the tables, which it reads when dbt has let go of DuckDB's file.

    Each of the two gets a list that is there: for events that are still to come, dbt's or the other's, dagster-dbt
    waits in a loop, on a core of its own.
    """
    events: list[Any] = []
    failure: DagsterDbtCliRuntimeError | None = None
    try:
        events.extend(invocation.stream())
    except DagsterDbtCliRuntimeError as error:  # what was built until then is told first
        failure = error
    counted = list(DbtEventIterator(iter(events), invocation).fetch_row_counts())
    yield from DbtEventIterator(iter(counted), invocation).fetch_column_metadata()
    if failure:
        raise failure


# On BigQuery dagster-dbt's count has no filter, which large tables refuse; dbt itself reports the rows it wrote.
_METADATA: Mapping[Target, Callable[[DbtCliInvocation], Iterable[Any]]] = {"local": _with_counts, "gcp": with_costs}


@dbt_assets(
    manifest=dbt_project.manifest_path,
    project=dbt_project,
    dagster_dbt_translator=translator,
    name="dbt_build",
    pool=POOLS[get_settings().target],
    backfill_policy=dg.BackfillPolicy.single_run(),
    retry_policy=dg.RetryPolicy(max_retries=1, delay=5),
)
def dbt_build(context: dg.AssetExecutionContext, dbt: LakegraphDbt) -> Iterator[Any]:
    """Point the bronze views at the current snapshots, then build what is selected."""
    settings = get_settings()
    with step_failures(), warehouse(settings, on_wait=lambda: context.log.info(WAITING)):
        partitioned = context.has_partition_key or context.has_partition_key_range
        keys = list(context.partition_keys) if partitioned else []
        _check_sources(context, keys, settings)
        invocation = dbt.run(build_args(keys, settings), settings, context.run_id, context=context)
        try:
            yield from _METADATA[settings.target](invocation)
        except DagsterDbtCliRuntimeError as error:
            results = invocation.target_path / "run_results.json"
            cause = failure_cause(json.loads(results.read_text())) if results.exists() else ""
            if cause:  # a model or a test said no: it will again, so no retry
                raise LakeError(cause) from error
            raise
