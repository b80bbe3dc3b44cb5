"""A folder of Google Drive through the official client, unmodified, against the stand-in on loopback."""

import hashlib
import json
import re
import socket
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import google.auth._exponential_backoff
import lakes
import pytest
import tenacity.nap
from pydantic import ValidationError

import sandbox.drive
from dlt_sources import gdrive
from dlt_sources.dropfolder import DropFolder, DroppedFile, open_folder
from lake.errors import LakeError, TransientError
from lake.settings import Settings
from sandbox.drive import ACCOUNT, SHEET, DriveStandIn
from sandbox.google_rest import write_key

pytestmark = pytest.mark.usefixtures("loopback_alone", "no_waits")
FILES = "/drive/v3/files"
GOOGLE = "application/vnd.google-apps."
MANY = 10**9


@pytest.fixture
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits before it tries again does not wait."""
    clock = types.SimpleNamespace(sleep=lambda _: None)
    monkeypatch.setattr(tenacity.nap, "time", clock)
    monkeypatch.setattr(google.auth._exponential_backoff, "time", clock)


@pytest.fixture(scope="module")
def server() -> Iterator[DriveStandIn]:
    with DriveStandIn() as running:
        yield running


@pytest.fixture
def drive(server: DriveStandIn) -> DriveStandIn:
    server.forget()
    return server


@pytest.fixture(scope="module")
def key_text(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A key, made once for that is slow; `URL` stands for the server's."""
    path = tmp_path_factory.mktemp("key") / "key.json"
    return write_key(path, "URL", account=ACCOUNT).read_text()


@pytest.fixture
def settings(tmp_path: Path, drive: DriveStandIn, key_text: str) -> Settings:
    key = tmp_path / "key.json"
    key.write_text(key_text.replace("URL/", f"{drive.url}/"))
    drive.trust(key)
    return Settings(home=tmp_path, drive_key=key, drive_endpoint=drive.url, http_attempts=2, http_timeout_seconds=10)


@pytest.fixture
def root(drive: DriveStandIn) -> str:
    return drive.add_folder()


@pytest.fixture
def folder(root: str, settings: Settings) -> DropFolder:
    return open_folder(f"gdrive://{root}", settings)


Refused = Callable[..., str]


@pytest.fixture
def refused(drive: DriveStandIn, key_text: str) -> Refused:
    """The message that an act fails with: one line, and nothing secret in it."""

    def check(act: Callable[[], object], *, transient: bool = False) -> str:
        with pytest.raises(LakeError) as raised:
            act()
        assert isinstance(raised.value, TransientError) == transient, repr(raised.value)
        message = str(raised.value)
        assert message.isprintable()
        assert len(message) < 500
        private = json.loads(key_text)["private_key"].splitlines()[1:-1]
        assert not [secret for secret in [*private, *drive.issued] if secret in message]
        return message

    return check


def asked(drive: DriveStandIn, method: str, path: str) -> int:
    return sum(m == method and re.fullmatch(path, p) is not None for m, p in drive.calls)


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def names(files: list[DroppedFile]) -> list[str]:
    return [file.name for file in files]


def only(folder: DropFolder) -> DroppedFile:
    (file,) = folder.listing()
    return file


# -- listing ------------------------------------------------------------------------------------------------------


def test_a_listing_over_pages_tells_what_lies_there_and_aside(
    drive: DriveStandIn, root: str, folder: DropFolder
) -> None:
    drive.largest_page = 2
    ids = {name: drive.add(name, name.encode(), parent=root) for name in ("d.xlsx", "b.xlsx", "e.csv", "a.xlsx")}
    for name in (".hidden.xlsx", "~$a.xlsx"):
        drive.add(name, parent=root)
    drive.trash(drive.add("binned.xlsx", parent=root))
    drive.add("link", parent=root, mime=f"{GOOGLE}shortcut")
    drive.add("letter", parent=root, mime=f"{GOOGLE}document")
    aside, other = drive.add_folder("aside", root), drive.add_folder("2023", root)
    drive.add("deeper.xlsx", parent=other)
    drive.add("deeper.xlsx", parent=drive.add_folder("aside", aside))
    for name in ("c.xlsx", "a.xlsx", "f.xlsx"):
        drive.add(name, b"", parent=aside)
    drive.add("elsewhere.xlsx", parent=drive.add_folder())
    dated = drive.add("x.xlsx", b"123", parent=root, modified="2023-03-29T10:00:00.500+08:00")

    files = folder.listing()
    assert sorted(names(files)) == names(files)
    here = {file.name: file for file in files if not file.is_aside}
    assert sorted(here) == ["a.xlsx", "b.xlsx", "d.xlsx", "e.csv", "letter", "x.xlsx"]
    assert {name: here[name].id for name in ids} == ids
    assert (here["e.csv"].bytes, here["e.csv"].digest) == (5, md5(b"e.csv"))
    assert names([file for file in files if file.is_aside]) == ["a.xlsx", "c.xlsx", "f.xlsx"]
    assert here["x.xlsx"].id == dated
    assert here["x.xlsx"].modified.isoformat() == "2023-03-29T02:00:00.500000+00:00"
    assert asked(drive, "GET", FILES) == 6 + 2  # pages of two: 12 entries, of which 1 page has 1; 4 aside
    assert folder.listing() == files


def test_a_page_is_as_large_as_drive_allows(drive: DriveStandIn, root: str, folder: DropFolder) -> None:
    for number in range(101):  # more than its pages have unless one asks for more
        drive.add(f"{number}.xlsx", parent=root)
    assert len(folder.listing()) == 101
    assert [search["pageSize"] for search in drive.searches] == ["1000"]


def test_an_empty_folder_and_none_aside(folder: DropFolder) -> None:
    assert folder.listing() == []


@pytest.mark.parametrize(
    "name",
    [
        'it\'s "quoted" \\.xlsx',
        "充值記錄_20230329.xlsx",
        "two\nlines\r\t.xlsx",
        "a/b\\c.xlsx",
        "\u202excod.xlsx",
        "' or '1'='1",
    ],
)
def test_a_name_may_hold_anything(
    drive: DriveStandIn, root: str, folder: DropFolder, tmp_path: Path, name: str, refused: Refused
) -> None:
    drive.add(name, b"data", parent=root)
    file = only(folder)
    assert (file.name, file.is_aside) == (name, False)
    fetched = folder.fetch(file, tmp_path / "t", MANY)
    assert fetched.path.read_bytes() == b"data"
    assert fetched.url.isprintable()
    assert folder.put_aside(file)
    assert (only(folder).name, only(folder).is_aside) == (name, True)
    refused(lambda: folder.fetch(file, tmp_path / "t", 3))


def test_two_files_of_one_name_are_two_files(
    drive: DriveStandIn, root: str, folder: DropFolder, tmp_path: Path
) -> None:
    contents = {drive.add("same.xlsx", data, parent=root): data for data in (b"one", b"two")}
    files = folder.listing()
    assert [file.id for file in files] == sorted(contents)
    for file in files:
        assert folder.fetch(file, tmp_path / "t", MANY).path.read_bytes() == contents[file.id]
    assert all(folder.put_aside(file) for file in files)
    assert [(file.name, file.is_aside) for file in folder.listing()] == [("same.xlsx", True)] * 2


def test_a_folder_of_a_shared_drive(drive: DriveStandIn, settings: Settings, tmp_path: Path) -> None:
    root = drive.add_folder(drive="0AShared")
    drive.add("a.xlsx", b"data", parent=root)
    folder = open_folder(f"gdrive://{root}/", settings)
    file = only(folder)
    assert folder.fetch(file, tmp_path / "t", MANY).bytes == 4
    assert folder.put_aside(file)
    assert only(folder).is_aside


@pytest.mark.parametrize(
    "url",
    [
        "gdrive://",
        "gdrive://a'b",
        "gdrive://a/b",
        "gdrive://a b",
        "gdrive://a?x=1",
        "gdrive://user:canary@a",
        "gdrive://ä",
    ],
)
def test_what_is_no_address_of_a_folder_is_refused_at_once(settings: Settings, url: str, refused: Refused) -> None:
    message = refused(lambda: open_folder(url, settings))
    assert message.startswith("gdrive://: not a folder of Google Drive; gdrive://FOLDER_ID is")


def test_a_folder_that_is_none(
    drive: DriveStandIn, root: str, folder: DropFolder, settings: Settings, refused: Refused
) -> None:
    missing = "gdrive://nowhere: no such folder, or it is not shared with " + ACCOUNT
    assert refused(open_folder("gdrive://nowhere", settings).listing) == missing
    file = drive.add("a.xlsx", parent=root)
    assert refused(open_folder(f"gdrive://{file}", settings).listing) == f"gdrive://{file}: is not a folder"
    drive.role = None
    assert refused(folder.listing) == f"gdrive://{root}: no such folder, or it is not shared with {ACCOUNT}"
    drive.role = "reader"
    assert names(folder.listing()) == ["a.xlsx"]
    drive.trash(root)
    assert refused(folder.listing) == f"gdrive://{root}: is in the bin"


# -- fetching -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 999, 1000, 1001, 3500])
def test_a_file_is_fetched_in_blocks(
    drive: DriveStandIn, root: str, folder: DropFolder, tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gdrive, "BLOCK", 1000)
    data = bytes(range(250)) * 14
    identity = drive.add("a.xlsx", data[:size], parent=root)
    target = tmp_path / "new" / "t"
    fetched = folder.fetch(only(folder), target, size)
    assert (fetched.path, fetched.bytes, fetched.url) == (target, size, f"{folder.url}/a.xlsx")
    assert fetched.digest == hashlib.sha256(data[:size]).hexdigest()
    assert target.read_bytes() == data[:size]
    assert asked(drive, "GET", f"{FILES}/{identity}") == 1 + max(1, -(-size // 1000))


def test_a_file_that_is_too_large_is_not_even_asked_for(
    drive: DriveStandIn, root: str, folder: DropFolder, tmp_path: Path, refused: Refused
) -> None:
    identity = drive.add("a.xlsx", b"x" * 1001, parent=root)
    file = only(folder)
    message = refused(lambda: folder.fetch(file, tmp_path / "t", 1000))
    assert message == f"{folder.url}/a.xlsx: has 1,001 bytes; more than 1,000 are refused"
    assert asked(drive, "GET", f"{FILES}/{identity}") == 0
    assert not (tmp_path / "t").exists()


def test_a_google_sheet_is_a_workbook(
    drive: DriveStandIn,
    root: str,
    folder: DropFolder,
    tmp_path: Path,
    refused: Refused,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sheet = drive.add("top_up_2023-03-29", b"exported", parent=root, mime=SHEET)
    named = drive.add("b.XLSX", b"too", parent=root, mime=SHEET)
    named_file, file = folder.listing()
    assert (named_file.id, named_file.name) == (named, "b.XLSX")
    assert (file.id, file.name, file.bytes) == (sheet, "top_up_2023-03-29.xlsx", None)
    assert folder.fetch(file, tmp_path / "t", 8).path.read_bytes() == b"exported"

    message = refused(lambda: folder.fetch(file, tmp_path / "u", 7))
    assert message == f"{folder.url}/top_up_2023-03-29.xlsx: has more than 7 bytes, which are refused"
    assert not (tmp_path / "u").exists()

    drive.replace(sheet, b"changed")
    changed = folder.listing()[1]
    assert changed.digest != file.digest
    assert folder.fetch(changed, tmp_path / "t", 8).path.read_bytes() == b"changed"
    assert folder.put_aside(changed)
    assert [(f.id, f.digest) for f in folder.listing() if f.is_aside] == [(sheet, changed.digest)]

    monkeypatch.setattr(sandbox.drive, "LARGEST_EXPORT", 3)
    message = refused(lambda: folder.fetch(changed, tmp_path / "u", MANY))
    assert message.endswith("HTTP 403 exportSizeLimitExceeded: This file is too large to be exported.")


def test_a_download_that_is_cut_is_begun_anew(
    drive: DriveStandIn,
    root: str,
    folder: DropFolder,
    tmp_path: Path,
    refused: Refused,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gdrive, "BLOCK", 1000)
    data = bytes(range(250)) * 10
    identity = drive.add("a.xlsx", data, parent=root)
    file = only(folder)
    drive.cut()
    assert folder.fetch(file, tmp_path / "t", 2500).path.read_bytes() == data
    assert asked(drive, "GET", f"{FILES}/{identity}") == 1 + 1 + 3
    drive.cut(2)
    message = refused(lambda: folder.fetch(file, tmp_path / "u", 2500), transient=True)
    assert message == f"{folder.url}/a.xlsx: IncompleteRead after 2 attempts"
    assert not (tmp_path / "u").exists()
    assert folder.listing() == [file]  # over a connection that is whole


def test_a_file_that_is_gone_or_another_one(
    drive: DriveStandIn, root: str, folder: DropFolder, tmp_path: Path, refused: Refused
) -> None:
    identity = drive.add("a.xlsx", b"before", parent=root)
    target, file, place = tmp_path / "t", only(folder), f"{folder.url}/a.xlsx"
    drive.replace(identity, b"after")
    for act in (lambda: folder.fetch(file, target, MANY), lambda: folder.put_aside(file)):
        assert refused(act, transient=True) == f"{place}: was replaced since it was listed"
    assert only(folder).digest == md5(b"after")
    assert asked(drive, "POST", FILES) == 0, "no subfolder is made for nothing"

    file = only(folder)
    at_download = f"{FILES}/{identity}$"
    drive.inject("GET", at_download, 503)  # what tells the file as it is
    drive.inject("GET", at_download, 503)
    refused(lambda: folder.fetch(file, target, MANY), transient=True)
    drive.trash(identity)
    gone = f"{place}: is gone since it was listed, or is no longer shared with {ACCOUNT}"
    for act in (lambda: folder.fetch(file, target, MANY), lambda: folder.put_aside(file)):
        assert refused(act) == gone
    del drive.items[identity]
    assert refused(lambda: folder.fetch(file, target, MANY)) == gone
    assert not target.exists()


def test_a_file_that_is_replaced_while_it_is_downloaded(
    drive: DriveStandIn,
    root: str,
    folder: DropFolder,
    tmp_path: Path,
    refused: Refused,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gdrive, "BLOCK", 1000)
    identity = drive.add("a.xlsx", b"b" * 2500, parent=root)
    file = only(folder)
    real = drive._get

    def replacing(call: Any, wanted: str) -> Any:
        answer = real(call, wanted)
        if call.headers.get("range") == "bytes=1000-1999":
            drive.items[identity].data = b"a" * 2500
        return answer

    files = re.compile(rf"{FILES}/([^/]+)")
    drive._routes = (("GET", files, drive._reading(replacing)), *drive._routes)
    message = refused(lambda: folder.fetch(file, tmp_path / "t", MANY), transient=True)
    assert message == f"{folder.url}/a.xlsx: was replaced since it was listed"
    assert not (tmp_path / "t").exists()


def test_a_target_that_cannot_be_written(
    drive: DriveStandIn, root: str, folder: DropFolder, tmp_path: Path, refused: Refused
) -> None:
    drive.add("a.xlsx", b"data", parent=root)
    (tmp_path / "file").touch()
    message = refused(lambda: folder.fetch(only(folder), tmp_path / "file" / "t", MANY))
    assert message.startswith(f"{tmp_path}/file/t: cannot be written: ")


# -- moving aside -------------------------------------------------------------------------------------------------


def test_a_file_is_moved_aside_once(drive: DriveStandIn, root: str, folder: DropFolder, tmp_path: Path) -> None:
    drive.add("a.xlsx", b"a", parent=root)
    drive.add("b.xlsx", b"b", parent=root)
    first, second = folder.listing()
    assert folder.put_aside(first)
    assert folder.put_aside(second)
    assert asked(drive, "POST", FILES) == 1, "the subfolder is made once"
    moved = folder.listing()
    assert all(file.is_aside for file in moved)
    assert [(f.id, f.name, f.digest, f.modified) for f in moved] == [
        (f.id, f.name, f.digest, f.modified) for f in (first, second)
    ]
    assert not folder.put_aside(first)
    assert not folder.put_aside(moved[0])
    assert folder.listing() == moved
    assert folder.fetch(moved[1], tmp_path / "t", MANY).path.read_bytes() == b"b"
    assert asked(drive, "PATCH", f"{FILES}/.*") == 2


def test_of_several_subfolders_all_are_listed_and_the_oldest_is_used(
    drive: DriveStandIn, root: str, folder: DropFolder
) -> None:
    newer, older = drive.add_folder("aside", root), drive.add_folder("aside", root)
    drive.items[older].created = "2023-01-01T00:00:00.000Z"
    drive.add("in_newer.xlsx", parent=newer)
    drive.add("in_older.xlsx", parent=older)
    identity = drive.add("a.xlsx", parent=root)
    file = folder.listing()[0]
    assert folder.put_aside(file)
    assert drive.items[identity].parent == older
    assert [(file.name, file.is_aside) for file in folder.listing()] == [
        ("a.xlsx", True), ("in_newer.xlsx", True), ("in_older.xlsx", True)
    ]  # fmt: skip
    drive.items[identity].parent = newer
    assert not folder.put_aside(file), "it lies in the other one"


def test_a_move_whose_answer_is_lost_is_made_once(drive: DriveStandIn, root: str, folder: DropFolder) -> None:
    aside = drive.add_folder("aside", root)
    identity = drive.add("a.xlsx", parent=root)
    file = only(folder)

    def move(held: Any) -> None:
        held.items[identity].parent = aside

    drive.inject("PATCH", identity, 503, effect=move)
    assert folder.put_aside(file)
    assert only(folder).is_aside


def test_a_file_that_somebody_moved_elsewhere_stays_there(
    drive: DriveStandIn, root: str, folder: DropFolder, refused: Refused
) -> None:
    identity = drive.add("a.xlsx", parent=root)
    file = only(folder)
    drive.items[identity].parent = elsewhere = drive.add_folder()
    message = refused(lambda: folder.put_aside(file))
    assert message == f"{folder.url}/a.xlsx: is gone since it was listed: it was moved to another folder"
    assert drive.items[identity].parent == elsewhere


def test_who_may_only_read_cannot_move(
    drive: DriveStandIn, root: str, folder: DropFolder, settings: Settings, tmp_path: Path, refused: Refused,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    drive.add("a.xlsx", b"data", parent=root)
    file = only(folder)
    drive.role = "reader"
    message = refused(lambda: folder.put_aside(file))
    assert message == (
        f"{folder.url}/a.xlsx: not allowed (HTTP 403 insufficientFilePermissions); share the folder with {ACCOUNT} as "
        "an editor (of a shared drive, as a content manager)"
    )
    assert folder.listing() == [file]

    drive.role = "writer"
    monkeypatch.setattr(gdrive, "SCOPE", "https://www.googleapis.com/auth/drive.readonly")
    reading = open_folder(folder.url, settings)
    assert reading.fetch(only(reading), tmp_path / "t", MANY).bytes == 4
    message = refused(lambda: reading.put_aside(file))
    assert "HTTP 403 insufficientPermissions" in message
    assert "; the credentials need the scope https://www.googleapis.com/auth/drive" in message
    assert folder.listing() == [file]


# -- what goes wrong ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "reason"),
    [(429, "rateLimitExceeded"), (403, "rateLimitExceeded"), (403, "userRateLimitExceeded"), (500, ""), (503, "")],
)
def test_what_may_pass_by_itself_is_asked_again(
    drive: DriveStandIn, root: str, folder: DropFolder, tmp_path: Path, status: int, reason: str, refused: Refused
) -> None:
    identity = drive.add("a.xlsx", b"data", parent=root)
    drive.inject("GET", f"{FILES}/{root}$", status, reason=reason)
    drive.inject("GET", f"{FILES}$", status, reason=reason)
    file = only(folder)
    drive.inject("GET", f"{FILES}/{identity}$", status, reason=reason)
    assert folder.fetch(file, tmp_path / "t", MANY).path.read_bytes() == b"data"
    for method in ("POST", "PATCH"):
        drive.inject(method, FILES, status, reason=reason)
    assert folder.put_aside(file)
    assert only(folder).is_aside

    drive.calls.clear()
    drive.inject("GET", f"{FILES}$", status, reason=reason, times=2)
    message = refused(folder.listing, transient=True)
    assert message == f"{folder.url}: HTTP {status} {reason or 'UNKNOWN'} after 2 attempts"
    assert asked(drive, "GET", FILES) == 2


@pytest.mark.parametrize("reason", ["forbidden", "insufficientPermissions", "insufficientFilePermissions"])
def test_who_may_not_read_is_told_with_whom_to_share(
    drive: DriveStandIn, folder: DropFolder, reason: str, refused: Refused
) -> None:
    drive.inject("GET", f"{FILES}$", 403, reason=reason)
    message = refused(folder.listing)
    assert message == f"{folder.url}: not allowed (HTTP 403 {reason}); share the folder with {ACCOUNT}"
    assert asked(drive, "GET", FILES) == 1


def test_other_refusals_are_told_in_googles_words(drive: DriveStandIn, folder: DropFolder, refused: Refused) -> None:
    said = "Google Drive API has not been used in project 1 before or it is disabled.\nEnable it"
    drive.inject("GET", f"{FILES}$", 403, said, reason="accessNotConfigured")
    assert refused(folder.listing) == f"{folder.url}: HTTP 403 accessNotConfigured: {' '.join(said.split())}"
    drive.inject("GET", f"{FILES}$", 400, "x" * 1000, reason="invalid")
    assert refused(folder.listing) == f"{folder.url}: HTTP 400 invalid: {'x' * 300}"


def test_a_token_that_ends_is_replaced(
    drive: DriveStandIn, root: str, folder: DropFolder, settings: Settings, tmp_path: Path
) -> None:
    drive.add("a.xlsx", b"data", parent=root)
    file = only(folder)
    assert asked(drive, "POST", "/token") == 1, "one token for many requests"
    drive.expire_tokens()
    assert folder.listing() == [file]
    assert asked(drive, "POST", "/token") == 2
    drive.expire_tokens()
    assert folder.fetch(file, tmp_path / "t", MANY).path.read_bytes() == b"data"
    assert asked(drive, "POST", "/token") == 3

    drive.token_seconds = 1  # too short to be used for two requests
    short = open_folder(folder.url, settings)
    assert short.listing() == [file]
    assert asked(drive, "POST", "/token") == 5
    drive.inject("POST", "/token", 503)
    assert short.listing() == [file]
    drive.inject("POST", "/token", 503, times=2 * 3)  # google-auth itself tries three times
    with pytest.raises(TransientError, match="no access token after 2 attempts"):
        short.listing()


def test_credentials_that_are_refused(
    drive: DriveStandIn, root: str, settings: Settings, tmp_path: Path, refused: Refused
) -> None:
    stranger = write_key(tmp_path / "stranger.json", drive.url, account=ACCOUNT)
    folder = open_folder(f"gdrive://{root}", settings.model_copy(update={"drive_key": stranger}))
    assert refused(folder.listing) == (
        f"gdrive://{root}: the credentials of {ACCOUNT} were refused: invalid_grant: Invalid JWT Signature."
    )
    folder = open_folder(f"gdrive://{root}", settings)
    drive.inject("GET", "/files/", 401, reason="authError", times=3)
    assert refused(folder.listing).startswith(f"gdrive://{root}: HTTP 401 authError: ")


@pytest.mark.parametrize(
    "content",
    [
        None,
        "",
        "not JSON canary",
        "[]",
        '{"type": "service_account", "private_key": "canary"}',
        '{"type": "service_account", "client_email": "a@b", "token_uri": "http://127.0.0.1:1/", "private_key": "canary"}',
        '{"type": "authorized_user", "client_id": "1", "client_secret": "canary", "refresh_token": "canary"}',
    ],
)
def test_a_file_that_is_no_key(settings: Settings, tmp_path: Path, content: str | None, refused: Refused) -> None:
    path = tmp_path / "other.json"
    if content is not None:
        path.write_text(content)
    folder = open_folder("gdrive://a", settings.model_copy(update={"drive_key": path}))
    message = refused(folder.listing)
    said = "No such file or directory" if content is None else "is no key of a service account"
    assert message == f"gdrive://a: LAKEGRAPH_DRIVE_KEY: {path}: {said}"


def test_without_a_key_application_default_credentials_are_taken(
    drive: DriveStandIn,
    root: str,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    refused: Refused,
) -> None:
    drive.add("a.xlsx", parent=root)
    bare = settings.model_copy(update={"drive_key": None})
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(settings.drive_key))
    folder = open_folder(f"gdrive://{root}", bare)
    assert folder.put_aside(only(folder))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    assert refused(open_folder(f"gdrive://{root}", bare).listing) == (
        f"gdrive://{root}: no usable credentials; set LAKEGRAPH_DRIVE_KEY to the key file of a service account, or "
        "GOOGLE_APPLICATION_CREDENTIALS"
    )


def test_a_persons_credentials_keep_the_scopes_of_their_login(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """To ask for others would be refused. Google's library takes their token from the live server alone."""
    person = {"type": "authorized_user", "client_id": "1", "client_secret": "x", "refresh_token": "y"}
    (tmp_path / "person.json").write_text(json.dumps(person))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "person.json"))
    folder = gdrive.open_drive("gdrive://a", settings.model_copy(update={"drive_key": None}))
    assert (folder._credentials.scopes, folder._account) == (None, "the account of the credentials")


def test_a_drive_that_does_not_answer(settings: Settings, refused: Refused) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        at = settings.model_copy(update={"drive_endpoint": url, "http_timeout_seconds": 0.2})
        message = refused(open_folder("gdrive://a", at).listing, transient=True)
        assert message == "gdrive://a: Connection refused after 2 attempts"
        silent.listen()
        message = refused(open_folder("gdrive://a", at).listing, transient=True)
        assert message == "gdrive://a: TimeoutError after 2 attempts"


@pytest.mark.parametrize(
    ("answer", "transient", "said"),
    [
        (lakes.Answer(b"<html>sign in</html>"), False, "answered with something else than Drive does"),
        (lakes.Answer(b"<html>no</html>", 403), False, "HTTP 403: no reason is given"),
        (lakes.Answer(b"[]", 400), False, "HTTP 400: no reason is given"),
        (lakes.Answer(b"{", announced=100), True, "IncompleteRead after 2 attempts"),
        (lakes.Answer(b"<html>gateway</html>", 502), True, "HTTP 502 after 2 attempts"),
    ],
)
def test_what_answers_instead_of_drive(
    settings: Settings, answer: lakes.Answer, transient: bool, said: str, refused: Refused
) -> None:
    with lakes.answering(lambda _: answer) as url:
        folder = open_folder("gdrive://a", settings.model_copy(update={"drive_endpoint": url}))
        assert refused(folder.listing, transient=transient).startswith(f"gdrive://a: {said}")


def test_settings_of_drive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for url in ("https://drive.example/x/", "http://127.0.0.1:9/", "http://localhost:9", "http://[::1]:9"):
        assert Settings(drive_endpoint=url).drive_endpoint == url.rstrip("/")
    for url in (
        "http://drive.example",
        "http://127.0.0.1.example",
        "ftp://127.0.0.1",
        "https://u:p@drive.example",
        "x",
        "https://",
    ):
        with pytest.raises(ValidationError):
            Settings(drive_endpoint=url)
    monkeypatch.chdir(tmp_path)
    assert Settings(drive_key=Path("key.json")).drive_key == tmp_path / "key.json"


# -- the stand-in -------------------------------------------------------------------------------------------------


def test_the_stand_in_is_as_strict_as_the_original(drive: DriveStandIn, root: str, folder: DropFolder) -> None:
    """What the source relies on being refused, asked through the same client."""
    from googleapiclient.errors import HttpError

    files = folder._files  # type: ignore[attr-defined]
    identity = drive.add("a.xlsx", b"data", parent=root)
    shared = drive.add_folder(drive="0AShared")
    other = drive.add_folder()

    def status(request: Any) -> int:
        with pytest.raises(HttpError) as raised:
            request.execute()
        return int(raised.value.resp.status)

    assert set(files.get(fileId=identity).execute()) == {"kind", "id", "name", "mimeType"}
    assert files.list(q=f"'{root}' in parents", fields="files(id)").execute() == {"files": [{"id": identity}]}
    assert status(files.list(q=f"'{root}' in parent")) == 400
    assert status(files.list(q="'it's' in parents")) == 400
    assert status(files.list(q=f"'{root}' in parents", pageToken="made up")) == 400
    assert status(files.list(q=f"'{root}' in parents", orderBy="size")) == 400
    assert status(files.get(fileId=identity, fields="id,nonsense")) == 400
    assert status(files.get(fileId=shared)) == 404
    assert status(files.update(fileId=identity, addParents=other)) == 403, "a file has one parent"
    assert status(files.export_media(fileId=identity, mimeType=sandbox.drive.XLSX)) == 403
    sheet = drive.add("s", parent=root, mime=SHEET)
    assert status(files.get_media(fileId=sheet)) == 403
