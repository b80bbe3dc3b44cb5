"""Infrastructure as assets: a desired state for each target, with plan, apply and drift.

What belongs here: what must exist before the first row moves. What does not: tables and their contents
(`lake`, dbt), and starting servers (`deploy/`).

`plan` has the interface, `local` the embedded target, `gcp` the cloud, `assets` the Dagster side. This module knows
which resources a target has, and imports neither an engine nor Dagster.
"""

from collections.abc import Callable, Mapping

from infra_assets.gcp import gcp_resources
from infra_assets.local import local_resources
from infra_assets.plan import Resource, plan_all
from lake.settings import Settings, Target


def _no_access_needed(settings: Settings) -> None:
    """The embedded target is this machine."""


def _gcp_access(settings: Settings) -> None:
    from lake import gcp_access

    gcp_access.check_access(settings.gcp())


def _repaired_by_its_steps(settings: Settings) -> None:
    """What is in the way of the embedded target's infrastructure, its steps remove, or say why not."""


def _gcp_plan(settings: Settings) -> None:
    plan_all(resources(settings))


_RESOURCES: Mapping[Target, Callable[[Settings], tuple[Resource, ...]]] = {
    "local": local_resources,
    "gcp": gcp_resources,
}
_ACCESS: Mapping[Target, Callable[[Settings], None]] = {"local": _no_access_needed, "gcp": _gcp_access}
_OBSTACLES: Mapping[Target, Callable[[Settings], None]] = {"local": _repaired_by_its_steps, "gcp": _gcp_plan}


def resources(settings: Settings) -> tuple[Resource, ...]:
    """The resources of the settings' target; no I/O."""
    return _RESOURCES[settings.target](settings)


def check_access(settings: Settings) -> None:
    """Whether the target answers and takes our credentials; reads only. The embedded one always does.

    Raises:
        LakeError: it does not, or a variable is missing or malformed.
    """
    _ACCESS[settings.target](settings)


def preflight(settings: Settings) -> None:
    """Refuse what cannot end well before anything is written: no access, or infrastructure that is in the way.

    Raises:
        LakeError: the first thing that is wrong.
    """
    check_access(settings)
    _OBSTACLES[settings.target](settings)
