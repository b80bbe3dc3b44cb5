"""What tests of the shop's models share: bronze by hand, deliveries of versions, dbt over them.

What belongs here: bronze tables of the contract's form on either engine, rows in short notation, a history in which
everything goes wrong, and running dbt. What does not: expectations, and loading from MongoDB or S3.
"""

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb

PROJECT = Path(__file__).parents[1] / "dbt_project"
SELECT = ("path:models/silver/shop", "path:models/gold/shop")
START = datetime.fromisoformat("2023-03-30 22:00")
MONGO = ("customers", "orders", "reviews")
JSON = ("name", "address", "items")
Row = dict[str, Any]
Rows = dict[str, list[Row]]
Tables = dict[str, list[tuple[Any, ...]]]

ENDS = {"updated_at": "TIMESTAMP", "deleted_at": "TIMESTAMP", "version": "VARCHAR", "source_day": "DATE"}
OBJECT = {"source_object": "VARCHAR", "object_modified_at": "TIMESTAMP"}
COLUMNS: Mapping[str, dict[str, str]] = {
    "customers": {
        "id": "VARCHAR",
        "email": "VARCHAR",
        "name": "VARCHAR",
        "phone": "VARCHAR",
        "address": "VARCHAR",
        "segment": "VARCHAR",
        "marketing_consent": "BOOLEAN",
        "created_at": "TIMESTAMP",
        **ENDS,
    },
    "orders": {
        "id": "VARCHAR",
        "customer_id": "VARCHAR",
        "status": "VARCHAR",
        "currency": "VARCHAR",
        "ordered_at": "TIMESTAMP",
        "items": "VARCHAR",
        "refund_amount": "DECIMAL(18,2)",
        **ENDS,
    },
    "reviews": {
        "id": "VARCHAR",
        "product_id": "VARCHAR",
        "customer_id": "VARCHAR",
        "order_id": "VARCHAR",
        "rating": "BIGINT",
        "title": "VARCHAR",
        "body": "VARCHAR",
        "created_at": "TIMESTAMP",
        **ENDS,
    },
    "products": {
        "product_id": "VARCHAR",
        "name": "VARCHAR",
        "category": "VARCHAR",
        "size": "VARCHAR",
        "color": "VARCHAR",
        "list_price": "DECIMAL(18,2)",
        "active": "BOOLEAN",
        **ENDS,
        **OBJECT,
    },
    "stock_movements": {
        "movement_id": "VARCHAR",
        "product_id": "VARCHAR",
        "warehouse": "VARCHAR",
        "kind": "VARCHAR",
        "quantity": "BIGINT",
        "moved_at": "TIMESTAMP",
        **ENDS,
        **OBJECT,
    },
}
PLAIN: Mapping[str, Row] = {
    "customers": {
        "id": "c1",
        "email": " Ann@X.org",
        "name": {"first": "Ann", "last": "Lee"},
        "phone": None,
        "address": {"street": "High St 1", "city": "Ghent", "postcode": "9000", "country": "BE"},
        "segment": "new",
        "marketing_consent": True,
        "created_at": START,
    },
    "orders": {
        "id": "o1",
        "customer_id": "c1",
        "status": "placed",
        "currency": "EUR",
        "ordered_at": START,
        "items": [{"line": 1, "product_id": "P1", "quantity": 2, "unit_price": "19.90", "discount": "1.00"}],
        "refund_amount": None,
    },
    "reviews": {
        "id": "r1",
        "product_id": "P1",
        "customer_id": "c1",
        "order_id": None,
        "rating": 5,
        "title": "Good",
        "body": "Fits.",
        "created_at": START,
    },
    "products": {
        "product_id": "P1",
        "name": "Shirt",
        "category": "tops",
        "size": "M",
        "color": "blue",
        "list_price": Decimal("19.90"),
        "active": True,
    },
    "stock_movements": {
        "movement_id": "m1",
        "product_id": "P1",
        "warehouse": "north",
        "kind": "receipt",
        "quantity": 10,
        "moved_at": START,
    },
}


def row(table: str, at: datetime = START, drop: str | None = None, **changes: Any) -> Row:
    """A version of a plain row, as bronze holds it.

    Args:
        table: without `shop_`.
        at: when the source changed it.
        drop: S3's object that it came with; its name begins with the hour that it was put there.
        **changes: values unlike the plain row's; `version` is worked out if it is not given.
    """
    made = {**PLAIN[table], "updated_at": at, "deleted_at": None, **changes}
    texts = JSON if table in MONGO else ()
    made |= {name: json.dumps(made[name]) for name in texts if made.get(name) is not None}
    digest = hashlib.md5(repr(sorted(made.items())).encode(), usedforsecurity=False).hexdigest()
    made = {"version": digest, **made}
    if table in MONGO:
        return {**made, "source_day": at.date()}
    hour = datetime.fromisoformat(drop.split("_", 1)[0]) if drop else at
    return {
        **made,
        "source_day": hour.date(),
        "source_object": f"{table}/{drop or 'drop.csv'}",
        "object_modified_at": hour,
    }


def identity(table: str) -> list[str]:
    """What makes a row of bronze the same."""
    return ["source_day", next(iter(COLUMNS[table])), "version", *(["source_object"] if table not in MONGO else [])]


@dataclass(frozen=True)
class Step:
    """One run over one delivery.

    Attributes:
        deliveries: whose rows join bronze before it.
        window: the variables of dbt.
        select: what dbt runs; all of the shop if it is empty. Part of it is what a run that dies leaves.
    """

    deliveries: Sequence[int] = ()
    window: Mapping[str, str] | None = None
    select: Sequence[str] = SELECT


@dataclass
class Shop:
    """A DuckDB file with the shop's bronze in it, and dbt to build the rest."""

    home: Path

    def __post_init__(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        if self.path.exists():
            return
        with duckdb.connect(str(self.path)) as connection:
            for schema, more in (("bronze", {"_loaded_at": "TIMESTAMP"}), ("source", {"delivery": "INTEGER"})):
                connection.execute(f"CREATE SCHEMA {schema}")
                for table, columns in COLUMNS.items():
                    listed = ", ".join(f"{name} {kind}" for name, kind in {**columns, **more}.items())
                    connection.execute(f"CREATE TABLE {schema}.shop_{table} ({listed})")

    @property
    def path(self) -> Path:
        return self.home / "work.duckdb"

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "PYTHONPATH": str(PROJECT.parent),
            "LAKEGRAPH_TARGET": "local",
            "LAKEGRAPH_HOME": str(self.home),
            "LAKEGRAPH_DUCKDB_PATH": str(self.path),
            "DBT_TARGET_PATH": str(self.home / "target"),
            "DBT_LOG_PATH": str(self.home / "logs"),
        }

    def prepare(self, deliveries: Iterable[Rows]) -> None:
        """Lay deliveries by, numbered from 0 (or on from those that are there): `deliver` brings them to bronze."""
        with duckdb.connect(str(self.path)) as connection:
            counts = [f"SELECT max(delivery) AS n FROM source.shop_{table}" for table in COLUMNS]
            found = connection.execute(f"SELECT max(n) FROM ({' UNION ALL '.join(counts)})").fetchall()[0][0]
            for number, rows in enumerate(deliveries, 0 if found is None else found + 1):
                for table, versions in rows.items():
                    names = [*COLUMNS[table], "delivery"]
                    values = [[{**one, "delivery": number}.get(name) for name in names] for one in versions]
                    if values:
                        marks = ", ".join("?" * len(names))
                        connection.executemany(f"INSERT INTO source.shop_{table} VALUES ({marks})", values)

    def deliver(self, rows: Rows) -> None:
        """Append to bronze what it does not hold yet."""
        self.prepare([rows])
        with duckdb.connect(str(self.path)) as connection:
            deliver(connection, "max(delivery)")

    def dbt(self, *arguments: str, **window: str) -> subprocess.CompletedProcess[str]:
        return run_dbt(self.environment, *arguments, **window)

    def copy(self, home: Path) -> "Shop":
        """The same shop in another place."""
        home.mkdir(parents=True)
        shutil.copy(self.path, home)
        return Shop(home)

    def build(self, *arguments: str, **window: str) -> str:
        """Build all of the shop with its data tests, or run other arguments; what dbt printed."""
        every = ("build", "--select", *SELECT, "--exclude-resource-type", "unit_test")
        done = self.dbt(*(arguments or every), **window)
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        return done.stdout

    def run(self, steps: Iterable[Step]) -> None:
        """Deliver and run dbt (without tests), step by step, in one process, for dbt is slow to start."""
        given = json.dumps([asdict(step) for step in steps])
        command = [sys.executable, __file__]
        done = subprocess.run(
            command, input=given, env=self.environment, cwd=PROJECT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(self.path), read_only=True) as connection:
            return connection.execute(sql).fetchall()

    def change(self, *statements: str) -> None:
        with duckdb.connect(str(self.path)) as connection:
            for statement in statements:
                connection.execute(statement)

    def everything(self) -> Tables:
        """All rows of every relation of silver and gold, sorted."""
        names = self.rows(
            "SELECT table_schema || '.' || table_name FROM information_schema.tables"
            " WHERE table_schema IN ('silver', 'gold') ORDER BY 1"
        )
        return {name: self.rows(f"SELECT * FROM {name} ORDER BY ALL") for (name,) in names}


def deliver(connection: duckdb.DuckDBPyConnection, number: int | str) -> None:
    """Append to bronze what it does not hold yet of one delivery, or (`max(delivery)`) of the last one."""
    for table in COLUMNS:
        source, bronze = f"source.shop_{table}", f"bronze.shop_{table}"
        wanted = f"(SELECT {number} FROM {source})" if isinstance(number, str) else number
        equal = " AND ".join(f"held.{key} = fresh.{key}" for key in identity(table))
        connection.execute(
            f"INSERT INTO {bronze} SELECT DISTINCT ON ({', '.join(identity(table))}) * EXCLUDE (delivery), now()::TIMESTAMP"
            f" FROM {source} AS fresh WHERE delivery = {wanted}"
            f" AND NOT EXISTS (SELECT 1 FROM {bronze} AS held WHERE {equal})"
        )


def run_dbt(environment: Mapping[str, str], *arguments: str, **window: str) -> subprocess.CompletedProcess[str]:
    """Run dbt in this project, with the variables of a window."""
    command = [sys.executable, "-m", "dbt.cli.main", "--no-use-colors", *arguments]
    command += ["--profiles-dir", str(PROJECT), "--project-dir", str(PROJECT), "--vars", json.dumps(window)]
    return subprocess.run(
        command, env=dict(environment), cwd=PROJECT, capture_output=True, text=True, check=False, timeout=300
    )


def days(*deliveries: Rows) -> dict[str, str]:
    """The window of a run over deliveries: their days."""
    found = sorted({one["source_day"] for rows in deliveries for versions in rows.values() for one in versions})
    return {"from_day": found[0].isoformat(), "to_day": found[-1].isoformat()}


def hours(seed: int, count: int = 4) -> list[Rows]:
    """What the loads of `count` hours deliver, midnight among them, of sources in which everything goes wrong.

    Each load asks for what changed from two hours before its hour to its end, so most rows come again. Documents show
    late, parents after their children or never; versions share a moment; rows are deleted and come back; one version
    comes in several objects, and objects bring old versions late.
    """
    rng = random.Random(seed)  # noqa: S311 - a test's data
    moments = [START + timedelta(minutes=20 * step) for step in range(3 * count)]
    starts = [START + timedelta(hours=hour) for hour in range(count)]
    delivered: list[Rows] = [{table: [] for table in COLUMNS} for _ in starts]

    def ids(prefix: str, number: int) -> str:
        return f"{prefix}{rng.randint(1, number)}"

    def items() -> Any:
        return (
            rng.choice([None, {}, [], ["odd"]]) if rng.random() < 0.1 else [item(n) for n in range(rng.randint(1, 3))]
        )

    def item(number: int) -> Row:
        return {
            "line": rng.choice([number, 1, None]),
            "product_id": ids("P", 9),
            "quantity": rng.choice([1, 2, "3", 4.0, 0, 1.5]),
            "unit_price": rng.choice(["19.90", 5, 0.015, "9.995", "free"]),
            **rng.choice([{}, {"discount": "0.05"}, {"discount": 0.005}]),
        }

    made: dict[str, tuple[int, Any]] = {
        "customers": (
            8,
            lambda n: {
                "id": f"c{n}",
                "segment": rng.choice(["new", "regular", "vip", "odd"]),
                "email": rng.choice(["a@x.org", "\tB@X.org\n", None]),
                "name": rng.choice([{"first": "Ann"}, "Ann", None]),
            },
        ),
        "orders": (
            14,
            lambda n: {
                "id": f"o{n}",
                "customer_id": ids("c", 10),
                "status": rng.choice(["placed", "paid", "cancelled", "refunded", "odd"]),
                "ordered_at": START + timedelta(hours=rng.randint(-30, 3)),
                "items": items(),
                "refund_amount": rng.choice([None, Decimal("3.33"), Decimal("0.00")]),
            },
        ),
        "reviews": (
            10,
            lambda n: {
                "id": f"r{n}",
                "product_id": ids("P", 9),
                "customer_id": ids("c", 10),
                "order_id": rng.choice([None, ids("o", 16)]),
                "rating": rng.randint(0, 6),
            },
        ),
        "products": (
            7,
            lambda n: {
                "product_id": f"P{n}",
                "name": rng.choice(["Shirt", "Hat", "Cap", None]),
                "list_price": rng.choice([None, *map(Decimal, ("0.00", "5.00", "9.99", "19.90"))]),
            },
        ),
        "stock_movements": (
            14,
            lambda n: {
                "movement_id": f"m{n}",
                "product_id": ids("P", 9),
                "warehouse": rng.choice(["north", "south"]),
                "kind": rng.choice(["receipt", "sale", "return", "adjustment", "gift"]),
                "quantity": rng.randint(-2, 9),
            },
        ),
    }
    for table, (count_of_keys, changes) in made.items():
        for number in range(1, count_of_keys + 1):
            at = rng.choice(moments)
            for _ in range(rng.randint(1, 4)):
                at = at if rng.random() < 0.2 else rng.choice(moments)
                values = {**changes(number), "deleted_at": at if rng.random() < 0.2 else None}
                puts = [None] if table in MONGO else [rng.choice(starts) for _ in range(rng.randint(1, 2))]
                for put in puts:
                    one = row(table, at, drop=f"{put.isoformat()}_{rng.randint(1, 2)}.csv" if put else None, **values)
                    shown = (put or at) + timedelta(hours=rng.choice([0, 0, 1, 2]))
                    for index, start in enumerate(starts):
                        since, end = start - timedelta(hours=2), start + timedelta(hours=1)
                        last = index == len(starts) - 1  # whatever showed late is there in the end
                        if since <= (put or at) < end and (shown < end or last):
                            delivered[index][table].append(one)
    return delivered


def _main(steps: list[dict[str, Any]]) -> None:
    from dbt.cli.main import dbtRunner

    place = ["--quiet", "--profiles-dir", "."]
    parsed = dbtRunner().invoke(["parse", *place])
    runner = dbtRunner(manifest=parsed.result)
    for step in steps:
        with duckdb.connect(os.environ["LAKEGRAPH_DUCKDB_PATH"]) as connection:
            for number in step["deliveries"]:
                deliver(connection, number)
        window = json.dumps(step["window"] or {})
        if not runner.invoke(["run", *place, "--select", *step["select"], "--vars", window]).success:
            sys.exit(f"failed: {step}")


if __name__ == "__main__":
    _main(json.load(sys.stdin))
