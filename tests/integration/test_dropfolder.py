"""Folders that files are dropped into: on this machine, in S3 and in Cloud Storage, by the clients that production has.

What is true of every kind is tested with every kind; Google Drive is in `test_gdrive.py`.
"""

import hashlib
import os
import socket
import tempfile
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from urllib.parse import quote

import gcsfs
import pytest
import s3fs
import tenacity.nap
from command import call
from fsspec.asyn import sync

import sandbox.gcs
from dlt_sources import dropfolder
from dlt_sources.dropfolder import DropFolder, DroppedFile, open_folder
from lake.errors import LakeError, TransientError
from lake.settings import Settings
from sandbox.gcp import GcpStandIn, write_key
from sandbox.s3 import S3StandIn

pytestmark = pytest.mark.usefixtures("loopback_alone", "no_waits")
BUCKET = "drops"
MANY = 10**9
NOBODY = 65534
CANARY = "canarysecret7f3a"


@dataclass(frozen=True)
class Place:
    """A folder as those who drop files see it.

    Attributes:
        kind: of the folder.
        url: as it is opened.
        put: writes a file, by its path in the folder.
        paths: all files in it and below, by their paths.
        read: a file's content.
        remove: removes one.
    """

    kind: str
    url: str
    put: Callable[[str, bytes], None]
    paths: Callable[[], list[str]]
    read: Callable[[str], bytes]
    remove: Callable[[str], None]

    def contents(self) -> dict[str, bytes]:
        return {path: self.read(path) for path in self.paths()}


@pytest.fixture
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits before it tries again does not wait."""
    monkeypatch.setattr(tenacity.nap, "time", types.SimpleNamespace(sleep=lambda _: None))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", http_attempts=2, http_timeout_seconds=10)


@pytest.fixture(scope="module")
def s3_server() -> Iterator[S3StandIn]:
    with S3StandIn() as running:
        yield running


@pytest.fixture(scope="module")
def s3_client(s3_server: S3StandIn) -> s3fs.S3FileSystem:
    options = {"endpoint_url": s3_server.url, "key": "other", "secret": "other", "skip_instance_cache": True}
    client = s3fs.S3FileSystem(**options, use_listings_cache=False)
    client.mkdir(BUCKET)
    return client


@pytest.fixture
def s3(s3_server: S3StandIn, s3_client: s3fs.S3FileSystem, monkeypatch: pytest.MonkeyPatch) -> S3StandIn:
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CANARY)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3_server.faults.clear()
    for found in s3_client.call_s3("list_objects_v2", Bucket=BUCKET).get("Contents", []):
        s3_client.call_s3("delete_object", Bucket=BUCKET, Key=found["Key"])
    s3_server.requests.clear()
    return s3_server


@pytest.fixture
def in_s3(s3: S3StandIn, s3_client: s3fs.S3FileSystem) -> "Place":
    return in_store("s3", s3_client)


@pytest.fixture(scope="module")
def gcs_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GcpStandIn]:
    with GcpStandIn(tmp_path_factory.mktemp("gcs")) as running:
        write_key(tmp_path_factory.getbasetemp() / "gcs-key.json", running.url)
        yield running


@pytest.fixture
def gcs(
    gcs_server: GcpStandIn, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> GcpStandIn:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs_server.url)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path_factory.getbasetemp() / "gcs-key.json"))
    gcs_server.forget()
    for name in list(gcs_server.store.names(BUCKET)):
        gcs_server.store.remove(BUCKET, name)
    gcs_server.store.put("bucket", BUCKET, {"name": BUCKET})
    return gcs_server


@pytest.fixture
def in_gcs(gcs: GcpStandIn) -> "Place":
    return in_store("gs", gcsfs.GCSFileSystem(use_listings_cache=False, skip_instance_cache=True))


def in_store(kind: str, files: s3fs.S3FileSystem | gcsfs.GCSFileSystem) -> Place:
    folder = f"{BUCKET}/a folder/drop"
    return Place(
        kind,
        f"{kind}://{folder}",
        lambda path, data: files.pipe_file(f"{folder}/{path}", data),
        lambda: sorted(found.removeprefix(f"{folder}/") for found in files.find(folder)),
        lambda path: files.cat_file(f"{folder}/{path}"),
        lambda path: files.rm_file(f"{folder}/{path}"),
    )


def here(kind: str, folder: Path) -> Place:
    def put(path: str, data: bytes) -> None:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)

    return Place(
        kind,
        f"file://{quote(str(folder))}" if kind == "file" else str(folder),
        put,
        lambda: sorted(str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file()),
        lambda path: (folder / path).read_bytes(),
        lambda path: (folder / path).unlink(),
    )


@pytest.fixture(params=["file", "s3", "gs"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param in {"s3", "gs"}:
        stored: Place = request.getfixturevalue({"s3": "in_s3", "gs": "in_gcs"}[request.param])
        return stored
    return here(request.param, tmp_path / "a folder" / "drop")


@pytest.fixture
def folder(place: Place, settings: Settings) -> DropFolder:
    return open_folder(place.url, settings)


def refused(act: Callable[[], object], *, transient: bool = False) -> str:
    with pytest.raises(LakeError) as raised:
        act()
    assert isinstance(raised.value, TransientError) == transient, repr(raised.value)
    message = str(raised.value)
    assert message.isprintable()
    assert CANARY not in message
    return message


def only(folder: DropFolder) -> DroppedFile:
    (file,) = folder.listing()
    return file


def named(folder: DropFolder) -> list[tuple[str, bool]]:
    return [(file.name, file.is_aside) for file in folder.listing()]


# -- what every kind of folder does -------------------------------------------------------------------------------


def test_a_listing_tells_what_lies_there_and_aside(place: Place, folder: DropFolder) -> None:
    started = datetime.now(UTC) - timedelta(seconds=2)
    for path in (
        "b.xlsx", "a.xlsx", "c.csv", ".hidden.xlsx", "~$a.xlsx", "2023/deeper.xlsx", "aside/a.xlsx", "aside/d.xlsx",
        "aside/.hidden", "aside/2023/deeper.xlsx", "aside.xlsx",
    ):  # fmt: skip
        place.put(path, path.encode())
    files = folder.listing()
    assert [(file.name, file.is_aside) for file in files] == [
        ("a.xlsx", False), ("a.xlsx", True), ("aside.xlsx", False), ("b.xlsx", False), ("c.csv", False), ("d.xlsx", True),
    ]  # fmt: skip
    assert [file.id for file in files] == [file.name for file in files]
    assert [file.bytes for file in files] == [6, 12, 10, 6, 5, 12]
    assert len({file.digest for file in files if file.bytes == 6}) == 2
    for file in files:
        assert started <= file.modified <= datetime.now(UTC) + timedelta(seconds=1)
        assert file.modified.utcoffset() == timedelta(0)
    assert folder.listing() == files


def test_a_digest_follows_the_content(place: Place, folder: DropFolder) -> None:
    place.put("a.xlsx", b"before")
    before = only(folder)
    place.put("a.xlsx", b"after!")
    after = only(folder)
    assert (after.id, after.bytes) == (before.id, before.bytes)
    assert after.digest != before.digest


def test_a_folder_that_is_not_there_is_named(place: Place, settings: Settings) -> None:
    place.put("a.xlsx", b"data")
    missing = open_folder(f"{place.url}/none", settings)
    assert refused(missing.listing).startswith(f"{place.url}/none: no such folder")
    file = open_folder(f"{place.url}/a.xlsx", settings)
    assert refused(file.listing).startswith(f"{place.url}/a.xlsx: is a file, not a folder")


def test_a_file_is_fetched(place: Place, folder: DropFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dropfolder, "BLOCK", 1000)
    monkeypatch.setattr(dropfolder, "CHUNK", 1000)
    contents = {"empty": b"", "one": b"1", "exact": b"x" * 1000, "several": bytes(range(250)) * 10, "aside/a": b"aside"}
    for path, data in contents.items():
        place.put(path, data)
    fetched = 0
    for file in folder.listing():
        path = f"aside/{file.name}" if file.is_aside else file.name
        target = tmp_path / "new" / file.name
        found = folder.fetch(file, target, max(1, len(contents[path])))
        assert (found.path, found.bytes) == (target, len(contents[path]))
        assert found.digest == hashlib.sha256(contents[path]).hexdigest()
        assert target.read_bytes() == contents[path]
        assert found.url == f"{place.url}/{path}"
        fetched += 1
    assert fetched == len(contents)


def test_a_file_that_is_too_large_is_refused(place: Place, folder: DropFolder, tmp_path: Path) -> None:
    place.put("a.xlsx", b"x" * 1001)
    message = refused(lambda: folder.fetch(only(folder), tmp_path / "t", 1000))
    assert message == f"{place.url}/a.xlsx: has 1,001 bytes; more than 1,000 are refused"
    assert not (tmp_path / "t").exists()


def test_a_file_that_grows_while_it_is_fetched_is_refused(
    place: Place, folder: DropFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.put("a.xlsx", b"x" * 10)
    file = only(folder)
    place.put("a.xlsx", b"x" * 1001)
    message = refused(lambda: folder.fetch(file, tmp_path / "t", 1000))
    assert message == f"{place.url}/a.xlsx: has more than 1,000 bytes, which are refused"
    assert not (tmp_path / "t").exists()


def test_a_file_that_is_gone_or_another_one(place: Place, folder: DropFolder, tmp_path: Path) -> None:
    place.put("a.xlsx", b"before")
    place.put("b.xlsx", b"stays")
    file, stays = folder.listing()
    place.put("a.xlsx", b"after!")
    for act in (lambda: folder.fetch(file, tmp_path / "t", MANY), lambda: folder.put_aside(file)):
        assert refused(act, transient=True) == f"{place.url}/a.xlsx: was replaced since it was listed"
    assert place.contents() == {"a.xlsx": b"after!", "b.xlsx": b"stays"}
    place.remove("a.xlsx")
    for act in (lambda: folder.fetch(file, tmp_path / "t", MANY), lambda: folder.put_aside(file)):
        assert refused(act).startswith(f"{place.url}/a.xlsx: ")
    assert not (tmp_path / "t").exists()
    assert folder.listing() == [stays]


def test_a_file_is_moved_aside_once(place: Place, folder: DropFolder, tmp_path: Path) -> None:
    for name in ("a.xlsx", "b.xlsx"):
        place.put(name, name.encode())
    first, second = folder.listing()
    assert folder.put_aside(first)
    assert named(folder) == [("a.xlsx", True), ("b.xlsx", False)]
    assert folder.put_aside(second)
    assert place.contents() == {"aside/a.xlsx": b"a.xlsx", "aside/b.xlsx": b"b.xlsx"}
    moved = folder.listing()
    assert [(f.id, f.name, f.bytes, f.digest) for f in moved] == [
        (f.id, f.name, f.bytes, f.digest) for f in (first, second)
    ]
    assert not folder.put_aside(first)
    assert not folder.put_aside(moved[0])
    assert folder.listing() == moved
    assert folder.fetch(moved[1], tmp_path / "t", MANY).path.read_bytes() == b"b.xlsx"


def test_what_lies_aside_is_never_overwritten(place: Place, folder: DropFolder) -> None:
    def drop(content: bytes) -> DroppedFile:
        place.put("a.b.xlsx", content)
        (file,) = [f for f in folder.listing() if not f.is_aside]
        return file

    for content in (b"one", b"two", b"three"):
        file = drop(content)
        assert folder.put_aside(file)
        assert not folder.put_aside(file), "also under its new name"
    wanted = {"aside/a.b.xlsx": b"one", "aside/a.b.~2~.xlsx": b"two", "aside/a.b.~3~.xlsx": b"three"}
    assert place.contents() == wanted
    files = folder.listing()
    assert {file.id for file in files} == {"a.b.xlsx"}
    assert len({file.digest for file in files}) == 3
    assert folder.put_aside(drop(b"one"))
    assert place.contents() == wanted


def test_a_number_goes_before_the_extension() -> None:
    for name, second in {"a": "a.~2~", "a.xlsx": "a.~2~.xlsx", ".a": ".a.~2~", "a.": "a..~2~"}.items():
        assert list(islice(dropfolder._names(name), 2)) == [name, second]
        assert dropfolder._id(second, is_aside=True) == name
        assert dropfolder._id(second, is_aside=False) == second


def test_a_name_may_hold_anything(place: Place, folder: DropFolder, tmp_path: Path) -> None:
    names = [
        'it\'s "quoted" \\.xlsx',
        "充值記錄_20230329.xlsx",
        "report[1].xlsx",
        "*?.xlsx",
        "a#1?x=%2F&+.xlsx",
        "\u202excod.xlsx",
    ]
    if place.kind == "file":  # Cloud Storage allows no line breaks
        names.append("two\nlines\t.xlsx")
    for name in (*names, "reportX.xlsx"):  # which a pattern would match
        place.put(name, name.encode())
    for file in folder.listing():
        fetched = folder.fetch(file, tmp_path / "t", MANY)
        assert fetched.path.read_bytes() == file.name.encode()
        assert fetched.url.isprintable()
        assert file.name == "reportX.xlsx" or folder.put_aside(file)
        refused(lambda file=file: folder.fetch(file, tmp_path / "t", 3))
    assert named(folder) == sorted([*((name, True) for name in names), ("reportX.xlsx", False)])


def test_a_target_that_cannot_be_written(place: Place, folder: DropFolder, tmp_path: Path) -> None:
    place.put("a.xlsx", b"data")
    (tmp_path / "file").touch()
    message = refused(lambda: folder.fetch(only(folder), tmp_path / "file" / "t", MANY))
    assert message.startswith(f"{tmp_path}/file/t: cannot be written: ")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (
            "https://user:canarysecret7f3a@host/x?sig=canarysecret7f3a",
            "https://host/x: https:// is no folder for files",
        ),
        ("ftp://host/x", "ftp://host/x: ftp:// is no folder for files"),
        ("s3://key:canarysecret7f3a@bucket/x", "s3://bucket/x: holds a user or password"),
        ("s3://", "s3://: names no bucket"),
        ("gs:///", "gs://: names no bucket"),
    ],
)
def test_what_is_no_folder_is_refused_at_once(settings: Settings, url: str, said: str) -> None:
    assert refused(lambda: open_folder(url, settings)).startswith(said)


# -- this machine -------------------------------------------------------------------------------------------------


def test_of_this_machine_links_are_files_and_names_that_are_no_text_are_left_out(
    tmp_path: Path, settings: Settings
) -> None:
    drop = tmp_path / "drop"
    drop.mkdir()
    (tmp_path / "real.xlsx").write_bytes(b"data")
    (drop / "link.xlsx").symlink_to(tmp_path / "real.xlsx")
    (drop / "broken.xlsx").symlink_to(tmp_path / "none.xlsx")
    Path(os.fsdecode(os.fsencode(drop) + b"/\xff.xlsx")).touch()
    assert named(open_folder(str(drop), settings)) == [("link.xlsx", False)]


def test_of_this_machine_an_aside_that_is_a_file_is_named(tmp_path: Path, settings: Settings) -> None:
    place = here("path", tmp_path / "drop")
    place.put("a.xlsx", b"data")
    place.put("aside", b"no folder")
    folder = open_folder(place.url, settings)
    file = folder.listing()[0]
    assert refused(lambda: folder.put_aside(file)) == f"{place.url}/a.xlsx: File exists"
    assert place.contents() == {"a.xlsx": b"data", "aside": b"no folder"}


@pytest.fixture
def own_folder(settings: Settings) -> Iterator[Path]:
    """A folder of a user who is not root, for root may do anything: while it is there, so is this process."""
    user = os.geteuid()
    with tempfile.TemporaryDirectory() as name:  # pytest's own are closed to others
        if user == 0:
            os.chown(name, NOBODY, -1)
            os.seteuid(NOBODY)
        try:
            yield Path(name)
        finally:
            os.seteuid(user)


def test_of_this_machine_what_is_not_allowed_is_named(own_folder: Path, settings: Settings) -> None:
    drop = own_folder / "drop"
    place = here("path", drop)
    place.put("a.xlsx", b"data")
    folder = open_folder(place.url, settings)
    file = only(folder)
    drop.chmod(0o555)
    assert refused(lambda: folder.put_aside(file)) == f"{place.url}/a.xlsx: Permission denied"
    drop.chmod(0o000)
    assert refused(folder.listing) == f"{place.url}: Permission denied"
    drop.chmod(0o755)


# -- S3 -----------------------------------------------------------------------------------------------------------


def test_of_s3_all_pages_are_listed(
    in_s3: Place, settings: Settings, s3: S3StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "2")
    wanted = [f"{number}.xlsx" for number in range(5)]
    for name in wanted:
        in_s3.put(name, b"data")
    s3.requests.clear()
    assert [file.name for file in open_folder(in_s3.url, settings).listing()] == wanted
    assert sum("list-type=2" in request.query for request in s3.requests) >= 3


def test_of_s3_a_whole_bucket_is_a_folder(in_s3: Place, settings: Settings) -> None:
    folder = open_folder(f"s3://{BUCKET}/", settings)
    assert folder.listing() == []
    in_s3.put("a.xlsx", b"deeper")
    assert folder.listing() == []
    assert refused(open_folder("s3://elsewhere", settings).listing).startswith("s3://elsewhere: no such folder")


def test_of_s3_the_empty_objects_that_stand_for_folders_are_no_files(
    in_s3: Place, s3_client: s3fs.S3FileSystem, settings: Settings
) -> None:
    for path in ("", "aside/", "2023/", "/"):
        s3_client.call_s3("put_object", Bucket=BUCKET, Key=f"a folder/drop/{path}", Body=b"")
    folder = open_folder(in_s3.url, settings)
    assert folder.listing() == []
    in_s3.put("a.xlsx", b"data")
    assert folder.put_aside(only(folder))
    assert named(folder) == [("a.xlsx", True)]


def test_of_s3_what_was_uploaded_in_parts_keeps_its_digest(in_s3: Place, settings: Settings) -> None:
    files = s3fs.S3FileSystem(skip_instance_cache=True)
    with files.open(f"{in_s3.url}/a.xlsx", "wb", block_size=5 << 20) as out:
        out.write(b"x" * (11 << 20))
    folder = open_folder(in_s3.url, settings)
    file = only(folder)
    assert "-" in file.digest
    assert folder.put_aside(file)
    assert (only(folder).digest, only(folder).is_aside) == (file.digest, True)
    assert not folder.put_aside(file)


@pytest.mark.parametrize("status", [500, 503, 429])
def test_of_s3_what_may_pass_by_itself_is_asked_again(
    in_s3: Place, s3: S3StandIn, settings: Settings, tmp_path: Path, status: int
) -> None:
    in_s3.put("a.xlsx", b"data")
    folder = open_folder(in_s3.url, settings)
    s3.faults.fail(rf"^/{BUCKET}/?$", status)
    file = only(folder)
    s3.faults.fail(r"a\.xlsx$", status)
    assert folder.fetch(file, tmp_path / "t", MANY).path.read_bytes() == b"data"
    s3.faults.fail(r"/drop/a\.xlsx$", status)
    s3.faults.fail(r"/aside/a\.xlsx$", status)
    assert folder.put_aside(file)
    assert in_s3.contents() == {"aside/a.xlsx": b"data"}
    s3.faults.fail(rf"^/{BUCKET}/?$", status, times=99)
    s3.requests.clear()
    message = refused(folder.listing, transient=True)
    assert message.startswith(f"{in_s3.url}: HTTP {status}")
    assert len(s3.requests) == 2, "the client does not try again by itself"


def test_of_s3_what_is_not_allowed_is_named(in_s3: Place, s3: S3StandIn, settings: Settings, tmp_path: Path) -> None:
    in_s3.put("a.xlsx", b"data")
    folder = open_folder(in_s3.url, settings)
    file = only(folder)
    s3.faults.fail("a.xlsx", 403, times=99)
    denied = f"{in_s3.url}/a.xlsx: access denied; check the credentials in the environment"
    assert refused(lambda: folder.fetch(file, tmp_path / "t", MANY)) == denied
    assert refused(lambda: folder.put_aside(file)) == denied
    s3.faults.clear()
    assert folder.listing() == [file]
    s3.faults.fail(rf"^/{BUCKET}/?$", 403)
    assert refused(folder.listing) == f"{in_s3.url}: access denied; check the credentials in the environment"


def test_of_s3_a_server_that_does_not_answer(in_s3: Place, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        quick = settings.model_copy(update={"http_timeout_seconds": 0.3})
        assert refused(open_folder(in_s3.url, quick).listing, transient=True) == f"{in_s3.url}: EndpointConnectionError"
        silent.listen()
        assert refused(open_folder(in_s3.url, quick).listing, transient=True).endswith("TimeoutError")


def test_of_s3_missing_keys_are_named(in_s3: Place, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(settings.home / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    message = refused(open_folder(in_s3.url, settings).listing)
    assert message == f"{in_s3.url}: NoCredentialsError; check the credentials in the environment"


# -- Cloud Storage ------------------------------------------------------------------------------------------------


def test_of_cloud_storage_all_pages_are_listed(
    in_gcs: Place, gcs: GcpStandIn, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox.gcs, "PAGE", 2)
    wanted = [f"{number}.xlsx" for number in range(5)]
    for name in wanted:
        in_gcs.put(name, b"data")
    gcs.calls.clear()
    assert [file.name for file in open_folder(in_gcs.url, settings).listing()] == wanted
    assert sum(path.endswith(("/o/", "/o")) for _, path in gcs.calls) >= 3


def test_of_cloud_storage_what_was_composed_has_a_digest(in_gcs: Place, settings: Settings) -> None:
    in_gcs.put("parts/a", b"one")
    files = gcsfs.GCSFileSystem(skip_instance_cache=True)
    files.merge(f"{in_gcs.url}/a.xlsx", [f"{in_gcs.url}/parts/a"] * 2)
    folder = open_folder(in_gcs.url, settings)
    file = only(folder)
    assert file.digest.endswith("-6")
    files.merge(f"{in_gcs.url}/a.xlsx", [f"{in_gcs.url}/parts/a"] * 3)
    assert only(folder).digest != file.digest


def test_after_a_command_a_file_system_that_fsspec_keeps_does_not_wait_for_a_thread_that_is_gone(
    in_gcs: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """The fault: the next to read Cloud Storage in this process hung; here, the tests of a target."""
    in_gcs.put("a.xlsx", b"data")

    def read() -> bytes:
        files = gcsfs.GCSFileSystem(project="kept")
        return sync(files.loop, files._cat_file, f"{in_gcs.url}/a.xlsx", timeout=10)

    for _ in range(2):
        assert read() == b"data"
        assert call(capsys, "--help").code == 0


def test_of_cloud_storage_a_failure_is_asked_again_and_a_refusal_is_named(
    in_gcs: Place, gcs: GcpStandIn, settings: Settings, tmp_path: Path
) -> None:
    in_gcs.put("a.xlsx", b"data")
    folder = open_folder(in_gcs.url, settings)
    gcs.inject("GET", "/o/?$", 503)
    file = only(folder)
    gcs.inject("GET", r"a\.xlsx$", 403, "no storage.objects.get access", times=99)
    denied = f"{in_gcs.url}/a.xlsx: access denied; check the credentials in the environment"
    assert refused(lambda: folder.fetch(file, tmp_path / "t", MANY)) == denied
    assert not (tmp_path / "t").exists()


def test_of_cloud_storage_a_file_that_cannot_be_removed_is_copied_once(
    in_gcs: Place, gcs: GcpStandIn, settings: Settings
) -> None:
    in_gcs.put("a.xlsx", b"data")
    folder = open_folder(in_gcs.url, settings)
    file = only(folder)
    gcs.inject("DELETE", r"drop/a\.xlsx$", 403, "no storage.objects.delete access", times=2)
    for _ in range(2):
        assert "access denied" in refused(lambda: folder.put_aside(file))
        assert in_gcs.contents() == {"a.xlsx": b"data", "aside/a.xlsx": b"data"}
    assert folder.put_aside(file)
    assert in_gcs.contents() == {"aside/a.xlsx": b"data"}


def test_of_cloud_storage_a_bucket_that_is_not_there_is_named(gcs: GcpStandIn, settings: Settings) -> None:
    assert refused(open_folder("gs://elsewhere/x", settings).listing).startswith("gs://elsewhere/x: no such folder")
    assert open_folder(f"gs://{BUCKET}", settings).listing() == []
