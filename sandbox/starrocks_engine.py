"""Queries of the StarRocks stand-in: translated by sqlglot, answered by DuckDB over the tables' Parquet files.

What belongs here: reading files as StarRocks does, and running a query. What does not: finding them
(`sandbox.starrocks_files`), the objects (`sandbox.starrocks_catalog`), and the protocol (`sandbox.starrocks`).

Files are looked for at each query: they may appear, change and go. Columns are matched by name without case, and one
that the files lack is null. sqlglot and DuckDB accept more than StarRocks does: that a query works here does not prove
that it works there.
"""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import duckdb
from mysql_mimic import ColumnType, ResultColumn, ResultSet
from sqlglot import exp, parse_one

from lake.duck import literal, quote
from sandbox.starrocks_catalog import (
    COLUMNS_OF,
    DIALECT,
    INFORMATION_SCHEMA,
    NUMBERS,
    UNKNOWN_TABLE,
    Catalog,
    Column,
    Table,
    View,
    comment_of,
    described,
    not_analysed,
    own,
    refused,
)
from sandbox.starrocks_files import Files

WIRE_TYPES = {
    "BOOLEAN": ColumnType.TINY,
    "TINYINT": ColumnType.TINY,
    "SMALLINT": ColumnType.SHORT,
    "INTEGER": ColumnType.LONG,
    "BIGINT": ColumnType.LONGLONG,
    "HUGEINT": ColumnType.LONGLONG,
    "FLOAT": ColumnType.FLOAT,
    "DOUBLE": ColumnType.DOUBLE,
    "DATE": ColumnType.DATE,
    "TIMESTAMP": ColumnType.DATETIME,
}
STARROCKS_TYPES = {
    "INTEGER": "int",
    "HUGEINT": "largeint",
    "VARCHAR": "varchar(65533)",
    "TIMESTAMP": "datetime",
    "TIMESTAMP WITH TIME ZONE": "datetime",
}
VERSION = "4.1.7-standin"
VERSION_MACRO = "standin_version"  # what `current_version()` is called in here
MACROS = (
    f"{VERSION_MACRO}() AS '{VERSION}'",
    # what sqlglot leaves as it is, and DuckDB does not have
    "makedate(y, d) AS CAST(make_date(CAST(y AS BIGINT), 1, 1) + CAST(d - 1 AS INTEGER) AS DATE)",
    "days_add(a, n) AS a + to_days(CAST(n AS INTEGER))",
    "hours_add(a, n) AS a + to_hours(CAST(n AS BIGINT))",
    "years_diff(a, b) AS date_sub('year', CAST(b AS TIMESTAMP), CAST(a AS TIMESTAMP))",
)


class Engine:
    """DuckDB with nothing in it: what a query needs is there for that query."""

    def __init__(self, catalog: Catalog, files: Files) -> None:
        self.catalog = catalog
        self._files = files
        self._duckdb = duckdb.connect(":memory:", config={"threads": 2, "memory_limit": "500MB"})
        self._duckdb.execute("SET TimeZone = 'UTC'")
        for macro in MACROS:
            self._duckdb.execute(f"CREATE MACRO {macro}")

    def select(self, query: exp.Expr, database: str | None) -> ResultSet:
        """The rows of a query; unqualified tables are of `database`."""
        with self._duckdb.cursor() as cursor:
            sql = self._translated(cursor, _named(query.copy()), database)
            rows = _run(cursor, sql).fetchall()
            columns = [(name, str(kind)) for name, kind, *_ in cursor.description or ()]
        nested = [_is_nested(kind) for _, kind in columns]
        return ResultSet(
            [tuple(map(_plain, row, nested)) for row in rows] if any(nested) else rows,
            [ResultColumn(name, _wire_type(kind)) for name, kind in columns],
        )

    def view(self, statement: exp.Create, database: str | None) -> View:
        """The view that a CREATE VIEW makes; its query must run, as StarRocks demands."""
        query = statement.expression.copy()
        for table in _tables(query):
            table.set("db", exp.to_identifier(own(table, database)[0], quoted=True))
            table.set("catalog", None)
        with self._duckdb.cursor() as cursor:
            sql = self._translated(cursor, query.copy(), database, rows=False)  # its files may come later
            described_columns = _run(cursor, f"DESCRIBE {sql}").fetchall()
        heads = statement.this.expressions if isinstance(statement.this, exp.Schema) else []
        if heads and len(heads) != len(described_columns):
            raise not_analysed(
                f"View's columns ({len(heads)}) are not as many as its query's ({len(described_columns)})"
            )
        names = [(head.name, comment_of(head)) for head in heads] or [(row[0], "") for row in described_columns]
        columns = tuple(
            Column(name, STARROCKS_TYPES.get(row[1], _decimal(row[1])), comment=comment)
            for (name, comment), row in zip(names, described_columns, strict=True)
        )
        _, comment, _ = described(statement)
        return View(columns, comment, query.sql(DIALECT))

    def _translated(
        self, cursor: duckdb.DuckDBPyConnection, query: exp.Expr, database: str | None, *, rows: bool = True
    ) -> str:
        """The query in DuckDB's SQL, once what it reads is there as temporary views of this cursor.

        Without `rows`, those have no rows, and no file is looked for.
        """
        for table in _tables(query):
            name = self._provide(cursor, table, database, rows=rows)
            alias = exp.TableAlias(this=exp.to_identifier(table.alias or table.name, quoted=True))
            stand_in = exp.Table(this=exp.to_identifier(name, quoted=True), alias=alias)
            if joins := table.args.get("joins"):
                stand_in.set("joins", joins)
            table.replace(stand_in)
        for column in query.find_all(exp.Column):  # database.table.column
            column.set("db", None)
            column.set("catalog", None)
        for function in list(query.find_all(exp.DayOfWeek)):  # Sunday is 1 there, 0 in DuckDB
            function.replace(exp.paren(function.copy() + 1))
        return query.sql("duckdb")

    def _provide(self, cursor: duckdb.DuckDBPyConnection, table: exp.Table, database: str | None, *, rows: bool) -> str:
        """The name of a temporary view that is this table, made now."""
        database, name = own(table, database)
        if (database or "").lower() == INFORMATION_SCHEMA:
            return self._provide_information(cursor, name.lower())
        view = f"{database}.{name}"
        one = self.catalog.find(database, name)
        if isinstance(one, Table):
            sql = _read(cursor, self._files.of(name, one), one) if rows else _nothing(one)
        else:
            columns = ", ".join(quote(column.name) for column in one.columns)
            inner = self._translated(cursor, parse_one(one.query, read=DIALECT), database, rows=rows)
            sql = f"SELECT * FROM ({inner}) t({columns})"  # noqa: S608 - translated just now
        _run(cursor, f"CREATE OR REPLACE TEMP VIEW {quote(view)} AS {sql}")
        return view

    def _provide_information(self, cursor: duckdb.DuckDBPyConnection, name: str) -> str:
        view = f"{INFORMATION_SCHEMA}.{name}"
        if name not in COLUMNS_OF:
            raise not_analysed(f"Unknown table '{view}'", UNKNOWN_TABLE)
        columns = ", ".join(f"{quote(one)} {'BIGINT' if one in NUMBERS else 'VARCHAR'}" for one in COLUMNS_OF[name])
        cursor.execute(f"CREATE OR REPLACE TEMP TABLE {quote(view)} ({columns})")
        if rows := self.catalog.information(name):
            places = ", ".join("?" * len(rows[0]))
            cursor.executemany(f"INSERT INTO {quote(view)} VALUES ({places})", rows)  # noqa: S608 - a table of ours
        return view


def _tables(query: exp.Expr) -> list[exp.Table]:
    """The tables that a query reads, common table expressions apart."""
    within = {one.alias for one in query.find_all(exp.CTE)}
    tables = [one for one in query.find_all(exp.Table) if one.db or one.name not in within]
    for table in tables:
        if not isinstance(table.this, exp.Identifier):
            raise refused(f"not in the stand-in: {table.sql(DIALECT)}")
    return tables


def _named(query: exp.Expr) -> exp.Expr:
    """StarRocks names an expression that has no alias by its text."""
    if isinstance(query, exp.Select):
        named = [
            one if isinstance(one, exp.Alias | exp.Column | exp.Star) else exp.alias_(one, _text(one), quoted=True)
            for one in query.expressions
        ]
        query.set("expressions", named)
    return query


def _text(expression: exp.Expr) -> str:
    return re.sub(r"\s+", " ", expression.sql(DIALECT).lower()).replace(VERSION_MACRO, "current_version")


def _read(cursor: duckdb.DuckDBPyConnection, files: Sequence[Path], table: Table) -> str:
    """DuckDB's query for the rows of a table of files."""
    paths = ", ".join(literal(str(path)) for path in files)
    rows = f"read_parquet([{paths}], union_by_name=true, hive_partitioning=false)"
    there = {row[0].lower(): row[0] for row in _run(cursor, f"DESCRIBE FROM {rows}").fetchall()}
    columns = [
        _cast(quote(there[column.name.lower()]) if column.name.lower() in there else "NULL", column)
        for column in table.columns
    ]
    return f"SELECT {', '.join(columns)} FROM {rows}"  # noqa: S608 - names and paths are quoted


def _nothing(table: Table) -> str:
    """DuckDB's query for the table's columns alone."""
    return f"SELECT {', '.join(_cast('NULL', column) for column in table.columns)} LIMIT 0"


def _cast(value: str, column: Column) -> str:
    kind = exp.DataType.build(column.type, dialect=DIALECT).sql("duckdb")
    return f"CAST({value} AS {kind}) AS {quote(column.name)}"


def _run(cursor: duckdb.DuckDBPyConnection, sql: str) -> duckdb.DuckDBPyConnection:
    try:
        return cursor.execute(sql)
    except duckdb.Error as error:
        raise not_analysed(str(error).splitlines()[0]) from error


def _wire_type(kind: str) -> ColumnType:
    return ColumnType.NEWDECIMAL if kind.startswith("DECIMAL") else WIRE_TYPES.get(kind, ColumnType.VAR_STRING)


def _is_nested(kind: str) -> bool:
    return "[" in kind or kind.startswith(("STRUCT", "MAP"))


def _plain(value: Any, nested: bool) -> Any:
    """A nested value as StarRocks sends it: as JSON."""
    return json.dumps(value, default=str) if nested and value is not None else value


def _decimal(kind: str) -> str:
    return re.sub(r",(?=\S)", ", ", kind.lower())


def rows_of(names: Iterable[str], rows: Iterable[tuple[Any, ...]]) -> ResultSet:
    """Rows of text under these names."""
    return ResultSet(list(rows), [ResultColumn(name, ColumnType.VAR_STRING) for name in names])
