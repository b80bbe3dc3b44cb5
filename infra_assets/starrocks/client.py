"""A thin client of StarRocks over MySQL's protocol: connections that are alike, and errors that are told apart.

What belongs here: connecting, sending one statement at a time, and the one translation from the driver's errors to
ours. What does not: any statement of ours (`ddl`, `plan`, `probe`).

StarRocks says "1064" of most things that go wrong, so its words decide where its number does not.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import SecretStr

from infra_assets.starrocks.ddl import HIDDEN, OWN_CATALOG, escaped
from lake.errors import LakeError, TransientError
from lake.settings import Settings

if TYPE_CHECKING:
    from pymysql.connections import Connection
    from pymysql.cursors import Cursor

Row = tuple[Any, ...]

PORT = 9030
SCHEME = "mysql"
NO_PASSWORD = SecretStr("")
LEAST_RELEASE = (3, 2)  # before, CREATE OR REPLACE VIEW kept a view's old comment: its hash would never be right
MARGIN_SECONDS = 5.0  # the server gives up a query before we stop listening, so that none runs on unheard
USAGE = "must be mysql://user:password@host:9030[?tls=true]"

UNREACHABLE_CODES = frozenset({1040, 2002, 2003, 2006, 2013, 2014, 2055})
DENIED_CODES = frozenset({1044, 1045, 1130, 1142, 1227, 5203, 5204})
UNKNOWN_CODES = frozenset({1049, 1051, 1109, 1146, 5501, 5502})


class StarRocksError(LakeError):
    """StarRocks refused a statement, for another reason than those below."""


class UnreachableError(TransientError):
    """Nobody answers, the connection broke, or no machine of the cluster can compute."""


class DeniedError(StarRocksError):
    """The user, the password or a privilege is wrong."""


class MissingPathError(StarRocksError):
    """A table's folder is not there, or holds no file; or StarRocks may not read it, or does not reach it: for
    some of its releases all of these are one.
    """


class SyntaxRefusedError(StarRocksError):
    """The statement is none, or does not fit the objects that it names."""


class UnknownObjectError(StarRocksError):
    """There is no such database, table or catalog."""


# In this order: StarRocks wraps an unknown table's message in one of an analysis that failed.
_WORDS: tuple[tuple[re.Pattern[str], type[LakeError]], ...] = tuple(
    (re.compile(words, re.IGNORECASE), error)
    for words, error in (
        (r"doesn't get file with path|No file exists for FileTable", MissingPathError),
        (r"access denied|not authorized: |forbidden: ", DeniedError),
        (r"unknown (database|table|catalog|view)", UnknownObjectError),
        (r"no alive (backend|be|compute)|(backend|compute) nodes? not found|failed to connect to", UnreachableError),
        # the service of a catalog: in the words of Iceberg's client, or, if they are lost on the way, in StarRocks' own
        (
            r"error occurred while processing \w+ request|service unavailable: |failed to load rest catalog",
            UnreachableError,
        ),
        (r"connection refused|connect(ion)? timed out|unknownhostexception", UnreachableError),  # the store
        (r"failed to get remote files", MissingPathError),
        (r"syntax error|analyzing error|unknown column|cannot be resolved", SyntaxRefusedError),
    )
)
_CODES = MappingProxyType(
    {
        **dict.fromkeys(UNREACHABLE_CODES, UnreachableError),
        **dict.fromkeys(DENIED_CODES, DeniedError),
        **dict.fromkeys(UNKNOWN_CODES, UnknownObjectError),
    }
)
_SAYS = MappingProxyType(
    {
        UnreachableError: "cannot be reached",
        DeniedError: "denies access",
        MissingPathError: "finds no file there, or may not read the store",
        SyntaxRefusedError: "does not take the statement",
        UnknownObjectError: "does not know",
        StarRocksError: "refuses",
    }
)


def is_too_old(version: str) -> bool:
    """Whether `current_version()` names a release before the least one; what is no number may be anything."""
    found = re.match(r"(\d+)\.(\d+)", version)
    return found is not None and tuple(map(int, found.groups())) < LEAST_RELEASE


def kind_of(code: int | None, message: str) -> type[LakeError]:
    """Which of the errors above a server's number and words are."""
    if known := _CODES.get(code or 0):
        return known
    return next((error for words, error in _WORDS if words.search(message)), StarRocksError)


class Session:
    """An open connection: UTC, each statement by itself, in StarRocks' own catalog."""

    def __init__(self, connection: "Connection[Cursor]", server: "StarRocks") -> None:
        self._connection = connection
        self._server = server

    def query(self, sql: str, *, hide: Iterable[SecretStr] = ()) -> list[Row]:
        """The rows of a statement; none if it has none.

        Args:
            sql: one statement.
            hide: secrets in it, which an error must not repeat.

        Raises:
            LakeError: one of this module's, by what went wrong.
        """
        with self._server.translated(hide), self._connection.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())

    def execute(self, sql: str, *, hide: Iterable[SecretStr] = ()) -> None:
        """Run a statement for its effect; see `query`."""
        self.query(sql, hide=hide)

    def execute_at_length(self, sql: str) -> None:
        """Run a statement that may take as long as a refresh, on a connection of its own; see `query`."""
        replace(self._server, read_timeout=self._server.refresh_timeout).execute(sql)


@dataclass(frozen=True)
class StarRocks:
    """Where a StarRocks is and who we are there; making one does not connect.

    Attributes:
        host: of a front end.
        port: of MySQL's protocol.
        user: whose privileges count.
        password: never part of a text.
        tls: encrypt, and check the server's certificate.
        connect_timeout: seconds that a connection may take.
        read_timeout: seconds that a query may run, and an answer may stall.
        refresh_timeout: seconds that the refresh of a copy may run.
    """

    host: str
    port: int = PORT
    user: str = "root"
    password: SecretStr = NO_PASSWORD
    tls: bool = False
    connect_timeout: float = 10.0
    read_timeout: float = 60.0
    refresh_timeout: float = 1800.0

    @classmethod
    def from_settings(cls, settings: Settings) -> "StarRocks":
        """The one that the settings name, or the sandbox's.

        Raises:
            NotConfiguredError: neither is there.
            LakeError: the setting is no URL of one; it is not repeated, for it may hold a password.
        """
        return replace(
            cls.from_url(SecretStr(settings.endpoint("starrocks"))),
            connect_timeout=settings.starrocks_connect_timeout_seconds,
            read_timeout=settings.starrocks_read_timeout_seconds,
            refresh_timeout=settings.starrocks_refresh_timeout_seconds,
        )

    @classmethod
    def from_url(cls, url: SecretStr, *, connect_timeout: float = 10.0, read_timeout: float = 60.0) -> "StarRocks":
        """The one at `mysql://user:password@host:port`; a password's special characters are percent-encoded.

        Raises:
            LakeError: it is no such URL; it is not repeated.
        """
        try:
            parts = urlsplit(url.get_secret_value())
            options = parse_qs(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
            port = parts.port or PORT
        except ValueError:
            raise LakeError(f"LAKEGRAPH_STARROCKS: {USAGE}, special characters percent-encoded") from None
        well_formed = parts.scheme == SCHEME and parts.hostname and parts.username and parts.path in {"", "/"}
        if not well_formed or options.keys() - {"tls"} or options.get("tls", ["true"])[-1] not in {"true", "false"}:
            raise LakeError(f"LAKEGRAPH_STARROCKS: {USAGE}")
        return cls(
            host=str(parts.hostname),
            port=port,
            user=unquote(str(parts.username)),
            password=SecretStr(unquote(parts.password or "")),
            tls=options.get("tls") == ["true"],
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
        )

    @property
    def address(self) -> str:
        """Host and port, for messages."""
        return f"{self.host}:{self.port}"

    @contextmanager
    def session(self) -> Iterator[Session]:
        """An open connection, closed at the end.

        Raises:
            LakeError: one of this module's, by what went wrong.
        """
        import pymysql

        patience = self.read_timeout + min(MARGIN_SECONDS, self.read_timeout)
        with self.translated():
            connection = pymysql.connect(
                host=self.host,
                port=self.port,
                user=self.user,
                password=self.password.get_secret_value().encode(),  # text it would write in Latin 1
                charset="utf8mb4",
                autocommit=True,
                connect_timeout=max(1, round(self.connect_timeout)),
                read_timeout=patience,
                write_timeout=patience,
                ssl=_tls() if self.tls else None,
            )
        try:
            session = Session(connection, self)
            session.execute("SET time_zone = 'UTC'")
            session.execute(f"SET query_timeout = {max(1, round(self.read_timeout))}")
            session.execute(f"SET CATALOG {OWN_CATALOG}")  # a user may have another as default
            yield session
        finally:
            connection.close()

    def query(self, sql: str, *, hide: Iterable[SecretStr] = ()) -> list[Row]:
        """The rows of a statement, on a connection of its own; see `Session.query`."""
        with self.session() as session:
            return session.query(sql, hide=hide)

    def execute(self, sql: str, *, hide: Iterable[SecretStr] = ()) -> None:
        """Run a statement for its effect, on a connection of its own; see `Session.query`."""
        self.query(sql, hide=hide)

    @contextmanager
    def translated(self, hide: Iterable[SecretStr] = ()) -> Iterator[None]:
        """The driver's errors become ours, on one line that names the server, without secrets."""
        import pymysql

        try:
            yield
        except (pymysql.MySQLError, OSError) as error:
            code, message = _parts(error)
            kind = UnreachableError if isinstance(error, OSError | pymysql.InterfaceError) else kind_of(code, message)
            text = self._redacted(message, hide)
            number = f" ({code})" if code else ""
            # from None: the driver's text, which may repeat the statement, must not be printed below ours
            raise kind(f"StarRocks at {self.address} {_SAYS[kind]}{number}: {text}") from None

    def _redacted(self, message: str, hide: Iterable[SecretStr]) -> str:
        """On one line; a secret is found as it is, and as a statement has it."""
        secrets = [secret.get_secret_value() for secret in (self.password, *hide)]
        written = {" ".join(one.split()) for secret in secrets for one in (secret, escaped(secret))}
        text = " ".join(message.split())
        for secret in sorted(written - {""}, key=len, reverse=True):
            text = text.replace(secret, HIDDEN)
        return text


def _tls() -> Any:
    import ssl

    return ssl.create_default_context()


def _parts(error: BaseException) -> tuple[int | None, str]:
    """The number and the words of a driver's error."""
    numbers = [one for one in error.args if isinstance(one, int) and one]
    words = [str(one) for one in error.args if isinstance(one, str) and one]
    return (numbers[0] if numbers else None), (words[0] if words else type(error).__name__)
