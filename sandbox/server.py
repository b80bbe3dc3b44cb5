"""One loopback HTTP server that plays the TLC's file host and the users API, and fails on request.

What belongs here: what the two systems do on the wire (static files with their headers; JSONPlaceholder's
paging), the faults a test injects, and the record of what was asked. What does not: making the files
(`sandbox.tlc`), the server's socket and command line (`sandbox.serving`), and starting, finding and stopping its
process (`sandbox.control`).

Files may lie flat in the folder or in the live host's layout; both `/tlc/<file>` and the live host's paths
`/tlc/trip-data/<file>` and `/tlc/misc/<file>` find them.
"""

import asyncio
import math
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import stat_result
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lake.settings import Settings
from sandbox import sales
from sandbox.membership_workbooks import FOLDER
from sandbox.serving import InThread, Lifespan, announced, command_line, health, listen, uvicorn_server
from sandbox.users import USERS, User

LIVE_FOLDERS = ("trip-data/", "misc/")
DEFAULT_LIMIT = 10  # JSONPlaceholder's page size where `_page` comes without `_limit`


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


class Recorder:
    """ASGI middleware: applies the faults, and logs each request before its answer leaves."""

    def __init__(self, app: ASGIApp, faults: Faults, log: list[Asked]) -> None:
        self.app, self.faults, self.log = app, faults, log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102 - ASGI's
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

    async def get_users(request: Request) -> JSONResponse:
        return _page_of(request, users)

    routes = [
        health(token),
        Route("/users", get_users),
        Mount("/tlc", _TlcFiles(directory=folder)),
    ]
    app = Starlette(routes=routes, lifespan=lifespan)
    return Recorder(app, faults or Faults(), [] if log is None else log)


class SandboxServer(InThread):
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
        super().__init__(application(folder, users=users, faults=self.faults, log=self.requests))
        self.tlc_base, self.users_api = f"{self.url}/tlc", self.url


def serve(settings: Settings, *, token: str = "", port: int = 0) -> None:
    """Serve `<sandbox_home>/tlc` until SIGTERM or SIGINT; the endpoints file names it while it listens.

    Raises:
        LakeError: the port is taken.
    """
    listener, url = listen(port)
    endpoints = {
        "tlc_base": f"{url}/tlc",
        "users_api": url,
        "membership_folder": str(settings.sandbox_home / FOLDER),  # neither a folder nor a file needs a server
        "sales_database": sales.url(settings.sandbox_home),
    }
    announcement = announced(settings.endpoints_file, endpoints)
    app = application(settings.sandbox_home / "tlc", token=token, lifespan=lambda _: announcement)
    uvicorn_server(app, "info").run([listener])


if __name__ == "__main__":
    command_line("Serve the sandbox's sources on loopback until interrupted.", serve)
