"""A workbook as rows: where each of them stands, what its cells say, and what of the sheet is no row.

What belongs here: sheets to `Rows` by a layout, and `Rows` of any number of workbooks to good and rejected rows of the
table. What does not: files (`package`), cells (`cells`), the meaning of text (`values`), rules (`lake.quarantine`).

A row is what stands below the header and has a cell with a value. Rows of totals, and the header once more (as printed
sheets have it on each page), are none; how many there were is noted. A row that begins with `Total` and has all that a
row must have is one: somebody may call himself so. A workbook is read whole or refused whole: a sheet
that should hold rows and has no header refuses it.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from dlt_sources.workbooks.cells import TEXT, Sheet, read_sheets
from dlt_sources.workbooks.layout import HEADER_ROWS, Header, Layout, find_header, folded
from dlt_sources.workbooks.package import Limits, RefusedError, column_name, inspect
from dlt_sources.workbooks.values import IS_1904, query
from lake.duck import quote
from lake.errors import LakeError
from lake.quarantine import Origin, rejected_schema, split
from lake.spec import TableSpec

if TYPE_CHECKING:
    import pyarrow as pa

WORKBOOK, MODIFIED, SHEET, ROW, EXTRA = "workbook", "workbook_modified_at", "sheet", "sheet_row", "extra_cells"
OWN = (WORKBOOK, MODIFIED, SHEET, ROW, EXTRA)  # columns of the table that say where a row is from
OTHERS = 500  # columns that the layout does not know: a sheet with more is not of the report
_BLANK = " \u3000\u00a0\t\r\n"


@dataclass(frozen=True)
class Rows:
    """The rows of a sheet.

    Attributes:
        place: the workbook and the sheet, for messages.
        cells: the table's columns as the workbook has them, text; without those that the sheet lacks.
        others: under headers that the layout does not know, by these; under none, by the column's letters.
        numbers: of the rows in the sheet, from 1.
        origin: values of `WORKBOOK`, `MODIFIED` (UTC) and `SHEET`.
        is_1904: which calendar its serial numbers of days are of.
        reasons: why a row is rejected whatever its cells say, null for most; None if none is.
        notes: what of the sheet is no row.
    """

    place: str
    cells: "pa.Table"
    others: "pa.Table"
    numbers: "pa.Array"
    origin: Mapping[str, str]
    is_1904: bool
    reasons: "pa.Array | None" = None
    notes: tuple[str, ...] = ()


def read_workbook(
    path: Path, name: str, modified: datetime, spec: TableSpec, layout: Layout, limits: Limits | None = None
) -> tuple[list[Rows], tuple[str, ...]]:
    """The rows of a workbook.

    Args:
        path: the file.
        name: how the workbook is called.
        modified: when it was last changed, UTC.
        spec: the table's declaration.
        layout: of the report.
        limits: what a file may be; None: the usual ones.

    Returns:
        The rows of each sheet that has some, and notes on what was left out.

    Raises:
        RefusedError: it is not read at all. The message goes on after the workbook's name.
    """
    package = inspect(path, limits or Limits())
    required = [column for column in layout.columns if spec.columns[column].required]
    found: list[Rows] = []
    notes = [f"{name}#{sheet}: hidden, left out" for sheet in sorted(package.hidden & package.sheets.keys())]
    has_header = False
    for sheet in read_sheets(package):
        try:
            row, header = _header(sheet, layout, required)
        except LakeError as error:
            if layout.is_data_sheet(sheet.name) and not _is_blank(sheet):
                raise RefusedError("unknown_layout", f"sheet {sheet.name!r}: {error}") from None
            notes.append(f"{name}#{sheet.name}: has no header of {layout.report}, left out")
            continue
        has_header = True
        origin = {WORKBOOK: name, MODIFIED: f"{modified:%Y-%m-%dT%H:%M:%S.%fZ}", SHEET: sheet.name}
        rows = _rows(sheet, row, header, layout, origin, required, is_1904=package.is_1904)
        notes += rows.notes
        if rows.cells.num_rows:
            found.append(rows)
    if not has_header:
        raise RefusedError("unknown_layout", f"none of its sheets has the header of {layout.report}")
    return found, tuple(notes)


def _header(sheet: Sheet, layout: Layout, required: Sequence[str]) -> tuple[int, Header]:
    head = sheet.cells.slice(0, HEADER_ROWS).to_pydict()
    return find_header(list(zip(*head.values(), strict=True)), layout, required)


def _is_blank(sheet: Sheet) -> bool:
    import pyarrow.compute as pc

    return not any(pc.any(pc.not_equal(_bare(column), "")).as_py() for column in sheet.cells.columns)


def _bare(column: "pa.ChunkedArray") -> "pa.ChunkedArray":
    import pyarrow.compute as pc

    return pc.fill_null(pc.utf8_trim(column, _BLANK), "")


def _rows(
    sheet: Sheet,
    row: int,
    header: Header,
    layout: Layout,
    origin: Mapping[str, str],
    required: Sequence[str],
    *,
    is_1904: bool,
) -> Rows:
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    place = f"{origin[WORKBOOK]}#{sheet.name}"
    body = sheet.cells.slice(row + 1)
    texts = sheet.cells.slice(row, 1).to_pylist()[0]
    headed = sorted([*header.columns.values(), *header.others])
    has_value = _has_value(body.select(headed))
    is_total = _is_total(body, header, layout, required)
    is_header = _equals(body, texts, list(header.columns.values()))
    is_row = _whole(pc.and_(has_value, pc.invert(pc.or_(is_total, is_header))))
    strays = pc.and_(pc.invert(has_value), _has_value(body))
    notes = []
    for what, mask in (("rows of totals", pc.and_(has_value, is_total)), ("repeated headers", is_header)):
        if count := pc.sum(mask).as_py():
            notes.append(f"{place}: {count:,} {what}, left out")
    if count := pc.sum(strays).as_py():
        notes.append(f"{place}: {count:,} rows with cells below no header alone, left out")
    others = {**header.others, **_unheaded(body, headed, is_row, sheet.first_column)}
    if len(others) > OTHERS:
        raise RefusedError(
            "unknown_layout", f"sheet {sheet.name!r}: has {len(others):,} columns that the layout does not know"
        )
    if sum(map(len, others.values())) * body.num_rows > TEXT:  # each row says them again
        raise RefusedError("too_much_text", f"sheet {sheet.name!r}: its unknown headers are too long for so many rows")
    if others:
        notes.append(f"{place}: columns that the layout does not know: {', '.join(others.values())}")
    return Rows(
        place,
        body.select(list(header.columns.values())).rename_columns(list(header.columns)).filter(is_row),
        body.select(list(others)).rename_columns(_distinct(list(others.values()))).filter(is_row),
        pa.array(np.arange(row + 2, row + 2 + body.num_rows)).filter(is_row),
        origin,
        is_1904,
        _broken(sheet, row + 1, header, is_row),
        tuple(notes),
    )


def _is_total(body: "pa.Table", header: Header, layout: Layout, required: Sequence[str]) -> "pa.ChunkedArray":
    """Whether a row is one of totals: it begins with such a word and lacks what a row must have, or has the word for an
    identifier.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    words = {f"{folded(word).lower()}{end}" for word in layout.totals for end in ("", ":", "\uff1a")}
    markers = pa.array(sorted(words), pa.string())
    is_total = pc.is_in(pc.utf8_lower(_first_text(body)), markers)
    if pc.any(is_total).as_py():
        lacks = (pc.equal(_bare(body.column(header.columns[name])), "") for name in required)
        is_total = pc.and_(is_total, functools.reduce(pc.or_, lacks))
    codes = [name for name in required if layout.columns[name].code]
    return functools.reduce(
        pc.or_, (pc.is_in(pc.utf8_lower(_bare(body.column(header.columns[name]))), markers) for name in codes), is_total
    )


def _unheaded(body: "pa.Table", headed: Sequence[int], is_row: "pa.Array", first: int) -> dict[int, str]:
    """Columns without a header in which rows have a value, by their letters."""
    import pyarrow.compute as pc

    bare = (position for position in range(body.num_columns) if position not in headed)
    some = (position for position in bare if body.column(position).null_count < body.num_rows)
    return {
        position: f"column {column_name(first + position)}"
        for position in some
        if pc.any(pc.not_equal(_bare(body.column(position).filter(is_row)), "")).as_py()
    }


def _broken(sheet: Sheet, start: int, header: Header, is_row: "pa.Array") -> "pa.Array | None":
    """`invalid_<column>` for rows in which a cell of the table has no value for a formula's fault."""
    import pyarrow as pa
    import pyarrow.compute as pc

    reasons = None
    for name, position in header.columns.items():
        if position in sheet.broken:
            mask = pa.array(sheet.broken[position][start:]).filter(is_row)
            reasons = pa.nulls(len(mask), pa.string()) if reasons is None else reasons
            reasons = pc.coalesce(reasons, pc.if_else(mask, f"invalid_{name}", None))
    return reasons


def _whole(mask: "pa.Array | pa.ChunkedArray") -> "pa.Array":
    import pyarrow as pa

    return mask.combine_chunks() if isinstance(mask, pa.ChunkedArray) else mask


def _has_value(cells: "pa.Table") -> "pa.Array":
    """Whether a row has a cell with more than spaces. Few rows begin with spaces: only those are looked at whole."""
    import pyarrow.compute as pc

    first = pc.coalesce(*cells.columns)
    found = pc.is_valid(first)
    doubtful = pc.equal(pc.fill_null(pc.utf8_trim(first, _BLANK), "-"), "")
    if not pc.any(doubtful).as_py():
        return found
    some = functools.reduce(pc.or_, (pc.not_equal(_bare(column), "") for column in cells.filter(doubtful).columns))
    return pc.replace_with_mask(found.combine_chunks(), doubtful.combine_chunks(), some.combine_chunks())


def _first_text(cells: "pa.Table") -> "pa.Array":
    """The first cell of each row that is not empty, without spaces around it; "" if there is none."""
    import pyarrow.compute as pc

    return pc.fill_null(pc.utf8_trim(pc.coalesce(*cells.columns), _BLANK), "")


def _equals(cells: "pa.Table", texts: Mapping[str, str | None], positions: Sequence[int]) -> "pa.ChunkedArray":
    """Whether a row has these texts in these places."""
    import pyarrow.compute as pc

    return functools.reduce(
        pc.and_, (pc.fill_null(pc.equal(cells.column(one), texts[str(one)] or ""), False) for one in positions)
    )


def _distinct(names: Sequence[str]) -> list[str]:
    """The names, without what no name may have, a later one that is like an earlier one without case with a number."""
    taken: set[str] = set()
    found = []
    for raw in names:
        name = one = raw.replace("\0", "") or "column"
        nth = 1
        while one.casefold() in taken:
            nth += 1
            one = f"{name} ({nth})"
        taken.add(one.casefold())
        found.append(one)
    return found


def split_rows(
    sheets: Sequence[Rows], spec: TableSpec, layout: Layout, zone: str, *, source: str, run_id: str
) -> tuple["pa.Table", "pa.Table"]:
    """The rows of some sheets, in the table's columns and types, and those that break its rules.

    Args:
        sheets: of any workbooks of the report.
        spec: the table's declaration; `OWN` columns among it are filled in here.
        layout: of the report.
        zone: IANA name of the time zone of the domain.
        source: the folder's URL, for the rejected rows.
        run_id: for the rejected rows.

    Returns:
        Good rows with `spec.arrow_schema()`, and rejected ones with `rejected_schema()`: their source is
        `<folder>/<workbook>#<sheet>`, their ordinal the row's number in the sheet, their raw row the cells by the
        columns' names.
    """
    import duckdb
    import pyarrow as pa

    raw = pa.concat_tables([_raw(rows, layout) for rows in sheets])
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("raw_rows", raw)
        typed = connection.sql(query(spec, layout, zone, "raw_rows")).to_arrow_table()
    own = {name: raw.column(name).combine_chunks() for name in OWN if name in spec.columns}
    reasons = None
    if any(rows.reasons is not None for rows in sheets):
        given = [pa.nulls(len(rows.numbers), pa.string()) if rows.reasons is None else rows.reasons for rows in sheets]
        reasons = pa.chunked_array(given, pa.string()).combine_chunks()
    origin = Origin(columns=own, reasons=reasons)
    good, rejected = split(typed, spec, source_object=source, run_id=run_id, origin=origin)
    return good, _located(rejected, raw, list(layout.columns), source)


def _raw(rows: Rows, layout: Layout) -> "pa.Table":
    """A sheet's rows in the form that all sheets have."""
    import pyarrow as pa

    count = rows.cells.num_rows
    columns = {
        name: rows.cells.column(name) if name in rows.cells.column_names else pa.nulls(count, pa.string())
        for name in layout.columns
    }
    columns |= {name: pa.repeat(pa.scalar(text, pa.string()), count) for name, text in rows.origin.items()}
    columns |= {
        ROW: rows.numbers,
        EXTRA: _extra(rows.others),
        IS_1904: pa.repeat(pa.scalar(rows.is_1904), count),
    }
    return pa.table(columns)


def _extra(others: "pa.Table") -> "pa.Array":
    """JSON of the cells with a value, null for a row without."""
    import duckdb
    import pyarrow as pa

    if not others.num_columns:
        return pa.nulls(others.num_rows, pa.string())
    members = ", ".join(f"{quote(name)} := {quote(name)}" for name in others.column_names)
    some = ", ".join(f"nullif(trim({quote(name)}), '')" for name in others.column_names)
    with duckdb.connect() as connection:
        connection.register("others", others)
        found = connection.sql(
            f"""
            SELECT CASE WHEN coalesce({some}) IS NOT NULL
                THEN CAST(to_json(struct_pack({members})) AS VARCHAR) END AS cells
            FROM others
            """  # noqa: S608 - quoted
        )
        return found.to_arrow_table().column(0).combine_chunks().cast(pa.string())


def _located(rejected: "pa.Table", raw: "pa.Table", columns: Sequence[str], source: str) -> "pa.Table":
    """The rejected rows, which have the number of the row in `raw`, with their place in the workbook and its cells."""
    import duckdb
    import pyarrow.compute as pc

    if not rejected.num_rows:
        return rejected
    cells = raw.take(pc.subtract(rejected.column("row_ordinal"), 1))
    members = ", ".join(f"{quote(name)} := {quote(name)}" for name in (*columns, EXTRA))
    with duckdb.connect() as connection:
        connection.register(
            "cells",
            cells.append_column("reject_reason", rejected.column("reject_reason")).append_column(
                "run_id", rejected.column("run_id")
            ),
        )
        found = connection.sql(
            f"""
            SELECT reject_reason, $source || '/' || {WORKBOOK} || '#' || {SHEET} AS source_object,
                {ROW} AS row_ordinal, run_id, CAST(to_json(struct_pack({members})) AS VARCHAR) AS raw_row
            FROM cells
            """,  # noqa: S608 - our own names, and the spec's
            params={"source": source},
        )
        return found.to_arrow_table().cast(rejected_schema())


def refused_rows(refusals: Sequence[tuple[str, RefusedError]], source: str, run_id: str) -> "pa.Table":
    """Workbooks that were refused, as rejected rows: one each, of ordinal 0."""
    import json

    import pyarrow as pa

    return pa.Table.from_pylist(
        [
            {
                "reject_reason": error.reason,
                "source_object": f"{source}/{name}",
                "row_ordinal": 0,
                "run_id": run_id,
                "raw_row": json.dumps({"workbook": name, "reason": str(error)}, ensure_ascii=False),
            }
            for name, error in refusals
        ],
        schema=rejected_schema(),
    )
