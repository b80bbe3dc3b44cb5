"""The row account of a bronze table, taken anew from what is committed.

What belongs here: comparing the accounts with the rows that the store counts. What does not: judging silver.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from lake.settings import Settings
from lake.spec import TableSpec
from lake.store import BronzeStore, open_store

COUNTS = 5  # of a table that others are appending to


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


def audit(spec: TableSpec, partitions: Sequence[str], settings: Settings, run_id: str = "manual") -> list[Finding]:
    """Compare the newest account of each partition with the rows stored; on the embedded target by metadata alone.

    A table that is appended to is compared as a whole: with the rows that all its loads have brought.

    Args:
        spec: the table.
        partitions: ISO dates, or "" for an unpartitioned table.
        settings: where the tables are.
        run_id: who asks.
    """
    store = open_store(settings, run_id)
    if spec.mode == "append":
        return [_whole(store, spec)]
    accounts, stored, rejected = store.accounts(spec), store.stored_rows(spec), store.stored_rows(spec, rejected=True)
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


def _whole(store: BronzeStore, spec: TableSpec) -> Finding:
    """The account of a table that is appended to. If another load commits while rows are counted, they are counted
    anew: what it brought would be in the one number, and not in the other.
    """

    def brought() -> int:
        return sum(store.appended_rows(spec, rejected=which) for which in (False, True))

    before = brought()
    for _ in range(COUNTS):
        held = [sum(store.stored_rows(spec, rejected=which).values()) for which in (False, True)]
        finding, after = Finding(spec.identifier, "", before, *held), brought()
        if after == before:
            break
        before = after
    return finding
