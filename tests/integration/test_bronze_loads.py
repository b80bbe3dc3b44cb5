"""Bronze loads of good files: the drift of real months, values kept to the last bit, repeats, replacements, users."""

import datetime as dt
import json
import random
import shutil
from datetime import date
from functools import partial

import lakes
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from lakes import DRIFT, Answer, load_green, load_table

from lake import iceberg, views
from lake.audit import audit
from lake.duck import connect
from lake.load import load
from sandbox import tlc
from sandbox.server import SandboxServer
from sandbox.users import USERS

ROWS = {month: 200 + 10 * i for i, month in enumerate(DRIFT)}
IDS = ("VendorID", "PULocationID", "DOLocationID", "RatecodeID", "passenger_count", "payment_type", "trip_type")
SHUFFLED = tuple(random.Random(7).sample(DRIFT, len(DRIFT)))  # noqa: S311 - an order, not a secret
CSV = "LocationID,Borough,Zone,service_zone\n"


@pytest.fixture(scope="module")
def months(tmp_path_factory):
    folder = tmp_path_factory.mktemp("green")
    for month, rows in ROWS.items():
        tlc.write("green", month, folder, rows)
    return folder


def as_loaded(source: pa.Table, schema: pa.Schema) -> pa.Table:
    """A file's rows under the table's names and types, columns it lacks as nulls: what bronze must hold."""
    own = {name.lower(): source[name] for name in source.column_names}
    return pa.table(
        {
            f.name: own[f.name.lower()].cast(f.type) if f.name.lower() in own else pa.nulls(len(source), f.type)
            for f in schema
        }
    )


def assert_holds(loaded: pa.Table, sources: dict[str, pa.Table]) -> None:
    """`loaded` is exactly the sources, month by month and cell by cell."""
    assert loaded.num_rows == sum(len(s) for s in sources.values())
    for month, source in sources.items():
        first = date.fromisoformat(f"{month}-01")
        rows = loaded.filter(pc.equal(loaded["source_month"], first)).drop_columns("source_month")
        assert lakes.canonical(rows).equals(lakes.canonical(as_loaded(source, rows.schema))), month


def duck(lake, sql, *, zone="UTC"):
    with connect(lake.duckdb_path) as connection:
        views.refresh(connection, lake)
        connection.execute(f"SET TimeZone = '{zone}'")
        return connection.sql(sql).to_arrow_table()


# -- the drift of real months --------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [DRIFT, DRIFT[::-1], SHUFFLED], ids=["in order", "reversed", "shuffled"])
def test_months_whose_types_drift_make_one_table_in_any_order(lake, files, months, order):
    shutil.copytree(months, files, dirs_exist_ok=True)
    results = {month: load_green(lake, month) for month in order}

    schema = lakes.open_table(lake).schema()
    assert {name: str(schema.find_type(name)) for name in IDS} == dict.fromkeys(IDS, "long")
    for name in ("fare_amount", "ehail_fee", "cbd_congestion_fee", "trip_distance"):
        assert str(schema.find_type(name)) == "double"
    assert (str(schema.find_type("store_and_fwd_flag")), str(schema.find_type("source_month"))) == ("string", "date")
    assert str(schema.find_type("lpep_pickup_datetime")) == "timestamp"

    assert lakes.by_month(lake) == ROWS
    sources = {month: pq.read_table(months / f"green_tripdata_{month}.parquet") for month in DRIFT}
    assert_holds(lakes.rows(lake), sources)

    first_with_fee = next(month for month in order if month >= "2025-01")
    assert {m: r.new_columns for m, r in results.items() if r.new_columns} == {first_with_fee: ("cbd_congestion_fee",)}
    counts = {f"{name}: double → int64" for name in ("RatecodeID", "passenger_count", "payment_type", "trip_type")}
    assert {m: set(r.notes) for m, r in results.items() if r.notes} == {
        "2023-01": counts | {"ehail_fee: null → double"},
        "2025-11": counts,
    }
    for number, month in enumerate(order, start=1):
        account, result = results[month].account, results[month]
        assert (account.rows_read, account.rows_loaded, account.rows_rejected) == (ROWS[month], ROWS[month], 0)
        assert (account.partition, result.changed) == (f"{month}-01", True)
        assert result.total_rows == sum(ROWS[m] for m in order[:number])
        assert account.source_object == f"{files}/green_tripdata_{month}.parquet"
    assert lakes.leftovers(lake) == []


@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
def test_duckdb_shows_the_same_cells_as_the_files_in_every_time_zone(lake, files, months, zone):
    chosen = ("2023-01", "2023-02", "2025-11")
    for month in chosen:
        shutil.copy(months / f"green_tripdata_{month}.parquet", files)
        load_green(lake, month)
    shown = duck(lake, "SELECT * FROM bronze.mobility_green_trips", zone=zone)
    assert "_loaded_at" in shown.column_names
    assert shown.schema.field("lpep_pickup_datetime").type == pa.timestamp("us")
    sources = {month: pq.read_table(months / f"green_tripdata_{month}.parquet") for month in chosen}
    assert_holds(shown.drop_columns("_loaded_at"), sources)


@lakes.needs_real_files
def test_real_green_months(lake):
    real = lake.model_copy(update={"tlc_base": str(lakes.REAL_FILES)})
    expected = {"2023-01": 68_211, "2023-02": 64_809, "2023-03": 72_044}
    for month in reversed(expected):
        load_green(real, month)
    assert lakes.by_month(real) == expected
    paths = {month: lakes.REAL_FILES / f"green_tripdata_{month}.parquet" for month in expected}
    assert_holds(lakes.rows(real), {month: pq.read_table(path) for month, path in paths.items()})
    months = (
        "SELECT source_month, count(*) n, sum(total_amount) s FROM bronze.mobility_green_trips GROUP BY 1 ORDER BY 1"
    )
    seen = {f"{row['source_month']:%Y-%m}": (row["n"], row["s"]) for row in duck(real, months).to_pylist()}
    for month, path in paths.items():
        assert seen[month] == (expected[month], pytest.approx(pc.sum(pq.read_table(path)["total_amount"]).as_py()))


@lakes.needs_real_files
def test_a_real_yellow_file_of_2025_and_the_real_zones(lake, files):
    shutil.copy(
        lakes.REAL_FILES / "yellow_tripdata_2025-02_sample5k.parquet", files / "yellow_tripdata_2025-02.parquet"
    )
    shutil.copy(lakes.REAL_FILES / "taxi_zone_lookup.csv", files)
    result = load_table(lake, "yellow_trips", "2025-02")
    assert result.new_columns == ("cbd_congestion_fee",)
    source = pq.read_table(files / "yellow_tripdata_2025-02.parquet")
    assert_holds(lakes.rows(lake, "mobility_yellow_trips"), {"2025-02": source})
    assert load_table(lake, "taxi_zones").account.rows_loaded == 265


def test_airport_fee_is_one_column_however_it_is_written(lake, files):
    sources = {}
    for month in ("2023-01", "2023-02", "2025-01"):
        sources[month] = pq.read_table(tlc.write("yellow", month, files, 200))
        assert load_table(lake, "yellow_trips", month).new_columns == (
            ("cbd_congestion_fee",) if month == "2025-01" else ()
        )
    assert ("airport_fee" in sources["2023-01"].schema.names, "Airport_fee" in sources["2023-02"].schema.names) == (
        True,
        True,
    )
    loaded = lakes.rows(lake, "mobility_yellow_trips")
    assert [n for n in loaded.column_names if n.lower() == "airport_fee"] == ["airport_fee"]
    assert_holds(loaded, sources)
    fees = duck(lake, "SELECT sum(airport_fee) s, count(airport_fee) n FROM bronze.mobility_yellow_trips").to_pylist()
    both = pa.chunked_array([*sources["2023-01"]["airport_fee"].chunks, *(
        chunk for m in ("2023-02", "2025-01") for chunk in sources[m]["Airport_fee"].chunks
    )])  # fmt: skip
    assert fees == [{"s": pytest.approx(pc.sum(both).as_py()), "n": len(both) - both.null_count}]


def test_fhv_zones_change_case_and_type(lake, files):
    sources = {}
    for month in ("2023-01", "2024-02", "2024-03"):
        sources[month] = pq.read_table(tlc.write("fhv", month, files, 200))
        load_table(lake, "fhv_trips", month)
    assert_holds(lakes.rows(lake, "mobility_fhv_trips"), sources)


def test_a_file_of_many_batches_is_cast_whole_and_a_new_column_with_it(lake, files):
    total = 300_000
    when = pa.array(range(total), pa.int64()).cast(pa.timestamp("us"))
    table = pa.table(
        {"VendorID": pa.array(range(total), pa.float64()), "lpep_pickup_datetime": when, "Seen_At": when}
    )  # a double where a long is declared: the file is cast, in more than one batch
    lakes.write_green(files, "2024-05", table)
    result = load_green(lake, "2024-05")
    assert (result.total_rows, result.new_columns) == (total, ("Seen_At",))
    loaded = lakes.rows(lake)
    for name in ("VendorID", "lpep_pickup_datetime", "Seen_At"):
        assert pc.all(pc.equal(loaded[name].combine_chunks().sort(), table[name].cast(loaded[name].type))).as_py(), name


def test_a_file_that_fits_is_registered_byte_for_byte(lake, files):
    path = tlc.write("green", "2023-02", files, 150)
    load_green(lake)
    assert list(lakes.data_files(lake).values()) == [path.read_bytes()]
    path.write_bytes(b"rewritten in place")
    assert lakes.rows(lake).num_rows == 150


@pytest.mark.parametrize("form", ["path", "file url", "trip-data folder"])
def test_a_month_is_found_in_every_kind_of_base(lake, files, form):
    folder = files / "with space" / ("trip-data" if form == "trip-data folder" else "")
    tlc.write("green", "2023-02", folder, 120)
    base = (files / "with space").as_uri() if form == "file url" else str(files / "with space")
    assert load_green(lake.model_copy(update={"tlc_base": base})).total_rows == 120


# -- repeats and replacements --------------------------------------------------------------------------------


@pytest.mark.parametrize("month", ["2023-01", "2023-02"])  # cast and registered
def test_a_repeated_load_commits_nothing(lake, files, month):
    tlc.write("green", month, files, 150)
    first = load_green(lake, month, "run-1")
    before = lakes.state(lake)
    again = load_green(lake, month, "run-2")
    assert (first.changed, again.changed) == (True, False)
    assert (again.snapshot_id, again.total_rows) == (first.snapshot_id, 150)
    assert lakes.state(lake) == before
    assert iceberg.accounts(lakes.open_table(lake))[f"{month}-01"].run_id == "run-1"


def test_a_changed_file_replaces_its_month_and_nothing_else(lake, files):
    for month in ("2023-01", "2023-02", "2023-03"):
        tlc.write("green", month, files, 150)
        load_green(lake, month)
    others = {m: lakes.data_files(lake, month=m) for m in ("2023-01", "2023-03")}
    old = lakes.data_files(lake, month="2023-02")

    changed = pq.read_table(tlc.write("green", "2023-02", files, 130, seed=99))
    result = load_green(lake, "2023-02", "run-2")

    assert (result.changed, result.total_rows) == (True, 430)
    assert {m: lakes.data_files(lake, month=m) for m in ("2023-01", "2023-03")} == others
    assert not lakes.data_files(lake, month="2023-02").keys() & old.keys()
    sources = {m: pq.read_table(files / f"green_tripdata_{m}.parquet") for m in ("2023-01", "2023-03")}
    assert_holds(lakes.rows(lake), {**sources, "2023-02": changed})
    accounts = iceberg.accounts(lakes.open_table(lake))
    assert [(a.run_id, a.rows_loaded) for _, a in sorted(accounts.items())] == [
        ("test", 150), ("run-2", 130), ("test", 150),
    ]  # fmt: skip

    tlc.write("green", "2023-02", files, 150)  # back again: the first content, as a third load
    assert load_green(lake, "2023-02").changed
    assert lakes.by_month(lake) == {"2023-01": 150, "2023-02": 150, "2023-03": 150}


def test_another_declaration_loads_the_same_file_again(lake, files):
    tlc.write("green", "2023-02", files, 120)
    spec, source = lakes.declared("green_trips")
    load_green(lake)
    renamed = spec.model_copy(update={"description": "Other words."})
    assert not load(renamed, source, lake, partition=date(2023, 2, 1)).changed
    strict = {**spec.columns, "VendorID": spec.columns["VendorID"].model_copy(update={"required": True})}
    again = load(spec.model_copy(update={"columns": strict}), source, lake, partition=date(2023, 2, 1))
    assert (again.changed, lakes.by_month(lake)) == (True, {"2023-02": 120})


def test_a_table_without_partitions_is_replaced_whole_and_its_rejects_with_it(lake, files):
    path = files / "taxi_zone_lookup.csv"
    path.write_text(CSV + "1,EWR,Newark,EWR\n,Queens,None,Boro\n2,Queens,Bay,Boro\n")
    first = load_table(lake, "taxi_zones", run_id="run-1")
    assert (first.account.rows_read, first.account.rows_loaded, first.account.rows_rejected) == (3, 2, 1)
    assert lakes.rows(lake, "mobility_taxi_zones__rejected").num_rows == 1

    path.write_text(CSV + "3,Bronx,Park,Boro\n")
    second = load_table(lake, "taxi_zones", run_id="run-2")
    assert (second.changed, second.total_rows) == (True, 1)
    assert lakes.rows(lake, "mobility_taxi_zones").to_pylist() == [
        {"location_id": 3, "borough": "Bronx", "zone": "Park", "service_zone": "Boro"}
    ]
    assert lakes.rows(lake, "mobility_taxi_zones__rejected").num_rows == 0
    assert duck(lake, "SELECT * FROM bronze.mobility_taxi_zones__rejected").num_rows == 0
    (found,) = audit(lakes.declared("taxi_zones")[0], [""], lake)
    assert (found.rows_read, found.rows_stored, found.rows_rejected, found.unaccounted) == (1, 1, 0, 0)


def test_a_partition_is_asked_for_exactly_where_there_are_partitions(lake):
    for name, month in (("green_trips", None), ("taxi_zones", "2023-01")):
        assert "do not fit a table of mode" in lakes.refused(lake, partial(load_table, lake, name, month))


# -- over HTTP -----------------------------------------------------------------------------------------------


def test_two_503_and_then_the_file(lake, files, tmp_path):
    tlc.write("green", "2023-02", files, 120)
    with SandboxServer(files) as server:
        web = lakes.settings(tmp_path / "web", server.tlc_base, http_attempts=3)
        server.faults.fail("green", 503, times=2)
        result = load_green(web)
        assert [asked.status for asked in server.requests] == [503, 503, 200]
    assert (result.total_rows, result.account.source_object) == (
        120, f"{server.tlc_base}/green_tripdata_2023-02.parquet",
    )  # fmt: skip


def test_the_same_file_from_folder_and_web_is_the_same_load(lake, files):
    tlc.write("green", "2023-02", files, 120)
    load_green(lake)
    with SandboxServer(files) as server:
        assert not load_green(lake.model_copy(update={"tlc_base": server.tlc_base})).changed


def test_a_signed_url_reaches_the_file_and_its_signature_goes_nowhere(lake, files):
    content = tlc.write("green", "2023-02", files, 120).read_bytes()
    asked = []

    def reply(path):
        asked.append(path)
        return Answer(content) if path == "/trips/green_tripdata_2023-02.parquet?token=hush" else Answer(status=404)

    with lakes.answering(reply) as url:
        host = url.removeprefix("http://")
        result = load_green(lake.model_copy(update={"tlc_base": f"http://me:hidden@{host}/trips?token=hush"}))
    assert result.account.source_object == f"{url}/trips/green_tripdata_2023-02.parquet"
    properties = json.dumps([s.summary.model_dump() for s in lakes.open_table(lake).snapshots()])
    assert "hush" not in properties
    assert "hidden" not in properties


# -- users ---------------------------------------------------------------------------------------------------


def test_users_are_paged_and_nested_objects_stay_json(lake, files):
    with SandboxServer(files) as server:
        api = lake.model_copy(update={"users_api": server.users_api})
        result = load_table(api, "users", run_id="run-1")
        assert [(a.path, a.query, a.status) for a in server.requests] == [
            ("/users", f"_limit=5&_page={page}", 200) for page in (1, 2, 3)
        ]
        assert not load_table(api, "users", run_id="run-2").changed
    assert (result.account.rows_read, result.account.rows_loaded, result.account.rows_rejected) == (10, 10, 0)
    assert result.account.source_object == f"{server.users_api}/users"
    loaded = lakes.rows(lake, "mobility_users").sort_by("id").to_pylist()
    assert [(row["id"], row["name"], row["phone"]) for row in loaded] == [
        (u["id"], u["name"], u["phone"]) for u in USERS
    ]
    for row, user in zip(loaded, USERS, strict=True):
        assert (json.loads(row["address"]), json.loads(row["company"])) == (user["address"], user["company"])


def test_users_survive_503_and_429(lake, files):
    with SandboxServer(files) as server:
        server.faults.fail("users", 503)
        server.faults.fail("users", 429, headers={"Retry-After": "0"})
        api = lake.model_copy(update={"users_api": server.users_api, "http_attempts": 4})
        assert load_table(api, "users").total_rows == 10
        assert [a.status for a in server.requests] == [503, 429, 200, 200, 200]


def test_a_user_twice_or_without_an_id_is_rejected_with_the_reason(lake, files):
    bad = [USERS[0], {**USERS[1], "id": None}, {**USERS[2], "id": "three"}, {**USERS[0], "name": "Twin"}, USERS[3]]
    bad += [{k: v for k, v in USERS[4].items() if k != "id"}, {**USERS[5], "id": 6.5}]
    with SandboxServer(files, users=bad) as server:
        result = load_table(lake.model_copy(update={"users_api": server.users_api}), "users", run_id="run-9")
    assert (result.account.rows_read, result.account.rows_loaded, result.account.rows_rejected) == (7, 2, 5)
    assert sorted(lakes.rows(lake, "mobility_users")["id"].to_pylist()) == [1, 4]
    rejected = lakes.rows(lake, "mobility_users__rejected").sort_by("row_ordinal").to_pylist()
    assert [(r["row_ordinal"], r["reject_reason"], r["run_id"], r["source_object"]) for r in rejected] == [
        (n, reason, "run-9", f"{server.users_api}/users")
        for n, reason in [
            (2, "missing_id"), (3, "invalid_id"), (4, "duplicate_id"), (6, "missing_id"), (7, "invalid_id"),
        ]
    ]  # fmt: skip
    assert json.loads(rejected[2]["raw_row"])["name"] == "Twin"


def test_when_users_are_good_again_their_rejects_go(lake, files):
    for users, rejects in (([*USERS, USERS[0]], 1), (USERS, 0)):
        with SandboxServer(files, users=users) as server:
            load_table(lake.model_copy(update={"users_api": server.users_api}), "users")
        assert lakes.rows(lake, "mobility_users__rejected").num_rows == rejects
    assert lakes.rows(lake, "mobility_users").num_rows == 10


def test_the_view_says_when_it_was_loaded(lake, files):
    tlc.write("green", "2023-02", files, 120)
    before = dt.datetime.now(dt.UTC).replace(tzinfo=None)
    load_green(lake)
    (loaded,) = duck(lake, "SELECT DISTINCT _loaded_at t FROM bronze.mobility_green_trips").to_pylist()
    assert before - dt.timedelta(milliseconds=1) <= loaded["t"] <= dt.datetime.now(dt.UTC).replace(tzinfo=None)
