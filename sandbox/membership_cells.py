"""What a person types for a value of the membership's reports: headers and words in two languages, days in six forms.

What belongs here: one value → one `Cell`, and one column → its header. What does not: which rows and sheets there are
(`sandbox.membership_workbooks`), which mess is in which workbook (`sandbox.membership_mess`), and XlsxWriter
(`sandbox.membership_sheets`).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal

from sandbox.membership import Report
from sandbox.membership_sheets import Cell

DATE_FORMS = (
    "date_cell",
    "serial_date",
    "text_date_slash",
    "text_date_dash",
    "text_date_chinese",
    "text_date_minguo",
)
MINGUO = 1911  # the year before the Republic of China's first
NOON = 12
THOUSAND = 1_000
WIDE = {code: code + 0xFEE0 for code in range(0x21, 0x7F)} | {0x20: 0x3000}  # what full-width keyboards type


@dataclass(frozen=True)
class Column:
    """A column of a report.

    Attributes:
        name: as the rows of `sandbox.membership` have it.
        english: its header.
        chinese: its header.
        is_a: what its values are.
        unit: that may stand behind the header.
    """

    name: str
    english: str
    chinese: str
    is_a: Literal["code", "text", "word", "time", "date", "money", "quantity", "count", "rate"]
    unit: str = ""

    @property
    def is_summed(self) -> bool:
        """Whether a row of totals has a sum of it."""
        return self.is_a in {"money", "quantity", "count"}


COLUMNS: Mapping[Report, tuple[Column, ...]] = {
    "top_up": (
        Column("top_up_id", "Order No.", "訂單編號", "code"),
        Column("user_id", "User ID", "用戶ID", "code"),
        Column("nickname", "Nickname", "暱稱", "text"),
        Column("channel_code", "Channel", "渠道代碼", "code"),
        Column("paid_at", "Top-up Time", "充值時間", "time"),
        Column("amount", "Amount", "充值金額", "money", "NT$"),
        Column("currency", "Currency", "幣別", "word"),
        Column("diamonds", "Diamonds", "鑽石數", "count", "顆"),
        Column("payment_method", "Payment Method", "支付方式", "word"),
        Column("status", "Status", "狀態", "word"),
    ),
    "pre_deduction": (
        Column("settlement_date", "Settlement Date", "結算日期", "date"),
        Column("channel_code", "Channel", "渠道代碼", "code"),
        Column("channel_name", "Channel Name", "渠道名稱", "text"),
        Column("channel_type", "Channel Type", "渠道類型", "word"),
        Column("top_up_count", "Top-ups", "充值筆數", "count", "筆"),
        Column("gross_amount", "Gross Amount", "充值總額", "money", "NT$"),
    ),
    "post_deduction": (
        Column("settlement_date", "Settlement Date", "結算日期", "date"),
        Column("channel_code", "Channel", "渠道代碼", "code"),
        Column("deduction_rate", "Deduction Rate", "扣除比例", "rate", "%"),
        Column("platform_fee", "Platform Fee", "平台手續費", "money", "NT$"),
        Column("tax", "Tax", "稅額", "money", "NT$"),
        Column("net_amount", "Net Amount", "實收金額", "money", "NT$"),
    ),
    "op_stats": (
        Column("activity_date", "Date", "日期", "date"),
        Column("user_id", "User ID", "用戶ID", "code"),
        Column("nickname", "Nickname", "暱稱", "text"),
        Column("registered_on", "Registered", "註冊日期", "date"),
        Column("membership_level", "Level", "會員等級", "word"),
        Column("logins", "Logins", "登入次數", "count", "次"),
        Column("watch_minutes", "Watch Minutes", "觀看分鐘", "quantity", "分"),
        Column("gifts_sent", "Gifts Sent", "送禮次數", "count", "次"),
        Column("topup_page_views", "Top-up Page Views", "儲值頁瀏覽", "count", "次"),
    ),
}
WORDS: Mapping[str, tuple[str, ...]] = {  # in English, in Chinese, and other ways
    "TWD": ("TWD", "新台幣", "NT$"),
    "succeeded": ("Success", "成功"),
    "failed": ("Failed", "失敗"),
    "refunded": ("Refunded", "已退款"),
    "apple_pay": ("Apple Pay", "Apple Pay"),
    "google_pay": ("Google Pay", "Google Pay"),
    "credit_card": ("Credit Card", "信用卡"),
    "convenience_store": ("Convenience Store", "超商"),
    "bank_transfer": ("Bank Transfer", "銀行轉帳"),
    "app_store": ("App Store", "應用商店", "app_store"),
    "web": ("Web", "網站", "web"),
    "carrier": ("Carrier", "電信", "carrier"),
    "bank": ("Bank", "銀行", "bank"),
    "basic": ("Basic", "一般"),
    "silver": ("Silver", "白銀"),
    "gold": ("Gold", "黃金"),
    "diamond": ("Diamond", "鑽石"),
}


@dataclass(frozen=True)
class Typist:
    """Who types a workbook.

    Attributes:
        report: that it is of.
        day: likewise.
        mess: kinds of `sandbox.membership_mess` that are in it.
    """

    report: Report
    day: date
    mess: Collection[str] = ()

    @property
    def language(self) -> int:
        """0: English, 1: Chinese."""
        return int("chinese_headers" in self.mess)

    @property
    def columns(self) -> Sequence[Column]:
        """The report's columns in the workbook's order."""
        columns = COLUMNS[self.report]
        return (columns[0], columns[-1], *columns[1:-1]) if "columns_moved" in self.mess else columns

    def header(self, column: Column) -> str:
        """The text above a column."""
        text = column.chinese if self.language else column.english
        if "header_line_break" in self.mess:
            text = f"{text[:2]}\n{text[2:]}" if self.language else text.replace(" ", "\n")
        if "header_units" in self.mess and column.unit:
            text += wide(f"({column.unit})") if self.language else f" ({column.unit})"
        return wide(text) if "header_full_width" in self.mess else text

    def cell(self, column: Column, value: Any, number: int) -> Cell | None:
        """What stands for a value in the row of that number."""
        if value is None:
            return Cell("-", kind="empty_mark") if "empty_mark" in self.mess and number % 2 else None
        return TYPED[column.is_a](self, column, value, number + COLUMNS[self.report].index(column))

    def word(self, text: str, number: int) -> str:
        """One of the workbook's words, in the workbook's language unless both are mixed."""
        words = WORDS[text]
        return words[number % len(words)] if "mixed_words" in self.mess else words[self.language]


def wide(text: str) -> str:
    """The text as a full-width keyboard types it."""
    return text.translate(WIDE)


def _code(typist: Typist, column: Column, value: str, turn: int) -> Cell:
    if "full_width_code" in typist.mess and turn % 5 == 0:
        return Cell(wide(value), kind="full_width_code")
    if "padded_text" in typist.mess and turn % 4 == 0:
        return Cell(f" {value}\u3000", kind="padded_text")
    if column.name == "user_id" and "numeric_id" in typist.mess and turn % 3:
        return Cell(int(value), "number", "numeric_id")
    return Cell(value)


def _text(_typist: Typist, _column: Column, value: str, _turn: int) -> Cell:
    return Cell(value, kind="formula_like_text" if value[0] in "=+@" else "")


def _word(typist: Typist, _column: Column, value: str, turn: int) -> Cell:
    return Cell(typist.word(value, turn))


def _moment(typist: Typist, _column: Column, value: date | datetime, turn: int) -> Cell:
    form = DATE_FORMS[(turn if "mixed_dates" in typist.mess else typist.day.day) % len(DATE_FORMS)]
    if form == "date_cell":
        return Cell(value, "time" if isinstance(value, datetime) else "day", form)
    if form == "serial_date":
        return Cell(value, "serial", form)
    clock = ""
    if isinstance(value, datetime):
        hour, rest = value.hour, f"{value:%M:%S}" if value.second else f"{value:%M}"
        clock = f" {hour:02d}:{rest}"
        if form == "text_date_slash":
            clock = f" {value:%H:%M:%S}"
        elif form == "text_date_chinese":
            clock = f" {'下午' if hour >= NOON else '上午'}{hour % NOON or NOON}:{rest}"
    day = {
        "text_date_slash": f"{value:%Y/%m/%d}",
        "text_date_dash": f"{value:%Y-%m-%d}",
        "text_date_chinese": f"{value.year}年{value.month}月{value.day}日",
        "text_date_minguo": f"{value.year - MINGUO}/{value:%m/%d}",
    }[form]
    return Cell(day + clock, kind=form)


def _number(typist: Typist, column: Column, value: Decimal, turn: int) -> Cell:
    """Money, or an amount of something else, with a point."""
    if "formula" in typist.mess and turn % 3 == 0:
        return Cell(value, "formula", "formula")
    plain = Cell(value, "money")
    if "mixed_amounts" not in typist.mess:
        return plain
    text, is_money = f"{value:,.2f}", column.is_a == "money"
    forms = (
        Cell(text, kind="thousands_text") if value >= THOUSAND else plain,
        Cell(wide(text), kind="full_width_digits"),
        Cell(f"NT$ {text.removesuffix('.00')}", kind="currency_text") if is_money else plain,
        Cell(value, "number"),
        plain,
    )
    return forms[turn % len(forms)]


def _count(typist: Typist, _column: Column, value: int, turn: int) -> Cell:
    if "mixed_amounts" in typist.mess and turn % 3 == 0:
        if value >= THOUSAND:
            return Cell(f"{value:,}", kind="thousands_text")
        return Cell(wide(str(value)), kind="full_width_digits")
    return Cell(value, "number")


def _rate(typist: Typist, _column: Column, value: Decimal, turn: int) -> Cell:
    match turn % 3 if "mixed_rates" in typist.mess else 0:
        case 1:
            return Cell(f"{value * 100:f}".rstrip("0").rstrip(".") + "%", kind="percent_text")
        case 2:
            return Cell(value, "percent", "percent_cell")
    return Cell(value, "number")


TYPED: Mapping[str, Callable[[Typist, Column, Any, int], Cell]] = {
    "code": _code,
    "text": _text,
    "word": _word,
    "time": _moment,
    "date": _moment,
    "money": _number,
    "quantity": _number,
    "count": _count,
    "rate": _rate,
}
