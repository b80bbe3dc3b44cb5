"""Hostile workbooks: what people and their programs send, and what somebody could send on purpose.

Each case says what must become of it: rows (with their values where they matter), rejected rows (where and why), or a
refusal of the whole. All are made from nothing, and the same each time.
"""

# ruff: noqa: DTZ001, S311 - bronze holds UTC without a zone; chance here must be the same each time
import io
import random
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache
from typing import Any
from xml.sax.saxutils import escape, quoteattr

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
STRICT = "http://purl.oclc.org/ooxml/spreadsheetml/main"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"
SHEET = "xl/worksheets/sheet1.xml"

ENGLISH = (
    "Order No.", "User ID", "Nickname", "Channel", "Top-up Time", "Amount", "Currency", "Diamonds", "Payment Method",
    "Status",
)  # fmt: skip
CHINESE = ("訂單編號", "用戶ID", "暱稱", "渠道代碼", "充值時間", "充值金額", "幣別", "鑽石數", "支付方式", "狀態")
OP_STATS = (
    "Date", "User ID", "Nickname", "Registered", "Level", "Logins", "Watch Minutes", "Gifts Sent", "Top-up Page Views",
)  # fmt: skip
PRE = ("Settlement Date", "Channel", "Channel Name", "Channel Type", "Top-ups", "Gross Amount")
POST = ("Settlement Date", "Channel", "Deduction Rate", "Platform Fee", "Tax", "Net Amount")
COLUMNS = (
    "top_up_id", "user_id", "nickname", "channel_code", "paid_at", "amount", "currency", "diamonds", "payment_method",
    "status",
)  # fmt: skip
NOON = datetime(2023, 3, 29, 4, 0)  # 12:00 in Taipei, in UTC


@dataclass(frozen=True)
class Case:
    """A workbook, and what must become of it.

    Attributes:
        name: says what is odd about it.
        content: the file.
        loaded: a mapping for each good row, in order: columns that matter, with their values.
        rejected: sheet, row and reason of each rejected row, in order.
        refused: the reason, if it is not read at all.
        is_anything: whatever happens to it, but for a crash or an account that does not add up.
        noted: what a note on it must say.
        report: whose form it should have.
    """

    name: str
    content: bytes
    loaded: tuple[Mapping[str, Any], ...] = ()
    rejected: tuple[tuple[str, int, str], ...] = ()
    refused: str = ""
    is_anything: bool = False
    noted: str = ""
    report: str = "top_up"


# -- what workbooks are made of ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Raw:
    """A cell's XML; `{ref}` stands for its address."""

    xml: str


def number(value: object, style: int = 0) -> Raw:
    return Raw(f'<c r="{{ref}}" s="{style}"><v>{value}</v></c>')


def letters(column: int) -> str:
    return (letters(column // 26 - 1) if column >= 26 else "") + chr(ord("A") + column % 26)


def cell(row: int, column: int, value: object) -> str:
    ref = f"{letters(column)}{row}"
    if value is None:
        return ""
    if isinstance(value, Raw):
        return value.xml.replace("{ref}", ref)
    if isinstance(value, bool):
        return f'<c r="{ref}" t="b"><v>{int(value)}</v></c>'
    if isinstance(value, int | float):
        return f'<c r="{ref}"><v>{value!r}</v></c>'
    return f'<c r="{ref}" t="inlineStr"><is><t xml:space="preserve">{escape(str(value))}</t></is></c>'


def lines(rows: Sequence[Sequence[object]], first: int = 1) -> str:
    return "".join(
        f'<row r="{row}">{"".join(cell(row, column, value) for column, value in enumerate(values))}</row>'
        for row, values in enumerate(rows, first)
    )


def worksheet(rows: Sequence[Sequence[object]] | str, *, after: str = "", before: str = "") -> str:
    data = rows if isinstance(rows, str) else lines(rows)
    return (
        '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
        f'<worksheet xmlns="{MAIN}" xmlns:r="{OFFICE}">{before}<sheetData>{data}</sheetData>{after}</worksheet>'
    )


def merges(*ranges: str) -> str:
    each = "".join(f'<mergeCell ref="{one}"/>' for one in ranges)
    return f'<mergeCells count="{len(ranges)}">{each}</mergeCells>'


STYLES = (
    f'<styleSheet xmlns="{MAIN}"><numFmts count="1"><numFmt numFmtId="164" formatCode="00000000"/></numFmts>'
    '<cellXfs count="6"><xf/><xf numFmtId="22" applyNumberFormat="1"/><xf numFmtId="14" applyNumberFormat="1"/>'
    '<xf numFmtId="20" applyNumberFormat="1"/><xf numFmtId="9" applyNumberFormat="1"/>'
    '<xf numFmtId="164" applyNumberFormat="1"/></cellXfs></styleSheet>'
)
MOMENT, DAY, TIME, PERCENT, PADDED = 1, 2, 3, 4, 5  # styles


def parts(
    *sheets: tuple[str, str] | tuple[str, str, str],
    properties: str = "",
    strings: str | None = None,
    namespace: str = MAIN,
    target: str = "worksheets/sheet{}.xml",
) -> dict[str, bytes]:
    """The members of a workbook with these sheets: name, XML and state."""
    entries, relations = [], []
    members = {
        "[Content_Types].xml": f'<Types xmlns="{PACKAGE}/content-types"><Default Extension="xml" ContentType='
        '"application/xml"/><Default Extension="rels" ContentType='
        '"application/vnd.openxmlformats-package.relationships+xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{PACKAGE}/relationships"><Relationship Id="rId1" '
        f'Type="{OFFICE}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/styles.xml": STYLES,
    }
    for index, (name, xml, *state) in enumerate(sheets, 1):
        shown = f' state="{state[0]}"' if state else ""
        entries.append(f'<sheet name={quoteattr(name)} sheetId="{index}"{shown} r:id="rId{index}"/>')
        relations.append(f'<Relationship Id="rId{index}" Type="{OFFICE}/worksheet" Target="{target.format(index)}"/>')
        members[f"xl/worksheets/sheet{index}.xml"] = xml
    relations.append(f'<Relationship Id="s" Type="{OFFICE}/styles" Target="styles.xml"/>')
    if strings is not None:
        relations.append(f'<Relationship Id="t" Type="{OFFICE}/sharedStrings" Target="sharedStrings.xml"/>')
        members["xl/sharedStrings.xml"] = f'<sst xmlns="{MAIN}">{strings}</sst>'
    members["xl/workbook.xml"] = (
        f'<workbook xmlns="{namespace}" xmlns:r="{OFFICE}">{properties}<sheets>{"".join(entries)}</sheets></workbook>'
    )
    members["xl/_rels/workbook.xml.rels"] = (
        f'<Relationships xmlns="{PACKAGE}/relationships">{"".join(relations)}</Relationships>'
    )
    return {name: xml.encode() for name, xml in members.items()}


def packed(members: Mapping[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, compression)
    return buffer.getvalue()


def book(rows: Sequence[Sequence[object]] | str, *, sheet: str = "Sheet1", after: str = "", **more: Any) -> bytes:
    return packed(parts((sheet, worksheet(rows, after=after)), **more))


def order(ident: object = "T1", /, **changed: object) -> list[object]:
    """A row of the report of top-ups."""
    usual = [ident, "U1", "小明", "appstore", "2023-03-29 12:00:00", 100, "TWD", 70, "Apple Pay", "成功"]
    return [changed.get(name, value) for name, value in zip(COLUMNS, usual, strict=True)]


USUAL: Mapping[str, Any] = {
    "user_id": "U1",
    "nickname": "小明",
    "channel_code": "appstore",
    "paid_at": NOON,
    "amount": Decimal(100),
    "currency": "TWD",
    "diamonds": 70,
    "payment_method": "apple_pay",
    "status": "succeeded",
}


def row_of(ident: str = "T1", /, **changed: Any) -> dict[str, Any]:
    """What `order` becomes."""
    return {"top_up_id": ident, **USUAL, **changed}


T1, T2, T3 = (row_of(ident) for ident in ("T1", "T2", "T3"))


def value(
    name: str, column: str, written: object, read: object = None, *, rejected: bool | str = False, **how: Any
) -> Case:
    """A cell between good rows: it is read as `read`, or its row is rejected."""
    content = book([ENGLISH, order("T1"), order("T2", **{column: written}), order("T3")], **how)
    if rejected:
        reason = rejected if isinstance(rejected, str) else f"invalid_{column}"
        return Case(name, content, (T1, T3), (("Sheet1", 3, reason),))
    return Case(name, content, (T1, row_of("T2", **{column: read}), T3))


def stats(
    name: str, written: Mapping[str, object], read: Mapping[str, Any] | None = None, *, rejected: str = ""
) -> Case:
    """A row of the report of users between good ones."""
    usual = dict(zip(OP_STATS, ("2023-03-29", "U1", "小明", "2020-01-02", "Gold", 3, 42.5, 1, 2), strict=True))
    first, last = {**usual, "User ID": "U0"}, {**usual, "User ID": "U9"}
    content = book([OP_STATS, *([*one.values()] for one in (first, {**usual, **written}, last))])
    whole = {
        "activity_date": date(2023, 3, 29),
        "registered_on": date(2020, 1, 2),
        "membership_level": "gold",
        "logins": 3,
        "watch_minutes": Decimal("42.5"),
        "gifts_sent": 1,
        "topup_page_views": 2,
    }
    good = [{"user_id": "U0", **whole}, {"user_id": "U1", **whole, **(read or {})}, {"user_id": "U9", **whole}]
    if rejected:
        return Case(name, content, (good[0], good[2]), (("Sheet1", 3, rejected),), report="op_stats")
    return Case(name, content, tuple(good), report="op_stats")


# -- headers and what stands around the rows -----------------------------------------------------------------


def headers() -> Iterator[Case]:
    good = [order("T1"), order("T2")]
    yield Case("header_english", book([ENGLISH, *good]), (T1, T2))
    yield Case("header_chinese", book([CHINESE, *good]), (T1, T2))
    mixed = [one if index % 2 else other for index, (one, other) in enumerate(zip(ENGLISH, CHINESE, strict=True))]
    yield Case("header_mixed", book([mixed, *good]), (T1, T2))
    yield Case("header_shouted", book([[one.upper() for one in ENGLISH], *good]), (T1, T2))
    yield Case("header_spaced", book([[f"  {one.replace(' ', '_')}\n" for one in ENGLISH], *good]), (T1, T2))
    yield Case("header_full_width", book([[wide(one) for one in ENGLISH], *good]), (T1, T2))
    yield Case("header_with_units", book([[f"{one} (NT$)" for one in ENGLISH], *good]), (T1, T2))
    yield Case("header_in_row_40", book([*[["note"]] * 39, ENGLISH, *good]), (T1, T2))
    yield Case("header_in_row_41", book([*[["note"]] * 40, ENGLISH, *good]), refused="unknown_layout")
    yield Case("header_at_c5", packed(parts(("Sheet1", worksheet(lines([[None, None, *r] for r in (ENGLISH, *good)], 5))))),
               ({**T1, "sheet_row": 6}, {**T2, "sheet_row": 7}))  # fmt: skip
    turned = [list(reversed(one)) for one in (ENGLISH, *good)]
    yield Case("header_reversed", book(turned), (T1, T2))
    yield Case("header_alone", book([ENGLISH]))
    for missing in (0, 4, 5, 9):
        rows = [[*one[:missing], *one[missing + 1 :]] for one in (ENGLISH, *good)]
        yield Case(f"header_without_{COLUMNS[missing]}", book(rows), refused="unknown_layout")
    for missing in (2, 7):
        rows = [[*one[:missing], *one[missing + 1 :]] for one in (ENGLISH, *good)]
        left = {COLUMNS[missing]: None}
        yield Case(f"header_without_{COLUMNS[missing]}", book(rows), ({**T1, **left}, {**T2, **left}))
    for twice, like in ((5, "充值金額"), (7, "Diamonds")):
        rows = [[*ENGLISH, like], *([*one, 5] for one in good)]
        yield Case(f"header_twice_{COLUMNS[twice]}", book(rows), refused="unknown_layout")
    yield Case("unknown_column", book([[*ENGLISH, "備註"], [*good[0], "退"], good[1]]),
               ({**T1, "extra_cells": '{"備註":"退"}'}, {**T2, "extra_cells": None}), noted="備註")  # fmt: skip
    yield Case("unknown_columns_of_one_name", book([[*ENGLISH, "Note", "note", "Note (2)"], [*good[0], 1, 2, 3]]),
               ({**T1, "extra_cells": '{"Note":"1","note (2)":"2","Note (2) (2)":"3"}'},))  # fmt: skip
    yield Case("unknown_column_with_quotes", book([[*ENGLISH, "a\"b'c;--"], [*good[0], 1]]),
               ({**T1, "extra_cells": '{"a\\"b\'c;--":"1"}'},))  # fmt: skip
    yield Case("unknown_column_with_nul", book([[*ENGLISH, "a_x0000_b"], [*good[0], 1]]),
               ({**T1, "extra_cells": '{"ab":"1"}'},))  # fmt: skip
    yield Case("unknown_column_like_ours", book([[*ENGLISH, "sheet_row", "workbook"], [*good[0], 1, 2]]),
               ({**T1, "sheet_row": 2, "extra_cells": '{"sheet_row":"1","workbook":"2"}'},))  # fmt: skip
    for count in (400, 3_000):
        wide_rows = [[*ENGLISH, *(f"h{index}" for index in range(count))], [*good[0], *range(count)], good[1]]
        rows = (T1, {**T2, "extra_cells": None}) if count == 400 else ()
        yield Case(f"unknown_columns_{count}", book(wide_rows), rows, refused="" if rows else "unknown_layout")
    named = [[*ENGLISH, "長" * 30_000], [*good[0], 1], good[1]]
    yield Case("unknown_column_of_long_name", book(named), ({**T1, "extra_cells": f'{{"{"長" * 100}":"1"}}'}, T2))
    yield Case("cell_beside_the_table", book([ENGLISH, [*good[0], None, "退貨"], good[1]]),
               ({**T1, "extra_cells": '{"column L":"退貨"}'}, {**T2, "extra_cells": None}), noted="column L")  # fmt: skip


def wide(text: str) -> str:
    return "".join(chr(ord(one) + 0xFEE0) if "!" <= one <= "~" else one for one in text)


def surroundings() -> Iterator[Case]:
    good = [order("T1"), order("T2")]
    yield Case(
        "title_rows", book([["充值報表"], [], ["匯出:", "2023-03-30"], ENGLISH, *good]), ({**T1, "sheet_row": 5}, T2)
    )
    yield Case("title_merged", book([["充值報表"], ENGLISH, *good], after=merges("A1:J1")), (T1, T2))
    yield Case("title_merged_over_rows", book([["充值報表"], [], ENGLISH, *good], after=merges("A1:J2")), (T1, T2))
    two_high = [ENGLISH, [], *good]
    ranges = [f"{letters(column)}1:{letters(column)}2" for column in range(10)]
    yield Case(
        "header_merged_over_rows", book(two_high, after=merges(*ranges)), ({**T1, "sheet_row": 3}, T2), noted="header"
    )
    shared = [order("T1"), order("T2", channel_code=None), order("T3", channel_code=None)]
    yield Case("merged_down", book([ENGLISH, *shared], after=merges("D2:D4")), (T1, T2, T3))
    both = [order("T1"), order("T2", channel_code=None, paid_at=None), order("T3", channel_code=None)]
    yield Case("merged_down_twice", book([ENGLISH, *both], after=merges("D2:D4", "E2:E3")), (T1, T2, T3))
    lower = [[None, None, *ENGLISH], *([None, None, *one] for one in shared)]
    yield Case(
        "merged_down_at_c", packed(parts(("Sheet1", worksheet(lines(lower, 3), after=merges("F4:F6"))))), (T1, T2, T3)
    )
    empty_first = [[Raw('<c r="{ref}" s="1"></c>'), *one] for one in (ENGLISH, *shared)]
    yield Case("merged_down_beside_empty_cells", book(empty_first, after=merges("E2:E4")), (T1, T2, T3))
    yield Case("merged_across_in_a_row", book([ENGLISH, order("T1", nickname="U1"), good[1]], after=merges("B2:C2")),
               (row_of(nickname="U1"), T2))  # fmt: skip
    block = [order("T1", nickname=None), order("T2", user_id=None, nickname=None)]
    no_nick = {"nickname": None}
    yield Case("merged_block", book([ENGLISH, *block], after=merges("B2:C3")), ({**T1, **no_nick}, {**T2, **no_nick}))
    stale = [order("T1"), order("T2", channel_code="old")]
    yield Case("merged_over_old_values", book([ENGLISH, *stale], after=merges("D2:D3")), (T1, T2))
    broken = [order("T1", nickname=error("#N/A")), order("T2", nickname=None), order("T3")]
    yield Case("merged_error", book([ENGLISH, *broken], after=merges("C2:C3")), (T3,),
               (("Sheet1", 2, "invalid_nickname"), ("Sheet1", 3, "invalid_nickname")))  # fmt: skip
    yield Case("merged_to_the_end", book([ENGLISH, *good], after=merges("D2:D1048576")), (T1, T2))
    many = merges(*(f"A{row}:B{row}" for row in range(10, 50_010)))
    yield Case("merges_50000", book([ENGLISH, *good], after=many), (T1, T2))
    piled = merges(*(f"A1:A{1_000_000 + index}" for index in range(2_000)))
    yield Case("merges_on_each_other", book([ENGLISH, *good], after=piled), refused="corrupt_workbook")
    yield Case("merges_too_many", book([ENGLISH, *good], after=merges("A9:B9") * 100_001), refused="too_many_cells")
    long = [
        ENGLISH,
        order("T1", nickname="字" * 10_000),
        *(order(f"T{index}", nickname=None) for index in range(2, 11_000)),
    ]
    yield Case("merge_of_long_text", book(long, after=merges("C2:C10999")), refused="too_much_text")
    yield Case(
        "printed_headers",
        book([ENGLISH, good[0], ENGLISH, good[1], ENGLISH]),
        (T1, {**T2, "sheet_row": 4}),
        noted="repeated headers",
    )
    yield Case("blank_rows", book([ENGLISH, good[0], [], [None] * 10, good[1], []]), (T1, {**T2, "sheet_row": 5}))
    yield Case(
        "rows_of_spaces",
        book([ENGLISH, good[0], [" ", "\u3000", "\t"], [""] * 10, good[1]]),
        (T1, {**T2, "sheet_row": 5}),
    )
    yield Case(
        "first_cell_of_spaces", book([ENGLISH, order("  "), good[1]]), (T2,), (("Sheet1", 2, "missing_top_up_id"),)
    )
    yield Case(
        "notes_below", book([ENGLISH, *good, [], ["以上資料僅供參考"]]), (T1, T2), (("Sheet1", 5, "missing_user_id"),)
    )


def error(text: str) -> Raw:
    return Raw(f'<c r="{{ref}}" t="e"><f>X1</f><v>{text}</v></c>')


def totals() -> Iterator[Case]:
    good = [order("T1"), order("T2")]
    words = (
        "Total",
        "TOTAL",
        "Totals",
        "Grand Total",
        "Subtotal",
        "Sum",
        "合計",
        "總計",
        "小計",
        "总计",
        "合计",
        "Total:",
        "合計：",
        "\u3000合計 ",
    )
    for word in words:
        name = f"total_{word.replace(' ', '_')}"
        yield Case(
            name, book([ENGLISH, *good, [word, None, None, None, None, 200]]), (T1, T2), noted="1 rows of totals"
        )
    yield Case(
        "total_in_second_column",
        book([ENGLISH, *good, [None, "合計", None, None, None, 200]]),
        (T1, T2),
        noted="totals",
    )
    middle = [ENGLISH, good[0], ["小計", None, None, None, None, 100], good[1], ["小計"], ["合計"]]
    yield Case("subtotals_in_the_middle", book(middle), (T1, {**T2, "sheet_row": 4}), noted="3 rows of totals")
    yield Case("total_with_remark", book([ENGLISH, *good, ["合計（2筆）", None, None, None, None, 200]]), (T1, T2),
               (("Sheet1", 4, "missing_user_id"),))  # fmt: skip
    yield Case("nickname_total", book([ENGLISH, order("T1", nickname="合計"), good[1]]), (row_of(nickname="合計"), T2))
    front = [[one[2], *one[:2], *one[3:]] for one in (list(ENGLISH), order("T1", nickname="Sum"), order("T2"))]
    yield Case("nickname_total_in_front", book(front), (row_of(nickname="Sum"), T2))
    settled = [PRE, ["2023-03-29", "web", "Web", "Web", 2, 200], ["2023-03-29", "合計", None, None, 2, 200]]
    whole = {
        "settlement_date": date(2023, 3, 29),
        "channel_code": "web",
        "channel_type": "web",
        "gross_amount": Decimal(200),
    }
    yield Case("total_of_a_day", book(settled), (whole,), noted="totals", report="pre_deduction")
    yield Case("total_with_formula", book([ENGLISH, *good, ["合計", None, None, None, None, Raw('<c r="{ref}"><f>SUM(F2:F3)</f></c>')]]),
               (T1, T2), noted="totals")  # fmt: skip


def sheets() -> Iterator[Case]:
    data = worksheet([ENGLISH, order("T1"), order("T2")])
    other = worksheet([ENGLISH, order("T3")])
    notes = worksheet([["說明"], ["本表由系統匯出"]])

    def of(*all_sheets: Any, **more: Any) -> bytes:
        return packed(parts(*all_sheets, **more))

    yield Case("sheet_hidden", of(("Sheet1", data), ("Sheet2", other, "hidden")), (T1, T2), noted="Sheet2: hidden")
    yield Case(
        "sheet_very_hidden", of(("Sheet1", data), ("Sheet2", other, "veryHidden")), (T1, T2), noted="Sheet2: hidden"
    )
    yield Case("sheet_hidden_alone", of(("Sheet1", data, "hidden")), refused="unknown_layout")
    yield Case("sheet_of_notes", of(("說明", notes), ("Sheet1", data)), (T1, T2), noted="說明")
    yield Case("sheet_of_notes_alone", of(("說明", notes)), refused="unknown_layout")
    yield Case("sheet_of_data_without_header", of(("Sheet1", data), ("工作表2", notes)), refused="unknown_layout")
    yield Case("sheet_of_data_without_header_hidden", of(("Sheet1", data), ("工作表2", notes, "hidden")), (T1, T2))
    yield Case(
        "sheets_of_data", of(("上午", data), ("下午", other)), ({**T1, "sheet": "上午"}, T2, {**T3, "sheet": "下午"})
    )
    yield Case("sheet_of_any_name", of(("2023年3月", data)), ({**T1, "sheet": "2023年3月"}, T2))
    yield Case("sheet_empty", of(("Sheet1", data), ("Sheet2", worksheet([])), ("Sheet3", worksheet([[" "]]))), (T1, T2))
    for name in ("a'b\"c", "#1 <&>", "😀", "_x0041_", " 頁 ", "a" * 31, "%2F..", "訂單/../x"):
        yield Case(f"sheet_named_{name}", of((name, data)), ({**T1, "sheet": name}, {**T2, "sheet": name}))
    hundred = [(f"Sheet{index}", worksheet([ENGLISH, order(f"T{index}")])) for index in range(1, 101)]
    yield Case("sheets_100", of(*hundred), tuple(row_of(f"T{index}") for index in range(1, 101)))
    yield Case("sheets_of_one_name", of(("Sheet1", data), ("Sheet1", other)), refused="corrupt_workbook")
    members = parts(("Sheet1", data), ("Sheet2", other))
    yield Case(
        "sheet_missing",
        packed({name: one for name, one in members.items() if "sheet2" not in name}),
        refused="corrupt_workbook",
    )
    unknown = {**members, "xl/workbook.xml": members["xl/workbook.xml"].replace(b'"rId2"', b'"rId9"')}
    yield Case("sheet_related_to_nothing", packed(unknown), refused="corrupt_workbook")
    chart = {
        **members,
        "xl/_rels/workbook.xml.rels": members["xl/_rels/workbook.xml.rels"].replace(b"/worksheet", b"/chartsheet"),
    }
    yield Case("chartsheets_alone", packed(chart), refused="unknown_layout")
    one_chart = members["xl/_rels/workbook.xml.rels"].replace(
        b'/worksheet" Target="worksheets/sheet2', b'/chartsheet" Target="worksheets/sheet2'
    )
    yield Case("chartsheet_beside", packed({**members, "xl/_rels/workbook.xml.rels": one_chart}), (T1, T2))
    yield Case("sheets_none", of(), refused="unknown_layout")
    twice = members["xl/_rels/workbook.xml.rels"].replace(b"sheet2.xml", b"sheet1.xml")
    yield Case(
        "sheet_twice", packed({**members, "xl/_rels/workbook.xml.rels": twice}), (T1, T2, {**T1, "sheet": "Sheet2"}, T2)
    )
    yield Case("filtered_rows", book('<row r="1">' + "".join(cell(1, c, h) for c, h in enumerate(ENGLISH)) + "</row>"
               + lines([order("T1")], 2).replace("<row ", '<row hidden="1" ') + lines([order("T2")], 3)), (T1, T2))  # fmt: skip


# -- values --------------------------------------------------------------------------------------------------


def dates() -> Iterator[Case]:
    for name, written in {
        "serial": 45014.5,
        "serial_text": "45014.5",
        "styled": number(45014.5, MOMENT),
        "iso": "2023-03-29 12:00:00",
        "iso_t": "2023-03-29T12:00:00",
        "iso_zulu": "2023-03-29T04:00:00Z",
        "iso_offset": "2023-03-29T13:00:00+09:00",
        "iso_cell": Raw('<c r="{ref}" t="d"><v>2023-03-29T12:00:00</v></c>'),
        "slashes": "2023/3/29 12:00",
        "dots": "2023.03.29 12:00:00",
        "chinese": "2023年3月29日 12:00",
        "chinese_noon": "2023年3月29日 下午12:00",
        "pm_after": "2023-03-29 12:00 PM",
        "pm_before": "2023/3/29 PM 12:00:00",
        "minguo": "112/3/29 12:00",
        "minguo_long": "民國112年3月29日 中午12:00".replace("中午", "下午"),
        "compact": "20230329 12:00",
        "full_width": wide("2023/3/29") + "\u3000" + wide("12:00"),
        "milliseconds": "2023-03-29 12:00:00.000",
        "padded": "  2023-03-29 12:00:00\u00a0",
    }.items():
        yield value(f"date_{name}", "paid_at", written, NOON)
    midnight = datetime(2023, 3, 28, 16)
    for name, written, read in (
        ("midnight", "2023-03-29 00:00:00", midnight),
        ("midnight_serial", 45014, midnight),
        ("am_12", "2023/3/29 上午12:00", midnight),
        ("24_00", "2023-03-28 24:00:00", midnight),
        ("pm_3", "2023/3/29 下午 03:04:05", datetime(2023, 3, 29, 7, 4, 5)),
        ("night", "2023/3/29 晚上9:30", datetime(2023, 3, 29, 13, 30)),
        ("early", "2023/3/29 凌晨1:30", datetime(2023, 3, 28, 17, 30)),
        ("rounded", number(45014.627835648, MOMENT), datetime(2023, 3, 29, 7, 4, 5)),
        ("leap_day", "2024-02-29 12:00", datetime(2024, 2, 29, 4)),
        ("march_1900", number(61, MOMENT), datetime(1900, 2, 28, 16)),
    ):
        yield value(f"date_{name}", "paid_at", written, read)
    for name, written in {
        "day_first": "29/03/2023",
        "month_first": "03/29/2023",
        "month_first_likely": "03/04/2023",
        "short_year": "23/3/29",
        "minguo_short": "99/3/29",
        "minguo_compact": "1120329",
        "compact_short": "2023111",
        "year_alone": 2023,
        "small_number": 59,
        "negative": -1,
        "february_30": "2023-02-30",
        "february_29": "2023-02-29 10:00",
        "month_13": "2023-13-01",
        "hour_25": "2023-03-29 25:00",
        "pm_13": "2023/3/29 下午13:00",
        "twelve_at_night": "2023/3/29 晚上12:00",
        "time_alone": number(0.5, TIME),
        "time_text": "12:00",
        "infinity": "infinity",
        "epoch": "epoch",
        "now": "now",
        "before_christ": "2023-03-29 (BC)",
        "far_future": "294247-01-10",
        "year_9999": number(2958465, MOMENT),
        "word": "昨天",
        "boolean": True,
        "zone_by_name": "2023-03-29 12:00:00 America/New_York",
        "two": "2023-03-29 12:00 / 13:00",
    }.items():
        yield value(f"date_bad_{name}", "paid_at", written, rejected=True)
    yield value("date_beyond_excel", "paid_at", number(1e10, MOMENT), rejected="missing_paid_at")
    for name, calendar, written in (
        ("styled", "1", number(43552.5, MOMENT)),
        ("bare", "true", 43552.5),
        ("text", "1", "43552.5"),
        ("iso", "1", "2023-03-29 12:00"),
    ):
        yield value(f"date_1904_{name}", "paid_at", written, NOON, properties=f'<workbookPr date1904="{calendar}"/>')
    yield value("date_1904_no", "paid_at", 45014.5, NOON, properties='<workbookPr date1904="0"/>')
    day = {"activity_date": date(2023, 3, 29)}
    for name, written in {
        "serial": 45014, "styled": number(45014, DAY), "text": "2023/3/29", "minguo": "112年3月29日", "midnight": "2023-03-29 00:00:00",
    }.items():  # fmt: skip
        yield stats(f"day_{name}", {"Date": written}, day)
    for name, written in {
        "with_time": "2023-03-29 10:00",
        "with_fraction": 45014.5,
        "with_offset": "2023-03-29T00:00:00Z",
    }.items():
        yield stats(f"day_bad_{name}", {"Date": written}, rejected="invalid_activity_date")
    yield stats("day_optional_bad", {"Registered": "忘了"}, rejected="invalid_registered_on")
    yield stats("day_optional_blank", {"Registered": "—"}, {"registered_on": None})


def numbers() -> Iterator[Case]:
    for name, written, read in (
        ("thousands", "1,234,567.89", "1234567.89"),
        ("full_width", "１，２３４．５", "1234.5"),
        ("currency_before", "NT$ 1,234", "1234"),
        ("currency_after", "1,234 元", "1234"),
        ("currency_both", "NT$1,234元", "1234"),
        ("currency_word", "新台幣 5", "5"),
        ("dollar", "$5.50", "5.5"),
        ("parentheses", "(1,234.50)", "-1234.5"),
        ("minus", "-5", "-5"),
        ("minus_sign", "−5", "-5"),
        ("minus_before_currency", "-NT$5", "-5"),
        ("minus_after_currency", "NT$-5", "-5"),
        ("plus", "+5", "5"),
        ("scientific_text", "1.5E+03", "1500"),
        ("scientific_cell", number("1.5E3"), "1500"),
        ("noise", 0.1 + 0.2, "0.3"),
        ("noise_text", "0.30000000000000004", "0.3"),
        ("digits_15", 123456789012345, "123456789012345"),
        ("digits_17", number(12345678901234567), "12345678901234567"),
        ("point_first", ".5", "0.5"),
        ("point_last", "5.", "5"),
        ("zero", 0, "0"),
        ("negative_zero", number("-0"), "0"),
        ("nine_decimals", "1.2345678915", "1.234567892"),
        ("spaces", " 5 ", "5"),
        ("percent_cell", number(0.3, PERCENT), "0.3"),
        ("cached", Raw('<c r="{ref}"><f>2*50</f><v>100</v></c>'), "100"),
        ("cached_text", Raw('<c r="{ref}" t="str"><f>"5"</f><v>5</v></c>'), "5"),
    ):
        yield value(f"number_{name}", "amount", written, Decimal(read))
    for name, written in {
        "thousands_misplaced": "1,23",
        "thousands_twice": "1,,234",
        "thousands_last": "1,234,",
        "european": "1.234,56",
        "spaced": "1 234",
        "underscore": "1_000",
        "hexadecimal": "0x10",
        "other_currency": "US$5",
        "other_currency_after": "5 EUR",
        "yen": "¥5",
        "sign_in_parentheses": "(-5)",
        "parenthesis_open": "(5",
        "two_signs": "--5",
        "sign_last": "5-",
        "word": "五",
        "circled": "①",
        "arabic": "٣",
        "nan": number("NaN"),
        "infinite": number("1e999"),
        "enormous": number("1e300"),
        "digits_30": "123456789012345678901234567890",
        "boolean": True,
        "two": "100/200",
        "currency_alone": "NT$",
        "formula_text": "=1+1",
        "no_number": Raw('<c r="{ref}"><v>abc</v></c>'),
    }.items():
        yield value(f"number_bad_{name}", "amount", written, rejected=True)
    for name, written in {
        "blank": None,
        "empty": "",
        "spaces": " \u3000",
        "dash": "-",
        "long_dash": "—",
        "na": "N/A",
        "word": "無",
    }.items():
        yield value(f"number_missing_{name}", "amount", written, rejected="missing_amount")
        yield value(f"number_optional_{name}", "diamonds", written, None)
    for name, written in {"fraction": 2.5, "too_long": "9223372036854775808", "percent": "5%", "word": "many"}.items():
        yield value(f"whole_bad_{name}", "diamonds", written, rejected=True)
    for name, written, read in (
        ("float", 3.0, 3),
        ("noise", 2.9999999999999996, 3),
        ("thousands", "1,234", 1234),
        ("big", "9007199254740993", 2**53 + 1),
    ):
        yield value(f"whole_{name}", "diamonds", written, read)
    for name, written, read in (
        ("text", "30%", "0.3"),
        ("wide", "３０％", "0.3"),
        ("cell", number(0.3, PERCENT), "0.3"),
        ("fine", "12.345 %", "0.12345"),
    ):
        content = book([POST, ["2023-03-29", "web", written, 1, 2, 97]])
        yield Case(
            f"share_{name}",
            content,
            ({"deduction_rate": Decimal(read), "net_amount": Decimal(97)},),
            report="post_deduction",
        )


def texts() -> Iterator[Case]:
    for name, written, read in (
        ("formula_like", "=cmd|' /C calc'!A0", None),
        ("plus", "+1", None),
        ("minus", "-1", None),
        ("at", "@SUM(A1)", None),
        ("tab", "\t=1+1", "=1+1"),
        ("longest", "字" * 32_767, None),
        ("emoji", "👩‍👩‍👧‍👦🏳️‍🌈", None),
        ("right_to_left", "\u202eאבג\u202c", None),
        ("escaped", "a_x000D_b_x005F_x000D_", "a\rb_x000D_"),
        ("control", "a_x0001_b", "a\x01b"),
        ("nul", "a_x0000_b", "a\0b"),
        ("quotes", """'";--\\""", None),
        ("markup", "<b>&amp;</b>", None),
        ("newline", "a\nb", None),
        ("true", True, "true"),
        ("number", 12.5, "12.5"),
        ("full_width", "Ａｂｃ", None),
        ("null_word", "NULL", None),
        ("error_word", "#N/A", None),
    ):
        yield value(f"text_{name}", "nickname", written, written if read is None else read)
    for name, written, read in (
        ("zeros", "000123", "000123"),
        ("numeric", 10001, "10001"),
        ("numeric_float", number("10001.0"), "10001"),
        ("numeric_17", number(20230329000012345), "20230329000012345"),
        ("numeric_20", number(20230329000012345678), "20230329000012345678"),
        ("full_width", "Ｕ－１２３", "U-123"),
        ("spaces", " U1\u3000", "U1"),
        ("formula", "=1+1", "=1+1"),
        ("calculated", Raw('<c r="{ref}" t="str"><f>"U"&amp;1</f><v>U1</v></c>'), "U1"),
    ):
        yield value(f"id_{name}", "user_id", written, read)
    yield value("id_blank", "user_id", "\u3000", rejected="missing_user_id")
    yield value("id_dash", "user_id", "-", rejected="missing_user_id")
    for written, read in (
        ("Success", "succeeded"),
        (" 成功 ", "succeeded"),
        ("FAILED", "failed"),
        ("已退款", "refunded"),
        ("處理中", "處理中"),
    ):
        yield value(f"word_{written.strip()}", "status", written, read)
    yield value("word_currency", "currency", "新台幣", "TWD")
    yield stats("word_level", {"Level": "鑽石"}, {"membership_level": "diamond"})
    for kind in ("#NULL!", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!", "#N/A"):
        yield value(f"error_required_{kind}", "user_id", error(kind), rejected=True)
        yield value(f"error_optional_{kind}", "nickname", error(kind), rejected=True)
    yield value("error_in_number", "amount", error("#DIV/0!"), rejected=True)
    yield value("error_in_date", "paid_at", error("#VALUE!"), rejected=True)
    yield value("error_in_single_quotes", "nickname", Raw("<c r='{ref}' t='e'><v>#REF!</v></c>"), rejected=True)
    for name, xml in {
        "bare": '<c r="{ref}"><f>A1</f></c>',
        "empty": '<c r="{ref}"><f>A1</f><v></v></c>',
        "closed": '<c r="{ref}"><f>A1</f><v/></c>',
        "shared": '<c r="{ref}"><f t="shared" si="0"/></c>',
        "text": '<c r="{ref}" t="str"><f>A1</f></c>',
    }.items():
        yield value(f"uncalculated_{name}", "diamonds", Raw(xml), rejected=True)
        yield value(f"uncalculated_{name}_required", "amount", Raw(xml), rejected=True)
    yield value("calculated_empty", "nickname", Raw('<c r="{ref}" t="str"><f>""</f><v></v></c>'), None)
    rows = [ENGLISH, order("T1"), [Raw('<c r="{ref}"><f>A2</f></c>')] * 10]
    yield Case("uncalculated_row", book(rows), (T1,), (("Sheet1", 3, "invalid_top_up_id"),))
    rich = "<si><r><t>小</t></r><r><rPr><b/></rPr><t>明</t></r><rPh><t>ㄒㄧㄠ</t></rPh></si><si><t>T2</t></si>"
    yield value("text_rich_shared", "nickname", Raw('<c r="{ref}" t="s"><v>0</v></c>'), "小明", strings=rich)
    yield value(
        "text_rich_inline",
        "nickname",
        Raw('<c r="{ref}" t="inlineStr"><is><r><t>小</t></r><r><t>明</t></r></is></c>'),
        "小明",
    )
    yield value("text_cdata", "nickname", Raw('<c r="{ref}" t="inlineStr"><is><t>a&#65;&lt;</t></is></c>'), "aA<")


# -- the sheet's XML -----------------------------------------------------------------------------------------


def addresses() -> Iterator[Case]:
    good = [ENGLISH, order("T1"), order("T2")]
    far = lines([*good]) + '<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'
    yield Case("sparse_giant", book(far), refused="too_many_cells")
    for name, tag in {
        "prefixed": f'<x:c xmlns:x="{MAIN}" r="XFD1048576"><v>1</v></x:c>',
        "newline": '<c\nr="XFD1048576"><v>1</v></c>',
        "single_quotes": "<c r='XFD1048576'><v>1</v></c>",
        "late": '<c s="0" t="n" r="XFD1048576"><v>1</v></c>',
    }.items():
        yield Case(
            f"sparse_giant_{name}", book(lines(good) + f'<row r="1048576">{tag}</row>'), refused="too_many_cells"
        )
    yield Case(
        "sparse_giant_row_lies",
        book(lines(good) + '<row r="4"><c r="XFD1048576"><v>1</v></c></row>'),
        refused="too_many_cells",
    )
    yield Case(
        "sparse_giant_row_silent",
        book(lines(good) + '<row><c r="XFD1048576"><v>1</v></c></row>'),
        refused="too_many_cells",
    )
    for name, tag in {
        "lower_case": '<c r="xfd1048576"><v>1</v></c>',
        "four_letters": '<c r="ZZZZ4"><v>1</v></c>',
        "eight_digits": '<c r="A10485760"><v>1</v></c>',
        "wrapping": '<c r="A4294967297"><v>1</v></c>',
        "dollars": '<c r="$A$4"><v>1</v></c>',
        "hidden_in_attribute": '<c x=\' r="A4"\' r="XFD1048576"><v>1</v></c>',
        "behind_a_bracket": '<c x=">" r="XFD1048576"><v>1</v></c>',
        "spaced": '<c r = "XFD1048576"><v>1</v></c>',
        "none": "<c><v>1</v></c>",
    }.items():
        yield Case(f"address_{name}", book(lines(good) + f'<row r="4">{tag}</row>'), refused="cells_without_address")
    for name, ref in (("column_XFE", "XFE4"), ("row_1048577", "A1048577"), ("row_0", "A0")):
        yield Case(
            f"address_{name}",
            book(lines(good) + f'<row r="4"><c r="{ref}"><v>1</v></c></row>'),
            refused="corrupt_workbook",
        )
    many = [
        (f"Sheet{index}", worksheet(lines(good) + '<row r="900000"><c r="P900000" t="str"><v></v></c></row>'))
        for index in (1, 2)
    ]
    yield Case("sparse_sheets_together", packed(parts(*many)), refused="too_many_cells")
    yield Case(
        "dimension_lies",
        packed(parts(("Sheet1", worksheet(good, before='<dimension ref="A1:XFD1048576"/>')))),
        (T1, T2),
    )
    yield Case(
        "dimension_too_small", packed(parts(("Sheet1", worksheet(good, before='<dimension ref="A1"/>')))), (T1, T2)
    )


def of_sheet(content: str | bytes, **more: Any) -> bytes:
    """A workbook with this XML as its sheet."""
    members = parts(("Sheet1", ""), **more)
    members[SHEET] = content.encode() if isinstance(content, str) else content
    return packed(members)


def markup() -> Iterator[Case]:
    good = [ENGLISH, order("T1"), order("T2")]
    xml = worksheet(good)
    yield Case("cells_without_address", of_sheet(xml.replace('<c r="A2"', "<c")), refused="cells_without_address")
    yield Case("rows_without_number", of_sheet(re.sub(r'<row r="\d+"', "<row", xml)), (T1, T2))
    yield Case("rows_unsorted", book(lines([ENGLISH]) + lines([order("T2")], 3) + lines([order("T1")], 2)), (T1, T2))
    yield Case("namespace_prefixed", of_sheet(with_prefix(xml)), (T1, T2))
    merged = worksheet([ENGLISH, order("T1"), order("T2", channel_code=None)], after=merges("D2:D3"))
    yield Case("namespace_prefixed_merges", of_sheet(with_prefix(merged)), (T1, T2))
    yield Case("single_quotes", of_sheet(re.sub(r'<c r="(\w+)" t="(\w+)">', r"<c r='\1' t='\2'>", xml)), (T1, T2))
    yield Case("attributes_turned", of_sheet(re.sub(r'<c r="(\w+)" t="(\w+)">', r'<c t="\2" r="\1">', xml)), (T1, T2))
    yield Case(
        "whitespace",
        of_sheet(xml.replace("><row", ">\n  <row").replace("</c><c", "</c>\n    <c").replace("</row>", "\n</row>")),
        (T1, T2),
    )
    yield Case("mark_of_utf_8", of_sheet(b"\xef\xbb\xbf" + xml.encode()), (T1, T2))
    yield Case("utf_16", of_sheet(xml.replace("UTF-8", "UTF-16").encode("utf-16")), refused="corrupt_workbook")
    yield Case(
        "utf_16_unmarked", of_sheet(xml.replace("UTF-8", "UTF-16").encode("utf-16-le")), refused="corrupt_workbook"
    )
    yield Case("big5_undeclared", of_sheet(xml.encode("big5")), refused="corrupt_workbook")
    yield Case(
        "latin_bytes", of_sheet(xml.encode().replace("小明".encode(), b"\xff\xfe\xfd")), refused="corrupt_workbook"
    )
    yield Case(
        "comment", of_sheet(xml.replace("<sheetData>", '<sheetData><!-- <c r="ZZ9"/> -->')), refused="corrupt_workbook"
    )
    yield Case("cdata", of_sheet(xml.replace(">小明<", "><![CDATA[<c r='Z1'>]]><")), refused="corrupt_workbook")
    yield Case("nul_bytes", of_sheet(xml.replace("小明", "小\0明")), refused="corrupt_workbook")
    yield Case("control_character", of_sheet(xml.replace("小明", "小&#0;明")), refused="corrupt_workbook")
    strict = {name: one.replace(MAIN.encode(), STRICT.encode()) for name, one in parts(("Sheet1", xml)).items()}
    yield Case("strict", packed(strict), (T1, T2))
    for name, target in (
        ("absolute", "/xl/worksheets/sheet{}.xml"),
        ("dotted", "./worksheets/../worksheets/sheet{}.xml"),
    ):
        yield Case(
            f"target_{name}",
            packed(parts(("Sheet1", xml), target=target)),
            is_anything=name == "dotted",
            loaded=(T1, T2) if name == "absolute" else (),
        )


def shared_strings() -> Iterator[Case]:
    good = [ENGLISH, order("T1"), order("T2")]
    xml = worksheet(good)
    shared = "".join(f"<si><t>{escape(str(one))}</t></si>" for row in good for one in row)
    indexed = [
        [Raw(f'<c r="{{ref}}" t="s"><v>{10 * index + column}</v></c>') for column in range(10)] for index in range(3)
    ]
    yield Case("shared_strings", book(indexed, strings=shared), (T1, T2))
    yield Case("shared_strings_missing", book(indexed), refused="corrupt_workbook")
    yield Case(
        "shared_string_beyond",
        book([*indexed, [Raw('<c r="{ref}" t="s"><v>9999</v></c>')]], strings=shared),
        refused="corrupt_workbook",
    )
    yield Case(
        "shared_string_negative",
        book([*indexed, [Raw('<c r="{ref}" t="s"><v>-1</v></c>')]], strings=shared),
        refused="corrupt_workbook",
    )
    long = f"<si><t>{'長' * 10_000}</t></si>"
    thousands = lines(good) + "".join(
        f'<row r="{row}"><c r="A{row}" t="s"><v>0</v></c></row>' for row in range(4, 12_000)
    )
    yield Case("shared_string_bomb", book(thousands, strings=long), refused="too_much_text")
    fair = shared + long
    yield Case("shared_string_long_but_rare", book(indexed, strings=fair), (T1, T2))
    for name, part in (("sheet", SHEET), ("strings", "xl/sharedStrings.xml"), ("book", "xl/workbook.xml")):
        members = parts(("Sheet1", xml), strings=shared)
        if name == "strings":
            members[SHEET] = worksheet(indexed).encode()
        members[part] = laughs(members[part])
        yield Case(f"billion_laughs_in_{name}", packed(members), refused="corrupt_workbook")


def broken_markup() -> Iterator[Case]:
    xml = worksheet([ENGLISH, order("T1"), order("T2")])
    good = [ENGLISH, order("T1"), order("T2")]
    members = parts(("Sheet1", xml))
    outside = b'<!DOCTYPE w [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
    members["xl/workbook.xml"] = outside + members["xl/workbook.xml"].replace(b"Sheet1", b"&a;")
    yield Case("entity_of_a_file", packed(members), refused="corrupt_workbook")
    members = parts(("Sheet1", xml))
    members["xl/workbook.xml"] = (
        '<?xml version="1.0" encoding="utf-16"?>' + members["xl/workbook.xml"].decode()
    ).encode("utf-16")
    yield Case("book_in_utf_16", packed(members), refused="corrupt_workbook")
    members["xl/workbook.xml"] = b'<?xml version="1.0" encoding="klingon"?><workbook/>'
    yield Case("book_in_no_encoding", packed(members), refused="corrupt_workbook")
    yield Case("sheet_cut", of_sheet(xml[: len(xml) // 2]), refused="corrupt_workbook")
    yield Case("sheet_not_closed", of_sheet(xml.replace("</sheetData></worksheet>", "")), refused="corrupt_workbook")
    for name, content in (("without_rows", f'<worksheet xmlns="{MAIN}"/>'), ("of_another_kind", "<svg/>")):
        both = parts(("Sheet1", xml), ("Sheet2", content))
        yield Case(f"sheet_{name}", packed(both), refused="corrupt_workbook")
    yield Case("sheet_empty_part", of_sheet(b""), is_anything=True)
    yield Case(
        "cell_of_unknown_type",
        book([ENGLISH, order("T1", nickname=Raw('<c r="{ref}" t="zz"><v>1</v></c>'))]),
        refused="corrupt_workbook",
    )
    yield Case(
        "deep_nesting",
        of_sheet(xml.replace("</sheetData>", "<a>" * 50_000 + "</a>" * 50_000 + "</sheetData>")),
        is_anything=True,
    )
    deep = parts(("Sheet1", xml))
    deep["xl/workbook.xml"] = deep["xl/workbook.xml"].replace(
        b"</workbook>", b"<a>" * 50_000 + b"</a>" * 50_000 + b"</workbook>"
    )
    yield Case("deep_nesting_in_book", packed(deep), is_anything=True)
    yield Case(
        "long_tag",
        book([ENGLISH, order("T1", nickname=Raw('<c r="{ref}" ' + 'r="A1" ' * 5_000 + 't="e"><v>#N/A</v></c>'))]),
        refused="corrupt_workbook",
    )
    yield Case("long_text", book([ENGLISH, order("T1", nickname="x" * 3_000_000)]), is_anything=True)
    yield Case("endless_text", book([ENGLISH, order("T1", nickname="x" * 9_000_000)]), refused="corrupt_workbook")
    yield Case(
        "wide_sheet",
        book(lines(good) + '<row r="4">' + "".join(f'<c r="{letters(c)}4" s="1"/>' for c in range(16_384)) + "</row>"),
        (T1, T2),
    )
    errors = "".join(
        f'<row r="{row}">'
        + "".join(f'<c r="{letters(c)}{row}" t="e"><v>#N/A</v></c>' for c in range(10, 30))
        + "</row>"
        for row in range(4, 25_200)
    )
    yield Case("errors_too_many", book(lines(good) + errors), refused="too_many_errors")


def with_prefix(xml: str) -> str:
    names = r"<(/?)(worksheet|sheetData|row|c|is|t|v|mergeCells|mergeCell)\b"
    return re.sub(names, r"<\1x:\2", xml.replace(f'xmlns="{MAIN}"', f'xmlns:x="{MAIN}"'))


def laughs(part: bytes) -> bytes:
    """The part with entities of entities, used in its first text."""
    levels = "".join(f"<!ENTITY l{n} '{10 * f'&l{n - 1};'}'>" for n in range(1, 10))
    kind = f'<!DOCTYPE x [<!ENTITY l0 "ha">{levels}]>'
    declared, found, rest = part.decode().partition("?>\n")
    body = rest if found else declared
    used = body.replace('name="Sheet1"', 'name="&l9;"').replace(">小明<", ">&l9;<", 1)
    return (f"{declared}?>\n" if found else "").encode() + kind.encode() + used.encode()


# -- the zip -------------------------------------------------------------------------------------------------


@cache
def sound() -> bytes:
    """A workbook with nothing odd about it, with text that is not all the same."""
    from random import Random

    draw = Random(6)
    rows = [order(f"T{index}", nickname=f"{draw.getrandbits(64):x}") for index in range(1, 41)]
    return book([ENGLISH, *rows])


def directory(content: bytes) -> Iterator[tuple[str, int]]:
    """Names in the zip's directory, and where their entries are."""
    at = content.index(b"PK\x01\x02")
    while content[at : at + 4] == b"PK\x01\x02":
        name, extra, comment = struct.unpack_from("<HHH", content, at + 28)
        yield content[at + 46 : at + 46 + name].decode(), at
        at += 46 + name + extra + comment


def patched(content: bytes, member: str, offset: int, form: str, new: int) -> bytes:
    """The zip with a field of a member's directory entry set."""
    entry = dict(directory(content))[member]
    changed = bytearray(content)
    struct.pack_into(form, changed, entry + offset, new)
    return bytes(changed)


def local(content: bytes, member: str) -> tuple[int, int]:
    """Where a member's packed bytes begin and end."""
    entry = dict(directory(content))[member]
    size, at = struct.unpack_from("<I", content, entry + 20)[0], struct.unpack_from("<I", content, entry + 42)[0]
    name, extra = struct.unpack_from("<HH", content, at + 26)
    start = at + 30 + name + extra
    return start, start + size


class Pipe(io.RawIOBase):
    """A stream that cannot be gone back in, for which zip files have descriptors behind their data."""

    def __init__(self) -> None:
        self.content = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        self.content += data
        return len(data)


def archives() -> Iterator[Case]:
    good = sound()
    all_rows = tuple(row_of(f"T{index}", nickname=ANY) for index in range(1, 41))
    members = parts(("Sheet1", worksheet([ENGLISH, order("T1"), order("T2")])))
    yield Case("sound", good, all_rows)
    for share in (1, 5, 25, 50, 75, 95, 99):
        yield Case(f"cut_at_{share}", good[: len(good) * share // 100], refused="corrupt_workbook")
    yield Case("cut_by_a_byte", good[:-1], refused="corrupt_workbook")
    for compression, kind in ((zipfile.ZIP_DEFLATED, "packed"), (zipfile.ZIP_STORED, "stored")):
        content = packed(members, compression)
        start, end = local(content, SHEET)
        for where in (0.0, 0.3, 0.6, 0.9):
            at = start + int((end - start) * where)
            flipped = content[:at] + bytes([content[at] ^ 0x55]) + content[at + 1 :]
            # what the packed one unpacks to is the compressor's matter: too much, it may be
            yield Case(
                f"bit_flipped_{kind}_{where}",
                flipped,
                **({"refused": "corrupt_workbook"} if kind == "stored" else {"is_anything": True}),
            )
    start, end = local(good, SHEET)
    yield Case("wrong_checksum", patched(good, SHEET, 16, "<I", 12345), refused="corrupt_workbook")
    yield Case("wrong_packed_size", patched(good, SHEET, 20, "<I", end - start - 7), refused="corrupt_workbook")
    yield Case("wrong_unpacked_size", patched(good, SHEET, 24, "<I", 10**6), refused="corrupt_workbook")
    yield Case("wrong_offset", patched(good, SHEET, 42, "<I", 1), refused="zip_bomb")
    yield Case("offset_beyond", patched(good, SHEET, 42, "<I", 10**8), refused="corrupt_workbook")
    yield Case("unknown_compression", patched(good, SHEET, 10, "<H", 99), refused="corrupt_workbook")
    yield Case("encryption_flag", patched(good, SHEET, 8, "<H", 1), refused="encrypted_workbook")


def bombs() -> Iterator[Case]:
    good = sound()
    members = parts(("Sheet1", worksheet([ENGLISH, order("T1"), order("T2")])))
    double = io.BytesIO()
    with zipfile.ZipFile(double, "w") as archive, warnings_ignored():
        for name, content in [*members.items(), (SHEET, worksheet([ENGLISH, order("T9")]).encode())]:
            archive.writestr(zipfile.ZipInfo(name), content)
    yield Case("two_parts_of_one_name", double.getvalue(), refused="corrupt_workbook")
    yield Case("two_parts_but_for_case", packed({**members, SHEET.upper(): b"<a/>"}), refused="corrupt_workbook")
    yield Case("members_overlap", overlapping(members), refused="zip_bomb")
    yield Case("members_quoted", quoted(members), refused="zip_bomb")
    yield Case("bomb", packed({**members, SHEET: bytes(40_000_000)}), refused="zip_bomb")
    yield Case("bomb_beside", packed({**members, "xl/media/image1.png": bytes(40_000_000)}), refused="zip_bomb")
    lying = packed({**members, "xl/media/image1.png": bytes(40_000_000)})
    yield Case("bomb_that_lies", patched(lying, "xl/media/image1.png", 24, "<I", 1000), refused="zip_bomb")
    yield Case("bomb_that_boasts", patched(good, SHEET, 24, "<I", 2**32 - 2), refused="zip_bomb")
    spaces = (
        worksheet([ENGLISH, order("T1"), order("T2")]).replace("<sheetData>", "<sheetData>" + " " * 15_000_000).encode()
    )
    yield Case("bomb_small_enough", packed({**members, SHEET: spaces}), refused="corrupt_workbook")


def odd_archives() -> Iterator[Case]:
    good = sound()
    all_rows = tuple(row_of(f"T{index}", nickname=ANY) for index in range(1, 41))
    members = parts(("Sheet1", worksheet([ENGLISH, order("T1"), order("T2")])))
    yield Case("members_2001", packed({**members, **{f"a/{n}": b"" for n in range(2_001)}}), refused="too_many_members")
    yield Case("members_1000", packed({**members, **{f"a/{n}": b"" for n in range(1_000)}}), (T1, T2))
    yield Case("members_with_dots", packed({**members, "../../../../etc/passwd": b"x"}), (T1, T2))
    yield Case("members_absolute", packed({**members, "/etc/cron.d/x": b"x"}), (T1, T2))
    yield Case("members_with_devices", packed({**members, "CON": b"x", "a\\b": b"x", "C:\\x": b"x"}), (T1, T2))
    yield Case("members_in_chinese", packed({**members, "xl/media/圖片一.png": b"x" * 100}), (T1, T2))
    yield Case("members_in_old_letters", old_letters(members), (T1, T2))
    yield Case("stored", packed(members, zipfile.ZIP_STORED), (T1, T2))
    yield Case("bzip2", packed(members, zipfile.ZIP_BZIP2), refused="corrupt_workbook")
    big = io.BytesIO()
    with zipfile.ZipFile(big, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            with archive.open(zipfile.ZipInfo(name), "w", force_zip64=True) as part:
                part.write(content)
    yield Case("zip64", big.getvalue(), (T1, T2))
    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    yield Case("descriptors", bytes(pipe.content), (T1, T2))
    yield Case("two_ends", good[:-2] + struct.pack("<H", 22) + b"PK\x05\x06" + bytes(18), refused="corrupt_workbook")
    yield Case("comment_of_zip", good[:-2] + struct.pack("<H", 5) + b"hello", all_rows)
    yield Case("bytes_before", b"MZ" + bytes(100) + good, refused="not_a_workbook")
    for part in ("_rels/.rels", "xl/workbook.xml", "xl/_rels/workbook.xml.rels"):
        rest = {name: content for name, content in members.items() if name != part}
        yield Case(f"without_{part.rsplit('/', 1)[1]}", packed(rest), refused="corrupt_workbook")
    without_types = {name: content for name, content in members.items() if "Content" not in name}
    yield Case("without_content_types", packed(without_types), (T1, T2))
    yield Case("without_styles", packed({n: c for n, c in members.items() if "styles" not in n}), is_anything=True)
    yield Case(
        "styles_damaged", packed({**members, "xl/styles.xml": b"<styleSheet><cellXfs"}), refused="corrupt_workbook"
    )
    elsewhere = {name.replace("xl/", "data/"): content for name, content in members.items()}
    elsewhere["_rels/.rels"] = elsewhere["_rels/.rels"].replace(b"xl/", b"data/")
    yield Case("book_elsewhere", packed(elsewhere), is_anything=True)
    hidden = {**members, "_rels/.rels": members["_rels/.rels"].replace(b"xl/", b"ok/")}
    hidden |= {name.replace("xl/", "ok/"): content for name, content in members.items() if name.startswith("xl/")}
    hidden[SHEET] = worksheet(
        lines([ENGLISH, order("T1")]) + '<row r="9"><c r="XFD1048576"><v>1</v></c></row>'
    ).encode()
    yield Case("two_books", packed(hidden), is_anything=True)


class Anything:
    """Equal to whatever it is compared with."""

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


ANY = Anything()


def warnings_ignored() -> Any:
    import warnings

    context = warnings.catch_warnings()
    warnings.simplefilter("ignore")
    return context


def old_letters(members: Mapping[str, bytes]) -> bytes:
    """A name in Big5 without a mark of its encoding, as old programs write it."""
    content = packed({**members, "xl/media/AAAAAAAA.png": b"x" * 100})
    return content.replace(b"AAAAAAAA", "圖片檔案".encode("big5"))


def overlapping(members: Mapping[str, bytes]) -> bytes:
    """A second entry of the directory for the same bytes."""
    content = packed({**members, "xl/media/a.png": bytes(5_000), "xl/media/b.png": bytes(5_000)})
    entries = dict(directory(content))
    first = struct.unpack_from("<I", content, entries["xl/media/a.png"] + 42)[0]
    return patched(content, "xl/media/b.png", 42, "<I", first)


def quoted(members: Mapping[str, bytes]) -> bytes:
    """Fifield's better bomb: each member's bytes quote the headers of those after it, and all share one kernel."""
    content = packed({**members, **{f"xl/media/{name}.png": bytes(10_000) for name in "abcd"}})
    size = len(content)
    for name in "abcd":
        content = patched(content, f"xl/media/{name}.png", 20, "<I", 300)
    assert len(content) == size
    return content


def other_files() -> Iterator[Case]:
    yield Case("empty", b"", refused="empty_file")
    for name, content in {
        "one_byte": b"P",
        "two_letters": b"PK",
        "csv": "訂單編號,用戶ID\nT1,U1\n".encode(),
        "csv_big5": "訂單編號,用戶ID\nT1,U1\n".encode("big5"),
        "html": b"<html><table><tr><td>T1</td></tr></table></html>",
        "xml": b"<?xml version='1.0'?><Workbook xmlns='urn:schemas-microsoft-com:office:spreadsheet'/>",
        "pdf": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
        "json": b'{"error": "login required"}',
        "gzip": zlib.compress(b"x", 9, 31),
        "zeros": bytes(5_000),
        "rar": b"Rar!\x1a\x07\x00",
    }.items():
        yield Case(f"file_{name}", content, refused="not_a_workbook")
    yield Case("file_end_of_zip", b"PK\x05\x06" + bytes(18), refused="corrupt_workbook")
    yield Case("file_start_of_zip", b"PK\x03\x04", refused="corrupt_workbook")
    yield Case("file_zip_of_text", packed({"readme.txt": b"hello"}), refused="corrupt_workbook")
    yield Case(
        "file_xls",
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600) + "Workbook".encode("utf-16-le"),
        refused="old_workbook",
    )
    yield Case("file_encrypted", encrypted(sound()), refused="encrypted_workbook")
    yield Case(
        "file_ods",
        packed({"mimetype": b"application/vnd.oasis.opendocument.spreadsheet", "content.xml": b"<x/>"}),
        refused="corrupt_workbook",
    )
    relation = f'<Relationships xmlns="{PACKAGE}/relationships"><Relationship Id="r" Type="{OFFICE}/officeDocument" Target="word/document.xml"/></Relationships>'
    docx = {
        "_rels/.rels": relation.encode(),
        "word/document.xml": b'<w:document xmlns:w="x"/>',
        "word/_rels/document.xml.rels": f'<Relationships xmlns="{PACKAGE}/relationships"/>'.encode(),
    }
    yield Case("file_docx", packed(docx), refused="not_a_workbook")
    plain_zip = {"_rels/.rels": f'<Relationships xmlns="{PACKAGE}/relationships"/>'.encode(), "a.xml": b"<a/>"}
    yield Case("file_of_other_package", packed(plain_zip), refused="not_a_workbook")
    binary = parts(("Sheet1", worksheet([ENGLISH, order("T1")])))
    binary["xl/workbook.bin"] = binary.pop("xl/workbook.xml")
    binary["_rels/.rels"] = binary["_rels/.rels"].replace(b"workbook.xml", b"workbook.bin")
    yield Case("file_xlsb", packed(binary), refused="corrupt_workbook")


@cache
def encrypted(content: bytes) -> bytes:
    """A workbook with a password, as Excel makes it."""
    from msoffcrypto.format.ooxml import OOXMLFile

    target = io.BytesIO()
    OOXMLFile(io.BytesIO(content)).encrypt("pw", target)
    return target.getvalue()


# -- from a program, and from chance -------------------------------------------------------------------------


def written() -> Iterator[Case]:
    """Made by XlsxWriter: styles, shared strings, formulas as Excel itself writes them."""

    def of(fill: Callable[[Any, Any], None], **options: Any) -> bytes:
        import xlsxwriter

        buffer = io.BytesIO()
        made = xlsxwriter.Workbook(buffer, {"in_memory": True, **options})
        made.set_properties({"created": datetime(2023, 3, 30, tzinfo=UTC).replace(tzinfo=None)})
        page = made.add_worksheet("充值記錄")
        fill(made, page)
        made.close()
        return buffer.getvalue()

    def usual(made: Any, page: Any) -> None:
        moment = made.add_format({"num_format": "yyyy/m/d hh:mm:ss"})
        bold = made.add_format({"bold": True})
        page.merge_range("A1:J1", "充值報表 2023-03-29", bold)
        page.write_row(2, 0, CHINESE, bold)
        for row in (3, 4):
            page.write_row(row, 0, order(f"T{row - 2}"))
            page.write_datetime(row, 4, datetime(2023, 3, 29, 12), moment)
        page.write_formula(4, 5, "=50*2", None, 100)
        page.write_rich_string(3, 2, "小", bold, "明")
        page.write_row(5, 0, ["合計", "", "", ""])
        page.write_formula(5, 5, "=SUM(F4:F5)", None, 200)
        page.autofilter("A3:J5")
        page.freeze_panes(3, 0)
        page.conditional_format("F4:F5", {"type": "cell", "criteria": ">", "value": 50, "format": bold})
        page.write_comment("A4", "checked")
        page.set_column("A:J", 15)

    yield Case("by_xlsxwriter", of(usual), ({**T1, "sheet_row": 4}, {**T2, "sheet_row": 5}), noted="1 rows of totals")
    yield Case("by_xlsxwriter_1904", of(usual, date_1904=True), (T1, T2))

    def validated(made: Any, page: Any) -> None:
        usual(made, page)
        page.data_validation("J4:J99", {"validate": "list", "source": ["成功", "失敗"]})
        made.define_name("amounts", "=充值記錄!$F$4:$F$5")
        made.add_chartsheet("圖").set_chart(series(made))
        made.add_worksheet("Sheet2")

    def series(made: Any) -> Any:
        chart = made.add_chart({"type": "line"})
        chart.add_series({"values": "=充值記錄!$F$4:$F$5"})
        return chart

    yield Case("by_xlsxwriter_with_chart", of(validated), (T1, T2))

    def table(made: Any, page: Any) -> None:
        columns = [{"header": one} for one in ENGLISH]
        page.add_table("A1:J3", {"data": [order("T1"), order("T2")], "columns": columns})

    yield Case("by_xlsxwriter_table", of(table), (T1, T2))


def chance() -> Iterator[Case]:
    """A sound workbook with bytes changed at random: packed, and before it is packed."""
    good = sound()
    members = parts(("Sheet1", worksheet([ENGLISH, *(order(f"T{n}") for n in range(1, 6))])))
    for seed in range(40):
        draw = random.Random(seed)
        content = bytearray(good)
        for _ in range(draw.choice((1, 3, 10, 100))):
            content[draw.randrange(4, len(content))] = draw.randrange(256)
        yield Case(f"chance_packed_{seed}", bytes(content), is_anything=True)
    for seed in range(40):
        draw = random.Random(1_000 + seed)
        part = draw.choice([SHEET, SHEET, SHEET, "xl/workbook.xml", "xl/_rels/workbook.xml.rels", "xl/styles.xml"])
        content = bytearray(members[part])
        for _ in range(draw.choice((1, 2, 5))):
            at = draw.randrange(len(content))
            content[at : at + draw.randrange(3)] = draw.choice(
                [b"<", b">", b'"', b"9", b"/", b"&", b"c", b"", b"\xff", b"A1"]
            )
        yield Case(f"chance_part_{seed}", packed({**members, part: bytes(content)}), is_anything=True)


FAMILIES = (
    headers, surroundings, totals, sheets, dates, numbers, texts, addresses, markup, shared_strings, broken_markup, archives, bombs,
    odd_archives, other_files, written, chance,
)  # fmt: skip


@cache
def corpus() -> tuple[Case, ...]:
    """All cases."""
    return tuple(case for family in FAMILIES for case in family())
