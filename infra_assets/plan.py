"""Desired state in three verbs: what a resource is, what it would change (`plan`), and changing it (`apply`).

What belongs here: the interface that every target implements and the walk over resources in dependency order.
What does not: any target's client or path (`local`, and the cloud's module beside it), and Dagster
(`assets`): a command line plans and applies without a graph.

Drift has no verb of its own: it is a `plan` that is not empty.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Literal, Protocol

from lake.errors import LakeError


@dataclass(frozen=True)
class Change:
    """One difference between what is wanted and what is there."""

    action: Literal["create", "update", "grant"]
    resource: str
    detail: str = ""


class Resource(Protocol):
    """A part of the infrastructure, looked at, changed and shown as one; constructing it does no I/O."""

    @property
    def name(self) -> str:
        """Name of the asset under `infra/`; it does not depend on settings other than the target."""

    @property
    def description(self) -> str:
        """What it is for, in a sentence."""

    @property
    def kinds(self) -> frozenset[str]:
        """The engines behind it, shown as badges."""

    @property
    def deps(self) -> tuple[str, ...]:
        """Names of the resources that must be there first."""

    @property
    def pool(self) -> str | None:
        """The Dagster pool that whoever plans or applies it has to hold, if any."""

    def desired(self) -> tuple[str, ...]:
        """All that should be there, one line each; equal lines mean an equal desired state."""

    def plan(self) -> tuple[Change, ...]:
        """What `apply` would do now. Reads only: not even an empty file is made.

        Raises:
            LakeError: something is in the way that `apply` must not remove, or cannot be read.
        """

    def apply(self) -> tuple[Change, ...]:
        """Make it so; returns what this call changed, nothing if another process was faster. Never deletes.

        Raises:
            LakeError: it cannot be done, and what to do about it.
        """


def in_order(resources: Iterable[Resource]) -> tuple[Resource, ...]:
    """`resources` so that each comes after those it depends on.

    Raises:
        LakeError: a dependency is not among them, or they depend on each other in a circle.
    """
    by_name = {resource.name: resource for resource in resources}
    for resource in by_name.values():
        if missing := set(resource.deps) - by_name.keys():
            raise LakeError(f"infra/{resource.name} depends on unknown resources: {', '.join(sorted(missing))}")
    try:
        order = tuple(TopologicalSorter({name: r.deps for name, r in by_name.items()}).static_order())
    except CycleError as error:
        raise LakeError(f"infra resources depend on each other in a circle: {' → '.join(error.args[1])}") from None
    return tuple(by_name[name] for name in order)


def plan_all(resources: Iterable[Resource]) -> tuple[Change, ...]:
    """What `apply_all` would change, in that order; reads only."""
    return tuple(change for resource in in_order(resources) for change in resource.plan())


def apply_all(resources: Iterable[Resource]) -> tuple[Change, ...]:
    """Apply each resource after those it depends on; returns what was changed. The first failure ends it."""
    return tuple(change for resource in in_order(resources) for change in resource.apply())
