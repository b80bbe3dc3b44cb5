"""How old a table may be before somebody is told.

What belongs here: freshness policies by name. What does not: how old the source is; that is dbt's source
freshness, a check.
"""

from datetime import timedelta
from typing import Literal

import dagster as dg

FreshnessName = Literal["monthly", "daily", "hourly"]

MONTHLY = dg.FreshnessPolicy.time_window(fail_window=timedelta(days=45), warn_window=timedelta(days=35))
DAILY = dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=36), warn_window=timedelta(hours=26))

HOURLY = dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=4), warn_window=timedelta(hours=2))

POLICIES: dict[FreshnessName, dg.FreshnessPolicy] = {"monthly": MONTHLY, "daily": DAILY, "hourly": HOURLY}
