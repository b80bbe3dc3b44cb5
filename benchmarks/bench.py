"""`make bench`: measure our way and the others in one run, print ratios, write `benchmarks/results.md`.

What belongs here: which contenders run, how often, and what is held against which budget. What does not: the work
itself (`benchmarks.contenders`), the clock (`benchmarks.measure`), the looks (`benchmarks.report`).

CPU seconds are the measure: other work on the machine changes them little. This process stays small, see `measure`.
"""

import argparse
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.measure import ContenderFailedError, Cost, contender, median, run, serving
from benchmarks.report import Budget, Row, Section, markdown, show

ROOT = Path(__file__).resolve().parents[1]
DBT_DIR = ROOT / "dbt_project"
SMALL, MONTH = "2023-01", "2023-02"
SET = {"2023-01": 0.30, "2023-02": 0.35, "2023-03": 0.35}  # month → share of the set's rows
TINY_ROWS = 1_000
SMALL_ROWS = 20_000
GOLD = ["+mobility_trips_by_zone_day", "+mobility_trips_by_hour"]
PANDAS_BYTES_A_ROW = 900
GIGABYTE_MB = 1_000
IMPORT_REPEATS = 5
SHOP = "benchmarks.shop"
SHOP_STEP, SHOP_STEP_SMOKE = 3, 23  # hours of the generated day in a load
SHOP_PARTS = {"bronze": "bronze, five tables", "models": "silver and gold, `dbt build`", "": "the whole hour"}
MEGABYTE = 1_000_000
LOAD_AT_REST = 0.5


@dataclass(frozen=True)
class Options:
    """What the command line says."""

    rows_month: int
    rows_set: int
    rows_dicts: int
    repeats: int
    shop_scale: int
    shop_days: int
    shop_changes: int
    work: Path
    smoke: bool = False


def say(text: str) -> None:
    """A line of progress."""
    print(f"  {text}", file=sys.stderr, flush=True)


def repeated(what: str, times: int, once: Callable[[], Cost]) -> Cost:
    """The median of `times` runs."""
    cost = median([once() for _ in range(times)])
    say(f"{what}: {cost.cpu:.2f} CPU s, {cost.wall:.2f} s, {cost.peak_mb:,.0f} MB")
    return cost


def bench_load(options: Options) -> tuple[Section, list[Budget]]:
    """Bronze: one month, warm."""
    plain, drifted = str(options.work / "month"), str(options.work / "drifted")
    months = {SMALL: min(SMALL_ROWS, options.rows_month), MONTH: options.rows_month}
    contender("generate", {"folder": plain, "months": months})
    contender("generate", {"folder": drifted, "months": months, "drifted": MONTH})
    size = (options.work / "month" / f"yellow_tripdata_{MONTH}.parquet").stat().st_size
    home = str(options.work / "load")

    def measure(what: str, name: str, times: int = options.repeats, **more: object) -> Cost:
        arguments = {"home": home, "folder": plain, "month": MONTH, "small": SMALL, **more}
        return repeated(what, times, lambda: contender(name, arguments))

    rows = options.rows_month
    floor = measure("DuckDB CREATE TABLE AS", "duckdb_ctas")
    ours = measure("lakegraph, registered", "lakegraph_load", cast=False)
    cast = measure("lakegraph, cast", "lakegraph_load", cast=True, folder=drifted)
    copy = measure("DuckDB COPY to Parquet", "duckdb_copy")
    pandas = measure("pandas", "pandas_copy", times=1)
    arrow = measure("dlt, Arrow", "dlt_arrow", times=1)
    slice_rows = min(options.rows_dicts, rows)
    dicts = measure("dlt, dicts", "dlt_dicts", times=1, rows=slice_rows)
    factor = rows / slice_rows
    scaled = replace(dicts, cpu=dicts.cpu * factor, wall=dicts.wall * factor, peak_mb=0)
    start = replace(ours, cpu=ours.start_cpu, wall=0.0, peak_mb=0)
    shutil.rmtree(home, ignore_errors=True)
    title = f"Bronze: one month of {rows:,} rows, {size / 1e6:.0f} MB, warm"
    note = (
        "Warm: the process has imported everything and loaded a small month before. Registered: the columns fit, so "
        "the file is copied, digested and committed, not rewritten. Cast: ids came as doubles, so every row is read, "
        "checked and written. Our tables are Parquet under an Iceberg snapshot; the floor is a table in DuckDB's own "
        "format."
    )
    lines = [
        Row("DuckDB `CREATE TABLE AS` (floor)", floor, rows, floor),
        Row("lakegraph, registered", ours, rows, floor),
        Row("lakegraph, cast", cast, rows, floor),
        Row("DuckDB `COPY` to Parquet", copy, rows, floor),
        Row("pandas `read_parquet`, `to_parquet`", pandas, rows, floor),
        Row("dlt, Arrow batches → DuckDB", arrow, rows, floor),
        Row("dlt, dicts → DuckDB (its default): a slice", dicts, slice_rows),
        Row(f"— the same, scaled by {factor:.0f}, not measured", scaled, rows, floor),
        Row("lakegraph: imports and a first small load (cold start)", start),
    ]
    budgets = [
        Budget("warm bronze load, registered", ours.cpu / floor.cpu, 1.5),
        Budget("warm bronze load, cast", cast.cpu / floor.cpu, 1.5),
    ]
    return Section(title, note, lines), budgets


def bench_models(options: Options) -> tuple[Section, list[Budget]]:
    """Silver and gold over the set."""
    folder = str(options.work / "set")
    tiny_folder = folder if options.smoke else str(options.work / "tiny")
    months = {month: round(options.rows_set * share) for month, share in SET.items()}
    contender("generate", {"folder": folder, "months": months})
    if not options.smoke:
        contender("generate", {"folder": tiny_folder, "months": dict.fromkeys(SET, TINY_ROWS)})
    homes = {tiny_folder: options.work / "models-tiny", folder: options.work / "models"}
    prepared = {
        name: contender("bronze_home", {"home": str(home), "folder": name, "months": list(SET)}).detail or {}
        for name, home in homes.items()
    }

    def dbt(name: str, verb: str) -> Cost:
        duckdb_folder = homes[name] / "duckdb"
        shutil.copyfile(duckdb_folder / "bronze.duckdb", duckdb_folder / "work.duckdb")
        target = str(homes[name] / "dbt")
        command = [str(Path(sys.executable).with_name("dbt")), "--quiet", verb, "--select", *GOLD]
        command += ["--project-dir", str(DBT_DIR), "--profiles-dir", str(DBT_DIR), "--target-path", target]
        return run([*command, "--log-path", target], prepared[name]["environment"])[0]

    for name in homes:
        dbt(name, "compile")  # parses too: the runs below start from a parsed project
    limit = prepared[folder]["memory_limit"]
    base = {"home": str(homes[folder]), "compiled": str(homes[folder] / "dbt" / "compiled")}

    def sql(what: str, times: int, **more: object) -> Cost:
        return repeated(what, times, lambda: contender("models_in_duckdb", {**base, **more}))

    floor = sql("floor", options.repeats, rewrite="plain", memory_limit=limit)
    ours = sql("our SQL", options.repeats, memory_limit=limit)
    start = repeated("dbt run, tiny", options.repeats, lambda: dbt(tiny_folder, "run"))
    models = repeated("dbt run", options.repeats, lambda: dbt(folder, "run")).less(start)
    build = None
    if not options.smoke:
        start_build = repeated("dbt build, tiny", 1, lambda: dbt(tiny_folder, "build"))
        build = repeated("dbt build", 1, lambda: dbt(folder, "build")).less(start_build)
    window = sql("window", 1, rewrite="window")
    rows = options.rows_set
    lines = [
        Row("the same SQL without dedupe, in DuckDB (floor)", floor, rows, floor),
        Row("lakegraph's SQL, in DuckDB", ours, rows, floor),
        Row("lakegraph: `dbt run`, less its start-up", models, rows, floor),
        *([Row("lakegraph: `dbt build` with all tests, less its start-up", build, rows, floor)] if build else []),
        Row("window over all columns, in DuckDB, no memory limit", window, rows, floor),
    ]
    if available_bytes() > rows * PANDAS_BYTES_A_ROW:
        pandas = repeated("pandas", 1, lambda: contender("pandas_models", {"folder": folder, "months": list(SET)}))
        lines.append(Row("pandas, without `trip_id`", pandas, rows, floor))
    else:
        say("pandas left out: not enough memory")
    lines.append(Row(f"start-up: `dbt run` on {TINY_ROWS * len(SET):,} rows", start))
    for home in homes.values():
        shutil.rmtree(home, ignore_errors=True)
    title = f"Silver and gold: three yellow months, {rows:,} rows"
    note = (
        "From Parquet under bronze's views to tables in DuckDB: trips (typed, with `trip_id`), rejected trips, two "
        "gold tables; ours also finds duplicates and accounts for every row. Start-up is that of the same dbt command "
        f"on a tiny set. DuckDB's memory limit is {limit} as in production, where nothing else is said."
    )
    budgets = [
        Budget("silver and gold, dbt less start-up", models.cpu / floor.cpu, 1.7),
        Budget(f"silver and gold, peak at {rows:,} rows", models.peak_mb, GIGABYTE_MB, "MB"),
    ]
    return Section(title, note, lines), budgets


def available_bytes() -> int:
    """Memory that is free for a contender."""
    pages: int = os.sysconf("SC_AVPHYS_PAGES")
    return pages * os.sysconf("SC_PAGE_SIZE")


def bench_import(options: Options) -> tuple[Section, list[Budget]]:
    """What the code location costs to import, against the libraries it cannot do without."""
    environment = {"LAKEGRAPH_HOME": str(options.work / "import")}
    libraries, location = "import dagster, dagster_dbt, dagster_dlt", "import orchestration.definitions"

    def measure(code: str) -> Cost:
        if not options.smoke:
            run([sys.executable, "-c", code], environment)  # writes bytecode and dbt's manifest
        times = 1 if options.smoke else IMPORT_REPEATS
        return repeated(code, times, lambda: run([sys.executable, "-c", code], environment)[0])

    floor = measure(libraries)
    ours = measure(location)
    lines = [Row(f"`{libraries}` (floor)", floor, 0, floor), Row(f"`{location}`", ours, 0, floor)]
    note = (
        f"Fresh processes, median of {1 if options.smoke else IMPORT_REPEATS}; the interpreter's start is part of both."
    )
    return Section("Import of the code location", note, lines), [Budget("import", ours.cpu / floor.cpu, 1.3)]


def bench_delta(options: Options) -> tuple[Section, list[Budget]]:
    """An hour of the shop after a day of history, and after many."""
    histories = {1: "1 day", options.shop_days: f"{options.shop_days} days"}
    hours: dict[int, list[Cost]] = {days: [] for days in histories}
    with ExitStack() as stack:
        asked = {}
        for days in histories:
            server = stack.enter_context(serving(SHOP, {"scale": options.shop_scale, "days": days}))
            asked[days] = {"home": str(options.work / f"shop-{days}"), "endpoints": server.endpoints}
        built = {days: shop_history(options, days, asked[days]) for days in histories}
        for _ in range(options.repeats):
            for days, history in histories.items():  # by turns, so that both meet what else the machine does
                hours[days].append(repeated(f"after {history}", 1, lambda: contender("shop_hour", asked[days], module=SHOP)))  # noqa: B023 - called at once
        for days in histories:
            shutil.rmtree(f"{asked[days]['home']}-kept", ignore_errors=True)
    lines, budgets = [], []
    for name, what in SHOP_PARTS.items():
        costs = {days: median([shop_part(hour, name) for hour in hours[days]]) for days in histories}
        lines += [Row(f"{what}, after {histories[days]}", cost, cost.rows, costs[1]) for days, cost in costs.items()]
        ratio = costs[options.shop_days].cpu / costs[1].cpu
        budgets.append(Budget(f"shop, {histories[options.shop_days]} of history: {what}", ratio, 1.5, "x 1 day's"))
    start = built[options.shop_days]["start_up"]
    lines.append(Row("of the models, before they run: `dbt compile`", Cost(start["cpu"], start["wall"], 0)))
    read = "; ".join(
        f"after {history} bronze held {built[days]['rows']:,} rows in {built[days]['files']} files, "
        f"{built[days]['day_files']} of them of the hour's day, and the hour read "
        f"{median([shop_part(hour, 'bronze') for hour in hours[days]]).detail['bytes'] / MEGABYTE:,.1f} MB"
        for days, history in histories.items()
    )
    note = ("")
    return Section("The shop: an hour's changes", note, lines), budgets


BENCHES: dict[str, Callable[[Options], tuple[Section, list[Budget]]]] = {
    "load": bench_load,
    "models": bench_models,
    "import": bench_import,
}


def main() -> int:
    """Run what is asked for; 0 whether or not budgets are met, which is for the reader to judge."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench", description=__doc__.splitlines()[0])
    parser.add_argument("--rows-month", type=int, default=3_000_000, help="rows of the month that bronze loads")
    parser.add_argument("--rows-set", type=int, default=10_000_000, help="rows of the three months of silver and gold")
    parser.add_argument(
        "--rows-dicts", type=int, default=50_000, help="rows of the slice that goes through dlt as dicts"
    )
    parser.add_argument(
        "--repeats", type=int, default=3, help="runs of each contender that is worth it; the median counts"
    )
    parser.add_argument("--only", choices=[*BENCHES], action="append", help="leave the others out; may be repeated")
    parser.add_argument(
        "--work", type=Path, default=ROOT / "data" / "bench", help="generated files (kept) and scratch homes"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results.md", help="the report")
    parser.add_argument("--date", default="", help="written into the report")
    parser.add_argument(
        "--smoke", action="store_true", help="leave out what is slow on any data; says nothing of start-up"
    )
    parser.add_argument("--wait", type=float, default=0, help="seconds to wait at most for a machine at rest")
    arguments = parser.parse_args()
    os.environ.update(RUNTIME__DLTHUB_TELEMETRY="false", DAGSTER_DISABLE_TELEMETRY="1")
    os.chdir(ROOT)
    options = Options(
        arguments.rows_month,
        arguments.rows_set,
        arguments.rows_dicts,
        arguments.repeats,
        arguments.work.absolute(),
        arguments.smoke,
    )
    deadline = time.monotonic() + arguments.wait
    while os.getloadavg()[0] > LOAD_AT_REST and time.monotonic() < deadline:
        time.sleep(5)
    before = os.getloadavg()[0]
    started = time.monotonic()
    sections, budgets = [], []
    try:
        for name, bench in BENCHES.items():
            if not arguments.only or name in arguments.only:
                section, promised = bench(options)
                sections.append(section)
                budgets += promised
    except ContenderFailedError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    load = (
        f"CPU seconds are user and system time of the process and its children, median of {options.repeats}; "
        f"load average {before:.1f} at the start; the whole run took {time.monotonic() - started:.0f} s"
    )
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(markdown(sections, budgets, arguments.date, load))
    show(sections, budgets)
    print(f"written to {arguments.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
