"""The generated TLC files: the schema of each month, and each kind of dirt a real file holds."""

import csv
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from lake.errors import LakeError
from sandbox import tlc

I64, I32, F64 = pa.int64(), pa.int32(), pa.float64()
GREEN_TABLE = {  # ids, counts, ehail_fee, flag, has cbd_congestion_fee
    "2023-01": (I64, F64, pa.null(), pa.string(), False),
    "2023-02": (I32, I64, F64, pa.large_string(), False),
    "2023-03": (I32, I64, F64, pa.large_string(), False),
    "2024-01": (I32, I64, F64, pa.large_string(), False),
    "2025-01": (I32, I64, F64, pa.large_string(), True),
    "2025-02": (I32, I64, F64, pa.large_string(), True),
    "2025-03": (I32, I64, F64, pa.large_string(), True),
    "2025-11": (I32, F64, F64, pa.large_string(), True),
}
SERVICES = ("yellow", "green", "fhv")
MONEY_PARTS = {
    "fare_amount", "extra", "mta_tax", "tip_amount", "tolls_amount", "improvement_surcharge",
    "congestion_surcharge", "airport_fee", "cbd_congestion_fee",
}  # fmt: skip


def lowered(table: pa.Table) -> pa.Table:
    """`table` with its columns in lower case, pickup and drop-off under one name for all services."""
    names = [name.lower().replace("tpep_", "").replace("lpep_", "") for name in table.column_names]
    return table.rename_columns(names)


def count(mask: pa.ChunkedArray) -> int:
    return pc.sum(mask.cast(pa.int64())).as_py() or 0


@pytest.mark.parametrize("month", GREEN_TABLE)
def test_green_has_the_types_of_the_drift_table(month, tmp_path):
    ids, counts, ehail, flag, cbd = GREEN_TABLE[month]
    schema = pq.read_schema(tlc.write("green", month, tmp_path, 500))
    assert {schema.field(n).type for n in ("VendorID", "PULocationID", "DOLocationID")} == {ids}
    for name in ("RatecodeID", "passenger_count", "payment_type", "trip_type"):
        assert schema.field(name).type == counts
    assert schema.field("ehail_fee").type == ehail
    assert schema.field("store_and_fwd_flag").type == flag
    assert schema.names[-1] == ("cbd_congestion_fee" if cbd else "congestion_surcharge")
    assert len(schema) == 20 + cbd
    assert schema.equals(tlc.drift("green", month))


def test_green_between_the_documented_months_keeps_the_earlier_types():
    assert tlc.drift("green", "2024-12").equals(tlc.drift("green", "2023-02"))
    assert tlc.drift("green", "2025-10").equals(tlc.drift("green", "2025-03"))
    assert tlc.drift("green", "2026-04").equals(tlc.drift("green", "2025-11"))


def test_ehail_fee_is_all_null_in_2025_until_october_only():
    filled = {m: tlc.trips("green", m, 2_000)["ehail_fee"].null_count < 2_000 for m in GREEN_TABLE}
    assert filled == {m: m[:4] in {"2023", "2024"} or m == "2025-11" for m in GREEN_TABLE} | {"2023-01": False}


def test_yellow_drift():
    january, february, fee = (tlc.drift("yellow", m) for m in ("2023-01", "2023-02", "2025-01"))
    for name in ("VendorID", "PULocationID", "DOLocationID"):
        assert (january.field(name).type, february.field(name).type) == (I64, I32)
    for schema in (january, february, fee):
        assert [schema.field(n).type for n in ("passenger_count", "RatecodeID", "payment_type")] == [
            F64,
            F64,
            I64,
        ]
    assert (january.names[-1], february.names[-1]) == ("airport_fee", "Airport_fee")
    assert fee.names == [*february.names, "cbd_congestion_fee"]
    assert len(january) == len(february) == 19


def test_fhv_drift():
    first, later, odd, even = (tlc.drift("fhv", m) for m in ("2023-01", "2023-02", "2024-01", "2024-02"))
    assert first.field("PUlocationID").type == first.field("DOlocationID").type == F64
    assert later.field("PUlocationID").type == later.field("DOlocationID").type == I64
    assert (first.field("SR_Flag").type, later.field("SR_Flag").type) == (pa.null(), I32)
    assert odd.names == later.names
    assert even.names[3:5] == ["PULocationID", "DOLocationID"]
    assert tlc.trips("fhv", "2023-01", 1_000)["PUlocationID"].null_count > 700


@pytest.mark.parametrize(
    ("service", "month", "rows"),
    [("yellow", "2022-12", 1), ("yellow", "2023-13", 1), ("blue", "2023-01", 1), ("fhv", "2023-01", -1)],
)
def test_wrong_arguments_are_named(service, month, rows):
    with pytest.raises(LakeError, match=rf"{service}"):
        tlc.trips(service, month, rows)


@pytest.mark.parametrize("rows", [500, 20_000])
@pytest.mark.parametrize("month", ["2023-01", "2024-02", "2025-11"])
@pytest.mark.parametrize("service", SERVICES)
def test_every_kind_of_clock_zone_and_copy_dirt_is_there(service, month, rows):
    table = lowered(tlc.trips(service, month, rows))
    assert table.num_rows == rows
    pickup, dropoff = table["pickup_datetime"], table["dropoff_datetime"]
    start = datetime.fromisoformat(f"{month}-01")  # like the TLC's times, without a zone
    after = (start + timedelta(days=32)).replace(day=1)
    day = timedelta(days=1)
    assert pickup.null_count > 0
    assert dropoff.null_count > 0
    assert set(pc.unique(pc.year(pickup)).drop_null().to_pylist()) >= {2008, 2009, start.year}
    assert count(pc.and_(pc.greater_equal(pickup, start - day), pc.less(pickup, start))) > 0
    assert count(pc.and_(pc.greater_equal(pickup, after), pc.less(pickup, after + day))) > 0
    assert count(pc.less(dropoff, pickup)) > 0
    assert count(pc.greater(pc.subtract(dropoff, pickup), day)) > 0
    for column in ("pulocationid", "dolocationid"):
        known = set(pc.unique(table[column]).drop_null().to_pylist())
        assert known >= {0, 999}
        assert known - {0, 999} <= set(range(1, 266))

    sizes = table.group_by(table.column_names).aggregate([([], "count_all")])
    copies = sizes.filter(pc.greater(sizes["count_all"], 1))
    assert count(pc.equal(copies["count_all"], 3)) == 1
    assert rows - sizes.num_rows == max(4, rows // 1000)  # as many copies as asked for: none by accident
    assert count(pc.equal(pc.year(copies["pickup_datetime"]), 2008)) == 1
    inside = pc.and_(pc.greater_equal(copies["pickup_datetime"], start), pc.less(copies["pickup_datetime"], after))
    assert count(inside) >= 2


@pytest.mark.parametrize("rows", [500, 20_000])
@pytest.mark.parametrize("month", ["2023-01", "2023-02", "2025-11"])
@pytest.mark.parametrize("service", ["yellow", "green"])
def test_every_kind_of_meter_dirt_is_there_and_money_adds_up(service, month, rows):
    table = lowered(tlc.trips(service, month, rows))
    distance = table["trip_distance"]
    assert count(pc.equal(distance, 178_920.0)) >= 1
    assert count(pc.less(distance, 0)) >= 1
    assert count(pc.equal(distance, 0)) >= rows // 200
    assert table["passenger_count"].null_count >= rows // 100
    refunds = pc.less(table["fare_amount"], 0)
    assert count(refunds) >= rows // 200
    assert refunds.equals(pc.less(table["total_amount"], 0))

    parts = [table[name].to_numpy() for name in table.column_names if name in MONEY_PARTS]
    total = table["total_amount"].to_numpy()
    assert np.array_equal(np.round(np.nansum(parts, axis=0), 2), total)
    for part in [*parts, total]:
        known = part[~np.isnan(part)]
        assert np.array_equal(known, np.round(known, 2))


def test_same_arguments_same_table_and_same_bytes(tmp_path):
    for service in SERVICES:
        once, again = (tlc.trips(service, "2023-03", 3_000, seed=5) for _ in range(2))
        assert once.equals(again)
        assert not once.equals(tlc.trips(service, "2023-03", 3_000, seed=6))
        files = [tlc.write(service, "2023-03", tmp_path / name, 3_000) for name in ("a", "b")]
        assert files[0].read_bytes() == files[1].read_bytes()


def test_small_tables_are_clean():
    table = lowered(tlc.trips("yellow", "2023-01", 50))
    assert table.num_rows == 50
    assert table["pickup_datetime"].null_count == table["passenger_count"].null_count == 0
    assert set(pc.unique(pc.strftime(table["pickup_datetime"], "%Y-%m")).to_pylist()) == {"2023-01"}
    assert tlc.trips("fhv", "2023-01", 0).num_rows == 0


def test_two_peaks_a_day_and_few_busy_zones():
    table = lowered(tlc.trips("yellow", "2023-03", 100_000))
    hours = np.bincount(pc.hour(table["pickup_datetime"]).drop_null().to_numpy(), minlength=24)
    assert hours[4] < hours[12] < hours[18]
    assert hours[8] > hours[5]
    assert hours[8] > hours[10]
    zones = np.sort(np.bincount(table["pulocationid"].to_numpy(), minlength=266))[::-1]
    assert zones[:20].sum() > 0.4 * table.num_rows
    assert (zones > 0).sum() > 260


def test_a_file_made_with_the_same_arguments_is_left_alone(tmp_path):
    path = tlc.write("green", "2023-01", tmp_path, 500)
    assert path.name == "green_tripdata_2023-01.parquet"
    before = path.stat().st_mtime_ns
    assert tlc.write("green", "2023-01", tmp_path, 500).stat().st_mtime_ns == before
    assert pq.read_metadata(tlc.write("green", "2023-01", tmp_path, 600)).num_rows == 600
    path.write_bytes(b"PAR1 cut short")
    assert pq.read_metadata(tlc.write("green", "2023-01", tmp_path, 600)).num_rows == 600
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_row_groups_hold_a_mebirow(tmp_path):
    metadata = pq.read_metadata(tlc.write("fhv", "2023-02", tmp_path, (1 << 20) + 1))
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [1 << 20, 1]
    assert metadata.row_group(0).column(0).compression == "ZSTD"


def test_zones(tmp_path):
    text = tlc.write_zones(tmp_path).read_text()
    assert text.startswith('"LocationID","Borough","Zone","service_zone"\n')
    rows = list(csv.reader(text.splitlines()))[1:]
    assert [int(row[0]) for row in rows] == list(range(1, 266))
    zones = {int(row[0]): tuple(row[1:]) for row in rows}
    assert zones[1][:2] == ("EWR", "Newark Airport")
    assert zones[132][:2] == ("Queens", "JFK Airport")
    assert zones[138][:2] == ("Queens", "LaGuardia Airport")
    assert zones[264][0] == "Unknown"
    assert zones[265][1] == "Outside of NYC"
