"""What is measured. Each function runs in a process of its own: `python -m benchmarks.contenders NAME '{arguments}'`.

What belongs here: the work itself, after a warm-up on a small month that pays for imports and caches. What does not:
choosing, repeating and judging (`benchmarks.bench`).

The last line printed is a JSON object: CPU and wall seconds of the measured part, rows, and what else a caller needs.
"""

import json
import re
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DEFS = ROOT / "orchestration" / "defs" / "mobility"
SERVICES = ("yellow", "green", "fhv")
SMALL_ROWS = 20_000
OTHER_ROWS = 1_000  # green and FHV, which gold reads too
DRIFTED = ("VendorID", "PULocationID", "DOLocationID")  # stored as doubles, as the TLC has done in other files
BRONZE = '"work"."bronze"."mobility_yellow_trips"'

Said = dict[str, Any]


def cpu_seconds() -> float:
    """User and system time of this process and of those it waited for."""
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


@contextmanager
def measured(said: Said) -> Iterator[None]:
    """Put the CPU and wall seconds of the block into `said`."""
    cpu, wall = cpu_seconds(), time.perf_counter()
    yield
    said.update(cpu=cpu_seconds() - cpu, wall=time.perf_counter() - wall)


# -- data --------------------------------------------------------------------------------------------------------------


def generate(folder: str, months: dict[str, int], drifted: str | None = None) -> Said:
    """Yellow months, small months of the other services, the zones; a month named in `drifted` with ids as doubles."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from sandbox import tlc

    said: Said = {"rows": sum(months.values()), "bytes": 0}
    with measured(said):
        for month, rows in months.items():
            path = tlc.write("yellow", month, Path(folder), rows)
            if month == drifted and pq.read_schema(path).field(DRIFTED[0]).type != pa.float64():
                table = pq.read_table(path)
                fields = [f.with_type(pa.float64()) if f.name in DRIFTED else f for f in table.schema]
                pq.write_table(table.cast(pa.schema(fields)), path, compression="zstd", row_group_size=tlc.ROW_GROUP)
            said["bytes"] += path.stat().st_size
            for service in ("green", "fhv"):
                tlc.write(service, month, Path(folder), OTHER_ROWS)
        tlc.write_zones(Path(folder))
    return said


def _file(folder: str, month: str) -> Path:
    return Path(folder) / f"yellow_tripdata_{month}.parquet"


# -- bronze ------------------------------------------------------------------------------------------------------------


def _settings(home: str, folder: str) -> Any:
    from lake.settings import Settings

    return Settings(home=Path(home), tlc_base=folder)


def _load(home: str, folder: str, name: str, month: str | None) -> Any:
    import importlib

    import yaml

    from lake.load import load
    from lake.spec import TableSpec

    declared = yaml.safe_load((DEFS / name / "defs.yaml").read_text())["attributes"]
    module, _, attribute = declared["source"].rpartition(".")
    factory = partial(getattr(importlib.import_module(module), attribute), **declared["params"])
    partition = date.fromisoformat(f"{month}-01") if month else None
    return load(TableSpec.model_validate(declared["table"]), factory, _settings(home, folder), partition=partition)


def lakegraph_load(home: str, folder: str, month: str, small: str, cast: bool) -> Said:
    """Our bronze load, as the asset calls it."""
    shutil.rmtree(home, ignore_errors=True)
    _load(home, folder, "yellow_trips", small)
    said: Said = {}
    with measured(said):
        result = _load(home, folder, "yellow_trips", month)
    if bool(result.notes) != cast:
        raise RuntimeError(f"{month}: the other path was taken: {result.notes}")
    return {**said, "rows": result.account.rows_loaded}


def duckdb_ctas(home: str, folder: str, month: str, small: str) -> Said:
    """The floor: DuckDB reads the file into a table, no questions asked."""
    return _duckdb(home, folder, month, small, "CREATE TABLE t_{name} AS SELECT * FROM read_parquet('{file}')")


def duckdb_copy(home: str, folder: str, month: str, small: str) -> Said:
    """DuckDB reads the file and writes it as Parquet: what a rewrite costs at least."""
    copy = "COPY (SELECT * FROM read_parquet('{file}')) TO '{home}/{name}.parquet' (FORMAT parquet, COMPRESSION zstd)"
    return _duckdb(home, folder, month, small, copy)


def _duckdb(home: str, folder: str, month: str, small: str, statement: str) -> Said:
    import duckdb

    shutil.rmtree(home, ignore_errors=True)
    Path(home).mkdir(parents=True)
    said: Said = {}
    with duckdb.connect(f"{home}/floor.duckdb") as connection:
        connection.execute(statement.format(name="small", file=_file(folder, small), home=home))
        with measured(said):
            rows = connection.execute(statement.format(name="month", file=_file(folder, month), home=home)).fetchall()
    return {**said, "rows": rows[0][0]}


def _dlt(home: str, name: str, items: Callable[[], Iterator[Any]], **options: Any) -> None:
    import dlt

    pipeline = dlt.pipeline(
        name,
        destination=dlt.destinations.duckdb(f"{home}/{name}.duckdb"),
        dataset_name="bronze",
        pipelines_dir=f"{home}/pipelines",
    )
    pipeline.run(items(), table_name="trips", **options)


def dlt_arrow(home: str, folder: str, month: str, small: str) -> Said:
    """Arrow batches through dlt into DuckDB."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    shutil.rmtree(home, ignore_errors=True)
    Path(home).mkdir(parents=True)

    def batches(name: str) -> Iterator[Any]:
        for batch in pq.ParquetFile(_file(folder, name)).iter_batches(1 << 18):
            yield pa.table(batch)

    _dlt(home, "small", partial(batches, small), loader_file_format="parquet")
    said: Said = {"rows": pq.read_metadata(_file(folder, month)).num_rows}
    with measured(said):
        _dlt(home, "month", partial(batches, month), loader_file_format="parquet")
    return said


def dlt_dicts(home: str, folder: str, month: str, small: str, rows: int) -> Said:
    """A dict a row through dlt into DuckDB, everything at its default: the first `rows` rows of the month."""
    import pyarrow.parquet as pq

    shutil.rmtree(home, ignore_errors=True)
    Path(home).mkdir(parents=True)

    def dicts(name: str, limit: int) -> Iterator[Any]:
        left = limit
        for batch in pq.ParquetFile(_file(folder, name)).iter_batches(min(10_000, limit)):
            yield batch.slice(0, left).to_pylist()
            left -= batch.num_rows
            if left <= 0:
                return

    _dlt(home, "small", partial(dicts, small, 1_000))
    said: Said = {"rows": rows}
    with measured(said):
        _dlt(home, "month", partial(dicts, month, rows))
    return said


def pandas_copy(home: str, folder: str, month: str, small: str) -> Said:
    """The file through a pandas data frame, written as Parquet."""
    import pandas as pd

    shutil.rmtree(home, ignore_errors=True)
    Path(home).mkdir(parents=True)

    def copy(name: str) -> int:
        frame = pd.read_parquet(_file(folder, name))
        frame.to_parquet(f"{home}/{name}.parquet", compression="zstd")
        return len(frame)

    copy(small)
    said: Said = {}
    with measured(said):
        said["rows"] = copy(month)
    return said


# -- silver and gold ---------------------------------------------------------------------------------------------------


def bronze_home(home: str, folder: str, months: list[str]) -> Said:
    """A home with bronze loaded and its views made; the environment in which dbt builds on it."""
    from lake import views
    from lake.duck import connect
    from orchestration.resources.dbt import environment

    shutil.rmtree(home, ignore_errors=True)
    said: Said = {"rows": 0}
    with measured(said):
        for month in months:
            for service in SERVICES:
                rows = _load(home, folder, f"{service}_trips", month).account.rows_loaded
                said["rows"] += rows if service == "yellow" else 0
        _load(home, folder, "taxi_zones", None)
        settings = _settings(home, folder)
        with connect(settings.duckdb_path) as connection:
            views.refresh(connection, settings)
    settings.staging.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(settings.duckdb_path, settings.duckdb_path.with_name("bronze.duckdb"))
    return {**said, "environment": environment(settings, "bench"), "memory_limit": settings.duckdb_memory_limit}


def plain_sql(sql: str, home: str) -> str:
    """The compiled model without its dedupe: the CTE `trips` reads bronze as it is."""
    return _with_trips(sql, home, f"select * from {BRONZE}")


def window_sql(sql: str, home: str) -> str:
    """The compiled model with the dedupe that comes to mind first: a row number over all columns."""
    import duckdb

    with duckdb.connect(f"{home}/duckdb/work.duckdb", read_only=True) as connection:
        columns = [row[0] for row in connection.execute(f"DESCRIBE {BRONZE}").fetchall() if row[0] != "_loaded_at"]
    names = ", ".join(f'"{name}"' for name in columns)
    window = f"select * from {BRONZE} qualify row_number() over (partition by {names}) = 1"
    return _with_trips(sql, home, window)


def _with_trips(sql: str, home: str, trips: str) -> str:
    changed, count = re.subn(
        r"\btrips as \(.*?\n\s*\),\s*renamed as \(", lambda _: f"trips as ({trips}), renamed as (", sql, flags=re.DOTALL
    )
    if count != 1:
        raise RuntimeError(f"{home}: expected one CTE `trips` before `renamed` in the compiled model, found {count}")
    return changed


REWRITES: dict[str, Callable[[str, str], str]] = {"plain": plain_sql, "window": window_sql}


def models_in_duckdb(home: str, compiled: str, memory_limit: str | None = None, rewrite: str | None = None) -> Said:
    """The models' compiled SQL, executed in DuckDB without dbt, the months' silver and then gold."""
    import duckdb

    folder = Path(home) / f"run-{rewrite or 'ours'}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    shutil.copyfile(Path(home) / "duckdb" / "bronze.duckdb", folder / "work.duckdb")
    # beside the models lie folders `<model>.yml`, with tests and the fixtures of unit tests
    models = (path for path in Path(compiled).rglob("*.sql") if path.parent.suffix != ".yml")
    sql = {path.stem: path.read_text() for path in models}
    suffixes = [""] if rewrite else ["__duplicates", "", "__rejected", "__accounting"]

    def create(connection: Any, schema: str, model: str) -> None:
        query = sql[model]
        if rewrite and model in {"mobility_yellow_trips", "mobility_yellow_trips__rejected"}:
            query = REWRITES[rewrite](query, home)
        connection.execute(f"CREATE TABLE {schema}.{model} AS {query}")

    config: Any = {"memory_limit": memory_limit} if memory_limit else {}
    said: Said = {"seconds": {}}
    with duckdb.connect(str(folder / "work.duckdb"), config=config) as connection:
        connection.execute("SET TimeZone = 'UTC'; SET preserve_insertion_order = false")
        connection.execute("CREATE SCHEMA IF NOT EXISTS silver; CREATE SCHEMA IF NOT EXISTS gold")
        create(connection, "silver", "mobility_taxi_zones")
        for service in ("green", "fhv"):
            for suffix in ("__duplicates", ""):
                create(connection, "silver", f"mobility_{service}_trips{suffix}")
        with measured(said):
            wanted = [("silver", f"mobility_yellow_trips{suffix}") for suffix in suffixes]
            wanted += [("silver", "mobility_yellow_trips__rejected")] if rewrite else []
            wanted += [("gold", "mobility_trips_by_zone_day"), ("gold", "mobility_trips_by_hour")]
            for schema, model in wanted:
                step: Said = {}
                with measured(step):
                    create(connection, schema, model)
                said["seconds"][model] = round(step["cpu"], 2)
        rows = connection.execute("SELECT count(*) FROM silver.mobility_yellow_trips").fetchall()
    shutil.rmtree(folder)
    return {**said, "rows": rows[0][0]}


def pandas_models(folder: str, months: list[str]) -> Said:
    """The same tables in pandas, without `trip_id`, money as doubles."""
    import pandas as pd

    small = pd.DataFrame({"a": [1, 1], "b": [2.0, 2.0]}).drop_duplicates().groupby("a").quantile(0.95)
    assert len(small) == 1  # noqa: S101 - a warm-up that says so
    said: Said = {}
    with measured(said):
        frames = [
            pd.read_parquet(_file(folder, month)).assign(source_month=pd.Timestamp(f"{month}-01")) for month in months
        ]
        trips = pd.concat(frames, ignore_index=True).drop_duplicates()
        del frames
        pickup, dropoff = trips["tpep_pickup_datetime"], trips["tpep_dropoff_datetime"]
        trips["duration_seconds"] = (dropoff - pickup).dt.total_seconds()
        trips["pickup_date"] = pickup.dt.floor("D")
        trips["pickup_hour"] = pickup.dt.hour
        valid = (
            pickup.notna()
            & dropoff.notna()
            & (pickup.dt.to_period("M") == trips["source_month"].dt.to_period("M"))
            & trips["duration_seconds"].between(0, 86_400)
            & trips["PULocationID"].between(1, 265)
            & (trips["fare_amount"] >= 0)
            & (trips["total_amount"] >= 0)
            & (trips["trip_distance"].between(0, 500) | trips["trip_distance"].isna())
        )
        silver = trips[valid]
        days = silver.groupby(["pickup_date", "PULocationID"]).agg(
            trips=("total_amount", "size"),
            revenue=("total_amount", "sum"),
            distance=("trip_distance", "mean"),
            duration=("duration_seconds", "mean"),
            p95=("duration_seconds", lambda values: values.quantile(0.95, interpolation="higher")),
        )
        hours = silver.groupby("pickup_hour").agg(trips=("total_amount", "size"), revenue=("total_amount", "sum"))
    return {**said, "rows": len(silver), "groups": len(days) + len(hours)}


CONTENDERS: dict[str, Callable[..., Said]] = {
    function.__name__: function
    for function in (
        generate,
        lakegraph_load,
        duckdb_ctas,
        duckdb_copy,
        dlt_arrow,
        dlt_dicts,
        pandas_copy,
        bronze_home,
        models_in_duckdb,
        pandas_models,
    )
}

if __name__ == "__main__":
    print(json.dumps(CONTENDERS[sys.argv[1]](**json.loads(sys.argv[2])), default=str))
