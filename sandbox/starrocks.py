"""StarRocks on loopback: MySQL's protocol (mysql-mimic) before DuckDB over the exported Parquet files.

What belongs here: the protocol's side (users, sessions, which statement goes where) and serving it. What does not: the
objects (`sandbox.starrocks_catalog`), their files (`sandbox.starrocks_files`), rows (`sandbox.starrocks_engine`), and
starting and stopping the process (`sandbox.control`).

It is a stand-in and says so in `current_version()`: one machine, no privileges, no catalogs of Iceberg, no materialised
views. Its speed says nothing of StarRocks'. Like a front end of StarRocks it has two ports: one of MySQL's protocol,
whose server speaks first, and one of HTTP, which `sandbox.control` asks for the token.
"""

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import UTC, timezone
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias
from urllib.parse import quote

import sqlglot
from mysql_mimic import IdentityProvider, MysqlServer, NativePasswordAuthPlugin, Session, User
from mysql_mimic.control import LocalControl
from mysql_mimic.errors import ErrorCode
from mysql_mimic.variables import SYSTEM_VARIABLES, GlobalVariables, SessionVariables
from sqlglot import exp
from starlette.applications import Starlette
from starlette.types import ASGIApp

from lake.settings import Settings
from sandbox.endpoints import read_endpoints
from sandbox.serving import HOST, InThread, announced, command_line, health, listen, uvicorn_server
from sandbox.starrocks_catalog import DIALECT, INFORMATION_SCHEMA, OWN_CATALOG, Catalog, View, not_analysed, refused
from sandbox.starrocks_engine import VERSION_MACRO, Engine, rows_of
from sandbox.starrocks_files import Files, no_storage

ENDPOINT = "starrocks"  # its name in the endpoints file
HTTP_ENDPOINT = "starrocks_http"
VERSION_CALL = re.compile(r"\bcurrent_version\s*\(\s*\)", re.IGNORECASE)  # sqlglot takes it for version()
ROOT: Mapping[str, str] = MappingProxyType({"root": ""})  # as StarRocks begins
NO_PASSWORD_FITS = "00" * 20

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

# Names in the statements that sqlglot does not parse, with or without back-ticks.
_PART = r"`?[\w-]+`?"
_DATABASE = rf"(?:{_PART}\.)?`?(?P<name>[\w-]+)`?"
_OBJECT = rf"(?:{_PART}\.(?={_PART}\.))?(?:`?(?P<database>[\w-]+)`?\.)?`?(?P<name>[\w-]+)`?"


class StarRocksSession(Session):  # type: ignore[misc]
    """One client's session."""

    dialect = DIALECT

    def __init__(self, engine: Engine) -> None:
        super().__init__(SessionVariables(GlobalVariables(VARIABLES)))
        self.middlewares.remove(self._static_query_middleware)  # its engine takes the simplest expressions only
        self.engine = engine
        self.catalog = engine.catalog

    async def use(self, database: str) -> None:
        """`USE`, and what a client names when it connects: `[catalog.]database`."""
        self.catalog.database(database.removeprefix(f"{OWN_CATALOG}."))
        self.database = database.removeprefix(f"{OWN_CATALOG}.")

    async def handle_query(self, sql: str, attrs: dict[str, str]) -> Any:
        """Answer one statement: by its form, else by what it parses to, else as mysql-mimic does."""
        if self.username is None:  # mysql-mimic goes on after it has told a client that it may not
            raise refused("Access denied", ErrorCode.ACCESS_DENIED_ERROR)
        if self.database:
            self.database = self.database.removeprefix(f"{OWN_CATALOG}.")
        text = re.sub(r"\A(\s*/\*.*?\*/)+", "", sql, flags=re.DOTALL).strip().rstrip(";").rstrip()
        text = VERSION_CALL.sub(f"{VERSION_MACRO}()", text)
        line = " ".join(text.split())
        for form, answer in _FORMS:
            if match := form.fullmatch(line):
                return answer(self, match.groupdict())
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
        match statement:
            case exp.Create() if statement.kind in {"DATABASE", "SCHEMA"}:
                self.catalog.create_database(statement)
            case exp.Create() if statement.kind == "TABLE" and isinstance(statement.this, exp.Schema):
                self.catalog.create_table(statement, self.database)
            case exp.Create() if statement.kind == "VIEW" and not statement.find(exp.MaterializedProperty):
                view = await asyncio.to_thread(self.engine.view, statement, self.database)
                self.catalog.create_view(statement, view, self.database)
            case exp.Drop() if statement.kind in {"TABLE", "VIEW", "DATABASE", "SCHEMA"}:
                self.catalog.drop(statement, self.database)
            case exp.Query() if statement.find(exp.Table):
                return await asyncio.to_thread(self.engine.select, statement, self.database)
            case _:  # variables and functions of the session are mysql-mimic's, then it calls `query`
                return await super().handle_query(text, attrs)
        return None

    async def query(self, expression: exp.Expr, sql: str, attrs: dict[str, str]) -> Any:  # noqa: ARG002
        """What mysql-mimic does not answer: expressions without a table."""
        if not isinstance(expression, exp.Query):
            raise refused(f"not in the stand-in: {sql[:80]}")
        return await asyncio.to_thread(self.engine.select, expression, self.database)

    def timezone(self) -> timezone:
        """UTC: what a client sets is kept, and moves nothing; mysql-mimic would refuse `Asia/Taipei`."""
        return UTC

    # -- statements known by their form ----------------------------------------------------------------------

    def show_tables(self, found: Mapping[str, str]) -> Answer:
        """`SHOW [FULL] TABLES`."""
        database = found["name"] or self.database
        like = re.escape(found["like"] or "%").replace("%", ".*").replace("_", ".")
        named = [(key, one) for key, one in self.catalog.database(database).items() if re.fullmatch(like, key)]
        if found["full"]:
            return rows_of((f"Tables_in_{database}", "Table_type"), ((key, one.kind) for key, one in named))
        return rows_of((f"Tables_in_{database}",), ((key,) for key, _ in named))

    def show_create(self, found: Mapping[str, str]) -> Answer:
        """`SHOW CREATE TABLE` and `SHOW CREATE VIEW`."""
        one = self.catalog.find(found["database"] or self.database, found["name"])
        if isinstance(one, View):
            names = ("View", "Create View", "character_set_client", "collation_connection")
            return rows_of(names, [(found["name"], one.ddl(found["name"]), "utf8", "utf8_general_ci")])
        return rows_of(("Table", "Create Table"), [(found["name"], one.ddl(found["name"]))])

    def show_columns(self, found: Mapping[str, str]) -> Answer:
        """`DESCRIBE` and `SHOW COLUMNS`."""
        columns = self.catalog.find(found["database"] or self.database, found["name"]).columns
        rows = [(c.name, c.shown_type, "YES" if c.nullable else "NO", "false", None, "") for c in columns]
        return rows_of(("Field", "Type", "Null", "Key", "Default", "Extra"), rows)

    def show_full_columns(self, found: Mapping[str, str]) -> Answer:
        """`SHOW FULL COLUMNS`."""
        names = ("Field", "Type", "Collation", "Null", "Key", "Default", "Extra", "Privileges", "Comment")
        columns = self.catalog.find(found["database"] or self.database, found["name"]).columns
        rows = [(c.name, c.shown_type, "", "YES" if c.nullable else "NO", "", None, "", "", c.comment) for c in columns]
        return rows_of(names, rows)

    def show_databases(self, _: Mapping[str, str]) -> Answer:
        """`SHOW DATABASES`."""
        return rows_of(("Database",), ((name,) for name in (*self.catalog.databases, INFORMATION_SCHEMA)))

    def show_catalogs(self, _: Mapping[str, str]) -> Answer:
        """`SHOW CATALOGS`."""
        return rows_of(("Catalog", "Type", "Comment"), [(OWN_CATALOG, "Internal", "The stand-in's tables.")])

    def show_config(self, _: Mapping[str, str]) -> Answer:
        """`ADMIN SHOW FRONTEND CONFIG`: SQLAlchemy's dialect asks how data are kept."""
        names = ("Key", "AliasNames", "Value", "Type", "IsMutable", "Comment")
        return rows_of(names, [("run_mode", "[]", "shared_nothing", "String", "false", "")])

    def set_catalog(self, found: Mapping[str, str]) -> Answer:
        """`SET CATALOG`."""
        if found["name"].strip("`") != OWN_CATALOG:
            raise not_analysed(f"Unknown catalog '{found['name']}': the stand-in has {OWN_CATALOG} only")
        return None

    def use_database(self, found: Mapping[str, str]) -> Answer:
        """`USE [catalog.]database`."""
        self.set_catalog({"name": found["catalog"] or OWN_CATALOG})
        self.catalog.database(found["name"])
        self.database = found["name"]
        return None

    def refresh(self, found: Mapping[str, str]) -> Answer:
        """`REFRESH EXTERNAL TABLE`: nothing is cached here."""
        self.catalog.find(found["database"] or self.database, found["name"])
        return None


_FORMS: tuple[tuple[re.Pattern[str], Callable[[StarRocksSession, Mapping[str, str]], Answer]], ...] = tuple(
    (re.compile(form, re.IGNORECASE), answer)
    for form, answer in (
        (
            rf"SHOW (?P<full>FULL )?TABLES(?: (?:FROM|IN) {_DATABASE})?(?: LIKE '(?P<like>[^']*)')?",
            StarRocksSession.show_tables,
        ),
        (rf"SHOW CREATE (?:TABLE|VIEW) {_OBJECT}", StarRocksSession.show_create),
        (rf"SHOW FULL COLUMNS FROM {_OBJECT}", StarRocksSession.show_full_columns),
        (rf"(?:SHOW COLUMNS FROM|DESCRIBE|DESC) {_OBJECT}", StarRocksSession.show_columns),
        (r"SHOW (?:DATABASES|SCHEMAS)", StarRocksSession.show_databases),
        (r"SHOW CATALOGS", StarRocksSession.show_catalogs),
        (r"ADMIN SHOW FRONTEND CONFIG.*", StarRocksSession.show_config),
        (rf"SET CATALOG (?P<name>{_PART})", StarRocksSession.set_catalog),
        (r"USE (?:`?(?P<catalog>[\w-]+)`?\.)?`?(?P<name>[\w-]+)`?", StarRocksSession.use_database),
        (rf"REFRESH EXTERNAL TABLE {_OBJECT}", StarRocksSession.refresh),
    )
)


class _Users(IdentityProvider):  # type: ignore[misc]
    """Who may connect, by name and password."""

    def __init__(self, passwords: Mapping[str, str]) -> None:
        self._passwords = passwords

    async def get_user(self, username: str) -> User:
        """The user; one who is not known fails like one with a wrong password."""
        hashed = NativePasswordAuthPlugin.create_auth_string
        password = self._passwords.get(username)
        secret = NO_PASSWORD_FITS if password is None else hashed(password) if password else None
        return User(name=username, auth_plugin=NativePasswordAuthPlugin.name, auth_string=secret)


class _Connections(LocalControl):  # type: ignore[misc]
    """The connections there are."""

    def close_all(self) -> None:
        """Drop them."""
        for connection in list(self._connections.values()):
            connection.stream.writer.transport.abort()


@asynccontextmanager
async def _answering(
    listener: socket.socket, state: Path, users: Mapping[str, str], storage: Callable[[], str | None]
) -> AsyncIterator[None]:
    """MySQL's protocol is answered on `listener` meanwhile."""
    files = Files(state.parent / "copies", storage)
    engine, connections = Engine(Catalog.load(state), files), _Connections()
    server = MysqlServer(
        session_factory=lambda: StarRocksSession(engine), control=connections, identity_provider=_Users(users)
    )
    await server.start_server(sock=listener, port=None)
    try:
        yield
    finally:
        server.close()
        connections.close_all()


def application(
    listener: socket.socket,
    state: Path,
    *,
    users: Mapping[str, str] = ROOT,
    token: str = "",
    storage: Callable[[], str | None] = no_storage,
    announcement: Callable[[], AbstractAsyncContextManager[None]] | None = None,
) -> ASGIApp:
    """The HTTP side as an ASGI application, `/health` alone; MySQL's side runs while it does.

    Args:
        listener: the socket of MySQL's protocol.
        state: the file that keeps databases, tables and views.
        users: password by name; the only ones who may connect.
        token: what `/health` answers with, next to the process id; tells this server from others.
        storage: the URL of the sandbox's Cloud Storage, for paths on gs://; None while it does not run.
        announcement: a context that is entered once both sides answer.
    """

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(_answering(listener, state, users, storage))
            if announcement:
                await stack.enter_async_context(announcement())
            yield

    return Starlette(routes=[health(token)], lifespan=lifespan)


def _endpoint(listener: socket.socket, user: str, password: str) -> str:
    secret = f":{quote(password, safe='')}" if password else ""
    return f"mysql://{quote(user, safe='')}{secret}@{HOST}:{listener.getsockname()[1]}"


class StarRocksStandIn(InThread):
    """The server in a thread of this process, for tests.

    Attributes:
        endpoint: its URL for the first of its users.
        port: of MySQL's protocol.
    """

    def __init__(self, state: Path, users: Mapping[str, str] = ROOT, storage: str | None = None) -> None:
        """`state` is the file that keeps databases, tables and views; for the others see `application`."""
        self._mysql, _ = listen()
        self.port: int = self._mysql.getsockname()[1]
        self.endpoint = _endpoint(self._mysql, *next(iter(users.items())))
        super().__init__(application(self._mysql, state, users=users, storage=lambda: storage))

    def __exit__(self, *failure: object) -> None:
        super().__exit__(*failure)
        self._mysql.close()


def serve(settings: Settings, *, token: str = "", port: int = 0) -> None:
    """Serve until SIGTERM or SIGINT; the endpoints file names it while it listens.

    Args:
        settings: says where the sandbox's folder is; what was registered stays there.
        token: what `/health` answers with.
        port: TCP port of MySQL's protocol on 127.0.0.1; 0 takes a free one.

    Raises:
        LakeError: the port is taken.
    """
    mysql, _ = listen(port)
    http, url = listen()
    endpoints = {ENDPOINT: _endpoint(mysql, *next(iter(ROOT.items()))), HTTP_ENDPOINT: url}
    app = application(
        mysql,
        settings.sandbox_home / "starrocks" / "catalog.json",
        token=token,
        storage=lambda: read_endpoints(settings.endpoints_file).get("gcs"),
        announcement=lambda: announced(settings.endpoints_file, endpoints),
    )
    uvicorn_server(app, "warning").run([http])


if __name__ == "__main__":
    command_line("Serve the sandbox's StarRocks on loopback until interrupted.", serve)
