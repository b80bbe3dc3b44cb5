"""Schedules of what is not a bronze table; those stand with the table's declaration (`cron`).

What belongs here: the clock of `ops/*` and of the freshness checks.
"""

import dagster as dg


def build_schedules(source_freshness: dg.AssetChecksDefinition) -> list[dg.ScheduleDefinition]:
    """Nightly maintenance, and source freshness every morning."""
    maintain = dg.define_asset_job("maintain", selection=dg.AssetSelection.assets(["ops", "maintenance"]))
    freshness = dg.define_asset_job("check_source_freshness", selection=dg.AssetSelection.checks(source_freshness))
    return [
        dg.ScheduleDefinition(name="maintain_nightly", job=maintain, cron_schedule="30 3 * * *"),
        dg.ScheduleDefinition(name="source_freshness_daily", job=freshness, cron_schedule="0 7 * * *"),
    ]
