"""One loopback HTTP server that plays the TLC's file host and the users API, and fails on request.

What belongs here: what the two systems do on the wire (static files with their headers; JSONPlaceholder's
paging), the faults a test injects, and the record of what was asked. What does not: making the files
(`sandbox.tlc`), and starting, finding and stopping the server's process (`sandbox.control`).

Files may lie flat in the folder or in the live host's layout; both `/tlc/<file>` and the live host's paths
`/tlc/trip-data/<file>` and `/tlc/misc/<file>` find them. The socket listens before its address is told to
anyone, so that nobody has to wait and try again.
"""

import argparse
import asyncio
import json
import math
import re
import socket
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from os import getpid, stat_result
from pathlib import Path
from typing import Self

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lake.errors import LakeError
from lake.settings import Settings
from sandbox.users import USERS, User

HOST = "127.0.0.1"
LIVE_FOLDERS = ("trip-data/", "misc/")
DEFAULT_LIMIT = 10  # JSONPlaceholder's page size where `_page` comes without `_limit`
GRACE_SECONDS = 2  # what a request under way gets to end when the server stops
JOIN_SECONDS = 10.0

Lifespan = Callable[[Starlette], AbstractAsyncContextManager[None]]


@dataclass(frozen=True)
class Asked:
    """One request as the server saw it, with the status it answered."""

    method: str
    path: str
    query: str
    status: int


@dataclass
class _Fault:
    pattern: re.Pattern[str]
    times: int
    status: int | None = None
    seconds: float = 0.0
    headers: Mapping[str, str] = field(default_factory=dict)


class Faults:
    """Failures to come, in the order they were asked for; each is used up after `times` requests.

    A delay and a failure that both match a request both happen. Safe to call while the server runs.
    """

    def __init__(self) -> None:
        self._pending: list[_Fault] = []
        self._lock = threading.Lock()

    def fail(
        self, path_regex: str, status: int = 503, times: int = 1, headers: Mapping[str, str] | None = None
    ) -> None:
        """Answer `status` to the next `times` requests whose path `path_regex` is found in (`re.search`).

        Args:
            path_regex: matched against the path without the query.
            status: the HTTP status to answer with.
            times: how many requests fail.
            headers: sent along, e.g. `{"Retry-After": "1"}`.
        """
        self._add(_Fault(re.compile(path_regex), times, status=status, headers=headers or {}))

    def delay(self, path_regex: str, seconds: float, times: int = 1) -> None:
        """Let the next `times` requests whose path matches wait before they are answered.

        Args:
            path_regex: matched against the path without the query.
            seconds: how long each waits.
            times: how many requests wait.
        """
        self._add(_Fault(re.compile(path_regex), times, seconds=seconds))

    def clear(self) -> None:
        """Forget every fault not yet used up."""
        with self._lock:
            self._pending.clear()

    def _add(self, fault: _Fault) -> None:
        if fault.times > 0:
            with self._lock:
                self._pending.append(fault)

    def take(self, path: str) -> tuple[float, Response | None]:
        """Use up what `path` has coming: the seconds to wait, and the failure to answer with, if any."""
        with self._lock:
            due = [fault for fault in self._pending if fault.pattern.search(path)]
            failure = next((fault for fault in due if fault.status is not None), None)
            used = [fault for fault in due if fault.status is None or fault is failure]
            for fault in used:
                fault.times -= 1
            self._pending = [fault for fault in self._pending if fault.times > 0]
        response = None
        if failure is not None and failure.status is not None:
            response = PlainTextResponse("injected by the sandbox\n", failure.status, headers=dict(failure.headers))
        return sum(fault.seconds for fault in used), response


class _Recorder:
    """ASGI middleware: applies the faults, and logs each request before its answer leaves."""

    def __init__(self, app: ASGIApp, faults: Faults, log: list[Asked]) -> None:
        self.app, self.faults, self.log = app, faults, log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def record(message: Message) -> None:
            if message["type"] == "http.response.start":
                query = scope["query_string"].decode()
                self.log.append(Asked(scope["method"], scope["path"], query, message["status"]))
            await send(message)

        seconds, failure = self.faults.take(scope["path"])
        if seconds:
            await asyncio.sleep(seconds)
        await (failure or self.app)(scope, receive, record)


class _TlcFiles(StaticFiles):
    """Static files (ETag, Last-Modified, ranges, HEAD, no way out of the folder), also under live paths."""

    def lookup_path(self, path: str) -> tuple[str, stat_result | None]:
        found, status = super().lookup_path(path)
        prefix = next((p for p in LIVE_FOLDERS if path.startswith(p)), None)
        if status is None and prefix is not None:
            return super().lookup_path(path.removeprefix(prefix))
        return found, status


def _page_of(request: Request, users: Sequence[User]) -> JSONResponse:
    """Page as JSONPlaceholder (json-server 0.x) does: bad numbers mean the default, never an error."""
    query = request.query_params
    limit = _number(query.get("_limit"))
    if "_page" not in query:
        total = {"X-Total-Count": str(len(users))} if limit else {}
        return JSONResponse(users[: limit or None], headers=total)
    page, limit = max(_number(query["_page"]), 1), limit or DEFAULT_LIMIT
    items = users[(page - 1) * limit : page * limit]
    headers = {"X-Total-Count": str(len(users)), "Access-Control-Expose-Headers": "X-Total-Count, Link"}
    if 0 < len(items) < len(users):
        last = math.ceil(len(users) / limit)
        linked = {"first": 1, "prev": page - 1, "next": page + 1, "last": last}
        headers["Link"] = ", ".join(
            f'<{request.url.include_query_params(_page=number)}>; rel="{rel}"'
            for rel, number in linked.items()
            if 1 <= number <= last
        )
    return JSONResponse(items, headers=headers)


def _number(text: str | None) -> int:
    return int(text) if text and re.fullmatch(r"\d{1,9}", text) else 0


def application(
    folder: Path,
    *,
    users: Sequence[User] = USERS,
    token: str = "",
    faults: Faults | None = None,
    log: list[Asked] | None = None,
    lifespan: Lifespan | None = None,
) -> ASGIApp:
    """The server as an ASGI application: `/tlc/...`, `/users` and `/health`.

    Args:
        folder: the TLC files; made if it is missing.
        users: what `/users` serves.
        token: what `/health` answers with, next to the process id; tells this server from others.
        faults: failures to inject.
        log: the list that receives each request.
        lifespan: entered when the server starts, left when it stops.

    Returns:
        The application.
    """
    folder.mkdir(parents=True, exist_ok=True)

    async def health(_: Request) -> JSONResponse:
        return JSONResponse({"token": token, "pid": getpid()})

    async def get_users(request: Request) -> JSONResponse:
        return _page_of(request, users)

    routes = [
        Route("/health", health),
        Route("/users", get_users),
        Mount("/tlc", _TlcFiles(directory=folder)),
    ]
    app = Starlette(routes=routes, lifespan=lifespan)
    return _Recorder(app, faults or Faults(), [] if log is None else log)


def _listen(port: int = 0) -> tuple[socket.socket, str]:
    listener = socket.socket()
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise LakeError(f"sandbox server: cannot listen on {HOST}:{port}: {error.strerror}") from error
    return listener, f"http://{HOST}:{listener.getsockname()[1]}"


def _server(app: ASGIApp, log_level: str) -> uvicorn.Server:
    config = uvicorn.Config(
        app, log_level=log_level, access_log=False, timeout_graceful_shutdown=GRACE_SECONDS, lifespan="on"
    )
    return uvicorn.Server(config)


class SandboxServer:
    """The server in a thread of this process, for tests.

    Attributes:
        faults: failures to inject.
        requests: what was asked so far, oldest first; a request is in it before its client sees the answer.
        tlc_base: URL of the files, without a slash at its end.
        users_api: URL below which `/users` is.
    """

    def __init__(self, folder: Path, users: Sequence[User] = USERS) -> None:
        self.faults = Faults()
        self.requests: list[Asked] = []
        self._listener, self.users_api = _listen()
        self.tlc_base = f"{self.users_api}/tlc"
        self._server = _server(application(folder, users=users, faults=self.faults, log=self.requests), "warning")
        self._thread = threading.Thread(target=self._server.run, args=([self._listener],), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(JOIN_SECONDS)
        self._listener.close()
        if self._thread.is_alive():
            raise LakeError(f"sandbox server at {self.users_api} did not stop within {JOIN_SECONDS:.0f} s")


def publish(path: Path, endpoints: Mapping[str, str]) -> None:
    """Add `endpoints` (setting name → URL) to the endpoints file, replaced whole; others' entries stay.

    Args:
        path: `Settings.endpoints_file`.
        endpoints: what to add.
    """
    _rewrite(path, {**read_endpoints(path), **endpoints})


def withdraw(path: Path, endpoints: Mapping[str, str]) -> None:
    """Take `endpoints` out of the endpoints file where their URL is still the same; an empty file is removed.

    Args:
        path: `Settings.endpoints_file`.
        endpoints: what to take out.
    """
    before = read_endpoints(path)
    after = dict(before.items() - endpoints.items())
    if after != before:
        _rewrite(path, after)


def read_endpoints(path: Path) -> dict[str, str]:
    """The endpoints file as it stands: setting name → URL; empty if there is none.

    Args:
        path: `Settings.endpoints_file`.

    Returns:
        The entries.
    """
    try:
        endpoints: dict[str, str] = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    return endpoints


def _rewrite(path: Path, endpoints: Mapping[str, str]) -> None:
    if not endpoints:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{getpid()}.partial")
    partial.write_text(json.dumps(endpoints, indent=2, sort_keys=True) + "\n")
    partial.replace(path)


def serve(settings: Settings, *, token: str = "", port: int = 0) -> None:
    """Serve `<sandbox_home>/tlc` until SIGTERM or SIGINT; the endpoints file names it while it listens.

    Args:
        settings: says where the sandbox's folder is.
        token: see `application`.
        port: TCP port on 127.0.0.1; 0 takes a free one.

    Raises:
        LakeError: the port is taken.
    """
    listener, url = _listen(port)
    endpoints = {"tlc_base": f"{url}/tlc", "users_api": url}

    @asynccontextmanager
    async def announced(_: Starlette) -> AsyncIterator[None]:
        publish(settings.endpoints_file, endpoints)
        try:
            yield
        finally:
            withdraw(settings.endpoints_file, endpoints)

    app = application(settings.sandbox_home / "tlc", token=token, lifespan=announced)
    _server(app, "info").run([listener])


def main() -> None:
    """Command line: `python -m sandbox.server --home H [--port P] [--token T]`."""
    parser = argparse.ArgumentParser(description="Serve the sandbox's sources on loopback until interrupted.")
    parser.add_argument("--home", type=Path, required=True, help="LAKEGRAPH_HOME; files under sandbox/tlc")
    parser.add_argument("--port", type=int, default=0, help="TCP port; a free one by default")
    parser.add_argument("--token", default="", help="what /health answers with")
    arguments = parser.parse_args()
    try:
        serve(Settings(home=arguments.home), token=arguments.token, port=arguments.port)
    except LakeError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
