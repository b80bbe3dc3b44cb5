"""The generated membership: the same everywhere, true to its own rules, and each kind of mess where `planted` says.

Workbooks are read back with openpyxl, which the generator does not use: what a test asserts is in the cells themselves.
"""

import hashlib
import io
import json
import os
import re
import subprocess
import sys
import unicodedata
import zipfile
import zlib
from collections import Counter, defaultdict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import openpyxl
import pytest

from sandbox import membership, membership_mess, membership_workbooks

DIGEST = 2337692055
WORLD = membership.world()
LAST = membership.DAYS[-3:]
SCRIPT = """
import hashlib
from sandbox import membership, membership_workbooks
found = hashlib.sha256()
for day in membership.DAYS:
    for book in membership_workbooks.workbooks(day):
        found.update(f"{book.name} {book.modified.isoformat()} {book.rows} {book.bad}".encode() + book.content)
print(found.hexdigest(), hashlib.sha256(repr(membership.world().top_ups).encode()).hexdigest())
"""


@pytest.fixture(scope="module")
def books():
    """Name → the workbook, of all days."""
    return {book.name: book for day in membership.DAYS for book in membership_workbooks.workbooks(day)}


@pytest.fixture(scope="module")
def planted():
    return membership_workbooks.planted()


@pytest.fixture(scope="module")
def opened(books):
    """Name → the workbook as openpyxl has it, with formulas; those with content."""
    return {name: openpyxl.load_workbook(io.BytesIO(book.content)) for name, book in books.items() if book.content}


def row_at(opened, place):
    """The sheet, and the cells of the row at a place."""
    workbook, _, rest = place.partition("#")
    sheet, _, row = rest.rpartition(":")
    return opened[workbook][sheet], [cell.value for cell in opened[workbook][sheet][int(row)]]


def row_cells(opened, place):
    workbook, _, rest = place.partition("#")
    sheet, _, row = rest.rpartition(":")
    return list(opened[workbook][sheet][int(row)])


# -- determinism


def test_two_processes_make_the_same_bytes(books):
    """Whatever order their hashes have."""
    found = hashlib.sha256()
    for book in books.values():
        found.update(f"{book.name} {book.modified.isoformat()} {book.rows} {book.bad}".encode() + book.content)
    other = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**os.environ, "PYTHONHASHSEED": "7", "TZ": "America/New_York"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert other.stdout.split() == [found.hexdigest(), hashlib.sha256(repr(WORLD.top_ups).encode()).hexdigest()]


def test_the_truth_is_the_one_that_it_was():
    """A change here asks for a higher `GENERATOR`."""
    rows = [[repr(row) for row in WORLD.rows(report, day)] for report in membership.REPORTS for day in membership.DAYS]
    assert zlib.crc32(json.dumps(rows).encode()) == DIGEST


def test_no_workbook_says_when_it_was_made(books):
    for book in (book for book in books.values() if book.content):
        with zipfile.ZipFile(io.BytesIO(book.content)) as archive:
            assert {one.date_time for one in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
            assert set(re.findall(rb"\d{4}-\d\d-\d\dT[\d:]+", archive.read("docProps/core.xml"))) == {
                b"2023-03-01T00:00:00"
            }


def test_another_seed_is_another_world():
    other = membership.world(1)
    assert other.top_ups != WORLD.top_ups
    assert [channel.code for channel in other.channels] == [channel.code for channel in WORLD.channels]


# -- truth


def local_day(top_up) -> date:
    return (top_up.paid_at + timedelta(hours=8)).date()  # Taipei has no summer time


def test_what_channels_settle_is_what_succeeded_less_deductions():
    paid, count = defaultdict(Decimal), Counter()
    for one in (one for one in WORLD.top_ups if one.status == "succeeded"):
        paid[local_day(one), one.channel_code] += one.amount
        count[local_day(one), one.channel_code] += 1
    pre = {(one.settlement_date, one.channel_code): one for one in WORLD.pre_deductions}
    post = {(one.settlement_date, one.channel_code): one for one in WORLD.post_deductions}
    keys = {(day, channel.code) for day in membership.DAYS for channel in WORLD.channels}
    assert pre.keys() == post.keys() == keys
    off = set()
    for key in keys:
        assert pre[key].gross_amount == paid[key]
        assert pre[key].top_up_count == count[key]
        assert post[key].net_amount == paid[key] - post[key].platform_fee - post[key].tax
        deducted, due = post[key].platform_fee + post[key].tax, paid[key] * post[key].deduction_rate
        if abs(deducted - due) > Decimal("0.005"):
            off.add(key)
            assert abs(deducted - due) > 20, "no deviation that could be rounding"
    assert off == WORLD.off
    assert len(off & {(day, channel.code) for day in LAST for channel in WORLD.channels}) == 3
    assert sum(not count[key] for key in keys) > 10, "channels without a top-up"
    assert {key[1] for key in keys if not count[key]} >= {"bank", "carrier"}


def test_money_is_whole_cents():
    amounts = [
        *(one.amount for one in WORLD.top_ups),
        *(one.gross_amount for one in WORLD.pre_deductions),
        *(amount for one in WORLD.post_deductions for amount in (one.platform_fee, one.tax, one.net_amount)),
    ]
    assert {-amount.as_tuple().exponent for amount in amounts} == {2}
    assert any(amount % 1 for amount in amounts)


def test_who_tops_up_is_there_and_sees_the_page():
    activity = {(one.activity_date, one.user_id): one for one in WORLD.op_stats}
    assert len(activity) == len(WORLD.op_stats)
    for (day, user), tries in Counter((local_day(one), one.user_id) for one in WORLD.top_ups).items():
        assert activity[day, user].topup_page_views >= tries
    users = {user.user_id: user for user in WORLD.users}
    assert {user for _, user in activity} == users.keys()
    assert len(users) == 80
    for one in (*WORLD.op_stats, *WORLD.top_ups):
        assert one.nickname == users[one.user_id].nickname
    assert all(one.registered_on <= one.activity_date for one in WORLD.op_stats)
    assert len({one.user_id for one in WORLD.top_ups}) < 75, "some never do"


def test_top_ups_are_of_all_kinds_and_times():
    count = Counter(local_day(one) for one in WORLD.top_ups)
    assert set(count) == set(membership.DAYS)
    assert 36 <= min(count.values()) <= max(count.values()) <= 44
    assert len({one.top_up_id for one in WORLD.top_ups}) == len(WORLD.top_ups)
    status = Counter(one.status for one in WORLD.top_ups)
    assert 0.75 < status["succeeded"] / len(WORLD.top_ups) < 0.85
    assert min(status["failed"], status["refunded"]) > 60
    segments = Counter((one.paid_at + timedelta(hours=8)).hour // 6 for one in WORLD.top_ups)
    assert min(segments[number] for number in range(4)) > 80
    for day in membership.DAYS:
        times = [one.paid_at + timedelta(hours=8) for one in WORLD.rows("top_up", day)]
        assert times == sorted(times)
        assert times[0].time() < times[-1].time().replace(hour=0, minute=10)
        assert times[-1].hour == 23
    assert sum(one.paid_at.date() != local_day(one) for one in WORLD.top_ups) > 100
    seconds = {one.paid_at.hour * 3600 + one.paid_at.minute * 60 + one.paid_at.second for one in WORLD.top_ups}
    assert {(edge - 8 * 3600) % 86_400 for edge in membership.EDGES} <= seconds, "segments begin and end"
    pairs = zip(WORLD.top_ups, WORLD.top_ups[1:], strict=False)
    tied = [(a, b) for a, b in pairs if (a.paid_at, a.user_id, a.status) == (b.paid_at, b.user_id, b.status)]
    assert [(a.status, local_day(a).day) for a, _ in tied] == [("succeeded", 30)]
    first = {}
    for one in (one for one in WORLD.top_ups if one.status == "succeeded"):
        first.setdefault(one.user_id, one.top_up_id)
    assert 40 < len(first) < len({one.user_id for one in WORLD.op_stats}), "repeat ones, and some who never paid"


def test_members_join_leave_return_and_change_level():
    weeks = defaultdict(dict)
    for one in sorted(WORLD.op_stats, key=lambda one: one.activity_date):
        monday = one.activity_date - timedelta(days=one.activity_date.weekday())
        weeks[monday][one.user_id] = membership.LEVELS.index(one.membership_level)
    moves, seen = Counter(), set(weeks[min(weeks)])
    for before, after in pairwise(sorted(weeks)):
        for user, level in weeks[after].items():
            kind = "joined" if user not in seen else "returned"
            if user in weeks[before]:
                was = weeks[before][user]
                kind = "up" if level > was else "down" if level < was else "stayed"
            moves[after, kind] += 1
            seen.add(user)
        moves[after, "dropped"] += len(weeks[before].keys() - weeks[after].keys())
    assert len(weeks) == 5
    assert all(moves[max(weeks), kind] for kind in ("joined", "returned", "up", "down", "stayed", "dropped"))
    assert {one.membership_level for one in WORLD.op_stats} == set(membership.LEVELS)


# -- workbooks


def test_there_are_four_workbooks_a_day_and_few_more(books, planted):
    beside = {
        name
        for kind in ("corrected", "duplicated", "empty_file", "unknown_layout", "unknown_name")
        for name in planted[kind]
    }
    usual = Counter((book.report, book.day) for name, book in books.items() if name not in beside)
    assert usual == Counter((report, day) for report in membership.REPORTS for day in membership.DAYS)
    assert len(books) == sum(usual.values()) + len(beside) == 126
    forms = Counter(re.sub(r"\d", "0", name.partition(".")[0]) for name in books if name not in beside)
    assert len(forms) == 16, "two names, two separators, two forms of the day"
    for name, book in books.items():
        modified = book.modified.astimezone(membership.ZONE)
        assert modified.date() == book.day + timedelta(days=1)
        later = {"corrected": "10:30", "duplicated": "09:05"}
        kind = next((kind for kind in later if name in planted[kind]), None)
        assert f"{modified:%H:%M}" == later.get(kind, "09:00")


def test_all_kinds_are_there_and_most_of_them_in_the_last_days(planted):
    declared = {kind for kinds in membership_mess.MESS.values() for kind in kinds} | set(membership_mess.BAD_CELLS)
    assert declared | set(membership_mess.BAD_VALUES) <= planted.keys()
    last = membership_workbooks.planted(LAST)
    assert planted.keys() - last.keys() == set()
    for kind, places in last.items():
        assert set(places) <= set(planted[kind])


def test_every_place_is_there(opened, books, planted):
    for kind, places in planted.items():
        assert len(set(places)) == len(places), kind
        for place in places:
            workbook, _, rest = place.partition("#")
            assert workbook in books
            if rest:
                sheet, _, row = rest.rpartition(":")
                assert sheet in opened[workbook].sheetnames
                assert int(row) <= opened[workbook][sheet].max_row


TEXTS = {
    "text_date_slash": r"\d{4}/\d\d/\d\d( \d\d:\d\d:\d\d)?",
    "text_date_dash": r"\d{4}-\d\d-\d\d( \d\d:\d\d(:\d\d)?)?",
    "text_date_chinese": r"\d{4}年\d{1,2}月\d{1,2}日( [上下]午\d{1,2}:\d\d(:\d\d)?)?",
    "text_date_minguo": r"1\d\d/\d\d/\d\d( \d\d:\d\d(:\d\d)?)?",
    "thousands_text": r"\d{1,3}(,\d{3})+(\.\d\d)?",
    "currency_text": r"NT\$ \d{1,3}(,\d{3})*(\.\d\d)?",
    "full_width_digits": r"[０-９，．]+",
    "parentheses": r"\(\d+\.\d\d\)",
    "percent_text": r"\d+(\.\d+)?%",
    "full_width_code": r"[０-９Ａ-Ｚａ-ｚ－]+",
    "padded_text": " .*\u3000",
    "empty_mark": "-",
    "formula_like_text": r"[=+@].*",
}


@pytest.mark.parametrize("kind", TEXTS)
def test_text_is_as_it_is_planted(opened, planted, kind):
    for place in planted[kind]:
        cells = row_cells(opened, place)
        assert any(cell.data_type in "sf" and re.fullmatch(TEXTS[kind], str(cell.value)) for cell in cells), place
    assert planted[kind]


def test_formula_like_text_is_text(books, planted):
    for name in {place.partition("#")[0] for place in planted["formula_like_text"]}:
        with zipfile.ZipFile(io.BytesIO(books[name].content)) as archive:
            strings = archive.read("xl/sharedStrings.xml").decode()
            sheets = "".join(archive.read(one).decode() for one in archive.namelist() if "worksheets/sheet" in one)
            assert re.search(r">[=+@]", strings)
            assert "<f>SUM(A1:A9)</f>" not in sheets


def test_dates_are_cells_and_serial_numbers_of_both_calendars(opened, planted):
    for place in planted["date_cell"]:
        assert any(isinstance(cell.value, datetime) for cell in row_cells(opened, place)), place
    first = {False: 45_014, True: 45_014 - 1_462}  # 2023-03-29
    for place in planted["serial_date"]:
        is_1904 = place.partition("#")[0] in planted["date_1904"]
        numbers = [
            c.value for c in row_cells(opened, place) if c.data_type == "n" and c.value and c.number_format == "General"
        ]
        assert any(first[is_1904] - 800 < number < first[is_1904] + 3 for number in numbers), place
    assert {name for name, book in opened.items() if book.epoch.year == 1904} == set(planted["date_1904"]) | {
        copy for copy in planted["duplicated"] if opened[copy].epoch.year == 1904
    }
    mixed = Counter()
    for place in (place for kind in planted if "date_" in kind and kind != "date_1904" for place in planted[kind]):
        mixed[place.partition("#")[0]] += 1
    assert set(planted["mixed_dates"]) <= mixed.keys()


def test_formulas_have_the_value_that_was_worked_out(books, planted):
    values = {}
    for place in (*planted["formula"], *planted["total_rows"], *planted["error_amount"], *planted["error_net"]):
        workbook, _, rest = place.partition("#")
        sheet, _, row = rest.rpartition(":")
        if workbook not in values:
            content = io.BytesIO(books[workbook].content)
            values[workbook] = openpyxl.load_workbook(content), openpyxl.load_workbook(content, data_only=True)
        written, worked_out = (book[sheet][int(row)] for book in values[workbook])
        formulas = [
            (cell.value, value.value)
            for cell, value in zip(written, worked_out, strict=True)
            if cell.data_type == "f" and str(cell.value) != "=SUM(A1:A9)"
        ]
        assert formulas, place
        for formula, value in formulas:
            if formula == "=1/0":
                assert value == "#DIV/0!"
            elif formula.startswith("=SUM("):
                assert value >= 0
            else:
                assert Decimal(formula.removeprefix("=").removesuffix("*1")) == Decimal(str(value)), place


def test_percent_is_a_format_too(opened, planted):
    for place in planted["percent_cell"]:
        assert [c.value < 1 for c in row_cells(opened, place) if c.number_format == "0.0%"] == [True], place


def test_ids_are_numbers_at_times(opened, planted):
    users = {int(user.user_id) for user in WORLD.users}
    for place in planted["numeric_id"]:
        assert users & {c.value for c in row_cells(opened, place) if isinstance(c.value, int)}, place


def test_headers_are_in_two_languages_and_many_forms(opened, planted):
    for kind, pattern in {
        "chinese_headers": r"[用渠訂結日]",
        "english_headers": r"(?i)user|channel|order|date",
        "header_line_break": r"\n",
        "header_units": r"\(.+\)$",
    }.items():
        for place in planted[kind]:
            texts = [unicodedata.normalize("NFKC", str(c.value)) for c in row_cells(opened, place) if c.value]
            assert any(re.search(pattern, text) for text in texts), (kind, place)
    for place in planted["header_full_width"]:
        texts = [str(c.value) for c in row_cells(opened, place) if c.value]
        assert all(
            text
            == unicodedata.normalize("NFC", text).translate({n: n + 0xFEE0 for n in range(0x21, 0x7F)} | {32: 0x3000})
            for text in texts
        )
    starts = {
        int(place.rpartition(":")[2]) for kind in ("chinese_headers", "english_headers") for place in planted[kind]
    }
    assert starts >= {1, 3, 4, 6}
    for place in planted["extra_column"]:
        assert row_at(opened, place)[1][-1] in {"備註", "Remark"}
    for place in planted["column_b"]:
        assert row_at(opened, place)[1][0] is None
    assert {
        row_at(opened, place)[1][1 if place in planted["column_b"] else 0] for place in planted["columns_moved"]
    } >= {"日期", "Date"}


def test_cells_are_merged(opened, planted):
    for place in planted["merged_title"]:
        sheet, _ = row_at(opened, place)
        row = int(place.rpartition(":")[2])
        assert any(
            one.min_row == one.max_row == row and one.max_col - one.min_col >= 5 for one in sheet.merged_cells.ranges
        )
    for kind, codes in (("merged_channel", {one.code for one in WORLD.channels}), ("merged_date", None)):
        for place in planted[kind]:
            sheet, _ = row_at(opened, place)
            row = int(place.rpartition(":")[2])
            (found,) = [one for one in sheet.merged_cells.ranges if one.min_row == row and one.max_row > row]
            top = sheet.cell(row, found.min_col).value
            assert codes is None or unicodedata.normalize("NFKC", top).strip() in codes
            assert found.min_col == found.max_col
            assert all(sheet.cell(below, found.min_col).value is None for below in range(row + 1, found.max_row + 1))


def test_sheets_beside_the_data(opened, planted):
    states = {
        "hidden_sheet": "hidden",
        "very_hidden_sheet": "veryHidden",
        "notes_sheet": "visible",
        "blank_sheet": "visible",
    }
    for kind, state in states.items():
        for place in planted[kind]:
            assert row_at(opened, place)[0].sheet_state == state
    copies = set(planted["duplicated"])
    found = {
        f"{name}#{s.title}:1"
        for name, book in opened.items()
        if name not in copies
        for s in book
        if s.sheet_state != "visible"
    }
    assert found == {*planted["hidden_sheet"], *planted["very_hidden_sheet"]}
    for place in planted["blank_sheet"]:
        assert [cell for row in row_at(opened, place)[0].values for cell in row if cell is not None] == []
    for name in planted["several_sheets"]:
        full = [s for s in opened[name] if s.sheet_state == "visible" and s.max_row > 5]
        assert len(full) == 2, name
    assert {s.title for name in planted["several_sheets"] for s in opened[name]} >= {
        "上午",
        "下午",
        "Sheet2",
        "工作表2",
    }


def test_rows_between_and_below(opened, planted):
    for kind, labels in (("total_rows", {"合計", "Total"}), ("subtotal_rows", {"小計", "Subtotal"})):
        for place in planted[kind]:
            assert next(value for value in row_at(opened, place)[1] if value) in labels
    for place in planted["blank_rows"]:
        assert set(row_at(opened, place)[1]) <= {None, " "}
    for place in planted["repeated_header"]:
        sheet, texts = row_at(opened, place)
        assert sum([cell.value for cell in row] == texts for row in sheet.iter_rows()) == 2


def test_a_correction_changes_one_row_and_its_copy_is_the_same(opened, books, planted):
    assert len(planted["corrected"]) == len(planted["superseded_row"]) == len(planted["corrected_row"]) == 5
    for before, after in zip(planted["superseded_row"], planted["corrected_row"], strict=True):
        old, new = before.partition("#")[0], after.partition("#")[0]
        assert new == old.replace(".xlsx", "_v2.xlsx")
        changed = [
            f"#{sheet.title}:{row[0].row}"
            for sheet in opened[old]
            for row, other in zip(sheet.iter_rows(), opened[new][sheet.title].iter_rows(), strict=True)
            if sheet.sheet_state == "visible"
            and row[0].row < sheet.max_row
            and [c.value for c in row] != [c.value for c in other]
            and not {c.value for c in row} & {"合計", "Total", "小計", "Subtotal"}
        ]
        assert changed == [f"#{before.partition('#')[2]}"] == [f"#{after.partition('#')[2]}"]
    for name in planted["duplicated"]:
        assert books[name].content == books[name.replace(" (1)", "")].content
    assert all(books[name].content == b"" for name in planted["empty_file"])


def test_an_order_is_in_the_next_days_workbook_again(opened, planted):
    for place in planted["repeated_order"]:
        day = re.sub(r"-(\d\d)-(\d\d)", r"\1\2", place)
        reported = date.fromisoformat(re.search(r"20\d{6}", day).group())
        ids = {str(value) for value in row_at(opened, place)[1]}
        before = {one.top_up_id for one in WORLD.rows("top_up", reported - timedelta(days=1))}
        assert {unicodedata.normalize("NFKC", one).strip() for one in ids} & before


def test_rows_that_are_not_true_have_keys_of_their_own(opened, planted):
    ids = {one.top_up_id for one in WORLD.top_ups}
    users = {user.user_id for user in WORLD.users}
    for kind, expected in {
        "bad_amount": "測試",
        "bad_date": "不明",
        "bad_settlement_date": "不明",
        "error_amount": "=1/0",
        "error_net": "=1/0",
        "unknown_status": "處理中",
        "unknown_level": "白金",
        "negative_fee": "(50.00)",
        "footnote": "製表：王小明",
    }.items():
        for place in planted[kind]:
            values = [str(value) for value in row_at(opened, place)[1]]
            assert expected in values
            assert not ids & set(values)
    for place in planted["missing_user"]:
        values = {str(value) for value in row_at(opened, place)[1]}
        assert not values & (users | ids)
    assert sum(len(planted[kind]) for kind in membership_mess.BAD_CELLS) == sum(
        len(b.bad) for b in books_without_copies()
    )


def books_without_copies():
    copies = membership_workbooks.planted()["duplicated"]
    return [b for day in membership.DAYS for b in membership_workbooks.workbooks(day) if b.name not in copies]


# -- files


def files(folder):
    return {path.name: (path.read_bytes(), path.stat().st_mtime) for path in folder.iterdir() if path.is_file()}


def test_files_are_written_once_and_dated(tmp_path, books):
    folder = membership_workbooks.prepare(tmp_path)
    assert folder == tmp_path / "membership"
    found = files(folder)
    assert {name for name in found if not name.startswith(".")} == books.keys()
    for name, book in books.items():
        assert found[name] == (book.content, book.modified.timestamp())
    inodes = {path.name: path.stat().st_ino for path in folder.iterdir()}
    membership_workbooks.prepare(tmp_path)
    assert {path.name: path.stat().st_ino for path in folder.iterdir()} == inodes, "nothing is written again"


def test_what_is_missing_is_made_and_what_was_changed_or_moved_stays(tmp_path):
    day = date(2023, 3, 31)
    membership_workbooks.write(tmp_path, [day])
    names = list(membership_workbooks.day_workbooks(day))
    (tmp_path / "aside").mkdir()
    (tmp_path / names[0]).unlink()
    (tmp_path / names[1]).write_bytes(b"mine")
    (tmp_path / names[2]).rename(tmp_path / "aside" / names[2])
    (tmp_path / "own.xlsx").write_bytes(b"own")
    membership_workbooks.write(tmp_path, [day])
    assert (tmp_path / names[0]).read_bytes() == membership_workbooks.day_workbooks(day)[names[0]]
    assert (tmp_path / names[1]).read_bytes() == b"mine"
    assert not (tmp_path / names[2]).exists()
    record = tmp_path / membership_workbooks.RECORD
    record.write_text(record.read_text().replace(f'"generator": {membership_workbooks.GENERATOR}', '"generator": 0'))
    membership_workbooks.write(tmp_path, [day])
    assert {name: (tmp_path / name).read_bytes() for name in names} == membership_workbooks.day_workbooks(day)
    assert (tmp_path / "own.xlsx").read_bytes() == b"own"


def test_a_late_workbook_changes_no_settlement():
    book = membership_workbooks.late_workbook(date(2023, 3, 21), rows=4)
    assert (book.name, book.day, book.rows) == ("top_up_2023-03-21_late.xlsx", date(2023, 3, 21), 4)
    assert book.modified == datetime(2023, 4, 3, 1, tzinfo=UTC)
    header, *rows = openpyxl.load_workbook(io.BytesIO(book.content)).active.values
    assert [row[header.index("Status")] for row in rows] == ["Failed"] * 4
    active = {one.user_id for one in WORLD.rows("op_stats", book.day)}
    assert {row[header.index("User ID")] for row in rows} <= active
    assert not {row[0] for row in rows} & {one.top_up_id for one in WORLD.top_ups}


def test_a_big_workbook_has_mixed_types_and_the_same_bytes(tmp_path):
    path = membership_workbooks.big_workbook(tmp_path / "a.xlsx", rows=60)
    assert path.read_bytes() == membership_workbooks.big_workbook(tmp_path / "b.xlsx", rows=60).read_bytes()
    _, _, header, *rows = openpyxl.load_workbook(path).active.values
    assert (len(header), len(rows)) == (10, 60)
    assert len({row[0] for row in rows}) == 60
    kinds = {name: {type(row[position]) for row in rows} for position, name in enumerate(header)}
    assert (kinds["Top-up Time"], kinds["Amount"]) == ({datetime, str, float}, {int, str})
