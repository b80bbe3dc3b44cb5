"""Which mess is in which of the membership's workbooks, by the day of March.

What belongs here: tables. What does not: what each kind looks like (`sandbox.membership_cells`,
`sandbox.membership_workbooks`).

The last three days have some of nearly everything: a demo that loads one day after another then shows it.
"""

from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Any

from sandbox.membership import Report
from sandbox.membership_sheets import Cell

EVERY, ODD, EVEN = range(4, 32), range(5, 32, 2), range(4, 32, 2)

MESS: Mapping[Report, Mapping[str, Collection[int]]] = {  # report → kind → days
    "top_up": {
        "chinese_headers": (4, 5, 8, 9, 12, 13, 16, 17, 20, 21, 24, 25, 28, 29, 31),
        "title_rows": ODD,
        "merged_title": range(5, 32, 4),
        "blank_above": (6, 12, 18, 24, 30, 31),
        "column_b": (6, 12, 18, 24, 30),
        "several_sheets": range(7, 32, 8),
        "named_halves": (15, 31),
        "merged_channel": (6, 14, 22, 30),
        "hidden_sheet": range(5, 32, 8),
        "very_hidden_sheet": (17, 31),
        "notes_sheet": range(4, 32, 5),
        "blank_sheet": range(6, 32, 8),
        "date_1904": (16, 30),
        "extra_column": range(8, 32, 7),
        "columns_moved": (10, 20, 30),
        "header_line_break": range(7, 32, 6),
        "header_units": range(5, 32, 3),
        "header_full_width": (12, 24, 30),
        "total_rows": (*range(4, 29, 3), 29, 31),
        "blank_rows": range(5, 32, 6),
        "repeated_header": (9, 19, 29),
        "mixed_dates": (*EVEN, 29, 31),
        "mixed_amounts": (*range(4, 29, 3), 29, 30, 31),
        "formula": range(5, 32, 4),
        "numeric_id": EVEN,
        "full_width_code": range(7, 32, 6),
        "padded_text": (11, 22, 30),
        "mixed_words": range(8, 32, 7),
        "empty_mark": ODD,
    },
    "pre_deduction": {
        "chinese_headers": ODD,
        "title_rows": EVEN,
        "merged_title": (8, 16, 24, 30),
        "column_b": (5, 17, 29),
        "merged_date": range(6, 32, 8),
        "hidden_sheet": (10, 31),
        "notes_sheet": (7, 21, 30),
        "header_line_break": (9, 31),
        "header_units": range(4, 32, 5),
        "total_rows": ODD,
        "mixed_dates": range(4, 32, 5),
        "mixed_amounts": range(6, 32, 5),
        "formula": range(8, 32, 7),
        "mixed_words": (12, 29),
        "date_1904": (14, 29),
    },
    "post_deduction": {
        "chinese_headers": EVEN,
        "title_rows": range(4, 32, 3),
        "merged_title": range(4, 32, 9),
        "blank_above": (9, 29),
        "column_b": (10, 20, 31),
        "merged_date": (13, 29),
        "hidden_sheet": (15, 30),
        "blank_sheet": (12, 31),
        "header_full_width": (11, 29),
        "header_units": range(6, 32, 6),
        "total_rows": EVEN,
        "extra_column": (18, 30),
        "mixed_dates": range(5, 32, 6),
        "mixed_amounts": range(6, 32, 4),
        "mixed_rates": EVERY,
        "formula": ODD,
    },
    "op_stats": {
        "chinese_headers": (*range(6, 29, 2), 29, 31),
        "title_rows": range(5, 32, 3),
        "merged_title": range(5, 32, 6),
        "column_b": (9, 27, 30),
        "several_sheets": (10, 22, 30),
        "hidden_sheet": (8, 29),
        "notes_sheet": (16, 31),
        "date_1904": (13, 31),
        "extra_column": (9, 31),
        "columns_moved": (11, 31),
        "header_line_break": (7, 30),
        "header_units": range(4, 32, 3),
        "total_rows": range(6, 32, 5),
        "blank_rows": range(7, 32, 6),
        "repeated_header": (12, 24, 31),
        "mixed_dates": (*EVEN, 31),
        "mixed_amounts": range(7, 32, 4),
        "numeric_id": ODD,
        "full_width_code": (14, 30),
        "mixed_words": (5, 15, 30),
        "empty_mark": EVEN,
    },
}

REPEATED = (9, 20, 29, 31)  # days whose top-ups begin with two of the day before
CORRECTED: Mapping[tuple[Report, int], tuple[str, Any]] = {  # what the first workbook has wrong, in its fourth row
    ("top_up", 10): ("amount", Decimal("9990.00")),
    ("op_stats", 17): ("membership_level", "diamond"),
    ("pre_deduction", 26): ("top_up_count", 99),
    ("post_deduction", 29): ("net_amount", Decimal("0.01")),
    ("top_up", 30): ("amount", Decimal("9990.00")),
}
DUPLICATED: Collection[tuple[Report, int]] = (("pre_deduction", 9), ("top_up", 20), ("op_stats", 29), ("top_up", 31))
EMPTY: Collection[tuple[Report, int]] = (("op_stats", 14), ("post_deduction", 31))
UNKNOWN_LAYOUT: Collection[tuple[Report, int]] = (("pre_deduction", 21), ("top_up", 30))
UNKNOWN_NAMES: Mapping[int, str] = {30: "budget 2023.xlsx"}

BAD_CELLS: Mapping[str, tuple[str, Cell | None]] = {  # kind → column, and what stands there
    "bad_amount": ("amount", Cell("測試")),
    "missing_user": ("user_id", None),
    "bad_date": ("paid_at", Cell("不明")),
    "bad_settlement_date": ("settlement_date", Cell("不明")),
    "error_amount": ("amount", Cell(None, "error")),
    "error_net": ("net_amount", Cell(None, "error")),
    "footnote": ("", Cell("製表：王小明")),  # noqa: RUF001 - as it is typed; alone in its row
}
BAD_VALUES: Mapping[str, tuple[str, Cell | None]] = {  # likewise, but the cell can be read: what it says cannot be
    "unknown_status": ("status", Cell("處理中")),
    "unknown_level": ("membership_level", Cell("白金")),
    "negative_fee": ("platform_fee", Cell("(50.00)", kind="parentheses")),
}
BAD_ROWS: Mapping[tuple[Report, int], tuple[str, ...]] = {
    ("top_up", 8): ("bad_amount",),
    ("op_stats", 12): ("unknown_level",),
    ("top_up", 15): ("missing_user",),
    ("post_deduction", 16): ("negative_fee",),
    ("post_deduction", 18): ("error_net",),
    ("top_up", 22): ("bad_date", "unknown_status"),
    ("top_up", 29): ("bad_amount", "error_amount"),
    ("op_stats", 30): ("missing_user",),
    ("top_up", 30): ("missing_user", "bad_date"),
    ("pre_deduction", 30): ("bad_settlement_date",),
    ("post_deduction", 30): ("negative_fee",),
    ("top_up", 31): ("error_amount", "unknown_status", "footnote"),
    ("post_deduction", 31): ("error_net",),
    ("op_stats", 31): ("unknown_level",),
}


def mess(report: Report, day: int) -> frozenset[str]:
    """The kinds of `MESS` in the report's workbook of a day of March."""
    return frozenset(kind for kind, days in MESS[report].items() if day in days)
