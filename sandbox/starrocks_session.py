"""A client's session with the StarRocks stand-in: which statement goes where, and what `SHOW` and the like answer.

What belongs here: the statements, known by their form or by what sqlglot makes of them, and the session's variables.
What does not: users, connections and the server (`sandbox.starrocks`), and what the statements do.
"""

import asyncio
import re
from collections.abc import Callable, Mapping
from datetime import UTC, timezone
from typing import Any, TypeAlias

import sqlglot
from mysql_mimic import Session
from mysql_mimic.errors import ErrorCode
from mysql_mimic.variables import SYSTEM_VARIABLES, GlobalVariables, SessionVariables
from sqlglot import exp

from sandbox.starrocks_catalog import (
    DIALECT,
    INFORMATION_SCHEMA,
    OWN_CATALOG,
    MaterialisedView,
    Place,
    Table,
    refused,
    target,
)
from sandbox.starrocks_engine import VERSION_MACRO, Engine, rows_of

VERSION_CALL = re.compile(r"\bcurrent_version\s*\(\s*\)", re.IGNORECASE)  # sqlglot takes it for version()

VARIABLES = {
    **SYSTEM_VARIABLES,
    **{
        name: (str, value, True)
        for name, value in {
            "catalog": OWN_CATALOG,
            "query_timeout": "300",
            "time_zone": "Asia/Shanghai",  # StarRocks' own default
            "sql_mode": "ONLY_FULL_GROUP_BY",
            "transaction_isolation": "REPEATABLE-READ",
            "tx_isolation": "REPEATABLE-READ",
            "version": "8.0.33",  # what StarRocks tells MySQL's clients
            "version_comment": "StarRocks stand-in",
        }.items()
    },
}

Answer: TypeAlias = Any  # mysql-mimic's ResultSet, or None for a statement without rows

_DATABASES = ("DATABASE", "SCHEMA")
# Names in the statements that sqlglot does not parse, with or without back-ticks.
_PART = r"`?[\w-]+`?"
_DATABASE = r"(?:`?(?P<catalog>[\w-]+)`?\.)?`?(?P<name>[\w-]+)`?"
_OBJECT = rf"(?:`?(?P<catalog>[\w-]+)`?\.(?={_PART}\.))?(?:`?(?P<database>[\w-]+)`?\.)?`?(?P<name>[\w-]+)`?"
_CREATE_CATALOG = re.compile(r"CREATE\s+EXTERNAL\s+CATALOG\b", re.IGNORECASE)


class StarRocksSession(Session):  # type: ignore[misc]
    """One client's session."""

    dialect = DIALECT

    def __init__(self, engine: Engine) -> None:
        super().__init__(SessionVariables(GlobalVariables(VARIABLES)))
        self.middlewares.remove(self._static_query_middleware)  # its engine takes the simplest expressions only
        self.engine = engine
        self.catalog = engine.catalog
        self.external = engine.external
        self.database: str | None = None

    @property
    def place(self) -> Place:
        """Where names are looked for that do not say."""
        return Place(self.variables.get("catalog"), self.database)

    async def use(self, database: str) -> None:
        """`USE`, and what a client names when it connects: `[catalog.]database`."""
        catalog, _, name = database.rpartition(".")
        await asyncio.to_thread(self.use_database, {"catalog": catalog, "name": name})

    async def handle_query(self, sql: str, attrs: dict[str, str]) -> Any:
        """Answer one statement: by its form, else by what it parses to, else as mysql-mimic does."""
        if self.username is None:  # mysql-mimic goes on after it has told a client that it may not
            raise refused("Access denied", ErrorCode.ACCESS_DENIED_ERROR)
        if self.database and "." in self.database:  # as the client named it when it connected
            await self.use(self.database)
        text = re.sub(r"\A(\s*/\*.*?\*/)+", "", sql, flags=re.DOTALL).strip().rstrip(";").rstrip()
        text = VERSION_CALL.sub(f"{VERSION_MACRO}()", text)
        line = " ".join(text.split())
        for form, answer in _FORMS:
            if match := form.fullmatch(line):
                return await asyncio.to_thread(answer, self, match.groupdict())
        if _CREATE_CATALOG.match(text):  # sqlglot knows none; but for its name it is like a table
            catalog = self._parsed(_CREATE_CATALOG.sub("CREATE EXTERNAL TABLE", text, count=1))
            return await asyncio.to_thread(self.external.create, catalog)
        return await self._answer(self._parsed(text), text, attrs)

    def _parsed(self, text: str) -> exp.Expr:
        try:
            statement, *others = sqlglot.parse(text, read=DIALECT)
        except sqlglot.errors.SqlglotError as error:
            raise refused(f"Getting syntax error. Detail message: {str(error).splitlines()[0]}.") from error
        # to sqlglot `selec 1` is a column with another name
        if statement is None or others or isinstance(statement, exp.Condition | exp.Alias):
            raise refused(f"Getting syntax error. Detail message: Unexpected input: {text[:80]}.")
        return statement

    async def _answer(self, statement: exp.Expr, text: str, attrs: dict[str, str]) -> Any:
        if isinstance(statement, exp.Create | exp.Drop):
            self._check_own(statement)
        match statement:
            case exp.Create() if statement.kind in _DATABASES:
                self.catalog.create_database(statement)
            case exp.Create() if statement.kind == "TABLE" and isinstance(statement.this, exp.Schema):
                self.catalog.create_table(statement, self.place)
            case exp.Create() if statement.kind == "VIEW":
                view = await asyncio.to_thread(self.engine.view_of, statement, self.place)
                self.catalog.create_view(statement, view, self.place)
            case exp.Drop() if statement.kind in {"TABLE", "VIEW", *_DATABASES}:
                self.catalog.drop(statement, self.place)
            case exp.Query() if statement.find(exp.Table):
                return await asyncio.to_thread(self.engine.select, statement, self.place)
            case _:  # variables and functions of the session are mysql-mimic's, then it calls `query`
                return await super().handle_query(text, attrs)
        return None

    def _check_own(self, statement: exp.Create | exp.Drop) -> None:
        """Other catalogs are read only."""
        table = target(statement)
        catalog = table.db or self.place.catalog if statement.kind in _DATABASES else self.place.of(table)[0]
        if catalog != OWN_CATALOG:
            self.external.check(catalog)
            doing = "creating" if isinstance(statement, exp.Create) else "dropping"
            raise refused(f"This connector doesn't support {doing} {str(statement.kind).lower()}s")

    async def query(self, expression: exp.Expr, sql: str, attrs: dict[str, str]) -> Any:  # noqa: ARG002
        """What mysql-mimic does not answer: expressions without a table."""
        if not isinstance(expression, exp.Query):
            raise refused(f"not in the stand-in: {sql[:80]}")
        return await asyncio.to_thread(self.engine.select, expression, self.place)

    def timezone(self) -> timezone:
        """UTC: what a client sets is kept, and moves nothing; mysql-mimic would refuse `Asia/Taipei`."""
        return UTC

    # -- statements known by their form ----------------------------------------------------------------------

    def _found(self, found: Mapping[str, str]) -> tuple[str, str | None, str]:
        """Catalog, database and name of what a form names."""
        table = exp.table_(found["name"], found["database"], found["catalog"])
        return self.place.of(table)

    def show_tables(self, found: Mapping[str, str]) -> Answer:
        """`SHOW [FULL] TABLES`."""
        catalog, database = found["catalog"] or self.place.catalog, found["name"] or self.database
        like = re.escape(found["like"] or "%").replace("%", ".*").replace("_", ".")
        if catalog == OWN_CATALOG:
            kinds = {name: one.kind for name, one in self.catalog.database(database).items()}
        else:
            kinds = dict.fromkeys(self.external.tables(catalog, database), Table.kind)
        named = sorted((name, kind) for name, kind in kinds.items() if re.fullmatch(like, name))
        if found["full"]:
            return rows_of((f"Tables_in_{database}", "Table_type"), named)
        return rows_of((f"Tables_in_{database}",), ((name,) for name, _ in named))

    def show_create(self, found: Mapping[str, str]) -> Answer:
        """`SHOW CREATE TABLE`, `SHOW CREATE VIEW` and `SHOW CREATE MATERIALIZED VIEW`."""
        catalog, database, name = self._found(found)
        if catalog != OWN_CATALOG:
            raise refused(f"not in the stand-in: how {catalog}.{database}.{name} was made")
        one = self.catalog.find(database, name)
        if isinstance(one, Table):
            return rows_of(("Table", "Create Table"), [(name, one.ddl(name))])
        if isinstance(one, MaterialisedView):
            return rows_of(("Materialized View", "Create Materialized View"), [(name, one.ddl(name))])
        names = ("View", "Create View", "character_set_client", "collation_connection")
        return rows_of(names, [(name, one.ddl(name), "utf8", "utf8_general_ci")])

    def show_columns(self, found: Mapping[str, str]) -> Answer:
        """`DESCRIBE` and `SHOW COLUMNS`."""
        columns = self.engine.columns(*self._found(found))
        rows = [(c.name, c.shown_type, "YES" if c.nullable else "NO", "false", None, "") for c in columns]
        return rows_of(("Field", "Type", "Null", "Key", "Default", "Extra"), rows)

    def show_full_columns(self, found: Mapping[str, str]) -> Answer:
        """`SHOW FULL COLUMNS`."""
        names = ("Field", "Type", "Collation", "Null", "Key", "Default", "Extra", "Privileges", "Comment")
        columns = self.engine.columns(*self._found(found))
        rows = [(c.name, c.shown_type, "", "YES" if c.nullable else "NO", "", None, "", "", c.comment) for c in columns]
        return rows_of(names, rows)

    def show_databases(self, found: Mapping[str, str]) -> Answer:
        """`SHOW DATABASES`."""
        catalog = found["catalog"] or self.place.catalog
        if catalog == OWN_CATALOG:
            names = [*self.catalog.databases, INFORMATION_SCHEMA]
        else:
            names = self.external.databases(catalog)
        return rows_of(("Database",), ((name,) for name in names))

    def show_catalogs(self, _: Mapping[str, str]) -> Answer:
        """`SHOW CATALOGS`."""
        own = (OWN_CATALOG, "Internal", "The stand-in's tables.")
        others = [(name, "Iceberg", one.comment or None) for name, one in self.external.all().items()]
        return rows_of(("Catalog", "Type", "Comment"), [own, *others])

    def drop_catalog(self, found: Mapping[str, str]) -> Answer:
        """`DROP CATALOG`."""
        self.external.drop(found["name"], quiet=bool(found["quiet"]))

    def show_config(self, _: Mapping[str, str]) -> Answer:
        """`ADMIN SHOW FRONTEND CONFIG`: SQLAlchemy's dialect asks how data are kept."""
        names = ("Key", "AliasNames", "Value", "Type", "IsMutable", "Comment")
        return rows_of(names, [("run_mode", "[]", "shared_nothing", "String", "false", "")])

    def set_catalog(self, found: Mapping[str, str]) -> Answer:
        """`SET CATALOG`: no database is chosen then."""
        if found["name"] != OWN_CATALOG:
            self.external.check(found["name"])
        self.variables.set("catalog", found["name"])
        self.database = None

    def use_database(self, found: Mapping[str, str]) -> Answer:
        """`USE [catalog.]database`."""
        catalog = found["catalog"] or self.place.catalog
        if catalog == OWN_CATALOG:
            self.catalog.database(found["name"])
        else:
            self.external.check_database(catalog, found["name"])
        self.variables.set("catalog", catalog)
        self.database = found["name"]

    def refresh(self, found: Mapping[str, str]) -> Answer:
        """`REFRESH EXTERNAL TABLE`: nothing is cached here."""
        self.engine.columns(*self._found(found))

    def refresh_view(self, found: Mapping[str, str]) -> Answer:
        """`REFRESH MATERIALIZED VIEW … WITH SYNC MODE`."""
        catalog, database, name = self._found(found)
        if catalog != OWN_CATALOG:
            raise refused(f"Can not refresh a materialized view of {catalog}")
        self.engine.refresh(database, name)


_FORMS: tuple[tuple[re.Pattern[str], Callable[[StarRocksSession, Mapping[str, str]], Answer]], ...] = tuple(
    (re.compile(form, re.IGNORECASE), answer)
    for form, answer in (
        (
            rf"SHOW (?P<full>FULL )?TABLES(?: (?:FROM|IN) {_DATABASE})?(?: LIKE '(?P<like>[^']*)')?",
            StarRocksSession.show_tables,
        ),
        (rf"SHOW CREATE (?:TABLE|VIEW|MATERIALIZED VIEW) {_OBJECT}", StarRocksSession.show_create),
        (rf"SHOW FULL COLUMNS FROM {_OBJECT}", StarRocksSession.show_full_columns),
        (rf"(?:SHOW COLUMNS FROM|DESCRIBE|DESC) {_OBJECT}", StarRocksSession.show_columns),
        (r"SHOW (?:DATABASES|SCHEMAS)(?: (?:FROM|IN) `?(?P<catalog>[\w-]+)`?)?", StarRocksSession.show_databases),
        (r"SHOW CATALOGS", StarRocksSession.show_catalogs),
        (r"ADMIN SHOW FRONTEND CONFIG.*", StarRocksSession.show_config),
        (r"SET CATALOG `?(?P<name>[\w-]+)`?", StarRocksSession.set_catalog),
        (r"DROP CATALOG (?P<quiet>IF EXISTS )?`?(?P<name>[\w-]+)`?", StarRocksSession.drop_catalog),
        (rf"USE {_DATABASE}", StarRocksSession.use_database),
        (rf"REFRESH EXTERNAL TABLE {_OBJECT}", StarRocksSession.refresh),
        (rf"REFRESH MATERIALIZED VIEW {_OBJECT} WITH SYNC MODE", StarRocksSession.refresh_view),
    )
)
