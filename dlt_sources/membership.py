"""Membership of a live-streaming platform: workbooks that people drop into a folder every day.

What belongs here: which workbook is of which report and day, and what a day's load makes of them. What does not:
folders (`dlt_sources.dropfolder`), how a workbook is read (`dlt_sources.workbooks`), and how each report looks, which
stands in `dlt_sources/layouts/membership`: a new report is a file there, a table's declaration and a dbt model.

A workbook's name tells its report and its day. The load of a day reads all workbooks that are named for it, and the
first day's those of all days before, so a workbook that comes late, or is corrected, is its day's load once more. Of
two files with the same content one counts. A workbook that cannot be read goes to quarantine as a whole and is moved
into the folder's `aside`, where every load of its day reads it again: it does not matter where it lies.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlt_sources.dropfolder import DropFolder, DroppedFile, open_folder
from dlt_sources.files import MissingError
from dlt_sources.rejects import with_rejected
from dlt_sources.workbooks.layout import Layout, read_layout
from dlt_sources.workbooks.package import Limits, RefusedError
from dlt_sources.workbooks.reader import Rows, read_workbook, refused_rows, split_rows
from lake.errors import LakeError, TransientError
from lake.load import LoadRequest, SourceReport
from lake.settings import Settings

if TYPE_CHECKING:
    from dlt.extract import DltSource

LAYOUTS = Path(__file__).with_name("layouts") / "membership"
BATCH_ROWS = 200_000
LIMITS = Limits()


@lru_cache(maxsize=1)
def layouts() -> Mapping[str, Layout]:
    """The layouts of all reports, by the report's name.

    Raises:
        LakeError: a file of them declares none.
    """
    return {layout.report: layout for layout in map(read_layout, sorted(LAYOUTS.glob("*.yaml")))}


def folder_of(settings: Settings) -> DropFolder:
    """The folder that workbooks are dropped into.

    Raises:
        LakeError: the settings do not say where it is.
    """
    return open_folder(settings.endpoint("membership_folder"), settings)


@dataclass(frozen=True)
class Workbook:
    """A file whose name says what it reports: the day by whose load it is read, and the file."""

    day: date
    file: DroppedFile


def of_report(listing: Sequence[DroppedFile], layout: Layout, first: date) -> list[Workbook]:
    """The workbooks of a report; those of days before the first are the first day's."""
    dated = ((layout.day_of(file.name), file) for file in listing)
    return [Workbook(max(day, first), file) for day, file in dated if day]


def report(request: LoadRequest, report: SourceReport, *, layout: str) -> "DltSource":
    """One day of a report.

    Args:
        request: the table and its day. The spec may declare `workbook`, `workbook_modified_at`, `sheet`, `sheet_row`
            and `extra_cells` (JSON of cells under headers that the layout does not know).
        report: filled in with the workbooks, a digest of their contents and of the layout, the rows read, and what was
            left out.
        layout: the report's name.

    Returns:
        A source with the resources `request.spec.table` and `request.spec.rejected_table`.

    Raises:
        LakeError: the folder cannot be read, there is no workbook of that day, or none of them can be read.
    """
    import dlt

    spec = request.spec

    @dlt.resource(name=spec.table, file_format="parquet")
    def rows() -> Iterator[Any]:
        yield from _day(request, report, layouts()[layout])

    @dlt.source(name="membership", max_table_nesting=0)
    def membership() -> Any:
        return rows

    return membership()


def _day(request: LoadRequest, report: SourceReport, layout: Layout) -> Iterator[Any]:
    settings, spec = request.settings, request.spec
    folder = folder_of(settings)
    found = [
        one.file
        for one in of_report(folder.listing(), layout, settings.membership_first_day)
        if one.day == request.partition
    ]
    if not found:
        raise LakeError(
            f"{folder.url}: no workbook of {layout.report} for {request.partition} yet; it is loaded when it comes"
        )
    names = f"{folder.url}/{found[0].name}" if len(found) == 1 else f"{folder.url}: {len(found)} workbooks"
    report.source_object = names
    reading = _Reading(folder, request, layout)
    zone = settings.membership_zone
    batch: list[Rows] = []
    for rows in reading.sheets(found):
        report.rows_read += rows.cells.num_rows
        batch.append(rows)
        if sum(one.cells.num_rows for one in batch) >= BATCH_ROWS:
            yield from _split(batch, request, layout, folder.url)
            batch = []
    if batch:
        yield from _split(batch, request, layout, folder.url)
    if reading.refusals:
        report.rows_read += len(reading.refusals)
        yield from with_rejected(
            spec.rejected_table,
            [refused_rows([(file.name, why) for file, why in reading.refusals], folder.url, request.run_id)],
        )
    report.digest = hashlib.sha256(json.dumps([sorted(reading.digests), layout.fingerprint, zone]).encode()).hexdigest()
    report.notes, report.refused = tuple(reading.notes), tuple(reading.told)
    report.new_columns = tuple(reading.unknown)


def _split(batch: Sequence[Rows], request: LoadRequest, layout: Layout, url: str) -> Iterator[Any]:
    spec, zone = request.spec, request.settings.membership_zone
    good, rejected = split_rows(batch, spec, layout, zone, source=url, run_id=request.run_id)
    if good.num_rows:
        yield good
    yield from with_rejected(spec.rejected_table, [rejected])


class _Reading:
    """Workbooks read one after another, and what was learned on the way."""

    def __init__(self, folder: DropFolder, request: LoadRequest, layout: Layout) -> None:
        self.refusals: list[tuple[DroppedFile, RefusedError]] = []
        self.digests: list[tuple[str, str]] = []
        self.notes: list[str] = []
        self.told: list[str] = []  # of the refusals
        self.unknown: dict[str, None] = {}
        self._folder, self._request, self._layout = folder, request, layout

    def sheets(self, files: Sequence[DroppedFile]) -> Iterator[Rows]:
        """The rows of each sheet; afterwards refused workbooks lie aside.

        Raises:
            LakeError: none of the workbooks can be read; says why of the first.
        """
        seen: dict[str, str] = {}
        read = 0
        # the newest first: of the same content twice the later one counts, for a correction may be taken back
        for file in sorted(files, key=lambda one: (one.modified, one.name, one.id), reverse=True):
            target = self._request.working / "workbook.xlsx"
            try:
                digest = self._fetched(file, target)
                self.digests.append((file.id, digest))
                if digest in seen:
                    self.notes.append(f"{file.name}: the same file as {seen[digest]}, left out")
                    continue
                seen[digest] = file.name
                rows, notes = self._read(file, target)
            except RefusedError as error:
                self.refusals.append((file, error))
                continue
            finally:
                target.unlink(missing_ok=True)
            read += 1
            self.notes += notes
            for one in rows:
                self.unknown.update(dict.fromkeys(one.others.column_names))
            yield from rows
        self._put_aside()
        if not read:
            file, why = self.refusals[0]
            more = f" (and {len(self.refusals) - 1} more workbooks)" if len(self.refusals) > 1 else ""
            raise LakeError(f"{self._folder.url}/{file.name}: {why}{more}; the table is left as it was")

    def _fetched(self, file: DroppedFile, target: Path) -> str:
        """A digest of the file, which is at `target` then, unless it is too large. The folder's own digest stands for
        such a one, and for a Google Sheet, which has no size: each export of it may be other bytes.
        """
        if not self._is_too_large(file):
            try:
                fetched = self._folder.fetch(file, target, LIMITS.file)
            except MissingError as error:  # the next attempt lists anew
                raise TransientError(str(error)) from error
            if file.bytes is not None:
                return fetched.digest
        return file.digest

    def _read(self, file: DroppedFile, target: Path) -> tuple[list[Rows], tuple[str, ...]]:
        if self._is_too_large(file):
            raise RefusedError("too_large", f"has {file.bytes:,} bytes; {LIMITS.file:,} are allowed")
        return read_workbook(target, file.name, file.modified, self._request.spec, self._layout, LIMITS)

    @staticmethod
    def _is_too_large(file: DroppedFile) -> bool:
        return file.bytes is not None and file.bytes > LIMITS.file

    def _put_aside(self) -> None:
        for file, why in self.refusals:
            self.told.append(f"{file.name}: {why}{aside(self._folder, file)}")


def aside(folder: DropFolder, file: DroppedFile) -> str:
    """Move a file aside; how that went, as the end of a sentence."""
    try:
        return "; moved aside" if folder.put_aside(file) else "; lies aside"
    except LakeError as error:
        return f"; stays where it is: {error}"


def workbooks(request: LoadRequest, report: SourceReport) -> "DltSource":
    """What lies in the folder: a row for each file, with the report and the day that its name tells.

    A file of no report is moved aside.

    Args:
        request: the table.
        report: filled in with the folder, the number of files, and those of no report.

    Returns:
        A source with the resource `request.spec.table`.
    """
    import dlt

    spec, settings = request.spec, request.settings

    @dlt.resource(name=spec.table, file_format="parquet")
    def files() -> Iterator[Any]:
        import pyarrow as pa

        folder = folder_of(settings)
        listing = folder.listing()
        report.source_object, report.rows_read = folder.url, len(listing)
        rows = inventory(listing, layouts())
        report.refused = tuple(
            f"{file.name}: is of no report{aside(folder, file)}"
            for file, row in zip(listing, rows, strict=True)
            if row["report"] is None
        )
        if rows:
            yield pa.Table.from_pylist(rows, schema=spec.arrow_schema())

    @dlt.source(name="membership", max_table_nesting=0)
    def membership() -> Any:
        return files

    return membership()


def inventory(listing: Sequence[DroppedFile], known: Mapping[str, Layout]) -> list[dict[str, Any]]:
    """A row for each file of a listing, in its order."""
    rows = []
    for file in listing:
        told = ((name, layout.day_of(file.name)) for name, layout in known.items())
        name, day = next(((name, day) for name, day in told if day), (None, None))
        rows.append(
            {
                "file_id": file.id,
                "name": file.name,
                "bytes": file.bytes,
                "modified_at": file.modified.replace(tzinfo=None),
                "digest": file.digest,
                "report": name,
                "report_day": day,
            }
        )
    return rows


def new_workbooks(settings: Settings, layout: str, cursor: str | None, last: date) -> tuple[list[date], str]:
    """For a sensor: the days of whose workbooks some came, changed or went since `cursor`, and the cursor after them.

    Nothing but the folder's listing is read: a file is told by its id, the digest that the listing has, and its day,
    for Drive's id stays when a file is renamed. A day of which nothing is left is not asked for: its load would fail.

    Args:
        settings: say where the folder is.
        layout: the report.
        cursor: what the last call returned; None: every workbook is new.
        last: workbooks of later days are not seen yet.

    Raises:
        LakeError: the folder cannot be listed; a `TransientError` if trying again may help.
    """
    listing = folder_of(settings).listing()
    watched = [one for one in of_report(listing, layouts()[layout], settings.membership_first_day) if one.day <= last]
    here = {(one.file.id, one.file.digest, one.day.isoformat()) for one in watched}
    before = {(file, digest, day) for file, digest, day in json.loads(cursor)} if cursor else set()
    left = {day for _, _, day in here}
    days = {date.fromisoformat(day) for _, _, day in here ^ before if day in left}
    return sorted(days), json.dumps(sorted(here))
