"""What our BigQuery jobs used, as an asset: by asset and by run, in bytes and slot time.

What belongs here: what the audit reports and when it warns. What does not: the audit (`lake.cost`), and estimates
before a query runs (`orchestration.checks.estimated_cost`).
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from infra_assets.steps import step_failures
from lake.settings import get_settings

if TYPE_CHECKING:
    from lake.cost import Usage

KEY = dg.AssetKey(["ops", "cost"])
CHECK = "within_budget"
TOP = 20


class CostConfig(dg.Config):
    """How many days back the jobs are counted."""

    days: int = 1


@dg.asset(
    key=KEY,
    group_name="ops",
    kinds={"bigquery"},
    owners=["team:platform"],
    retry_policy=dg.RetryPolicy(max_retries=2, delay=5),
    check_specs=[
        dg.AssetCheckSpec(
            CHECK, asset=KEY, description="No asset read more than LAKEGRAPH_GCP_RUN_BUDGET_BYTES in one run."
        )
    ],
)
def cost(context: dg.AssetExecutionContext, config: CostConfig) -> Iterator[Any]:
    """Bytes and slot time of the query jobs labelled as ours, from INFORMATION_SCHEMA.JOBS."""
    from lake.cost import audit_jobs

    settings = get_settings()
    with step_failures():
        audit = audit_jobs(settings, days=config.days, run_id=context.run_id)
    total = audit.total
    yield dg.MaterializeResult(
        asset_key=KEY,
        metadata={
            "days": audit.days,
            "jobs": total.jobs,
            "bytes_processed": total.bytes_processed,
            "bytes_billed": total.bytes_billed,
            "slot_seconds": round(total.slot_seconds, 1),
            "errors": total.errors,
            "by_asset": _table("asset", audit.by_asset()),
            "by_run": _table("run", audit.by_run()),
        },
    )
    budget = settings.gcp_run_budget_bytes
    over = audit.over(budget)
    largest = f"{over[0].asset or 'a job without the label asset'} in run {over[0].run or 'unknown'}" if over else ""
    yield dg.AssetCheckResult(
        check_name=CHECK,
        asset_key=KEY,
        passed=not over,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{len(over)} over {budget:,} bytes, most of all {largest}: {over[0].bytes_processed:,} bytes"
        if over
        else f"no asset read more than {budget:,} bytes in one run",
        metadata={"over_budget": len(over), "budget_bytes": budget},
    )


def _table(name: str, usages: "Sequence[Usage]") -> dg.TableMetadataValue:
    """The first of `usages` under the heading `name`, which is `asset` or `run`."""
    schema = dg.TableSchema(
        [
            dg.TableColumn(name, "string"),
            *(dg.TableColumn(column, "int") for column in ("jobs", "bytes_processed", "bytes_billed")),
            dg.TableColumn("slot_seconds", "float"),
            dg.TableColumn("errors", "int"),
        ]
    )
    records = [
        dg.TableRecord(
            {
                name: str(getattr(usage, name)) or "-",
                "jobs": usage.jobs,
                "bytes_processed": usage.bytes_processed,
                "bytes_billed": usage.bytes_billed,
                "slot_seconds": round(usage.slot_seconds, 1),
                "errors": usage.errors,
            }
        )
        for usage in usages[:TOP]
    ]
    return dg.MetadataValue.table(records, schema)
