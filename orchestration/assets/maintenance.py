"""House-keeping as an asset: old snapshots, files that no snapshot names, leftovers of dead runs.

What belongs here: when it runs and what it reports. What does not: how (`lake.maintenance`).
"""

from typing import Any

import dagster as dg

from infra_assets.assets import infra_key
from infra_assets.steps import step_failures
from lake.settings import get_settings


class MaintenanceConfig(dg.Config):
    """How old what may go must be, and whether to only say what would go."""

    keep_days: int = 7
    dry_run: bool = False


@dg.asset(
    key=["ops", "maintenance"],
    deps=[infra_key("iceberg_namespaces")],
    group_name="ops",
    kinds={"iceberg"},
    owners=["team:platform"],
)
def maintenance(config: MaintenanceConfig) -> dg.MaterializeResult[Any]:
    """Expire old snapshots (never one that holds a partition's newest account), sweep orphan files and
    leftovers of runs.
    """
    from lake.maintenance import maintain

    with step_failures():
        done = maintain(get_settings(), keep_days=config.keep_days, dry_run=config.dry_run)
    return dg.MaterializeResult(
        metadata={
            "dry_run": config.dry_run,
            "snapshots_expired": done.snapshots_expired,
            "files_removed": len(done.files),
            "bytes_removed": done.bytes_removed,
            "folders_removed": len(done.folders),
        }
    )
