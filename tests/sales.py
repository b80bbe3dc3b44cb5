"""What tests of the sales' models share: a small database that a test fills in short notation, its loads into bronze by the
source itself, and dbt over it.

What belongs here: the database, loading by days, running dbt for them. What does not: expectations, and the large generated
world (`sandbox.sales`).
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime, time
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import lakes
from memberships import Membership

from lake.load import Window, load
from lake.settings import Settings
from orchestration.assets.dbt import window_vars
from orchestration.partitions import span_of_range

TABLES = ("employees", "customers", "services", "contracts", "invoices", "invoice_lines", "payments")
SELECT = ("path:models/silver/sales", "path:models/gold/sales", "sales_customers_snapshot")
D29, D30, D31 = (date(2023, 3, day) for day in (29, 30, 31))
APRIL = date(2023, 4, 1)
OLD = date(2023, 3, 20)  # part of the first day's load, and not of the second one's look back
NOON = time(12, 0, 0, 120_000)  # with a part of a second, for engines write that each in its own way
SQL_TYPES = {"long": "BIGINT", "string": "TEXT", "date": "DATE", "timestamp": "TIMESTAMP", "boolean": "BOOLEAN"}
DEFAULTS: dict[str, dict[str, Any]] = {
    "employees": {"full_name": "Ann", "team": "north"},
    "customers": {"customer_name": "Acme", "segment": "smb"},
    "services": {"service_code": "S", "category": "compute", "list_price": 1},
    "contracts": {
        "customer_id": 1,
        "service_id": 1,
        "starts_on": "2023-01-01",
        "monthly_amount": 100,
        "status": "active",
    },
    "invoices": {
        "invoice_number": "R",
        "customer_id": 1,
        "issued_on": "2023-03-01",
        "due_on": "2023-03-31",
        "status": "open",
    },
    "invoice_lines": {"line_number": 1, "service_id": 1, "quantity": 1, "tax_amount": 0},
    "payments": {"paid_on": "2023-03-10", "method": "card"},
}
Rows = list[tuple[Any, ...]]


class Sales(Membership):
    """A target with some bronze in it, the database that it came from, and dbt to build the rest."""

    @cached_property
    def file(self) -> Path:
        """The database, with all tables."""
        path = self.folder / "sales.db"
        with closing(sqlite3.connect(path)) as connection:
            for table in TABLES:
                spec, _ = lakes.declared(table, "sales")
                columns = ", ".join(f"{name} {SQL_TYPES.get(c.type, c.type)}" for name, c in spec.columns.items())
                connection.execute(
                    f"CREATE TABLE IF NOT EXISTS {table} ({columns}, PRIMARY KEY ({', '.join(spec.key)}))"
                )
        return path

    @cached_property
    def changed(self) -> set[str]:
        """Tables with something that no load of this has seen; in the beginning all."""
        return set(TABLES)

    def put(self, table: str, key: int, at: date = OLD, **values: Any) -> None:
        """Add a row, or a version of it, changed at `NOON` of `at`; what is not said is a default, or as it was."""
        spec, _ = lakes.declared(table, "sales")
        if table == "invoice_lines" and "net_amount" in values:
            values.setdefault("unit_price", values["net_amount"])
        given = {spec.key[0]: key, **values, "updated_at": f"{datetime.combine(at, NOON):%Y-%m-%d %H:%M:%S.%f}"}
        with self._changing(table) as connection:
            known = connection.execute(f"SELECT 1 FROM {table} WHERE {spec.key[0]} = ?", (key,)).fetchone()
            row = given if known else {**DEFAULTS[table], **given}
            if known:
                sets = ", ".join(f"{name} = ?" for name in row)
                connection.execute(f"UPDATE {table} SET {sets} WHERE {spec.key[0]} = ?", (*row.values(), key))
            else:
                marks = ", ".join("?" * len(row))
                connection.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", tuple(row.values()))

    def invoice(self, key: int, *nets: float, at: date = OLD, **values: Any) -> None:
        """An invoice with a line for each of `nets`; line numbers are ten times the invoice's, and on."""
        self.put("invoices", key, at, net_total=sum(nets), tax_total=0, **values)
        for number, net in enumerate(nets):
            self.put("invoice_lines", key * 10 + number, at, invoice_id=key, net_amount=net)

    def forget(self, table: str, key: int) -> None:
        """Delete a row at the source."""
        spec, _ = lakes.declared(table, "sales")
        with self._changing(table) as connection:
            connection.execute(f"DELETE FROM {table} WHERE {spec.key[0]} = ?", (key,))

    @contextmanager
    def _changing(self, table: str) -> Iterator[sqlite3.Connection]:
        self.changed.add(table)
        with closing(sqlite3.connect(self.file)) as connection, connection:
            yield connection

    def load(self, *days: date, refresh: bool = False) -> None:
        """Load the tables that have changed into bronze: the days from the first to the last, or all anew."""
        settings = self.settings.model_copy(update={"sales_database": _secret(f"sqlite:///{self.file}")})
        window = Window.everything(datetime.now(UTC))
        if not refresh:
            span = span_of_range([day.isoformat() for day in days])
            window = Window(days[0].isoformat(), span.since, span.end)
        for table in sorted(self.changed):
            spec, source = lakes.declared(table, "sales")
            load(spec, source, settings, window=window, run_id="test")
        self.changed.clear()

    def make(self, *days: date, without: Sequence[str] = ("unit_test",)) -> str:
        """Run dbt for the days, or for everything; what it printed."""
        left_out = [word for kind in without for word in ("--exclude-resource-type", kind)]
        variables = window_vars([day.isoformat() for day in days])
        done = self.dbt("build", "--select", *SELECT, *left_out, **variables)
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        return done.stdout

    def rows(self, sql: str) -> Rows:
        """The answer of the local target."""
        with duckdb.connect(str(self.settings.duckdb_path), read_only=True) as connection:
            return connection.execute(sql).fetchall()

    def change(self, *statements: str) -> None:
        """Change the tables themselves, on the local target."""
        with duckdb.connect(str(self.settings.duckdb_path)) as connection:
            for statement in statements:
                connection.execute(statement)

    def failing(self, test: str) -> Rows:
        """The rows that a test of the last run gives, as dbt would ask for them."""
        (path,) = (self.folder / "target" / "compiled").rglob(f"{test}.sql")
        return self.rows(path.read_text())

    def tables(self) -> dict[str, Rows]:
        """Every table of silver and gold, its rows sorted."""
        names = self.rows(
            "SELECT table_schema, table_name FROM information_schema.tables "
            "WHERE table_schema IN ('silver', 'gold') AND table_name LIKE 'sales_%' ORDER BY ALL"
        )
        return {f"{schema}.{name}": self.rows(f"SELECT * FROM {schema}.{name} ORDER BY ALL") for schema, name in names}


def _secret(text: str) -> Any:
    from pydantic import SecretStr

    return SecretStr(text)


def fill(sales: Sales) -> None:
    """Something of everything, all of it of the first day's load."""
    for key, manager in ((1, None), (2, 1)):
        sales.put("employees", key, full_name=f"E{key}", manager_id=manager)
    for key, segment in ((1, "smb"), (2, "enterprise"), (3, None)):
        sales.put("customers", key, segment=segment, account_manager_id=2, created_at="2022-01-01 00:00:00.000000")
    for key, category in ((1, "compute"), (2, "storage")):
        sales.put("services", key, service_code=f"S{key}", category=category)
    sales.put("contracts", 1, customer_id=1)
    sales.put("contracts", 2, customer_id=2, starts_on="2023-02-01", ends_on="2023-02-28", status="ended")
    sales.invoice(1, 10, 20, issued_on="2023-01-15", due_on="2023-02-14", status="paid")
    sales.invoice(2, 5, issued_on="2023-02-15", due_on="2023-03-17", customer_id=2)
    sales.invoice(3, 7.5, 2.5, issued_on="2023-03-15", due_on="2023-04-14")
    sales.invoice(4, 100, issued_on="2023-03-20", due_on="2023-04-14", status="void")
    sales.invoice(7, 3, 4, issued_on="2023-02-20", due_on="2023-03-22", customer_id=2, status="paid")
    sales.put("invoice_lines", 11, service_id=2)
    sales.put("payments", 1, invoice_id=1, amount=30)
    sales.put("payments", 2, D29, invoice_id=2, amount=2)
    sales.put("payments", 4, invoice_id=7, amount=7)


def second_day(sales: Sales) -> None:
    """A day's changes, of every kind."""
    sales.put("invoices", 2, D30, issued_on="2023-03-02")  # its only line leaves February
    sales.put("invoice_lines", 30, D30, net_amount=8)
    sales.put("invoices", 3, D30, net_total=11)  # half a euro more than its lines
    sales.put("invoice_lines", 31, D30, net_amount=6, unit_price=5)  # breaks a rule
    sales.put("invoice_lines", 90, D30, invoice_id=9, net_amount=4, service_id=7, employee_id=7)  # before all of these
    sales.put("customers", 1, D30, segment="enterprise", account_manager_id=1)
    sales.put("customers", 4, D30, segment="odd")
    sales.invoice(5, 1, at=D30, issued_on="2023-03-29")
    sales.invoice(6, 2, at=D30, issued_on="2023-03-30")


def third_day(sales: Sales) -> None:
    """What was wrong or missing comes right; a line moves to another invoice, and one is void."""
    sales.put("invoice_lines", 31, D31, net_amount=2.5)
    sales.put("invoices", 3, D31, net_total=10.5)
    sales.put("invoices", 9, D31, customer_id=9, issued_on="2023-02-20", net_total=4, tax_total=0)
    sales.put("customers", 2, D31, segment="mid_market")
    sales.put("customers", 3, D31)
    sales.put("invoice_lines", 71, D31, invoice_id=2, line_number=2)
    sales.put("invoices", 5, D31, status="void")


def older_state(sales: Sales) -> None:
    """The source, restored say, tells of the second day what it had not told then."""
    sales.put("customers", 2, D30, segment="smb")


def april(sales: Sales) -> None:
    """What was unknown comes, days after who refers to it; and what was known turns out to be wrong."""
    sales.put("customers", 9, APRIL)
    sales.put("services", 7, APRIL)
    sales.put("employees", 7, APRIL)
    sales.put("contracts", 3, APRIL, customer_id=9, starts_on="2023-04-01")
    sales.invoice(8, 1, at=APRIL, issued_on="2023-04-01")
    sales.put("payments", 3, APRIL, invoice_id=3, amount=1)
    sales.put("services", 2, APRIL, list_price=-1)


def gone(sales: Sales) -> None:
    """A line and a customer are deleted at the source, of which a full refresh alone tells."""
    sales.forget("invoice_lines", 11)
    sales.put("invoices", 1, D29, net_total=10)
    sales.forget("customers", 3)


def world(home: Path, folder: Path) -> Sales:
    """A target with nothing in it, and the database filled."""
    folder.mkdir(parents=True, exist_ok=True)
    sales = Sales(Settings(home=home), folder)
    fill(sales)
    return sales
