"""Folders that people and systems drop files into: what lies there, its content, and moving a file aside.

What belongs here: what any such folder can do (`DropFolder`), folders of this machine and of the object stores of
fsspec (`s3://`, `gs://`). What does not: Google Drive's protocol (`dlt_sources.gdrive`), files at URLs that are known
beforehand (`dlt_sources.files`), and what files mean: whoever asks judges names and contents.

A file is told by its id and the digest of its content, both as a listing tells them, so that to know what is new takes
no reading. Whoever drops files may replace or remove one at any time: what is fetched or moved aside is what was
listed, or an error says that it was replaced.

A file is moved aside into the subfolder `aside`. No file there is ever overwritten by another content.
"""

import filecmp
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import IO, Any, Protocol, TypeVar, cast
from urllib.parse import urlsplit

from dlt_sources.files import CHUNK, OBJECT_STORES, Fetched, MissingError, local_path, object_store_errors, redact
from dlt_sources.retries import retried
from lake.errors import LakeError, TransientError
from lake.settings import Settings

T = TypeVar("T")

ASIDE = "aside"
NO_FILES = (".", "~$")  # hidden files, and those by which editors lock others
UNFINISHED = (".part", ".partial", ".tmp", ".crdownload")  # what is still being copied or downloaded
BLOCK = 1 << 23
NUMBERED = re.compile(r"\.~\d+~(?=\.[^.]+$|$)")  # what a name got that was taken: `x.~2~.xlsx`


@dataclass(frozen=True)
class DroppedFile:
    """A file as a listing tells it.

    Attributes:
        id: stable while the file is the same: Drive's id; elsewhere its name, also after it was moved aside.
        name: without folder.
        bytes: its size; None if that shows only when it is read.
        modified: when it was last changed, UTC. In an object store moving a file aside changes it.
        digest: changes with the content: its checksum, or where none is listed the time and size.
        is_aside: whether it lies in the subfolder `aside`.
    """

    id: str
    name: str
    bytes: int | None
    modified: datetime
    digest: str
    is_aside: bool


class DropFolder(Protocol):
    """A folder that files are dropped into."""

    @property
    def url(self) -> str:
        """The folder, for messages; without credentials."""

    def listing(self) -> list[DroppedFile]:
        """The files directly in the folder and in its subfolder `aside`, by name and id.

        Files whose names begin with `.` or `~$` are left out, and those that end as unfinished copies do.

        Raises:
            LakeError: there is no such folder, or no access to it; a `TransientError` if it does not answer.
        """

    def fetch(self, file: DroppedFile, target: Path, max_bytes: int) -> Fetched:
        """Copy a file of `listing` to `target`; its digest is the SHA-256 of the bytes. On failure nothing is left.

        Args:
            file: one of `listing`.
            target: where to; replaced if it is there.
            max_bytes: a larger file is refused.

        Raises:
            LakeError: it is larger, gone, or not allowed to be read; a `TransientError` if it was replaced since it
                was listed, or the folder does not answer.
        """

    def put_aside(self, file: DroppedFile) -> bool:
        """Move a file of `listing` into `aside`, which is made if it is missing.

        Returns:
            False if it lies there already.

        Raises:
            LakeError: it is gone, or moving is not allowed; a `TransientError` if it was replaced since it was listed,
                or the folder does not answer.
        """


def open_folder(url: str, settings: Settings) -> DropFolder:
    """The folder at `url`: a path, `file://`, `s3://`, `gs://`, or `gdrive://FOLDER_ID`. Nothing is asked yet.

    Keys of S3 and Cloud Storage come from the environment, those of Drive from `settings`.

    Raises:
        LakeError: the URL is malformed, of another kind, or holds a user or password.
    """
    scheme = urlsplit(url).scheme if "://" in url else ""
    if scheme == "gdrive":
        from dlt_sources.gdrive import open_drive

        return open_drive(url, settings)
    local = local_path(url)
    if local is not None:
        return LocalFolder(url, local)
    if scheme not in OBJECT_STORES:
        shown = redact(url)
        raise LakeError(f"{shown}: {scheme}:// is no folder for files; a path, file, gs, s3 or gdrive is")
    place = url.partition("://")[2].strip("/")
    if "@" in place.partition("/")[0]:
        raise LakeError(f"{redact(url)}: holds a user or password; set the keys in the environment")
    if not place:
        raise LakeError(f"{scheme}://: names no bucket")
    attempts = settings.http_attempts if scheme == "s3" else 1  # Cloud Storage's client itself tries six times
    return ObjectFolder(scheme, place, settings.http_timeout_seconds, attempts)


# -- what the kinds of folders share ------------------------------------------------------------------------------


def is_file_name(name: str) -> bool:
    """Whether `name` is that of a file which somebody dropped, and which is whole."""
    return not name.startswith(NO_FILES) and not name.lower().endswith(UNFINISHED)


def in_order(files: Iterable[DroppedFile]) -> list[DroppedFile]:
    """By name and id; those aside after the others."""
    return sorted(files, key=lambda f: (f.name, f.id, f.is_aside))


def place_of(folder: DropFolder, file: DroppedFile) -> str:
    """`file` in messages: on one line, whatever its name holds."""
    name = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in file.name)
    return "/".join([folder.url.rstrip("/"), *([ASIDE] if file.is_aside else []), name])


def replaced(place: str) -> TransientError:
    """The error of a file that is another one than was listed; the next listing tells the new one."""
    return TransientError(f"{place}: was replaced since it was listed")


def check_size(place: str, size: int | None, max_bytes: int) -> None:
    """Refuse a file that is known to be too large.

    Raises:
        LakeError: it is.
    """
    if size is not None and size > max_bytes:
        raise LakeError(f"{place}: has {size:,} bytes; more than {max_bytes:,} are refused")


class Sink:
    """A file that is being received: counts and digests what is written, and refuses more than `max_bytes`."""

    def __init__(self, out: IO[bytes], target: Path, place: str, max_bytes: int) -> None:
        self._out, self._target, self._place, self._max_bytes = out, target, place, max_bytes
        self.bytes = 0
        self.sha256 = hashlib.sha256()
        self.md5 = hashlib.md5(usedforsecurity=False)

    def write(self, data: bytes) -> None:
        """Append `data`.

        Raises:
            LakeError: that would be too much, or the file cannot be written.
        """
        if self.bytes + len(data) > self._max_bytes:
            raise LakeError(f"{self._place}: has more than {self._max_bytes:,} bytes, which are refused")
        self.bytes += len(data)
        self.sha256.update(data)
        self.md5.update(data)
        try:
            self._out.write(data)
            self._out.flush()
        except OSError as error:
            raise _unwritable(self._target, error) from error


def receive(place: str, target: Path, max_bytes: int, fill: Callable[[Sink], object]) -> Fetched:
    """Let `fill` write the file `target`; if anything fails nothing is left behind.

    Args:
        place: where it comes from, for messages.
        target: replaced if it is there; its folder is made.
        max_bytes: how much may come.
        fill: writes the sink; turns errors of where the bytes come from into ours.

    Raises:
        LakeError: more comes than `max_bytes`, or `target` cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as out:
            sink = Sink(out, target, place, max_bytes)
            fill(sink)
    except OSError as error:
        with suppress(OSError):
            target.unlink()
        raise _unwritable(target, error) from error
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    return Fetched(target, place, sink.sha256.hexdigest(), sink.bytes)


def _unwritable(target: Path, error: OSError) -> LakeError:
    return LakeError(f"{target}: cannot be written: {error.strerror or type(error).__name__}")


def _lies_among(file: DroppedFile, held: Iterable[DroppedFile]) -> bool:
    """Whether `file` lies aside already."""
    return any(other.is_aside and (other.id, other.digest) == (file.id, file.digest) for other in held)


def _names(name: str) -> Iterator[str]:
    """What a file may be named aside, in order: `x.xlsx`, `x.~2~.xlsx`, `x.~3~.xlsx` and so on."""
    yield name
    stem, _, extension = name.rpartition(".")
    for number in count(2):
        yield f"{stem}.~{number}~.{extension}" if stem and extension else f"{name}.~{number}~"


def _id(name: str, *, is_aside: bool) -> str:
    return NUMBERED.sub("", name) if is_aside else name


# -- this machine -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LocalFolder:
    """A folder of this machine. Files whose names are not UTF-8 are left out: no table could name them.

    Attributes:
        url: as it was given.
        path: where it is.
    """

    url: str
    path: Path

    def listing(self) -> list[DroppedFile]:
        """See `DropFolder`."""
        if not self.path.is_dir():
            raise LakeError(f"{self.url}: {'is a file, not a' if self.path.exists() else 'no such'} folder")
        aside = self.path / ASIDE
        with _local_errors(self.url):
            held = [_local(path, is_aside=False) for path in self.path.iterdir()]
            if aside.is_dir():
                held += [_local(path, is_aside=True) for path in aside.iterdir()]
        return in_order(file for file in held if file)

    def fetch(self, file: DroppedFile, target: Path, max_bytes: int) -> Fetched:
        """See `DropFolder`."""
        place, source = place_of(self, file), self._path(file)
        check_size(place, file.bytes, max_bytes)

        def fill(sink: Sink) -> None:
            with _local_errors(place), source.open("rb") as opened:
                while block := opened.read(CHUNK):
                    sink.write(block)
                _check_same(place, file, source)

        return receive(place, target, max_bytes, fill)

    def put_aside(self, file: DroppedFile) -> bool:
        """See `DropFolder`."""
        if file.is_aside:
            return False
        place, source, aside = place_of(self, file), self._path(file), self.path / ASIDE
        with _local_errors(place):
            if not source.exists() and _lies_among(file, self.listing()):
                return False
            _check_same(place, file, source)
            aside.mkdir(exist_ok=True)
            free = (aside / name for name in _names(file.name))
            target = next(t for t in free if not t.exists() or (t.is_file() and filecmp.cmp(source, t, shallow=False)))
            source.replace(target)
        return True

    def _path(self, file: DroppedFile) -> Path:
        return (self.path / ASIDE if file.is_aside else self.path) / file.name


def _local(path: Path, *, is_aside: bool) -> DroppedFile | None:
    """The file at `path`; None if it is none, or was removed meanwhile."""
    if not is_file_name(path.name) or not path.is_file() or not _is_utf8(path.name):
        return None
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    modified = datetime.fromtimestamp(stat.st_mtime, UTC)
    return DroppedFile(_id(path.name, is_aside=is_aside), path.name, stat.st_size, modified, _signature(stat), is_aside)


def _signature(stat: os.stat_result) -> str:
    return f"{stat.st_mtime_ns}-{stat.st_size}"


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_same(place: str, file: DroppedFile, source: Path) -> None:
    if _signature(source.stat()) != file.digest:
        raise replaced(place)


@contextmanager
def _local_errors(place: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise MissingError(f"{place}: is gone since it was listed") from None
    except OSError as error:
        raise LakeError(f"{place}: {error.strerror or type(error).__name__}") from error


# -- object stores ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ObjectFolder:
    """What lies directly below a prefix of a bucket. A prefix that nothing lies under is no folder; a bucket is one.

    An object cannot be moved: it is copied, and removed if it still is the one that was copied. One that replaces it
    in the instant between that look and the removal is lost, for S3 has no removal on condition.

    Attributes:
        scheme: `s3` or `gs`.
        place: bucket and prefix, without slashes at the ends.
        timeout_seconds: how long an answer may stall.
        attempts: of one request.
    """

    scheme: str
    place: str
    timeout_seconds: float
    attempts: int

    @property
    def url(self) -> str:
        """See `DropFolder`."""
        return f"{self.scheme}://{self.place}"

    def listing(self) -> list[DroppedFile]:
        """See `DropFolder`."""
        try:
            held = self._list(is_aside=False)
        except MissingError:
            raise LakeError(f"{self.url}: no such folder: no such bucket, or nothing lies under that prefix") from None
        return in_order(held + self._aside())

    def fetch(self, file: DroppedFile, target: Path, max_bytes: int) -> Fetched:
        """See `DropFolder`."""
        place = place_of(self, file)
        check_size(place, file.bytes, max_bytes)

        def fill(sink: Sink) -> None:
            with object_store_errors(place), self._store.open(self._path(file), "rb", **options) as opened:
                while block := opened.read(BLOCK):
                    sink.write(block)

        options = {"cache_type": "none", "block_size": BLOCK}
        fetched = self._retried(place, lambda: receive(place, target, max_bytes, fill))
        try:
            self._check_same(place, file)
        except LakeError:
            target.unlink(missing_ok=True)
            raise
        return fetched

    def put_aside(self, file: DroppedFile) -> bool:
        """See `DropFolder`."""
        if file.is_aside:
            return False
        place, aside = place_of(self, file), {held.name: held for held in self._aside()}
        try:
            self._check_same(place, file)
        except MissingError:
            if _lies_among(file, aside.values()):
                return False
            raise
        name = next(n for n in _names(file.name) if n not in aside or aside[n].digest == file.digest)
        if name not in aside:  # else it is there: by an attempt that could not remove the original, say
            target = f"{self.place}/{ASIDE}/{name}"
            exact = {"preserve_etag": True} if self.scheme == "s3" else {}  # also of one that was uploaded in parts
            self._retried(place, lambda: self._store.cp_file(self._path(file), target, **exact))
            self._check_same(place, file)
        with suppress(MissingError):  # removed by an attempt whose answer was lost
            self._retried(place, lambda: self._store.rm_file(self._path(file)))
        return True

    def _aside(self) -> list[DroppedFile]:
        try:
            return self._list(is_aside=True)
        except MissingError:
            return []

    def _list(self, *, is_aside: bool) -> list[DroppedFile]:
        folder = f"{self.place}/{ASIDE}" if is_aside else self.place
        entries: list[Mapping[str, Any]] = self._retried(self.url, lambda: self._store.ls(folder, detail=True))
        if any(entry["name"] == folder and entry["type"] == "file" for entry in entries):
            raise LakeError(f"{self.scheme}://{folder}: is a file, not a folder")
        held = []
        for entry in entries:
            name = str(entry["name"]).removeprefix(f"{folder}/")
            if entry["type"] == "file" and name and is_file_name(name):
                found = _id(name, is_aside=is_aside)
                held.append(DroppedFile(found, name, entry["size"], _modified(entry), _digest(entry), is_aside))
        return held

    def _path(self, file: DroppedFile) -> str:
        return "/".join([self.place, *([ASIDE] if file.is_aside else []), file.name])

    def _check_same(self, place: str, file: DroppedFile) -> None:
        if _digest(self._retried(place, lambda: self._store.info(self._path(file)))) != file.digest:
            raise replaced(place)

    def _retried(self, place: str, ask: Callable[[], T]) -> T:
        def attempt() -> T:
            with object_store_errors(place):
                return ask()

        return retried(self.attempts, attempt)

    @cached_property
    def _store(self) -> Any:
        """The client; made once, for that is slow."""
        if self.scheme == "s3":
            import s3fs

            files = s3fs.S3FileSystem(
                config_kwargs={
                    "connect_timeout": self.timeout_seconds,
                    "read_timeout": self.timeout_seconds,
                    "retries": {"total_max_attempts": 1},  # `retried` is enough
                },
                use_listings_cache=False,
                skip_instance_cache=True,
            )
            files.retries = 1
            return files
        import aiohttp
        import gcsfs

        timeout = aiohttp.ClientTimeout(sock_connect=self.timeout_seconds, sock_read=self.timeout_seconds)
        return gcsfs.GCSFileSystem(requests_timeout=timeout, use_listings_cache=False, skip_instance_cache=True)


def _digest(entry: Mapping[str, Any]) -> str:
    """Of an object's content: S3's ETag, Cloud Storage's MD5, or its CRC where an object was composed of others."""
    return str(entry.get("ETag") or entry.get("md5Hash") or f"{entry['crc32c']}-{entry['size']}").strip('"')


def _modified(entry: Mapping[str, Any]) -> datetime:
    """When the content came: changes of an object's metadata do not count."""
    return cast(datetime, entry.get("LastModified") or entry["ctime"]).astimezone(UTC)
