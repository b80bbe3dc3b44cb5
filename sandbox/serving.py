"""What the stand-ins' processes share: a socket on loopback, a server on it, its address made known, a command line.

What belongs here: how any stand-in listens, is announced in the endpoints file, says who it is, and is started and
stopped, be it as a process or in a thread for tests. What does not: what is served (`sandbox.server`, `sandbox.gcp`),
the endpoints file itself (`sandbox.endpoints`), and the life of the processes as seen from outside
(`sandbox.control`). The socket listens before its address is told to anyone, so that nobody has to wait and try again.
"""

import argparse
import socket
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
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
from sandbox.endpoints import publish, withdraw

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
