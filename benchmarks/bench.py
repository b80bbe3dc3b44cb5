"""`make bench`: measure our way and the others in one run, print ratios, write `benchmarks/results.md`.

What belongs here: which contenders run, how often, and what is held against which budget. What does not: the work
itself (`benchmarks.contenders`), the clock (`benchmarks.measure`), the looks (`benchmarks.report`).

CPU seconds are the measure: other work on the machine changes them little. This process stays small, see `measure`.
"""

import argparse
import os
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

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
SHOP_LOADS, SHOP_LOADS_SMOKE = 8, 1  # of a day
WHOLE, LESS_START = "whole", "less_start"
SHOP_PARTS = {
    WHOLE: "the whole hour",
    "bronze": "bronze, five tables",
    "models": "silver and gold, `dbt build`",
    LESS_START: "silver and gold, less dbt's start-up",
    "start_up": "dbt's start-up, `dbt compile`",
}
SHOP_BUDGETS = (WHOLE, "bronze", LESS_START)
SHOP_RATIO = 1.5
CHANGES_CPU_SECONDS = 10
MEMBERSHIP = "benchmarks.membership"
WORKBOOK_CPU_SECONDS = 3
SALES = "benchmarks.sales"
SALES_TABLES = ("employees", "customers", "services", "contracts", "invoices", "invoice_lines", "payments")
SALES_LINES = "invoice_lines"
SALES_SELECT = ("path:models/silver/sales", "path:models/gold/sales", "sales_customers_snapshot")
SALES_TINY = 2_000
SALES_MONTHS = 24  # of the generated world
SALES_PEAK_MB = 1_500
SALES_PANDAS_BYTES_A_LINE = 1_500
BUILD = ("build", "--exclude-resource-type", "unit_test")
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
    rows_workbook: int
    sales_lines: int
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

    smoked = dbt(folder, "run") if options.smoke else None  # compiles, too; one run stands for all of them
    for name in homes if smoked is None else ():
        dbt(name, "compile")  # parses too: the runs below start from a parsed project
    limit = prepared[folder]["memory_limit"]
    base = {"home": str(homes[folder]), "compiled": str(homes[folder] / "dbt" / "compiled")}

    def sql(what: str, times: int, **more: object) -> Cost:
        return repeated(what, times, lambda: contender("models_in_duckdb", {**base, **more}))

    floor = sql("floor", options.repeats, rewrite="plain", memory_limit=limit)
    ours = sql("our SQL", options.repeats, memory_limit=limit)
    start = repeated("dbt run, tiny", options.repeats, lambda: smoked or dbt(tiny_folder, "run"))
    models = repeated("dbt run", options.repeats, lambda: smoked or dbt(folder, "run")).less(start)
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
    """Memory that a contender may have; what the system holds of files goes for it."""
    import psutil

    return int(psutil.virtual_memory().available)


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
    long = options.shop_days
    histories = [long] if options.smoke else sorted({1, long})
    built, hours = shop_hours(options, histories)
    parts = {
        name: {days: median([shop_part(hour, name) for hour in hours[days]]) for days in histories}
        for name in SHOP_PARTS
    }
    lines = [
        Row(f"{SHOP_PARTS[name]}, after {history_of(days)}", cost, cost.rows, costs[histories[0]])
        for name, costs in parts.items()
        for days, cost in costs.items()
    ]
    budgets = [
        Budget(
            f"the shop's hour, {history_of(long)} of history: {SHOP_PARTS[name]}",
            parts[name][long].cpu / parts[name][histories[0]].cpu,
            SHOP_RATIO,
            "x 1 day's",
        )
        for name in SHOP_BUDGETS
    ]
    held = " ".join(f"After {history_of(days)}: {shop_held(built[days], hours[days])}." for days in histories)
    wall = parts[WHOLE][long].wall / parts[WHOLE][histories[0]].wall
    note = (
        f"The last hour of a generated day (scale {options.shop_scale}): bronze's five tables as their assets load "
        "them, with account and preview, warm; then one `dbt build` of the shop's silver and gold for the hour's day, "
        "as a run of the graph does it: all tests of data, no unit tests, the project as it was parsed. Dagster's own "
        "cost is not in it. dbt's start-up is `dbt compile` of the same nodes right before; it is part of the whole "
        "hour, and a line of its own. The floor is the same line after one day. History: the hours before went through "
        f"the sources in {shop_loads(options)} loads; the days before are copies of its rows, with ids and times of "
        "their own. All was appended anew, day after day, as loads append: the last week and the hour's own day in "
        "as many loads a day, older days in one. The sources hold every day's objects, which a listing "
        "walks, and every day's documents without a date, which come with every load. MB read are what processes asked "
        f"the system for: files (from its cache, too), sockets, Python's own modules. {held} The whole hour's wall "
        f"time after {history_of(long)} is {wall:.2f} times the floor's."
    )
    return Section("The shop: an hour's changes", note, lines), budgets


def shop_hours(options: Options, histories: Sequence[int]) -> tuple[dict[int, Cost], dict[int, list[Cost]]]:
    """What was built for each number of days of history, and the hours measured on it."""
    built: dict[int, Cost] = {}
    hours: dict[int, list[Cost]] = {days: [] for days in histories}
    given = {}
    with ExitStack() as stack:
        for days in histories:
            server = stack.enter_context(serving(SHOP, {"scale": options.shop_scale, "days": days}))
            given[days] = {"home": str(options.work / f"shop-{days}"), "endpoints": server.endpoints}
            how = {"scale": options.shop_scale, "days": days, "models": not options.smoke, "loads": shop_loads(options)}
            built[days] = contender("shop_home", {**given[days], **how}, module=SHOP)
            say(f"{history_of(days)} of history: built in {built[days].wall:.0f} s")
        for _ in range(options.repeats):
            for days in histories:  # by turns, so that both meet what else the machine does
                how = {**given[days], "warm": not options.smoke}
                hours[days].append(contender("shop_hour", how, module=SHOP))
                say(f"an hour after {history_of(days)}: {hours[days][-1].cpu:.2f} CPU s, {hours[days][-1].wall:.2f} s")
    for days in histories:
        shutil.rmtree(f"{given[days]['home']}-kept")
    return built, hours


def shop_part(hour: Cost, name: str) -> Cost:
    """A part of an hour; `LESS_START` is the models without what dbt costs before it runs them."""
    said = hour.detail or {}
    if name == WHOLE:
        return hour
    if name == LESS_START:
        return shop_part(hour, "models").less(shop_part(hour, "start_up"))
    part = said[name]
    return Cost(part["cpu"], part["wall"], 0, rows=said["rows"] if name == "bronze" else 0)


def shop_held(built: Cost, hours: Sequence[Cost]) -> str:
    """What bronze held before the hour, and what the hour read."""
    held = built.detail or {}
    read = {
        part: statistics.median((hour.detail or {})[part]["bytes"] for hour in hours) / MEGABYTE
        for part in ("bronze", "models", "start_up")
    }
    return (
        f"bronze holds {held['rows']:,} rows in {held['files']:,} files ({held['day_files']:,} of the hour's day) and "
        f"{held['snapshots']:,} snapshots; bronze reads {read['bronze']:,.1f} MB, dbt {read['models']:,.1f} MB, of "
        f"which {read['start_up']:,.1f} MB at start-up"
    )


def shop_loads(options: Options) -> int:
    """In how many loads a day came."""
    return SHOP_LOADS_SMOKE if options.smoke else SHOP_LOADS


def history_of(days: int) -> str:
    """So many days, in words."""
    return f"{days:,} day{'s' if days > 1 else ''}"


def bench_changes(options: Options) -> tuple[Section, list[Budget]]:
    """An hour in which very many documents changed, into bronze."""
    changed, home = options.shop_changes, str(options.work / "shop-changes")

    def measure(endpoints: Mapping[str, str] | None) -> Cost:
        return contender("shop_changes", {"home": home, "endpoints": endpoints, "changed": changed}, module=SHOP)

    served: list[float] = []
    with serving(SHOP, {"changed": changed}) as server:

        def through_the_wire() -> Cost:
            before = server.cpu()
            cost = measure(server.endpoints)
            served.append(server.cpu() - before)
            return cost

        wire = repeated("changes, through the wire", options.repeats, through_the_wire)
    memory = repeated("changes, from memory", options.repeats, lambda: measure(None))
    rows = [
        Row("through the wire, from the stand-in", wire, changed),
        Row("from memory, without a server", memory, changed),
        Row("the stand-in's own, in its process", Cost(statistics.median(served), 0.0, 0)),
        Row("imports and a first small load (cold start)", Cost(wire.start_cpu, 0.0, 0)),
    ]
    note = (
        f"An hour in which {changed:,} orders changed into `bronze.shop_orders` on the embedded target, warm: read, "
        "split, checked, appended, accounted for, with a preview. Through the wire, pymongo reads them from the "
        "stand-in, which is Python in another process: what that costs is apart, and no part of the load. From memory, "
        "a driver hands on messages that were there before, which leaves out sockets and waiting."
    )
    budget = Budget(f"the shop's hour of {changed:,} changed documents", wire.cpu, CHANGES_CPU_SECONDS, "CPU s")
    return Section("The shop: an hour of very many changes", note, rows), [budget]


def bench_workbook(options: Options) -> tuple[Section, list[Budget]]:
    """A workbook of very many rows into bronze."""
    folder, home, rows = str(options.work / "workbooks"), str(options.work / "workbook-home"), options.rows_workbook
    size = (contender("write", {"folder": folder, "rows": rows}, module=MEMBERSHIP).detail or {})["bytes"]

    def measure(what: str, name: str, times: int = options.repeats, **more: object) -> Cost:
        def once() -> Cost:
            shutil.rmtree(home, ignore_errors=True)
            return contender(name, {"folder": folder, **more}, module=MEMBERSHIP)

        return repeated(what, times, once)

    floor = measure("fastexcel, cells as text", "fastexcel_text")
    ours = measure("lakegraph, a workbook", "lakegraph_load", home=home)
    openpyxl = measure("openpyxl, rows", "openpyxl_rows", times=1)
    pandas = measure("pandas, a workbook", "pandas_frame", times=1)
    shutil.rmtree(home, ignore_errors=True)
    note = (
        f"A workbook of top-ups, {size / MEGABYTE:.1f} MB: dates as cells, serial numbers and text, amounts as numbers "
        "and text. Ours: inspected as a package, read, typed, checked, split, committed, accounted for; warm: "
        "the process has imported everything and loaded a small workbook before. The others only read cells."
    )
    lines = [
        Row("fastexcel, cells as text (floor)", floor, rows, floor),
        Row("lakegraph, workbook to bronze", ours, rows, floor),
        Row("openpyxl, rows as tuples", openpyxl, rows, floor),
        Row("pandas `read_excel`", pandas, rows, floor),
        Row("lakegraph: imports and a first small workbook (cold start)", Cost(ours.start_cpu, 0.0, 0)),
    ]
    budget = Budget(f"a workbook of {rows:,} rows to bronze", ours.cpu, WORKBOOK_CPU_SECONDS, "CPU s")
    return Section(f"Membership: a workbook of {rows:,} rows and ten columns", note, lines), [budget]


def sales_by_months(options: Options) -> list[Row]:
    """Invoice lines by windows of a month: ever more of them in one process, and all of them in several at once.

    Raises:
        ContenderFailedError: several processes give other rows than one.
    """
    folder, lines = str(options.work / "sales-months"), max(options.sales_lines // 10, SALES_TINY)
    contender("write", {"folder": folder, "lines": lines}, module=SALES)
    rows: list[Row] = []

    def load(months: int, processes: int) -> Mapping[str, object]:
        home = str(options.work / "sales-months-home")
        shutil.rmtree(home, ignore_errors=True)
        share = months // processes
        parts = [
            {"home": home, "database": sqlite(folder), "first": SALES_MONTHS - months + share * number, "count": share}
            for number in range(processes)
        ]
        with ThreadPoolExecutor(processes) as pool:
            costs = list(pool.map(lambda part: contender("load_months", part, module=SALES), parts))
        held = contender("content", {"home": home}, module=SALES).detail or {}
        shutil.rmtree(home, ignore_errors=True)
        cpu, wall = sum(cost.cpu for cost in costs), max(cost.wall for cost in costs)
        whole = Cost(cpu, wall, max(cost.peak_mb for cost in costs), rows=sum(cost.rows for cost in costs))
        what = f"{months} months of invoice lines, " + ("one process" if processes == 1 else f"{processes} at once")
        say(f"{what}: {whole.cpu:.2f} CPU s, {whole.wall:.2f} s, {whole.peak_mb:,.0f} MB")
        rows.append(Row(what, whole, whole.rows))
        return {name: held[name] for name in ("rows", "hash")}

    counts = (SALES_MONTHS,) if options.smoke else (6, 12, SALES_MONTHS)
    one = [load(months, 1) for months in counts][-1]
    for processes in (2,) if options.smoke else (2, 4):
        if load(SALES_MONTHS, processes) != one:
            raise ContenderFailedError(f"{processes} processes have not loaded what one has")
    return rows


def sales_bronze(folder: str, home: str, lines: int) -> dict[str, Cost]:
    """A database of so many lines, and each of its tables loaded by a process of its own."""
    contender("write", {"folder": folder, "lines": lines}, module=SALES)
    shutil.rmtree(home, ignore_errors=True)

    def load(table: str) -> Cost:
        arguments = {"home": home, "database": sqlite(folder), "table": table}
        return repeated(f"bronze, {table}", 1, lambda: contender("load_table", arguments, module=SALES))

    return {table: load(table) for table in SALES_TABLES}


def sqlite(folder: str) -> str:
    """SQLAlchemy's URL of the database that `write` has left in the folder."""
    return f"sqlite:///{folder}/sales.db"


def sales_postgres(options: Options, home: str) -> Cost | None:
    """The invoice lines out of PostgreSQL; None: none is installed.

    Raises:
        ContenderFailedError: they are other rows than those in `home`, which are SQLite's.
    """
    from sandbox.postgres import NOT_INSTALLED, installed

    if installed() is None:
        say(f"left out: {NOT_INSTALLED}")
        return None
    other = f"{home}-postgres"
    shutil.rmtree(other, ignore_errors=True)
    with serving(SALES, {"lines": options.sales_lines}) as server:
        arguments = {"home": other, "database": server.endpoints["database"], "table": SALES_LINES}
        what = f"bronze, {SALES_LINES}, PostgreSQL"
        cost = repeated(what, 1, lambda: contender("load_table", arguments, module=SALES))
    here, there = (contender("content", {"home": one}, module=SALES).detail or {} for one in (home, other))
    if (here["rows"], here["hash"]) != (there["rows"], there["hash"]):
        raise ContenderFailedError("PostgreSQL's invoice lines are other rows than SQLite's")
    shutil.rmtree(other)
    return cost


def bench_sales(options: Options) -> tuple[Section, list[Budget]]:
    """A database of sales into bronze, and into a star."""
    folder, tiny, home, tiny_home = (
        str(options.work / name) for name in ("sales", "sales-tiny", "sales-home", "sales-tiny-home")
    )
    lines = options.sales_lines
    loads = sales_bronze(folder, home, lines)
    if postgres := sales_postgres(options, home):
        loads[f"{SALES_LINES}, out of PostgreSQL,"] = postgres
    sales_bronze(tiny, tiny_home, SALES_TINY)
    prepared = {one: contender("prepare", {"home": one}, module=SALES).detail or {} for one in (home, tiny_home)}

    def dbt(of: str, words: Sequence[str], window: str = "") -> Cost:
        if not window:
            shutil.copyfile(f"{of}/duckdb/bronze.duckdb", f"{of}/duckdb/work.duckdb")
        command = [str(Path(sys.executable).with_name("dbt")), "--quiet", *words, "--vars", window or "{}"]
        command += ["--select", *SALES_SELECT, "--project-dir", str(DBT_DIR), "--profiles-dir", str(DBT_DIR)]
        return run([*command, "--target-path", f"{of}/dbt", "--log-path", f"{of}/dbt"], prepared[of]["environment"])[0]

    def built(what: str, words: Sequence[str], window: str = "") -> Cost:
        cost = repeated(what, 1, lambda: dbt(home, words, window))
        return (
            cost if options.smoke else cost.less(repeated(f"{what} (tiny)", 1, lambda: dbt(tiny_home, words, window)))
        )

    for one in prepared:
        dbt(one, ["compile"])  # parses too: the runs below start from a parsed project
    shutil.copytree(f"{home}/dbt/compiled", f"{home}/compiled")
    limit = prepared[home]["memory_limit"]

    def sql(what: str, *, plain: bool) -> Cost:
        arguments = {"home": home, "compiled": f"{home}/compiled", "memory_limit": limit, "plain": plain}
        return repeated(what, 1, lambda: contender("models_in_duckdb", arguments, module=SALES))

    floor, ours = sql("sales' floor", plain=True), sql("sales' SQL", plain=False)
    models = built("dbt build without tests, sales", [*BUILD, "--exclude-resource-type", "test"])
    tested, day = models, models
    if not options.smoke:
        tested = built("dbt build, sales", BUILD)
        day = built("dbt build, a day of sales", BUILD, '{"from_day": "2023-03-30", "to_day": "2023-03-31"}')
    contender("export_csv", {"home": home, "folder": folder}, module=SALES)
    rows = [
        *(Row(f"{name} to bronze", cost, cost.rows) for name, cost in loads.items()),
        Row("the same SQL without looking for newer versions, in DuckDB (floor of the star)", floor, lines, floor),
        Row("lakegraph's SQL of the star, in DuckDB", ours, lines, floor),
        Row("lakegraph's star: `dbt build` without tests, less its start-up", models, lines, floor),
        Row("lakegraph's star: `dbt build` with all tests, less its start-up", tested, lines, floor),
        Row("lakegraph's star: a day's changes on top, with all tests, less its start-up", day, 0, floor),
    ]
    if available_bytes() > lines * SALES_PANDAS_BYTES_A_LINE:
        old = repeated("pandas, sales", 1, lambda: contender("pandas_models", {"folder": folder}, module=SALES))
        rows.append(Row("the old way: CSV in pandas, money as doubles, no checks", old, lines, floor))
    else:
        say("pandas left out: not enough memory")
    rows += sales_by_months(options)
    largest = max(cost.peak_mb for cost in (*loads.values(), models, tested, day))
    for one in prepared:
        shutil.rmtree(one, ignore_errors=True)
    note = (
        f"A generated SQLite database with {lines:,} invoice lines through SQLAlchemy and dlt into bronze, a process "
        "for each table, imports included in the peak and not in the time. PostgreSQL, if it is installed, has the "
        "same world: its lines are the same rows in bronze, by count and hash. Then dbt over it, the floor being the "
        "compiled SQL as plain `CREATE TABLE AS`, without the search for newer versions of a row. Months: invoice "
        "lines by windows of a month, one load after another in one process; the processes at once have loaded the "
        "same rows as the one, by count and hash."
    )
    budgets = [
        Budget("sales: the star, dbt less start-up", models.cpu / floor.cpu, 1.7),
        Budget(f"sales: the largest process at {lines:,} lines", largest, SALES_PEAK_MB, "MB"),
    ]
    return Section(f"Sales: {lines:,} invoice lines into a star", note, rows), budgets


BENCHES: dict[str, Callable[[Options], tuple[Section, list[Budget]]]] = {
    "load": bench_load,
    "models": bench_models,
    "import": bench_import,
    "delta": bench_delta,
    "changes": bench_changes,
    "workbook": bench_workbook,
    "sales": bench_sales,
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
    parser.add_argument("--shop-scale", type=int, default=10, help="how much there is in each of the shop's days")
    parser.add_argument("--shop-days", type=int, default=100, help="days of the shop's long history")
    parser.add_argument("--shop-changes", type=int, default=100_000, help="documents that change in the busy hour")
    parser.add_argument("--rows-workbook", type=int, default=100_000, help="rows of the workbook")
    parser.add_argument("--sales-lines", type=int, default=10_000_000, help="invoice lines in the sales' database")
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
        arguments.shop_scale,
        arguments.shop_days,
        arguments.shop_changes,
        arguments.rows_workbook,
        arguments.sales_lines,
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
