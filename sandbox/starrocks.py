"""StarRocks on loopback: MySQL's protocol (mysql-mimic) before DuckDB over exported Parquet files and Iceberg tables.

What belongs here: users, connections, and serving them. What does not: the statements (`sandbox.starrocks_session`),
the objects (`sandbox.starrocks_catalog`), their files (`sandbox.starrocks_files`), other catalogs
(`sandbox.starrocks_external`), rows (`sandbox.starrocks_engine`), and starting and stopping the process
(`sandbox.control`).

It is a stand-in and says so in `current_version()`: one machine, no privileges, no tables of its own. Its catalogs are
of Iceberg over REST, read and never written, without StarRocks' caches and without an `information_schema` of theirs;
materialised views are made anew as a whole, when told to, and no query is rewritten to use one. Its speed says nothing
of StarRocks'. Like a front end of StarRocks it has two ports: one of MySQL's protocol, whose server speaks first, and
one of HTTP, which `sandbox.control` asks for the token.
"""

import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from urllib.parse import quote

from mysql_mimic import IdentityProvider, MysqlServer, NativePasswordAuthPlugin, User
from mysql_mimic.control import LocalControl
from starlette.applications import Starlette
from starlette.types import ASGIApp

from lake.settings import Settings
from sandbox.endpoints import read_endpoints
from sandbox.serving import HOST, InThread, announced, command_line, health, listen, uvicorn_server
from sandbox.starrocks_catalog import Catalog
from sandbox.starrocks_engine import Engine
from sandbox.starrocks_external import STATE, ExternalCatalogs
from sandbox.starrocks_files import Files, no_storage
from sandbox.starrocks_session import StarRocksSession

ENDPOINT = "starrocks"  # its name in the endpoints file
HTTP_ENDPOINT = "starrocks_http"
ROOT: Mapping[str, str] = MappingProxyType({"root": ""})  # as StarRocks begins
NO_PASSWORD_FITS = "00" * 20


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
    engine = Engine(
        Catalog.load(state),
        ExternalCatalogs(state.with_name(STATE)),
        Files(state.parent / "copies", storage),
        kept=state.parent / "materialised",
    )
    connections = _Connections()
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
        state: the file that keeps databases, tables and views; other catalogs, and rows, are kept beside it.
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
