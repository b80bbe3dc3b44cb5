"""The generated workbooks, read by the layouts that are shipped: every row is what is true, or where it was planted."""

from dataclasses import asdict, fields
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from lakes import declared

from dlt_sources.membership import layouts
from dlt_sources.workbooks.package import RefusedError
from dlt_sources.workbooks.reader import Rows, read_workbook, split_rows
from sandbox import membership, membership_workbooks
from sandbox.membership_mess import BAD_CELLS, BAD_VALUES
from sandbox.membership_workbooks import Workbook

KEYS = {
    "top_up": ("top_up_id",),
    "pre_deduction": ("settlement_date", "channel_code"),
    "post_deduction": ("settlement_date", "channel_code"),
    "op_stats": ("activity_date", "user_id"),
}
Found = tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, str]]


def books(report: str) -> list[Workbook]:
    return [one for day in membership.DAYS for one in membership_workbooks.workbooks(day) if one.report == report]


@pytest.fixture(scope="module", params=membership.REPORTS)
def report(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture(scope="module")
def read(report: str, tmp_path_factory: pytest.TempPathFactory) -> Found:
    """Good rows, rejected rows, and why which workbooks were refused; copies left out."""
    path, layout, spec = (
        tmp_path_factory.mktemp("books") / "workbook.xlsx",
        layouts()[report],
        declared(report, "membership")[0],
    )
    sheets: list[Rows] = []
    refused: dict[str, str] = {}
    copies = membership_workbooks.planted()["duplicated"]
    for book in (book for book in books(report) if book.name not in copies):
        path.write_bytes(book.content)
        try:
            sheets += read_workbook(path, book.name, book.modified, spec, layout)[0]
        except RefusedError as error:
            refused[book.name] = error.reason
    good, rejected = split_rows(sheets, spec, layout, membership.ZONE.key, source="folder", run_id="run")
    return good.to_pylist(), rejected.to_pylist(), refused


def key_of(row: dict[str, Any], report: str) -> tuple[Any, ...]:
    return tuple(row[name] for name in KEYS[report])


def truth(report: membership.Report) -> dict[tuple[Any, ...], dict[str, Any]]:
    found = {}
    for day in membership.DAYS:
        for row in membership.world().rows(report, day):
            values = asdict(row)
            if "paid_at" in values:
                values["paid_at"] = values["paid_at"].astimezone(UTC).replace(tzinfo=None)
            found[key_of(values, report)] = values
    return found


def test_the_newest_version_of_each_row_is_the_truth(report: membership.Report, read: Found) -> None:
    rows, _, _ = read
    true = truth(report)
    names = [field.name for field in fields(type(membership.world().rows(report, date(2023, 3, 31))[0]))]
    newest: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in sorted(rows, key=lambda one: one["workbook_modified_at"]):
        newest[key_of(row, report)] = {name: row[name] for name in names}
    strange = newest.keys() - true.keys()
    assert {key: newest[key] for key in true} == true
    mine = {book.name for book in books(report)}
    planted = membership_workbooks.planted()
    expected = {
        place: (column, {"(50.00)": Decimal(-50)}.get(cell.value, cell.value))
        for kind, (column, cell) in BAD_VALUES.items()
        for place in planted.get(kind, ())
        if place.partition("#")[0] in mine
    }
    found = {
        f"{row['workbook']}#{row['sheet']}:{row['sheet_row']}": row for row in rows if key_of(row, report) in strange
    }
    assert {place: (column, found[place][column]) for place, (column, _) in expected.items()} == expected
    assert found.keys() == expected.keys()


def test_what_is_not_true_is_rejected_where_it_was_planted(report: membership.Report, read: Found) -> None:
    _, rejected, _ = read
    mine = {book.name for book in books(report)}
    planted = {
        place
        for kind in BAD_CELLS
        for place in membership_workbooks.planted().get(kind, ())
        if place.partition("#")[0] in mine
    }
    places = [f"{row['source_object'].removeprefix('folder/')}:{row['row_ordinal']}" for row in rejected]
    assert sorted(places) == sorted(planted)


def test_each_workbook_has_the_rows_that_it_says(report: membership.Report, read: Found) -> None:
    rows, rejected, refused = read
    copies = membership_workbooks.planted()["duplicated"]
    found = {book.name: [0, 0] for book in books(report) if book.name not in copies and book.name not in refused}
    for row in rows:
        found[row["workbook"]][0] += 1
    for row in rejected:
        found[row["source_object"].removeprefix("folder/").partition("#")[0]][1] += 1
    assert found == {book.name: [book.rows, len(book.bad)] for book in books(report) if book.name in found}


def test_workbooks_that_are_none_are_refused(report: membership.Report, read: Found) -> None:
    _, _, refused = read
    planted = membership_workbooks.planted()
    expected = dict.fromkeys(planted["empty_file"], "empty_file")
    expected |= dict.fromkeys(planted["unknown_layout"], "unknown_layout")
    mine = {book.name for book in books(report)}
    assert refused == {name: reason for name, reason in expected.items() if name in mine}


def test_names_tell_report_and_day() -> None:
    for day in membership.DAYS:
        for book in membership_workbooks.workbooks(day):
            told = {name: found for name, layout in layouts().items() if (found := layout.day_of(book.name))}
            assert told == ({book.report: book.day} if book.report else {})


def test_a_workbook_is_dated_after_its_day() -> None:
    for book in (book for day in membership.DAYS for book in membership_workbooks.workbooks(day)):
        assert book.modified.date() > book.day
        assert book.modified >= datetime(2023, 3, 5, 1, tzinfo=UTC)
