"""The graph: assets, checks, partitions, schedules, sensors and the `lakegraph` command.

What belongs here: Dagster. What does not: how a table is stored (`lake`), read (`dlt_sources`) or computed (`dbt_project`).
"""
