"""What each model's query reads by BigQuery's estimate, as an asset check against a budget.

What belongs here: which models are estimated, where their SQL comes from, and the verdict. What does not: the dry run
(`lake.cost`), the budget (`lake.settings`), and what jobs really cost (`orchestration.assets.cost`).

The SQL is what dbt compiled in the same run, with the run's months in it: no second start of dbt. Where the check runs
by itself there is none, and the models are compiled for every month, which is what a full refresh would read. The
estimate is of the model's query; what its materialization reads beside (a merge reads its target) is in the audit.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import dagster as dg

from infra_assets.steps import step_failures
from lake.settings import Settings, get_settings
from orchestration.project import dbt_project, read_manifest
from orchestration.resources.dbt import LakegraphDbt
from orchestration.translators import is_partitioned, translator

CHECK = "estimated_cost"
EVERY_MONTH = "every month"


def estimated_models(manifest: Mapping[str, Any]) -> dict[dg.AssetKey, Mapping[str, Any]]:
    """The models that read large tables: those loaded by month, and those that read such a one."""
    nodes = manifest["nodes"]
    models = [node for node in nodes.values() if node["resource_type"] == "model"]
    return {
        translator.get_asset_key(node): node
        for node in sorted(models, key=lambda node: str(node["unique_id"]))
        if any(is_partitioned(nodes[one]) for one in (node["unique_id"], *node["depends_on"]["nodes"]) if one in nodes)
    }


def compiled_sql(target: Path, node: Mapping[str, Any]) -> Path:
    """Where dbt writes a model's compiled query under its target folder."""
    return target / "compiled" / str(node["package_name"]) / str(node["original_file_path"])


def build_estimated_cost() -> dg.AssetChecksDefinition:
    """One op with a check for each model that reads large tables."""
    models = estimated_models(read_manifest())

    @dg.multi_asset_check(
        name=CHECK,
        specs=[
            dg.AssetCheckSpec(
                CHECK,
                asset=key,
                description="By BigQuery's estimate the query reads no more than LAKEGRAPH_GCP_RUN_BUDGET_BYTES.",
            )
            for key in models
        ],
        can_subset=True,
        retry_policy=dg.RetryPolicy(max_retries=2, delay=5),
    )
    def estimated_cost(context: dg.AssetCheckExecutionContext, dbt: LakegraphDbt) -> Iterator[dg.AssetCheckResult]:
        settings = get_settings()
        selected = sorted(key.asset_key for key in context.selected_asset_check_keys)
        with step_failures():
            yield from verdicts({key: models[key] for key in selected}, dbt, settings, context.run)

    return estimated_cost


def verdicts(
    models: Mapping[dg.AssetKey, Mapping[str, Any]], dbt: LakegraphDbt, settings: Settings, run: dg.DagsterRun
) -> Iterator[dg.AssetCheckResult]:
    """Estimate each model's query as `run` compiled it, or as dbt compiles it now, and compare with the budget.

    Raises:
        LakeError: BigQuery refuses a query.
    """
    from lake.cost import estimate
    from lake.gcp import bigquery_client

    target = settings.dbt_target / run.run_id
    built = [key for key, node in models.items() if compiled_sql(target, node).exists()]
    if missing := [node["name"] for key, node in models.items() if key not in built]:
        _compile(missing, dbt, settings, run.run_id)
    window = _window(run)
    with closing(bigquery_client(settings.gcp())) as client:
        for key, node in models.items():
            found = estimate(client, compiled_sql(target, node).read_text(), str(node["name"]))
            budget = settings.gcp_run_budget_bytes
            passed = found.bytes_processed <= budget
            over = "" if passed else ": ask for fewer months, or raise LAKEGRAPH_GCP_RUN_BUDGET_BYTES"
            yield dg.AssetCheckResult(
                check_name=CHECK,
                asset_key=key,
                passed=passed,
                severity=dg.AssetCheckSeverity.WARN,
                description=f"reads {found.bytes_processed:,} bytes of {budget:,}{over}",
                metadata={
                    "estimated_bytes": found.bytes_processed,
                    "accuracy": found.accuracy,
                    "budget_bytes": budget,
                    "months": window if key in built else EVERY_MONTH,
                },
            )


def _compile(names: Sequence[str], dbt: LakegraphDbt, settings: Settings, run_id: str) -> None:
    arguments = ["compile", "--select", " ".join(names)]
    manifest = dbt_project.manifest_path
    dbt.run(arguments, settings, run_id, manifest=manifest, dagster_dbt_translator=translator).wait()


def _window(run: dg.DagsterRun) -> str:
    """The months that the run's tags name."""
    key = run.tags.get("dagster/partition")
    first, last = (run.tags.get(f"dagster/asset_partition_range_{end}", key) for end in ("start", "end"))
    return EVERY_MONTH if not first or not last else first if first == last else f"{first} to {last}"
