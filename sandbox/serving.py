"""What the stand-ins' processes share: a socket on loopback, a server on it, its address made known, a command line.

What belongs here: how any stand-in listens, is announced in the endpoints file, says who it is, and is started and
stopped, be it as a process or in a thread for tests. What does not: what is served (`sandbox.server`, `sandbox.gcp`),
and the life of the processes as seen from outside (`sandbox.control`). The socket listens before its address is told
to anyone, so that nobody has to wait and try again.
"""

import argparse
import fcntl
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from os import getpid
from pathlib import Path
from typing import Self

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from lake.errors import LakeError
from lake.settings import Settings

HOST = "127.0.0.1"
GRACE_SECONDS = 2  # what a request under way gets to end when the server stops
JOIN_SECONDS = 10.0

Lifespan = Callable[[Starlette], AbstractAsyncContextManager[None]]


def listen(port: int = 0) -> tuple[socket.socket, str]:
    """A socket that listens on loopback, on a free port by default, and its URL.

    Raises:
        LakeError: the port is taken.
    """
    listener = socket.socket()
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise LakeError(f"sandbox server: cannot listen on {HOST}:{port}: {error.strerror}") from error
    return listener, f"http://{HOST}:{listener.getsockname()[1]}"


def uvicorn_server(app: ASGIApp, log_level: str) -> uvicorn.Server:
    """A server of `app`, to be run on a socket of `listen`."""
    config = uvicorn.Config(
        app, log_level=log_level, access_log=False, timeout_graceful_shutdown=GRACE_SECONDS, lifespan="on"
    )
    return uvicorn.Server(config)


def health(token: str) -> Route:
    """`/health`, which answers with the token, to tell this server from others, and the process id."""

    async def answer(_: Request) -> JSONResponse:
        return JSONResponse({"token": token, "pid": getpid()})

    return Route("/health", answer)


class InThread:
    """The server of an application in a thread of this process, for tests.

    Attributes:
        url: where it listens, without a slash at its end.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._listener, self.url = listen()
        self._server = uvicorn_server(app, "warning")
        self._thread = threading.Thread(target=self._server.run, args=([self._listener],), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(JOIN_SECONDS)
        self._listener.close()
        if self._thread.is_alive():
            raise LakeError(f"sandbox server at {self.url} did not stop within {JOIN_SECONDS:.0f} s")


@asynccontextmanager
async def announced(path: Path, endpoints: Mapping[str, str]) -> AsyncIterator[None]:
    """`Settings.endpoints_file` names `endpoints` meanwhile; to be entered in the server's lifespan.

    Not around the server: uvicorn ends the process by the signal that stopped it, before any code that follows.
    """
    publish(path, endpoints)
    try:
        yield
    finally:
        withdraw(path, endpoints)


def publish(path: Path, endpoints: Mapping[str, str]) -> None:
    """Add `endpoints` (setting name → URL) to the endpoints file, replaced whole; others' entries stay."""
    with _alone(path):
        _rewrite(path, {**read_endpoints(path), **endpoints})


def withdraw(path: Path, endpoints: Mapping[str, str]) -> None:
    """Take `endpoints` out of the endpoints file where their URL is still the same; an empty file is removed."""
    if not path.exists():
        return
    with _alone(path):
        before = read_endpoints(path)
        after = dict(before.items() - endpoints.items())
        if after != before:
            _rewrite(path, after)


def read_endpoints(path: Path) -> dict[str, str]:
    """The endpoints file as it stands: setting name → URL; empty if there is none."""
    try:
        endpoints: dict[str, str] = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    return endpoints


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process at a time changes the endpoints file: stand-ins start and stop beside each other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _rewrite(path: Path, endpoints: Mapping[str, str]) -> None:
    if not endpoints:
        path.unlink(missing_ok=True)
        return
    partial = path.with_name(f".{path.name}.{getpid()}.partial")
    partial.write_text(json.dumps(endpoints, indent=2, sort_keys=True) + "\n")
    partial.replace(path)


def command_line(description: str, serve: Callable[..., None]) -> None:
    """`python -m sandbox.<module> --home H [--port P] [--token T]`: call `serve(settings, token=T, port=P)`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--home", type=Path, required=True, help="LAKEGRAPH_HOME; files and state under sandbox/")
    parser.add_argument("--port", type=int, default=0, help="TCP port; a free one by default")
    parser.add_argument("--token", default="", help="what /health answers with")
    arguments = parser.parse_args()
    try:
        serve(Settings(home=arguments.home), token=arguments.token, port=arguments.port)
    except LakeError as error:
        raise SystemExit(str(error)) from None
