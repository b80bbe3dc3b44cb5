"""What the StarRocks stand-in keeps: databases, tables of files, views plain and materialised, in a JSON file.

What belongs here: the objects of StarRocks' own catalog, the statements that make and drop them, and what
`information_schema` says of them. What does not: other catalogs (`sandbox.starrocks_external`), rows
(`sandbox.starrocks_engine`), and the protocol (`sandbox.starrocks`).

Names of databases and tables are told apart by case, those of columns are not, as in StarRocks. Its rules are kept
where breaking them would go unnoticed here and fail there: the engine, the format's case, the path's slash.
"""

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mysql_mimic.errors import MysqlError
from sqlglot import exp

DIALECT = "starrocks"
OWN_CATALOG = "default_catalog"
INFORMATION_SCHEMA = "information_schema"
SYNTAX, NO_DATABASE, TABLE_EXISTS, UNKNOWN_DATABASE, UNKNOWN_TABLE = 1064, 1046, 1050, 5501, 5502

# What `information_schema` calls a type; others are called by their own name.
SHOWN_TYPES = {
    "boolean": "tinyint(1)",
    "tinyint": "tinyint(4)",
    "smallint": "smallint(6)",
    "int": "int(11)",
    "bigint": "bigint(20)",
    "largeint": "bigint(20) unsigned",
    "string": "varchar(65533)",
}

COLUMNS_OF: Mapping[str, Sequence[str]] = {
    "schemata": ("CATALOG_NAME", "SCHEMA_NAME"),
    "tables": (
        "TABLE_CATALOG", "TABLE_SCHEMA", "TABLE_NAME", "TABLE_TYPE", "ENGINE", "TABLE_ROWS", "TABLE_COMMENT",
        "CREATE_TIME",
    ),
    "columns": (
        "TABLE_CATALOG", "TABLE_SCHEMA", "TABLE_NAME", "COLUMN_NAME", "ORDINAL_POSITION", "COLUMN_DEFAULT",
        "IS_NULLABLE", "DATA_TYPE", "CHARACTER_MAXIMUM_LENGTH", "NUMERIC_PRECISION", "NUMERIC_SCALE", "COLUMN_TYPE",
        "COLUMN_KEY", "EXTRA", "PRIVILEGES", "COLUMN_COMMENT", "COLUMN_SIZE", "DECIMAL_DIGITS",
        "GENERATION_EXPRESSION",
    ),
    "views": ("TABLE_CATALOG", "TABLE_SCHEMA", "TABLE_NAME", "VIEW_DEFINITION", "SECURITY_TYPE"),
    "materialized_views": (
        "MATERIALIZED_VIEW_ID", "TABLE_SCHEMA", "TABLE_NAME", "REFRESH_TYPE", "IS_ACTIVE", "PARTITION_TYPE",
        "LAST_REFRESH_FINISHED_TIME", "LAST_REFRESH_STATE", "MATERIALIZED_VIEW_DEFINITION",
    ),
    "tables_config": (
        "TABLE_SCHEMA", "TABLE_NAME", "TABLE_ENGINE", "TABLE_MODEL", "PRIMARY_KEY", "PARTITION_KEY", "DISTRIBUTE_KEY",
        "DISTRIBUTE_TYPE", "DISTRIBUTE_BUCKET", "SORT_KEY", "PROPERTIES",
    ),
}  # fmt: skip
NUMBERS = ("ORDINAL_POSITION", "TABLE_ROWS", "DISTRIBUTE_BUCKET")


def write_state(path: Path, stored: Any) -> None:
    """Write a file of JSON anew, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(stored, indent=1, ensure_ascii=False))
    partial.replace(path)


def refused(message: str, code: int = SYNTAX) -> MysqlError:
    """The error to answer with; most of StarRocks' have the code of a syntax error, and say what is wrong."""
    return MysqlError(message, code)


def not_analysed(detail: str, code: int = SYNTAX) -> MysqlError:
    """The error of a statement that is one, and does not fit what is there."""
    return refused(f"Getting analyzing error. Detail message: {detail}.", code)


@dataclass(frozen=True)
class Column:
    """A column; its type is StarRocks', in small letters."""

    name: str
    type: str
    nullable: bool = True
    comment: str = ""

    @property
    def shown_type(self) -> str:
        """The type as `information_schema` has it."""
        return SHOWN_TYPES.get(self.type, self.type)


@dataclass(frozen=True)
class Table:
    """A table over files."""

    columns: tuple[Column, ...]
    comment: str
    properties: Mapping[str, str]
    kind: str = "BASE TABLE"

    @property
    def path(self) -> str:
        """The folder, or file, that it is over."""
        return self.properties["path"]

    def ddl(self, name: str) -> str:
        """What `SHOW CREATE TABLE` says."""
        columns = ",\n".join(
            f"  `{c.name}` {c.shown_type} {'NULL' if c.nullable else 'NOT NULL'}" for c in self.columns
        )
        properties = ",\n".join(f'"{key}" = "{value}"' for key, value in self.properties.items())
        return (
            f"CREATE EXTERNAL TABLE `{name}` (\n{columns}\n)\nENGINE=FILE\nCOMMENT {json.dumps(self.comment)}\n"
            f"PROPERTIES (\n{properties}\n);"
        )


@dataclass(frozen=True)
class View:
    """A query with a name; its tables are written with their databases."""

    columns: tuple[Column, ...]
    comment: str
    query: str
    kind: str = "VIEW"

    def ddl(self, name: str) -> str:
        """What `SHOW CREATE VIEW` says."""
        columns = ", ".join(f"`{c.name}`" for c in self.columns)
        return f"CREATE VIEW `{name}` ({columns})\nCOMMENT {json.dumps(self.comment)} AS {self.query};"


@dataclass(frozen=True)
class MaterialisedView:
    """A query whose rows are kept from one refresh to the next.

    Attributes:
        columns: as the query's were when it was made.
        comment: of its CREATE.
        query: its tables are written with their databases, and those of other catalogs with theirs.
        distributed_by: a column.
        rows: the name of the file with the rows; empty until it is refreshed.
        refreshed: when.
    """

    columns: tuple[Column, ...]
    comment: str
    query: str
    distributed_by: str
    rows: str = ""
    refreshed: str | None = None
    kind: str = "VIEW"  # as StarRocks calls it; `information_schema.materialized_views` tells it from a view

    def ddl(self, name: str) -> str:
        """What `SHOW CREATE MATERIALIZED VIEW` says."""
        columns = ", ".join(f"`{c.name}`" for c in self.columns)
        return (
            f"CREATE MATERIALIZED VIEW `{name}` ({columns})\nCOMMENT {json.dumps(self.comment)}\n"
            f"DISTRIBUTED BY HASH(`{self.distributed_by}`)\nREFRESH DEFERRED MANUAL\nAS {self.query};"
        )


Object = Table | View | MaterialisedView
KINDS: Mapping[type[Object], str] = {Table: "table", View: "view", MaterialisedView: "materialized view"}


@dataclass(frozen=True)
class Place:
    """Where a name is looked for that does not say it: a catalog, and a database of it if one is chosen."""

    catalog: str = OWN_CATALOG
    database: str | None = None

    def of(self, table: exp.Table) -> tuple[str, str | None, str]:
        """Catalog, database and name of a table."""
        if table.db:
            return table.catalog or self.catalog, table.db, table.name
        return self.catalog, self.database, table.name


OWN = Place()


@dataclass
class Catalog:
    """The databases, kept in a file that is replaced whole at each change."""

    state: Path
    databases: dict[str, dict[str, Object]] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)

    @classmethod
    def load(cls, state: Path) -> "Catalog":
        """The catalog that the file has; an empty one if there is no file."""
        if not state.exists():
            return cls(state)
        stored: dict[str, dict[str, dict[str, Any]]] = json.loads(state.read_text())
        return cls(
            state, {name: {key: _restored(one) for key, one in objects.items()} for name, objects in stored.items()}
        )

    def save(self) -> None:
        """Write the file anew."""
        stored = {name: {key: asdict(one) for key, one in objects.items()} for name, objects in self.databases.items()}
        write_state(self.state, stored)

    def database(self, name: str | None) -> dict[str, Object]:
        """The objects of a database."""
        if not name:
            raise refused("No database selected", NO_DATABASE)
        if name not in self.databases:
            raise not_analysed(f"Unknown database '{name}'", UNKNOWN_DATABASE)
        return self.databases[name]

    def find(self, database: str | None, name: str) -> Object:
        """A table or view."""
        objects = self.database(database)
        if name not in objects:
            raise not_analysed(f"Unknown table '{database}.{name}'", UNKNOWN_TABLE)
        return objects[name]

    def objects(self) -> Iterator[tuple[str, str, Object]]:
        """All: database, name, object."""
        for database, objects in self.databases.items():
            for name, one in objects.items():
                yield database, name, one

    # -- statements ------------------------------------------------------------------------------------------

    def create_database(self, statement: exp.Create) -> None:
        """`CREATE DATABASE`."""
        name = target(statement).name
        with self.lock:
            if name in self.databases and not statement.args.get("exists"):
                raise refused(f"Can't create database '{name}'; database exists", 1007)
            self.databases.setdefault(name, {})
            self.save()

    def create_table(self, statement: exp.Create, place: Place) -> None:
        """`CREATE EXTERNAL TABLE … ENGINE=file`."""
        _, database, name = place.of(target(statement))
        engine, comment, properties = described(statement)
        if engine != "file":
            raise refused(f"the stand-in has tables of ENGINE=file only, not {engine or 'of its own'}")
        for key in ("path", "format"):
            if not properties.get(key):
                raise refused(f"{key} is null. Please add properties({key}='xxx') when create table")
        if properties["format"] != "parquet":  # StarRocks looks it up as it is written
            raise refused(f"not supported format: {properties['format']}")
        columns = tuple(map(_column, statement.this.find_all(exp.ColumnDef)))
        self._add(database, name, Table(columns, comment, properties), keep=bool(statement.args.get("exists")))

    def create_view(self, statement: exp.Create, view: View | MaterialisedView, place: Place) -> None:
        """`CREATE [OR REPLACE] VIEW` and `CREATE MATERIALIZED VIEW`, the query checked and its columns known."""
        _, database, name = place.of(target(statement))
        with self.lock:
            there = self.database(database).get(name)
            if statement.args.get("replace") and isinstance(there, View) and isinstance(view, View):
                del self.database(database)[name]
            self._add(database, name, view, keep=bool(statement.args.get("exists")))

    def _add(self, database: str | None, name: str, one: Object, *, keep: bool) -> None:
        with self.lock:
            objects = self.database(database)
            if name in objects:
                if keep:  # the old one stays, however it differs
                    return
                raise refused(f"Table '{name}' already exists", TABLE_EXISTS)
            objects[name] = one
            self.save()

    def refreshed(self, database: str, name: str, one: MaterialisedView, rows: str) -> None:
        """A materialised view has its rows in another file from now on."""
        with self.lock:
            if self.find(database, name) is not one:
                raise refused(f"materialized view {name} is another now")
            now = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}"
            self.databases[database][name] = replace(one, rows=rows, refreshed=now)
            self.save()

    def drop(self, statement: exp.Drop, place: Place) -> None:
        """`DROP TABLE`, `DROP VIEW`, `DROP MATERIALIZED VIEW`, `DROP DATABASE`."""
        quiet = bool(statement.args.get("exists"))
        with self.lock:
            if statement.kind in {"DATABASE", "SCHEMA"}:
                name = target(statement).name
                if name not in self.databases and not quiet:
                    raise refused(f"Can't drop database '{name}'; database doesn't exist", 1008)
                self.databases.pop(name, None)
            else:
                _, database, name = place.of(target(statement))
                if quiet and name not in self.databases.get(database or "", {}):
                    return
                there = KINDS[type(self.find(database, name))]
                wanted = f"{'materialized ' if statement.args.get('materialized') else ''}{statement.kind}".lower()
                if there != wanted:
                    raise not_analysed(f"'{database}.{name}' is a {there}, not a {wanted}")
                del self.databases[str(database)][name]
            self.save()

    # -- information_schema ----------------------------------------------------------------------------------

    def information(self, table: str) -> list[tuple[Any, ...]]:
        """The rows of a table of `information_schema`, in the order of `COLUMNS_OF`."""
        with self.lock:
            return [tuple(row.get(name) for name in COLUMNS_OF[table]) for row in self._facts(table)]

    def _facts(self, table: str) -> Iterator[dict[str, Any]]:
        if table == "schemata":
            for name in (*self.databases, INFORMATION_SCHEMA):
                yield {"CATALOG_NAME": "def", "SCHEMA_NAME": name}
            return
        for database, name, one in self.objects():
            base = {"TABLE_CATALOG": "def", "TABLE_SCHEMA": database, "TABLE_NAME": name}
            if table == "tables":
                engine = {Table: "FILE", View: "", MaterialisedView: "StarRocks"}[type(one)]
                yield {**base, "TABLE_TYPE": one.kind, "ENGINE": engine, "TABLE_COMMENT": one.comment}
            elif table == "columns":
                for number, column in enumerate(one.columns, 1):
                    yield {**base, **_column_facts(number, column)}
            elif table == "views" and isinstance(one, View):
                yield {**base, "VIEW_DEFINITION": one.query, "SECURITY_TYPE": ""}
            elif table == "materialized_views" and isinstance(one, MaterialisedView):
                yield {**base, **_refresh_facts(one), "MATERIALIZED_VIEW_DEFINITION": one.ddl(name)}
            elif table == "tables_config" and isinstance(one, Table):
                empty = dict.fromkeys(COLUMNS_OF[table], "")
                config = {"TABLE_ENGINE": "FILE", "DISTRIBUTE_BUCKET": 0, "PROPERTIES": json.dumps(one.properties)}
                yield {**empty, **base, **config}


def target(statement: exp.Create | exp.Drop) -> exp.Table:
    """What a statement makes or drops; the catalog of a database is where a table has its database."""
    (table,) = statement.args.get("tables") or (statement.this,)
    table = table.this if isinstance(table, exp.Schema) else table
    if not isinstance(table, exp.Table):
        raise refused(f"not in the stand-in: {statement.sql(DIALECT)[:80]}")
    return table


def described(statement: exp.Expr) -> tuple[str | None, str, dict[str, str]]:
    """Engine, comment and properties of a CREATE."""
    engine, comment, properties = None, "", {}
    found = statement.args.get("properties")
    for one in found.expressions if found else ():
        if isinstance(one, exp.EngineProperty):
            engine = one.name.lower()
        elif isinstance(one, exp.SchemaCommentProperty):
            comment = one.name
        elif type(one) is exp.Property:
            properties[one.name] = one.args["value"].name
    return engine, comment, properties


def comment_of(column: exp.Expr) -> str:
    """The comment of a column in a CREATE."""
    found = column.find(exp.CommentColumnConstraint)
    return found.this.name if found else ""


def _column(column: exp.ColumnDef) -> Column:
    constraints = [one.kind for one in column.args.get("constraints") or ()]
    forbids = any(
        isinstance(one, exp.NotNullColumnConstraint) and not one.args.get("allow_null") for one in constraints
    )
    return Column(column.name, column.args["kind"].sql(DIALECT).lower(), not forbids, comment_of(column))


def _column_facts(number: int, column: Column) -> dict[str, Any]:
    return {
        "COLUMN_NAME": column.name,
        "ORDINAL_POSITION": number,
        "IS_NULLABLE": "YES" if column.nullable else "NO",
        "DATA_TYPE": column.shown_type.partition("(")[0],
        "COLUMN_TYPE": column.shown_type,
        "COLUMN_KEY": "",
        "EXTRA": "",
        "PRIVILEGES": "",
        "COLUMN_COMMENT": column.comment,
    }


def _refresh_facts(one: MaterialisedView) -> dict[str, Any]:
    return {
        "REFRESH_TYPE": "ASYNC",  # whatever triggers it
        "IS_ACTIVE": "true",
        "PARTITION_TYPE": "UNPARTITIONED",
        "LAST_REFRESH_FINISHED_TIME": one.refreshed,
        "LAST_REFRESH_STATE": "SUCCESS" if one.refreshed else "",
    }


def _restored(stored: dict[str, Any]) -> Object:
    columns = tuple(Column(**column) for column in stored.pop("columns"))
    if "properties" in stored:
        return Table(columns, **stored)
    return MaterialisedView(columns, **stored) if "distributed_by" in stored else View(columns, **stored)
