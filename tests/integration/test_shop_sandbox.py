"""The shop's stand-ins on the wire and as processes: what clients read of what was played, faults, and restarts."""

import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import bson
import httpx
import psutil
import pymongo
import pytest
import s3fs
from bson import Decimal128, ObjectId
from command import wait_for
from pymongo.errors import DuplicateKeyError, NetworkTimeout, OperationFailure, ServerSelectionTimeoutError

from dlt_sources.mongodb import UNDATED, changes
from lake.load import Window
from lake.settings import Settings
from sandbox import control, shop
from sandbox.mongodb import MongoStandIn
from sandbox.s3 import S3StandIn

ANY = "sandbox"  # the stand-in for S3 takes any key and secret
ROWS = {"yellow": 200, "green": 100, "fhv": 100}


def mongo(url: str, **options) -> pymongo.MongoClient:
    return pymongo.MongoClient(url, tz_aware=True, **{"serverSelectionTimeoutMS": 10_000, **options})


def bucket(url: str, **options) -> s3fs.S3FileSystem:
    return s3fs.S3FileSystem(
        key=ANY,
        secret=ANY,
        endpoint_url=url,
        use_listings_cache=False,
        skip_instance_cache=True,
        config_kwargs={"retries": {"max_attempts": 1}, **options},
    )


def documents(url: str) -> dict[str, dict]:
    with mongo(url) as client:
        return {name: {one["_id"]: one for one in client.shop[name].find()} for name in shop.COLLECTIONS}


def objects(url: str) -> dict[str, tuple[bytes, datetime]]:
    files = bucket(url)
    found = files.find(shop.BUCKET, detail=True)
    return {name.partition("/")[2]: (files.cat(name), about["LastModified"]) for name, about in found.items()}


def expected(state: shop.State) -> dict[str, tuple[bytes, datetime]]:
    return {key: (put.body, put.modified) for key, put in state.objects.items()}


@pytest.fixture(scope="module")
def day() -> shop.Day:
    return shop.day()


@pytest.fixture
def mongodb() -> Iterator[MongoStandIn]:
    with MongoStandIn() as running:
        yield running


@pytest.fixture
def s3() -> Iterator[S3StandIn]:
    with S3StandIn() as running:
        yield running


# -- playing -------------------------------------------------------------------------------------------------


def test_clients_read_what_was_played_hour_by_hour(mongodb, s3, day):
    played = 0
    for hours in ((), (0,), range(1, 7), (7, 8), range(9, 24)):
        shop.play(mongodb.url, s3.url, hours)
        played += len(hours)
        assert documents(mongodb.url) == day.state(played).documents
        assert objects(s3.url) == expected(day.state(played))


def test_an_hour_played_again_changes_nothing(mongodb, s3, day):
    for hours in (range(10), [9], [9]):
        shop.play(mongodb.url, s3.url, hours)
    assert documents(mongodb.url) == day.state(10).documents
    assert objects(s3.url) == expected(day.state(10))


def test_either_source_can_be_left_out_and_another_day_be_played(mongodb, s3, day):
    before = shop.day(datetime(2023, 3, 30, tzinfo=UTC), scale=2)
    shop.play(mongodb.url, None, range(3), before)
    shop.play(None, s3.url, [0])
    assert documents(mongodb.url) == before.state(3).documents
    assert objects(s3.url) == expected(day.state(1))


# -- MongoDB -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [3, 1000])
def test_the_query_for_a_window_finds_dates_in_it_and_what_is_no_date(mongodb, day, batch):
    shop.play(mongodb.url, None)
    start = datetime(2023, 3, 31, 16, tzinfo=UTC)
    end = start + timedelta(hours=3)
    query = changes("updated_at", Window("hour", start, end), datetime(2024, 1, 1, tzinfo=UTC))
    with mongo(mongodb.url) as client:
        for name, written in day.state().documents.items():
            times = {key: document.get("updated_at") for key, document in written.items()}
            dated = {key for key, time in times.items() if isinstance(time, datetime) and start <= time < end}
            others = {key for key, time in times.items() if not isinstance(time, datetime)}
            fields = ["updated_at", "deleted_at"]
            cursor = client.shop[name].find(query, fields, batch_size=batch)
            found = list(cursor)
            assert sorted(one["_id"] for one in found) == sorted(dated | others)
            for one in found:
                assert one == {key: written[one["_id"]][key] for key in ("_id", *fields) if key in written[one["_id"]]}
            raw = client.shop[name].find_raw_batches(query, batch_size=batch)
            assert {one["_id"] for message in raw for one in bson.decode_all(message)} == dated | others


@pytest.mark.parametrize("indexed", [False, True])
@pytest.mark.parametrize(
    ("types", "numbers"),
    [
        ("date", [1, 2]),
        ("string", [3, 4]),
        ("number", [5, 6, 7, 13]),  # MongoDB would leave out the bool
        ("decimal", [7]),
        (["string"], [3, 4]),
        (["string", "number"], [3, 4, 5, 6, 7, 13]),
        ("object", [10]),
        ("objectId", [11]),
        ("binData", [12]),
        (list(UNDATED), [3, 4, 5, 6, 7, 10, 11, 12, 13]),
        ("null", [8, 9]),  # MongoDB would leave out what is missing
    ],
)
def test_types_are_told_apart(mongodb, types, numbers, indexed):
    values = (
        datetime(2023, 3, 31, tzinfo=UTC), datetime(1969, 1, 1, 0, 0, 0, 1000, tzinfo=UTC), "2023-03-31T05:00:00Z",
        "yesterday", 1680242400, -2.5, Decimal128("19.90"), None,
    )  # fmt: skip
    with mongo(mongodb.url) as client:
        things = client.shop.things
        things.insert_many([{"_id": number, "at": value} for number, value in enumerate(values, 1)])
        things.insert_many([{"_id": 9}, {"_id": 10, "at": {"a": 1}}, {"_id": 11, "at": ObjectId()}])
        things.insert_many([{"_id": 12, "at": b"07:12"}, {"_id": 13, "at": True}])
        if indexed:
            things.create_index("at")
        assert sorted(one["_id"] for one in things.find({"at": {"$type": types}})) == numbers
        both = {"$or": [{"_id": 1}, {"at": {"$type": types}}]}
        assert sorted(one["_id"] for one in things.find(both)) == sorted({1, *numbers})


def test_values_come_back_as_they_were_written(mongodb):
    document = {
        "_id": ObjectId("64262280000100000000002a"),
        "money": Decimal128("19.90"),
        "tiny": Decimal128("1E-28"),
        "items": [{"line": 1, "unit_price": Decimal128("0.10")}, {"line": 2, "unit_price": "0.20"}, []],
        "nested": {"at": datetime(2023, 3, 31, 5, 0, 0, 123000, tzinfo=UTC), "of": ObjectId("64262280000100000000002b")},
        "none": None,
        "double": 0.1,
        "long": 2**40,
        "flag": False,
        "text": "línea\nline 👍 \u2028 {\"$date\": 1}",
        "empty": [],
    }  # fmt: skip
    with mongo(mongodb.url) as client:
        things = client.shop.things
        things.insert_one(document)
        assert things.find_one() == document
        changed = {**document, "money": Decimal128("-3"), "nested": {}}
        del changed["none"]
        assert things.replace_one({"_id": document["_id"]}, changed).modified_count == 1
        assert list(things.find()) == [changed]
        assert list(things.find({}, ["money"])) == [{"_id": document["_id"], "money": Decimal128("-3")}]
        with pytest.raises(DuplicateKeyError):
            things.insert_one(document)
        with pytest.raises(OperationFailure):
            list(things.find({"money": {"$not": {"$type": "string"}}}))
        assert client.admin.command("ping")["ok"] == 1


def test_a_window_costs_its_documents_not_the_collections(mongodb):
    """By SQLite's own plan: each alternative of the query is a search of an index."""
    shop.play(mongodb.url, None, [0])
    plans: list[str] = []
    with mongo(mongodb.url) as client:
        database = mongodb.handler.get_database(shop.DATABASE).db
        database.set_trace_callback(lambda sql: plans.append(sql) if "data as data" in sql else None)
        moment = datetime(2023, 3, 31, tzinfo=UTC)
        window = Window("hours", moment, moment + timedelta(hours=3))
        assert list(client.shop.customers.find(changes("updated_at", window, moment + timedelta(days=2))))
        database.set_trace_callback(None)
    (asked,) = plans
    steps = [
        row[-1]
        for row in database.execute(f"EXPLAIN QUERY PLAN {asked.replace('-Inf', '-9e999').replace('Inf', '9e999')}")
    ]
    assert not [step for step in steps if step.startswith("SCAN")]
    assert len(steps) > len(UNDATED)


def test_the_port_answers_http_with_the_token_and_both_at_once(mongodb):
    address = f"http://{urlsplit(mongodb.url).netloc}/health"
    assert httpx.get(address).json() == {"token": "", "pid": os.getpid()}
    with mongo(mongodb.url) as client:
        client.shop.things.insert_one({"_id": 1})
        assert httpx.get(address).status_code == 200
        assert client.shop.things.find_one() == {"_id": 1}


def test_a_folder_keeps_the_documents(tmp_path):
    for number in range(2):
        with MongoStandIn(tmp_path) as running, mongo(running.url) as client:
            client.shop.things.insert_one({"_id": number, "price": Decimal128("1.50")})
            assert [one["_id"] for one in client.shop.things.find()] == list(range(number + 1))
    with MongoStandIn() as other, mongo(other.url) as client:
        assert client.shop.list_collection_names() == []


def test_refused_connections_fail_and_are_taken_up_again(mongodb):
    with mongo(mongodb.url) as patient:
        patient.shop.things.insert_one({"_id": 1})
        with mongodb.refusing():
            impatient = mongo(mongodb.url, serverSelectionTimeoutMS=100)
            with impatient, pytest.raises(ServerSelectionTimeoutError, match="refused"):
                impatient.shop.things.find_one()
            with pytest.raises(httpx.ConnectError):
                httpx.get(f"http://{urlsplit(mongodb.url).netloc}/health")
        assert patient.shop.things.find_one() == {"_id": 1}


def test_a_server_that_hangs_says_nothing_on_old_and_new_connections(mongodb):
    options = {"socketTimeoutMS": 200, "connectTimeoutMS": 200, "serverSelectionTimeoutMS": 300, "retryReads": False}
    with mongo(mongodb.url, socketTimeoutMS=200, retryReads=False) as old:
        old.shop.things.insert_one({"_id": 1})
        with mongodb.hanging():
            with pytest.raises(NetworkTimeout):
                old.shop.things.find_one()
            with mongo(mongodb.url, **options) as new, pytest.raises(ServerSelectionTimeoutError, match="timed out"):
                new.shop.things.find_one()
        assert old.shop.things.find_one() == {"_id": 1}


# -- S3 ------------------------------------------------------------------------------------------------------


def test_an_object_put_again_has_another_tag_and_time(s3, day):
    (key,) = day.planted["rewritten_in_place"]
    files = bucket(s3.url)
    shop.play(None, s3.url, range(9))
    before = files.info(f"shop/{key}")
    shop.play(None, s3.url, [9])
    after = files.info(f"shop/{key}")
    assert after["ETag"] != before["ETag"]
    assert (after["LastModified"] - before["LastModified"]) == timedelta(hours=2, minutes=25)
    assert files.cat_file(f"shop/{key}", start=0, end=11) == b"movement_id"


def test_objects_of_any_client_are_dated_now_and_names_are_kept(s3):
    files = bucket(s3.url)
    shop.play(None, s3.url, [])
    name = "shop/a b/ü+%2F&=?.csv"
    files.pipe(name, b"x,y\n1,2\n")
    assert files.find("shop") == [name]
    assert files.cat(name) == b"x,y\n1,2\n"
    assert abs(files.info(name)["LastModified"] - datetime.now(UTC)) < timedelta(minutes=1)
    files.rm(name)
    assert files.find("shop") == []


def test_listings_come_in_pages_after_a_name(s3):
    shop.play(None, s3.url)
    pages = []
    after = ""
    with httpx.Client(base_url=s3.url, headers={"Authorization": shop.SIGNED}) as client:
        for _ in range(3):
            query = {"list-type": "2", "max-keys": "15", "start-after": after}
            page = client.get("/shop", params=query).text
            names = [part.partition("</Key>")[0] for part in page.split("<Key>")[1:]]
            pages.append(len(names))
            after = names[-1]
    assert pages == [15, 15, 5]


def test_requests_without_credentials_are_refused_and_a_new_stand_in_is_empty(s3):
    shop.play(None, s3.url, [0])
    (key, *_) = shop.day().state(1).objects
    assert httpx.get(f"{s3.url}/shop/{key}").status_code == 403
    with S3StandIn() as other, pytest.raises(FileNotFoundError):
        bucket(other.url).ls("shop")


def test_failures_are_used_up_and_every_request_is_logged(s3):
    shop.play(None, s3.url, [0])
    before = len(s3.requests)
    s3.faults.fail("^/shop", 503, times=2)
    with pytest.raises(OSError, match=r"503|Service Unavailable|SlowDown"):
        bucket(s3.url).ls("shop/products")
    assert len(bucket(s3.url).find("shop/products")) == 1
    asked = s3.requests[before:]
    assert [one.status for one in asked] == [503, 503, 200]
    assert {(one.method, one.path) for one in asked} == {("GET", "/shop")}
    assert "prefix=products" in asked[-1].query


def test_an_answer_that_stalls_outlasts_the_clients_patience(s3):
    shop.play(None, s3.url, [0])
    s3.faults.delay("^/shop", seconds=60, times=2)
    with pytest.raises(Exception, match="timeout"):
        bucket(s3.url, read_timeout=0.2).ls("shop/products")
    s3.faults.clear()
    assert bucket(s3.url).find("shop/products")


# -- processes -----------------------------------------------------------------------------------------------


@pytest.fixture
def settings(tmp_path) -> Iterator[Settings]:
    made = Settings(home=tmp_path)
    yield made
    control.down(made)


def up(settings: Settings) -> dict[str, str]:
    return control.up(settings, months=("2023-01",), rows=ROWS)


def pids(settings: Settings) -> dict[str, int | None]:
    return {one.name: one.pid for one in control.status(settings)}


def runs(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_up_has_the_whole_day_and_down_ends_all(settings, day):
    endpoints = up(settings)
    assert endpoints["shop_mongodb"].startswith("mongodb://127.0.0.1:")
    assert documents(endpoints["shop_mongodb"]) == day.state().documents
    assert objects(endpoints["shop_s3"]) == expected(day.state())
    running = {one.name: one for one in control.status(settings)}
    assert {one.state for one in running.values()} == {"running"}
    assert (running["mongodb"].url, running["s3"].url) == (endpoints["shop_mongodb"], endpoints["shop_s3"])

    assert up(settings) == endpoints
    assert pids(settings) == {name: one.pid for name, one in running.items()}

    assert control.down(settings) is True
    assert not [one for one in running.values() if runs(one.pid)]
    assert not settings.endpoints_file.exists()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{endpoints['shop_s3']}/health")
    with (
        pytest.raises(ServerSelectionTimeoutError),
        mongo(endpoints["shop_mongodb"], serverSelectionTimeoutMS=100) as m,
    ):
        m.shop.customers.find_one()


def test_a_restart_keeps_documents_and_makes_objects_anew(settings, day):
    endpoints = up(settings)
    with mongo(endpoints["shop_mongodb"]) as client:
        client.shop.customers.insert_one({"_id": "mine"})
    bucket(endpoints["shop_s3"]).pipe("shop/mine.csv", b"a\n")
    control.down(settings)
    again = up(settings)
    assert documents(again["shop_mongodb"])["customers"].keys() == day.state().documents["customers"].keys() | {"mine"}
    assert objects(again["shop_s3"]) == expected(day.state())


def test_a_day_half_written_is_written_anew(settings, day):
    endpoints = up(settings)
    with mongo(endpoints["shop_mongodb"]) as client:
        client.shop.customers.delete_many({})
    (mongodb,) = (one for one in control.status(settings) if one.name == "mongodb")
    os.kill(mongodb.pid, signal.SIGKILL)
    wait_for(lambda: not runs(mongodb.pid), "it is gone", 10)
    (stamp,) = (settings.sandbox_home / "mongodb").glob("day-*")
    stamp.unlink()  # as if it had been killed before the end
    assert documents(up(settings)["shop_mongodb"]) == day.state().documents


def test_an_hour_is_played_into_the_processes_too(settings):
    endpoints = up(settings)
    later = shop.day(datetime(2023, 4, 1, tzinfo=UTC))
    shop.play(endpoints["shop_mongodb"], endpoints["shop_s3"], [0, 1], later)
    found = documents(endpoints["shop_mongodb"])
    assert all(found[name].items() >= of.items() for name, of in later.state(2).documents.items())
    assert objects(endpoints["shop_s3"]).items() >= expected(later.state(2)).items()
