"""dbt's source freshness as asset checks on the bronze tables.

What belongs here: running `dbt source freshness` once for all selected tables. What does not: the limits;
they stand with the sources.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from infra_assets.steps import step_failures
from lake.settings import Settings, Target, get_settings
from orchestration.assets.dbt import POOLS
from orchestration.project import dbt_project, read_manifest
from orchestration.resources.dbt import LakegraphDbt, warehouse
from orchestration.translators import translator

CHECK = "source_freshness"


def sources_with_limits() -> dict[str, dg.AssetKey]:
    """Dbt source ids that declare a freshness limit, with their asset keys."""
    return {
        unique_id: translator.get_asset_key(source)
        for unique_id, source in sorted(read_manifest()["sources"].items())
        if ((source.get("freshness") or {}).get("warn_after") or {}).get("count")
    }


def _by_dbt(dbt: LakegraphDbt, settings: Settings, run_id: str, selected: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Dbt's own answer, by source id."""
    names = " ".join("source:" + ".".join(unique_id.split(".")[-2:]) for unique_id in sorted(selected))
    with warehouse(settings):
        invocation = dbt.run(
            ["source", "freshness", "--select", names],
            settings,
            run_id,
            manifest=dbt_project.manifest_path,
            dagster_dbt_translator=translator,
            raise_on_error=False,
        ).wait()
        return {r["unique_id"]: r for r in invocation.get_artifact("sources.json")["results"]}


def _by_accounts(
    dbt: LakegraphDbt,  # noqa: ARG001 - as the other
    settings: Settings,
    run_id: str,
    selected: Sequence[str],
) -> dict[str, dict[str, Any]]:
    """The same from the accounts of loads: a table over files has no column that says when it was loaded, and dbt asks
    without a filter by partition, which large tables in BigQuery refuse.
    """
    from lake.bigquery_store import BigQueryStore

    newest = BigQueryStore(settings.gcp(), settings.gcp_maximum_bytes_billed, run_id).newest_loads()
    now, results, sources = datetime.now(UTC), {}, read_manifest()["sources"]
    for unique_id in selected:
        source = sources[unique_id]
        if loaded := newest.get(source["identifier"]):
            age = now - loaded
            status = verdict(age, source["freshness"])
            results[unique_id] = {
                "status": status,
                "max_loaded_at": loaded.isoformat(),
                "max_loaded_at_time_ago_in_s": age.total_seconds(),
            }
    return results


def verdict(age: timedelta, limits: Mapping[str, Any]) -> str:
    """`error`, `warn` or `pass`, by a source's declared limits."""
    for name, status in (("error_after", "error"), ("warn_after", "warn")):
        limit = limits.get(name) or {}
        if limit.get("count") and age > timedelta(**{f"{limit['period']}s": limit["count"]}):
            return status
    return "pass"


_RESULTS: Mapping[Target, Callable[..., dict[str, dict[str, Any]]]] = {"local": _by_dbt, "gcp": _by_accounts}


def build_source_freshness() -> dg.AssetChecksDefinition:
    """One op with a check for each bronze table that has a limit."""
    limits = sources_with_limits()
    keys = {key: unique_id for unique_id, key in limits.items()}

    @dg.multi_asset_check(
        name=CHECK,
        specs=[
            dg.AssetCheckSpec(CHECK, asset=key, description="The newest load is not older than the source's limit.")
            for key in keys
        ],
        can_subset=True,
        pool=POOLS[get_settings().target],
    )
    def source_freshness(context: dg.AssetCheckExecutionContext, dbt: LakegraphDbt) -> Iterator[dg.AssetCheckResult]:
        settings = get_settings()
        selected = [keys[k.asset_key] for k in context.selected_asset_check_keys]
        with step_failures():
            results = _RESULTS[settings.target](dbt, settings, context.run.run_id, selected)
        for unique_id in selected:
            result = results.get(unique_id, {"status": "not measured"})
            warned = result["status"] == "warn"
            yield dg.AssetCheckResult(
                check_name=CHECK,
                asset_key=limits[unique_id],
                passed=result["status"] == "pass",
                severity=dg.AssetCheckSeverity.WARN if warned else dg.AssetCheckSeverity.ERROR,
                description=result.get("error"),
                metadata={
                    "status": str(result["status"]),
                    "newest_load": str(result.get("max_loaded_at")),
                    "age_seconds": float(result.get("max_loaded_at_time_ago_in_s") or 0),
                },
            )

    return source_freshness
