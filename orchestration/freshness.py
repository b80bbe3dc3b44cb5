"""How old a table may be before somebody is told.

What belongs here: freshness policies by name. What does not: how old the source is; that is dbt's source
freshness, a check.
"""

from datetime import timedelta
from typing import Literal

import dagster as dg

from lake.settings import get_settings

FreshnessName = Literal["monthly", "daily", "morning", "hourly"]

MONTHLY = dg.FreshnessPolicy.time_window(fail_window=timedelta(days=45), warn_window=timedelta(days=35))
DAILY = dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=36), warn_window=timedelta(hours=26))

# What is loaded at ten is to be in gold at eleven, in the zone of who reads it. What was made before ten is not that.
MORNING = dg.FreshnessPolicy.cron(
    deadline_cron="0 11 * * *", lower_bound_delta=timedelta(hours=1), timezone=get_settings().membership_zone
)

HOURLY = dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=4), warn_window=timedelta(hours=2))

POLICIES: dict[FreshnessName, dg.FreshnessPolicy] = {
    "monthly": MONTHLY,
    "daily": DAILY,
    "morning": MORNING,
    "hourly": HOURLY,
}
