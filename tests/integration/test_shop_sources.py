"""The shop's sources against MongoDB's and S3's protocols: what arrives, what is rejected, what each fault becomes.

The sources are driven as a load drives them, up to the files that it would commit; what stores do with those is theirs.
"""

import datetime as dt
import errno
import gzip
import json
import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import bson
import lakes
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bson import Binary, Code, DatetimeMS, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from dlt.pipeline.exceptions import PipelineStepFailed
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pymongo import MongoClient
from pymongo.errors import OperationFailure
from s3fs import S3File

from dlt_sources import mongodb, s3_csv, shop
from dlt_sources.mongodb import Mongo, canonical, changed_documents
from dlt_sources.s3_csv import LOOK_BACK, Bucket, Cursor, S3Object, changed_objects, news
from lake.errors import LakeError, TransientError, root_cause
from lake.load import LoadRequest, SourceReport, Window, _deliver
from lake.settings import Settings
from lake.spec import TableSpec
from sandbox import shop as sample
from sandbox.mongodb import MongoStandIn
from sandbox.s3 import S3StandIn

H5 = dt.datetime(2023, 3, 31, 5, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)
SECOND = dt.timedelta(seconds=1)
AT = H5 + dt.timedelta(minutes=12)
WINDOW = Window("2023-03-31-05:00", H5 - 2 * HOUR, H5 + HOUR)
DAY = dt.date(2023, 3, 31)
OID = ObjectId("6426228000020000000000a1")
CUSTOMER = ObjectId("64262280000100000000000b")
ORDER = {
    "_id": OID,
    "customer_id": CUSTOMER,
    "status": "placed",
    "currency": "EUR",
    "ordered_at": AT,
    "items": [{"line": 1, "product_id": "P0001", "quantity": 2, "unit_price": "19.90", "discount": "0.00"}],
    "updated_at": AT,
}
PRODUCTS = "product_id,name,category,size,color,list_price,active,updated_at,deleted_at\n"
P1 = "P0001,Tee,tops,S,rust,19.90,true,2023-03-31T05:12:00Z,\n"


# -- driving the sources ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Extract:
    """What a load would commit."""

    rows: pa.Table
    rejected: pa.Table
    report: SourceReport
    files: list[Path]

    def reasons(self) -> list[str]:
        return sorted(self.rejected["reject_reason"].to_pylist())


def union(files: list[Path], schema: pa.Schema) -> pa.Table:
    tables = [pq.read_table(file) for file in files]
    return pa.concat_tables(tables, promote_options="default") if tables else schema.empty_table()


def request_for(settings: Settings, spec: TableSpec, window: Window | None = WINDOW, **more: Any) -> LoadRequest:
    working = settings.home / f"load-{len(list(settings.home.glob('load-*')))}"
    working.mkdir(parents=True)
    return LoadRequest(spec, None, "run", settings, working, window=window, **more)


def extract(
    settings: Settings, name: str, window: Window = WINDOW, factory: Callable[..., Any] | None = None, **more: Any
) -> Extract:
    """Run the table's source for a window, as `lake.load` does; an error is that which a load would show."""
    spec, declared = lakes.declared(name, "shop")
    request, report = request_for(settings, spec, window, **more), SourceReport()
    try:
        delivered = _deliver(request, (factory or declared)(request, report))
    except PipelineStepFailed as error:
        raise root_cause(error) from None
    from lake.quarantine import rejected_schema

    files = delivered.get(spec.table, [])
    rows, rejected = union(files, spec.arrow_schema()), union(delivered.get(spec.rejected_table, []), rejected_schema())
    assert report.rows_read == rows.num_rows + rejected.num_rows
    assert set(rejected["run_id"].to_pylist()) <= {"run"}
    return Extract(rows, rejected, report, files)


def refused(act: Callable[[], object], *, transient: bool = False) -> str:
    with pytest.raises(LakeError) as raised:
        act()
    assert isinstance(raised.value, TransientError) == transient, repr(raised.value)
    message = str(raised.value)
    assert "\n" not in message
    assert len(message) < 500
    return message


@pytest.fixture
def mongo() -> Iterator[MongoStandIn]:
    with MongoStandIn() as server:
        yield server


@pytest.fixture
def s3() -> Iterator[S3StandIn]:
    with S3StandIn() as server:
        sample.play(None, server.url, [])  # makes the bucket
        yield server


@pytest.fixture
def home(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, http_attempts=2, shop_connect_timeout_seconds=5, shop_read_timeout_seconds=20)


def at_mongo(home: Settings, server: MongoStandIn, **more: Any) -> Settings:
    return home.model_copy(update={"shop_mongodb": secret(server.url), **more})


def secret(text: str) -> Any:
    return Settings(shop_mongodb=text).shop_mongodb


def at_s3(home: Settings, server: S3StandIn, **more: Any) -> Settings:
    return home.model_copy(update={"shop_s3": server.url.replace("://", "://key:secret@"), **more})


def write(server: MongoStandIn, collection: str, *documents: dict[str, Any]) -> None:
    with MongoClient[Any](server.url) as client:
        client.shop[collection].insert_many([dict(document) for document in documents])


def put(server: S3StandIn, key: str, body: str | bytes, modified: dt.datetime = AT, bucket: str = "shop") -> None:
    import httpx

    content = body.encode() if isinstance(body, str) else body
    headers = {"Authorization": sample.SIGNED, sample.MODIFIED_HEADER: modified.isoformat()}
    httpx.put(f"{server.url}/{bucket}/{key}", content=content, headers=headers).raise_for_status()


def delete(server: S3StandIn, key: str) -> None:
    import httpx

    httpx.delete(f"{server.url}/shop/{key}", headers={"Authorization": sample.SIGNED}).raise_for_status()


# -- BSON to JSON, type by type ---------------------------------------------------------------------------------


def as_json(value: Any) -> Any:
    (text,), _ = canonical(bson.encode({"v": value}), "c")
    return json.loads(text)["v"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (OID, "6426228000020000000000a1"),
        (Decimal128("19.90"), "19.90"),
        (Decimal128("12345678901234567890123456789012.34"), "12345678901234567890123456789012.34"),
        (Decimal128("1E+3"), "1E+3"),
        (Decimal128("NaN"), "NaN"),
        (Decimal128("-Infinity"), "-Infinity"),
        (dt.datetime(2023, 3, 31, 5, 12, 0, 123_000, dt.UTC), "2023-03-31T05:12:00.123000Z"),
        (dt.datetime(2023, 3, 31, 7, 12, tzinfo=dt.timezone(2 * HOUR)), "2023-03-31T05:12:00Z"),
        (dt.datetime(1, 1, 1, tzinfo=dt.UTC), "0001-01-01T00:00:00Z"),
        (dt.datetime(1969, 12, 31, 23, 59, 59, 999_000, dt.UTC), "1969-12-31T23:59:59.999000Z"),
        (DatetimeMS(253_402_300_800_000), {"$date": {"$numberLong": "253402300800000"}}),  # the year 10000
        (DatetimeMS(-(2**62)), {"$date": {"$numberLong": str(-(2**62))}}),
        (1.5, 1.5),
        (0.1, 0.1),
        (float("nan"), "NaN"),
        (float("inf"), "Infinity"),
        (float("-inf"), "-Infinity"),
        (Int64(2**63 - 1), 2**63 - 1),
        (-(2**63), -(2**63)),
        (7, 7),
        (True, True),
        (None, None),
        ('Zoë 👍 " \\ \n \0', 'Zoë 👍 " \\ \n \0'),
        (b"\x00\xff", "AP8="),
        (Binary(b"\x00\xff", 5), "AP8="),
        (Binary.from_uuid(__import__("uuid").UUID(int=1)), "00000000-0000-0000-0000-000000000001"),
        (Binary(bytes(range(16)), 4), "00010203-0405-0607-0809-0a0b0c0d0e0f"),
        (Binary(bytes(range(16)), 3), "AAECAwQFBgcICQoLDA0ODw=="),  # in which order the bytes are, nobody knows
        (bytes(range(16)), "AAECAwQFBgcICQoLDA0ODw=="),
        (Binary(b"\x00\xff", 4), "AP8="),
        (Binary(b"", 4), ""),
        ([{"u": Binary(bytes(16), 4)}], [{"u": "00000000-0000-0000-0000-000000000000"}]),
        (Code("f()"), "f()"),
        (Regex("^a", "i"), {"$regularExpression": {"pattern": "^a", "options": "i"}}),
        (Timestamp(5, 1), {"$timestamp": {"t": 5, "i": 1}}),
        (MinKey(), {"$minKey": 1}),
        (MaxKey(), {"$maxKey": 1}),
        ([1, [OID, {"d": AT}], None], [1, ["6426228000020000000000a1", {"d": "2023-03-31T05:12:00Z"}], None]),
        ({"b": {"x": [float("nan"), 1.0]}, "a": 1}, {"a": 1, "b": {"x": ["NaN", 1.0]}}),
        ({}, {}),
        ([], []),
    ],
)
def test_each_bson_type_has_one_json_form(value: Any, expected: Any) -> None:
    assert as_json(value) == expected
    assert type(as_json(value)) is type(expected)


def test_keys_are_sorted_on_every_level_so_that_equal_documents_are_equal_texts() -> None:
    one = bson.encode({"a": 1, "b": {"x": 1, "y": [{"q": 1, "p": 2}]}})
    other = bson.encode({"b": {"y": [{"p": 2, "q": 1}], "x": 1}, "a": 1})
    (first, second), names = canonical(one + other, "c")
    assert first == second == b'{"a":1,"b":{"x":1,"y":[{"p":2,"q":1}]}}'
    assert names == {"a", "b"}


def test_text_that_is_not_utf_8_does_not_stop_a_load_and_what_is_not_bson_does() -> None:
    broken = bson.encode({"v": "abcd"}).replace(b"abcd", b"ab\xff\xfe")
    assert json.loads(canonical(broken, "c")[0][0])["v"].startswith("ab")
    assert "shop.orders: the server sent what is not BSON" in refused(
        lambda: canonical(b"\x10\0\0\0garbage", "shop.orders")
    )


def test_a_malformed_uuid_does_not_stop_the_documents_beside_it() -> None:
    """The fault: BSON's reader refused all documents of a message, so the collection could not be loaded any more."""
    odd, good = {"_id": 1, "u": Binary(b"short", 4)}, {"_id": 2, "u": Binary(bytes(16), 4)}
    texts, names = canonical(bson.encode(odd) + bson.encode(good), "c")
    assert texts == [b'{"_id":1,"u":"c2hvcnQ="}', b'{"_id":2,"u":"00000000-0000-0000-0000-000000000000"}']
    assert names == {"_id", "u"}


@hypothesis_settings(deadline=None, max_examples=200)
@given(
    st.recursive(
        st.one_of(
            st.floats(allow_nan=False, allow_infinity=False),
            st.integers(-(2**63), 2**63 - 1),
            st.text(),
            st.booleans(),
            st.none(),
        ),
        lambda inner: st.one_of(
            st.lists(inner, max_size=4),
            st.dictionaries(
                st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=4), inner, max_size=4
            ),
        ),
        max_leaves=12,
    )
)
def test_what_json_can_say_is_said_unchanged(value: Any) -> None:
    assert as_json(value) == value


# -- documents to rows -------------------------------------------------------------------------------------------


def judged(home: Settings, *documents: dict[str, Any], name: str = "orders") -> tuple[pa.Table, pa.Table]:
    """Documents through the source without a server, for what the stand-in cannot hold."""
    spec, _ = lakes.declared(name, "shop")
    (batch,) = mongodb._batches([b"".join(bson.encode(document) for document in documents)], "c", 1000)
    far = dt.datetime(2100, 1, 1, tzinfo=dt.UTC)
    picked = mongodb._picked(batch, spec, Window("all", None, far), "updated_at", far)
    assert picked.fields.num_rows == len(documents)
    return mongodb._split(picked, request_for(home, spec), "c", 0, "updated_at")


def test_a_document_becomes_a_typed_row(home: Settings, mongo: MongoStandIn) -> None:
    write(
        mongo,
        "orders",
        {**ORDER, "updated_at": AT.replace(microsecond=123_000), "refund_amount": "7.5", "deleted_at": AT},
    )
    loaded = extract(at_mongo(home, mongo), "orders")
    spec, _ = lakes.declared("orders", "shop")
    assert loaded.rows.schema.remove_metadata() == spec.arrow_schema().append(pa.field("source_day", pa.date32()))
    (row,) = loaded.rows.to_pylist()
    assert len(row.pop("version")) == 32
    assert json.loads(row.pop("items")) == ORDER["items"]
    assert row == {
        "id": str(OID),
        "customer_id": str(CUSTOMER),
        "status": "placed",
        "currency": "EUR",
        "ordered_at": AT.replace(tzinfo=None),
        "refund_amount": Decimal("7.50"),
        "updated_at": AT.replace(tzinfo=None, microsecond=123_000),
        "deleted_at": AT.replace(tzinfo=None),
        "source_day": DAY,
    }
    assert (loaded.report.source_object, loaded.report.rows_read, loaded.report.new_columns) == (
        "mongodb:shop.orders",
        1,
        (),
    )


def test_money_is_the_same_amount_whatever_its_type(home: Settings, mongo: MongoStandIn) -> None:
    forms = [
        Decimal128("19.90"),
        "19.90",
        19.9,
        "19.9",
        Decimal128("1990E-2"),
        Decimal128("20.00"),
        20,
        20.0,
        Int64(20),
        None,
    ]
    write(mongo, "orders", *({**ORDER, "_id": str(i), "refund_amount": form} for i, form in enumerate(forms)))
    rows = extract(at_mongo(home, mongo), "orders").rows.sort_by("id")
    assert rows["refund_amount"].type == pa.decimal128(18, 2)
    assert rows["refund_amount"].to_pylist() == [Decimal("19.90")] * 5 + [Decimal("20.00")] * 4 + [None]


def test_other_scalar_columns_are_typed_too(home: Settings, mongo: MongoStandIn) -> None:
    customer = {
        "email": 7,
        "name": {"last": "B", "first": "A"},
        "marketing_consent": True,
        "created_at": AT,
        "updated_at": AT,
    }
    write(
        mongo,
        "customers",
        {"_id": "c1", **customer},
        {"_id": "c2", **customer, "marketing_consent": None, "phone": None},
    )
    rows = extract(at_mongo(home, mongo), "customers").rows.sort_by("id").to_pylist()
    assert [(r["id"], r["email"], r["name"], r["phone"], r["marketing_consent"], r["deleted_at"]) for r in rows] == [
        ("c1", "7", '{"first":"A","last":"B"}', None, True, None),
        ("c2", "7", '{"first":"A","last":"B"}', None, None, None),
    ]
    review = {"product_id": "P1", "updated_at": AT}
    write(
        mongo, "reviews", *({"_id": i, "rating": rating, **review} for i, rating in enumerate([5, Int64(5), 5.0, "5"]))
    )
    assert extract(at_mongo(home, mongo), "reviews").rows["rating"].to_pylist() == [5] * 4


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"refund_amount": "19.905"}, "invalid_refund_amount"),
        ({"refund_amount": "a lot"}, "invalid_refund_amount"),
        ({"refund_amount": Decimal128("NaN")}, "invalid_refund_amount"),
        ({"refund_amount": float("nan")}, "invalid_refund_amount"),
        ({"refund_amount": float("inf")}, "invalid_refund_amount"),
        ({"refund_amount": Decimal128("1E+30")}, "invalid_refund_amount"),
        ({"refund_amount": {"amount": "5"}}, "invalid_refund_amount"),
        ({"refund_amount": [5]}, "invalid_refund_amount"),
        ({"ordered_at": "soon"}, "invalid_ordered_at"),
        ({"ordered_at": 1_680_239_520_000}, "invalid_ordered_at"),
        ({"ordered_at": DatetimeMS(253_402_300_800_000)}, "invalid_ordered_at"),
        ({"ordered_at": [AT]}, "invalid_ordered_at"),
        ({"ordered_at": None}, "missing_ordered_at"),
        ({"deleted_at": True}, "invalid_deleted_at"),
        ({"updated_at": DatetimeMS(2**62)}, "invalid_updated_at"),
        ({"updated_at": Timestamp(5, 1)}, "invalid_updated_at"),
        ({"updated_at": {"$date": "2023"}}, "invalid_updated_at"),
        ({"updated_at": None}, "missing_updated_at"),
        ({"customer_id": None}, "missing_customer_id"),
        ({"customer_id": ""}, "missing_customer_id"),
    ],
)
def test_a_value_of_another_type_rejects_its_document_alone(
    home: Settings, change: dict[str, Any], reason: str
) -> None:
    good, rejected = judged(home, ORDER, {**ORDER, **change})
    assert good.num_rows == 1
    (row,) = rejected.to_pylist()
    assert (row["reject_reason"], row["row_ordinal"], row["source_object"]) == (reason, 2, "c")
    (text,), _ = canonical(bson.encode({**ORDER, **change}), "c")
    assert row["raw_row"] == text.decode()


def test_a_document_without_a_field_is_one_with_null_in_all_but_its_version(home: Settings) -> None:
    without = {name: value for name, value in ORDER.items() if name != "status"}
    good, _ = judged(home, {**without, "status": None, "deleted_at": None, "refund_amount": None}, without)
    first, second = good.to_pylist()
    assert first.pop("version") != second.pop("version")
    assert first == second
    assert (first["status"], first["deleted_at"], first["refund_amount"]) == (None, None, None)


def test_the_version_follows_the_content_and_nothing_else(home: Settings) -> None:
    turned = dict(reversed(ORDER.items()))
    good, _ = judged(home, ORDER, turned, {**ORDER, "note": "x"}, {**ORDER, "status": "paid"}, {**ORDER, "items": []})
    same, again, *others = good["version"].to_pylist()
    assert same == again
    assert len({same, *others}) == 4


def test_fields_nobody_declared_join_as_text(home: Settings, mongo: MongoStandIn) -> None:
    write(mongo, "orders", {**ORDER, "giftNote": "for Zoë", "tags": ["a", {"b": AT}], "weight": 1.5})
    loaded = extract(at_mongo(home, mongo), "orders")
    (row,) = loaded.rows.to_pylist()
    assert (row["gift_note"], json.loads(row["tags"]), row["weight"]) == (
        "for Zoë",
        ["a", {"b": "2023-03-31T05:12:00Z"}],
        "1.5",
    )
    assert loaded.report.new_columns == ("gift_note", "tags", "weight")
    known = extract(at_mongo(home, mongo), "orders", known_columns={"gift_note": pa.string(), "weight": pa.string()})
    assert known.report.new_columns == ("tags",)


def test_a_field_that_would_be_anothers_column_gets_its_own(home: Settings) -> None:
    odd = {
        "id": "theirs",
        "Status": "loud",
        "version": 3,
        "source_day": "Monday",
        "a/b~c": 1,
        "a.b c": 2,
        "": 3,
        "newName": 4,
        "new_name": 5,
        "0": 6,
    }
    good, rejected = judged(home, {**ORDER, **odd})
    assert rejected.num_rows == 0
    (row,) = good.to_pylist()
    assert (row["id"], row["status"], row["source_day"], len(row["version"])) == (str(OID), "placed", DAY, 32)
    extra = {name: row[name] for name in good.column_names if name not in lakes.declared("orders", "shop")[0].columns}
    assert sorted(map(str, extra.values())) == sorted([str(DAY), *map(str, odd.values())])
    assert {name.rpartition("__")[0] or name for name in extra} >= {"id", "status", "version", "source_day", "new_name"}
    assert extra["new_name"] == "5"


# -- which documents ---------------------------------------------------------------------------------------------


def ids(loaded: Extract) -> list[str]:
    return sorted(loaded.rows["id"].to_pylist())


def test_a_window_takes_its_first_moment_and_not_its_last(home: Settings, mongo: MongoStandIn) -> None:
    moments = {"before": WINDOW.since - SECOND, "since": WINDOW.since, "last": WINDOW.end - SECOND, "end": WINDOW.end}
    write(mongo, "orders", *({**ORDER, "_id": name, "updated_at": moment} for name, moment in moments.items()))
    settings = at_mongo(home, mongo)
    assert ids(extract(settings, "orders")) == ["last", "since"]
    assert ids(extract(settings, "orders", Window("next", WINDOW.end, WINDOW.end + HOUR))) == ["end"]
    assert ids(extract(settings, "orders", Window("before", WINDOW.since - HOUR, WINDOW.since))) == ["before"]


def test_a_day_of_overlapping_hours_brings_what_one_window_brings(home: Settings, mongo: MongoStandIn) -> None:
    sample.play(mongo.url, None)
    settings, start = at_mongo(home, mongo), H5 - 5 * HOUR
    hours = [Window(str(h), start + (h - 2) * HOUR, start + (h + 1) * HOUR) for h in range(24)]
    whole = extract(settings, "orders", Window("day", start - 2 * HOUR, start + 24 * HOUR))
    loads = [extract(settings, "orders", hour) for hour in [*reversed(hours), hours[7]]]

    def held(loaded: Extract) -> set[tuple[Any, ...]]:
        return {tuple(row.values()) for row in loaded.rows.select(["id", "version", "source_day"]).to_pylist()}

    assert set().union(*map(held, loads)) == held(whole)
    assert len(held(whole)) == whole.report.rows_read
    raw = {text for loaded in loads for text in loaded.rejected["raw_row"].to_pylist()}
    assert raw == set(whole.rejected["raw_row"].to_pylist())


def test_documents_that_do_not_say_when_they_changed_come_with_every_window(
    home: Settings, mongo: MongoStandIn
) -> None:
    undated = [None, "yesterday", 1_680_239_520_000, 1.5, {"at": AT}, True, OID, b"07:12"]
    without = {name: value for name, value in ORDER.items() if name != "updated_at"}
    documents = [*({**ORDER, "updated_at": value} for value in undated), without]
    write(mongo, "orders", *({**document, "_id": str(i)} for i, document in enumerate(documents)))
    with MongoClient[Any](mongo.url) as client:
        client.shop.orders.create_index("updated_at")
    far = Window("far", H5 + 240 * HOUR, H5 + 243 * HOUR)
    for window in (WINDOW, far):
        loaded = extract(at_mongo(home, mongo), "orders", window)
        assert loaded.reasons() == ["invalid_updated_at"] * 7 + ["missing_updated_at"] * 2
        assert (loaded.rows.num_rows, loaded.report.rows_read) == (0, 9)
    again = extract(at_mongo(home, mongo), "orders", far)
    told = ["reject_reason", "source_object", "raw_row"]  # what a store knows a rejected row by
    assert sorted(map(str, again.rejected.select(told).to_pylist())) == sorted(
        map(str, loaded.rejected.select(told).to_pylist())
    )


@pytest.mark.parametrize("text", ["2023-03-31T07:12:00+02:00", "2023-03-31T05:12:00Z", "2023-03-31 05:12:00"])
def test_a_time_that_is_text_comes_with_the_windows_that_it_lies_in(
    home: Settings, mongo: MongoStandIn, text: str
) -> None:
    """The fault: it came with every window, so it landed on a day that silver was not told to look at."""
    write(
        mongo, "orders", {**ORDER, "updated_at": text}, {**ORDER, "_id": "other", "updated_at": "2023-04-02T05:12:00Z"}
    )
    settings = at_mongo(home, mongo)
    loaded = extract(settings, "orders")
    (row,) = loaded.rows.to_pylist()
    assert (row["id"], row["updated_at"], row["source_day"]) == (str(OID), AT.replace(tzinfo=None), DAY)
    assert (loaded.report.rows_read, loaded.reasons()) == (1, [])
    assert ids(extract(settings, "orders", Window("later", H5 + 48 * HOUR, H5 + 49 * HOUR))) == ["other"]
    assert ids(extract(settings, "orders", Window("next", WINDOW.end, WINDOW.end + HOUR))) == []


def test_what_claims_to_change_in_the_future_is_rejected_with_every_window(home: Settings, mongo: MongoStandIn) -> None:
    """It would be the newest version for good, and its own hour may be years away."""
    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    times = {"far": now + 400 * 24 * HOUR, "text": f"{now + 48 * HOUR:%Y-%m-%dT%H:%M:%SZ}", "near": now + HOUR}
    write(mongo, "orders", *({**ORDER, "_id": name, "updated_at": at} for name, at in times.items()))
    for window in (WINDOW, Window("now", now - 2 * HOUR, now + HOUR)):
        loaded = extract(at_mongo(home, mongo), "orders", window)
        assert loaded.reasons() == ["future_updated_at"] * 2
        assert loaded.rows.num_rows == 0
    assert ids(extract(at_mongo(home, mongo), "orders", Window("next", now - HOUR, now + 2 * HOUR))) == ["near"]


def test_a_window_without_a_beginning_takes_all_that_is_older(
    home: Settings, mongo: MongoStandIn, s3: S3StandIn
) -> None:
    first = Window("first", None, WINDOW.end)
    write(mongo, "orders", {**ORDER, "updated_at": AT - 9000 * HOUR}, {**ORDER, "_id": "new", "updated_at": WINDOW.end})
    assert ids(extract(at_mongo(home, mongo), "orders", first)) == [str(OID)]
    put(s3, "products/old.csv", PRODUCTS + P1, AT - 9000 * HOUR)
    put(s3, "products/new.csv", PRODUCTS + P1, WINDOW.end)
    assert keys(extract(at_s3(home, s3), "products", first)) == ["old.csv"]


def test_fields_left_out_do_not_leave_the_server(home: Settings, mongo: MongoStandIn) -> None:
    write(mongo, "orders", {**ORDER, "card": "4111", "status": "paid"})
    spec, _ = lakes.declared("orders", "shop")
    loaded = extract(
        at_mongo(home, mongo),
        "orders",
        factory=partial(shop.documents, collection="orders", exclude=["card", "status"]),
    )
    (row,) = loaded.rows.to_pylist()
    assert row["status"] is None
    assert set(loaded.rows.column_names) == {*spec.columns, "source_day"}


def mongo_at(settings: Settings) -> Mongo:
    return shop.mongo_of(settings)


def test_documents_come_in_batches_and_a_later_batch_may_bring_columns(home: Settings, mongo: MongoStandIn) -> None:
    documents = [{**ORDER, "_id": f"{i:02}", "status": "x" * i} for i in range(25)]
    documents[3]["ordered_at"] = documents[23]["ordered_at"] = "soon"
    documents[20]["gift"] = "yes"
    write(mongo, "orders", *documents)
    settings = at_mongo(home, mongo)
    factory = partial(
        changed_documents, mongo=mongo_at(settings), collection="orders", cursor_documents=4, batch_documents=10
    )
    loaded = extract(settings, "orders", factory=factory)
    assert ids(loaded) == [f"{i:02}" for i in range(25) if i not in {3, 23}]
    assert loaded.report.rows_read == 25
    assert loaded.report.new_columns == ("gift",)
    assert {row["id"]: row["gift"] for row in loaded.rows.to_pylist() if row["gift"]} == {"20": "yes"}
    by_ordinal = {row["row_ordinal"]: json.loads(row["raw_row"])["_id"] for row in loaded.rejected.to_pylist()}
    assert by_ordinal == {4: "03", 24: "23"}
    spec, _ = lakes.declared("orders", "shop")
    tables = [item for item in iterate(settings, spec, factory) if isinstance(item, pa.Table)]
    assert [table.num_rows for table in tables] == [11, 11, 1]


def iterate(settings: Settings, spec: TableSpec, factory: Callable[..., Any]) -> Iterator[Any]:
    """The items of the source, one by one, as dlt asks for them."""
    source = factory(request_for(settings, spec), SourceReport())
    yield from source.resources[spec.table]._pipe.gen()


@pytest.mark.parametrize("name", ["customers", "orders", "reviews"])
def test_an_hour_without_changes_is_a_load_of_no_rows(home: Settings, mongo: MongoStandIn, name: str) -> None:
    loaded = extract(at_mongo(home, mongo), name)
    assert (loaded.rows.num_rows, loaded.rejected.num_rows, loaded.report.rows_read) == (0, 0, 0)
    assert loaded.files == []


def test_a_load_without_a_window_is_refused(home: Settings) -> None:
    for name in ("orders", "products"):
        spec, source = lakes.declared(name, "shop")
        request = request_for(
            home.model_copy(update={"shop_mongodb": secret("mongodb://h"), "shop_s3": "http://h"}), spec, None
        )
        assert "by a window of time" in refused(lambda source=source, request=request: source(request, SourceReport()))


# -- MongoDB down ------------------------------------------------------------------------------------------------

USER, PASSWORD = "ann@shop", "p@ss/w:rd?#"  # pragma: allowlist secret
AUTHORITY = "ann%40shop:p%40ss%2Fw%3Ard%3F%23@"


def with_password(server: MongoStandIn) -> str:
    return server.url.replace("://", f"://{AUTHORITY}")


def says_nothing_secret(message: str) -> None:
    assert not [word for word in (USER, PASSWORD, "ann%40", "p%40ss", "rd?#", "secret", "key:") if word in message], (
        message
    )


def test_a_refused_connection_is_tried_again_and_then_named(
    home: Settings, mongo: MongoStandIn, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)  # pymongo's debug level is nobody's default
    host = mongo.url.split("/")[2]
    settings = at_mongo(home, mongo, shop_connect_timeout_seconds=0.2, shop_mongodb=secret(with_password(mongo)))
    with mongo.refusing():
        message = refused(lambda: extract(settings, "orders"), transient=True)
    assert message.startswith(f"{host}: shop.orders: ")
    assert "Connection refused" in message
    assert message.endswith("after 2 attempts")
    says_nothing_secret(message + caplog.text)


def test_a_server_that_hangs_is_given_up(home: Settings, mongo: MongoStandIn) -> None:
    settings = at_mongo(home, mongo, shop_connect_timeout_seconds=0.2, shop_read_timeout_seconds=0.2)
    with mongo.hanging():
        message = refused(lambda: extract(settings, "orders"), transient=True)
    assert "timed out" in message
    assert message.endswith("after 2 attempts")


def test_a_server_that_comes_back_is_read(home: Settings, mongo: MongoStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    write(mongo, "orders", ORDER)
    answers = intercepted(mongo, monkeypatch, "find", {"ok": 0, "code": 11602, "errmsg": "interrupted"}, times=1)
    assert ids(extract(at_mongo(home, mongo), "orders")) == [str(OID)]
    assert len(answers) == 1


def intercepted(
    server: MongoStandIn, monkeypatch: pytest.MonkeyPatch, command: str, answer: dict[str, Any], times: int = 99
) -> list[Any]:
    """Let the server answer `answer` to the next `times` commands of a kind."""
    assert server._server is not None
    handler, told = server._server.handler, []
    original = handler.handle_command

    def handle(message: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        body = next(section for kind, section in message["sections"] if kind == "body")
        if command in body and len(told) < times:
            told.append(command)
            return message["request_id"], dict(answer)
        result: tuple[int, dict[str, Any]] = original(message)
        return result

    monkeypatch.setattr(handler, "handle_command", handle)
    return told


@pytest.mark.parametrize(
    ("command", "answer", "transient", "words"),
    [
        (
            "saslStart",
            {"code": 18, "codeName": "AuthenticationFailed", "errmsg": "Authentication failed."},
            False,
            "access denied (Authentication failed.)",
        ),
        (
            "find",
            {"code": 13, "codeName": "Unauthorized", "errmsg": f"not authorized: {USER} with {PASSWORD}"},
            False,
            "access denied (not authorized: *** with ***)",
        ),
        (
            "find",
            {"code": 2, "codeName": "BadValue", "errmsg": "unknown operator: $type"},
            False,
            "unknown operator: $type",
        ),
        (
            "find",
            {"code": 50, "codeName": "MaxTimeMSExpired", "errmsg": "operation exceeded time limit"},
            True,
            "after 2 attempts",
        ),
        ("find", {"code": 91, "codeName": "ShutdownInProgress", "errmsg": "bye"}, True, "after 2 attempts"),
    ],
)
def test_what_the_server_refuses_is_told_without_the_password(
    home: Settings,
    mongo: MongoStandIn,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    answer: dict[str, Any],
    transient: bool,
    words: str,
) -> None:
    settings = at_mongo(home, mongo, shop_mongodb=secret(with_password(mongo)), shop_connect_timeout_seconds=0.5)
    told = intercepted(mongo, monkeypatch, command, {"ok": 0, **answer})
    if command != "saslStart":  # the stand-in lets nobody sign in, so these connections do not try to
        monkeypatch.setattr(mongodb, "_connect", lambda _: MongoClient(mongo.url))
    message = refused(lambda: extract(settings, "orders"), transient=transient)
    assert words in message
    assert mongo.url.split("/")[2] in message
    assert told
    says_nothing_secret(message)


@pytest.mark.parametrize("fault", ["dropped", "lost"])
def test_a_cursor_that_dies_half_way_delivers_nothing(
    home: Settings, mongo: MongoStandIn, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    write(mongo, "orders", *({**ORDER, "_id": i} for i in range(30)))
    settings = at_mongo(home, mongo, shop_connect_timeout_seconds=0.2)
    factory = partial(
        changed_documents, mongo=mongo_at(settings), collection="orders", cursor_documents=5, batch_documents=5
    )
    spec, _ = lakes.declared("orders", "shop")
    if fault == "lost":
        intercepted(
            mongo,
            monkeypatch,
            "getMore",
            {"ok": 0, "code": 43, "codeName": "CursorNotFound", "errmsg": "cursor id 7 not found"},
        )
        message = refused(lambda: extract(settings, "orders", factory=factory), transient=True)
        assert "cursor id 7 not found" in message
    else:
        items = iterate(settings, spec, factory)
        assert next(items).num_rows == 5
        with mongo.refusing():
            message = refused(lambda: list(items), transient=True)
    assert message.endswith("the cursor died half-way, so nothing was loaded")


@pytest.mark.parametrize(
    ("uri", "hosts"),
    [
        ("mongodb://h1.example:27017,h2:27018/shop?replicaSet=rs", "h1.example:27017,h2:27018"),
        (f"mongodb://{AUTHORITY}h:1/", "h:1"),
        ("mongodb+srv://u:p@cluster.example.net/?retryWrites=true", "cluster.example.net"),
        ("mongodb://u:p@[::1]:27017", "[::1]:27017"),
        ("mongodb://u:pa/ss@h:1/db", mongodb.MALFORMED),
        ("mongodb://u:p@a/ss@h:1/db", mongodb.MALFORMED),
        ("mongodb://u:p?ss@h:1/db", mongodb.MALFORMED),
        ("mongodb://u:p#ss w@h", "h"),
        ("u:p", mongodb.MALFORMED),
        ("mongodb://u:notaport", mongodb.MALFORMED),
        ("", mongodb.MALFORMED),
    ],
)
def test_a_uri_is_shown_by_its_hosts_alone(uri: str, hosts: str) -> None:
    of = Mongo(uri, "shop", 1, 1, 1)
    assert of.hosts == hosts
    assert repr(of) == f"Mongo({hosts}, shop)"


def test_servers_that_dns_does_not_know_are_looked_up_again(home: Settings) -> None:
    uri = "mongodb+srv://reader:hunter2@nosuch.invalid/"  # pragma: allowlist secret
    message = refused(lambda: extract(home.model_copy(update={"shop_mongodb": secret(uri)}), "orders"), transient=True)
    assert message.startswith("nosuch.invalid: DNS does not tell its servers, after ")
    assert "hunter2" not in message
    never = secret("mongodb+srv://reader:hunter2@nosuch.invalid:27017/")  # pragma: allowlist secret
    message = refused(lambda: extract(home.model_copy(update={"shop_mongodb": never}), "orders"))
    assert "not a MongoDB URI that can be used" in message
    assert "hunter2" not in message


@pytest.mark.parametrize(
    "uri",
    [
        "http://u:secret@h",  # pragma: allowlist secret
        "mongodb://u:se@cret@h:x/",  # pragma: allowlist secret
        "mongodb://u:secret@h:notaport",  # pragma: allowlist secret
        "secret",
    ],
)
def test_a_uri_that_is_none_is_refused_without_repeating_it(home: Settings, uri: str) -> None:
    settings = home.model_copy(update={"shop_mongodb": secret(uri)})
    says_nothing_secret(refused(lambda: extract(settings, "orders")))


def test_errors_that_only_a_real_server_gives() -> None:
    of = Mongo("mongodb://ann:p4ss@h", "shop", 1, 1, 3)
    for code, transient in [(8000, False), (11, False), (189, True), (262, True), (None, False)]:

        def fail(code: int | None = code) -> None:
            with mongodb._errors(of, "h: shop.t", " after 3 attempts"):
                raise OperationFailure("refused, full error: {...}", code)

        assert "refused" in refused(fail, transient=transient)


# -- where the sources are ---------------------------------------------------------------------------------------


def test_a_live_mongodb_must_be_named_and_a_live_s3_is_aws(tmp_path: Path) -> None:
    live = Settings(home=tmp_path, sources="live")
    assert "set LAKEGRAPH_SHOP_MONGODB" in refused(lambda: live.endpoint("shop_mongodb"))
    bucket = shop.bucket_of(live)
    assert (bucket.endpoint, bucket.keys, bucket.host) == (None, None, "AWS S3")


def test_the_sandbox_tells_where_it_is(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    assert "lakegraph sandbox up" in refused(lambda: shop.mongo_of(settings))
    assert "lakegraph sandbox up" in refused(lambda: shop.bucket_of(settings))
    settings.endpoints_file.parent.mkdir(parents=True)
    settings.endpoints_file.write_text('{"shop_mongodb": "mongodb://127.0.0.1:1/", "shop_s3": "http://127.0.0.1:2"}')
    assert shop.mongo_of(settings).hosts == "127.0.0.1:1"
    assert (shop.bucket_of(settings).endpoint, shop.bucket_of(settings).keys) == (
        "http://127.0.0.1:2",
        shop.SANDBOX_KEYS,
    )
    explicit = settings.model_copy(update={"shop_s3": "http://minio:9000", "shop_bucket": "other"})
    assert (shop.bucket_of(explicit).keys, shop.bucket_of(explicit).name) == (None, "other")


def test_settings_do_not_show_what_is_secret(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, shop_mongodb="mongodb://u:hidden@h", shop_s3="http://k:hidden@h")
    assert "hidden" not in repr(settings) + str(settings)
    assert "hidden" not in repr(shop.bucket_of(settings)) + repr(shop.mongo_of(settings))


# -- S3: which objects -------------------------------------------------------------------------------------------


def keys(loaded: Extract) -> list[str]:
    return sorted({url.rpartition("/")[2] for url in loaded.rows["source_object"].to_pylist()})


def test_a_csv_object_becomes_typed_rows(home: Settings, s3: S3StandIn) -> None:
    put(
        s3,
        "products/a.csv",
        PRODUCTS + P1 + "P0002,Jeans,,,,79.5,false,2023-03-30T23:59:59+00:00,2023-03-31T05:00:00Z\n",
    )
    loaded = extract(at_s3(home, s3), "products")
    spec, _ = lakes.declared("products", "shop")
    assert loaded.rows.schema.remove_metadata() == spec.arrow_schema().append(pa.field("source_day", pa.date32()))
    first, second = loaded.rows.sort_by("product_id").to_pylist()
    assert first.pop("version") != second["version"]
    assert first == {
        "product_id": "P0001",
        "name": "Tee",
        "category": "tops",
        "size": "S",
        "color": "rust",
        "list_price": Decimal("19.90"),
        "active": True,
        "updated_at": AT.replace(tzinfo=None),
        "deleted_at": None,
        "source_object": "s3://shop/products/a.csv",
        "object_modified_at": AT.replace(tzinfo=None),
        "source_day": DAY,
    }
    assert (second["list_price"], second["active"], second["source_day"]) == (Decimal("79.50"), False, DAY)
    assert second["updated_at"] == dt.datetime(2023, 3, 30, 23, 59, 59)  # noqa: DTZ001
    assert second["deleted_at"] == H5.replace(tzinfo=None)
    assert (loaded.report.source_object, loaded.report.rows_read, loaded.report.new_columns) == (
        "s3://shop/products/",
        2,
        (),
    )


def test_a_window_takes_objects_of_its_first_second_and_not_of_its_last(home: Settings, s3: S3StandIn) -> None:
    almost = WINDOW.end - dt.timedelta(microseconds=1)  # listed as a whole second, which is in the window too
    moments = {"before": WINDOW.since - SECOND, "since": WINDOW.since, "last": almost, "end": WINDOW.end}
    for name, moment in moments.items():
        put(s3, f"products/{name}.csv", PRODUCTS + P1, moment)
    settings = at_s3(home, s3)
    assert keys(extract(settings, "products")) == ["last.csv", "since.csv"]
    assert keys(extract(settings, "products", Window("next", WINDOW.end, WINDOW.end + HOUR))) == ["end.csv"]
    assert keys(extract(settings, "products", Window("before", WINDOW.since - HOUR, WINDOW.since))) == ["before.csv"]


def test_only_csv_objects_below_the_prefix_are_read(home: Settings, s3: S3StandIn) -> None:
    put(s3, "products/deep/er/a.csv", PRODUCTS + P1)
    put(s3, "products/b c+é.csv", PRODUCTS + P1)
    for key in ("products/_SUCCESS", "products/notes.txt", "stock_movements/x.csv", "products.csv", "products/"):
        put(s3, key, "not,to be\nread")
    put(s3, "products/empty.csv", b"")
    put(s3, "products/packed emptiness.csv.gz", gzip.compress(b"", mtime=0))
    put(s3, "products/of Windows.CSV", PRODUCTS + P1)
    assert keys(extract(at_s3(home, s3), "products")) == ["a.csv", "b c+é.csv", "of Windows.CSV"]


def test_a_listing_of_many_pages_is_read_to_its_end(home: Settings, s3: S3StandIn) -> None:
    from moto.core import DEFAULT_ACCOUNT_ID
    from moto.s3.models import s3_backends

    backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
    for number in range(1_050):  # dated now, so in no window of 2023
        backend.put_object("shop", f"products/{number:05}.csv", b"x")
    put(s3, "products/zz.csv", PRODUCTS + P1)
    assert keys(extract(at_s3(home, s3), "products")) == ["zz.csv"]
    assert len([asked for asked in s3.requests if "list-type=2" in asked.query]) == 2


def test_an_hour_without_objects_is_a_load_of_no_rows(home: Settings, s3: S3StandIn) -> None:
    put(s3, "products/only-a-header.csv", PRODUCTS)
    put(s3, "products/not-even-its-end.csv", PRODUCTS.strip())
    put(s3, "products/yesterday.csv", PRODUCTS + P1, AT - 24 * HOUR)
    for name in ("products", "stock_movements"):
        loaded = extract(at_s3(home, s3), name)
        assert (loaded.rows.num_rows, loaded.rejected.num_rows, loaded.files) == (0, 0, [])


# -- S3: the form of files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        PRODUCTS + P1,
        "\ufeff" + PRODUCTS + P1,
        (PRODUCTS + P1).replace("\n", "\r\n"),
        (PRODUCTS + P1).strip("\n"),
        "\n\n" + PRODUCTS + "\n" + P1 + "\n\n",
        PRODUCTS + P1 + PRODUCTS,
        PRODUCTS + PRODUCTS + P1 + "\ufeff" + PRODUCTS,
        PRODUCTS.upper() + P1,
        gzip.compress((PRODUCTS + P1).encode(), mtime=0),
        gzip.compress(("\ufeff" + PRODUCTS + P1).encode(), mtime=0),
        gzip.compress(PRODUCTS.encode(), mtime=0) + gzip.compress(P1.encode(), mtime=0),
    ],
    ids=[
        "plain",
        "bom",
        "crlf",
        "no-last-end",
        "empty-lines",
        "header-at-end",
        "headers-with-bom",
        "upper",
        "gzip",
        "gzip-bom",
        "gzip-of-two",
    ],
)
def test_the_same_row_in_many_forms(home: Settings, s3: S3StandIn, body: str | bytes) -> None:
    put(s3, "products/a.csv.gz", body)
    loaded = extract(at_s3(home, s3), "products")
    assert loaded.reasons() == []
    assert loaded.report.rows_read == 1
    (row,) = loaded.rows.select(["product_id", "list_price", "updated_at", "deleted_at"]).to_pylist()
    assert list(row.values()) == ["P0001", Decimal("19.90"), AT.replace(tzinfo=None), None]


def test_a_quoted_value_may_hold_newlines_commas_and_a_whole_header(home: Settings, s3: S3StandIn) -> None:
    names = ['two\nlines, and "quotes"', "  spaces  ", PRODUCTS, "Zoë\r\n👍"]
    rows = "".join(
        f'P{i},"{name.replace(chr(34), chr(34) * 2)}",,,,1,,2023-03-31T05:12:00Z,\n' for i, name in enumerate(names)
    )
    put(s3, "products/a.csv", PRODUCTS + rows)
    assert extract(at_s3(home, s3), "products").rows.sort_by("product_id")["name"].to_pylist() == names


def test_ragged_and_untyped_rows_are_rejected_with_their_object_and_ordinal(home: Settings, s3: S3StandIn) -> None:
    bad = P1.replace("19.90", '"19,90"')
    lines = [
        P1,
        "short,row\n",
        P1,
        PRODUCTS,
        bad,
        P1.strip() + ",more,fields\n",
        P1.replace("P0001", ""),
        P1.replace("2023-03-31T05:12:00Z", ""),
        P1,
    ]
    for key in ("a.csv", "b.csv"):
        put(s3, f"products/{key}", PRODUCTS + "".join(lines))
    loaded = extract(at_s3(home, s3), "products")
    assert loaded.rows.num_rows == 6
    assert loaded.report.rows_read == 16
    for key in ("a.csv", "b.csv"):
        found = [row for row in loaded.rejected.to_pylist() if row["source_object"] == f"s3://shop/products/{key}"]
        assert {row["row_ordinal"]: row["reject_reason"] for row in found} == {
            2: "ragged_row: 2 fields, 9 expected",
            5: "invalid_list_price",
            6: "ragged_row: 11 fields, 9 expected",
            7: "missing_product_id",
            8: "missing_updated_at",
        }
        raw = {row["row_ordinal"]: json.loads(row["raw_row"]) for row in found}
        assert raw[2] == "short,row"
        assert raw[5]["list_price"] == "19,90"
        assert set(raw[5]) == set(PRODUCTS.strip().split(","))


def test_a_file_of_many_blocks_keeps_its_ordinals(
    home: Settings, s3: S3StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dlt_sources.csv_files.BLOCK", 1 << 12)
    total = 1_000
    lines = [
        "ragged\n" if i % 97 == 0 else P1.replace("19.90", "x" if i % 101 == 0 else f"{i}.5").replace("P0001", f"P{i}")
        for i in range(1, total + 1)
    ]
    put(s3, "products/a.csv.gz", gzip.compress((PRODUCTS + "".join(lines)).encode()))
    loaded = extract(at_s3(home, s3), "products")
    bad = {i for i in range(1, total + 1) if i % 97 == 0 or i % 101 == 0}
    assert set(loaded.rejected["row_ordinal"].to_pylist()) == bad
    assert {f"P{i}": Decimal(f"{i}.50") for i in range(1, total + 1) if i not in bad} == dict(
        zip(loaded.rows["product_id"].to_pylist(), loaded.rows["list_price"].to_pylist(), strict=True)
    )


def test_a_column_that_comes_later_joins_as_text(home: Settings, s3: S3StandIn) -> None:
    wider = PRODUCTS.replace("deleted_at", "deleted_at,material")
    put(s3, "products/a.csv", PRODUCTS + P1)
    put(s3, "products/b.csv", wider + P1.replace("P0001", "P0002").replace("\n", ",wool\n"))
    put(s3, "products/c.csv", PRODUCTS + P1.replace("P0001", "P0003"))
    loaded = extract(at_s3(home, s3), "products")
    assert loaded.report.new_columns == ("material",)
    assert loaded.rows.sort_by("product_id")["material"].to_pylist() == [None, "wool", None]


def test_the_version_follows_the_values_and_not_the_form(home: Settings, s3: S3StandIn) -> None:
    columns = PRODUCTS.strip().split(",")
    values = P1.strip().split(",")
    forms = {
        "a": (columns, values),
        "b": ([*columns, "material"], [*values, ""]),
        "c": (columns[::-1], values[::-1]),
        "d": ([c.upper() for c in columns], values),
        "e": (columns[:-1], values[:-1]),
        "f": ([*columns, "material"], [*values, "wool"]),
        "g": (columns, [*values[:5], "19.9", *values[6:]]),
        "h": ([*columns, "material"], [*values, '","']),
    }
    for name, (header, row) in forms.items():
        put(s3, f"products/{name}.csv", ",".join(header) + "\n" + ",".join(row) + "\n")
    rows = extract(at_s3(home, s3), "products").rows
    version = {
        url[-5]: v for url, v in zip(rows["source_object"].to_pylist(), rows["version"].to_pylist(), strict=True)
    }
    assert len({version[name] for name in "abcde"}) == 1
    assert len(set(version.values())) == 4


def test_a_files_own_column_of_a_name_that_is_ours_is_kept_apart(home: Settings, s3: S3StandIn) -> None:
    put(
        s3,
        "products/a.csv",
        PRODUCTS.replace("deleted_at", "deleted_at,version,Source_Day") + P1.replace("\n", ",v7,Monday\n"),
    )
    loaded = extract(at_s3(home, s3), "products")
    (row,) = loaded.rows.to_pylist()
    assert len(row["version"]) == 32
    assert row["source_day"] == DAY
    assert sorted(row[name] for name in loaded.report.new_columns) == ["Monday", "v7"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("<!DOCTYPE html><html>sign in</html>", "is a web page, not a CSV file"),
        (gzip.compress(b"<html>", mtime=0), "is a web page, not a CSV file"),
        (gzip.compress((PRODUCTS + P1 * 500).encode(), mtime=0)[:-30], "the gzip file is damaged"),
        (
            gzip.compress((PRODUCTS + "".join(P1.replace("19.90", str(i)) for i in range(9000))).encode(), mtime=0)[
                :9000
            ],
            "the gzip file is damaged",
        ),
        (b"\x1f\x8bnot gzip at all", "the gzip file is damaged"),
        ((PRODUCTS + P1).encode("utf-16"), "cannot be read as CSV"),
        (PRODUCTS + P1.replace("Tee", "Té"), "cannot be read as CSV"),
        ("sku;price\n1;2\n", "column product_id of bronze.shop_products is missing"),
        ('{"Records": []}', "column product_id of bronze.shop_products is missing"),
        (PRODUCTS.replace("name", "Product_ID") + P1, "the header names the column 'product_id' twice"),
        (PRODUCTS.replace("name", "a b").replace("size", "a-b") + P1, "which another one is"),
        (b"\n\n", "cannot be read as CSV"),
        (b"x" * 70_000, "no line ends within the first"),
    ],
)
def test_an_object_that_cannot_be_read_is_named(home: Settings, s3: S3StandIn, body: str | bytes, words: str) -> None:
    put(s3, "products/a.csv", PRODUCTS + P1)
    put(s3, "products/b.csv.gz", body.encode("latin-1") if isinstance(body, str) else body)
    message = refused(lambda: extract(at_s3(home, s3), "products"))
    assert message.startswith("s3://shop/products/b.csv.gz: ")
    assert words in message


# -- S3: objects that change while they are read -------------------------------------------------------------------


class Meddled(Bucket):
    """A bucket in which something happens after each listing."""

    happens: Callable[[], None]

    def objects(self, prefix: str) -> Iterator[S3Object]:
        listed = list(super().objects(prefix))
        self.happens()
        yield from listed


def meddled(settings: Settings, happens: Callable[[], None]) -> Callable[..., Any]:
    bucket = shop.bucket_of(settings)
    of = Meddled(**{name: getattr(bucket, name) for name in bucket.__dataclass_fields__})
    object.__setattr__(of, "happens", happens)
    return partial(changed_objects, bucket=of, prefix="products/")


def once(act: Callable[[], None]) -> Callable[[], None]:
    pending = [act]
    return lambda: pending.pop()() if pending else None


@pytest.mark.parametrize("suspicion", ["replaced", "replaced_for_later", "vanished"])
def test_an_object_that_changes_after_it_was_listed_is_listed_again(
    home: Settings, s3: S3StandIn, suspicion: str
) -> None:
    put(s3, "products/a.csv", PRODUCTS + P1)
    put(s3, "products/b.csv", PRODUCTS + P1)
    newer = PRODUCTS + P1.replace("Tee", "Top") + P1.replace("P0001", "P0002")
    acts: dict[str, Callable[[], None]] = {
        "replaced": lambda: put(s3, "products/a.csv", newer, AT + SECOND),
        "replaced_for_later": lambda: put(s3, "products/a.csv", newer, WINDOW.end),
        "vanished": lambda: delete(s3, "products/a.csv"),
    }
    settings = at_s3(home, s3)
    loaded = extract(settings, "products", factory=meddled(settings, once(acts[suspicion])))
    rows = [
        (r["source_object"][-5], r["name"], r["object_modified_at"].replace(tzinfo=dt.UTC))
        for r in loaded.rows.to_pylist()
    ]
    expected = [("b", "Tee", AT)]
    if suspicion == "replaced":
        expected = [("a", "Tee", AT + SECOND), ("a", "Top", AT + SECOND), *expected]
    assert sorted(rows) == sorted(expected)


def test_an_object_that_is_replaced_all_the_time_is_given_up(home: Settings, s3: S3StandIn) -> None:
    turns = iter(range(100))

    def again() -> None:
        put(s3, "products/a.csv", PRODUCTS + P1.replace("Tee", f"Tee {next(turns)}"))

    again()
    settings = at_s3(home, s3)
    message = refused(lambda: extract(settings, "products", factory=meddled(settings, again)), transient=True)
    assert message.endswith("s3://shop/products/a.csv: was replaced 5 times while it was read")


def test_an_object_replaced_between_two_blocks_is_not_a_mixture(
    home: Settings, s3: S3StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, after = (PRODUCTS + "".join(P1.replace("P0001", f"{kind}{i:04}") for i in range(200)) for kind in "AB")
    put(s3, "products/a.csv", before)
    replace = once(lambda: put(s3, "products/a.csv", after, AT + SECOND))
    original = S3File.read

    def read(source: S3File, length: int) -> bytes:
        block: bytes = original(source, length)
        replace()
        return block

    monkeypatch.setattr(s3_csv, "BLOCK", 1000)
    monkeypatch.setattr(S3File, "read", read)
    loaded = extract(at_s3(home, s3), "products")
    assert {product[0] for product in loaded.rows["product_id"].to_pylist()} == {"B"}
    assert loaded.rows.num_rows == 200


def test_a_copy_that_cannot_be_written_is_no_fault_of_s3(home: Settings, s3: S3StandIn, tmp_path: Path) -> None:
    """The fault: a full disk was tried again, and a folder that is gone was told as an object that was replaced."""
    put(s3, "products/a.csv", PRODUCTS + P1)
    bucket = shop.bucket_of(at_s3(home, s3))
    (found,) = bucket.objects("products/")
    gone, folder = tmp_path / "gone" / "object", tmp_path / "folder"
    folder.mkdir()
    for target, fault in ((gone, FileNotFoundError), (folder, IsADirectoryError)):
        with pytest.raises(fault) as raised:
            bucket.copy(found, target)
        assert raised.value.filename == str(target)
    before = len(s3.requests)
    with pytest.raises(OSError, match="No space left on device") as full:
        bucket.copy(found, Path("/dev/full"))
    assert full.value.errno == errno.ENOSPC
    assert len([asked for asked in s3.requests[before:] if asked.method == "GET"]) == 1, "not tried again"
    bucket.copy(found, folder / "object")
    assert (folder / "object").read_text() == PRODUCTS + P1


def test_a_load_that_cannot_write_says_what_it_could_not(home: Settings, s3: S3StandIn) -> None:
    put(s3, "products/a.csv", PRODUCTS + P1)
    settings, taken = at_s3(home, s3), home.home / "load-0" / "object"
    with pytest.raises(IsADirectoryError) as raised:
        extract(settings, "products", factory=meddled(settings, once(taken.mkdir)))
    assert raised.value.filename == str(taken)


# -- S3 down -------------------------------------------------------------------------------------------------------


def test_a_server_that_fails_once_is_asked_again(home: Settings, s3: S3StandIn) -> None:
    put(s3, "products/a.csv", PRODUCTS + P1)
    s3.faults.fail(r"^/shop/?$", 503)
    s3.faults.fail(r"a\.csv", 500)
    assert extract(at_s3(home, s3), "products").rows.num_rows == 1


@pytest.mark.parametrize("path", [r"^/shop/?$", r"a\.csv"])
def test_a_server_that_keeps_failing_is_named(home: Settings, s3: S3StandIn, path: str) -> None:
    put(s3, "products/a.csv", PRODUCTS + P1)
    s3.faults.fail(path, 503, times=99)
    message = refused(lambda: extract(at_s3(home, s3), "products"), transient=True)
    assert message.startswith(f"{s3.url}: s3://shop/products/")
    assert "HTTP 503" in message
    assert message.endswith("after 2 attempts")
    says_nothing_secret(message)


@pytest.mark.parametrize("path", [r"^/shop/?$", r"a\.csv"])
def test_an_s3_that_hangs_is_given_up(home: Settings, s3: S3StandIn, path: str) -> None:
    put(s3, "products/a.csv", PRODUCTS + P1)
    s3.faults.delay(path, 3, times=99)
    message = refused(lambda: extract(at_s3(home, s3, shop_read_timeout_seconds=0.3), "products"), transient=True)
    assert message.startswith(f"{s3.url}: s3://shop/products/")
    assert message.endswith("no answer within 0.3 s after 2 attempts")
    s3.faults.clear()


def test_a_port_where_nobody_listens_is_named(home: Settings) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        settings = home.model_copy(update={"shop_s3": url.replace("://", "://key:secret@")})
        message = refused(lambda: extract(settings, "products"), transient=True)
    assert message == f"{url}: s3://shop/products/: connection refused, or no such host after 2 attempts"


@contextmanager
def s3_settings(home: Settings, answer: lakes.Answer) -> Iterator[Settings]:
    with lakes.answering(lambda _: answer) as url:
        yield home.model_copy(update={"shop_s3": url.replace("://", "://key:secret@")})


@pytest.mark.parametrize(
    ("answer", "transient", "words"),
    [
        (lakes.Answer(b"<ListBucketResult>", announced=10_000), True, "after 2 attempts"),
        (lakes.Answer(b"<html>sign in</html>", 200), False, "answered with something else than a listing"),
        (lakes.Answer(b"<Error><Code>SlowDown</Code></Error>", 503), True, "HTTP 503 SlowDown"),
        (lakes.Answer(b"<Error><Code>RequestTimeout</Code></Error>", 400), True, "HTTP 400 RequestTimeout"),
        (lakes.Answer(b"<Error><Code>AccessDenied</Code></Error>", 403), False, "access denied; check the keys"),
        (
            lakes.Answer(b"<Error><Code>SignatureDoesNotMatch</Code></Error>", 403),
            False,
            "access denied; check the keys",
        ),
        (lakes.Answer(b"<Error><Code>NoSuchBucket</Code></Error>", 404), False, "s3://shop/: no such bucket"),
        (
            lakes.Answer(b"<Error><Code>InvalidRequest</Code><Message>key:secret</Message></Error>", 400),
            False,
            "HTTP 400 InvalidRequest",
        ),
    ],
)
def test_what_s3_answers_instead_of_a_listing(
    home: Settings, answer: lakes.Answer, transient: bool, words: str
) -> None:
    with s3_settings(home, answer) as settings:
        message = refused(lambda: extract(settings, "products"), transient=transient)
    assert words in message
    says_nothing_secret(message)


def test_a_bucket_that_is_not_there_and_keys_that_are_not_there(
    home: Settings, s3: S3StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (
        refused(lambda: extract(at_s3(home, s3, shop_bucket="elsewhere"), "products"))
        == f"{s3.url}: s3://elsewhere/: no such bucket"
    )
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(home.home / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    bare = home.model_copy(update={"shop_s3": s3.url})
    assert "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in refused(lambda: extract(bare, "products"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "from")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the-environment")
    put(s3, "products/a.csv", PRODUCTS + P1)
    assert extract(bare, "products").rows.num_rows == 1


@pytest.mark.parametrize(
    "url",
    [
        "http://key:se/cret@h",
        "key:secret@h",
        "http://key:secret@h:port",  # pragma: allowlist secret
        "http://key:secret@",  # pragma: allowlist secret
        "ftp://key:secret@h",  # pragma: allowlist secret
    ],
)
def test_an_endpoint_that_is_none_is_refused_without_repeating_it(home: Settings, url: str) -> None:
    with pytest.raises(LakeError) as raised:
        extract(home.model_copy(update={"shop_s3": url, "http_attempts": 1}), "products")
    says_nothing_secret(str(raised.value))
    assert "cret" not in str(raised.value)


# -- what a sensor sees --------------------------------------------------------------------------------------------


def listed(key: str, minutes: float, etag: str = "1", size: int = 9) -> S3Object:
    return S3Object(key, H5 + dt.timedelta(minutes=minutes), etag, size)


def test_new_changed_and_late_objects_are_news_and_others_are_not() -> None:
    first, cursor = news(
        [listed("a.csv", 0), listed("b.csv.gz", 5), listed("c.txt", 6), listed("d.csv", 7, size=0)], None
    )
    assert [o.key for o in first] == ["a.csv", "b.csv.gz"]
    assert cursor.newest == H5 + dt.timedelta(minutes=5)
    idle, same = news([listed("a.csv", 0), listed("b.csv.gz", 5)], cursor)
    assert (idle, same) == ([], cursor)
    changed = [
        listed("a.csv", 5, "2"),
        listed("b.csv.gz", 5),
        listed("late.csv", -60),
        listed("second.csv", 5),
        listed("too-late.csv", -180),
    ]
    found, after = news(changed, cursor)
    assert [o.key for o in found] == ["a.csv", "late.csv", "second.csv"]
    assert news(changed, after)[0] == []


def test_a_cursor_survives_as_text_and_does_not_grow_with_the_history() -> None:
    history = [listed(f"{hour}.csv", 60 * hour) for hour in range(1_000)]
    found, cursor = news(history, None)
    assert len(found) == 1_000
    assert Cursor.from_text(cursor.to_text()) == cursor
    assert len(cursor.seen) == LOOK_BACK // HOUR + 1
    assert len(cursor.to_text()) < 300
    nothing, empty = news([], None)
    assert nothing == []
    assert [o.key for o in news([listed("a.csv", 0)], Cursor.from_text(empty.to_text()))[0]] == ["a.csv"]


@hypothesis_settings(deadline=None, max_examples=200)
@given(st.lists(st.lists(st.tuples(st.sampled_from("abcde"), st.integers(0, 60)), max_size=4), max_size=6))
def test_each_version_is_news_once_while_the_clock_is_no_more_off_than_the_look_back(
    ticks: list[list[tuple[str, int]]],
) -> None:
    held: dict[str, S3Object] = {}
    cursor, told, expected, number = None, [], [], 0
    for tick, puts in enumerate(ticks):
        for key, early in puts:
            number += 1
            held[key] = listed(f"{key}.csv", 60 * tick - early, str(number))
        expected += [held[key] for key in {key for key, _ in puts}]
        found, cursor = news(held.values(), Cursor.from_text(cursor.to_text()) if cursor else None)
        told += found
    assert sorted(told, key=str) == sorted(expected, key=str)


def test_an_idle_tick_asks_for_one_listing_and_no_object(home: Settings, s3: S3StandIn) -> None:
    put(s3, "products/a.csv", PRODUCTS + P1)
    settings = at_s3(home, s3)
    found, cursor = shop.new_objects(settings, "products/", None)
    assert [(o.key, o.modified) for o in found] == [("products/a.csv", AT)]
    before = len(s3.requests)
    assert shop.new_objects(settings, "products/", cursor) == ([], cursor)
    assert [(asked.method, asked.path) for asked in s3.requests[before:]] == [("GET", "/shop")]
    put(s3, "products/a.csv", PRODUCTS + P1 + P1)
    assert [o.key for o in shop.new_objects(settings, "products/", cursor)[0]] == ["products/a.csv"]
    s3.faults.fail("^/shop", 503, times=99)
    assert "HTTP 503" in refused(lambda: shop.new_objects(settings, "products/", cursor), transient=True)


def test_the_sandboxs_day_of_objects_is_read_to_the_last_row(home: Settings, s3: S3StandIn) -> None:
    sample.play(None, s3.url)
    held, planted = sample.day().state().objects, sample.day().planted
    settings, day = at_s3(home, s3), Window("day", H5 - 5 * HOUR, H5 + 19 * HOUR)
    for name in ("products", "stock_movements"):
        loaded = extract(settings, name, day)
        mine = [one for key, one in held.items() if key.startswith(name)]
        assert loaded.rows.num_rows == sum(one.rows for one in mine)
        assert loaded.rejected.num_rows == sum(len(one.bad) for one in mine)
        wrong = {kind: [w for w in planted[kind] if w.startswith(name)] for kind in ("ragged_row", "bad_number")}
        assert len([r for r in loaded.reasons() if r.startswith("ragged_row")]) == len(wrong["ragged_row"])
        assert len([r for r in loaded.reasons() if r.startswith("invalid_")]) == len(wrong["bad_number"])
        assert loaded.report.new_columns == (("material",) if name == "products" else ())
