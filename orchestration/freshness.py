"""How old a table may be before somebody is told.

What belongs here: freshness policies by name. What does not: how old the source is; that is dbt's source
freshness, a check.
"""

from datetime import timedelta

import dagster as dg

MONTHLY = dg.FreshnessPolicy.time_window(fail_window=timedelta(days=45), warn_window=timedelta(days=35))
DAILY = dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=36), warn_window=timedelta(hours=26))

POLICIES = {"monthly": MONTHLY, "daily": DAILY}
