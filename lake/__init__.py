"""The tables: settings, specs, Iceberg, the dlt destination, DuckDB views, row accounting, publishing,
maintenance.

What belongs here: everything that knows how a table is stored, counted and read. What does not: Dagster (a
notebook can use this package), and any source system (that is `dlt_sources`).
"""
