"""The Iceberg catalog of the embedded target: where it is, how it is opened, and which namespaces exist.

What belongs here: opening catalogs. What does not: reading or committing tables (`lake.iceberg`).
"""

from typing import TYPE_CHECKING

from lake.settings import Settings

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog

LAYERS = ("bronze", "silver", "gold")
NAMESPACES = (
    "bronze",
    "silver",
)  # the layers that hold Iceberg tables; gold lives in DuckDB or BigQuery alone


def open_catalog(settings: Settings) -> "Catalog":
    """The SQL catalog on SQLite under `settings.catalog_db`; the file and its folder are made on first use.

    A busy timeout lets parallel loads of other partitions wait for each other's short writes. Of several
    processes that make the catalog's own tables at once, pyiceberg lets all but one fail ("table already
    exists"); those look again.
    """
    from pyiceberg.catalog.sql import SqlCatalog
    from sqlalchemy.exc import OperationalError
    from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random

    settings.warehouse.mkdir(parents=True, exist_ok=True)

    @retry(
        retry=retry_if_exception_type(OperationalError),
        stop=stop_after_attempt(8),
        wait=wait_random(0, 0.2),
        reraise=True,
    )
    def attempt() -> "Catalog":
        return SqlCatalog(
            "lake",
            uri=f"sqlite:///{settings.catalog_db}?timeout=60",
            warehouse=f"file://{settings.warehouse}",
        )

    return attempt()
