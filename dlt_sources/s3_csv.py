"""CSV objects in an S3 bucket that came or changed in a window of time, read row by row into a table.

What belongs here: listing and copying objects of any S3 (AWS, MinIO, moto), and what of a row is known beside its
columns. What does not: any bucket or prefix by name, the form of CSV files (`dlt_sources.csv_files`), what rows mean.

What S3 can tell: keys in their order, a thousand a request, each with the time of its last change in whole seconds,
its size and its ETag. It cannot be asked for what changed since some time, so every listing walks all keys below the
prefix: a year of hourly drops is nine requests. `StartAfter` would skip the keys up to a given one, but an object
rewritten in place keeps its key, so nothing is skipped. The time of an object uploaded in parts is when the upload
*began*: such an object may show with a time that a listing has passed already. A load's window reaches back for that,
and a sensor's cursor looks back `LOOK_BACK`.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import unquote, urlsplit, urlunsplit

from dlt_sources.csv_files import CsvBatch, EmptyFileError, read_csv
from dlt_sources.files import SERVER_ERROR, THROTTLED, Fetched, redact
from dlt_sources.rejects import with_rejected
from dlt_sources.retries import retried
from lake.duck import literal, quote
from lake.errors import LakeError, TransientError
from lake.load import LoadRequest, SourceReport, Window
from lake.quarantine import Origin, column_name, split
from lake.spec import TableSpec

if TYPE_CHECKING:
    import pyarrow as pa
    from dlt.extract import DltSource
    from s3fs import S3FileSystem

VERSION, OBJECT, MODIFIED = "version", "source_object", "object_modified_at"
SUFFIXES = (".csv", ".csv.gz")
LOOK_BACK = timedelta(hours=2)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
BLOCK = 1 << 23
REWRITES = 5  # how often an object may be replaced while it is being read


@dataclass(frozen=True)
class S3Object:
    """An object as a listing tells it; `modified` in UTC, to the second."""

    key: str
    modified: datetime
    etag: str
    size: int


class _ReplacedError(Exception):
    """The object is gone, or is another one than was listed."""


@dataclass(frozen=True)
class Bucket:
    """A bucket, and how long to wait for it.

    Attributes:
        endpoint: URL of the server, with `key:secret@` before the host if those are to be used; None: AWS.
        name: of the bucket.
        keys: access key and secret; None: those of the endpoint's URL, or of the environment (AWS_*).
        connect_seconds: to connect.
        read_seconds: how long an answer may stall.
        attempts: of one request.
    """

    endpoint: str | None
    name: str
    keys: tuple[str, str] | None
    connect_seconds: float
    read_seconds: float
    attempts: int

    def __repr__(self) -> str:
        return f"Bucket({self.host}, {self.name})"

    @property
    def host(self) -> str:
        """The server, without keys."""
        if self.endpoint is None:
            return "AWS S3"
        parts = urlsplit(self.endpoint)
        well_formed = parts.scheme in {"http", "https"} and parts.hostname and "@" not in parts.path + parts.query
        return redact(self.endpoint) if well_formed else "(malformed URL)"

    def url(self, key: str) -> str:
        """`s3://<bucket>/<key>`."""
        return f"s3://{self.name}/{key}"

    def objects(self, prefix: str) -> Iterator[S3Object]:
        """All objects whose key begins with `prefix`, in the order of keys; a thousand a request.

        Raises:
            LakeError: there is no such bucket, or access is denied; a `TransientError` if it does not answer.
        """
        token: dict[str, str] = {}
        while True:
            page = self._page(prefix, token)
            for found in page.get("Contents", []):
                modified = found["LastModified"].astimezone(UTC)
                yield S3Object(found["Key"], modified, found["ETag"], found["Size"])
            if not page["IsTruncated"]:
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def copy(self, wanted: S3Object, target: Path) -> None:
        """Copy the very object that was listed to `target`.

        Raises:
            _ReplacedError: it is gone, or another one has its key.
            LakeError: access is denied; a `TransientError` if it does not answer.
            OSError: `target` cannot be written.
        """

        def attempt() -> None:
            with target.open("wb") as out:
                for block in self._blocks(wanted):
                    out.write(block)

        retried(self.attempts, attempt)

    def _blocks(self, wanted: S3Object) -> Iterator[bytes]:
        """The content of the very object that was listed. What goes wrong with a block at the caller's is not S3's."""
        with self._errors(self.url(wanted.key)):
            name, options = f"{self.name}/{wanted.key}", {"cache_type": "none", "block_size": BLOCK}
            with self._files.open(name, "rb", **options) as source:
                if source.details["ETag"] != wanted.etag:
                    raise _ReplacedError
                while block := source.read(BLOCK):  # only if the ETag still is the same
                    yield block

    def _page(self, prefix: str, token: Mapping[str, str]) -> dict[str, Any]:
        def attempt() -> dict[str, Any]:
            with self._errors(self.url(prefix)):
                page: dict[str, Any] = self._files.call_s3("list_objects_v2", Bucket=self.name, Prefix=prefix, **token)
            if "IsTruncated" not in page:  # a web page with status 200 reads as an empty answer
                raise LakeError(f"{self.host}: {self.url(prefix)}: answered with something else than a listing")
            return page

        try:
            return retried(self.attempts, attempt)
        except _ReplacedError:
            raise LakeError(f"{self.host}: {self.url('')}: no such bucket") from None

    @cached_property
    def _files(self) -> "S3FileSystem":
        """The client; made once, for that is slow."""
        import s3fs

        keys, endpoint = self.keys, self.endpoint
        if endpoint and "@" in endpoint:
            parts = urlsplit(endpoint)
            keys = keys or (unquote(parts.username or ""), unquote(parts.password or ""))
            endpoint = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
        files = s3fs.S3FileSystem(
            endpoint_url=endpoint,
            key=keys[0] if keys else None,
            secret=keys[1] if keys else None,
            config_kwargs={
                "connect_timeout": self.connect_seconds,
                "read_timeout": self.read_seconds,
                "retries": {"total_max_attempts": 1},  # `retried` is enough
                "s3": {"addressing_style": "path" if endpoint else "auto"},
            },
            use_listings_cache=False,
            skip_instance_cache=True,
        )
        files.retries = 1
        return files

    @contextmanager
    def _errors(self, place: str) -> Iterator[None]:
        """The errors of s3fs, botocore and aiohttp as ours: what may pass by itself is transient."""
        from aiohttp import ClientError
        from botocore.exceptions import BotoCoreError, HTTPClientError, NoCredentialsError, PartialCredentialsError
        from botocore.exceptions import ConnectionError as ConnectionFailedError
        from s3fs.utils import FileExpired

        after = f" after {self.attempts} attempts"
        try:
            yield
        except (_ReplacedError, LakeError):
            raise
        except (FileNotFoundError, FileExpired):
            raise _ReplacedError from None
        except PermissionError:
            raise LakeError(f"{self.host}: {place}: access denied; check the keys (AWS_* in the environment)") from None
        except (NoCredentialsError, PartialCredentialsError):
            raise LakeError(f"{self.host}: {place}: no keys; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY") from None
        except (HTTPClientError, ConnectionFailedError, ClientError) as error:
            raise TransientError(f"{self.host}: {place}: {self._reason(error)}{after}") from None
        except (BotoCoreError, ValueError) as error:  # a malformed endpoint, say, whose text may hold a password
            raise LakeError(f"{self.host}: {place}: {type(error).__name__}") from None
        except OSError as error:
            raise self._judged(error, place, after) from None

    def _judged(self, error: OSError, place: str, after: str) -> Exception:
        """What an answer of the server's other than success means."""
        cause: BaseException | None = error
        while cause is not None and not hasattr(cause, "response"):
            cause = cause.__cause__
        response = getattr(cause, "response", None)
        if response is None:
            return TransientError(f"{self.host}: {place}: {type(error).__name__}{after}")
        status, code = response["ResponseMetadata"].get("HTTPStatusCode", 0), response["Error"].get("Code", "")
        if code == "PreconditionFailed":
            return _ReplacedError()
        if status >= SERVER_ERROR or code in THROTTLED:
            return TransientError(f"{self.host}: {place}: HTTP {status} {code}{after}")
        return LakeError(f"{self.host}: {place}: HTTP {status} {code}")

    def _reason(self, error: Exception) -> str:
        name = type(error).__name__
        reasons = {
            "EndpointConnectionError": "connection refused, or no such host",
            "ConnectTimeoutError": f"no connection within {self.connect_seconds:g} s",
            "ReadTimeoutError": f"no answer within {self.read_seconds:g} s",
            "ConnectionClosedError": "the connection was closed before an answer",
        }
        return reasons.get(name, name)


# -- what is new -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cursor:
    """How far a sensor has seen: the newest time, and the objects from `LOOK_BACK` before it on, which are not new."""

    newest: datetime
    seen: frozenset[tuple[str, str]]

    def to_text(self) -> str:
        """As JSON."""
        return json.dumps({"newest": self.newest.isoformat(), "seen": sorted(self.seen)})

    @classmethod
    def from_text(cls, text: str) -> Self:
        """The reverse of `to_text`."""
        held = json.loads(text)
        return cls(datetime.fromisoformat(held["newest"]), frozenset((key, etag) for key, etag in held["seen"]))


def _has_rows(listed: S3Object) -> bool:
    """Whether it is a CSV file, by its name, and not an empty one."""
    return listed.key.lower().endswith(SUFFIXES) and listed.size > 0


def news(listing: Iterable[S3Object], cursor: Cursor | None) -> tuple[list[S3Object], Cursor]:
    """The CSV objects of a listing that are new or changed since the cursor, and the cursor after them.

    An object is told by its key and ETag, not by its time alone: two changes within a second, and one that shows late,
    are found. One rewritten with the very same content is not new.

    Args:
        listing: of all objects.
        cursor: None: all are new.
    """
    recent, found = [], []
    newest = cursor.newest if cursor else EPOCH
    for listed in listing:
        if not _has_rows(listed) or (cursor and listed.modified < cursor.newest - LOOK_BACK):
            continue
        recent.append(listed)
        newest = max(newest, listed.modified)
        if cursor is None or (listed.key, listed.etag) not in cursor.seen:
            found.append(listed)
    return found, Cursor(newest, frozenset((o.key, o.etag) for o in recent if o.modified >= newest - LOOK_BACK))


# -- rows ------------------------------------------------------------------------------------------------------


def changed_objects(request: LoadRequest, report: SourceReport, *, bucket: Bucket, prefix: str) -> "DltSource":
    """The rows of all CSV objects whose last change lies in the request's window.

    Args:
        request: the table and its window. The spec may declare `version` (digest of the row's values that are not
            empty, by column), `source_object` (`s3://bucket/key`) and `object_modified_at`; a row's partition is the
            day of the latter.
        report: filled in with the bucket and prefix, the rows read and the new columns.
        bucket: where the objects are.
        prefix: what their keys begin with.

    Returns:
        A source with the resources `request.spec.table` and `request.spec.rejected_table`.

    Raises:
        LakeError: the load has no window.
    """
    import dlt

    spec, window = request.spec, request.window
    if window is None:
        raise LakeError(f"{spec.identifier}: changed objects are loaded by a window of time")

    @dlt.resource(name=spec.table, file_format="parquet")
    def rows() -> Iterator[Any]:
        report.source_object = bucket.url(prefix)
        new: set[str] = set()
        for listed in _in_window(bucket.objects(prefix), window):
            for read, file in _fetched(bucket, listed, window, request.working / "object"):
                for batch in _read(file, request.run_id):
                    good, rejected = _split(batch, request, file.url, read)
                    report.rows_read += batch.rows_read
                    known = {*spec.columns, spec.partition_column, *request.known_columns}
                    new.update(column for column in good.column_names if column not in known)
                    report.new_columns = tuple(sorted(new))
                    if good.num_rows:
                        yield good
                    yield from with_rejected(spec.rejected_table, [rejected, batch.ragged])

    @dlt.source(name="s3_csv", max_table_nesting=0)
    def s3_csv() -> Any:
        return rows

    return s3_csv()


def _read(file: Fetched, run_id: str) -> Iterator[CsvBatch]:
    """The batches of an object; packed emptiness has none, as an object of 0 bytes."""
    try:
        yield from read_csv(file, run_id)
    except EmptyFileError:
        return


def _in_window(listing: Iterable[S3Object], window: Window) -> list[S3Object]:
    """The CSV objects that changed in `window`. S3 cuts times to whole seconds, which moves none across a bound that is
    a whole second itself.
    """
    return [o for o in listing if _has_rows(o) and window.holds(o.modified)]


def _fetched(bucket: Bucket, listed: S3Object, window: Window, target: Path) -> Iterator[tuple[S3Object, Fetched]]:
    """The object as a local file, removed afterwards. If it was replaced since it was listed, what replaced it, unless
    that is another window's; if it vanished, nothing.

    Raises:
        TransientError: it is replaced again and again.
    """
    current: S3Object | None = listed
    for _ in range(REWRITES):
        if current is None:
            return
        try:
            bucket.copy(current, target)
        except _ReplacedError:
            same = (o for o in bucket.objects(listed.key) if o.key == listed.key)
            current = next(iter(_in_window(same, window)), None)
            continue
        yield current, Fetched(target, bucket.url(current.key), current.etag, target.stat().st_size)
        target.unlink()
        return
    raise TransientError(f"{bucket.host}: {bucket.url(listed.key)}: was replaced {REWRITES} times while it was read")


def _split(batch: CsvBatch, request: LoadRequest, url: str, read: S3Object) -> tuple["pa.Table", "pa.Table"]:
    import pyarrow as pa

    spec, count = request.spec, batch.rows.num_rows
    made = {
        VERSION: _versions(batch.rows, spec),
        OBJECT: pa.repeat(url, count),
        MODIFIED: pa.repeat(f"{read.modified:%Y-%m-%dT%H:%M:%SZ}", count),
    }
    columns = {name: values for name, values in made.items() if name in spec.columns}
    origin = Origin(ordinals=batch.ordinals, columns=columns, day_of=MODIFIED)
    return split(batch.rows, spec, source_object=url, run_id=request.run_id, origin=origin)


def _versions(rows: "pa.Table", spec: TableSpec) -> "pa.Array":
    """A digest of each row: of its values that are not empty, by the names they have in the table. So neither the order
    of columns nor a new one without values makes another version.
    """
    import duckdb

    names = sorted((spec.match(raw) or column_name(raw), raw) for raw in rows.column_names)
    members = [
        f"CASE WHEN {quote(raw)} <> '' THEN {literal(json.dumps(name))} || ':' || to_json({quote(raw)}) END"
        for name, raw in names
    ]
    with duckdb.connect() as connection:
        connection.register("raw_rows", rows)
        found = connection.sql(f"SELECT md5(concat_ws(',', {', '.join(members)})) FROM raw_rows")  # noqa: S608 - quoted
        return found.to_arrow_table().column(0).combine_chunks()
