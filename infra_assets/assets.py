"""The infrastructure in Dagster: one asset and one drift check for each resource.

What belongs here: turning plan and apply into materialisations, checks and failures. What does not: how
anything is made (`plan` and the targets' modules), and schedules or jobs (`orchestration`).

Building does no I/O: of the settings only the target counts then. A step asks for them anew and looks up its
own resource, so that one graph serves whatever home the process runs on.
"""

import hashlib
from collections.abc import Callable, Iterable
from typing import Any

import dagster as dg

from infra_assets import resources
from infra_assets.plan import Change, Resource
from infra_assets.steps import step_failures
from lake.errors import LakeError
from lake.settings import Settings, get_settings

PREFIX = "infra"
RETRY = dg.RetryPolicy(max_retries=2, delay=2, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)


def infra_key(name: str) -> dg.AssetKey:
    """The asset key of the resource called `name`, for those who depend on it."""
    return dg.AssetKey([PREFIX, name])


def build_infra_assets(
    settings_factory: Callable[[], Settings] = get_settings,
) -> list[dg.AssetsDefinition]:
    """The assets `infra/<name>` and their checks `drift`, for the target of `settings_factory()`.

    The checks are in the same list, assets too to Dagster: pass it whole as `Definitions(assets=...)`.

    Args:
        settings_factory: called here for the target, and again inside each step for everything else.
    """
    return [
        definition
        for resource in resources(settings_factory())
        for definition in (_asset(resource, settings_factory), _drift_check(resource, settings_factory))
    ]


def _asset(static: Resource, settings_factory: Callable[[], Settings]) -> dg.AssetsDefinition:
    @dg.asset(
        key=infra_key(static.name),
        deps=[infra_key(name) for name in static.deps],
        group_name="infra",
        owners=["team:platform"],
        kinds=set(static.kinds),
        description=static.description,
        retry_policy=RETRY,
        pool=static.pool,
    )
    def apply() -> dg.MaterializeResult[Any]:
        with step_failures():
            resource = _find(settings_factory(), static.name)
            changes = resource.apply()
        return dg.MaterializeResult(
            metadata=_metadata("changes", changes),
            data_version=dg.DataVersion(_digest(resource.desired())),
        )

    return apply


def _drift_check(static: Resource, settings_factory: Callable[[], Settings]) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=infra_key(static.name),
        name="drift",
        description="Everything that was applied is still there.",
        blocking=False,
        retry_policy=RETRY,
        pool=static.pool,
    )
    def drift() -> dg.AssetCheckResult:
        with step_failures():
            pending = _find(settings_factory(), static.name).plan()
        return dg.AssetCheckResult(
            passed=not pending,
            severity=dg.AssetCheckSeverity.ERROR,
            description=f"{len(pending)} to repair: materialize {PREFIX}/{static.name}" if pending else "as desired",
            metadata=_metadata("pending", pending),
        )

    return drift


def _find(settings: Settings, name: str) -> Resource:
    for resource in resources(settings):
        if resource.name == name:
            return resource
    raise LakeError(f"{PREFIX}/{name} is not part of target {settings.target}: reload the code location")


def _metadata(label: str, changes: tuple[Change, ...]) -> dict[str, Any]:
    return {label: dg.MetadataValue.md(_table(changes)), f"{label}_count": len(changes)}


def _table(changes: Iterable[Change]) -> str:
    cells = [[c.action, c.resource, c.detail] for c in changes]
    if not cells:
        return "nothing to change"
    rows = [["action", "resource", "detail"], ["---"] * 3, *cells]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)


def _digest(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
