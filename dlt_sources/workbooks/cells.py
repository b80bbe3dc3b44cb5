"""The cells of a workbook's sheets as Arrow tables of text, just as they are.

What belongs here: reading sheets with fastexcel (calamine), and giving back what it leaves out: a merged range has its
value in each of its rows, an error its text, a long number all its digits, and row 1 is row 1. What does not: which
cells are a header, and what any of them means.

Every cell comes as text: a number as short as it is still the same to 15 digits, as Excel shows it, a date as
`YYYY-MM-DD HH:MM:SS[.mmm]`, a formula as the value that was last worked out for it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dlt_sources.workbooks.package import MB, Package, RefusedError, SheetFacts

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

TEXT = 256 * MB  # that merged ranges may add to a sheet


@dataclass(frozen=True)
class Sheet:
    """A worksheet.

    Attributes:
        name: as its tab says.
        cells: a text column for each of the sheet's columns, a row for each of its rows from the first on.
        broken: column → for each row, whether its cell has no value: a formula left an error, or was never worked out.
        first_column: which of the sheet's columns the first one is, from 0.
    """

    name: str
    cells: "pa.Table"
    broken: "Mapping[int, np.ndarray]"
    first_column: int


def read_sheets(package: Package) -> Iterator[Sheet]:
    """The worksheets that are shown, in their order.

    Args:
        package: the workbook, inspected.

    Raises:
        RefusedError: the parser cannot read it.
    """
    import fastexcel
    import pyarrow as pa

    try:
        book = fastexcel.read_excel(str(package.path))
        _check_names(package, book.sheet_names)
        for name in book.sheet_names:
            if name in package.sheets and name not in package.hidden:
                sheet = book.load_sheet(name, header_row=None, skip_rows=0, dtypes="string")
                yield _completed(name, pa.table(sheet.to_arrow()), package.sheets[name])
    except RefusedError:
        raise
    except (fastexcel.FastExcelError, OSError, ValueError) as error:
        raise RefusedError("corrupt_workbook", f"the workbook is damaged: {_first_line(error)}") from error
    except BaseException as error:  # a panic in Rust is no Exception: PyO3/pyo3#2880
        if type(error).__name__ != "PanicException":
            raise
        raise RefusedError("corrupt_workbook", f"the workbook is damaged: {_first_line(error)}") from None


def _check_names(package: Package, names: Sequence[str]) -> None:
    """A sheet that the parser calls otherwise would be left out without a word."""
    if not package.sheets.keys() <= {*names}:
        raise RefusedError("corrupt_workbook", "the workbook is damaged: its sheets cannot be told apart")


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _completed(name: str, cells: "pa.Table", facts: SheetFacts) -> Sheet:
    """The sheet with the values of merged ranges, errors and long numbers where the parser has others or none."""
    import pyarrow as pa

    first = facts.first_column or 0
    names = [str(number) for number in range(cells.num_columns)]
    cells = pa.table([column.combine_chunks().cast(pa.string()) for column in cells.columns], names=names)
    missing = max((row + 1 for row, _ in facts.errors), default=0) - cells.num_rows
    if missing > 0:  # rows of formulas alone, none of which has a value
        nothing = pa.table({name: pa.nulls(missing, pa.string()) for name in cells.column_names})
        cells = pa.concat_tables([cells, nothing]).combine_chunks()
    broken = {}
    for position, texts in _by_column(facts.exact, first, cells).items():
        cells = cells.set_column(position, str(position), _with(cells.column(position), texts))
    for position, texts in _by_column(facts.errors, first, cells).items():
        cells = cells.set_column(position, str(position), _with(cells.column(position), texts))
        broken[position] = _at(texts, cells.num_rows)
    for position, rows in _sources(facts, first, cells).items():
        cells = cells.set_column(position, str(position), cells.column(position).take(pa.array(rows)))
        if position in broken:
            broken[position] = broken[position][rows]
    return Sheet(name, cells, broken, first)


def _by_column(texts: Mapping[tuple[int, int], str], first: int, cells: "pa.Table") -> dict[int, dict[int, str]]:
    """Those within the cells: column → row → text."""
    found: dict[int, dict[int, str]] = {}
    for (row, column), text in texts.items():
        if row < cells.num_rows and 0 <= column - first < cells.num_columns:
            found.setdefault(column - first, {})[row] = text
    return found


def _at(rows: Mapping[int, str], count: int) -> "np.ndarray":
    import numpy as np

    mask = np.zeros(count, dtype=bool)
    mask[np.fromiter(rows, dtype=np.int64, count=len(rows))] = True
    return mask


def _with(column: "pa.ChunkedArray", texts: Mapping[int, str]) -> "pa.Array":
    """The column with these texts in these rows."""
    import pyarrow as pa
    import pyarrow.compute as pc

    mask = pa.array(_at(texts, len(column)))
    return pc.replace_with_mask(column.combine_chunks(), mask, pa.array([texts[row] for row in sorted(texts)]))


def _sources(facts: SheetFacts, first: int, cells: "pa.Table") -> "dict[int, np.ndarray]":
    """For each column with merged ranges, from which row each row has its value. A range over several rows has its
    value in each of them, in its first column. One that is merged across a row alone stays as it is: a title is no
    value of the columns that it lies above.

    Raises:
        RefusedError: they overlap, or would have the sheet hold too much text.
    """
    import numpy as np
    import pyarrow.compute as pc

    sources: dict[int, np.ndarray] = {}
    filled: dict[int, int] = {}
    for top, left, bottom, _ in sorted({*facts.merges}):
        position = left - first
        if top < bottom and top < cells.num_rows and 0 <= position < cells.num_columns:
            rows = sources.setdefault(position, np.arange(cells.num_rows))
            rows[top : bottom + 1] = top
            filled[position] = filled.get(position, 0) + min(bottom + 1, cells.num_rows) - top
            if filled[position] > cells.num_rows:
                raise RefusedError("corrupt_workbook", "the workbook is damaged: merged ranges of it overlap")
    for position, rows in sources.items():
        lengths = pc.fill_null(pc.binary_length(cells.column(position)), 0).to_numpy()
        if lengths[rows].sum() > TEXT:
            raise RefusedError("too_much_text", f"its merged ranges hold over {TEXT:,} bytes of text")
    return sources
