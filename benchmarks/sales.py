"""What is measured of the sales: a database into bronze, bronze into a star, and the way it was done before.

What belongs here: the work; each function runs in a process of its own: `python -m benchmarks.sales NAME
'{arguments}'`. What does not: choosing, repeating and judging (`benchmarks.bench`).
"""

import json
import math
import re
import shutil
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.contenders import ROOT, Said, measured

DEFS = ROOT / "orchestration" / "defs" / "sales"
TABLES = ("employees", "customers", "services", "contracts", "invoices", "invoice_lines", "payments")
LINES = "invoice_lines"
GOLD = ("dim_employee", "dim_service", "dim_customer", "dim_date", "fct_invoice_line", "fct_payment")
KPIS = ("revenue_monthly", "churn_monthly", "receivables_ageing")
AGES = ("0 not due", "1 1-30 days", "2 31-60 days", "3 61-90 days", "4 over 90 days")
FIRST = date(2021, 4, 1)  # month of the world's first invoices; the masters are older
REPEATED = re.compile(
    r"left join \(\s*select\s+\w+,\s+max\(updated_at\).*?\) as repeated on .*?\n\s*where\s*\(.*?\)\n", re.DOTALL
)
SNAPSHOT = "SELECT *, updated_at AS dbt_valid_from, CAST(NULL AS TIMESTAMP) AS dbt_valid_to FROM silver.sales_customers"


def write(folder: str, lines: int) -> Said:
    """The database with so many invoice lines; one that is there is kept."""
    from sandbox import sales

    path = Path(folder) / "sales.db"
    path.parent.mkdir(parents=True, exist_ok=True)
    said: Said = {"rows": lines}
    with measured(said):
        sales.write(path, lines=lines)
    return {**said, "bytes": path.stat().st_size}


def serve(lines: int) -> None:
    """PostgreSQL with the same database, until standard input ends; says its URL, of a user who may only read."""
    from sqlalchemy import create_engine

    from sandbox import sales
    from sandbox.postgres import READER, running

    with running() as server, server.database() as url:
        engine = create_engine(url)
        sales.create(engine, lines=lines)
        engine.dispose()
        print(json.dumps({"database": server.url(url.rpartition("/")[2], user=READER)}), flush=True)
        sys.stdin.read()


def load_table(home: str, database: str, table: str) -> Said:
    """Our first load of a table: all that the database has of it."""
    from lake.load import Window

    said: Said = {}
    with measured(said):
        account = _load(home, database, table, Window("all", None, datetime(2023, 4, 1, tzinfo=UTC))).account
    return {**said, "rows": account.rows_loaded}


def load_months(home: str, database: str, first: int, count: int) -> Said:
    """So many months of invoice lines, one load after another, beginning with the `first` since April 2021."""
    from lake.load import Window

    said: Said = {"rows": 0}
    with measured(said):
        for number in range(first, first + count):
            since, end = _month(number), _month(number + 1)
            window = Window(f"{since:%Y-%m}", since if number else None, end)
            said["rows"] += _load(home, database, LINES, window).account.rows_loaded
    return said


def content(home: str) -> Said:
    """How many invoice lines the table's snapshot holds, and a hash of them that knows no order.

    Files that lie there and that no snapshot knows, as of a lost commit, do not count.
    """
    import duckdb

    from lake import views
    from lake.settings import Settings

    table = f"sales_{LINES}"
    with duckdb.connect() as connection:
        views.refresh(connection, Settings(home=Path(home)), [table])
        rows, total = connection.execute(
            "SELECT count(*), sum(hash(t)::HUGEINT) "
            f"FROM (SELECT * EXCLUDE ({views.LOADED_AT}) FROM bronze.{table}) AS t"
        ).fetchall()[0]
    return {"cpu": 0.0, "wall": 0.0, "rows": rows, "hash": str(total)}


def prepare(home: str) -> Said:
    """Bronze's views made; the environment in which dbt builds on them."""
    from lake import views
    from lake.duck import connect
    from lake.settings import Settings
    from orchestration.resources.dbt import environment

    settings = Settings(home=Path(home))
    said: Said = {}
    with measured(said), connect(settings.duckdb_path) as connection:
        views.refresh(connection, settings)
    settings.staging.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(settings.duckdb_path, settings.duckdb_path.with_name("bronze.duckdb"))
    return {**said, "environment": environment(settings, "bench"), "memory_limit": settings.duckdb_memory_limit}


def models_in_duckdb(home: str, compiled: str, memory_limit: str, plain: bool) -> Said:
    """The models' compiled SQL, executed in DuckDB without dbt; `plain`: without the search for newer versions."""
    import duckdb

    folder = Path(home) / "run"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    shutil.copyfile(Path(home) / "duckdb" / "bronze.duckdb", folder / "work.duckdb")
    models = (path for path in Path(compiled).rglob("sales_*.sql") if path.parent.suffix != ".yml")
    sql = {path.stem.removeprefix("sales_"): path.read_text() for path in models}
    said: Said = {}
    with duckdb.connect(str(folder / "work.duckdb"), config={"memory_limit": memory_limit}) as connection:
        connection.execute("SET TimeZone = 'UTC'; SET preserve_insertion_order = false")
        connection.execute("CREATE SCHEMA IF NOT EXISTS silver; CREATE SCHEMA IF NOT EXISTS gold")
        with measured(said):
            for table in TABLES:
                query = sql[f"{table}__current"]
                if plain:
                    query, found = REPEATED.subn("", query)
                    assert found == 1, query  # noqa: S101 - the macro has changed, and the floor would be none
                connection.execute(f"CREATE TABLE silver.sales_{table}__current AS {query}")
                for name in (table, f"{table}__rejected"):
                    connection.execute(f"CREATE VIEW silver.sales_{name} AS {sql[name]}")
            connection.execute(f"CREATE TABLE silver.sales_customers_snapshot AS {SNAPSHOT}")
            for name in (*GOLD, *KPIS):
                connection.execute(f"CREATE TABLE gold.sales_{name} AS {sql[name]}")
        rows = connection.execute("SELECT count(*) FROM gold.sales_fct_invoice_line").fetchall()
    shutil.rmtree(folder)
    return {**said, "rows": rows[0][0]}


def export_csv(home: str, folder: str) -> Said:
    """What the old system downloads: each table as CSV."""
    import duckdb

    said: Said = {}
    with measured(said), duckdb.connect() as connection:
        for table in TABLES:
            files = f"{home}/lake/bronze/sales_{table}/data/*/*.parquet"
            connection.execute(f"COPY (SELECT * FROM read_parquet('{files}')) TO '{folder}/{table}.csv' (HEADER)")
    return said


def pandas_models(folder: str) -> Said:
    """The old system's way: CSV into frames, merged and grouped, with doubles for money and no check at all."""
    import pandas as pd

    said: Said = {}
    with measured(said):
        frames = {table: pd.read_csv(f"{folder}/{table}.csv") for table in TABLES}
        invoices = frames["invoices"].assign(issued_on=pd.to_datetime(frames["invoices"]["issued_on"]))
        lines = frames[LINES].merge(
            invoices[["invoice_id", "customer_id", "issued_on", "status"]], on="invoice_id", how="left"
        )
        lines = lines.merge(frames["customers"][["customer_id", "segment"]], on="customer_id", how="left")
        lines = lines.merge(frames["services"][["service_id", "category"]], on="service_id", how="left")
        lines["invoice_month"] = lines["issued_on"].dt.to_period("M").dt.to_timestamp()
        revenue = lines[lines["status"] != "void"].groupby(["invoice_month", "category", "segment"])
        months = revenue.agg(net_revenue=("net_amount", "sum"), invoices=("invoice_id", "nunique"))
        months = months.reset_index()
        churn = _pandas_churn(frames["contracts"], frames["customers"])
        ageing = _pandas_ageing(invoices, frames["payments"], frames["customers"])
        for name, frame in (("fact", lines), ("revenue", months), ("churn", churn), ("ageing", ageing)):
            frame.to_parquet(f"{folder}/{name}.parquet")
    return {**said, "rows": len(lines)}


def _pandas_churn(contracts: Any, customers: Any) -> Any:
    """Customers and their monthly amounts at the end of each month, by segment, with who left since the one before."""
    import pandas as pd

    starts, ends = (pd.to_datetime(contracts[name], errors="coerce") for name in ("starts_on", "ends_on"))
    running = []
    for day in pd.date_range("2021-04-30", "2023-03-31", freq="ME"):
        held = contracts[(starts <= day) & (ends.isna() | (ends >= day))]
        running.append(held.groupby("customer_id")["monthly_amount"].sum().rename(day))
    amounts = pd.concat(running, axis=1)
    is_now = amounts.notna()
    left = is_now.shift(axis=1, fill_value=False) & ~is_now
    segments = customers.drop_duplicates("customer_id", keep="last").set_index("customer_id")["segment"]
    of = segments.reindex(amounts.index).fillna("unknown")
    parts = {"customers_at_end": is_now, "churned_customers": left, "mrr_at_end": amounts.fillna(0)}
    return pd.concat({name: part.groupby(of).sum().stack() for name, part in parts.items()}, axis=1).reset_index()


def _pandas_ageing(invoices: Any, payments: Any, customers: Any) -> Any:
    """What is owed on the last day, by how long it is due and by segment."""
    import pandas as pd

    paid = payments.groupby("invoice_id")["amount"].sum().rename("paid")
    owed = invoices[invoices["status"] != "void"].merge(paid, on="invoice_id", how="left").fillna({"paid": 0})
    owed = owed.merge(customers[["customer_id", "segment"]], on="customer_id", how="left")
    owed["balance"] = owed["net_total"] + owed["tax_total"] - owed["paid"]
    owed = owed[owed["balance"] > 0]
    due = pd.to_datetime(owed["due_on"]).fillna(owed["issued_on"])
    days = (pd.Timestamp("2023-03-31") - due).dt.days
    bucket = pd.cut(days, [-math.inf, 0, 30, 60, 90, math.inf], labels=AGES).astype(str).rename("bucket")
    return owed.groupby([bucket, owed["segment"].fillna("unknown")])["balance"].agg(["count", "sum"]).reset_index()


def _load(home: str, database: str, table: str, window: Any) -> Any:
    import yaml
    from pydantic import SecretStr

    from dlt_sources import sales
    from lake.load import load
    from lake.settings import Settings
    from lake.spec import TableSpec

    declared = yaml.safe_load((DEFS / table / "defs.yaml").read_text(encoding="utf-8"))["attributes"]
    settings = Settings(home=Path(home), sales_database=SecretStr(database))
    source = partial(sales.rows, **declared["params"])
    return load(TableSpec.model_validate(declared["table"]), source, settings, window=window)


def _month(number: int) -> datetime:
    """The first moment of the month that is so many after the first."""
    month = FIRST.month - 1 + number
    return datetime(FIRST.year + month // 12, month % 12 + 1, 1, tzinfo=UTC)


CONTENDERS: dict[str, Callable[..., Said]] = {
    function.__name__: function
    for function in (
        write,
        load_table,
        load_months,
        content,
        prepare,
        models_in_duckdb,
        export_csv,
        pandas_models,
    )
}

if __name__ == "__main__":
    wanted, given = sys.argv[1], json.loads(sys.argv[2])
    if wanted == serve.__name__:
        serve(**given)
    else:
        print(json.dumps(CONTENDERS[wanted](**given), default=str))
