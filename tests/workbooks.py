"""Small workbooks for tests, written with XlsxWriter.

What belongs here: a workbook of some rows. What does not: mess on purpose (`tests.hostile`), and a whole world of them
(`sandbox.membership`).
"""

import io
from collections.abc import Sequence
from typing import Any

import xlsxwriter

TOP_UP = (
    "Order No.",
    "User ID",
    "Nickname",
    "Channel",
    "Top-up Time",
    "Amount",
    "Currency",
    "Diamonds",
    "Payment Method",
    "Status",
)


def workbook(*rows: Sequence[Any], sheet: str = "Sheet1", **options: Any) -> bytes:
    """A workbook of one sheet; the rows begin in its first one."""
    return workbook_of({sheet: rows}, **options)


def workbook_of(sheets: dict[str, Sequence[Sequence[Any]]], **options: Any) -> bytes:
    """A workbook of several sheets."""
    content = io.BytesIO()
    with xlsxwriter.Workbook(content, {"in_memory": True, **options}) as book:
        for name, rows in sheets.items():
            sheet = book.add_worksheet(name)
            for number, row in enumerate(rows):
                sheet.write_row(number, 0, row)
    return content.getvalue()


def top_up(number: str, **changes: Any) -> list[Any]:
    """A row of a top-up report, in the order of `TOP_UP`."""
    usual = {
        "number": number,
        "user": "U1",
        "nickname": "Mei",
        "channel": "web",
        "paid_at": "2023-03-30 10:00:00",
        "amount": 100,
        "currency": "TWD",
        "diamonds": 10,
        "method": "Credit Card",
        "status": "Success",
    }
    return list({**usual, **changes}.values())
