"""The benchmark runs from end to end on tiny data, so that it cannot rot; what it measures there means nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox.postgres import installed

ROOT = Path(__file__).parents[2]
LINES = [
    "DuckDB `CREATE TABLE AS` (floor)",
    "lakegraph, registered",
    "lakegraph, cast",
    "dlt, dicts → DuckDB (its default): a slice",
    "the same SQL without dedupe, in DuckDB (floor)",
    "lakegraph's SQL, in DuckDB",
    "lakegraph: `dbt run`, less its start-up",
    "window over all columns, in DuckDB, no memory limit",
    "pandas, without `trip_id`",
    "`import orchestration.definitions`",
    "the whole hour, after 2 days",
    "bronze, five tables, after 2 days",
    "silver and gold, less dbt's start-up, after 2 days",
    "through the wire, from the stand-in",
    "from memory, without a server",
    "the stand-in's own, in its process",
    "lakegraph, workbook to bronze",
    "pandas `read_excel`",
    "invoice_lines to bronze",
    "the same SQL without looking for newer versions, in DuckDB (floor of the star)",
    "lakegraph's SQL of the star, in DuckDB",
    "lakegraph's star: `dbt build` without tests, less its start-up",
    "the old way: CSV in pandas, money as doubles, no checks",
    "24 months of invoice lines, one process",
    "24 months of invoice lines, 2 at once",
]
POSTGRES = "invoice_lines, out of PostgreSQL, to bronze"  # where it is installed, as it is in CI
BUDGETS = [
    "warm bronze load, registered",
    "silver and gold, dbt less start-up",
    "import",
    "the shop's hour, 2 days of history: the whole hour",
    "the shop's hour of 200 changed documents",
    "a workbook of 300 rows to bronze",
    "sales: the star, dbt less start-up",
]


@pytest.mark.slow
def test_every_contender_and_budget_is_in_the_report(tmp_path: Path) -> None:
    out = tmp_path / "results.md"
    rows = ["--rows-month", "5000", "--rows-set", "5000", "--rows-dicts", "200", "--repeats", "1", "--smoke"]
    rows += ["--shop-scale", "1", "--shop-days", "2", "--shop-changes", "200", "--rows-workbook", "300"]
    rows += ["--sales-lines", "2000"]
    command = [sys.executable, "-m", "benchmarks.bench", *rows, "--work", str(tmp_path / "work"), "--out", str(out)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=400, env=dict(os.environ)
    )
    assert done.returncode == 0, done.stderr[-3000:]
    table = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in out.read_text().splitlines()
        if line.startswith("|")
    ]
    seen = {cells[0]: cells[1:] for cells in table}
    assert [line for line in LINES if line not in seen] == []
    assert (POSTGRES in seen) == bool(installed())
    assert all(float(seen[line][1]) >= 0 for line in LINES if "less its start-up" not in line)
    assert {seen[budget][2] for budget in BUDGETS} <= {"met", "not met"}
    assert str(tmp_path) not in out.read_text()
