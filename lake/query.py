"""Reading what was built, by SQL in the target's own dialect.

What belongs here: which engine answers for which target. What does not: the published copy itself (`lake.publish`).
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from lake import publish
from lake.settings import Settings, Target

if TYPE_CHECKING:
    import pyarrow as pa


def _bigquery(settings: Settings, sql: str) -> "pa.Table":
    from lake.gcp import bigquery_client, clear_errors, job_labels, query_config

    config = query_config(settings.gcp_maximum_bytes_billed, job_labels("query", "manual"))
    with clear_errors("query"):
        rows = bigquery_client(settings.gcp()).query_and_wait(sql, job_config=config)
        return rows.to_arrow(create_bqstorage_client=False)


_ENGINES: Mapping[Target, Callable[[Settings, str], "pa.Table"]] = {"local": publish.query, "gcp": _bigquery}


def query(settings: Settings, sql: str) -> "pa.Table":
    """The result of `sql` on the target: the published DuckDB copy, or BigQuery.

    Raises:
        LakeError: the statement fails, with the engine's reason.
    """
    return _ENGINES[settings.target](settings, sql)
