"""A day of workbooks from a folder to bronze: which are read, what of them is kept, and what a repeat changes."""

import os
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from lakes import declared

from dlt_sources import membership
from lake.accounting import LoadResult
from lake.audit import audit
from lake.catalog import open_catalog
from lake.errors import LakeError
from lake.load import load
from lake.settings import Settings
from sandbox import membership_workbooks
from sandbox.drive import DriveStandIn
from sandbox.membership import DAYS
from tests.workbooks import TOP_UP, top_up, workbook, workbook_of

FIRST, DAY = date(2023, 3, 29), date(2023, 3, 30)


class Membership:
    """A folder, and a lake that loads it."""

    def __init__(self, home: Path, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.settings = Settings(home=home, membership_folder=str(folder))

    def drop(self, name: str, content: bytes, at: datetime | None = None) -> Path:
        path = self.folder / name
        path.write_bytes(content)
        if at:
            os.utime(path, (at.timestamp(), at.timestamp()))
        return path

    def load(self, day: date = DAY, table: str = "top_up") -> LoadResult:
        spec, factory = declared(table, "membership")
        return load(spec, factory, self.settings, partition=day, run_id="run")

    def rows(self, table: str = "top_up") -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (
            open_catalog(self.settings).load_table(f"bronze.membership_{table}").scan().to_arrow().to_pylist()
        )
        return found

    def ids(self) -> list[str]:
        return sorted(row["top_up_id"] for row in self.rows())


@pytest.fixture
def lake(tmp_path: Path) -> Membership:
    return Membership(tmp_path / "home", tmp_path / "drop")


def test_a_row_is_in_the_tables_types_and_says_where_it_is_from(lake: Membership) -> None:
    lake.drop(
        "充值記錄_20230330 (final).xlsx",
        workbook(
            ["充值記錄 2023/03/30"],
            [],
            [
                "訂單編號",
                "用戶ID",
                "暱稱",
                "渠道代碼",
                "充值時間",
                "充值金額 (NT$)",
                "幣別",
                "鑽石數",
                "支付方式",
                "狀態",
                "備註",
            ],
            [
                "Ｔ０１",
                7,
                "小美",
                "web",
                "2023年3月30日 下午3:04",
                "NT$ 1,234.50",
                "新台幣",
                "１２",
                "信用卡",
                "成功",
                "VIP",
            ],
            ["合計", "", "", "", "", 1234.5],
            sheet="上午",
        ),
        datetime(2023, 3, 31, 1, tzinfo=UTC),
    )
    result = lake.load()
    (row,) = lake.rows()
    assert row == {
        "top_up_id": "T01",
        "user_id": "7",
        "nickname": "小美",
        "channel_code": "web",
        "paid_at": datetime(2023, 3, 30, 7, 4),  # noqa: DTZ001 - UTC, as bronze has it
        "amount": Decimal("1234.5"),
        "currency": "TWD",
        "diamonds": 12,
        "payment_method": "credit_card",
        "status": "succeeded",
        "workbook": "充值記錄_20230330 (final).xlsx",
        "workbook_modified_at": datetime(2023, 3, 31, 1),  # noqa: DTZ001
        "sheet": "上午",
        "sheet_row": 4,
        "extra_cells": '{"備註":"VIP"}',
        "source_day": DAY,
    }
    assert result.account.rows_read == 1, "a row of totals is no row"
    assert [note.rpartition(": ")[2] for note in result.notes] == ["1 rows of totals, left out", "備註"]
    assert result.new_columns == ("備註",)


def test_a_day_has_its_own_workbooks_and_the_first_one_all_before(lake: Membership) -> None:
    for day in (1, 28, 29, 30, 31):
        lake.drop(f"top_up_2023-03-{day:02}.xlsx", workbook(TOP_UP, top_up(f"T{day}")))
    lake.drop("op_stats_2023-03-30.xlsx", workbook(["Date", "User ID"], ["2023-03-30", "U1"]))
    assert lake.load(FIRST).account.rows_loaded == 3
    assert lake.load(DAY).account.rows_loaded == 1
    assert {row["top_up_id"]: row["source_day"] for row in lake.rows()} == {
        "T1": FIRST,
        "T28": FIRST,
        "T29": FIRST,
        "T30": DAY,
    }


def test_a_day_that_is_loaded_again_is_the_same(lake: Membership) -> None:
    lake.drop("top_up_2023-03-30.xlsx", workbook(TOP_UP, top_up("T1"), top_up("T2", amount="much")))
    first, again = lake.load(), lake.load()
    assert (first.changed, again.changed) == (True, False)
    assert lake.ids() == ["T1"]
    assert audit(declared("top_up", "membership")[0], ["2023-03-30"], lake.settings)[0].unaccounted == 0


def test_a_workbook_that_comes_late_or_is_corrected_reopens_its_day(lake: Membership) -> None:
    lake.drop("top_up_2023-03-30.xlsx", workbook(TOP_UP, top_up("T1"), top_up("T2")))
    lake.load()
    lake.drop("top_up_2023-03-30_late.xlsx", workbook(TOP_UP, top_up("T3")))
    assert lake.load().changed
    assert lake.ids() == ["T1", "T2", "T3"]
    lake.drop("top_up_2023-03-30.xlsx", workbook(TOP_UP, top_up("T1")))
    assert lake.load().changed
    assert lake.ids() == ["T1", "T3"], "what the corrected workbook has no more is gone"


def test_the_same_file_twice_counts_once(lake: Membership) -> None:
    content = workbook(TOP_UP, top_up("T1"))
    lake.drop("top_up_2023-03-30.xlsx", content, datetime(2023, 3, 31, 1, tzinfo=UTC))
    lake.drop("top_up_2023-03-30 (1).xlsx", content, datetime(2023, 3, 31, 2, tzinfo=UTC))
    result = lake.load()
    assert (result.account.rows_read, result.account.rows_loaded) == (1, 1)
    assert result.notes == ("top_up_2023-03-30.xlsx: the same file as top_up_2023-03-30 (1).xlsx, left out",)
    assert [row["workbook"] for row in lake.rows()] == ["top_up_2023-03-30 (1).xlsx"]


def test_a_correction_that_is_taken_back_is_the_newest(lake: Membership) -> None:
    """The fault: the content that came for the second time was left out as a copy of the first."""
    first, second = (workbook(TOP_UP, top_up("T1", amount=amount)) for amount in (100, 200))
    for hour, (suffix, content) in enumerate((("", first), ("_v2", second), ("_v3", first)), 1):
        lake.drop(f"top_up_2023-03-30{suffix}.xlsx", content, datetime(2023, 3, 31, hour, tzinfo=UTC))
    lake.load()
    newest = max(lake.rows(), key=lambda row: row["workbook_modified_at"])
    assert (newest["amount"], newest["workbook"]) == (Decimal(100), "top_up_2023-03-30_v3.xlsx")


def test_a_bad_row_is_in_quarantine_with_its_place(lake: Membership) -> None:
    rows = [top_up("T1"), top_up("T2", paid_at="不明"), top_up("", user="U2"), top_up("T4", amount="測試")]
    lake.drop(
        "top_up_2023-03-30.xlsx",
        workbook_of({"Sheet1": [TOP_UP, *rows], "下午": [[], TOP_UP, top_up("T5", diamonds="1.5")]}),
    )
    account = lake.load().account
    assert (account.rows_read, account.rows_loaded, account.rows_rejected) == (5, 1, 4)
    url = f"{lake.folder}/top_up_2023-03-30.xlsx"
    found = {
        (r["source_object"], r["row_ordinal"]): (r["reject_reason"], r["raw_row"])
        for r in lake.rows("top_up__rejected")
    }
    assert {place: reason for place, (reason, _) in found.items()} == {
        (f"{url}#Sheet1", 3): "invalid_paid_at",
        (f"{url}#Sheet1", 4): "missing_top_up_id",
        (f"{url}#Sheet1", 5): "invalid_amount",
        (f"{url}#下午", 3): "invalid_diamonds",
    }
    assert '"paid_at":"不明"' in found[f"{url}#Sheet1", 3][1], "as the workbook has it"


def _drop_good(lake: Membership) -> None:
    lake.drop("top_up_2023-03-30.xlsx", workbook(TOP_UP, top_up("T1")))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty_file"),
        (b"PK\x03\x04 and no more", "corrupt_workbook"),
        (b"Order No.,User ID\nT1,U1\n", "not_a_workbook"),
        (workbook(["Nothing", "of", "the kind"], [1, 2, 3]), "unknown_layout"),
        (workbook_of({"Sheet1": [TOP_UP, top_up("T2")], "下午": [["lost"], ["T3", "U1"]]}), "unknown_layout"),
    ],
)
def test_a_workbook_that_is_refused_is_moved_aside_and_the_others_are_loaded(
    lake: Membership, content: bytes, reason: str
) -> None:
    """Half of a workbook is never loaded; a repeat finds it aside, and says the same."""
    _drop_good(lake)
    lake.drop("top_up_2023-03-30_b.xlsx", content)
    account = lake.load().account
    assert (account.rows_read, account.rows_loaded, account.rows_rejected) == (2, 1, 1)
    assert lake.ids() == ["T1"]
    (refused,) = lake.rows("top_up__rejected")
    assert (refused["reject_reason"], refused["row_ordinal"]) == (reason, 0)
    assert refused["source_object"] == f"{lake.folder}/top_up_2023-03-30_b.xlsx"
    assert (lake.folder / "aside/top_up_2023-03-30_b.xlsx").read_bytes() == content
    assert not (lake.folder / "top_up_2023-03-30_b.xlsx").exists()
    again = lake.load()
    assert not again.changed
    assert again.account.rows_rejected == 1
    (told,) = again.refused
    assert told.startswith("top_up_2023-03-30_b.xlsx: ")
    assert told.endswith("; lies aside")


def test_a_day_of_nothing_but_refused_workbooks_fails_with_the_reason(lake: Membership) -> None:
    _drop_good(lake)
    lake.load()
    lake.drop("top_up_2023-03-30.xlsx", b"")
    with pytest.raises(LakeError, match=r"top_up_2023-03-30.xlsx: the file is empty \(0 bytes\); the table is left"):
        lake.load()
    assert lake.ids() == ["T1"]


def test_a_day_without_a_workbook_fails_until_it_comes(lake: Membership) -> None:
    with pytest.raises(LakeError, match=r"drop: no workbook of top_up for 2023-03-30 yet; it is loaded when it comes"):
        lake.load()
    lake.drop("top_up_2023-03-30.xlsx", workbook(TOP_UP))
    assert lake.load().account.rows_read == 0, "a header without rows: nobody topped up"


def test_another_layout_or_zone_reads_the_same_workbook_anew(lake: Membership) -> None:
    _drop_good(lake)
    lake.load()
    lake.settings = lake.settings.model_copy(update={"membership_zone": "UTC"})
    assert lake.load().changed
    (row,) = lake.rows()
    assert row["paid_at"] == datetime(2023, 3, 30, 10)  # noqa: DTZ001 - UTC


def test_the_folder_is_listed_and_what_is_of_no_report_moved_aside(lake: Membership) -> None:
    for name in ("top_up_2023-03-30.xlsx", "top_up_2023-02-30.xlsx", "budget 2023.xlsx", "充值記錄-2023-03-31.xlsx"):
        lake.drop(name, b"x", datetime(2023, 3, 31, tzinfo=UTC))
    spec = declared("workbooks", "membership")[0]
    result = load(spec, membership.workbooks, lake.settings)
    found = {row["name"]: (row["report"], row["report_day"], row["bytes"]) for row in lake.rows("workbooks")}
    assert found == {
        "budget 2023.xlsx": (None, None, 1),
        "top_up_2023-02-30.xlsx": (None, None, 1),
        "top_up_2023-03-30.xlsx": ("top_up", DAY, 1),
        "充值記錄-2023-03-31.xlsx": ("top_up", date(2023, 3, 31), 1),
    }
    assert sorted(path.name for path in (lake.folder / "aside").iterdir()) == [
        "budget 2023.xlsx",
        "top_up_2023-02-30.xlsx",
    ]
    assert result.refused == (
        "budget 2023.xlsx: is of no report; moved aside",
        "top_up_2023-02-30.xlsx: is of no report; moved aside",
    )


@pytest.fixture
def news(lake: Membership) -> Callable[[str | None], tuple[list[date], str]]:
    return lambda cursor: membership.new_workbooks(lake.settings, "top_up", cursor, date(2023, 4, 1))


def test_news_are_the_days_of_what_came_or_changed(
    lake: Membership, news: Callable[[str | None], tuple[list[date], str]]
) -> None:
    for day in (27, 30):
        lake.drop(f"top_up_2023-03-{day}.xlsx", b"x", datetime(2023, 3, 31, tzinfo=UTC))
    lake.drop("top_up_2023-04-02.xlsx", b"x")
    lake.drop("op_stats_2023-03-31.xlsx", b"x")
    days, cursor = news(None)
    assert days == [FIRST, DAY], "older ones are the first day's, and the running day is the last"
    assert news(cursor)[0] == []
    lake.drop("top_up_2023-03-30.xlsx", b"y", datetime(2023, 3, 31, 1, tzinfo=UTC))
    assert news(cursor)[0] == [DAY]
    (lake.folder / "aside").mkdir()
    (lake.folder / "top_up_2023-03-27.xlsx").rename(lake.folder / "aside/top_up_2023-03-27.xlsx")
    assert news(cursor)[0] == [DAY], "what was moved aside is no news"


def test_a_workbook_that_is_too_large_is_refused_without_being_fetched(lake: Membership) -> None:
    _drop_good(lake)
    with (lake.folder / "top_up_2023-03-30_b.xlsx").open("wb") as file:
        file.truncate(membership.LIMITS.file + 1)
    assert lake.load().account.rows_loaded == 1
    (refused,) = lake.rows("top_up__rejected")
    assert refused["reject_reason"] == "too_large"
    assert "67,108,865 bytes; 67,108,864 are allowed" in refused["raw_row"]


def test_two_workbooks_of_one_name_aside_and_not_are_told_once(
    lake: Membership, news: Callable[[str | None], tuple[list[date], str]]
) -> None:
    """A sensor that told files by their names alone would take each for the other's change, for ever."""
    (lake.folder / "aside").mkdir()
    lake.drop("aside/top_up_2023-03-30.xlsx", b"x", datetime(2023, 3, 31, tzinfo=UTC))
    lake.drop("top_up_2023-03-30.xlsx", b"y", datetime(2023, 3, 31, 1, tzinfo=UTC))
    days, cursor = news(None)
    assert days == [DAY]
    assert news(cursor)[0] == []


@pytest.mark.parametrize("table", ["top_up", "pre_deduction", "post_deduction", "op_stats"])
def test_the_sandboxs_workbooks_are_accounted_for_to_the_row(lake: Membership, table: str) -> None:
    """What its generator says of each workbook is what bronze holds of it, of the first day all that is older."""
    membership_workbooks.write(lake.folder)
    loaded = {day: lake.load(day, table).account for day in DAYS[-3:]}
    assert {day: (one.rows_loaded, one.rows_rejected) for day, one in loaded.items()} == {
        day: _expected(table, [past for past in DAYS if past == day or (day == FIRST and past < day)])
        for day in DAYS[-3:]
    }
    assert all(
        finding.unaccounted == 0
        for finding in audit(declared(table, "membership")[0], [f"{day}" for day in DAYS[-3:]], lake.settings)
    )


def _expected(table: str, days: Sequence[date]) -> tuple[int, int]:
    """Good rows and rejected ones of the workbooks that come for some days; a refused workbook is one rejected row."""
    seen: dict[bytes, Any] = {}
    for day in days:
        for one in membership_workbooks.workbooks(day):
            if one.report == table:
                seen.setdefault(one.content, one)
    refused = sum(1 for one in seen.values() if not one.rows and not one.bad)
    return sum(one.rows for one in seen.values()), sum(len(one.bad) for one in seen.values()) + refused


def test_workbooks_come_from_google_drive_as_from_a_folder(tmp_path: Path) -> None:
    """Through Drive's own client: read, refused and moved aside, repeated, renamed."""
    with DriveStandIn() as drive:
        key = drive.write_key(tmp_path / "key.json")
        lake = Membership(tmp_path / "home", tmp_path / "none")
        folder = drive.add_folder()
        lake.settings = lake.settings.model_copy(
            update={"membership_folder": f"gdrive://{folder}", "drive_key": key, "drive_endpoint": drive.url}
        )
        good = drive.add("top_up_2023-03-30.xlsx", workbook(TOP_UP, top_up("T1")), parent=folder)
        drive.add("top_up_2023-03-30 (1).xlsx", b"", parent=folder)
        days, cursor = membership.new_workbooks(lake.settings, "top_up", None, date(2023, 4, 1))
        assert days == [DAY]
        result = lake.load()
        assert (result.account.rows_loaded, result.account.rows_rejected) == (1, 1)
        assert result.refused == ("top_up_2023-03-30 (1).xlsx: the file is empty (0 bytes); moved aside",)
        again = lake.load()
        assert (again.changed, again.refused[0].endswith("; lies aside")) == (False, True)
        assert membership.new_workbooks(lake.settings, "top_up", cursor, date(2023, 4, 1)) == ([], cursor)
        drive.items[good].name = "top_up_2023-03-31.xlsx"
        assert membership.new_workbooks(lake.settings, "top_up", cursor, date(2023, 4, 1))[0] == [
            DAY,
            date(2023, 3, 31),
        ]
