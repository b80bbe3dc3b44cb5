"""Files at URLs: fetched whole, retried, digested, and refused with one clear sentence when they are not what
they claim.

What belongs here: folders, `file://`, `http(s)://`, `s3://`, `gs://`, and the checks of a file's outer form.
What does not: what the columns mean.

A file is always copied, never linked: a source file that somebody rewrites in place must not change a table
that has loaded it.
"""

import hashlib
import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit, urlunsplit

from dlt_sources.retries import retried
from lake.errors import LakeError, TransientError
from lake.settings import Settings

if TYPE_CHECKING:
    import httpx
    import pyarrow.parquet as pq

CHUNK = 1 << 20
MAGIC = b"PAR1"
OBJECT_STORES = {"gs", "s3"}
SMALLEST_PARQUET = 12  # two magic words and the footer's length
DENIED, SERVER_ERROR = 403, 500
BUSY = (408, 429)
THROTTLED = frozenset({"SlowDown", "RequestTimeout", "Throttling", "ThrottlingException", "TooManyRequests"})
ABSENT = (403, 404, 410)  # object stores answer 403 for a missing object where listing is not allowed


@dataclass(frozen=True)
class Fetched:
    """A fetched file: where it lies now, where it came from, its SHA-256 and its size in bytes."""

    path: Path
    url: str
    digest: str
    bytes: int


def redact(url: str) -> str:
    """`url` without user, password and query, for messages and metadata."""
    parts = urlsplit(url)
    if not parts.scheme or parts.scheme == "file":
        return url
    host = parts.hostname or ""
    try:
        port = f":{parts.port}" if parts.port else ""
    except ValueError:  # a password that is not percent-encoded reads as a port, say
        return f"{parts.scheme}://(malformed URL)"
    return f"{parts.scheme}://{host}{port}{parts.path}"


def local_path(url: str) -> Path | None:
    """The path that `url` (a path, or `file://`) stands for; None if it is of another kind."""
    parts = urlsplit(url)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    return Path(url).expanduser() if "://" not in url else None


def under(base: str, name: str) -> str:
    """The URL (or path) of `name` under `base`; a query of the base, a signature say, stays a query."""
    if local_path(base) is not None:
        return f"{base}/{name}"
    parts = urlsplit(base)
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{name}"))


class MissingError(LakeError):
    """The file or object does not exist."""


def http_client(settings: Settings) -> "httpx.Client":
    """A client with the settings' timeout that follows redirects, and does not log URLs with what is secret in them."""
    import httpx

    logging.getLogger("httpx").setLevel(logging.WARNING)
    return httpx.Client(timeout=settings.http_timeout_seconds, follow_redirects=True)


def _http(settings: Settings, method: str, url: str, target: Path | None) -> "httpx.Headers":
    """One HTTP request, tried again on transport errors, 429 and 5xx; the body goes to `target`."""
    import httpx

    def attempt() -> "httpx.Headers":
        try:
            with http_client(settings) as client, client.stream(method, url) as response:
                status = f"HTTP {response.status_code} {response.reason_phrase}"
                if response.status_code in ABSENT:
                    raise MissingError(f"{redact(url)}: not there ({status})")
                if response.status_code >= 500 or response.status_code == 429:  # noqa: PLR2004 - HTTP status classes
                    raise TransientError(f"{redact(url)}: {status} after {settings.http_attempts} attempts")
                if response.status_code >= 400:  # noqa: PLR2004
                    raise LakeError(f"{redact(url)}: {status}")
                if target:
                    with target.open("wb") as out:
                        for chunk in response.iter_bytes(CHUNK):
                            out.write(chunk)
                return response.headers
        except httpx.TransportError as error:
            reason = str(error) or type(error).__name__
            raise TransientError(f"{redact(url)}: {reason} after {settings.http_attempts} attempts") from error
        except httpx.InvalidURL:
            raise LakeError(f"{redact(url)}: is not a URL") from None  # its text may hold a part of the password
        except httpx.RequestError as error:  # too many redirects, a body that does not decode
            raise LakeError(f"{redact(url)}: {type(error).__name__}: {error}") from error

    return retried(settings.http_attempts, attempt)


def _filesystem(url: str) -> tuple[Any, str]:
    import fsspec

    filesystem, path = fsspec.core.url_to_fs(url)
    return filesystem, path


@contextmanager
def object_store_errors(place: str) -> Iterator[None]:
    """The errors of gcsfs and s3fs, which come as many classes, as ours, without the URL's credentials.

    Args:
        place: what was asked for, as messages name it.

    Raises:
        MissingError: there is no such object.
        TransientError: the server did not answer, was busy, or failed.
        LakeError: anything else, a lack of rights or keys above all.
    """
    try:
        yield
    except LakeError:
        raise
    except FileNotFoundError:
        raise MissingError(f"{place}: no such object") from None
    except PermissionError:
        raise LakeError(f"{place}: access denied; check the credentials in the environment") from None
    except Exception as error:
        status, code = _answered(error)
        said = f"HTTP {status} {code}".rstrip() if status else type(error).__name__
        if status == DENIED or str(error).startswith("Forbidden"):  # which is all that gcsfs says
            raise LakeError(f"{place}: access denied; check the credentials in the environment") from None
        if status >= SERVER_ERROR or status in BUSY or code in THROTTLED or (not status and _is_of_transport(error)):
            raise TransientError(f"{place}: {said}") from error
        raise LakeError(f"{place}: {said}; check the credentials in the environment") from None


def _answered(error: Exception) -> tuple[int, str]:
    """Status and code of the answer that `error` is about; (0, "") if there was none."""
    cause: BaseException | None = error
    while cause is not None:
        response = getattr(cause, "response", None)
        if isinstance(response, dict):  # botocore's
            metadata, details = response.get("ResponseMetadata", {}), response.get("Error", {})
            return int(metadata.get("HTTPStatusCode", 0)), str(details.get("Code", ""))
        if str(code := getattr(cause, "code", None)).isdigit():  # gcsfs's
            return int(str(code)), ""
        cause = cause.__cause__
    return 0, ""


def _is_of_transport(error: Exception) -> bool:
    """Whether no answer came, or a part of one."""
    from aiohttp import ClientError
    from botocore import exceptions as boto
    from requests import RequestException

    return isinstance(
        error, (OSError, TimeoutError, ClientError, boto.HTTPClientError, boto.ConnectionError, RequestException)
    )


def _check_scheme(url: str) -> None:
    """Refuse at once what would only fail after every attempt."""
    scheme = urlsplit(url).scheme
    if scheme not in OBJECT_STORES:
        raise LakeError(f"{redact(url)}: {scheme}:// is not supported; a path, file, http, https, gs or s3 is")


def _copy(settings: Settings, url: str, target: Path) -> None:
    local = local_path(url)
    if local is not None:
        if not local.is_file():
            raise MissingError(f"{url}: no such file")
        shutil.copyfile(local, target)
    elif url.startswith(("http://", "https://")):
        _http(settings, "GET", url, target)
    else:
        _check_scheme(url)
        with object_store_errors(redact(url)):
            filesystem, path = _filesystem(url)
            filesystem.get_file(path, str(target))


def fetch(settings: Settings, base: str, candidates: Sequence[str], working: Path) -> Fetched:
    """Copy the first of `candidates` that exists under `base` into `working`.

    Raises:
        LakeError: none of them exists (the message names the first), or access fails.
        TransientError: the server failed at each of `settings.http_attempts` attempts.
    """
    working.mkdir(parents=True, exist_ok=True)
    first: MissingError | None = None
    for name in candidates:
        url = under(base, name)
        target = working / Path(name).name
        try:
            _copy(settings, url, target)
        except MissingError as error:
            first = first or error
            continue
        with target.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return Fetched(target, redact(url), digest, target.stat().st_size)
    raise first or LakeError(f"{base}: nothing to fetch")


def probe(settings: Settings, base: str, candidates: Sequence[str]) -> str | None:
    """A signature of the first candidate that exists (ETag, or time and size), without reading it; None if
    none does.
    """
    for name in candidates:
        url = under(base, name)
        local = local_path(url)
        try:
            if local is not None:
                if local.is_file():
                    stat = local.stat()
                    return f"{stat.st_mtime_ns}-{stat.st_size}"
            elif url.startswith(("http://", "https://")):
                headers = _http(settings, "HEAD", url, None)
                return headers.get("etag") or f"{headers.get('last-modified')}-{headers.get('content-length')}"
            else:
                _check_scheme(url)
                with object_store_errors(redact(url)):
                    filesystem, path = _filesystem(url)
                    info = filesystem.info(path)
                return str(info.get("etag") or info.get("ETag") or f"{info.get('mtime')}-{info.get('size')}")
        except MissingError:
            continue
    return None


def open_parquet(file: Fetched) -> "pq.ParquetFile":
    """The Parquet file, its outer form checked.

    Raises:
        LakeError: the file is empty, a web page, truncated, not Parquet, damaged, or holds no rows.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if file.bytes == 0:
        raise LakeError(f"{file.url}: the file is empty (0 bytes)")
    with file.path.open("rb") as stream:
        head = stream.read(512)
        stream.seek(max(0, file.bytes - len(MAGIC)))
        tail = stream.read(len(MAGIC))
    if head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml", b"<error")):
        raise LakeError(
            f"{file.url}: is a web page, not a Parquet file: {' '.join(head[:80].decode('utf-8', 'replace').split())}"
        )
    if not head.startswith(MAGIC):
        raise LakeError(f"{file.url}: is not a Parquet file (it begins with {head[:4]!r})")
    if tail != MAGIC or file.bytes < SMALLEST_PARQUET:
        raise LakeError(f"{file.url}: the Parquet file is truncated at {file.bytes:,} bytes (its footer is missing)")
    try:
        parquet = pq.ParquetFile(file.path)
    except (pa.ArrowInvalid, OSError) as error:
        raise LakeError(f"{file.url}: the Parquet file is damaged: {str(error).splitlines()[0]}") from error
    if (
        _data_end(parquet.metadata) > file.bytes - parquet.metadata.serialized_size - 8
    ):  # 8: the footer's length, a magic word
        raise LakeError(f"{file.url}: the Parquet file is damaged: a part of its middle is missing")
    if parquet.metadata.num_rows == 0:
        raise LakeError(f"{file.url}: the Parquet file holds no rows")
    return parquet


def _data_end(metadata: Any) -> int:
    """Where the last column chunk ends, by the footer."""
    chunks = (
        metadata.row_group(g).column(c) for g in range(metadata.num_row_groups) for c in range(metadata.num_columns)
    )
    starts = ((c.dictionary_page_offset or c.data_page_offset, c.total_compressed_size) for c in chunks)
    return max((start + size for start, size in starts), default=0)
