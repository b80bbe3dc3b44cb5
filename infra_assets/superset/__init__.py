"""Superset's dashboards as code: `dashboards/*.yaml` → a bundle → a running Superset.

What belongs here: reading and rendering the files (`bundle`), what must hold of them (`validation`, by gold's
`contract`), and the import (`client`). What does not: the files themselves, starting a Superset (`sandbox`, for one
person) and Dagster.
"""
