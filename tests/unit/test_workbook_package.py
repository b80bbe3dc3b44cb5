"""What a workbook's file must be: limits, its outer form, and what its parts tell of cells."""

# ruff: noqa: DTZ001 - bronze holds UTC without a zone
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hostile import (
    CHINESE,
    ENGLISH,
    MAIN,
    Raw,
    book,
    corpus,
    error,
    lines,
    merges,
    order,
    packed,
    parts,
    worksheet,
)  # fmt: skip
from lakes import declared

from dlt_sources.membership import layouts
from dlt_sources.workbooks import package
from dlt_sources.workbooks.cells import read_sheets
from dlt_sources.workbooks.package import Limits, Package, RefusedError, SheetFacts, inspect
from dlt_sources.workbooks.reader import read_workbook, split_rows

WHEN = datetime(2023, 3, 30, tzinfo=UTC)


def inspected(content: bytes, folder: Path, limits: Limits | None = None) -> Package:
    path = folder / "workbook.xlsx"
    path.write_bytes(content)
    return inspect(path, limits or Limits())


def facts_of(rows: object, folder: Path, **how: str) -> SheetFacts:
    return inspected(book(rows, **how), folder).sheets["Sheet1"]


def test_sizes_that_just_pass(tmp_path: Path) -> None:
    whole = sum(len(one) for one in parts(("Sheet1", worksheet([ENGLISH]))).values())
    content = packed(parts(("Sheet1", worksheet([ENGLISH]))))
    exact = replace(Limits(), file=len(content), members=6, unpacked=whole, cells=10)
    assert inspected(content, tmp_path, exact).sheets["Sheet1"].last_column == 9
    for name, reason, message in (
        ("file", "too_large", "bytes are more than"),
        ("members", "too_many_members", "6 parts are more than the 5 allowed"),
        ("unpacked", "zip_bomb", "would unpack to"),
        ("cells", "too_many_cells", "its sheets span 10 cells; 9 are allowed"),
    ):
        with pytest.raises(RefusedError, match=message) as caught:
            inspected(content, tmp_path, replace(exact, **{name: getattr(exact, name) - 1}))
        assert caught.value.reason == reason


def test_shared_texts_count_as_often_as_they_are_shared(tmp_path: Path) -> None:
    cells = lines([[Raw('<c r="{ref}" t="s"><v>1</v></c>')] * 10] * 10)
    content = book(cells, strings=f"<si><t>{'x' * 5_000}</t></si><si><t>0123456789</t></si>")
    text = len("<si><t>0123456789</t>") * 100
    assert inspected(content, tmp_path, Limits(text=text)).sheets
    with pytest.raises(RefusedError, match="bytes of text") as caught:
        inspected(content, tmp_path, Limits(text=text - 1))
    assert caught.value.reason == "too_much_text"


def test_facts_of_cells(tmp_path: Path) -> None:
    rows = [
        [],
        [None, Raw('<c r="{ref}" s="1"></c>'), "a", error("#N/A")],
        [None, None, Raw('<c r="{ref}"><f>A1</f></c>')],
    ]
    facts = facts_of(rows, tmp_path, after=merges("C2:C3", "A1:B1"))
    assert (facts.first_column, facts.last_column, facts.last_row) == (2, 3, 2)
    assert facts.errors == {(1, 3): "#N/A", (2, 2): package.NOT_CALCULATED}
    assert sorted({*facts.merges}) == [(0, 0, 0, 1), (1, 2, 2, 2)]


@pytest.mark.parametrize("size", [97, 1_000, 4_096])
def test_what_lies_across_two_pieces_is_seen(size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nicknames = [error("#REF!") if number % 7 == 0 else f"n{number}" for number in range(1, 200)]
    rows = [ENGLISH, *(order(f"T{number}", nickname=one) for number, one in enumerate(nicknames, 1))]
    content = book(rows, after=merges(*(f"D{row}:D{row + 1}" for row in range(2, 200, 2))))
    whole = inspected(content, tmp_path).sheets["Sheet1"]
    assert sorted(whole.errors) == [(number, 2) for number in range(7, 200, 7)]
    monkeypatch.setattr(package, "CHUNK", size)
    monkeypatch.setattr(package, "OVERLAP", 2_000)
    again = inspected(content, tmp_path).sheets["Sheet1"]
    assert (again.errors, {*again.merges}) == (whole.errors, {*whole.merges})
    assert (again.first_column, again.last_column) == (whole.first_column, whole.last_column) == (0, 9)


def test_hidden_sheets_and_calendars(tmp_path: Path) -> None:
    xml = worksheet([ENGLISH])
    sheets = (("a", xml), ("b", xml, "hidden"), ("c", xml, "veryHidden"), ("d", xml, "visible"))
    found = inspected(packed(parts(*sheets, properties='<workbookPr date1904="1"/>')), tmp_path)
    assert (found.hidden, found.is_1904) == ({"b", "c"}, True)
    assert not inspected(packed(parts(*sheets)), tmp_path).is_1904
    assert [sheet.name for sheet in read_sheets(found)] == ["a", "d"]


@pytest.mark.parametrize("name", [case.name for case in corpus() if case.refused and "chance" not in case.name])
def test_a_refusal_is_one_short_line_that_goes_on_after_a_name(name: str, tmp_path: Path) -> None:
    case = next(one for one in corpus() if one.name == name)
    path = tmp_path / "workbook.xlsx"
    path.write_bytes(case.content)
    spec, _ = declared(case.report, "membership")
    with pytest.raises(RefusedError) as caught:
        read_workbook(path, "book.xlsx", WHEN, spec, layouts()[case.report])
    message = str(caught.value)
    assert caught.value.reason == case.refused
    assert 10 < len(message) < 400
    assert "\n" not in message
    assert str(tmp_path) not in message


def test_rows_of_several_workbooks_stay_with_their_own(tmp_path: Path) -> None:
    """Of one batch: different calendars, orders of columns, columns that are missing, and errors."""
    spec, _ = declared("top_up", "membership")
    layout = layouts()["top_up"]
    serial = order("A1", paid_at=45014.5), order("A2", nickname=error("#REF!"))
    mac = [order(f"B{number}", paid_at=43552.5) for number in range(300)]
    short = [[one[0], *one[3:]] for one in (CHINESE, order("C1", channel_code="web"))]
    short = [[*one, "U7" if index else "用戶ID", "hi" if index else "備註"] for index, one in enumerate(short)]
    found = []
    for name, content in {
        "a.xlsx": book([ENGLISH, *serial]),
        "b.xlsx": book([ENGLISH, *mac], properties='<workbookPr date1904="1"/>'),
        "c.xlsx": book(short),
    }.items():
        path = tmp_path / name
        path.write_bytes(content)
        found += read_workbook(path, name, WHEN, spec, layout)[0]
    good, rejected = split_rows(found, spec, layout, "Asia/Taipei", source="file:///drop", run_id="r")
    rows = good.to_pylist()
    assert [(one["workbook"], one["top_up_id"], one["sheet_row"]) for one in rows] == [
        ("a.xlsx", "A1", 2),
        *(("b.xlsx", f"B{number}", number + 2) for number in range(300)),
        ("c.xlsx", "C1", 2),
    ]
    assert {one["paid_at"] for one in rows} == {datetime(2023, 3, 29, 4)}
    last = rows[-1]
    assert (last["user_id"], last["nickname"], last["channel_code"], last["extra_cells"]) == (
        "U7",
        None,
        "web",
        '{"備註":"hi"}',
    )
    assert [(one["source_object"], one["row_ordinal"], one["reject_reason"]) for one in rejected.to_pylist()] == [
        ("file:///drop/a.xlsx#Sheet1", 3, "invalid_nickname")
    ]
    assert '"nickname":"#REF!"' in rejected.column("raw_row")[0].as_py()


def test_a_prefix_of_names_changes_nothing(tmp_path: Path) -> None:
    xml = worksheet([ENGLISH, order("T1")])
    prefixed = xml.replace("<", "<x:").replace("<x:/", "</x:").replace("<x:?", "<?").replace("xmlns=", "xmlns:x=")
    assert f'xmlns:x="{MAIN}"' in prefixed
    facts = inspected(packed(parts(("Sheet1", prefixed))), tmp_path).sheets["Sheet1"]
    assert (facts.first_column, facts.last_column, facts.last_row) == (0, 9, 1)
