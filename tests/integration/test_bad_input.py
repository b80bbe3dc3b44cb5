"""Bad input of every kind: one line that names file and reason, bronze exactly as it was, nothing left behind."""

import json
import logging
import socket
import traceback
from functools import partial

import lakes
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from lakes import Answer, load_green, load_table, refused

from dlt_sources.files import fetch
from lake.errors import LakeError, TransientError
from sandbox import tlc
from sandbox.server import SandboxServer
from sandbox.users import USERS

MONTH = "2023-02"
NAME = f"green_tripdata_{MONTH}.parquet"
HTML = b"\n<!DOCTYPE html><html><body>Sign in to the hotel's wireless network</body></html>"
HEADER = "LocationID,Borough,Zone,service_zone\n"


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A file that fits, and one that needs a cast, as bytes."""
    folder = tmp_path_factory.mktemp("good")
    return {month: tlc.write("green", month, folder, 2_000).read_bytes() for month in ("2023-01", MONTH)}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """A lake that holds two months and the users, the folder of its files and their server.

    Tests share it, for none may change it; what is then served of `MONTH` is another file than was loaded.
    """
    folder = tmp_path_factory.mktemp("tlc")
    with SandboxServer(folder) as server:
        lake = lakes.settings(tmp_path_factory.mktemp("home"), server.tlc_base, users_api=server.users_api)
        for month in ("2023-03", MONTH):
            tlc.write("green", month, folder, 110)
            load_green(lake, month)
        load_table(lake, "users")
        yield lake, folder, server


@pytest.fixture
def served(loaded):
    """A loaded lake, and the server its next load asks."""
    lake, folder, server = loaded
    (folder / NAME).unlink(missing_ok=True)
    tlc.write("green", MONTH, folder, 130)
    server.faults.clear()
    server.requests.clear()
    return lake, server


@pytest.fixture(params=["folder", "file url", "http"])
def reached(request, loaded):
    """A loaded lake, its files reached in each way, and their folder."""
    lake, folder, server = loaded
    server.faults.clear()
    bases = {"folder": str(folder), "file url": folder.as_uri(), "http": server.tlc_base}
    return lake.model_copy(update={"tlc_base": bases[request.param]}), folder


def cut(content, end):
    return content[:end]


def without_middle(content):
    return content[: len(content) // 3] + content[len(content) // 2 :]


def garbled_footer(content):
    return content[:-300] + bytes(b ^ 0x5A for b in content[-300:-8]) + content[-8:]


def empty_table(content):
    sink = pa.BufferOutputStream()
    pq.write_table(pq.read_table(pa.BufferReader(content)).slice(0, 0), sink)
    return sink.getvalue().to_pybytes()


NOT_PARQUET = {
    "0 bytes": (lambda _: b"", "the file is empty (0 bytes)"),
    "a web page": (lambda _: HTML, "is a web page, not a Parquet file: <!DOCTYPE html>"),
    "an S3 error": (lambda _: b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "is a web page"),
    "garbage": (lambda _: bytes(range(256)) * 8, "is not a Parquet file"),
    "a CSV file": (lambda _: b"VendorID,fare\n1,2\n", "is not a Parquet file (it begins with b'Vend')"),
    "the magic word alone": (lambda _: b"PAR1", "is truncated at 4 bytes"),
    "cut in half": (lambda c: cut(c, len(c) // 2), "is truncated at"),
    "cut in the footer": (lambda c: cut(c, -40), "is truncated at"),
    "the last byte missing": (lambda c: cut(c, -1), "is truncated at"),
    "a damaged footer": (garbled_footer, "the Parquet file is damaged"),
    "its middle missing": (without_middle, "the Parquet file is damaged"),
    "no rows": (empty_table, "the Parquet file holds no rows"),
}


@pytest.mark.parametrize("kind", NOT_PARQUET)
def test_what_is_not_a_whole_parquet_file_is_refused(reached, good, kind):
    lake, folder = reached
    damage, reason = NOT_PARQUET[kind]
    (folder / NAME).write_bytes(damage(good[MONTH]))
    message = refused(lake, partial(load_green, lake))
    assert message.startswith(f"{lake.tlc_base}/{NAME}: ")
    assert reason in message


def test_a_month_that_is_not_there(reached):
    lake, _ = reached
    message = refused(lake, partial(load_green, lake, "2024-12"))
    assert message.startswith(f"{lake.tlc_base}/green_tripdata_2024-12.parquet: ")
    assert "no such file" in message or "not there (HTTP 404 Not Found)" in message


@pytest.mark.parametrize("month", ["2023-01", MONTH])
def test_a_first_load_that_fails_makes_no_table(lake, files, good, month):
    (files / f"green_tripdata_{month}.parquet").write_bytes(good[month][:-100])
    assert "is truncated" in refused(lake, partial(load_green, lake, month))
    assert lakes.state(lake) == {}


def damaged_page(folder, month):
    """A file whose footer is whole and whose first pages are noise."""
    path = tlc.write("green", month, folder, 2_000)
    content = bytearray(path.read_bytes())
    column = pq.read_metadata(path).row_group(0).column(4)
    start = column.dictionary_page_offset or column.data_page_offset
    content[start : start + column.total_compressed_size] = b"\xa5" * column.total_compressed_size
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("month", ["2023-01", "2025-11"])
def test_a_damaged_page_of_a_file_that_is_cast(lake, files, month):
    tlc.write("green", MONTH, files, 110)
    load_green(lake)
    path = damaged_page(files, month)
    message = refused(lake, partial(load_green, lake, month))
    assert message.startswith(f"{path}: the Parquet file is damaged: ")


# -- types ---------------------------------------------------------------------------------------------------


def spoilt(source, kind):
    fractional = pc.add(pc.cast(source["passenger_count"], pa.float64()), 0.5)
    return {
        "a fraction": ("passenger_count", fractional, "passenger_count cannot become int64"),
        "text": ("fare_amount", pc.cast(source["fare_amount"], pa.string()), "fare_amount is string"),
        "a date": ("lpep_pickup_datetime", pc.cast(source["lpep_pickup_datetime"], pa.date32()), "is date32[day]"),
        "a zone": (
            "lpep_pickup_datetime",
            pc.assume_timezone(source["lpep_pickup_datetime"], "UTC"),
            "lpep_pickup_datetime is timestamp[us, tz=UTC], bronze.mobility_green_trips declares timestamp[us]",
        ),
        "a number for a text": ("store_and_fwd_flag", pa.array(range(len(source))), "store_and_fwd_flag is int64"),
        "twice": ("fare_AMOUNT", source["fare_amount"], "columns fare_amount and fare_AMOUNT are both"),
        "a new list": ("stops", pa.array([[1, 2]] * len(source)), "list<"),
        "the partition": ("source_month", source["VendorID"], "has the name of the partition column"),
    }[kind]


@pytest.mark.parametrize(
    "kind",
    ["a fraction", "text", "a date", "a zone", "a number for a text", "twice", "a new list", "the partition"],
)
def test_a_column_that_no_lossless_cast_reaches_is_named(lake, files, kind):
    source = pq.read_table(tlc.write("green", MONTH, files, 110))
    load_green(lake)
    column, values, reason = spoilt(source, kind)
    path = lakes.write_green(files, MONTH, lakes.with_column(source, column, values))
    message = refused(lake, partial(load_green, lake))
    assert message.startswith(f"{path}: column")
    assert reason in message


def test_a_fraction_in_the_last_of_many_batches(lake, files):
    source = pq.read_table(tlc.write("green", MONTH, files, 110))
    load_green(lake)
    values = [1.0] * 600_000 + [1.5]
    pickups = pa.nulls(len(values), pa.timestamp("us"))
    table = pa.table({"VendorID": pa.array(values), "lpep_pickup_datetime": pickups})
    lakes.write_green(files, MONTH, table)
    assert "column VendorID cannot become int64" in refused(lake, partial(load_green, lake))
    assert lakes.rows(lake).num_rows == source.num_rows


def test_a_file_of_something_else(lake, files):
    lakes.write_green(files, MONTH, pa.table({"name": ["a"], "price": [1]}), signed=False)
    message = refused(lake, partial(load_green, lake))
    reason = "is not a file of bronze.mobility_green_trips: it has no column lpep_pickup_datetime; found name, price"
    assert message == f"{files}/{NAME}: {reason}"


def test_a_file_of_another_service_that_shares_columns(lake, files):
    lakes.write_green(files, MONTH, pq.read_table(tlc.write("fhv", MONTH, files, 110)), signed=False)
    assert "is not a file of bronze.mobility_green_trips" in refused(lake, partial(load_green, lake))


# -- servers -------------------------------------------------------------------------------------------------


def test_a_server_that_fails_for_ever(served):
    web, server = served
    server.faults.fail("green", 500, times=99)
    message = refused(web, partial(load_green, web), transient=True)
    assert message == f"{server.tlc_base}/{NAME}: HTTP 500 Internal Server Error after 2 attempts"
    assert [a.status for a in server.requests] == [500, 500]


def test_a_server_that_is_too_slow(served):
    web, server = served
    server.faults.delay("green", 1, times=99)
    hasty = web.model_copy(update={"http_timeout_seconds": 0.2})
    message = refused(hasty, partial(load_green, hasty), transient=True)
    assert message.startswith(f"{server.tlc_base}/{NAME}: ")
    assert message.endswith("timed out after 2 attempts")


def test_a_refused_connection(lake, files):
    with socket.socket() as reserved:  # bound and not listening: nobody else gets the port, and it refuses
        reserved.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{reserved.getsockname()[1]}"
        away = lake.model_copy(update={"tlc_base": url, "users_api": url})
        message = refused(away, partial(load_green, away), transient=True)
        assert message == f"{url}/{NAME}: [Errno 111] Connection refused after 2 attempts"
        message = refused(away, partial(load_table, away, "users"), transient=True)
        assert message == f"{url}/users: ConnectionError after 2 attempts"


@pytest.mark.parametrize("status", [401, 418])
def test_a_status_that_will_not_pass_is_not_tried_again(served, status):
    web, server = served
    server.faults.fail("green", status, times=99)
    assert refused(web, partial(load_green, web)).startswith(f"{server.tlc_base}/{NAME}: HTTP {status}")
    # Of another test, whose client has given up waiting, a request may be answered only now.
    assert len([asked for asked in server.requests if asked.status == status]) == 1


ODD = {
    "a body that ends early": (Answer(b"PAR1 and no more", announced=500), True, "peer closed connection"),
    "a redirect to itself": (Answer(status=302, headers={"Location": "/again"}), False, "TooManyRedirects"),
    "a body that does not decode": (Answer(b"not gzip", headers={"Content-Encoding": "gzip"}), False, "DecodingError"),
}


@pytest.mark.parametrize("kind", ODD)
def test_an_odd_answer(lake, kind):
    answer, transient, reason = ODD[kind]
    with lakes.answering(lambda _: answer) as url:
        web = lake.model_copy(update={"tlc_base": url})
        message = refused(web, partial(load_green, web), transient=transient)
    assert message.startswith(f"{url}/{NAME}: ")
    assert reason in message


# -- secrets -------------------------------------------------------------------------------------------------

SECRETS = ("hunter2", "s3cr3t-token", "hun/ter3")


def said(load, caplog, capfd):
    """Everything that a failed load says: its error with all causes, logs, and both streams."""
    with caplog.at_level(logging.INFO), pytest.raises(LakeError) as raised:
        load()
    out = capfd.readouterr()
    return "".join(traceback.format_exception(raised.value)) + caplog.text + out.out + out.err


@pytest.mark.parametrize("name", ["green_trips", "users"])
@pytest.mark.parametrize("fault", ["500", "404", "slow", "odd", "refused", "no port"])
def test_no_secret_of_a_url_is_ever_said(served, caplog, capfd, name, fault):
    web, server = served
    host = server.users_api.removeprefix("http://")
    path = "/tlc" if name == "green_trips" else ""
    if fault == "slow":
        server.faults.delay("green|users", 1, times=99)
    elif fault in {"500", "404"}:
        server.faults.fail("green|users", int(fault), times=99)
    with lakes.answering(lambda _: Answer(b"{broken")) as odd, socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        refusing = f"127.0.0.1:{reserved.getsockname()[1]}"
        where = {"odd": odd.removeprefix("http://"), "refused": refusing, "no port": f"{host}x"}.get(fault, host)
        base = f"http://me:hunter2@{where}{path}?token=s3cr3t-token&x=1"
        timeout = 0.2 if fault == "slow" else 5.0
        leaky = web.model_copy(update={"tlc_base": base, "users_api": base, "http_timeout_seconds": timeout})
        month = MONTH if name == "green_trips" else None
        text = said(partial(load_table, leaky, name, month), caplog, capfd)
    assert [secret for secret in SECRETS if secret in text] == []
    assert "LakeError" in text or "TransientError" in text


@pytest.mark.parametrize("name", ["green_trips", "users"])
def test_a_password_that_breaks_the_url_is_not_said(lake, caplog, capfd, name):
    base = "http://me:hun/ter3@127.0.0.1:9"
    leaky = lake.model_copy(update={"tlc_base": base, "users_api": base})
    text = said(partial(load_table, leaky, name, MONTH if name == "green_trips" else None), caplog, capfd)
    assert "http://(malformed URL)" in text
    assert "me:hun" not in text
    assert "'hun'" not in text


# -- CSV -----------------------------------------------------------------------------------------------------


def zones(lake, files, content):
    (files / "taxi_zone_lookup.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    return load_table(lake, "taxi_zones", run_id="run-7")


def rejected(lake):
    found = lakes.rows(lake, "mobility_taxi_zones__rejected").sort_by("row_ordinal").to_pylist()
    assert {(r["run_id"], r["source_object"]) for r in found} <= {("run-7", f"{lake.tlc_base}/taxi_zone_lookup.csv")}
    return [(r["row_ordinal"], r["reject_reason"], json.loads(r["raw_row"])) for r in found]


def test_bad_csv_rows_are_kept_with_reason_ordinal_and_raw_row(lake, files):
    result = zones(
        lake,
        files,
        HEADER
        + "1,EWR,Newark,EWR\n"
        + "2,Queens\n"  # 2: too short
        + "x9,Bronx,Park,Boro\n"  # 3: no number
        + "1,EWR,Again,EWR\n"  # 4: seen
        + "4,Bronx,A,B,C,D\n"  # 5: too long
        + "\n"  # an empty line is no row
        + ',"Staten Island",None,Boro\n'  # 6: no id
        + "5.5,Bronx,Half,Boro\n"  # 7: not whole
        + "6,Bronx,Last,Boro\n",
    )
    assert (result.account.rows_read, result.account.rows_loaded, result.account.rows_rejected) == (8, 2, 6)

    def row(*values):
        return dict(zip(("LocationID", "Borough", "Zone", "service_zone"), values, strict=True))

    assert rejected(lake) == [
        (2, "ragged_row: 2 fields, 4 expected", "2,Queens"),
        (3, "invalid_location_id", row("x9", "Bronx", "Park", "Boro")),
        (4, "duplicate_location_id", row("1", "EWR", "Again", "EWR")),
        (5, "ragged_row: 6 fields, 4 expected", "4,Bronx,A,B,C,D"),
        (6, "missing_location_id", row("", "Staten Island", "None", "Boro")),
        (7, "invalid_location_id", row("5.5", "Bronx", "Half", "Boro")),
    ]
    assert sorted(lakes.rows(lake, "mobility_taxi_zones")["location_id"].to_pylist()) == [1, 6]


def test_ordinals_are_right_after_many_ragged_rows_in_a_file_of_several_blocks(lake, files):
    def line(i):
        if i % 10 == 0:
            return f"{i},ragged"
        return f"{'bad' if i % 10 == 5 else i},Borough {'x' * 40},Zone {i},Boro"

    total = 30_000  # two megabytes: more than one block of the reader
    result = zones(lake, files, HEADER + "".join(f"{line(i)}\n" for i in range(1, total + 1)))
    assert (result.account.rows_read, result.account.rows_rejected) == (total, total // 5)
    found = rejected(lake)
    assert [ordinal for ordinal, _, _ in found] == list(range(5, total + 1, 5))
    assert {(ordinal % 10, reason.split(":")[0]) for ordinal, reason, _ in found} == {
        (0, "ragged_row"), (5, "invalid_location_id"),
    }  # fmt: skip
    assert all(raw["Zone"] == f"Zone {n}" if isinstance(raw, dict) else raw == f"{n},ragged" for n, _, raw in found)


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_csv_in_other_dress_is_the_same_table(lake, files, newline, mark):
    lines = [
        "LocationID,Borough,Zone,service_zone",
        '1,Queens,"Two',
        'lines, and ""quotes""",Boro',
        "bad",
        "2,Bronx,Ä,Boro",
    ]
    result = zones(lake, files, mark + newline.join(lines).encode())
    assert (result.account.rows_read, result.account.rows_loaded) == (3, 2)
    loaded = lakes.rows(lake, "mobility_taxi_zones").sort_by("location_id").to_pylist()
    assert [(r["location_id"], r["zone"]) for r in loaded] == [(1, f'Two{newline}lines, and "quotes"'), (2, "Ä")]
    assert rejected(lake) == [(2, "ragged_row: 1 fields, 4 expected", "bad")]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty (0 bytes)"),
        (HTML, "is a web page, not a CSV file"),
        (HEADER.encode(), "the CSV file holds no rows"),
        (HEADER.strip().encode(), "the CSV file holds no rows"),
        (b"\n\n", "cannot be read as CSV"),
        (HEADER.encode() + b"1\n2\n", "the CSV file holds 2 rows, none with the header's 4 fields"),
        (HEADER.encode() + b"1,Qu\xe9bec,x,y\n", "cannot be read as CSV"),
        (b"Borough,Zone\nQueens,Bay\n", "column LocationID of bronze.mobility_taxi_zones is missing"),
        (b'{"message": "quota"}\n[1]\n', "column LocationID of bronze.mobility_taxi_zones is missing"),
    ],
)
def test_a_csv_that_is_none_is_refused(lake, files, content, reason):
    zones(lake, files, HEADER + "1,EWR,Newark,EWR\nbad\n")
    message = refused(lake, partial(zones, lake, files, content))
    assert message.startswith(f"{files}/taxi_zone_lookup.csv: ")
    assert reason in message


# -- the users API -------------------------------------------------------------------------------------------


def test_users_from_a_server_that_fails_for_ever(served):
    web, server = served
    server.faults.fail("users", 500, times=99)
    message = refused(web, partial(load_table, web, "users"), transient=True)
    assert message == f"{server.users_api}/users: HTTP 500 after 2 attempts"
    assert [a.status for a in server.requests] == [500, 500]


def test_users_from_a_server_that_is_too_slow(served):
    web, server = served
    server.faults.delay("users", 1, times=99)
    hasty = web.model_copy(update={"http_timeout_seconds": 0.2})
    message = refused(hasty, partial(load_table, hasty, "users"), transient=True)
    assert message == f"{server.users_api}/users: ReadTimeout after 2 attempts"


def test_a_second_page_that_fails_loads_nothing(served):
    web, _ = served
    first = [False]

    def reply(path):
        first[0] = "_page=1" in path
        return Answer(json.dumps(USERS[:5]).encode()) if first[0] else Answer(status=503)

    with lakes.answering(reply) as url:
        half = web.model_copy(update={"users_api": url})
        message = refused(half, partial(load_table, half, "users"), transient=True)
    assert message == f"{url}/users: HTTP 503 after 2 attempts"
    assert lakes.rows(web, "mobility_users").num_rows == 10


BROKEN = {
    "not JSON": (Answer(b"<html>Sign in</html>"), "the answer is not JSON: "),
    "not found": (Answer(status=404), "HTTP 404"),
    "an object": (Answer(b'{"error": "quota exceeded"}'), "answered with something else than a list of objects"),
    "a number": (Answer(b"7"), "answered with something else than a list of objects"),
    "nothing": (Answer(b"null"), "answered with something else than a list of objects"),
    "a list of numbers": (Answer(b"[1, 2]"), "answered with something else than a list of objects"),
    "no users": (Answer(b"[]"), "answered with no users; the table is left as it was"),
    "one page for ever": (Answer(json.dumps(USERS[:3]).encode()), "sent the same page twice; it does not heed `_page`"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_an_answer_without_users_leaves_the_table(served, kind):
    web, _ = served
    answer, reason = BROKEN[kind]
    with lakes.answering(lambda _: answer) as url:
        odd = web.model_copy(update={"users_api": url})
        message = refused(odd, partial(load_table, odd, "users"))
    assert message.startswith(f"{url}/users: {reason}")
    assert "after" not in message


def test_fewer_users_than_announced_leave_the_table(served):
    web, _ = served

    def reply(path):
        page = USERS[:5] if "_page=1" in path else []
        return Answer(json.dumps(page).encode(), headers={"X-Total-Count": "10"})

    with lakes.answering(reply) as url:
        short = web.model_copy(update={"users_api": url})
        message = refused(short, partial(load_table, short, "users"))
    assert message == f"{url}/users: announced 10 users and sent 5; the table is left as it was"


@pytest.mark.parametrize("base", ["ftp://host/tlc", "hdfs://host/tlc"])
def test_a_base_that_nothing_reads_is_refused_at_once(lake, base):
    """The fault: it was asked for again and again, and then said `gaierror`."""
    with pytest.raises(LakeError) as raised:
        fetch(lake, base, ["green_tripdata_2023-01.parquet"], lake.staging)
    assert not isinstance(raised.value, TransientError)
    assert str(raised.value).startswith(
        f"{base}/green_tripdata_2023-01.parquet: {base.split(':')[0]}:// is not supported"
    )
