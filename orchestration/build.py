"""`build_defs`: the graph put together.

What belongs here: the list of parts. What does not: any part. It takes overrides, so that a test builds the
graph it wants, and it does no I/O but reading the manifest and the YAML declarations.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from infra_assets.assets import build_infra_assets
from lake.settings import Target, get_settings
from orchestration.alerts import build_alert_sensors
from orchestration.assets.cost import cost
from orchestration.assets.dbt import dbt_build
from orchestration.assets.exports import build_exports
from orchestration.assets.maintenance import maintenance
from orchestration.assets.readers import build_readers
from orchestration.assets.serving import kpi_report, published_copy
from orchestration.assets.starrocks import build_starrocks
from orchestration.assets.superset import build_superset
from orchestration.automation import build_automation_sensor
from orchestration.checks.estimated_cost import build_estimated_cost
from orchestration.checks.source_freshness import build_source_freshness
from orchestration.resources.dbt import dbt_resource
from orchestration.schedules import build_schedules

MAX_CONCURRENT_STEPS = 2
OF_TARGET: Mapping[Target, list[dg.AssetsDefinition]] = {
    "local": [published_copy, kpi_report, maintenance],
    "gcp": [cost],
}
CHECKS_OF_TARGET: Mapping[Target, list[Callable[[], dg.AssetChecksDefinition]]] = {
    "local": [],
    "gcp": [build_estimated_cost],
}
PRELOADED = ["orchestration.definitions", "dlt", "pyiceberg.catalog.sql", "duckdb"]

# One place for the third parties' three telemetry switches: nothing here calls home.
os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "1")
os.environ.setdefault("RUNTIME__DLTHUB_TELEMETRY", "false")


def executor() -> dg.ExecutorDefinition:
    """Steps in processes of their own, forked from a server that has the heavy imports behind it (3 s a step
    instead of 10).

    `LAKEGRAPH_EXECUTOR=in_process` runs a whole run in one process: for small runs, and for tests.
    """
    if os.getenv("LAKEGRAPH_EXECUTOR") == "in_process":
        return dg.in_process_executor
    start = {"forkserver": {"preload_modules": PRELOADED}}
    return dg.multiprocess_executor.configured({"max_concurrent": MAX_CONCURRENT_STEPS, "start_method": start})


def build_defs(*, resource_overrides: Mapping[str, Any] | None = None) -> dg.Definitions:
    """All definitions of the code location.

    Args:
        resource_overrides: resources by name that replace ours.
    """
    tree = dg.ComponentTree.for_project(Path(__file__).parent)
    source_freshness = build_source_freshness()
    code = dg.Definitions(
        assets=[
            *build_infra_assets(),
            dbt_build,
            *OF_TARGET[get_settings().target],
            build_exports(),
            build_starrocks(),
            build_superset(),
            *build_readers(),
        ],
        asset_checks=[source_freshness, *(build() for build in CHECKS_OF_TARGET[get_settings().target])],
        schedules=build_schedules(source_freshness, get_settings().target),
        sensors=[build_automation_sensor(), *build_alert_sensors()],
        resources={"dbt": dbt_resource(), **(resource_overrides or {})},
        executor=executor(),
    )
    return dg.Definitions.merge(code, tree.build_defs(tree.defs_module_path))
