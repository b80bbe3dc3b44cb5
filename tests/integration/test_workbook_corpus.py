"""Hundreds of hostile workbooks (`hostile`): each ends in rows, quarantine or a clear refusal, and every row is counted.

Each is read alone by a process that may neither take long nor much memory; then all of them lie in one folder, and are
one day's load of a real table.
"""

import json
import multiprocessing
import resource
import tempfile
import tracemalloc
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from hostile import Case, corpus
from lakes import declared, rows, settings, state

from dlt_sources.membership import layouts
from dlt_sources.workbooks.package import Limits, RefusedError, inspect
from dlt_sources.workbooks.reader import read_workbook, refused_rows, split_rows
from lake.errors import LakeError
from lake.load import load
from lake.settings import Settings

DAY = date(2023, 3, 29)
MODIFIED = datetime(2023, 3, 30, 1, 2, 3, tzinfo=UTC)
ZONE = "Asia/Taipei"
SECONDS = 60.0  # after which workbooks that are read together hang
TOGETHER = 30
PEAK_BYTES = 1_500 << 20
CASES = {case.name: case for case in corpus()}
REPORTS = sorted({case.report for case in corpus()})


@dataclass
class Outcome:
    """What became of a workbook."""

    read: int = 0
    good: list[dict[str, Any]] = field(default_factory=list)
    rejected: list[dict[str, Any]] = field(default_factory=list)
    notes: tuple[str, ...] = ()
    refused: str = ""
    message: str = ""
    crashed: str = ""
    peak: int = 0


def outcomes_of(names: Sequence[str], folder: Path) -> dict[str, Outcome]:
    """What becomes of workbooks of one report: each is read alone, and the rows of all are split together."""
    report = CASES[names[0]].report
    spec, _ = declared(report, "membership")
    layout = layouts()[report]
    outcomes, found = {}, []
    for name in names:
        path = folder / "workbook.xlsx"
        path.write_bytes(CASES[name].content)
        try:
            sheets, notes = read_workbook(path, name, MODIFIED, spec, layout)
        except RefusedError as error:
            outcomes[name] = Outcome(refused=error.reason, message=str(error))
        else:
            outcomes[name] = Outcome(read=sum(one.cells.num_rows for one in sheets), notes=notes)
            found += sheets
    if found:
        good, rejected = split_rows(found, spec, layout, ZONE, source="drop:", run_id="r")
        for one in good.to_pylist():
            outcomes[one["workbook"]].good.append(one)
        for one in rejected.to_pylist():
            book = one["source_object"].removeprefix("drop:/").rpartition("#")[0]
            outcomes[max((name for name in names if f"{book}#".startswith(f"{name}#")), key=len)].rejected.append(one)
    return outcomes


def serve(requests: Connection) -> None:
    """A process that reads workbooks by name. It may take 8 GB of addresses: what asks for more fails there."""
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
    with tempfile.TemporaryDirectory() as folder:
        while names := requests.recv():
            try:
                outcomes = outcomes_of(names, Path(folder))
            except BaseException as error:  # noqa: BLE001 - a panic in Rust is no Exception
                outcomes = {name: Outcome(crashed=f"{type(error).__name__}: {error}") for name in names}
            for outcome in outcomes.values():
                outcome.peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
            requests.send(outcomes)


class Reader:
    """Another process, a new one after each that died or hung."""

    def __init__(self) -> None:
        self.process: Any = None

    def __call__(self, names: Sequence[str]) -> dict[str, Outcome]:
        """What becomes of workbooks; those among which one crashed are read again, each with no others."""
        outcomes = self._ask(names)
        if len(names) > 1 and any(one.crashed for one in outcomes.values()):
            return {name: self._ask([name])[name] for name in names}
        return outcomes

    def _ask(self, names: Sequence[str]) -> dict[str, Outcome]:
        if self.process is None:
            context = multiprocessing.get_context("spawn")
            self.requests, theirs = context.Pipe()
            self.process = context.Process(target=serve, args=(theirs,), daemon=True)
            self.process.start()
            theirs.close()
        how = f"no end after {SECONDS:.0f} s"
        try:
            self.requests.send(names)
            if self.requests.poll(SECONDS):
                found: dict[str, Outcome] = self.requests.recv()
                return found
        except (EOFError, ConnectionError):
            how = "the process died"
        self.close()
        return {name: Outcome(crashed=how) for name in names}

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.process = None


@pytest.fixture(scope="module")
def outcomes() -> Iterator[dict[str, Outcome]]:
    reader = Reader()
    found: dict[str, Outcome] = {}
    for report in REPORTS:
        names = [name for name, case in CASES.items() if case.report == report]
        for first in range(0, len(names), TOGETHER):
            found |= reader(names[first : first + TOGETHER])
    yield found
    reader.close()


def matches(got: list[dict[str, Any]], wanted: Any) -> bool:
    return len(got) == len(wanted) and all(
        want[name] == have[name] for have, want in zip(got, wanted, strict=True) for name in want
    )


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_workbook_ends_in_rows_quarantine_or_a_refusal(name: str, outcomes: dict[str, Outcome]) -> None:
    case, outcome = CASES[name], outcomes[name]
    assert not outcome.crashed
    assert outcome.peak <= PEAK_BYTES
    assert outcome.read == len(outcome.good) + len(outcome.rejected)
    if outcome.refused:
        assert outcome.message
        assert "\n" not in outcome.message
    if case.is_anything:
        return
    assert (outcome.refused, outcome.message if not case.refused else "") == (case.refused, "")
    assert matches(outcome.good, case.loaded), outcome.good
    places = [(one["source_object"], one["row_ordinal"], one["reject_reason"]) for one in outcome.rejected]
    assert places == [(f"drop:/{name}#{sheet}", row, reason) for sheet, row, reason in case.rejected]
    assert case.noted in "\n".join(outcome.notes)
    assert all(isinstance(json.loads(one["raw_row"]), dict) for one in outcome.rejected)


def test_the_corpus_is_as_large_as_promised_and_no_case_is_another() -> None:
    assert len(CASES) == len(corpus()) == len({case.content for case in corpus()}) >= 150
    kinds = Counter(
        "anything" if one.is_anything else "refused" if one.refused else "quarantine" if one.rejected else "rows"
        for one in corpus()
    )
    assert min(kinds.values()) >= 20, kinds
    assert len({one.refused for one in corpus()}) >= 10


@pytest.mark.parametrize("name", [name for name in CASES if "bomb" in name or "laughs" in name or "giant" in name])
def test_a_bomb_is_refused_before_it_is_unpacked(name: str, tmp_path: Path) -> None:
    path = tmp_path / "bomb.xlsx"
    path.write_bytes(CASES[name].content)
    tracemalloc.start()
    try:
        with pytest.raises(RefusedError) if CASES[name].refused != "corrupt_workbook" else _either():
            inspect(path, Limits())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 48 << 20


class _either:  # noqa: N801 - reads as a context
    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: object, trace: object) -> bool:
        return isinstance(error, RefusedError)


# -- all of them in one folder -------------------------------------------------------------------------------


def file_name(case: Case) -> str:
    plain = "".join(one if one.isascii() and (one.isalnum() or one in "_-.") else f"%{ord(one):x}" for one in case.name)
    return f"{case.report}_2023-03-29_{plain}.xlsx"


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings of a folder in which the whole corpus lies."""
    folder = tmp_path_factory.mktemp("drop")
    for case in corpus():
        (folder / file_name(case)).write_bytes(case.content)
    return settings(tmp_path_factory.mktemp("home"), membership_folder=str(folder))


@pytest.mark.parametrize("report", REPORTS)
def test_the_whole_corpus_is_one_load_whose_account_adds_up(report: str, lake: Settings) -> None:
    spec, source = declared(report, "membership")
    cases = [case for case in corpus() if case.report == report]
    folder = Path(str(lake.membership_folder))
    first = load(spec, source, lake, partition=DAY, run_id="first")
    account = first.account
    assert account.rows_read == account.rows_loaded + account.rows_rejected
    assert first.changed

    loaded = rows(lake, spec.table).to_pylist()
    assert len(loaded) == account.rows_loaded == first.total_rows
    assert {one["source_day"] for one in loaded} == {DAY}
    by_workbook: dict[str, list[dict[str, Any]]] = {}
    for one in sorted(loaded, key=lambda one: (one["workbook"], one["sheet_row"])):
        by_workbook.setdefault(one["workbook"], []).append(one)
    rejected: dict[str, list[dict[str, Any]]] = {}
    held = rows(lake, spec.rejected_table).to_pylist() if account.rows_rejected else []
    assert len(held) == account.rows_rejected
    for one in held:
        path, _, _ = one["source_object"].partition("#")
        rejected.setdefault(path.rsplit("/", 1)[1], []).append(one)
        assert path.startswith(str(folder))
        assert one["reject_reason"]
        assert one["run_id"] == "first"

    aside = {path.name for path in (folder / "aside").iterdir()} if (folder / "aside").exists() else set()
    for case in cases:
        name = file_name(case)
        whole = [one for one in rejected.get(name, []) if one["row_ordinal"] == 0]
        assert (name in aside) == (len(whole) == 1), name
        if whole:
            assert name not in by_workbook, "half-loaded"
            assert json.loads(whole[0]["raw_row"])["workbook"] == name
            assert json.loads(whole[0]["raw_row"])["reason"]
        if case.is_anything:
            continue
        assert [one["reject_reason"] for one in whole] == ([case.refused] if case.refused else []), name
        assert len(by_workbook.get(name, [])) == len(case.loaded), name
        places = [
            (one["source_object"].partition("#")[2], one["row_ordinal"], one["reject_reason"])
            for one in rejected.get(name, [])
            if one["row_ordinal"]
        ]
        assert sorted(places) == sorted(case.rejected), name

    before = state(lake)
    again = load(spec, source, lake, partition=DAY, run_id="second")
    assert not again.changed
    assert (again.account.rows_read, again.account.rows_rejected) == (account.rows_read, account.rows_rejected)
    assert state(lake) == before


def test_a_folder_of_unreadable_workbooks_alone_changes_nothing(tmp_path: Path) -> None:
    spec, source = declared("top_up", "membership")
    folder = tmp_path / "drop"
    folder.mkdir()
    for name in ("file_csv", "bomb"):
        (folder / file_name(CASES[name])).write_bytes(CASES[name].content)
    lake = settings(tmp_path / "home", membership_folder=str(folder))
    with pytest.raises(LakeError, match=r"bomb.*would unpack.*1 more workbooks.*left as it was"):
        load(spec, source, lake, partition=DAY)
    assert state(lake) == {}
    assert len([*(folder / "aside").iterdir()]) == 2


def test_a_refused_workbook_is_a_row_of_its_own() -> None:
    table = refused_rows([("a.xlsx", RefusedError("zip_bomb", "too big"))], "file:///drop", "r")
    assert table.to_pylist() == [
        {
            "reject_reason": "zip_bomb",
            "source_object": "file:///drop/a.xlsx",
            "row_ordinal": 0,
            "run_id": "r",
            "raw_row": '{"workbook": "a.xlsx", "reason": "too big"}',
        }
    ]
