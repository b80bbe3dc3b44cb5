"""The graph: assets, checks, partitions, schedules, sensors and the `lakegraph` command.

What belongs here: Dagster. What does not: how a table is stored (`lake`), read (`dlt_sources`) or computed
(`dbt_project`).
"""

import warnings

import dagster as dg

# Freshness policies, backfill policies and components are what Dagster recommends, and still say so as
# warnings.
warnings.filterwarnings("ignore", category=dg.BetaWarning)
warnings.filterwarnings("ignore", category=dg.PreviewWarning)
