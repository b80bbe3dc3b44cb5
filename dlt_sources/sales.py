"""Sales: customers, contracts, services, invoices and what was paid, in a relational database.

What belongs here: where the sales' settings lead, for the generic reader. What does not: how rows are read
(`dlt_sources.sql_tables`).
"""

from typing import TYPE_CHECKING

from dlt_sources.sql_tables import CHUNK_ROWS, Database, changed_rows
from lake.load import LoadRequest, SourceReport
from lake.settings import Settings

if TYPE_CHECKING:
    from dlt.extract import DltSource


def rows(request: LoadRequest, report: SourceReport, *, table: str, chunk_rows: int = CHUNK_ROWS) -> "DltSource":
    """What changed in a table; see `changed_rows`."""
    database = database_of(request.settings)
    return changed_rows(request, report, database=database, table=table, chunk_rows=chunk_rows)


def database_of(settings: Settings) -> Database:
    """The database of the sales.

    Raises:
        LakeError: the settings do not say where it is.
    """
    return Database(
        address=settings.endpoint("sales_database"),
        schema=settings.sales_schema,
        connect_seconds=settings.sales_connect_timeout_seconds,
        statement_seconds=settings.sales_statement_timeout_seconds,
        attempts=settings.http_attempts,
        statement_setting="LAKEGRAPH_SALES_STATEMENT_TIMEOUT_SECONDS",
    )
