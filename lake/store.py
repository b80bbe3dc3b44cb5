"""Where bronze tables live, behind one interface: Iceberg on the embedded target, BigQuery and GCS in the cloud.

What belongs here: the interface, what is handed to it, and which target has which store. What does not: any store
(`lake.iceberg_store`, `lake.bigquery_store`), and how rows get out of a source (`lake.load`).

dlt delivers files, the store commits them: so rows, rejects and accounts mean the same on every target.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from lake.accounting import LoadAccount
from lake.settings import Settings, Target
from lake.spec import TableSpec

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Delivery:
    """One load, ready to be committed.

    Attributes:
        spec: the table.
        partition: what the files replace; None for an unpartitioned table, and for one that is appended to.
        files: Parquet files of good rows, in a folder of the load's own; the store may move them.
        rejected: Parquet files of rejected rows.
        account: what the load read, and where from.
        working: a folder of the load's own, removed when it ends.
        refresh: of a table that is appended to: whether these rows take the place of all that it holds.
    """

    spec: TableSpec
    partition: date | None
    files: tuple[Path, ...]
    rejected: tuple[Path, ...]
    account: LoadAccount
    working: Path
    refresh: bool = False


@dataclass(frozen=True)
class Commit:
    """What a commit did.

    Attributes:
        changed: whether anything was; False if the table already held this very content.
        snapshot_id: of the table's Iceberg snapshot, on a store that has such.
        total_rows: rows in the whole table now.
        account: the delivery's account, as it turned out: an append finds some of the rows to be known.
    """

    changed: bool
    snapshot_id: int | None
    total_rows: int
    account: LoadAccount


class BronzeStore(Protocol):
    """Bronze tables of one target. Partition keys are ISO dates, "" for an unpartitioned table."""

    def known_columns(self, spec: TableSpec) -> "dict[str, pa.DataType]":
        """Columns that the table has gained beyond its declaration; empty if there is no table yet."""

    def check_declaration(self, spec: TableSpec) -> None:
        """Refuse a declaration whose types the table cannot take any more: no load would ever succeed.

        Raises:
            LakeError: names the column, both types and the remedy.
        """

    def commit(self, delivery: Delivery) -> Commit:
        """Make the delivery the whole content of its partition (or of the table), at once or not at all; other
        partitions are not touched. A repeat of the same load changes nothing.

        Of a table whose mode is `append`, the rows that it does not hold yet join those it holds, at once or not at
        all; so do rejected rows. Loads may repeat, overlap, run at once and in any order. A refresh replaces both.
        """

    def accounts(self, spec: TableSpec) -> dict[str, LoadAccount]:
        """The newest account of each partition."""

    def stored_rows(self, spec: TableSpec, *, rejected: bool = False) -> dict[str, int]:
        """Rows that the table (or its quarantine) holds now, by partition, counted independently of the accounts."""

    def appended_rows(self, spec: TableSpec, *, rejected: bool = False) -> int:
        """Rows that all loads since the last refresh have brought to a table whose mode is `append`, by their
        accounts.
        """

    def held_keys(self, spec: TableSpec) -> int:
        """Rows of the source that the table holds some version of: distinct values of `spec.key`."""

    def newest(self, spec: TableSpec, column: str, since: date) -> datetime | None:
        """The greatest value of `column`, a timestamp, in the partitions from `since` on; None if they hold no row."""

    def partitions(self, table: str) -> frozenset[str] | None:
        """Partitions of `bronze.<table>` that hold rows; {""} if it is not partitioned, None if there is no table."""

    def preview(self, spec: TableSpec, rows: int) -> "pa.Table":
        """Some rows of the table."""


def _iceberg(settings: Settings, run_id: str) -> BronzeStore:  # noqa: ARG001 - as the other
    from lake.iceberg_store import IcebergStore

    return IcebergStore(settings)


def _bigquery(settings: Settings, run_id: str) -> BronzeStore:
    from lake.bigquery_store import BigQueryStore

    return BigQueryStore(settings.gcp(), settings.gcp_maximum_bytes_billed, run_id)


_STORES: Mapping[Target, Callable[[Settings, str], BronzeStore]] = {"local": _iceberg, "gcp": _bigquery}


def open_store(settings: Settings, run_id: str = "manual") -> BronzeStore:
    """The store of the settings' target.

    Args:
        settings: where the tables live.
        run_id: who asks; BigQuery's jobs carry it as a label.

    Raises:
        LakeError: the target's settings are incomplete.
    """
    return _STORES[settings.target](settings, run_id)
