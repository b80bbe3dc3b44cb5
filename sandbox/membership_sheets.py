"""Lines of cells drawn into .xlsx bytes, each cell in the form in which somebody typed it.

What belongs here: XlsxWriter, and noting where a planted thing came to stand. What does not: which lines there are, and
why (`sandbox.membership_workbooks`).

Same arguments give the same bytes: the time at which a workbook was made is fixed, and XlsxWriter dates each member of
the archive 1980-01-01.
"""

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from xlsxwriter import Workbook
    from xlsxwriter.format import Format
    from xlsxwriter.worksheet import Worksheet

Form = Literal["text", "number", "money", "percent", "time", "day", "serial", "formula", "sum", "error"]

Hidden = Literal["", "hidden", "very"]

EPOCH, EPOCH_1904 = datetime(1899, 12, 30), datetime(1904, 1, 1)  # noqa: DTZ001 - a sheet's times have no zone
CREATED = datetime(2023, 3, 1)  # noqa: DTZ001 - likewise
DIVIDED_BY_ZERO = "#DIV/0!"
FORMATS: Mapping[str, Mapping[str, Any]] = {
    "money": {"num_format": "#,##0.00"},
    "percent": {"num_format": "0.0%"},
    "time": {"num_format": "yyyy/mm/dd hh:mm:ss"},
    "day": {"num_format": "yyyy-mm-dd"},
    "header": {"bold": True, "text_wrap": True, "border": 1},
    "title": {"bold": True, "font_size": 14, "align": "center"},
    "merged": {"valign": "vcenter"},
}


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        value: text for `text`, a number for numbers, a time or day for `time`, `day` and `serial`; of a formula, what
            was last worked out.
        form: how it is stored. `serial`: the number of a day without a format that says so. `sum`: of the cells above
            it, from the first row of the table on. `error`: a formula that divides by zero.
        kind: what it is planted for.
    """

    value: Any
    form: Form = "text"
    kind: str = ""


@dataclass(frozen=True)
class Line:
    """One row of a sheet; without cells, an empty one.

    Attributes:
        cells: from the table's first column on; None: an empty cell.
        kinds: what the row is planted for.
        format: name in `FORMATS` of its text.
        is_row: whether it is one of the table's rows.
        merge: lines one after another that have the same, and not None, share one cell in the sheet's `merged` column.
        span: how many columns the first cell is merged over.
    """

    cells: tuple[Cell | None, ...] = ()
    kinds: tuple[str, ...] = ()
    format: str = ""
    is_row: bool = False
    merge: object = None
    span: int = 1


@dataclass(frozen=True)
class Sheet:
    """One sheet.

    Attributes:
        name: on its tab.
        lines: from the first row on.
        column: the table's first column, from 0.
        merged: the position in the table of the column whose equal neighbours are one cell, and what each such cell is
            planted for.
        hidden: whether it is, from the menu or from Visual Basic alone (`very`).
    """

    name: str
    lines: Sequence[Line]
    column: int = 0
    merged: tuple[int, str] | None = None
    hidden: Hidden = ""


@dataclass
class Drawn:
    """A workbook.

    Attributes:
        content: its bytes.
        planted: kind → `<sheet>:<row>`, rows from 1.
    """

    content: bytes = b""
    planted: dict[str, list[str]] = field(default_factory=dict)


def draw(sheets: Iterable[Sheet], *, is_1904: bool = False) -> Drawn:
    """A workbook of these sheets.

    Args:
        sheets: in their order; the first is shown.
        is_1904: whether its days count from 1904, as Excel for the Mac once did.
    """
    drawn, content = Drawn(), io.BytesIO()
    with new_book(content, in_memory=True, date_1904=is_1904) as book:
        formats = {name: book.add_format(how) for name, how in FORMATS.items()}
        for sheet in sheets:
            _draw(book, sheet, formats, drawn, EPOCH_1904 if is_1904 else EPOCH)
    drawn.content = content.getvalue()
    return drawn


def new_book(target: io.BytesIO | str, **options: bool) -> "Workbook":
    """A workbook to be written, which does not say when.

    Args:
        target: where its bytes go: memory or a path.
        options: of XlsxWriter.
    """
    import xlsxwriter

    book = xlsxwriter.Workbook(target, options)
    book.set_properties({"created": CREATED})
    return book


def _draw(book: "Workbook", sheet: Sheet, formats: Mapping[str, "Format"], drawn: Drawn, epoch: datetime) -> None:
    page = book.add_worksheet(sheet.name)
    if sheet.hidden:
        (page.very_hidden if sheet.hidden == "very" else page.hide)()
    first = next((number for number, line in enumerate(sheet.lines) if line.is_row), 0)
    put = partial(_put, page, formats, epoch, first)
    merged, merged_kind = sheet.merged or (-1, "")
    runs = _runs(sheet) if sheet.merged else {}
    for row, line in enumerate(sheet.lines):
        below = row in runs and runs[row] == row  # in a range, and not the first row of it
        cells = [None if below and position == merged else cell for position, cell in enumerate(line.cells)]
        kinds = [*line.kinds, *(cell.kind for cell in cells if cell and cell.kind)]
        if runs.get(row, row) > row:
            kinds.append(merged_kind)
        for kind in dict.fromkeys(kinds):
            drawn.planted.setdefault(kind, []).append(f"{sheet.name}:{row + 1}")
        if line.span > 1:
            page.merge_range(row, sheet.column, row, sheet.column + line.span - 1, "", formats["title"])
        for position, cell in enumerate(cells):
            column = sheet.column + position
            if cell and position == merged and runs.get(row, row) > row:
                page.merge_range(row, column, runs[row], column, "", formats["merged"])
                put(row, column, cell, "merged")
            elif cell:
                put(row, column, cell, line.format)


def _runs(sheet: Sheet) -> dict[int, int]:
    """Rows that share a cell → the last of them, for the first; for the others, the row itself."""
    runs: dict[int, int] = {}
    for key, lines in groupby(enumerate(sheet.lines), key=lambda numbered: numbered[1].merge):
        rows = [row for row, _ in lines]
        if key is not None and len(rows) > 1:
            runs |= {row: row for row in rows} | {rows[0]: rows[-1]}
    return runs


def _put(
    page: "Worksheet",
    formats: Mapping[str, "Format"],
    epoch: datetime,
    first: int,
    row: int,
    column: int,
    cell: Cell,
    style: str,
) -> None:
    value, how = cell.value, formats.get(style) or formats.get(cell.form)
    match cell.form:
        case "text":
            page.write_string(row, column, value, how)
        case "number" | "money" | "percent":
            page.write_number(row, column, value, how)
        case "time" | "day":
            page.write_datetime(row, column, value, formats[cell.form])
        case "serial":
            page.write_number(row, column, serial(value, epoch), how)
        case "formula":
            page.write_formula(row, column, f"={value}*1", how, value)
        case "sum":
            letter = chr(ord("A") + column)
            page.write_formula(row, column, f"=SUM({letter}{first + 1}:{letter}{row})", how, value)
        case "error":
            page.write_formula(row, column, "=1/0", how, DIVIDED_BY_ZERO)


def serial(moment: date | datetime, epoch: datetime = EPOCH) -> int | float:
    """The number by which Excel knows a day, with its time as a fraction."""
    if not isinstance(moment, datetime):
        return (moment - epoch.date()).days
    passed = moment - epoch
    return passed.days + passed.seconds / 86_400
