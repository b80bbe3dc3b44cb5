"""StarRocks: gold registered where dashboards read it.

What belongs here: statements from declarations (`ddl`), a client (`client`), what has to be done to a declared object
and doing it (`plan`), and whether what it serves is what was exported (`probe`). What does not: Dagster
(`orchestration`), and writing the files (`lake`).

Nothing here imports a driver before it connects.
"""
