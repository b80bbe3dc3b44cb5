"""Cloud Storage's stand-in under the official client and gcsfs, both unmodified and found by environment variables."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gcsfs
import httpx
import pytest
from command import wait_for
from google.api_core import exceptions as google
from google.auth.transport.requests import Request
from google.cloud import storage
from google.oauth2 import service_account

from lake.gcp import storage_client
from lake.settings import GcpTarget, Settings
from sandbox.endpoints import read_endpoints
from sandbox.gcp import GcpStandIn, write_key

CHUNK = 256 * 1024
TARGET = GcpTarget("a-project", "US", "lake", "lakegraph", None)


pytestmark = pytest.mark.usefixtures("loopback_alone")


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GcpStandIn]:
    with GcpStandIn(tmp_path / "gcp") as running:
        point_at(running.url, tmp_path, monkeypatch)
        yield running


def point_at(url: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(write_key(folder / "key.json", url, "a-project")))


@pytest.fixture
def bucket(stand_in: GcpStandIn) -> storage.Bucket:
    return storage_client(TARGET).create_bucket("lake")


def file_system(**options: Any) -> gcsfs.GCSFileSystem:
    return gcsfs.GCSFileSystem(project="a-project", skip_instance_cache=True, use_listings_cache=False, **options)


# -- the official client --------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 3 * CHUNK + 17])
@pytest.mark.parametrize("chunk_size", [None, CHUNK], ids=["multipart", "resumable"])
def test_bytes_come_back_as_they_were_uploaded(bucket: storage.Bucket, size: int, chunk_size: int | None) -> None:
    data = os.urandom(size)
    blob = bucket.blob("a folder/ü & ?#%2F+.bin", chunk_size=chunk_size)
    blob.upload_from_string(data, content_type="application/x-test")
    blob.reload()
    assert (blob.size, blob.content_type, blob.metageneration) == (size, "application/x-test", 1)
    assert bucket.blob(blob.name).download_as_bytes() == data
    assert [b.name for b in bucket.list_blobs()] == [blob.name]


def test_data_with_line_ends_and_dashes_at_its_edges_is_kept(bucket: storage.Bucket) -> None:
    for data in (b"\r\n", b"\n--==0==\n", b"--\r\n\r\n--", b"a\r", b"\n"):
        bucket.blob("edge").upload_from_string(data)
        assert bucket.blob("edge").download_as_bytes() == data
        file_system().pipe_file("lake/edge-fs", data)
        if b"==0==" not in data:
            assert bucket.blob("edge-fs").download_as_bytes() == data


def test_streams_of_unknown_length_and_plain_media_uploads(bucket: storage.Bucket, stand_in: GcpStandIn) -> None:
    data = os.urandom(2 * CHUNK + 5)
    with bucket.blob("stream", chunk_size=CHUNK).open("wb", ignore_flush=True) as out:
        out.write(data)
    assert bucket.blob("stream").download_as_bytes() == data
    media = {"uploadType": "media", "name": "media"}
    httpx.post(f"{stand_in.url}/upload/storage/v1/b/lake/o", params=media, content=data).raise_for_status()
    assert bucket.blob("media").download_as_bytes() == data


def test_ranges(bucket: storage.Bucket, stand_in: GcpStandIn) -> None:
    bucket.blob("digits").upload_from_string(b"0123456789")
    blob = bucket.blob("digits")
    assert blob.download_as_bytes(start=2, end=4) == b"234"
    assert blob.download_as_bytes(start=7) == b"789"
    with pytest.raises(google.RequestRangeNotSatisfiable):
        blob.download_as_bytes(start=10)
    url = f"{stand_in.url}/storage/v1/b/lake/o/digits?alt=media"
    tail = httpx.get(url, headers={"Range": "bytes=-3"})
    assert (tail.status_code, tail.content, tail.headers["content-range"]) == (206, b"789", "bytes 7-9/10")


def test_a_torn_upload_is_refused_by_its_checksum(bucket: storage.Bucket) -> None:
    blob = bucket.blob("torn")
    blob.md5_hash = "AAAAAAAAAAAAAAAAAAAAAA=="
    with pytest.raises(google.BadRequest, match="doesn't match calculated"):
        blob.upload_from_string(b"data", checksum=None)
    assert list(bucket.list_blobs()) == []


def test_listing_by_prefix_and_delimiter_over_pages(bucket: storage.Bucket) -> None:
    names = ["a/1", "a/2", "a/b/3", "a/b/4", "a/c/5", "a/z", "ab", "b/6", "ä"]
    for name in names:
        bucket.blob(name).upload_from_string(name)
    for size in (1, 2, 3, 100):
        assert [b.name for b in bucket.list_blobs(page_size=size)] == names
        assert [b.name for b in bucket.list_blobs(prefix="a/b", page_size=size)] == ["a/b/3", "a/b/4"]
        listing = bucket.list_blobs(prefix="a/", delimiter="/", page_size=size)
        assert [b.name for b in listing] == ["a/1", "a/2", "a/z"]
        assert listing.prefixes == {"a/b/", "a/c/"}
    assert [b.name for b in bucket.list_blobs(max_results=2)] == names[:2]
    assert [b.name for b in bucket.list_blobs(start_offset="a/c", end_offset="b")] == ["a/c/5", "a/z", "ab"]
    with pytest.raises(google.NotFound, match="The specified bucket does not exist"):
        list(storage_client(TARGET).bucket("nowhere").list_blobs())


def test_generations_and_their_preconditions(bucket: storage.Bucket) -> None:
    blob = bucket.blob("g")
    blob.upload_from_string(b"one", if_generation_match=0)
    first = blob.generation
    with pytest.raises(google.PreconditionFailed):
        bucket.blob("g").upload_from_string(b"two", if_generation_match=0)
    with pytest.raises(google.PreconditionFailed):
        bucket.blob("g", chunk_size=CHUNK).upload_from_string(b"x" * 3 * CHUNK, if_generation_match=0)
    assert bucket.blob("g").download_as_bytes() == b"one"

    blob.upload_from_string(b"two", if_generation_match=first)
    assert blob.generation > first
    for stale in (
        lambda: bucket.blob("g").delete(if_generation_match=first),
        lambda: bucket.blob("g").download_as_bytes(if_generation_match=first),
        lambda: bucket.blob("g").reload(if_generation_match=first),
        lambda: bucket.blob("h").rewrite(blob, if_source_generation_match=first),
        lambda: bucket.blob("h").compose([blob], if_source_generation_match=[first]),
        lambda: bucket.blob("h").upload_from_string(b"", if_generation_match=first),
    ):
        with pytest.raises(google.PreconditionFailed):
            stale()
    with pytest.raises(google.NotFound, match="No such object: lake/g"):
        bucket.blob("g", generation=first).download_as_bytes()
    assert [b.name for b in bucket.list_blobs()] == ["g"]
    bucket.blob("g").delete(if_generation_match=blob.generation)
    with pytest.raises(google.NotFound):
        bucket.blob("g").delete()


def test_of_writers_at_once_one_creates(bucket: storage.Bucket) -> None:
    start = threading.Barrier(4)

    def create(number: int) -> bool:
        start.wait()
        try:
            bucket.blob("lock").upload_from_string(str(number), if_generation_match=0)
        except google.PreconditionFailed:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        created = list(pool.map(create, range(4)))
    assert created.count(True) == 1
    assert bucket.blob("lock").download_as_text() == str(created.index(True))


def test_copies_compositions_and_custom_metadata(bucket: storage.Bucket) -> None:
    one, two = bucket.blob("one"), bucket.blob("two")
    one.metadata = {"rows": "3"}
    one.upload_from_string(b"one,", content_type="text/csv")
    two.upload_from_string(b"two")

    copy = bucket.copy_blob(one, bucket, "copies/one")
    rewritten = bucket.blob("rewritten")
    assert rewritten.rewrite(one) == (None, 4, 4)
    for target in (copy, rewritten):
        target.reload()
        assert (target.download_as_bytes(), target.content_type, target.metadata) == (
            b"one,",
            "text/csv",
            {"rows": "3"},
        )

    composed = bucket.blob("composed")
    composed.compose([one, two])
    composed.reload()
    assert (composed.download_as_bytes(), composed.component_count, composed.md5_hash) == (b"one,two", 2, None)

    one.metadata = {"rows": "4", "state": "done"}
    one.patch()
    one.metadata = {"rows": None}
    one.patch(if_metageneration_match=2)
    with pytest.raises(google.PreconditionFailed):
        one.patch(if_metageneration_match=2)
    fresh = bucket.get_blob("one")
    assert (fresh.metadata, fresh.metageneration, fresh.content_type) == ({"state": "done"}, 3, "text/csv")
    assert fresh.generation == one.generation
    assert bucket.rename_blob(two, "three").download_as_bytes() == b"two"
    assert bucket.get_blob("two") is None


def test_batches_and_the_removal_of_buckets(bucket: storage.Bucket) -> None:
    client = storage_client(TARGET)
    for name in ("a/ü", "b", "c"):
        bucket.blob(name).upload_from_string(name)
    with pytest.raises(google.Conflict, match="not empty"):
        bucket.delete()
    with client.batch():
        for name in ("a/ü", "b"):
            client.bucket("lake").blob(name).delete()
    assert [b.name for b in bucket.list_blobs()] == ["c"]
    bucket.delete(force=True)
    assert list(client.list_buckets()) == []


def test_a_download_under_way_is_not_torn_by_an_upload(bucket: storage.Bucket) -> None:
    before, after = b"b" * 8_000_000, b"a" * 8_000_000
    bucket.blob("big").upload_from_string(before)
    with httpx.stream("GET", bucket.blob("big")._get_download_url(bucket.client)) as stream:
        blocks = stream.iter_bytes(1000)
        first = next(blocks)
        bucket.blob("big").upload_from_string(after)
        assert first + b"".join(blocks) == before
    assert bucket.blob("big").download_as_bytes() == after


def test_only_the_files_of_living_objects_are_kept(bucket: storage.Bucket, tmp_path: Path) -> None:
    for data in (b"1", b"2", b"3"):
        bucket.blob("x", chunk_size=CHUNK).upload_from_string(data * CHUNK * 2)
        bucket.copy_blob(bucket.blob("x"), bucket, "y")
    assert len(list((tmp_path / "gcp" / "files").iterdir())) == 2
    bucket.delete_blobs(["x", "y"])
    assert list((tmp_path / "gcp" / "files").iterdir()) == []


# -- gcsfs ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", ["anon", "google_default"])
def test_gcsfs_round_trip(bucket: storage.Bucket, token: str, tmp_path: Path) -> None:
    fs = file_system(token=token)
    data = os.urandom(6 * 2**20)
    fs.pipe_file("lake/f/small ü.bin", data[:100])
    (tmp_path / "local").write_bytes(data)
    fs.put_file(str(tmp_path / "local"), "lake/f/g/large.bin")
    with fs.open("lake/f/streamed.bin", "wb", block_size=CHUNK) as out:
        for start in range(0, len(data), 100_000):
            out.write(data[start : start + 100_000])

    assert fs.cat_file("lake/f/small ü.bin") == data[:100]
    assert fs.cat_file("lake/f/streamed.bin") == fs.cat_file("lake/f/g/large.bin") == data
    assert fs.cat_file("lake/f/streamed.bin", start=10, end=20) == data[10:20]
    with fs.open("lake/f/g/large.bin", "rb", block_size=CHUNK) as opened:
        opened.seek(-1000, os.SEEK_END)
        assert opened.read() == data[-1000:]
    assert fs.info("lake/f/g/large.bin")["size"] == len(data)
    assert sorted(fs.ls("lake/f", detail=False)) == ["lake/f/g", "lake/f/small ü.bin", "lake/f/streamed.bin"]
    assert sorted(fs.find("lake")) == ["lake/f/g/large.bin", "lake/f/small ü.bin", "lake/f/streamed.bin"]
    assert fs.glob("lake/**/*.bin") == sorted(fs.find("lake"))
    assert fs.isdir("lake/f/g")
    assert not fs.exists("lake/f/none")

    fs.cp_file("lake/f/small ü.bin", "lake/copy")
    fs.mv("lake/f/streamed.bin", "lake/moved")
    fs.merge("lake/merged", ["lake/copy", "lake/copy"])
    assert fs.cat_file("lake/merged") == data[:100] * 2
    fs.setxattrs("lake/copy", rows="3")
    assert fs.getxattr("lake/copy", "rows") == "3"
    with pytest.raises(FileExistsError):
        fs.pipe_file("lake/copy", b"", mode="create")

    fs.rm("lake/f", recursive=True)
    assert sorted(fs.find("lake")) == ["lake/copy", "lake/merged", "lake/moved"]
    with pytest.raises(FileNotFoundError):
        fs.cat_file("lake/f/g/large.bin")


def test_an_upload_given_up_leaves_nothing(bucket: storage.Bucket, tmp_path: Path) -> None:
    fs = file_system()
    out = fs.open("lake/t", "wb", block_size=CHUNK, autocommit=False)
    out.write(os.urandom(3 * CHUNK))
    out.flush()
    out.discard()
    assert not fs.exists("lake/t")
    assert list((tmp_path / "gcp" / "files").iterdir()) == []


# -- the server -----------------------------------------------------------------------------------------


def test_injected_faults_are_used_up_and_retried_by_the_client(bucket: storage.Bucket, stand_in: GcpStandIn) -> None:
    bucket.blob("x").upload_from_string(b"data")
    stand_in.calls.clear()
    stand_in.inject("GET", "/o/x$", 503, times=1)
    assert bucket.blob("x").download_as_bytes() == b"data"
    assert len([path for _, path in stand_in.calls if path.endswith("/o/x")]) == 2
    stand_in.inject("DELETE", "/o/x$", 403, "no storage.objects.delete access")
    with pytest.raises(google.Forbidden, match=r"no storage\.objects\.delete access"):
        bucket.blob("x").delete()
    bucket.blob("x").delete()


def test_objects_and_half_an_upload_survive_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = {"uploadType": "resumable", "name": "half"}
    with GcpStandIn(tmp_path / "gcp") as running:
        point_at(running.url, tmp_path, monkeypatch)
        blob = storage_client(TARGET).create_bucket("lake").blob("kept")
        blob.upload_from_string(b"data")
        started = httpx.post(f"{running.url}/upload/storage/v1/b/lake/o", params=params, json={})
        location = started.headers["Location"].removeprefix(running.url)
        half = httpx.put(
            f"{running.url}{location}", content=b"12345", headers={"Content-Range": "bytes 0-4/8"}, timeout=10
        )
        assert (half.status_code, half.headers["Range"]) == (308, "bytes=0-4")
    with GcpStandIn(tmp_path / "gcp") as running:
        point_at(running.url, tmp_path, monkeypatch)
        kept = storage_client(TARGET).bucket("lake").get_blob("kept")
        assert (kept.download_as_bytes(), kept.generation) == (b"data", blob.generation)
        url = f"{running.url}{location}"
        asked = httpx.put(url, headers={"Content-Range": "bytes */8"})
        assert (asked.status_code, asked.headers["Range"]) == (308, "bytes=0-4")
        for _ in range(2):  # the last chunk may be sent again
            done = httpx.put(url, content=b"678", headers={"Content-Range": "bytes 5-7/8"})
            assert (done.status_code, done.json()["size"]) == (200, "8")
        assert storage_client(TARGET).bucket("lake").blob("half").download_as_bytes() == b"12345678"


def test_the_key_is_private_and_gets_a_token(stand_in: GcpStandIn, tmp_path: Path) -> None:
    path = write_key(tmp_path / "keys" / "key.json", stand_in.url, "p-roject")
    assert path.stat().st_mode & 0o777 == 0o600
    assert json.loads(path.read_text())["project_id"] == "p-roject"
    scopes = ["https://www.googleapis.com/auth/cloud-platform"]
    credentials = service_account.Credentials.from_service_account_file(str(path), scopes=scopes)
    credentials.refresh(Request())
    assert credentials.token
    assert stand_in.calls == [("POST", "/token")]


@pytest.mark.slow
def test_the_process_tells_its_token_and_address_and_withdraws_it(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    command = [sys.executable, "-m", "sandbox.gcp", "--home", str(settings.home), "--token", "tok"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        url = wait_for(lambda: read_endpoints(settings.endpoints_file).get("gcs"), "it says its address", 30)
        assert httpx.get(f"{url}/health").json() == {"token": "tok", "pid": process.pid}
        key = json.loads((settings.sandbox_home / "gcp" / "key.json").read_text())
        assert key["token_uri"] == f"{url}/token"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)
    assert read_endpoints(settings.endpoints_file) == {}
