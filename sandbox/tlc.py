"""Deterministic NYC taxi files: the TLC's columns and types month by month, and the dirt its real files hold.

What belongs here: what one month's file looks like (`drift`), what is in it (`trips`), and how it is stored
(`write`). What does not: serving the files (`sandbox.server`), deciding which to make (`sandbox.control`),
and any rule about which rows are valid: that is the pipeline's to find out, and sharing a rule with it
would let both be wrong together.

Same arguments give the same table. Money is drawn and added up in whole cents, so that `total_amount` is
exactly the sum of its parts. `DIRT` names each kind of bad row with its rate; kinds never share a row, so
that a test can count them.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from os import getpid
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from lake.errors import LakeError
from sandbox.zones import ZONES_CSV

Service = Literal["yellow", "green", "fhv"]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Dirt = Mapping[str, Ints]  # kind → the positions of its rows
Columns = dict[str, pa.Array]  # column name in lower case → values, before the month's types are applied

SERVICES: tuple[Service, ...] = get_args(Service)
SEED = 20230101
GENERATOR = 1  # raised when the same arguments give other rows, so that `write` replaces files made before
FIRST_MONTH = "2023-01"
ROW_GROUP = 1 << 20
STAMP = b"lakegraph.sandbox"  # key of the Parquet metadata that holds the arguments a file was made with

CLEAN_BELOW = 100  # files with fewer rows hold no dirt and no copies
COPIES = 0.001  # share of rows that equal another row in every column
DIRT = {  # kind → share of rows; at least one row each
    "clock_2008": 0.00002,
    "clock_2009": 0.00004,
    "previous_month": 0.0002,
    "next_month": 0.0002,
    "dropoff_before_pickup": 0.0005,
    "over_24h": 0.0005,
    "null_pickup": 0.0001,
    "null_dropoff": 0.0002,
    "pickup_zone_0": 0.0001,
    "pickup_zone_999": 0.0001,
    "dropoff_zone_0": 0.0001,
    "dropoff_zone_999": 0.0001,
}
METERED_DIRT = {  # only where there is a meter: not in FHV files
    "refund": 0.008,
    "far": 0.00002,
    "negative_distance": 0.0001,
    "zero_distance": 0.01,
    "no_passengers": 0.025,
}

DAY, HOUR = 86_400, 3_600
ZONES = 265
UNKNOWN_ZONE = 999
FAR_HUNDREDTHS = 17_892_000  # 178,920 miles, as a real file has it
BUSIEST_ZONES: Mapping[Service, tuple[int, ...]] = {
    "yellow": (
        132,
        237,
        236,
        161,
        162,
        138,
        142,
        186,
        230,
        170,
        163,
        239,
        234,
        48,
        68,
        141,
        79,
        164,
        249,
        107,
    ),
    "green": (74, 75, 41, 42, 95, 82, 97, 166, 7, 244, 43, 65, 66, 129, 116, 130, 181, 33, 25, 260),
    "fhv": (138, 132, 61, 76, 37, 188, 39, 225, 231, 234, 79, 68, 246, 48, 230, 161, 89, 17, 256, 112),
}
HOURS = np.array(  # trips by hour of day: a peak on the way to work and a higher one on the way home
    [24, 16, 10, 7, 6, 9, 21, 42, 58, 52, 46, 47, 50, 51, 54, 58, 61, 68, 74, 66, 55, 51, 46, 36],
    dtype=np.float64,
)
WEEKDAYS = np.array([0.88, 0.97, 1.03, 1.06, 1.08, 1.06, 0.92])  # Monday first
RUSH_STARTS, RUSH_ENDS, NIGHT_STARTS, NIGHT_ENDS = 16, 20, 20, 6
AIRPORTS = (132, 138)
JFK_RATE = 2  # the rate code of the flat fare
TOLL_FROM_HUNDREDTHS = 1_000  # tolls are paid on trips of more than ten miles


def file_name(service: Service, month: str) -> str:
    """The TLC's name of a month's file, e.g. `yellow_tripdata_2023-01.parquet`."""
    return f"{service}_tripdata_{month}.parquet"


def drift(service: Service, month: str) -> pa.Schema:
    """The physical schema of one month's file: names with their case, types, order, no metadata.

    `store_and_fwd_flag` of yellow is taken to change together with green's.

    Args:
        service: which files.
        month: `YYYY-MM`, from 2023-01.

    Returns:
        The Arrow schema the file is stored with.

    Raises:
        LakeError: no such service, not a month, or one before 2023-01.
    """
    if service not in SERVICES:
        raise LakeError(f"service {service!r} is none of {', '.join(SERVICES)}")
    if not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", month) or month < FIRST_MONTH:
        raise LakeError(f"{service} files: {month!r} is not a month (YYYY-MM) from {FIRST_MONTH} on")
    fields = {"yellow": _yellow_fields, "green": _green_fields, "fhv": _fhv_fields}[service](month)
    return pa.schema([pa.field(name, type_) for name, type_ in fields.items()])


def _yellow_fields(month: str) -> dict[str, pa.DataType]:
    first = month == FIRST_MONTH
    ids = pa.int64() if first else pa.int32()
    when, money = pa.timestamp("us"), pa.float64()
    return {
        "VendorID": ids,
        "tpep_pickup_datetime": when,
        "tpep_dropoff_datetime": when,
        "passenger_count": pa.float64(),
        "trip_distance": pa.float64(),
        "RatecodeID": pa.float64(),
        "store_and_fwd_flag": pa.string() if first else pa.large_string(),
        "PULocationID": ids,
        "DOLocationID": ids,
        "payment_type": pa.int64(),
        "fare_amount": money,
        "extra": money,
        "mta_tax": money,
        "tip_amount": money,
        "tolls_amount": money,
        "improvement_surcharge": money,
        "total_amount": money,
        "congestion_surcharge": money,
        "airport_fee" if first else "Airport_fee": money,
    } | ({"cbd_congestion_fee": money} if month >= "2025-01" else {})


def _green_fields(month: str) -> dict[str, pa.DataType]:
    first = month == FIRST_MONTH
    ids = pa.int64() if first else pa.int32()
    counts = pa.float64() if first or month >= "2025-11" else pa.int64()
    when, money = pa.timestamp("us"), pa.float64()
    return {
        "VendorID": ids,
        "lpep_pickup_datetime": when,
        "lpep_dropoff_datetime": when,
        "store_and_fwd_flag": pa.string() if first else pa.large_string(),
        "RatecodeID": counts,
        "PULocationID": ids,
        "DOLocationID": ids,
        "passenger_count": counts,
        "trip_distance": pa.float64(),
        "fare_amount": money,
        "extra": money,
        "mta_tax": money,
        "tip_amount": money,
        "tolls_amount": money,
        "ehail_fee": pa.null() if first else money,
        "improvement_surcharge": money,
        "total_amount": money,
        "payment_type": counts,
        "trip_type": counts,
        "congestion_surcharge": money,
    } | ({"cbd_congestion_fee": money} if month >= "2025-01" else {})


def _fhv_fields(month: str) -> dict[str, pa.DataType]:
    first = month == FIRST_MONTH
    zone = pa.float64() if first else pa.int64()
    capital = "L" if month >= "2024-01" and int(month[-2:]) % 2 == 0 else "l"
    return {
        "dispatching_base_num": pa.string(),
        "pickup_datetime": pa.timestamp("us"),
        "dropOff_datetime": pa.timestamp("us"),
        f"PU{capital}ocationID": zone,
        f"DO{capital}ocationID": zone,
        "SR_Flag": pa.null() if first else pa.int32(),
        "Affiliated_base_number": pa.string(),
    }


def trips(service: Service, month: str, rows: int, seed: int = SEED) -> pa.Table:
    """One month of trips: a function of its arguments alone.

    Rows come roughly in the order of pickup; exact copies of other rows stand at the end. Tables under
    `CLEAN_BELOW` rows hold neither dirt nor copies.

    Args:
        service: which files.
        month: `YYYY-MM`, from 2023-01.
        rows: the table's length, dirt and copies included.
        seed: another seed gives other trips with the same dirt rates.

    Returns:
        A table with the schema `drift(service, month)`: times in New York local time, distance in miles,
        money in dollars.

    Raises:
        LakeError: as `drift`, or `rows` is negative.
    """
    schema = drift(service, month)
    if rows < 0:
        raise LakeError(f"{service} {month}: cannot generate {rows} rows")
    year, number = map(int, month.split("-"))
    rng = np.random.default_rng([seed, SERVICES.index(service), year, number])
    dirty = rows >= CLEAN_BELOW
    copies = max(4, round(rows * COPIES)) if dirty else 0
    dirt, clean = _place(rng, rows - copies, DIRT if service == "fhv" else DIRT | METERED_DIRT, dirty=dirty)
    columns = (
        _for_hire(rng, month, rows - copies, dirt)
        if service == "fhv"
        else _metered(rng, service, month, rows - copies, dirt)
    )
    table = pa.table([_typed(columns[field.name.lower()], field.type) for field in schema], schema=schema)
    if not copies:
        return table
    copied = np.concatenate(
        [clean[[0, 0]], dirt["clock_2008"][:1], clean[1 : copies - 2]]
    )  # the first row: three times in all
    return pa.concat_tables([table, table.take(pa.array(copied))])


def _place(rng: np.random.Generator, rows: int, rates: Mapping[str, float], *, dirty: bool) -> tuple[Dirt, Ints]:
    """The rows of each kind of dirt, none of two kinds, and the rows that stay clean."""
    counts = [max(1, round(rows * rate)) if dirty else 0 for rate in rates.values()]
    *placed, clean = np.split(rng.permutation(rows), np.cumsum(counts))
    return dict(zip(rates, placed, strict=True)), clean


def _typed(values: pa.Array, type_: pa.DataType) -> pa.Array:
    return pa.nulls(len(values)) if pa.types.is_null(type_) else values.cast(type_)


def _at(rows: int, *positions: Ints) -> Mask:
    mask = np.zeros(rows, dtype=np.bool_)
    for chosen in positions:
        mask[chosen] = True
    return mask


def _some(rng: np.random.Generator, rows: int, share: float) -> Mask:
    return rng.random(rows) < share


def _labels(codes: npt.NDArray[np.integer], labels: Sequence[str], mask: Mask | None = None) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(codes, mask=mask), pa.array(labels)).cast(pa.string())


def _dollars(cents: Ints, mask: Mask | None = None) -> pa.Array:
    return pa.array(cents / 100, mask=mask)


def _pickups(rng: np.random.Generator, month: str, rows: int) -> Ints:
    """Sorted pickups inside the month, in seconds since 1970, by each weekday's and hour's share of trips."""
    first, after = _bounds(month)
    days = np.arange(first // DAY, after // DAY)
    slots = np.outer(WEEKDAYS[(days + 3) % 7], HOURS).ravel()  # 1970-01-01 was a Thursday
    counts = rng.multinomial(rows, slots / slots.sum())
    hours = np.repeat(np.arange(slots.size, dtype=np.int64), counts)
    return np.sort(first + hours * HOUR + rng.integers(0, HOUR, rows))


def _bounds(month: str) -> tuple[int, int]:
    """The month's first second and the one after its last, in seconds since 1970."""
    start = np.datetime64(month, "M")
    return int(start.astype("datetime64[s]").astype(np.int64)), int(
        (start + 1).astype("datetime64[s]").astype(np.int64)
    )


def _times(rng: np.random.Generator, month: str, pickup: Ints, seconds: Ints, dirt: Dirt) -> tuple[pa.Array, pa.Array]:
    """Pickup and drop-off with everything that goes wrong with clocks."""
    first, after = _bounds(month)
    new_year_2009 = _bounds("2009-01")[0]
    moved = {
        "clock_2008": (new_year_2009, -DAY, 0),
        "clock_2009": (new_year_2009, 0, DAY),
        "previous_month": (first, -2 * HOUR, 0),
        "next_month": (after, 0, 2 * HOUR),
    }
    for kind, (origin, low, high) in moved.items():
        pickup[dirt[kind]] = origin + rng.integers(low, high, dirt[kind].size)
    backwards, endless = dirt["dropoff_before_pickup"], dirt["over_24h"]
    seconds[backwards] = -rng.integers(60, 2 * HOUR, backwards.size)
    seconds[endless] = DAY + rng.integers(1, DAY, endless.size)

    def as_array(values: Ints, nulls: Ints) -> pa.Array:
        return pa.array((values * 1_000_000).view("datetime64[us]"), mask=_at(values.size, nulls))

    return as_array(pickup, dirt["null_pickup"]), as_array(pickup + seconds, dirt["null_dropoff"])


def _zones(
    rng: np.random.Generator, service: Service, rows: int, dirt: Dirt, end: Literal["pickup", "dropoff"]
) -> Ints:
    """Zones in a realistic skew: a few take most of the trips, every one takes some."""
    busiest = BUSIEST_ZONES[service]
    others = np.random.default_rng(ZONES).permutation(np.setdiff1d(np.arange(1, ZONES + 1), busiest))
    share = 1 / (np.arange(ZONES) + 3.0) ** 1.1
    zones = rng.choice(np.concatenate([busiest, others]).astype(np.int64), rows, p=share / share.sum())
    zones[dirt[f"{end}_zone_0"]] = 0
    zones[dirt[f"{end}_zone_999"]] = UNKNOWN_ZONE
    return zones


def _metered(rng: np.random.Generator, service: Service, month: str, rows: int, dirt: Dirt) -> Columns:
    """Yellow and green: trips with a meter, that is with a distance, passengers and money."""
    pickup = _pickups(rng, month, rows)
    hour = pickup // HOUR % 24
    night = (hour >= NIGHT_STARTS) | (hour < NIGHT_ENDS)
    rush = (hour >= RUSH_STARTS) & (hour < RUSH_ENDS)
    hundredths = np.clip(rng.lognormal(5.3, 0.85, rows), 10, 6_000).astype(np.int64)  # of a mile
    mph = np.where(night, 15, np.where(rush, 9, 11)) * rng.uniform(0.7, 1.4, rows)
    seconds = np.clip(hundredths * 36 / mph, 45, 4 * HOUR).astype(np.int64) + rng.integers(15, 120, rows)
    pickup_zone, dropoff_zone = (
        _zones(rng, service, rows, dirt, "pickup"),
        _zones(rng, service, rows, dirt, "dropoff"),
    )
    unmanned = _at(rows, dirt["no_passengers"])  # the vendor left out what the driver enters
    rate_code = rng.choice(np.array([1, 2, 3, 4, 5, 99]), rows, p=[0.94, 0.04, 0.005, 0.003, 0.007, 0.005])
    payment = rng.choice(np.array([1, 2, 3, 4]), rows, p=[0.8, 0.177, 0.008, 0.015])
    payment[dirt["refund"]] = 4
    payment[unmanned] = 0

    metered_fare = 300 + (hundredths * 3.5 + seconds * 0.6).astype(np.int64) // 10 * 10
    fare = np.where(rate_code == JFK_RATE, 7_000, metered_fare)
    tip_percent = rng.choice(np.array([0, 10, 15, 18, 20, 25, 30]), rows, p=[0.06, 0.08, 0.15, 0.17, 0.35, 0.13, 0.06])
    cents: dict[str, Ints] = {
        "fare_amount": fare,
        "extra": np.where(rush, 250, np.where(night, 100, 0)),
        "mta_tax": np.full(rows, 50),
        "tip_amount": np.where(payment == 1, fare * tip_percent // 100 + rng.integers(0, 40, rows), 0),
        "tolls_amount": np.where(_some(rng, rows, 0.3) & (hundredths > TOLL_FROM_HUNDREDTHS), 694, 0),
        "improvement_surcharge": np.full(rows, 100),
        "congestion_surcharge": np.where(_some(rng, rows, 0.9 if service == "yellow" else 0.3), 250, 0) * ~unmanned,
    }
    if service == "yellow":
        cents["airport_fee"] = np.where(np.isin(pickup_zone, AIRPORTS), 175, 0) * ~unmanned
    if month >= "2025-01":
        cents["cbd_congestion_fee"] = np.where(_some(rng, rows, 0.7 if service == "yellow" else 0.05), 75, 0)
    for part in cents.values():
        part[dirt["refund"]] *= -1
    total = np.sum(list(cents.values()), axis=0)

    hundredths[dirt["far"]] = FAR_HUNDREDTHS
    hundredths[dirt["negative_distance"]] *= -1
    hundredths[dirt["zero_distance"]] = 0
    prefix = {"yellow": "tpep", "green": "lpep"}[service]
    pickup_at, dropoff_at = _times(rng, month, pickup, seconds, dirt)
    passengers = rng.choice(np.array([0, 1, 2, 3, 4, 5, 6]), rows, p=[0.015, 0.745, 0.15, 0.035, 0.02, 0.02, 0.015])
    columns: Columns = {
        "vendorid": pa.array(rng.choice(np.array([1, 2]), rows, p=[0.27, 0.73])),
        f"{prefix}_pickup_datetime": pickup_at,
        f"{prefix}_dropoff_datetime": dropoff_at,
        "passenger_count": pa.array(passengers, mask=unmanned),
        "trip_distance": pa.array(hundredths / 100),
        "ratecodeid": pa.array(rate_code, mask=unmanned),
        "store_and_fwd_flag": _labels(_some(rng, rows, 0.006).astype(np.int8), ["N", "Y"], unmanned),
        "pulocationid": pa.array(pickup_zone),
        "dolocationid": pa.array(dropoff_zone),
        "payment_type": pa.array(payment, mask=unmanned if service == "green" else None),
        "total_amount": _dollars(total),
        **{
            name: _dollars(part, unmanned if name in {"congestion_surcharge", "airport_fee"} else None)
            for name, part in cents.items()
        },
    }
    if service == "green":
        hailed = _some(rng, rows, 0.0 if "2025-01" <= month <= "2025-10" else 0.01)
        columns["ehail_fee"] = _dollars(np.full(rows, 100), ~hailed)
        columns["trip_type"] = pa.array(np.where(_some(rng, rows, 0.03), 2, 1), mask=unmanned)
    return columns


def _for_hire(rng: np.random.Generator, month: str, rows: int, dirt: Dirt) -> Columns:
    """FHV: who was sent from where to where, and when; zones often null, some bases padded with spaces."""
    pickup = _pickups(rng, month, rows)
    seconds = np.clip(rng.lognormal(6.9, 0.6, rows), 60, 4 * HOUR).astype(np.int64)
    pickup_at, dropoff_at = _times(rng, month, pickup, seconds, dirt)
    nulls = 0.8 if month == FIRST_MONTH else 0.05
    unknown = _at(rows, *(dirt[f"{end}_zone_{zone}"] for end in ("pickup", "dropoff") for zone in (0, UNKNOWN_ZONE)))
    numbers = np.sort(np.random.default_rng(ZONES).choice(3_500, 400, replace=False))
    bases = [f"B{number:05d}" for number in numbers]
    share = 1 / (np.arange(len(bases)) + 5.0)
    base = rng.choice(len(bases), rows, p=share / share.sum())
    other = rng.choice(len(bases), rows, p=share / share.sum())
    padded = _some(rng, rows, 0.02) * len(bases)
    affiliated = np.where(_some(rng, rows, 0.7), base, other) + padded
    return {
        "dispatching_base_num": _labels(base, bases),
        "pickup_datetime": pickup_at,
        "dropoff_datetime": dropoff_at,
        "pulocationid": pa.array(_zones(rng, "fhv", rows, dirt, "pickup"), mask=_some(rng, rows, nulls) & ~unknown),
        "dolocationid": pa.array(_zones(rng, "fhv", rows, dirt, "dropoff"), mask=_some(rng, rows, nulls) & ~unknown),
        "sr_flag": pa.array(np.ones(rows, dtype=np.int64), mask=_some(rng, rows, 0.9)),
        "affiliated_base_number": _labels(affiliated, bases + [f"{b:<15}" for b in bases], _some(rng, rows, 0.03)),
    }


def write(service: Service, month: str, folder: Path, rows: int, seed: int = SEED) -> Path:
    """Store one month's trips as the TLC does: one Parquet file, zstd, row groups of 2**20 rows.

    A file that was made with the same arguments is left as it is; another is replaced whole, never written in
    place.

    Args:
        service: which files.
        month: `YYYY-MM`, from 2023-01.
        folder: where the file goes; made if it is missing.
        rows: rows in the file.
        seed: see `trips`.

    Returns:
        The path of the file.

    Raises:
        LakeError: as `trips`.
    """
    arguments = {"service": service, "month": month, "rows": rows, "seed": seed, "generator": GENERATOR}
    stamp = json.dumps(arguments).encode()
    path = folder / file_name(service, month)
    if _stamp(path) != stamp:
        table = trips(service, month, rows, seed).replace_schema_metadata({STAMP: stamp})
        _replace(path, lambda partial: pq.write_table(table, partial, compression="zstd", row_group_size=ROW_GROUP))
    return path


def _stamp(path: Path) -> bytes | None:
    try:
        metadata: dict[bytes, bytes] = pq.read_schema(path).metadata or {}
    except (FileNotFoundError, pa.ArrowInvalid):
        return None
    return metadata.get(STAMP)


def write_zones(folder: Path) -> Path:
    """Store the zone lookup, `taxi_zone_lookup.csv`; made anew only if it differs.

    265 rows of LocationID, Borough, Zone, service_zone.

    Args:
        folder: where the file goes; made if it is missing.

    Returns:
        The path of the file.
    """
    path = folder / "taxi_zone_lookup.csv"
    if not path.exists() or path.read_text() != ZONES_CSV:
        _replace(path, lambda partial: partial.write_text(ZONES_CSV))
    return path


def _replace(path: Path, write_to: Callable[[Path], object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{getpid()}.partial")
    try:
        write_to(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
