"""External catalogs of the StarRocks stand-in: Iceberg tables behind a REST service, as they are at each query.

What belongs here: the catalogs, kept in a JSON file, the statements that make and drop them, and asking their services,
with StarRocks' words where that fails. What does not: the objects of StarRocks' own catalog
(`sandbox.starrocks_catalog`), and queries (`sandbox.starrocks_engine`).

pyiceberg's client asks and reads, so that deletes count, and its settings are what follows `iceberg.catalog.` in the
properties. Like StarRocks, a catalog asks for the service's configuration when it is made, and again in a new process
when it is first used; unlike StarRocks nothing else is kept. Nothing is ever written to a service.
"""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mysql_mimic.errors import MysqlError
from sqlglot import exp

from sandbox.starrocks_catalog import (
    INFORMATION_SCHEMA,
    NO_DATABASE,
    OWN_CATALOG,
    UNKNOWN_DATABASE,
    UNKNOWN_TABLE,
    Column,
    described,
    not_analysed,
    refused,
    write_state,
)

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.catalog.rest import RestCatalog
    from pyiceberg.types import IcebergType

STATE = "external_catalogs.json"
UNKNOWN_CATALOG = 5078
PREFIX = "iceberg.catalog."
WANTED = {"type": "iceberg", f"{PREFIX}type": "rest"}
CATALOG_STRING = "varchar(1048576)"  # what StarRocks makes of a string that is not its own
TYPES = {
    "boolean": "boolean",
    "int": "int",
    "long": "bigint",
    "float": "float",
    "double": "double",
    "date": "date",
    "time": "time",
    "timestamp": "datetime",
    "timestamptz": "datetime",
    "string": CATALOG_STRING,
    "uuid": CATALOG_STRING,
}


@dataclass(frozen=True)
class ExternalCatalog:
    """What a catalog was made of."""

    comment: str
    properties: Mapping[str, str]

    @property
    def settings(self) -> dict[str, str]:
        """The settings of pyiceberg's client."""
        return {key.removeprefix(PREFIX): value for key, value in self.properties.items() if key.startswith(PREFIX)}


@dataclass(frozen=True)
class Source:
    """A table of Iceberg: its columns, and its rows when they are asked for."""

    columns: tuple[Column, ...]
    _table: Any

    def rows(self) -> "pa.Table":
        """All rows of the newest snapshot."""
        try:
            rows: pa.Table = self._table.scan().to_arrow()
        except OSError as error:
            raise refused(f"Failed to open input stream for file: {error}") from error
        return rows


class ExternalCatalogs:
    """The external catalogs, kept in a file that is replaced whole at each change."""

    def __init__(self, state: Path) -> None:
        """Those that the file has; none if there is no file."""
        stored = json.loads(state.read_text()) if state.exists() else {}
        self._state = state
        self._catalogs = {name: ExternalCatalog(**one) for name, one in stored.items()}
        self._services: dict[str, RestCatalog] = {}
        self._lock = threading.RLock()

    # -- statements ------------------------------------------------------------------------------------------

    def create(self, statement: exp.Expr) -> None:
        """`CREATE EXTERNAL CATALOG`, which sqlglot is given as one of a table."""
        name = statement.this.name
        _, comment, properties = described(statement)
        with self._lock:
            if name in {OWN_CATALOG, *self._catalogs}:
                if statement.args.get("exists"):  # the old one stays, however it differs
                    return
                raise refused(f"Catalog '{name}' already exists")
            if {key: properties.get(key) for key in WANTED} != WANTED:
                raise refused(f"the stand-in has catalogs with {WANTED} only")
            one = ExternalCatalog(comment, properties)
            self._services[name] = _service(name, one)
            self._catalogs[name] = one
            self._save()

    def drop(self, name: str, *, quiet: bool) -> None:
        """`DROP CATALOG`: the service and its tables are not touched."""
        with self._lock:
            if name == OWN_CATALOG:
                raise not_analysed("Can't drop the default internal catalog")
            if name not in self._catalogs and not quiet:
                raise not_analysed(f"Unknown catalog '{name}'", UNKNOWN_CATALOG)
            self._catalogs.pop(name, None)
            self._services.pop(name, None)
            self._save()

    def _save(self) -> None:
        write_state(self._state, {name: asdict(one) for name, one in self._catalogs.items()})

    # -- what there is ---------------------------------------------------------------------------------------

    def all(self) -> dict[str, ExternalCatalog]:
        """The catalogs by name."""
        return dict(self._catalogs)

    def check(self, name: str) -> None:
        """See that there is such a catalog."""
        if name not in self._catalogs:
            raise not_analysed(f"Unknown catalog '{name}'", UNKNOWN_CATALOG)

    def databases(self, catalog: str) -> list[str]:
        """The databases of a catalog: the namespaces of one level."""
        service = self._service(catalog)
        with _asking("Failed to list all databases using REST Catalog, exception: "):
            return [*(one[0] for one in service.list_namespaces()), INFORMATION_SCHEMA]

    def check_database(self, catalog: str, database: str | None) -> "RestCatalog":
        """See that there is such a database, and return the service that has it."""
        from pyiceberg.exceptions import NoSuchNamespaceError

        if not database:
            raise refused("No database selected", NO_DATABASE)
        service = self._service(catalog)
        try:
            with _asking("Failed to get database using REST Catalog exception:"):
                service.load_namespace_properties(database)
        except NoSuchNamespaceError:
            raise not_analysed(f"Unknown database '{database}'", UNKNOWN_DATABASE) from None
        return service

    def tables(self, catalog: str, database: str | None) -> list[str]:
        """The tables of a database."""
        service = self.check_database(catalog, database)
        with _asking("Failed to list tables using REST Catalog, exception:"):
            return sorted(name for *_, name in service.list_tables(str(database)))

    def table(self, catalog: str, database: str | None, name: str) -> Source:
        """A table at its newest snapshot."""
        from pyiceberg.exceptions import NoSuchTableError

        service = self.check_database(catalog, database)
        try:
            with _asking("Failed to load table using REST Catalog, exception: "):
                table = service.load_table((str(database), name))
        except NoSuchTableError:
            raise not_analysed(f"Unknown table '{database}.{name}'", UNKNOWN_TABLE) from None
        columns = (
            Column(field.name, starrocks_type(field.field_type), not field.required, field.doc or "")
            for field in table.schema().fields
        )
        return Source(tuple(columns), table)

    def _service(self, catalog: str) -> "RestCatalog":
        self.check(catalog)
        with self._lock:
            if catalog not in self._services:
                self._services[catalog] = _service(catalog, self._catalogs[catalog])
            return self._services[catalog]


def _service(name: str, catalog: ExternalCatalog) -> "RestCatalog":
    from pyiceberg.catalog.rest import RestCatalog

    try:
        with _asking():
            return RestCatalog(name, **catalog.settings)
    except MysqlError as error:  # StarRocks loses the reason here
        why = "Failed to load rest catalog"
        raise refused(f"Failed to init connector [type: iceberg, name: {name}]. msg: {why}") from error


@contextmanager
def _asking(doing: str = "") -> Iterator[None]:
    """What goes wrong with a service is told in StarRocks' words, and in those of Iceberg's client for Java."""
    from pyiceberg import exceptions

    try:
        yield
    except (exceptions.NoSuchNamespaceError, exceptions.NoSuchTableError):
        raise
    except OSError as error:  # those of requests are such
        raise refused(f"{doing}Error occurred while processing GET request") from error
    except exceptions.UnauthorizedError as error:
        raise refused(f"{doing}Not authorized: {error}") from error
    except exceptions.ForbiddenError as error:
        raise refused(f"{doing}Forbidden: {error}") from error
    except exceptions.ServiceUnavailableError as error:
        raise refused(f"{doing}Service unavailable: {error}") from error
    except exceptions.RESTError as error:
        raise refused(f"{doing}Unable to process: {error}") from error


def starrocks_type(kind: "IcebergType") -> str:
    """StarRocks' name for a type of Iceberg."""
    from pyiceberg import types as it

    match kind:
        case it.ListType():
            return f"array<{starrocks_type(kind.element_type)}>"
        case it.MapType():
            return f"map<{starrocks_type(kind.key_type)},{starrocks_type(kind.value_type)}>"
        case it.StructType():
            fields = (f"{field.name} {starrocks_type(field.field_type)}" for field in kind.fields)
            return f"struct<{', '.join(fields)}>"
        case it.DecimalType():
            return str(kind)
        case _:
            return TYPES.get(str(kind), "varbinary")
