"""What the text of cells means: each spelling of a number or a time is that number or time, and everything else none."""

# ruff: noqa: DTZ001 - bronze holds UTC without a zone
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlt_sources.workbooks.layout import Layout
from dlt_sources.workbooks.values import IS_1904, query
from lake.quarantine import split
from lake.spec import Column, TableSpec

MONEY = "decimal(28,9)"
TAIPEI = ZoneInfo("Asia/Taipei")
NINE = Decimal(1).scaleb(-9)
few = settings(max_examples=4, deadline=None)  # each example is a list, and one query


def meanings(
    texts: Sequence[str | None],
    kind: str,
    *,
    is_1904: bool = False,
    code: bool = False,
    domain_zone: str = "Asia/Taipei",
    **how: Any,
) -> list[Any]:
    """What texts mean in a column of that type; the text itself, in a list, if it is rejected."""
    import duckdb

    spec = TableSpec(domain="d", name="t", description="", columns={"v": Column(type=kind)})
    layout = Layout.model_validate(
        {
            "report": "t",
            "names": ["(?P<day>x)"],
            "sheets": [],
            "columns": {"v": {"headers": ["v"], "code": code, "words": how.pop("words", {})}},
            "empty": ["-", "無"],
            "currencies": ["NT$", "$", "元", "新台幣"],
            "minguo": True,
            **how,
        }
    )
    cells = pa.table({"v": pa.array(texts, pa.string()), IS_1904: pa.array([is_1904] * len(texts))})
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("cells", cells)
        typed = connection.sql(query(spec, layout, domain_zone, "cells")).to_arrow_table()
    good, rejected = split(typed, spec, source_object="s", run_id="r")
    broken = set(rejected.column("row_ordinal").to_pylist())
    values = iter(good.column("v").to_pylist())
    return [[text] if row in broken else next(values) for row, text in enumerate(texts, 1)]


def wide(text: str) -> str:
    return "".join(chr(ord(one) + 0xFEE0) if "!" <= one <= "~" else one for one in text)


decimals = st.decimals(min_value=-(10**15), max_value=10**15, places=4, allow_nan=False)


@few
@given(st.lists(decimals, min_size=1, max_size=40))
def test_each_spelling_of_a_number_is_that_number(numbers: list[Decimal]) -> None:
    for spelled in (
        "{:f}", "{:,f}", " {:f} ", "{:,f}元", "{:,f} 元", "NT$ {:,f}", "新台幣{:f}", "NT${:f}元", "{:f}0",
    ):  # fmt: skip
        assert meanings([spelled.format(one) for one in numbers], MONEY) == numbers, spelled
    assert meanings([wide(f"{one:,f}") for one in numbers], MONEY) == numbers
    assert meanings([f"({abs(one):,f})" for one in numbers], MONEY) == [-abs(one) for one in numbers]
    assert meanings([f"{one:f}%" for one in numbers], MONEY) == [one / 100 for one in numbers]


@few
@given(st.lists(st.floats(min_value=-1e12, max_value=1e12), min_size=1, max_size=40))
def test_what_a_formula_leaves_is_rounded_to_nine_decimals(numbers: list[float]) -> None:
    wanted = [Decimal(f"{one:.17f}").quantize(NINE, ROUND_HALF_UP) for one in numbers]
    assert meanings([f"{one:.17f}" for one in numbers], MONEY) == wanted


@few
@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=40))
def test_whole_numbers_are_whole_and_exact(numbers: list[int]) -> None:
    assert meanings([str(one) for one in numbers], "long") == numbers
    assert meanings([f"{one:,}.0" for one in numbers], "long") == numbers
    halves = [f"{one}.5" for one in numbers]
    assert meanings(halves, "long") == [[one] for one in halves]


NO_NUMBERS = [
    "1,23", "12,34", "1,2345", "1,,234", "1,234,", ",123", "1.234,56", "1 234", "1_000", "0x10", "--5", "+-5", "5-", "(-5)", "(5", "5)",
    "((5))", "US$5", "5 EUR", "¥5", "%", "%5", "5%%", "NT$", "元", "五", "①", "٣", "NaN", "inf", "Infinity", "-inf", "true", "1e", "e5",
    "1e999", "=1+1", "1/2", "1..2", "1.2.3", "12345678901234567890123", "?5", "'5", "NULL",
]  # fmt: skip


@pytest.mark.parametrize("kind", [MONEY, "long", "double"])
def test_what_is_no_number_is_rejected(kind: str) -> None:
    assert meanings(NO_NUMBERS, kind) == [[one] for one in NO_NUMBERS]


@few
@given(st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=60))
def test_any_text_is_a_value_or_rejected_and_never_nothing(texts: list[str]) -> None:
    blank = " \u3000\u00a0\t\r\n"
    for kind in (MONEY, "long", "date", "timestamp"):
        for text, value in zip(texts, meanings(texts, kind), strict=True):
            is_empty = text.strip(blank) in {"", "-", "無", "－", "–", "−"}
            assert (value is None) == is_empty, (kind, text)


def test_what_stands_for_nothing_is_nothing() -> None:
    nothing = [None, "", "  ", "\u3000", "-", "無", "\t\n"]
    for kind in (MONEY, "long", "date", "timestamp", "string"):
        assert meanings(nothing, kind) == [None] * len(nothing)


moments = st.datetimes(datetime(1928, 1, 1), datetime(2173, 1, 1)).map(
    lambda one: one.replace(microsecond=one.microsecond // 1000 * 1000)
)


def utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=TAIPEI).astimezone(UTC).replace(tzinfo=None)


@few
@given(st.lists(moments, min_size=1, max_size=40), st.booleans())
def test_a_serial_number_is_its_time_in_both_calendars(times: list[datetime], is_1904: bool) -> None:
    times = [one for one in times if one >= datetime(1932, 1, 1)] or [datetime(2023, 3, 29)]
    first = datetime(1904, 1, 1) if is_1904 else datetime(1899, 12, 30)
    serials = [f"{(one - first) / timedelta(days=1):.10f}" for one in times]
    assert meanings(serials, "timestamp", is_1904=is_1904, domain_zone="UTC") == times
    days = [str((one - first).days) for one in times]
    assert meanings(days, "date", is_1904=is_1904) == [one.date() for one in times]


@few
@given(st.lists(st.datetimes(datetime(1950, 1, 1), datetime(2199, 1, 1)), min_size=1, max_size=40))
def test_each_spelling_of_a_time_is_that_time(times: list[datetime]) -> None:
    times = [one.replace(microsecond=0) for one in times]
    wanted = [utc(one) for one in times]
    for spelled in (
        "{0:%Y-%m-%d %H:%M:%S}", "{0:%Y/%m/%d %H:%M:%S}", "{0:%Y.%m.%d %H:%M:%S}", "{0:%Y%m%d %H:%M:%S}", "{0:%Y-%m-%dT%H:%M:%S}",
        "{0.year}/{0.month}/{0.day} {0:%H:%M:%S}", "{0.year}年{0.month}月{0.day}日 {0:%H:%M:%S}", "{0:%Y-%m-%d %I:%M:%S %p}",
        "{0:%Y/%m/%d %p %I:%M:%S}", "{0:%Y-%m-%d %H:%M:%S}.000",
    ):  # fmt: skip
        assert meanings([spelled.format(one) for one in times], "timestamp") == wanted, spelled
    chinese = [
        f"{one.year}年{one.month}月{one.day}日 {'下午' if one.hour >= 12 else '上午'}{one:%I:%M:%S}" for one in times
    ]
    assert meanings(chinese, "timestamp") == wanted
    assert (
        meanings(
            [f"{one.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" for one in (w.replace(tzinfo=UTC) for w in wanted)],
            "timestamp",
        )
        == wanted
    )
    recent = [one for one in times if one.year > 2011]
    minguo = [f"民國{one.year - 1911}年{one.month}月{one.day}日 {one:%H:%M:%S}" for one in recent]
    assert meanings(minguo, "timestamp") == [utc(one) for one in recent]


@few
@given(st.lists(st.dates(date(1950, 1, 1), date(2199, 1, 1)), min_size=1, max_size=40))
def test_a_day_is_never_read_with_the_month_before_the_year(days: list[date]) -> None:
    for spelled in ("%m/%d/%Y", "%d/%m/%Y", "%d-%m-%Y", "%d.%m.%Y", "%m/%d/%y", "%y/%m/%d", "%b %d %Y"):
        texts = [f"{one:{spelled}}" for one in days]
        assert meanings(texts, "date") == [[one] for one in texts]


NO_TIMES = [
    "2023", "59", "0.5", "-1", "1e5", "230329", "2023111", "1120329", "12345678", "202303291504", "23/3/29", "99/3/29", "2023-02-29",
    "2023-13-01", "2023-00-10", "2023-03-32", "2023-03-29 25:00", "2023-03-29 10:60", "2023/3/29 下午13:00", "2023/3/29 晚上12:00", "12:00",
    "infinity", "-infinity", "epoch", "now", "today", "2023-03-29 (BC)", "294247-01-10", "0023-03-29", "1899-12-31", "2200-01-01",
    "2023-03-29 12:00 America/New_York", "2023-03", "T2023-03-29", "昨天", "2023-03-29~30", "+2023-03-29", "10000-01-01",
]  # fmt: skip


@pytest.mark.parametrize("kind", ["date", "timestamp"])
def test_what_is_no_time_is_rejected(kind: str) -> None:
    assert meanings(NO_TIMES, kind) == [[one] for one in NO_TIMES]


def test_a_time_is_no_day() -> None:
    times = ["2023-03-29 10:00", "45014.5", "2023-03-29T00:00:00Z"]
    assert meanings(times, "date") == [[one] for one in times]


def test_minguo_years_are_read_only_where_the_layout_says_so() -> None:
    assert meanings(["112/3/29"], "date") == [date(2023, 3, 29)]
    assert meanings(["112/3/29"], "date", minguo=False) == [["112/3/29"]]


def test_an_own_zone_of_a_layout_comes_before_the_domains() -> None:
    noon = ["2023-07-01 12:00"]
    assert meanings(noon, "timestamp", domain_zone="Asia/Taipei") == [datetime(2023, 7, 1, 4)]
    assert meanings(noon, "timestamp", domain_zone="Asia/Taipei", zone="Europe/Paris") == [datetime(2023, 7, 1, 10)]


def test_words_are_the_tables_and_unknown_ones_stay() -> None:
    words = {"succeeded": ["Success", "成功"], "failed": ["Fail"]}
    texts = ["success", " 成功\u3000", "ＦＡＩＬ", "Succeeded", "處理中", "Success!", None]
    assert meanings(texts, "string", words=words) == [
        "succeeded",
        "succeeded",
        "failed",
        "succeeded",
        "處理中",
        "Success!",
        None,
    ]


def test_only_identifiers_are_folded() -> None:
    assert meanings(["Ｕ－１２　", "００1"], "string", code=True) == ["U-12", "001"]
    assert meanings(["Ｕ－１２　"], "string") == ["Ｕ－１２"]


@few
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20), min_size=1, max_size=60))
def test_text_stays_as_it_is_but_for_spaces_around_it(texts: list[str]) -> None:
    blank = " \u3000\u00a0\t\r\n"
    assert meanings(texts, "string") == [
        None if (one := text.strip(blank)) in {"", "-", "無"} else one for text in texts
    ]


def test_rows_keep_their_order_however_many_there_are() -> None:
    texts = [str(number) if number % 3 else f"NT$ {number:,}" for number in range(150_000)]
    assert meanings(texts, "long") == list(range(150_000))
