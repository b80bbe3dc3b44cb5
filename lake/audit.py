"""The row account of a bronze table, taken anew from what is committed.

What belongs here: comparing the accounts in the snapshots' properties with the rows the manifests hold. What
does not: judging silver.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from lake import iceberg
from lake.catalog import open_catalog
from lake.settings import Settings
from lake.spec import TableSpec


@dataclass(frozen=True)
class Finding:
    """One load against the tables: rows it read, and rows that table and quarantine hold now."""

    identifier: str
    partition: str
    rows_read: int
    rows_stored: int
    rows_rejected: int

    @property
    def unaccounted(self) -> int:
        """Read - stored - rejected; 0 if every row is accounted for."""
        return self.rows_read - self.rows_stored - self.rows_rejected

    def sentence(self) -> str:
        """The finding for a person."""
        name = f"{self.identifier} {self.partition}".strip()
        return f"{name}: {self.rows_read:,} read, {self.rows_stored:,} stored, {self.rows_rejected:,} rejected"


def audit(spec: TableSpec, partitions: Sequence[str], settings: Settings) -> list[Finding]:
    """Compare the newest account of each partition with the rows stored; no data is read, only metadata.

    Args:
        spec: the table.
        partitions: ISO dates, or "" for an unpartitioned table.
        settings: where the catalog is.
    """
    catalog = open_catalog(settings)
    table = catalog.load_table(spec.identifier)
    accounts = iceberg.accounts(table)
    stored = _by_key(iceberg.rows_by_partition(table))
    rejected: dict[str, int] = {}
    if catalog.table_exists(f"bronze.{spec.rejected_table}"):
        rejected = _by_key(iceberg.rows_by_partition(catalog.load_table(f"bronze.{spec.rejected_table}")))
    return [
        Finding(
            spec.identifier,
            key,
            accounts[key].rows_read if key in accounts else 0,
            stored.get(key, 0),
            rejected.get(key, 0),
        )
        for key in partitions
    ]


def is_loaded(identifier: str, settings: Settings) -> bool:
    """Whether the table exists."""
    return open_catalog(settings).table_exists(identifier)


def absent_partitions(identifier: str, partitions: Sequence[str], settings: Settings) -> list[str]:
    """Those of `partitions` (ISO dates) that the table was never loaded for; none if it is not partitioned."""
    from pyiceberg.exceptions import NoSuchTableError

    try:
        table = open_catalog(settings).load_table(identifier)
    except NoSuchTableError:
        return list(partitions)
    if not table.spec().fields:
        return []
    stored = _by_key(iceberg.rows_by_partition(table))
    return [partition for partition in partitions if not stored.get(partition)]


def _by_key(counts: dict[date | None, int]) -> dict[str, int]:
    return {key.isoformat() if key else "": rows for key, rows in counts.items()}
