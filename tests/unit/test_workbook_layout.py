"""Layouts of workbooks: which file is whose, which row is the header, what is no layout."""

from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lakes import declared
from pydantic import ValidationError

from dlt_sources.membership import layouts
from dlt_sources.workbooks.layout import Layout, find_header, folded, header_key, read_layout
from dlt_sources.workbooks.package import column_name, column_number
from lake.errors import LakeError

REQUIRED = ("user_id", "amount")
LAYOUT = Layout.model_validate(
    {
        "report": "sample",
        "names": [r"(?:sample|樣本)[ _-]+(?P<day>\d{4}-?\d{2}-?\d{2})(?!\d)"],
        "sheets": ["sheet*", "工作表*"],
        "columns": {
            "user_id": {"headers": ["User ID", "用戶ID"], "code": True},
            "amount": {"headers": ["Amount", "金額"]},
            "note": {"headers": ["Note"]},
        },
    }
)


@pytest.mark.parametrize(
    ("name", "day"),
    [
        ("sample_2023-03-29.xlsx", date(2023, 3, 29)),
        ("SAMPLE-20230329 (1).XLSX", date(2023, 3, 29)),
        ("樣本_2023-03-29_final.xlsx", date(2023, 3, 29)),
        ("ｓａｍｐｌｅ＿２０２３０３２９.xlsx", date(2023, 3, 29)),
        ("sample_20230230.xlsx", None),
        ("sample_202303291.xlsx", None),
        ("sample_2023.xlsx", None),
        ("my_sample_2023-03-29.xlsx", None),
        ("other_2023-03-29.xlsx", None),
        ("", None),
    ],
)
def test_a_name_tells_the_day(name: str, day: date | None) -> None:
    assert LAYOUT.day_of(name) == day


@pytest.mark.parametrize(
    ("report", "name"),
    [
        ("top_up", "top_up_2023-03-29.xlsx"),
        ("top_up", "充值記錄_20230329.xlsx"),
        ("pre_deduction", "扣除前結算-2023-03-29.xlsx"),
        ("post_deduction", "post_deduction_20230329.xlsx"),
        ("op_stats", "營運數據_2023-03-29.xlsx"),
    ],
)
def test_each_report_has_one_layout_that_knows_its_workbooks(report: str, name: str) -> None:
    assert [one for one, layout in layouts().items() if layout.day_of(name)] == [report]


@pytest.mark.parametrize("report", ["top_up", "pre_deduction", "post_deduction", "op_stats"])
def test_a_layout_has_columns_of_its_table_and_all_that_are_required(report: str) -> None:
    spec, _ = declared(report, "membership")
    own = {"workbook", "workbook_modified_at", "sheet", "sheet_row", "extra_cells"}
    assert layouts()[report].columns.keys() == spec.columns.keys() - own


@pytest.mark.parametrize(
    "text",
    ["User ID", " user_id ", "USER-ID", "Ｕｓｅｒ　ＩＤ", "User ID (app)", "User\nID", "user id：", "[x] User ID"],
)
def test_spellings_of_one_header_are_one(text: str) -> None:
    assert header_key(text) == header_key("User ID") == "userid"


def test_a_header_that_is_all_in_brackets_is_what_they_hold() -> None:
    assert header_key("(Amount)") == "amount"
    assert header_key("—") == ""


@given(st.text())
def test_folding_twice_is_folding_once(text: str) -> None:
    assert folded(folded(text)) == folded(text)
    assert header_key(header_key(text)) == header_key(text)


def test_the_header_is_the_first_row_with_all_that_is_required() -> None:
    rows = [
        ["Report of", "Amount", None],
        ["x", None, None],
        ["Amount", "用戶ID", "Remark"],
        ["User ID", "Amount", None],
    ]
    row, header = find_header(rows, LAYOUT, REQUIRED)
    assert row == 2
    assert header.columns == {"amount": 0, "user_id": 1}
    assert header.others == {2: "Remark"}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "no row is its header"),
        ([[None, " "], ["a", "b"]], "no row is its header"),
        ([["Amount", "x"]], "no row is its header"),
        ([["a", "b"], ["Amount", "Note"]], "row 2, the likeliest header, has no column for user_id"),
        ([["User ID", "Amount", "金額"]], "row 1: two columns are amount"),
    ],
)
def test_what_is_no_header_is_said(rows: list[list[str | None]], message: str) -> None:
    with pytest.raises(LakeError, match=message):
        find_header(rows, LAYOUT, REQUIRED)


def test_long_headers_are_cut() -> None:
    assert LAYOUT.header(["Amount", "x" * 5_000]).others == {1: "x" * 100}


@pytest.mark.parametrize(
    ("name", "is_data"), [("Sheet1", True), ("ＳＨＥＥＴ２", True), ("工作表1", True), ("說明", False)]
)
def test_sheets_that_must_hold_rows_are_told_by_their_names(name: str, *, is_data: bool) -> None:
    assert LAYOUT.is_data_sheet(name) is is_data


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"names": ["sample"]}, "no group `day`"),
        ({"names": []}, "at least 1"),
        ({"colour": "red"}, "Extra inputs"),
        ({"columns": {"a": {"headers": []}}}, "at least 1"),
        (
            {"columns": {"a": {"headers": ["User ID"]}, "b": {"headers": ["user-id"]}}},
            "two columns have the header userid",
        ),
    ],
)
def test_what_is_no_layout_is_refused(changed: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Layout.model_validate({**LAYOUT.model_dump(), **changed})


def test_a_file_that_declares_no_layout_is_named(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("report: x\nnames: ['(?P<day>x)']\nsheets: []\n")
    with pytest.raises(LakeError, match=r"^bad\.yaml: columns: Field required"):
        read_layout(path)


def test_a_changed_layout_has_another_fingerprint() -> None:
    assert LAYOUT.fingerprint != LAYOUT.model_copy(update={"minguo": True}).fingerprint
    assert LAYOUT.fingerprint == Layout.model_validate(LAYOUT.model_dump()).fingerprint


@given(st.integers(0, 16_383))
def test_letters_of_a_column_are_its_number(number: int) -> None:
    assert column_number(column_name(number).encode()) == number


def test_columns_are_lettered_as_excel_does() -> None:
    assert [column_name(number) for number in (0, 25, 26, 701, 702, 16_383)] == ["A", "Z", "AA", "ZZ", "AAA", "XFD"]
