"""What is measured of the shop: an hour's changes after a short and a long history, and an hour of very many changes.

What belongs here: the sources, the history and the hours; each function runs in a process of its own:
`python -m benchmarks.shop NAME '{arguments}'`. What does not: choosing, repeating and judging (`benchmarks.bench`).

A history is one generated day, loaded from the stand-ins hours at a time, and copies of its rows on the days before,
with other ids and times. All of it is appended, in order, as loads append, but past the sources: a hundred days through
them would take hours.
"""

import importlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Self

from benchmarks.contenders import ROOT, Said, cpu_seconds, measured

DBT_DIR = ROOT / "dbt_project"
DEFS = ROOT / "orchestration" / "defs" / "shop"
TABLES = ("customers", "orders", "products", "reviews", "stock_movements")
MODELS = ("path:models/silver/shop", "path:models/gold/shop")
HOUR = timedelta(hours=1)
OVERLAP = 2 * HOUR  # as orchestration.partitions has it
LAST = datetime(2023, 3, 31, 23, tzinfo=UTC)  # the hour that is measured: the last of the sandbox's day
DAY = LAST.date()
WINDOW = {"from_day": f"{DAY}", "to_day": f"{DAY}"}
RECENT_DAYS = 7  # are in as many loads as the last; what is left of older ones is a file each, so they are in one
BUSY = datetime(2023, 4, 1, 5, tzinfo=UTC)  # the hour of very many changes
CHUNK = 10_000
PREVIEW_ROWS = 5


# -- sources -----------------------------------------------------------------------------------------------------------


def serve(scale: int = 1, days: int = 0, changed: int = 0) -> None:
    """MongoDB and S3 on loopback until standard input ends: says where they are, and for each line what they cost yet.

    What is there of the history's days but the last: in S3 their objects, for a listing walks them all; in MongoDB the
    documents without a date, which come with every load. The index on the date keeps it from reading the others.

    Args:
        scale: of the days.
        days: how many there are in the history.
        changed: orders that changed in the hour `BUSY`.
    """
    from sandbox import s3, shop
    from sandbox.mongodb import MongoStandIn
    from sandbox.s3 import S3StandIn

    with MongoStandIn() as mongodb, S3StandIn() as objects:
        if days > 1:
            puts = shop.day(scale=scale).state().objects.values()
            s3.seed(shop.State({}, {one.key: one for n in range(1, days) for one in (_put_before(p, n) for p in puts)}))
        for back in range(1, days):
            documents = shop.day(shop.day().drops[0].hour - timedelta(days=back)).state().documents
            undated = {
                name: [one for one in by_id.values() if not isinstance(one.get(shop.WATERMARK), datetime)]
                for name, by_id in documents.items()
            }
            mongodb.handler.insert(shop.DATABASE, {name: several for name, several in undated.items() if several})
        for chunk in _changed_orders(changed):
            mongodb.handler.insert(shop.DATABASE, {"orders": chunk})
        before = cpu_seconds()
        print(json.dumps({"shop_mongodb": mongodb.url, "shop_s3": objects.url}), flush=True)
        for _ in sys.stdin:
            print(json.dumps({"cpu": cpu_seconds() - before}), flush=True)


def _put_before(put: Any, days: int) -> Any:
    """The object as it was put so many days before."""
    modified = put.modified - timedelta(days=days)
    return replace(put, key=put.key.replace(f"{put.modified:%Y/%m/%d}", f"{modified:%Y/%m/%d}"), modified=modified)


def _changed_orders(count: int) -> Iterator[list[dict[str, Any]]]:
    """Orders with ids of their own, all changed within the hour `BUSY`."""
    from bson import ObjectId

    from sandbox import shop

    orders = shop.day(scale=10).state().documents["orders"].values()
    dated = [one for one in orders if isinstance(one.get(shop.WATERMARK), datetime)]
    for start in range(0, count, CHUNK):
        yield [
            {
                **dated[number % len(dated)],
                "_id": ObjectId(f"{int(BUSY.timestamp()):08x}{number:016x}"),
                shop.WATERMARK: BUSY + HOUR * number / count,
            }
            for number in range(start, min(start + CHUNK, count))
        ]


# -- loads and models --------------------------------------------------------------------------------------------------


def _settings(home: str, endpoints: Mapping[str, str]) -> Any:
    from lake.settings import Settings
    from sandbox.endpoints import publish

    settings = Settings(home=Path(home))
    settings.endpoints_file.parent.mkdir(parents=True, exist_ok=True)
    publish(settings.endpoints_file, endpoints)
    return settings


def _declared(table: str) -> tuple[Any, Any]:
    """A table of the graph, and its source."""
    import yaml

    from lake.spec import TableSpec

    declared = yaml.safe_load((DEFS / table / "defs.yaml").read_text())["attributes"]
    module, _, attribute = declared["source"].rpartition(".")
    factory = partial(getattr(importlib.import_module(module), attribute), **declared["params"])
    return TableSpec.model_validate(declared["table"]), factory


def _load(tables: Sequence[str], settings: Any, start: datetime, hours: int = 1) -> int:
    """Load hours into bronze as the assets do, which show an account and a preview, too.

    Returns:
        The rows that were new.
    """
    from lake.audit import audit
    from lake.load import Window, load
    from lake.store import open_store

    new = 0
    for table in tables:
        spec, factory = _declared(table)
        window = Window(f"{start:%Y-%m-%d-%H}:00", start - OVERLAP, start + hours * HOUR)
        new += load(spec, factory, settings, window=window).account.rows_loaded
        if any(finding.unaccounted for finding in audit(spec, [], settings)):
            raise RuntimeError(f"{table}: rows are unaccounted for")
        open_store(settings, "bench").preview(spec, PREVIEW_ROWS)
    return new


def _dbt(settings: Any, verb: str, window: Mapping[str, str]) -> None:
    """Run dbt over the shop for a window of days as a run of the graph does: without unit tests, in a folder of its
    own, with the project as it was parsed.
    """
    from orchestration import project
    from orchestration.resources.dbt import environment

    project.prepare()

    target = str(settings.dbt_target / verb)
    shutil.rmtree(target, ignore_errors=True)
    command = [str(Path(sys.executable).with_name("lakegraph-dbt")), "--quiet", verb, "--select", *MODELS]
    command += ["--exclude", "resource_type:unit_test", "--vars", json.dumps(window)]
    command += ["--target-path", target, "--log-path", target]
    command += ["--project-dir", str(DBT_DIR), "--profiles-dir", str(DBT_DIR)]
    variables = {**os.environ, **environment(settings, "bench")}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"dbt {verb}: {done.stdout[-2000:]}{done.stderr[-1000:]}")


# -- history -----------------------------------------------------------------------------------------------------------


def shop_home(home: str, endpoints: Mapping[str, str], scale: int, days: int, loads: int, models: bool = True) -> Said:
    """A home with a history of so many days in all layers, up to the hour that is measured; that hour in the sources.

    The day comes in so many `loads`. The home is kept beside itself, for `shop_hour` to begin anew from it. Without
    `models` there is bronze alone.
    """
    from orchestration.resources.dbt import warehouse
    from sandbox import shop

    for folder in (home, _kept(home)):
        shutil.rmtree(folder, ignore_errors=True)
    settings = _settings(home, endpoints)
    said: Said = {}
    with measured(said):
        day, last = shop.day(scale=scale), LAST.hour
        step = -(-last // loads)
        for start in range(0, last, step):
            hours = range(start, min(start + step, last))
            shop.play(endpoints["shop_mongodb"], endpoints["shop_s3"], hours, day)
            _load(TABLES, settings, day.drops[start].hour, len(hours))
        for table in TABLES:
            _copy_back(settings, table, days, loads)
        shop.play(endpoints["shop_mongodb"], endpoints["shop_s3"], [last], day)
        if models:
            with warehouse(settings):
                _dbt(settings, "run", {})
    shutil.copytree(home, _kept(home), copy_function=_link)
    return {**said, **_sizes(settings)}


def _kept(home: str) -> str:
    return f"{home}-kept"


def _link(source: str, target: str) -> None:
    """Copy a file; by hard link if nothing ever writes into it: all that a table is made of."""
    if Path(source).suffix in {".parquet", ".avro"}:
        os.link(source, target)
    else:
        shutil.copy2(source, target)


def _copy_back(settings: Any, table: str, days: int, loads: int) -> None:
    """Begin the table anew: copies of the day's rows for each of the days before it, the oldest first; the day itself.

    So the measured hour finds its own day in the same files, however many days there are before it.
    """
    import duckdb

    from lake.append import REJECTED_IDENTITY
    from lake.catalog import open_catalog

    spec, _ = _declared(table)
    catalog = open_catalog(settings)
    # of MongoDB, documents without a date, and those with a text for one, are copies already: the stand-in has them
    copied = {
        f"bronze.{spec.rejected_table}": (REJECTED_IDENTITY, "source_object LIKE 's3:%'"),
        spec.identifier: (spec.identity, f"source_day >= DATE '{DAY}'"),
    }
    for identifier, (identity, which) in copied.items():
        with duckdb.connect() as connection:
            _take(connection, catalog, identifier)
            for back in range(days - 1, -1, -1):
                parts = loads if back <= RECENT_DAYS else 1
                for part in range(parts):
                    copy = settings.staging / "copy.parquet"
                    _write(connection, copy, back, f"hash(day) % {parts} = {part} AND ({which if back else 'true'})")
                    _append(catalog, identifier, copy, identity, settings)


def _take(connection: Any, catalog: Any, identifier: str) -> None:
    """Make the table `day` of all rows, which are gone then."""
    from lake.views import view_sql

    table = catalog.load_table(identifier)
    connection.execute(view_sql(table, "stored", loaded_at=False))
    connection.execute("CREATE TABLE day AS SELECT * FROM stored")
    catalog.drop_table(identifier)
    place, properties = table.location(), table.properties
    shutil.rmtree(place.removeprefix("file://"))
    catalog.create_table(identifier, table.schema(), place, table.spec(), properties=properties)


def _write(connection: Any, path: Path, back: int, which: str) -> None:
    """Write some rows of `day` as they would have been so many days earlier."""
    columns = connection.execute("DESCRIBE day").fetchall()
    picked = ", ".join(f'{_before(name, kind, back)} AS "{name}"' for name, kind, *_ in columns) if back else "*"
    path.parent.mkdir(parents=True, exist_ok=True)
    connection.execute(f"COPY (SELECT {picked} FROM day WHERE {which}) TO '{path}' (FORMAT parquet)")


def _append(catalog: Any, identifier: str, path: Path, identity: Sequence[str], settings: Any) -> None:
    import pyarrow.parquet as pq

    from lake.accounting import LoadAccount
    from lake.append import append

    rows = pq.read_metadata(path).num_rows
    account = LoadAccount("copy", "copy", "", "copy", "", "", rows, rows, 0)
    limit = settings.duckdb_memory_limit
    append(catalog, identifier, [path], identity, account, working=settings.staging, memory_limit=limit)


def _before(name: str, kind: str, days: int) -> str:
    """SQL: a column's values as they would have been so many days earlier; everything with ids of its own."""
    first = DAY - timedelta(days=days)
    if kind == "DATE":
        return f'CAST("{name}" - {days} AS DATE)'
    if kind == "TIMESTAMP":
        return f'"{name}" - INTERVAL {days} DAY'
    if name == "version":
        return f"md5(version || '{days}')"
    if name in {"id", "customer_id", "order_id", "movement_id", "raw_row", "source_object"}:
        value = f"replace(\"{name}\", '{_hex(DAY)}', '{_hex(first)}')"
        for form in ("%Y%m%d", "%Y/%m/%d"):
            value = f"replace({value}, '{DAY:{form}}', '{first:{form}}')"
        return value
    return f'"{name}"'


def _hex(day: date) -> str:
    """What the sandbox's ObjectIds of a day begin with."""
    return f"{int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()):08x}"


def _sizes(settings: Any) -> Said:
    """How much bronze holds, and of that on the measured hour's day."""
    from lake import iceberg
    from lake.catalog import open_catalog

    catalog = open_catalog(settings)
    said: Said = dict.fromkeys(("rows", "files", "day_files", "manifests", "snapshots"), 0)
    for table in (catalog.load_table(f"bronze.shop_{name}") for name in TABLES):
        snapshot = table.current_snapshot()
        files = iceberg.files_of(table, snapshot)
        said["rows"] += sum(file.record_count for file in files)
        said["files"] += len(files)
        said["day_files"] += sum(iceberg.partition_of(table, file) == DAY for file in files)
        said["manifests"] += len(snapshot.manifests(table.io)) if snapshot else 0
        said["snapshots"] += len(table.snapshots())
    return said


# -- hours -------------------------------------------------------------------------------------------------------------


def shop_hour(home: str, endpoints: Mapping[str, str], warm: bool = True) -> Said:
    """The measured hour on a home: bronze as its assets load it, then silver and gold as dbt builds and tests them.

    `start_up` is what dbt costs before it runs models; it is measured before the hour, of which it is a part. Without
    `warm` nothing runs before the hour, and the figures mean nothing.
    """
    from orchestration.resources.dbt import warehouse

    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(_kept(home), home, copy_function=_link)
    settings = _settings(home, endpoints)
    start_up: Said = {"cpu": 0.0, "wall": 0.0, "bytes": 0}
    if warm:
        _load(TABLES, _settings(f"{home}-warm", endpoints), LAST)
        shutil.rmtree(f"{home}-warm")
        with warehouse(settings), _reading(start_up), measured(start_up):
            _dbt(settings, "compile", WINDOW)
    said: Said = {}
    with measured(said):
        with _reading(bronze := {}), measured(bronze):
            rows = _load(TABLES, settings, LAST)
        with _reading(models := {}), measured(models), warehouse(settings):
            _dbt(settings, "build", WINDOW)
    shutil.rmtree(home)
    return {**said, "rows": rows, "bronze": bronze, "models": models, "start_up": start_up}


@contextmanager
def _reading(said: Said) -> Iterator[None]:
    """Put into `said` the bytes that this process, and those it waited for, read meanwhile; from caches too."""
    before = _bytes_read()
    yield
    said["bytes"] = _bytes_read() - before


def _bytes_read() -> int:
    counters = Path("/proc/self/io")
    return int(counters.read_text().split()[1]) if counters.exists() else 0


def shop_changes(home: str, endpoints: Mapping[str, str] | None, changed: int) -> Said:
    """The hour of very many changes into bronze, warm; through the wire, or without endpoints from memory.

    From memory: the driver is `_InMemory`, which hands on BSON that was there before. What it leaves out, against the
    wire, is what a server and a socket make the driver wait for and copy.
    """
    import pymongo

    shutil.rmtree(home, ignore_errors=True)
    settings = _settings(home, endpoints or {"shop_mongodb": "mongodb://memory/"})
    messages = [] if endpoints else _messages(changed)
    with _replaced(pymongo, "MongoClient", None if endpoints else _InMemory([])):
        _load(["orders"], settings, BUSY - 24 * HOUR)
    said: Said = {}
    with _replaced(pymongo, "MongoClient", None if endpoints else _InMemory(messages)), measured(said):
        rows = _load(["orders"], settings, BUSY)
    if rows != changed:
        raise RuntimeError(f"{changed:,} orders changed, and {rows:,} were loaded")
    shutil.rmtree(home)
    return {**said, "rows": rows}


def _messages(changed: int) -> list[bytes]:
    """The changed orders as the server's messages would hold them."""
    import bson

    from dlt_sources.mongodb import CURSOR_DOCUMENTS

    encoded = [bson.encode(one) for chunk in _changed_orders(changed) for one in chunk]
    return [b"".join(encoded[n : n + CURSOR_DOCUMENTS]) for n in range(0, len(encoded), CURSOR_DOCUMENTS)]


class _InMemory:
    """In the place of pymongo's client: whatever is asked for, these messages."""

    def __init__(self, messages: Sequence[bytes]) -> None:
        self._messages = messages

    def __call__(self, *_: object, **__: object) -> Self:
        return self

    def __getitem__(self, _: str) -> Self:
        return self

    def find_raw_batches(self, **_: object) -> Iterator[bytes]:
        return iter(self._messages)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def close(self) -> None:
        pass


@contextmanager
def _replaced(module: Any, name: str, value: object) -> Iterator[None]:
    """`module.name` is `value` meanwhile, unless that is None."""
    original = getattr(module, name)
    setattr(module, name, value or original)
    try:
        yield
    finally:
        setattr(module, name, original)


CONTENDERS: dict[str, Callable[..., Said]] = {
    function.__name__: function for function in (shop_home, shop_hour, shop_changes)
}

if __name__ == "__main__":
    wanted, given = sys.argv[1], json.loads(sys.argv[2])
    if wanted == serve.__name__:
        serve(**given)
    else:
        print(json.dumps(CONTENDERS[wanted](**given), default=str))
