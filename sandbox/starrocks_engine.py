"""Queries of the StarRocks stand-in: translated by sqlglot, answered by DuckDB over files and tables of Iceberg.

What belongs here: reading files as StarRocks does, running a query, and keeping its rows for a materialised view. What
does not: finding files (`sandbox.starrocks_files`), the objects (`sandbox.starrocks_catalog`), those of other catalogs
(`sandbox.starrocks_external`), and the protocol (`sandbox.starrocks`).

Files and snapshots are looked for at each query: they may appear, change and go. Columns are matched by name without
case, and one that files lack is null. sqlglot and DuckDB accept more than StarRocks does: that a query works here does
not prove that it works there.
"""

import json
import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import duckdb
import pyarrow as pa
from mysql_mimic import ColumnType, ResultColumn, ResultSet
from mysql_mimic.errors import MysqlError
from sqlglot import exp, parse_one

from lake.duck import literal, quote
from sandbox.starrocks_catalog import (
    COLUMNS_OF,
    DIALECT,
    INFORMATION_SCHEMA,
    NUMBERS,
    OWN,
    OWN_CATALOG,
    UNKNOWN_TABLE,
    Catalog,
    Column,
    MaterialisedView,
    Object,
    Place,
    Table,
    View,
    comment_of,
    described,
    not_analysed,
    refused,
)
from sandbox.starrocks_external import ExternalCatalogs
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

    def __init__(self, catalog: Catalog, external: ExternalCatalogs, files: Files, kept: Path) -> None:
        """Answer from these; `kept` is the folder for the rows of materialised views."""
        self.catalog = catalog
        self.external = external
        self._files = files
        self._kept = kept
        self._refreshing = threading.Lock()
        self._duckdb = duckdb.connect(":memory:", config={"threads": 2, "memory_limit": "500MB"})
        self._duckdb.execute("SET TimeZone = 'UTC'")
        for macro in MACROS:
            self._duckdb.execute(f"CREATE MACRO {macro}")

    def select(self, query: exp.Expr, place: Place) -> ResultSet:
        """The rows of a query; names that do not say where are looked for in `place`."""
        with self._duckdb.cursor() as cursor:
            sql = self._translated(cursor, _named(query.copy()), place)
            rows = _run(cursor, sql).fetchall()
            columns = [(name, str(kind)) for name, kind, *_ in cursor.description or ()]
        nested = [_is_nested(kind) for _, kind in columns]
        return ResultSet(
            [tuple(map(_plain, row, nested)) for row in rows] if any(nested) else rows,
            [ResultColumn(name, _wire_type(kind)) for name, kind in columns],
        )

    def columns(self, catalog: str, database: str | None, name: str) -> tuple[Column, ...]:
        """The columns of a table or view of any catalog."""
        if catalog == OWN_CATALOG:
            return self.catalog.find(database, name).columns
        return self.external.table(catalog, database, name).columns

    def view_of(self, statement: exp.Create, place: Place) -> View | MaterialisedView:
        """The view that a CREATE makes, plain or materialised; its query must run, as StarRocks demands."""
        view = self._view(statement, place)
        return self._materialised(statement, view) if statement.find(exp.MaterializedProperty) else view

    def _view(self, statement: exp.Create, place: Place) -> View:
        query = statement.expression.copy()
        for table in _tables(query):
            catalog, database, _ = place.of(table)
            table.set("db", exp.to_identifier(database, quoted=True))
            table.set("catalog", None if catalog == OWN_CATALOG else exp.to_identifier(catalog, quoted=True))
        with self._duckdb.cursor() as cursor:
            sql = self._translated(cursor, query.copy(), OWN, rows=False)  # its files may come later
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

    def _materialised(self, statement: exp.Create, view: View) -> MaterialisedView:
        """It without rows yet; over tables of files StarRocks makes none."""
        trigger, spread = statement.find(exp.RefreshTriggerProperty), statement.find(exp.DistributedByProperty)
        if trigger is None or (trigger.args["method"], trigger.args["kind"]) != ("DEFERRED", "MANUAL"):
            raise refused("the stand-in has materialized views of REFRESH DEFERRED MANUAL only")
        if spread is None or len(spread.expressions) != 1:
            raise refused("the stand-in has materialized views of DISTRIBUTED BY HASH(one column) only")
        if any(isinstance(one, Table) for one in self._behind(view.query)):
            raise not_analysed("Create/Rebuild materialized view do not support the table type: FILE")
        column = spread.expressions[0].name
        if column.lower() not in {one.name.lower() for one in view.columns}:
            raise not_analysed(f"Distribution column({column}) doesn't exist")
        return MaterialisedView(view.columns, view.comment, view.query, column)

    def _behind(self, query: str) -> Iterator[Object]:
        """The objects of StarRocks' own that a view's query reads, and what is behind those that are views."""
        for table in _tables(parse_one(query, read=DIALECT)):
            catalog, database, name = OWN.of(table)
            if catalog == OWN_CATALOG and (database or "").lower() != INFORMATION_SCHEMA:
                one = self.catalog.find(database, name)
                yield one
                if isinstance(one, View):
                    yield from self._behind(one.query)

    def refresh(self, database: str | None, name: str) -> None:
        """`REFRESH MATERIALIZED VIEW … WITH SYNC MODE`: who asks meanwhile, or after a failure, gets the old rows."""
        with self._refreshing, self._duckdb.cursor() as cursor:
            one = self.catalog.find(database, name)
            if not isinstance(one, MaterialisedView):
                raise not_analysed(f"Can not refresh non materialized view: {name}")
            file = self._kept / f"{uuid4().hex}.parquet"
            file.parent.mkdir(parents=True, exist_ok=True)
            try:
                sql = self._viewed(cursor, one, rows=True)
                _run(cursor, f"COPY ({sql}) TO {literal(str(file))} (FORMAT parquet)")
            except MysqlError as error:
                raise refused(
                    f"Refresh materialized view {name} failed after retrying 1 times(try-lock 0 times), error-msg : "
                    f"{error.msg}"
                ) from error
            self.catalog.refreshed(str(database), name, one, file.name)
            named = {kept.rows for *_, kept in self.catalog.objects() if isinstance(kept, MaterialisedView)}
            for other in self._kept.iterdir():
                if other.name not in named:
                    other.unlink()

    def _translated(
        self, cursor: duckdb.DuckDBPyConnection, query: exp.Expr, place: Place, *, rows: bool = True
    ) -> str:
        """The query in DuckDB's SQL, once what it reads is there as temporary views of this cursor.

        Without `rows`, those have no rows, and no file is looked for; a table of Iceberg is, for its columns.
        """
        for table in _tables(query):
            name = self._provide(cursor, table, place, rows=rows)
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

    def _provide(self, cursor: duckdb.DuckDBPyConnection, table: exp.Table, place: Place, *, rows: bool) -> str:
        """The name of a temporary view that is this table, made now."""
        catalog, database, name = place.of(table)
        if (database or "").lower() == INFORMATION_SCHEMA and catalog == OWN_CATALOG:
            return self._provide_information(cursor, name.lower())
        view = f"{catalog}.{database}.{name}"
        if catalog == OWN_CATALOG:
            sql = self._own(cursor, name, self.catalog.find(database, name), rows=rows)
        else:
            source = self.external.table(catalog, database, name)
            sql = _nothing(source.columns)
            if rows:
                cursor.register(f"{view} as it is", source.rows())
                sql = _cast_all(source.columns, f"FROM {quote(f'{view} as it is')}")
        _run(cursor, f"CREATE OR REPLACE TEMP VIEW {quote(view)} AS {sql}")
        return view

    def _own(self, cursor: duckdb.DuckDBPyConnection, name: str, one: Object, *, rows: bool) -> str:
        """DuckDB's query for an object of StarRocks' own catalog."""
        if isinstance(one, View):
            return self._viewed(cursor, one, rows=rows)
        if not rows:
            return _nothing(one.columns)
        if isinstance(one, Table):
            return _read(cursor, self._files.of(name, one), one.columns)
        return _read(cursor, [self._kept / one.rows], one.columns) if one.rows else _nothing(one.columns)

    def _viewed(self, cursor: duckdb.DuckDBPyConnection, one: View | MaterialisedView, *, rows: bool) -> str:
        """DuckDB's query for a view, under its own columns' names."""
        columns = ", ".join(quote(column.name) for column in one.columns)
        inner = self._translated(cursor, parse_one(one.query, read=DIALECT), OWN, rows=rows)
        return f"SELECT * FROM ({inner}) t({columns})"  # noqa: S608 - translated just now

    def _provide_information(self, cursor: duckdb.DuckDBPyConnection, name: str) -> str:
        view = f"{INFORMATION_SCHEMA}.{name}"
        if name not in COLUMNS_OF:
            raise not_analysed(f"Unknown table '{view}'", UNKNOWN_TABLE)
        schema = pa.schema([(one, pa.int64() if one in NUMBERS else pa.string()) for one in COLUMNS_OF[name]])
        rows = [dict(zip(schema.names, row, strict=True)) for row in self.catalog.information(name)]
        cursor.register(view, pa.Table.from_pylist(rows, schema))  # inserted row by row, hundreds take up to a second
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


def _read(cursor: duckdb.DuckDBPyConnection, files: Sequence[Path], columns: Sequence[Column]) -> str:
    """DuckDB's query for these columns of files."""
    paths = ", ".join(literal(str(path)) for path in files)
    rows = f"read_parquet([{paths}], union_by_name=true, hive_partitioning=false)"
    there = {row[0].lower(): row[0] for row in _run(cursor, f"DESCRIBE FROM {rows}").fetchall()}
    casts = [
        _cast(quote(there[column.name.lower()]) if column.name.lower() in there else "NULL", column)
        for column in columns
    ]
    return f"SELECT {', '.join(casts)} FROM {rows}"  # noqa: S608 - names and paths are quoted


def _cast_all(columns: Sequence[Column], source: str) -> str:
    """DuckDB's query for these columns of a source that has them all."""
    return f"SELECT {', '.join(_cast(quote(column.name), column) for column in columns)} {source}"


def _nothing(columns: Sequence[Column]) -> str:
    """DuckDB's query for columns alone."""
    return f"SELECT {', '.join(_cast('NULL', column) for column in columns)} LIMIT 0"


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
