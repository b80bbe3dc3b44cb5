"""House-keeping of the lake: expire snapshots, remove orphan files, clear what dead runs left.

What belongs here: what may be removed, and when. What does not: a schedule.

pyiceberg's `expire_snapshots` removes snapshots and no files, and a load that died leaves files no snapshot
names: so files are compared with what the metadata names, and only those older than an age go, for a younger one may
belong to a commit under way.
"""

import shutil
import time
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from lake import iceberg
from lake.accounting import LoadAccount
from lake.append import TOTAL_ROWS
from lake.catalog import open_catalog
from lake.settings import Settings

if TYPE_CHECKING:
    from pyiceberg.table import Table


PUBLISHING = timedelta(hours=1)  # longer than it takes from refreshing the views to swapping the copy in


@dataclass(frozen=True)
class Maintained:
    """What went, or with `dry_run` would go."""

    snapshots_expired: int
    files: tuple[Path, ...]
    folders: tuple[Path, ...]
    bytes_removed: int


def expirable(table: "Table", before: datetime) -> list[int]:
    """Snapshots replaced before `before`, but never the current one nor one with the newest account of a
    partition.

    What counts is when a snapshot ceased to be the current one, not when it became it: the published copy may
    have been reading it a moment ago, however old it is.
    """
    newest: dict[str, int] = {}
    for snapshot in sorted(table.snapshots(), key=lambda s: s.sequence_number or 0):
        properties = dict(snapshot.summary.additional_properties) if snapshot.summary else {}
        if account := LoadAccount.from_properties(properties):
            appended = TOTAL_ROWS in properties  # then the newest account of all sums up the others
            newest["" if appended else account.partition] = snapshot.snapshot_id
    current = table.current_snapshot()
    keep = {*newest.values(), *([current.snapshot_id] if current else [])}
    limit = int(before.timestamp() * 1000)
    replaced = {s.parent_snapshot_id: s.timestamp_ms for s in table.snapshots()}
    return [
        s.snapshot_id
        for s in table.snapshots()
        if replaced.get(s.snapshot_id, s.timestamp_ms) < limit and s.snapshot_id not in keep
    ]


def _named_files(table: "Table", expired: Collection[int]) -> set[Path]:
    """Every file that the table's metadata names, but for its `expired` snapshots: data, manifests, lists, metadata."""
    names = {table.metadata_location, *(entry.metadata_file for entry in table.metadata.metadata_log)}
    for snapshot in table.snapshots():
        if snapshot.snapshot_id in expired:
            continue
        names.add(snapshot.manifest_list)
        names.update(manifest.manifest_path for manifest in snapshot.manifests(table.io))
        names.update(file.file_path for file in iceberg.files_of(table, snapshot))
    return {Path(name.removeprefix("file://")) for name in names}


def maintain(settings: Settings, *, keep_days: int = 7, dry_run: bool = False) -> Maintained:
    """Maintain every table of the catalog, and the working folders.

    Args:
        settings: where everything is.
        keep_days: only what is older goes; at least 1, so that nothing of a run under way is touched.
        dry_run: only say what would go.
    """
    catalog = open_catalog(settings)
    age = timedelta(days=max(1, keep_days))
    before, oldest = datetime.now(UTC) - age, time.time() - age.total_seconds()
    if settings.published_path.exists():  # its views name the files that were current when it was made
        made = datetime.fromtimestamp(settings.published_path.stat().st_mtime, UTC)
        before = min(before, made - PUBLISHING)
    expired, files = 0, []
    for namespace in catalog.list_namespaces():
        for identifier in catalog.list_tables(namespace):
            table = catalog.load_table(identifier)
            ids = expirable(table, before)
            expired += len(ids)
            if ids and not dry_run:
                table.maintenance.expire_snapshots().by_ids(ids).commit()
                table = catalog.load_table(identifier)
            named = _named_files(table, ids)
            folder = Path(table.location().removeprefix("file://"))
            files += [p for p in folder.rglob("*") if p.is_file() and p not in named and p.stat().st_mtime < oldest]
    roots = (settings.dlt_home, settings.dbt_target, settings.staging)
    leftovers = [p for root in roots if root.is_dir() for p in root.iterdir()]
    leftovers += [*settings.published_path.parent.glob(".publishing-*"), *settings.duckdb_path.parent.glob("*.new")]
    folders = [p for p in leftovers if p.stat().st_mtime < oldest]
    size = sum(p.stat().st_size for p in files)
    if not dry_run:
        for path in files:
            path.unlink(missing_ok=True)
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True) if folder.is_dir() else folder.unlink(missing_ok=True)
    return Maintained(expired, tuple(files), tuple(folders), size)
