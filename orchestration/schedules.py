"""Schedules of what is not a bronze table; those stand with the table's declaration (`cron`).

What belongs here: the clock of `ops/*` and of the freshness checks.
"""

from collections.abc import Callable, Mapping

import dagster as dg

from lake.settings import Target


def build_schedules(source_freshness: dg.AssetChecksDefinition, target: Target) -> list[dg.ScheduleDefinition]:
    """Source freshness every morning, and what the target needs beside it."""
    freshness = dg.define_asset_job("check_source_freshness", selection=dg.AssetSelection.checks(source_freshness))
    daily = dg.ScheduleDefinition(name="source_freshness_daily", job=freshness, cron_schedule="0 7 * * *")
    return [daily, *_OF_TARGET[target]()]


def _maintenance() -> list[dg.ScheduleDefinition]:
    maintain = dg.define_asset_job("maintain", selection=dg.AssetSelection.assets(["ops", "maintenance"]))
    return [dg.ScheduleDefinition(name="maintain_nightly", job=maintain, cron_schedule="30 3 * * *")]


def _cost() -> list[dg.ScheduleDefinition]:
    """BigQuery keeps its own house; what it costs is counted."""
    audit = dg.define_asset_job("audit_cost", selection=dg.AssetSelection.assets(["ops", "cost"]))
    return [dg.ScheduleDefinition(name="audit_cost_daily", job=audit, cron_schedule="30 5 * * *")]


_OF_TARGET: Mapping[Target, Callable[[], list[dg.ScheduleDefinition]]] = {
    "local": _maintenance,
    "gcp": _cost,
}
