"""Two copies of a table, compared: columns, types, rows; and reading a layer's tables from each target.

What belongs here: the comparison and what is the same on both engines under another name. What does not: running
anything.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from lake import bigquery_store, gcp
from lake.duck import quote
from lake.settings import GcpTarget

ENGINES_OWN = {"key_hash"}  # a hash that each engine works out in its own way, for joins within one run
LAYERS = ("silver", "gold")
TYPES: Mapping[str, str] = {  # BigQuery's type of what DuckDB calls so
    "BIGINT": "INT64",
    "INTEGER": "INT64",
    "DOUBLE": "FLOAT64",
    "VARCHAR": "STRING",
    "DATE": "DATE",
    "TIMESTAMP": "DATETIME",
    "BOOLEAN": "BOOL",
    "DECIMAL(18,2)": "NUMERIC",
    "DECIMAL(18,3)": "NUMERIC",
    "DECIMAL(18,4)": "NUMERIC",
}
# What tells a table's rows apart: the first of these that the table has. Without any, rows are compared as wholes.
KEYS: Sequence[tuple[str, ...]] = (
    ("trip_id",),
    ("line_id",),
    ("payment_id",),
    ("contract_id",),
    ("employee_id",),
    ("service_id",),
    ("customer_id", "dbt_valid_from"),
    ("customer_id", "valid_from"),
    ("invoice_id",),
    ("revenue_month", "category", "segment"),
    ("month_start", "segment"),
    ("as_of", "bucket", "segment"),
    ("top_up_id",),
    ("report", "settlement_date", "channel_code"),
    ("settlement_date", "channel_code"),
    ("topup_date", "channel_code"),
    ("activity_date", "user_id"),
    ("activity_date", "stage_order"),
    ("cohort_week", "week_number"),
    ("report", "source_day"),
    ("user_id",),
    ("zone_id",),
    ("service", "pickup_date", "pickup_zone_id"),
    ("service", "pickup_hour"),
    ("payment_type",),
    ("city",),
    ("service", "source_month"),
    ("order_id", "version", "line_number"),
    ("order_id", "line_number"),
    ("customer_id", "version"),
    ("movement_id",),
    ("review_id",),
    ("order_id",),
    ("product_id", "warehouse"),
    ("product_id",),
    ("customer_id",),
    ("order_date",),
    ("date_day",),
    ("channel_code",),
    ("source_day",),
)
SHOWN = 20


@dataclass(frozen=True)
class Difference:
    """One value that is not the same; `column` is "" for a row that one side lacks."""

    table: str
    key: str
    column: str
    left: Any
    right: Any

    def __str__(self) -> str:
        return f"{self.table} [{self.key}] {self.column or 'row'}: {self.left!r} != {self.right!r}"


def differences(table: str, left: pa.Table, right: pa.Table) -> list[Difference]:
    """Up to `SHOWN` differences between two copies of `table`; none if they hold the same rows, in any order."""
    if set(left.column_names) != set(right.column_names):
        return [Difference(table, "", "columns", sorted(left.column_names), sorted(right.column_names))]
    columns = [name for name in left.column_names if name not in ENGINES_OWN]
    key = next((key for key in KEYS if set(key) <= set(columns)), tuple(columns))
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for side, rows in (("l", left), ("r", right)):
            connection.register(f"{side}_rows", rows.select(columns))
            order = ", ".join(map(quote, columns))
            partition = ", ".join(map(quote, key))  # a key that is not one is told apart by its ordinal
            connection.execute(
                f"CREATE TABLE {side} AS SELECT *, row_number() OVER (PARTITION BY {partition} ORDER BY {order}) AS nth "
                f"FROM {side}_rows"
            )
        joined = " AND ".join(f"l.{quote(name)} IS NOT DISTINCT FROM r.{quote(name)}" for name in (*key, "nth"))
        shown = "concat_ws(', ', " + ", ".join(f"coalesce(l.{quote(n)}, r.{quote(n)})::VARCHAR" for n in key) + ")"
        selects = [
            (
                f"SELECT {shown}, '', l.nth IS NOT NULL, r.nth IS NOT NULL FROM l FULL JOIN r ON {joined} "
                "WHERE l.nth IS NULL OR r.nth IS NULL"
            )
        ]
        selects += [
            f"SELECT {shown}, '{name}', l.{quote(name)}, r.{quote(name)} FROM l JOIN r ON {joined} "
            f"WHERE l.{quote(name)} IS DISTINCT FROM r.{quote(name)}"
            for name in columns
            if name not in key
        ]
        found = [row for sql in selects for row in connection.execute(f"{sql} LIMIT {SHOWN}").fetchall()]
    return [Difference(table, *row) for row in found][:SHOWN]


def type_differences(table: str, left: Mapping[str, str], right: Mapping[str, str]) -> list[Difference]:
    """Columns of a DuckDB table (`left`) whose types are not BigQuery's names for the same (`right`)."""
    names = sorted({*left, *right} - ENGINES_OWN)
    return [
        Difference(table, "types", name, left.get(name), right.get(name))
        for name in names
        if TYPES.get(left.get(name, "")) != right.get(name)
    ]


def local_tables(connection: duckdb.DuckDBPyConnection) -> dict[str, tuple[pa.Table, dict[str, str]]]:
    """Of every table of silver and gold: its rows, and its columns' types."""
    names = connection.execute(
        "SELECT table_schema, table_name FROM information_schema.tables WHERE table_schema IN ('silver', 'gold')"
    ).fetchall()
    tables = {}
    for schema, name in names:
        relation = connection.sql(f"SELECT * FROM {schema}.{quote(name)}")
        types = dict(zip(relation.columns, map(str, relation.types), strict=True))
        tables[f"{schema}.{name}"] = (relation.to_arrow_table(), types)
    return tables


def gcp_tables(target: GcpTarget) -> dict[str, tuple[pa.Table, dict[str, str]]]:
    """The same, from BigQuery."""
    client, tables = gcp.bigquery_client(target), {}
    for layer in LAYERS:
        for item in client.list_tables(f"{target.project}.{layer}"):
            table = client.get_table(item.reference)
            every = (
                f" WHERE {table.time_partitioning.field} >= DATE '0001-01-01'" if table.require_partition_filter else ""
            )
            rows = client.query_and_wait(f"SELECT * FROM `{table.project}.{layer}.{table.table_id}`{every}").to_arrow(
                create_bqstorage_client=False
            )
            types = {field.name: bigquery_store.field_type(field) for field in table.schema}
            tables[f"{layer}.{table.table_id}"] = (rows, types)
    return tables
