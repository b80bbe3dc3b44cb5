"""Row accounting: what a load read, loaded and rejected, and whether that adds up.

What belongs here: the `LoadAccount` and its form as Iceberg snapshot properties. What does not: committing
(`lake.iceberg`), and the accounts of silver tables, which are SQL (`dbt_project`, macro `row_accounts`).

On the embedded target an account travels in the properties of the very snapshot that holds its rows, so there is no
moment at which one exists without the other; the cloud's store says what it does instead.
"""

from dataclasses import MISSING, dataclass, fields
from typing import Any

PREFIX = "lakegraph."
REFRESH = "full refresh"  # in the place of a partition: of a load that took the place of all before it


@dataclass(frozen=True)
class LoadAccount:
    """One load of one table (and partition).

    Attributes:
        pipeline: name of the dlt pipeline.
        run_id: the Dagster run, or what the caller gave.
        partition: ISO date of the partition, "" for an unpartitioned table.
        source_object: file or URL the rows came from.
        digest: SHA-256 of the source's content; with `fingerprint` it tells a repeated load.
        fingerprint: digest of the table's declaration.
        rows_read: rows seen in the source.
        rows_loaded: rows committed to the table.
        rows_rejected: rows committed to `<table>__rejected`.
        rows_known: rows that table or quarantine held already; only a table that is appended to knows such.
    """

    pipeline: str
    run_id: str
    partition: str
    source_object: str
    digest: str
    fingerprint: str
    rows_read: int
    rows_loaded: int
    rows_rejected: int
    rows_known: int = 0

    @property
    def unaccounted(self) -> int:
        """Read - loaded - rejected - known: 0 if every row is accounted for."""
        return self.rows_read - self.rows_loaded - self.rows_rejected - self.rows_known

    def same_content(self, other: "LoadAccount | None") -> bool:
        """Whether `other` is a load of the same rows under the same declaration: repeating it changes
        nothing.
        """
        return other is not None and (self.digest, self.fingerprint) == (other.digest, other.fingerprint)

    def to_properties(self) -> dict[str, str]:
        """The account as snapshot properties `lakegraph.<field>`."""
        return {PREFIX + f.name.replace("_", "-"): str(getattr(self, f.name)) for f in fields(self)}

    @classmethod
    def from_properties(cls, properties: dict[str, str]) -> "LoadAccount | None":
        """The account held by a snapshot's properties, None if the snapshot is not a load of ours
        (maintenance, say).
        """
        values: dict[str, Any] = {}
        for field in fields(cls):
            text = properties.get(PREFIX + field.name.replace("_", "-"))
            if text is None:
                if field.default is not MISSING:  # younger than the snapshot
                    continue
                return None
            values[field.name] = int(text) if field.type is int else text
        return cls(**values)


@dataclass(frozen=True)
class LoadResult:
    """What a load did: its account, whether it changed the table, and what it learned about the source."""

    account: LoadAccount
    changed: bool
    snapshot_id: int | None
    total_rows: int
    new_columns: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
