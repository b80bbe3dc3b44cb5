"""What the StarRocks stand-in keeps: databases, tables of files and views, in a JSON file.

What belongs here: the objects, the statements that make and drop them, and what `information_schema` says of them.
What does not: rows (`sandbox.starrocks_engine`), and the protocol (`sandbox.starrocks`).

Names of databases and tables are told apart by case, those of columns are not, as in StarRocks. Its rules are kept
where breaking them would go unnoticed here and fail there: the engine, the format's case, the path's slash.
"""

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
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
        "MATERIALIZED_VIEW_ID", "TABLE_SCHEMA", "TABLE_NAME", "MATERIALIZED_VIEW_DEFINITION",
    ),
    "tables_config": (
        "TABLE_SCHEMA", "TABLE_NAME", "TABLE_ENGINE", "TABLE_MODEL", "PRIMARY_KEY", "PARTITION_KEY", "DISTRIBUTE_KEY",
        "DISTRIBUTE_TYPE", "DISTRIBUTE_BUCKET", "SORT_KEY", "PROPERTIES",
    ),
}  # fmt: skip
NUMBERS = ("ORDINAL_POSITION", "TABLE_ROWS", "DISTRIBUTE_BUCKET")


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


@dataclass
class Catalog:
    """The databases, kept in a file that is replaced whole at each change."""

    state: Path
    databases: dict[str, dict[str, Table | View]] = field(default_factory=dict)
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
        self.state.parent.mkdir(parents=True, exist_ok=True)
        partial = self.state.with_name(f".{self.state.name}.partial")
        partial.write_text(json.dumps(stored, indent=1, ensure_ascii=False))
        partial.replace(self.state)

    def database(self, name: str | None) -> dict[str, Table | View]:
        """The objects of a database."""
        if not name:
            raise refused("No database selected", NO_DATABASE)
        if name not in self.databases:
            raise not_analysed(f"Unknown database '{name}'", UNKNOWN_DATABASE)
        return self.databases[name]

    def find(self, database: str | None, name: str) -> Table | View:
        """A table or view."""
        objects = self.database(database)
        if name not in objects:
            raise not_analysed(f"Unknown table '{database}.{name}'", UNKNOWN_TABLE)
        return objects[name]

    def objects(self) -> Iterator[tuple[str, str, Table | View]]:
        """All: database, name, object."""
        for database, objects in self.databases.items():
            for name, one in objects.items():
                yield database, name, one

    # -- statements ------------------------------------------------------------------------------------------

    def create_database(self, statement: exp.Create) -> None:
        """`CREATE DATABASE`."""
        name = statement.this.name if isinstance(statement.this, exp.Table) else str(statement.this)
        name = name or statement.this.db
        with self.lock:
            if name in self.databases and not statement.args.get("exists"):
                raise refused(f"Can't create database '{name}'; database exists", 1007)
            self.databases.setdefault(name, {})
            self.save()

    def create_table(self, statement: exp.Create, default: str | None) -> None:
        """`CREATE EXTERNAL TABLE … ENGINE=file`."""
        database, name = own(statement.this.this, default)
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

    def create_view(self, statement: exp.Create, view: View, default: str | None) -> None:
        """`CREATE [OR REPLACE] VIEW`, its query checked and its columns known."""
        table = statement.this.this if isinstance(statement.this, exp.Schema) else statement.this
        database, name = own(table, default)
        with self.lock:
            there = self.database(database).get(name)
            if statement.args.get("replace") and isinstance(there, View):
                del self.database(database)[name]
            self._add(database, name, view, keep=bool(statement.args.get("exists")))

    def _add(self, database: str | None, name: str, one: Table | View, *, keep: bool) -> None:
        with self.lock:
            objects = self.database(database)
            if name in objects:
                if keep:  # the old one stays, however it differs
                    return
                raise refused(f"Table '{name}' already exists", TABLE_EXISTS)
            objects[name] = one
            self.save()

    def drop(self, statement: exp.Drop, default: str | None) -> None:
        """`DROP TABLE`, `DROP VIEW`, `DROP DATABASE`."""
        (table,) = statement.args["tables"] if statement.args.get("tables") else (statement.this,)
        quiet = bool(statement.args.get("exists"))
        with self.lock:
            if statement.kind in {"DATABASE", "SCHEMA"}:
                name = table.name or table.db
                if name not in self.databases and not quiet:
                    raise refused(f"Can't drop database '{name}'; database doesn't exist", 1008)
                self.databases.pop(name, None)
            else:
                database, name = own(table, default)
                if quiet and name not in self.databases.get(database or "", {}):
                    return
                one = self.find(database, name)
                if (statement.kind == "VIEW") != isinstance(one, View):
                    raise not_analysed(
                        f"'{database}.{name}' is a {one.kind.lower()}, not a {str(statement.kind).lower()}"
                    )
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
                engine = "FILE" if isinstance(one, Table) else ""
                yield {**base, "TABLE_TYPE": one.kind, "ENGINE": engine, "TABLE_COMMENT": one.comment}
            elif table == "columns":
                for number, column in enumerate(one.columns, 1):
                    yield {**base, **_column_facts(number, column)}
            elif table == "views" and isinstance(one, View):
                yield {**base, "VIEW_DEFINITION": one.query, "SECURITY_TYPE": ""}
            elif table == "tables_config" and isinstance(one, Table):
                empty = dict.fromkeys(COLUMNS_OF[table], "")
                config = {"TABLE_ENGINE": "FILE", "DISTRIBUTE_BUCKET": 0, "PROPERTIES": json.dumps(one.properties)}
                yield {**empty, **base, **config}


def own(table: exp.Table, default: str | None) -> tuple[str | None, str]:
    """Database and name of a table; other catalogs than StarRocks' own are not in the stand-in."""
    if table.catalog not in {"", OWN_CATALOG}:
        raise not_analysed(f"Unknown catalog '{table.catalog}': the stand-in has {OWN_CATALOG} only")
    return table.db or default, table.name


def described(statement: exp.Create) -> tuple[str | None, str, dict[str, str]]:
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


def _restored(stored: dict[str, Any]) -> Table | View:
    columns = tuple(Column(**column) for column in stored.pop("columns"))
    return Table(columns, **stored) if "properties" in stored else View(columns, **stored)
