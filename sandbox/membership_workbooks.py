"""The membership's workbooks, day by day: what is true, laid out in sheets, with what people get wrong.

What belongs here: the lines of each sheet, the workbooks of a day, the files. What does not: what is true
(`sandbox.membership`), which mess is where (`sandbox.membership_mess`), how a value is typed
(`sandbox.membership_cells`) and drawn (`sandbox.membership_sheets`), and how to read any of it.

Same arguments give the same bytes. Each piece of mess is in `planted`. Rows that are not true (`BAD_CELLS`,
`BAD_VALUES`) stand behind the others and have keys of their own; a pipeline has to set them aside. A day's workbooks
are dated nine o'clock of the next morning.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sandbox.membership import (
    CHANNELS,
    DAYS,
    REPORTS,
    ZONE,
    OpStats,
    PostDeduction,
    PreDeduction,
    Report,
    Row,
    TopUp,
    world,
)
from sandbox.membership_cells import COLUMNS, Column, Typist
from sandbox.membership_mess import (
    BAD_CELLS,
    BAD_ROWS,
    BAD_VALUES,
    CORRECTED,
    DUPLICATED,
    EMPTY,
    REPEATED,
    UNKNOWN_LAYOUT,
    UNKNOWN_NAMES,
    mess,
)
from sandbox.membership_sheets import Cell, Form, Hidden, Line, Sheet, draw, new_book

GENERATOR = 1  # raised when the same arguments give other bytes, so that `write` replaces files made before
FOLDER = "membership"
ASIDE = "aside"  # where the pipeline moves what it cannot read; a file in it is not missing
RECORD = ".generator.json"  # what `write` has made

DROPPED_AT = time(9)  # of the next day, in the zone
COPIED_AFTER, CORRECTED_AFTER = timedelta(minutes=5), timedelta(minutes=90)
LATE_BY = timedelta(days=2)  # after the last day of all
NAMES: Mapping[Report, tuple[str, str]] = {
    "top_up": ("top_up", "充值記錄"),
    "pre_deduction": ("pre_deduction", "扣除前結算"),
    "post_deduction": ("post_deduction", "扣除後結算"),
    "op_stats": ("op_stats", "營運數據"),
}
SHEETS = (("Sheet1", "工作表1"), ("Sheet2", "工作表2"), ("Sheet9", "工作表9"))
HALVES = (("AM", "上午"), ("PM", "下午"))
NOTES = ("說明", "金額單位為新台幣。", "退款訂單不列入結算。")
HIDDEN: tuple[tuple[str, Hidden, str], ...] = (
    ("hidden_sheet", "hidden", "暫存"),
    ("very_hidden_sheet", "very", "backup"),
)
REMARK, REMARKS = ("Remark", "備註"), (None, "VIP", None, "客服確認", None)
TOTAL, SUBTOTAL = ("Total", "合計"), ("Subtotal", "小計")
OF_WORKBOOK = (
    "date_1904",
    "several_sheets",
    "named_halves",
    "mixed_dates",
    "mixed_amounts",
    "mixed_rates",
    "mixed_words",
)
OF_HEADER = (
    "blank_above", "chinese_headers", "column_b", "columns_moved", "extra_column",
    "header_full_width", "header_line_break", "header_units",
)  # fmt: skip
REPEATED_AFTER, BLANK_EVERY, WRONG_ROW, HIDDEN_ROWS = 20, 7, 3, 5  # rows
NOON = 12

Planted = Mapping[str, Sequence[str]]  # kind → `<sheet>:<row>`, or nothing for the whole workbook


@dataclass(frozen=True)
class Workbook:
    """One file.

    Attributes:
        name: of the file.
        report: that it is named for; None: for none.
        day: likewise; where it is named for none, the day with whose workbooks it comes.
        content: its bytes.
        modified: when it was changed last.
        rows: how many of its rows can be read; of a copy too. Those of `BAD_VALUES` are among them.
        bad: what each row is planted for that cannot.
    """

    name: str
    report: Report | None
    day: date
    content: bytes
    modified: datetime
    rows: int = 0
    bad: tuple[str, ...] = ()


def workbooks(day: date) -> tuple[Workbook, ...]:
    """The workbooks that come for a day of the world, in the order of its reports."""
    return _made(day).workbooks


def day_workbooks(day: date) -> Mapping[str, bytes]:
    """Their names and bytes."""
    return {workbook.name: workbook.content for workbook in workbooks(day)}


def planted(days: Iterable[date] = DAYS) -> Mapping[str, tuple[str, ...]]:
    """Kind of mess → where: `<workbook>#<sheet>:<row>`, or `<workbook>`."""
    found: dict[str, list[str]] = {}
    for day in days:
        for kind, places in _made(day).planted.items():
            found.setdefault(kind, []).extend(places)
    return MappingProxyType({kind: tuple(places) for kind, places in sorted(found.items())})


def prepare(sandbox_home: Path) -> Path:
    """Have all workbooks in `membership` below a sandbox's home.

    Returns:
        The folder.
    """
    folder = sandbox_home / FOLDER
    write(folder)
    return folder


def write(folder: Path, days: Iterable[date] = DAYS) -> None:
    """Store the workbooks of some days, as far as they are missing.

    A workbook that is there is left as it is, whatever it holds; so is one that was moved into `aside`. Those of
    another version of this generator are removed first. Each is complete, with its date, when it appears.

    Args:
        folder: where they go; made if it is missing.
        days: of the world.
    """
    folder.mkdir(parents=True, exist_ok=True)
    record = folder / RECORD
    made = _recorded(record)
    if made.get("generator") != GENERATOR:
        for name in (name for names in made.get("days", {}).values() for name in names):
            (folder / name).unlink(missing_ok=True)
            (folder / ASIDE / name).unlink(missing_ok=True)
        made = {"generator": GENERATOR, "days": {}}
    for day in days:
        names = made["days"].get(day.isoformat())
        if names is None or not all(_is_there(folder, name) for name in names):
            for workbook in workbooks(day):
                if not _is_there(folder, workbook.name):
                    _store(folder / workbook.name, workbook.content, workbook.modified)
            made["days"][day.isoformat()] = list(day_workbooks(day))
            _store(record, json.dumps(made, ensure_ascii=False).encode())


def _recorded(record: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(record.read_bytes())
    except (FileNotFoundError, ValueError):  # a record that is none: what is there stays, the rest is made
        return {}
    return found


def _is_there(folder: Path, name: str) -> bool:
    return (folder / name).exists() or (folder / ASIDE / name).exists()


def _store(path: Path, content: bytes, modified: datetime | None = None) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content)
        if modified:
            os.utime(partial, (modified.timestamp(), modified.timestamp()))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


# -- workbooks of their own


def late_workbook(day: date = date(2023, 3, 20), rows: int = 3) -> Workbook:
    """A workbook of top-ups that comes when all others are there; all of them failed, so no settlement changes.

    Args:
        day: of the world.
        rows: how many top-ups.
    """
    late = [
        replace(one, top_up_id=f"T{day:%Y%m%d}-{8_001 + number}", status="failed")
        for number, one in enumerate(world().rows("top_up", day)[:rows])
        if isinstance(one, TopUp)
    ]
    typist = Typist("top_up", day)
    lines = [_header(typist), *(_line(typist, row, number) for number, row in enumerate(late))]
    content = draw([Sheet("Sheet1", lines)]).content
    return Workbook(f"top_up_{day}_late.xlsx", "top_up", day, content, _at(DAYS[-1] + LATE_BY), len(late))


def big_workbook(path: Path, rows: int = 100_000) -> Path:
    """Write a workbook of top-ups in ten columns: numbers and text, and days in three forms, made row by row.

    Args:
        path: of the file; it is named for a report by who calls.
        rows: below the header, which is in row 3.
    """
    day = datetime(2023, 3, 29)  # noqa: DTZ001 - local, as a sheet has it
    step = 86_399 / max(rows, 1)
    with new_book(str(path), constant_memory=True) as book:
        sheet, format_ = book.add_worksheet("Sheet1"), book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"})
        sheet.write_string(0, 0, "充值記錄 2023/03/29")
        sheet.write_row(2, 0, [column.english for column in COLUMNS["top_up"]])
        for number in range(rows):
            row, second, amount = number + 3, int(number * step), 30 + number * 7 % 5_000
            sheet.write_string(row, 0, f"T20230329-{number:07d}")
            sheet.write_number(row, 1, 100_000 + number % 5_000)
            sheet.write_string(row, 2, f"用戶{number % 5_000}")
            sheet.write_string(row, 3, ("appstore", "gplay", "web")[number % 3])
            if number % 3 == 0:
                sheet.write_datetime(row, 4, day + timedelta(seconds=second), format_)
            elif number % 3 == 1:
                sheet.write_string(row, 4, f"{day + timedelta(seconds=second):%Y/%m/%d %H:%M:%S}")
            else:
                sheet.write_number(row, 4, 45_014 + second / 86_400)
            if number % 2:
                sheet.write_number(row, 5, amount)
            else:
                sheet.write_string(row, 5, f"NT$ {amount:,}.50")
            sheet.write_string(row, 6, "TWD")
            sheet.write_number(row, 7, number % 900)
            sheet.write_string(row, 8, "Apple Pay")
            sheet.write_string(row, 9, "Failed" if number % 7 == 0 else "成功")
    return path


# -- the workbooks of a day


@dataclass(frozen=True)
class _Made:
    workbooks: tuple[Workbook, ...]
    planted: Planted


@lru_cache(maxsize=len(DAYS))
def _made(day: date) -> _Made:
    found: list[Workbook] = []
    places: dict[str, list[str]] = {}
    for workbook, planted_ in (one for report in REPORTS for one in _of_report(report, day)):
        found.append(workbook)
        for kind, where in planted_.items():
            places.setdefault(kind, []).extend(f"{workbook.name}#{one}" if one else workbook.name for one in where)
    if name := UNKNOWN_NAMES.get(day.day):
        lines = [Line((Cell("Budget"), Cell("2023"))), Line((Cell("Q1"), Cell(125_000, "money")))]
        found.append(Workbook(name, None, day, draw([Sheet("Sheet1", lines)]).content, _at(day)))
        places["unknown_name"] = [name]
    return _Made(tuple(found), {kind: tuple(where) for kind, where in places.items()})


def _at(day: date) -> datetime:
    """When the workbooks of a day are dropped."""
    return datetime.combine(day + timedelta(days=1), DROPPED_AT, ZONE).astimezone(UTC)


def _stem(report: Report, day: date) -> str:
    """The name of a workbook, in four forms that take turns."""
    turn = (day.day + REPORTS.index(report)) % 4
    stamp = f"{day:%Y%m%d}" if turn % 3 else day.isoformat()
    return f"{NAMES[report][turn % 2]}{'-' if turn > 1 else '_'}{stamp}"


def _of_report(report: Report, day: date) -> Iterator[tuple[Workbook, Planted]]:
    """The report's workbook of a day, and what lies beside it."""
    key, stem = (report, day.day), _stem(report, day)
    true = _rows(report, day)
    if key not in CORRECTED:
        first, planted_ = _workbook(report, day, f"{stem}.xlsx", true)
        yield first, planted_
    else:
        column, wrong = CORRECTED[key]
        row, kinds = true[WRONG_ROW]
        before, after = (replace(row, **{column: wrong}), (*kinds, "superseded_row")), (row, (*kinds, "corrected_row"))
        first, planted_ = _workbook(report, day, f"{stem}.xlsx", _with(true, before))
        yield first, planted_
        second, planted_ = _workbook(report, day, f"{stem}_v2.xlsx", _with(true, after))
        yield replace(second, modified=second.modified + CORRECTED_AFTER), {**planted_, "corrected": [""]}
    if key in DUPLICATED:
        name, modified = f"{stem} (1).xlsx", first.modified + COPIED_AFTER
        yield replace(first, name=name, modified=modified), {"duplicated": [""]}
    if key in EMPTY:
        yield Workbook(f"{stem} (2).xlsx", report, day, b"", _at(day)), {"empty_file": [""]}
    if key in UNKNOWN_LAYOUT:
        lines = [Line((Cell("Region"), Cell("Share"))), Line((Cell("北區"), Cell(Decimal("0.4"), "percent")))]
        content = draw([Sheet("Sheet1", lines)]).content
        yield Workbook(f"{stem}_summary.xlsx", report, day, content, _at(day)), {"unknown_layout": [""]}


Kinds = tuple[str, ...]
Rows = list[tuple[Row, Kinds]]  # rows, and what each is planted for


def _with(rows: Rows, changed: tuple[Row, Kinds]) -> Rows:
    return [*rows[:WRONG_ROW], changed, *rows[WRONG_ROW + 1 :]]


def _rows(report: Report, day: date) -> Rows:
    """What is true of the day, and before it what was in the workbook of the day before already."""
    off = world().off
    rows: Rows = [
        (row, ("deduction_off",) if isinstance(row, PostDeduction) and (day, row.channel_code) in off else ())
        for row in world().rows(report, day)
    ]
    if report != "top_up" or day.day not in REPEATED:
        return rows
    before = world().rows(report, day - timedelta(days=1))
    return [*((row, ("repeated_order",)) for row in before[-2:]), *rows]


def _workbook(report: Report, day: date, name: str, rows: Rows) -> tuple[Workbook, Planted]:
    typist, bad = Typist(report, day, mess(report, day.day)), BAD_ROWS.get((report, day.day), ())
    drawn = draw(_sheets(typist, rows, bad), is_1904="date_1904" in typist.mess)
    unreadable = tuple(kind for kind in bad if kind in BAD_CELLS)
    workbook = Workbook(name, report, day, drawn.content, _at(day), len(rows) + len(bad) - len(unreadable), unreadable)
    return workbook, {**drawn.planted, **{kind: [""] for kind in OF_WORKBOOK if kind in typist.mess}}


def _sheets(typist: Typist, rows: Rows, bad: Kinds) -> Iterator[Sheet]:
    """The sheets of a workbook: those with its rows, and all that lies beside them."""
    language, column = typist.language, int("column_b" in typist.mess)
    parts = _parts(typist, rows)
    for number, (name, part) in enumerate(parts):
        is_last = number == len(parts) - 1
        lines = [*_above(typist), *_table(typist, part, bad if is_last else ())]
        yield Sheet(name, lines, column, _merged(typist))
    for kind, hidden, name in HIDDEN:
        if kind in typist.mess:
            wrong = (_wrong(row) for row, _ in rows[:HIDDEN_ROWS])
            lines = [Line(_header(typist).cells, (kind,)), *(_line(typist, row, n) for n, row in enumerate(wrong))]
            yield Sheet(name, lines, hidden=hidden)
    if "notes_sheet" in typist.mess:
        yield Sheet("說明", [Line((Cell(text),), ("notes_sheet",) if text == NOTES[0] else ()) for text in NOTES])
    if "blank_sheet" in typist.mess:
        yield Sheet(SHEETS[2][language], [Line(kinds=("blank_sheet",))])


def _parts(typist: Typist, rows: Rows) -> list[tuple[str, Rows]]:
    """Sheets of rows: one, or two halves, or the morning's and the afternoon's."""
    language = typist.language
    names = [sheet[language] for sheet in SHEETS]
    if "several_sheets" not in typist.mess:
        return [(names[0] if typist.day.day % 3 else NAMES[typist.report][language], rows)]
    if "named_halves" in typist.mess:
        is_morning = [isinstance(row, TopUp) and row.local.hour < NOON for row, _ in rows]
        halves = [
            [one for one, is_early in zip(rows, is_morning, strict=True) if is_early is half] for half in (True, False)
        ]
        names = [half[language] for half in HALVES]
    else:
        halves = [rows[: len(rows) // 2], rows[len(rows) // 2 :]]
    return list(zip(names, halves, strict=False))


def _above(typist: Typist) -> Iterator[Line]:
    """What stands above the header."""
    if "blank_above" in typist.mess:
        yield from (Line(), Line())
    if "title_rows" in typist.mess or "merged_title" in typist.mess:
        title = f"{NAMES[typist.report][1]} {typist.day:%Y/%m/%d}"
        is_merged = "merged_title" in typist.mess
        kinds = ("title_rows", *(["merged_title"] if is_merged else []))
        yield Line((Cell(title),), kinds, "title", span=len(typist.columns) if is_merged else 1)
        yield Line((Cell(f"製表日期：{typist.day + timedelta(days=1):%Y/%m/%d}"),), ("title_rows",))  # noqa: RUF001 - as it is typed
        yield Line()


def _merged(typist: Typist) -> tuple[int, str] | None:
    """Where equal neighbours are one cell."""
    for kind, name in (("merged_channel", "channel_code"), ("merged_date", "settlement_date")):
        if kind in typist.mess:
            return [column.name for column in typist.columns].index(name), kind
    return None


def _table(typist: Typist, rows: Rows, bad: Kinds) -> Iterator[Line]:
    """The header, the rows with what stands between them, those that are not true, and the totals."""
    header = _header(typist)
    yield header
    groups = _groups(typist, rows)
    number = 0
    for group in groups:
        for row, kinds in group:
            yield _line(typist, row, number, kinds)
            number += 1
            if "blank_rows" in typist.mess and number % BLANK_EVERY == 0 and number < len(rows):
                # a space is no value either
                yield Line((Cell(" "),) if number % 2 else (), ("blank_rows",))
            if "repeated_header" in typist.mess and number == REPEATED_AFTER:
                yield replace(header, kinds=("repeated_header",))
        if len(groups) > 1:
            yield _sums(typist, [row for row, _ in group], SUBTOTAL, "subtotal_rows", "money")
    for kind in (kind for kind in bad if kind != "footnote"):
        yield _bad(typist, rows[-1][0], number, kind)
        number += 1
    if "total_rows" in typist.mess:
        yield _sums(typist, [row for row, _ in rows], TOTAL, "total_rows", "sum")
    if "footnote" in bad:
        yield Line((BAD_CELLS["footnote"][1],), ("footnote",))


def _groups(typist: Typist, rows: Rows) -> list[Rows]:
    """The rows by channel where these share a cell; else all of them."""
    if "merged_channel" not in typist.mess:
        return [rows]
    by_channel = ([one for one in rows if getattr(one[0], "channel_code", "") == channel.code] for channel in CHANNELS)
    return [group for group in by_channel if group]


def _header(typist: Typist) -> Line:
    texts = [typist.header(column) for column in typist.columns]
    if "extra_column" in typist.mess:
        texts.append(REMARK[typist.language])
    kinds = tuple(kind for kind in OF_HEADER if kind in typist.mess)
    return Line(tuple(map(Cell, texts)), kinds if typist.language else ("english_headers", *kinds), "header")


def _line(typist: Typist, row: Row, number: int, kinds: Kinds = ()) -> Line:
    """A row of the table; the number only says which turn it is."""
    cells = [typist.cell(column, _value(row, column), number) for column in typist.columns]
    if "extra_column" in typist.mess:
        remark = REMARKS[number % len(REMARKS)]
        cells.append(Cell(remark) if remark else None)
    merge = row.channel_code if isinstance(row, TopUp) else _value(row, COLUMNS[typist.report][0])
    return Line(tuple(cells), kinds, is_row=True, merge=merge)


def _value(row: Row, column: Column) -> Any:
    return row.local if column.name == "paid_at" and isinstance(row, TopUp) else getattr(row, column.name)


def _sums(typist: Typist, rows: Sequence[Row], label: tuple[str, str], kind: str, form: Form) -> Line:
    """A row of totals."""
    cells = [
        Cell(sum(_value(row, column) for row in rows), form) if column.is_summed else None for column in typist.columns
    ]
    return Line((Cell(label[typist.language]), *cells[1:]), (kind,))


def _bad(typist: Typist, row: Row, number: int, kind: str) -> Line:
    """A row like a true one, with a key that no other has, and one cell that is not as it should be."""
    line = _line(typist, _own_key(row, 9_001 + number), number, (kind,))
    name, cell = {**BAD_CELLS, **BAD_VALUES}[kind]
    position = [column.name for column in typist.columns].index(name)
    return replace(line, cells=(*line.cells[:position], cell, *line.cells[position + 1 :]), merge=None)


def _own_key(row: Row, number: int) -> Row:
    if isinstance(row, TopUp):
        return replace(row, top_up_id=f"T{row.local:%Y%m%d}-{number}")
    if isinstance(row, OpStats):
        return replace(row, user_id=str(number))
    return replace(row, channel_code="test")


def _wrong(row: Row) -> Row:
    """The row as a hidden sheet has it."""
    match row:
        case TopUp():
            return replace(row, amount=row.amount * 10)
        case PreDeduction():
            return replace(row, gross_amount=row.gross_amount + 1)
        case PostDeduction():
            return replace(row, net_amount=row.net_amount + 1)
        case OpStats():
            return replace(row, logins=row.logins + 50)
