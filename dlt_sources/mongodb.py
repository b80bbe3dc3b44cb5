"""Changed documents of a MongoDB collection: read in batches of BSON, written as JSON, taken apart in SQL.

What belongs here: connecting, the query for a window of changes, and what each BSON type becomes. What does not: any
collection by name, and what documents mean.

A document goes BSON → Python → one canonical JSON text (keys sorted); DuckDB takes it from there. Top-level fields
become columns: declared ones typed, others text, nested values the JSON text they are. `version` is the digest of the
text, so two documents with equal content have equal versions, whatever the order of their fields.

| BSON | JSON |
|---|---|
| ObjectId, UUID | their text |
| date | RFC 3339 in UTC; one outside the years 1 to 9999: `{"$date": {"$numberLong": …}}` |
| Decimal128 | its text, to the last digit |
| double | shortest decimal; NaN and infinities as text, which JSON has no numbers for |
| binary, a UUID that has not 16 bytes | base64 |
| others without a JSON form (timestamp, regular expression, min and max key) | MongoDB's extended JSON |
"""

import re
from base64 import b64encode
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote
from uuid import UUID

from dlt_sources.rejects import with_rejected
from dlt_sources.retries import retried
from lake.duck import literal
from lake.errors import LakeError, TransientError
from lake.load import LoadRequest, SourceReport, Window
from lake.quarantine import Origin, apart, column_name, split
from lake.spec import TableSpec

if TYPE_CHECKING:
    import pyarrow as pa
    from dlt.extract import DltSource
    from pymongo import MongoClient

VERSION = "version"
CURSOR_DOCUMENTS = 4_000  # documents a message of the server's; small, for Python's collector walks those that live
BATCH_DOCUMENTS = 20_000  # documents a table
BATCH_BYTES = 1 << 25
SCHEME = re.compile(r"mongodb(\+srv)?://")
MALFORMED = "(malformed MongoDB URI)"
HOST = r"([\w.%-]+|\[[0-9A-Fa-f:.]+\])(:\d+)?"
HOSTS = re.compile(f"{HOST}(,{HOST})*", re.ASCII)
NOT_FINITE = re.compile(rb"\x01[^\x00]*\x00.{6}[\xf0-\xff][\x7f\xff]", re.DOTALL)  # a double whose exponent is all ones
UUID_BYTES = 16
# Types but dates, each of which an index finds. Not so an array: asked for its type, MongoDB reads every document.
UNDATED = ("string", "number", "object", "bool", "objectId", "timestamp", "binData", "regex", "minKey", "maxKey")
AHEAD = timedelta(days=1)  # what claims to change later than this is wrong, and no clock's drift
FUTURE = "future_"  # begins the reason for rejecting it
MAY_PASS = frozenset({43, 50, 89, 91, 133, 189, 202, 262, 11600, 11602})  # cursor lost, time limit, shutdown, failover
DENIED = frozenset({11, 13, 18, 8000})


@dataclass(frozen=True)
class Mongo:
    """Where documents are, and how long to wait for them.

    Attributes:
        uri: connection URI; may hold a password, so it is shown nowhere.
        database: name of the database.
        connect_seconds: to find a server and connect to it.
        read_seconds: how long an answer may stall.
        attempts: to connect and get the first documents.
    """

    uri: str
    database: str
    connect_seconds: float
    read_seconds: float
    attempts: int

    def __repr__(self) -> str:
        return f"Mongo({self.hosts}, {self.database})"

    @property
    def hosts(self) -> str:
        """The hosts that the URI names, without user, password and options."""
        authority, _, rest = SCHEME.sub("", self.uri, count=1).replace("?", "/").partition("/")
        hosts = authority.rpartition("@")[2]
        if not SCHEME.match(self.uri) or "@" in rest or not HOSTS.fullmatch(hosts):
            return MALFORMED  # a password that is not percent-encoded could be taken for a host
        return hosts


def changed_documents(
    request: LoadRequest,
    report: SourceReport,
    *,
    mongo: Mongo,
    collection: str,
    changed: str = "updated_at",
    exclude: Sequence[str] = (),
    cursor_documents: int = CURSOR_DOCUMENTS,
    batch_documents: int = BATCH_DOCUMENTS,
) -> "DltSource":
    """The documents that changed in the request's window, and those that no window would bring.

    The latter do not say when they changed (no `changed`, or null, or another type in its place), or say that they
    will, more than a day from now. They are asked for with every window and rejected, until the source mends them. A
    text that is a time is taken for one, so it comes with the windows that it lies in, as a date does.

    Args:
        request: the table and its window.
        report: filled in with the collection, the documents read and the new fields.
        mongo: where the collection is.
        collection: its name.
        changed: column of the date of a document's last change, whose day is the partition.
        exclude: fields to leave on the server.
        cursor_documents: documents a message of the server's.
        batch_documents: documents a table, at the most.

    Returns:
        A source with the resources `request.spec.table` and `request.spec.rejected_table`.

    Raises:
        LakeError: the load has no window.
    """
    import dlt

    spec, window = request.spec, request.window
    if window is None:
        raise LakeError(f"{spec.identifier}: changed documents are loaded by a window of time")
    name = f"mongodb:{mongo.database}.{collection}"  # no host: rows rejected today and after a move are the same
    field = spec.columns[changed].source or changed

    @dlt.resource(name=spec.table, file_format="parquet")
    def rows() -> Iterator[Any]:
        report.source_object = name
        new: set[str] = set()
        future = datetime.now(UTC) + AHEAD
        query = {"filter": changes(field, window, future), "projection": dict.fromkeys(exclude, 0) or None}
        messages = _messages(mongo, collection, {**query, "batch_size": cursor_documents})
        for batch in _batches(messages, name, batch_documents):
            picked = _picked(batch, spec, window, changed, future)
            good, rejected = _split(picked, request, name, report.rows_read, changed)
            report.rows_read += picked.fields.num_rows
            known = {*spec.columns, spec.partition_column, *request.known_columns}
            new.update(column for column in good.column_names if column not in known)
            report.new_columns = tuple(sorted(new))
            yield good
            yield from with_rejected(spec.rejected_table, [rejected])

    @dlt.source(name="mongodb", max_table_nesting=0)
    def mongodb() -> Any:
        return rows

    return mongodb()


def changes(field: str, window: Window, future: datetime) -> dict[str, Any]:
    """The filter for documents whose `field` is a date in `window` or after `future`, or no date at all (an array of
    what is none is not found).

    An index on `field` serves each alternative: a range of dates, the null, a range for each type.
    """
    since = {"$gte": window.since} if window.since else {}
    return {
        "$or": [
            {field: {**since, "$lt": window.end}},
            {field: {"$gte": future}},
            {field: None},
            {field: {"$type": list(UNDATED)}},
        ]
    }


# -- reading ---------------------------------------------------------------------------------------------------


def _messages(mongo: Mongo, collection: str, query: Mapping[str, Any]) -> Iterator[bytes]:
    """The BSON documents that a query finds, a message of the server's at a time.

    Until the first message the query may be tried again; after that a fault ends it, for what was handed on cannot be
    taken back.
    """
    place = f"{mongo.hosts}: {mongo.database}.{collection}"

    def begin() -> tuple["MongoClient[Any]", Any, bytes | None]:
        client = _connect(mongo)
        try:
            with _errors(mongo, place, f" after {mongo.attempts} attempts"):
                cursor = client[mongo.database][collection].find_raw_batches(**query)
                return client, cursor, next(cursor, None)
        except BaseException:
            client.close()
            raise

    client, cursor, message = retried(mongo.attempts, begin)
    with client, _errors(mongo, place, "; the cursor died half-way, so nothing was loaded"):
        while message is not None:
            yield message
            message = next(cursor, None)


def _connect(mongo: Mongo) -> "MongoClient[Any]":
    from pymongo import MongoClient
    from pymongo.errors import ConfigurationError, PyMongoError

    if mongo.hosts == MALFORMED:
        raise LakeError(f"{MALFORMED}: it is mongodb:// with hosts, before them user and password, percent-encoded")
    connect, read = int(mongo.connect_seconds * 1000), int(mongo.read_seconds * 1000)
    try:
        return MongoClient(
            mongo.uri,
            serverSelectionTimeoutMS=connect,
            connectTimeoutMS=connect,
            socketTimeoutMS=read,
            appname="lakegraph",
        )
    except (PyMongoError, ValueError) as error:  # their text may hold a part of the password
        if mongo.uri.startswith("mongodb+srv://") and type(error) is ConfigurationError:
            raise TransientError(
                f"{mongo.hosts}: DNS does not tell its servers, after {mongo.attempts} attempts; is the name right, "
                "and the network up?"
            ) from None
        raise LakeError(f"{mongo.hosts}: not a MongoDB URI that can be used ({type(error).__name__})") from None


@contextmanager
def _errors(mongo: Mongo, place: str, when: str) -> Iterator[None]:
    """Pymongo's errors as ours: what may pass by itself is transient, and nothing secret is repeated."""
    from pymongo.errors import ConnectionFailure, OperationFailure, PyMongoError

    try:
        yield
    except OperationFailure as error:
        text = _sentence(error, mongo)
        if error.code in DENIED:
            raise LakeError(f"{place}: access denied ({text}); check user, password and authSource") from None
        if error.code in MAY_PASS or error.has_error_label("RetryableError"):
            raise TransientError(f"{place}: {text}{when}") from None
        raise LakeError(f"{place}: {text}") from None
    except ConnectionFailure as error:  # no server found, a connection cut, an answer that does not come
        raise TransientError(f"{place}: {_sentence(error, mongo)}{when}") from None
    except PyMongoError as error:
        raise LakeError(f"{place}: {type(error).__name__}: {_sentence(error, mongo)}") from None


def _sentence(error: Exception, mongo: Mongo) -> str:
    """The first sentence of pymongo's many, without what the URI keeps secret."""
    text = re.split(r" \(configured timeouts|, Timeout:|, full error:|, Topology", str(error))[0]
    user, _, password = mongo.uri.partition("://")[2].rpartition("@")[0].partition(":")
    for secret in sorted({user, password, unquote(user), unquote(password)} - {""}, key=len, reverse=True):
        text = text.replace(secret, "***")
    return " ".join(text.split())[:300] or type(error).__name__


# -- BSON to JSON ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Batch:
    """Documents as canonical JSON, and the names of all their top-level fields."""

    texts: Sequence[bytes]
    fields: Collection[str]


def _batches(messages: Iterable[bytes], name: str, documents: int) -> Iterator[_Batch]:
    """The documents of `messages` in batches, so that memory follows the batch and not the window."""
    texts: list[bytes] = []
    fields: set[str] = set()
    size = 0
    for message in messages:
        found, names = canonical(message, name)
        texts += found
        fields |= names
        size += len(message)
        if len(texts) >= documents or size >= BATCH_BYTES:
            yield _Batch(texts, fields)
            texts, fields, size = [], set(), 0
    if texts:
        yield _Batch(texts, fields)


def canonical(documents: bytes, name: str) -> tuple[list[bytes], set[str]]:
    """BSON documents, one after the other, as canonical JSON; and the names of all their top-level fields.

    Args:
        documents: BSON.
        name: of the collection, for messages.

    Raises:
        LakeError: it is not BSON.
    """
    import bson
    import orjson
    from bson.binary import UuidRepresentation
    from bson.codec_options import CodecOptions, DatetimeConversion

    options: CodecOptions[dict[str, Any]] = CodecOptions(
        tz_aware=False,  # in UTC; orjson adds the Z
        datetime_conversion=DatetimeConversion.DATETIME_AUTO,
        uuid_representation=UuidRepresentation.UNSPECIFIED,  # STANDARD refuses all documents for one malformed UUID
        unicode_decode_error_handler="replace",
    )
    try:
        decoded = bson.decode_all(documents, options)
    except bson.errors.InvalidBSON as error:
        raise LakeError(f"{name}: the server sent what is not BSON: {' '.join(str(error).split())[:200]}") from error
    if NOT_FINITE.search(documents):  # or bytes that look like it
        decoded = [_finite(document) for document in decoded]
    other, form = _json_form(), orjson.OPT_SORT_KEYS | orjson.OPT_NAIVE_UTC | orjson.OPT_UTC_Z
    return [orjson.dumps(document, other, form) for document in decoded], set().union(*decoded)


@cache
def _json_form() -> Callable[[Any], Any]:
    """What orjson writes for a BSON value that it does not know: a function, made once, for it is called very often."""
    from bson import Binary, Decimal128, ObjectId, json_util
    from bson.binary import UUID_SUBTYPE

    @lru_cache(maxsize=1 << 14)  # prices repeat, and the conversion is slow
    def decimal_text(bid: bytes) -> str:
        return str(Decimal128.from_bid(bid))

    def json_form(value: Any) -> Any:
        if isinstance(value, ObjectId):
            return value.binary.hex()
        if isinstance(value, Decimal128):
            return decimal_text(value.bid)
        if isinstance(value, bytes):
            if len(value) == UUID_BYTES and isinstance(value, Binary) and value.subtype == UUID_SUBTYPE:
                return UUID(bytes=value)
            return b64encode(value).decode()
        return json_util.default(value, json_util.CANONICAL_JSON_OPTIONS)

    return json_form


def _finite(value: Any) -> Any:
    """`value` with texts in the place of doubles that JSON has no numbers for; orjson would write null."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    if isinstance(value, float) and value - value != 0:
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"  # noqa: PLR0124 - only NaN is not itself
    return value


# -- JSON to columns -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Picked:
    """Documents that a load takes, taken apart.

    Attributes:
        fields: as columns of text.
        documents: their canonical JSON.
        digests: of that.
        reasons: why a document is rejected, whatever its fields; null: nothing is wrong yet.
    """

    fields: "pa.Table"
    documents: "pa.Array"
    digests: "pa.Array"
    reasons: "pa.Array"


def _split(
    picked: _Picked, request: LoadRequest, name: str, before: int, changed: str
) -> tuple["pa.Table", "pa.Table"]:
    import pyarrow as pa

    origin = Origin(
        ordinals=pa.array(range(before + 1, before + 1 + picked.fields.num_rows), pa.int64()),
        raw_rows=picked.documents,
        reasons=picked.reasons,
        columns={VERSION: picked.digests},
        day_of=changed,
    )
    return split(picked.fields, request.spec, source_object=name, run_id=request.run_id, origin=origin)


def columns_of(fields: Iterable[str], spec: TableSpec) -> dict[str, str]:
    """Under which name each field is handed to `split`: all declared ones, and those nobody declared.

    MongoDB tells `name` from `Name`, a table does not: a field that would land in another's column gets a column of its
    own, so that one odd document neither stops a load nor loses a value.
    """
    declared = [column.source or name for name, column in spec.columns.items() if name != VERSION]
    names = {field: field for field in declared}
    taken = {name.lower() for name in (*declared, *spec.columns, spec.partition_column or "")}
    for field in sorted(set(fields) - names.keys(), key=lambda field: (column_name(field) != field, field)):
        name = column_name(field)
        names[field] = apart(field) if name in taken else name
        taken.add(names[field])
    return names


def _picked(batch: _Batch, spec: TableSpec, window: Window, changed: str, future: datetime) -> _Picked:
    """The documents of a batch that change in `window`, after `future`, or nobody knows when.

    Others were asked for because their time is a text, and their windows are others.
    """
    import duckdb
    import pyarrow as pa

    names = columns_of(batch.fields, spec)
    pointers = ["/" + field.replace("~", "~0").replace("/", "~1") for field in names]
    picked = ", ".join(f"picked[{i}]" for i in range(1, len(pointers) + 1))
    place = 1 + list(names).index(spec.columns[changed].source or changed)
    since = f"changed_at >= {_moment(window.since)} AND" if window.since else ""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("documents", pa.table({"document": pa.array(batch.texts, pa.string())}))
        documents, digests, reasons, *fields = (
            connection.sql(
                f"""
                WITH picked AS (
                    SELECT document, json_extract_string(document, [{", ".join(map(literal, pointers))}]) AS picked
                    FROM documents
                ), dated AS (
                    SELECT *, TRY_CAST(picked[{place}] AS TIMESTAMPTZ) AS changed_at FROM picked
                )
                SELECT document, md5(document),
                    CASE WHEN isfinite(changed_at) AND changed_at >= {_moment(future)}
                        THEN {literal(FUTURE + changed)} END,
                    {picked}
                FROM dated
                WHERE changed_at IS NULL OR NOT isfinite(changed_at) OR changed_at >= {_moment(future)}
                    OR ({since} changed_at < {_moment(window.end)})
                """  # noqa: S608 - literals are escaped
            )
            .to_arrow_table()
            .columns
        )
    return _Picked(
        pa.table(fields, names=list(names.values())),
        *(column.combine_chunks() for column in (documents, digests, reasons)),
    )


def _moment(at: datetime) -> str:
    return f"TIMESTAMPTZ {literal(at.isoformat())}"
