"""A PostgreSQL of one's own: the server of the system's packages, on loopback, gone with its context.

What belongs here: finding and starting it, empty databases in it, and a user who may only read. What does not: what is
in them (`sandbox.sales`), and expectations. The tests and the benchmark use it; the demo has SQLite, which needs no
server. Passwords are asked for, as in earnest. The server's own time zone is not UTC, so that who relies on it is found
out.
"""

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from lake.errors import LakeError

OWNER, READER = "lakegraph", "reader"
START_SECONDS, STOP_SECONDS, POLL_SECONDS = 60.0, 20.0, 0.05
NOT_INSTALLED = "no PostgreSQL: initdb is neither on the path nor under /usr/lib/postgresql"
ATTEMPTS = 3  # another process may take the free port before the server does
OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "shared_buffers": "32MB",
    "max_wal_size": "256MB",
    "timezone": "Asia/Taipei",
}


@dataclass
class Postgres:
    """The server.

    Attributes:
        programs: the folder of `initdb` and `postgres`.
        folder: its data, its socket and its log; the server's user owns it, see `running`.
        password: of its users.
        port: on loopback; the same after `stop` and `start`.
    """

    programs: Path
    folder: Path
    password: str = field(default_factory=secrets.token_urlsafe, repr=False)
    port: int = 0
    _process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    def url(self, database: str = "postgres", *, user: str = OWNER) -> str:
        """SQLAlchemy's URL of a database; its password is part of it."""
        from sqlalchemy import URL

        address = URL.create("postgresql+psycopg", user, self.password, "127.0.0.1", self.port, database)
        return address.render_as_string(hide_password=False)

    @contextmanager
    def database(self) -> Iterator[str]:
        """The URL of an empty database, which ends with the context, whoever is connected. `READER` may read it all."""
        name = f"db_{uuid4().hex}"
        self.execute(f"create database {name}")
        try:
            yield self.url(name)
        finally:
            self.execute(f"drop database {name} with (force)")

    def execute(self, statement: str, database: str = "postgres") -> None:
        """Run a statement as the owner, in no transaction."""
        from sqlalchemy import create_engine, text

        engine = create_engine(self.url(database), isolation_level="AUTOCOMMIT")
        try:
            with engine.connect() as connection:
                connection.execute(text(statement))
        finally:
            engine.dispose()

    def initialize(self) -> None:
        """Make the empty cluster, and the user who reads."""
        secret = self.folder / "password"
        secret.write_text(self.password)
        secret.chmod(0o644)
        options = {
            "--pgdata": str(self.folder / "data"),
            "--username": OWNER,
            "--pwfile": str(secret),
            "--locale": "C",
            "--encoding": "UTF8",
            "--auth": "scram-sha-256",
        }
        self._run(["initdb", "--no-sync", "--no-instructions", *(word for pair in options.items() for word in pair)])
        self.start()
        self.execute(f"create role {READER} login password '{self.password}' in role pg_read_all_data")

    def start(self) -> None:
        """Start the server and return once it answers.

        Raises:
            RuntimeError: it does not; its log is told.
        """
        for _ in range(ATTEMPTS):
            self.port = self.port or _free_port()
            settings = {**OPTIONS, "port": str(self.port), "unix_socket_directories": str(self.folder)}
            words = ["postgres", "-D", str(self.folder / "data")]
            words += [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
            with (self.folder / "log").open("ab") as log:
                self._process = process = subprocess.Popen(  # noqa: S603 - the server that `installed` has found
                    self._command(words), stdout=log, stderr=subprocess.STDOUT, cwd=self.folder, **_as_server()
                )
            if self._answers(process):
                return
            self.stop()
            self.port = 0
        raise RuntimeError((self.folder / "log").read_text(errors="replace"))

    def stop(self) -> None:
        """End it, and every connection to it, at once."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGINT)  # PostgreSQL's fast shutdown
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGQUIT)  # its immediate one: the children end with it
            process.wait(STOP_SECONDS)

    def _answers(self, process: "subprocess.Popen[bytes]") -> bool:
        from sqlalchemy import create_engine
        from sqlalchemy.exc import OperationalError

        engine = create_engine(self.url(), connect_args={"connect_timeout": 5})
        deadline = time.monotonic() + START_SECONDS
        try:
            while time.monotonic() < deadline and process.poll() is None:
                try:
                    with engine.connect():
                        return True
                except OperationalError:
                    time.sleep(POLL_SECONDS)  # a poll with a deadline: the server tells nobody that it is ready
            return False
        finally:
            engine.dispose()

    def _run(self, command: Sequence[str]) -> None:
        done = subprocess.run(  # noqa: S603 - a program beside it
            self._command(command), capture_output=True, text=True, cwd=self.folder, check=False, **_as_server()
        )
        if done.returncode:
            raise RuntimeError(f"{command[0]}: {done.stderr or done.stdout}")

    def _command(self, words: Sequence[str]) -> list[str]:
        return [str(self.programs / words[0]), *words[1:]]


@contextmanager
def running() -> Iterator[Postgres]:
    """The server, until the context ends.

    Raises:
        LakeError: none is installed.
    """
    programs = installed()
    if programs is None:
        raise LakeError(NOT_INSTALLED)
    # not below a folder of the caller's: it may be closed to the user as whom the server runs
    folder = Path(tempfile.mkdtemp(prefix="lakegraph-postgres-"))
    server = Postgres(programs, folder)
    try:
        if user := _server_user():
            os.chown(folder, user.pw_uid, user.pw_gid)
        server.initialize()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)


def installed() -> Path | None:
    """The folder of the newest server that is installed."""
    servers = [*Path("/usr/lib/postgresql").glob("*/bin/initdb"), *Path("/usr").glob("pgsql-*/bin/initdb")]
    if servers:
        return max(servers, key=lambda path: path.parts[-3].removeprefix("pgsql-").zfill(3)).parent
    found = shutil.which("initdb")
    return Path(found).resolve().parent if found else None


def _server_user() -> pwd.struct_passwd | None:
    """As whom the server runs; None: as whoever asks for it. It refuses to run as root."""
    if os.geteuid() != 0:
        return None
    known = {user.pw_name: user for user in pwd.getpwall()}
    return known.get("postgres") or known["nobody"]


def _as_server() -> dict[str, Any]:
    user = _server_user()
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}


def _free_port() -> int:
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
