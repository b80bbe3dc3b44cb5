"""Months of invoice lines by several processes at once, into one table of bronze: the same as one load of all of them."""

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import lakes
from pydantic import SecretStr

from lake import views
from lake.load import Window, load
from lake.settings import Settings
from lake.store import open_store
from sandbox import sales

LINES, MONTHS, PROCESSES = 20_000, 24, 3
END = datetime(2023, 4, 1, tzinfo=UTC)
TABLE = "bronze.sales_invoice_lines"


def test_months_by_several_processes_at_once_are_what_one_load_brings(tmp_path: Path) -> None:
    database, whole, parts = tmp_path / "sales.db", tmp_path / "whole", tmp_path / "parts"
    sales.write(database, lines=LINES)
    spec, source = lakes.declared("invoice_lines", "sales")
    url = f"sqlite:///{database}"
    one = Settings(home=whole, sales_database=SecretStr(url))
    load(spec, source, one, window=Window("all", None, END))

    share = MONTHS // PROCESSES
    running = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "benchmarks.sales", "load_months"),
                json.dumps({"home": str(parts), "database": url, "first": share * number, "count": share}),
            ],
            cwd=lakes.ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number in range(PROCESSES)
    ]
    said = [process.communicate(timeout=120)[0] for process in running]
    assert [process.returncode for process in running] == [0] * PROCESSES, said

    with duckdb.connect() as connection:
        for name, home in (("whole", whole), ("parts", parts)):
            views.refresh(connection, Settings(home=home), ["sales_invoice_lines"])
            connection.execute(f"CREATE TABLE {name} AS SELECT * EXCLUDE ({views.LOADED_AT}) FROM {TABLE}")
        more, less, rows, months = connection.execute(
            "SELECT (SELECT count(*) FROM (FROM parts EXCEPT ALL FROM whole)), "
            "(SELECT count(*) FROM (FROM whole EXCEPT ALL FROM parts)), count(*), count(DISTINCT source_month) FROM parts"
        ).fetchall()[0]
    with closing(sqlite3.connect(database)) as connection:
        (held,) = connection.execute("SELECT count(*) FROM invoice_lines WHERE updated_at < '2023-04-01'").fetchone()
    assert (more, less) == (0, 0)
    assert (rows, months) == (held, MONTHS)
    accounts = open_store(Settings(home=parts)).accounts(spec)
    assert len(accounts) == MONTHS
    assert sum(account.rows_loaded for account in accounts.values()) == held
