"""What Google's REST services have in common, as stand-ins play them: requests, answers, errors, and a key.

What belongs here: a request on its way to its handler and back, errors in Google's form, faults to inject, the record
of what was asked, ranges of bytes, and a service account's key. What does not: any service (`sandbox.gcs`,
`sandbox.gcp`, `sandbox.drive`), the server's socket and command line (`sandbox.serving`).

A service knows no HTTP: a `Call` comes in, an `Answer` or a `RefusalError` goes out.
"""

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from os import O_CREAT, O_TRUNC, O_WRONLY, fdopen, getpid
from os import open as open_file
from pathlib import Path
from typing import Any, BinaryIO, Self
from urllib.parse import unquote

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Message, Send

Json = dict[str, Any]

PROJECT = "lakegraph-sandbox"
BLOCK = 1 << 20
NO_CONTENT, PARTIAL, NOT_MODIFIED, INCOMPLETE, CANCELLED = 204, 206, 304, 308, 499
EMPTY = {NO_CONTENT, NOT_MODIFIED, INCOMPLETE, CANCELLED}  # statuses without a body
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
STATUS_NAMES = {400: "INVALID_ARGUMENT", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 409: "ALREADY_EXISTS"}


class RefusalError(Exception):
    """A request that is answered with an error in Google's form."""

    def __init__(self, status: int, message: str, reason: str = "", headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.reason, self.headers = status, message, reason, headers or {}


@dataclass(frozen=True)
class Call:
    """One request; `path` is still percent-encoded, names of headers are in lower case, `base` is the server's URL."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    base: str = ""

    def json(self) -> Json:
        """The body as a JSON object; an empty body is an empty object."""
        try:
            parsed = json.loads(self.body or b"{}")
        except ValueError:
            raise RefusalError(400, "Parse Error", "parseError") from None
        if not isinstance(parsed, dict):
            raise RefusalError(400, "Parse Error", "parseError")
        return parsed

    def byte_range(self, size: int) -> tuple[int, int] | None:
        """The first and last byte of `size` that the header `Range` asks for; None if it asks for all.

        Raises:
            RefusalError: there are no such bytes.
        """
        wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("range", ""))
        if not wanted or not (wanted[1] or wanted[2]):
            return None
        if wanted[1]:
            first, last = int(wanted[1]), min(int(wanted[2] or size - 1), size - 1)
        else:
            first, last = max(size - int(wanted[2]), 0), size - 1
        if first > last:
            message = f"The requested range cannot be satisfied: {size} bytes"
            raise RefusalError(416, message, "requestedRangeNotSatisfiable", {"Content-Range": f"bytes */{size}"})
        return first, last


@dataclass(frozen=True)
class Answer:
    """What a request is answered with: an object of JSON, nothing, or `length` bytes of an open file."""

    content: Json | None = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    file: BinaryIO | None = None
    length: int = 0
    is_cut: bool = False  # the connection breaks when the file ends, before `length`

    def blocks(self) -> Iterator[bytes]:
        """The bytes of the file, which is closed after the last one."""
        assert self.file is not None  # noqa: S101 - asked for files only
        left = self.length
        with self.file as file:
            while left and (block := file.read(min(BLOCK, left))):
                left -= len(block)
                yield block

    def to_response(self) -> Response:
        """As HTTP."""
        if self.file is not None:
            headers = {**self.headers, "Content-Length": str(self.length)}
            return (_CutResponse if self.is_cut else StreamingResponse)(self.blocks(), self.status, headers)
        if self.content is None:
            return Response(status_code=self.status, headers=dict(self.headers))
        return JSONResponse(self.content, self.status, headers=dict(self.headers))


class _CutResponse(StreamingResponse):
    """A response without an end, at which the server closes the connection."""

    async def stream_response(self, send: Send) -> None:
        async def unfinished(message: Message) -> None:
            if message["type"] == "http.response.start" or message["more_body"]:
                await send(message)

        await super().stream_response(unfinished)


def error_answer(refused: RefusalError) -> Answer:
    """A refusal as Google words it."""
    if refused.status in EMPTY:
        return Answer(status=refused.status, headers=refused.headers)
    status = STATUS_NAMES.get(refused.status, "UNKNOWN")
    error: Json = {
        "code": refused.status,
        "message": refused.message,
        "status": status,
        "errors": [{"domain": "global", "message": refused.message, "reason": refused.reason or status}],
    }
    if refused.reason.isupper():  # how the newer services say it
        info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "domain": "googleapis.com"}
        error["details"] = [{**info, "reason": refused.reason}]
    return Answer({"error": error}, refused.status, refused.headers)


Handler = Callable[..., Answer]
Routes = Sequence[tuple[str, re.Pattern[str], Handler]]


@dataclass
class _Fault:
    method: str
    pattern: re.Pattern[str]
    refusal: RefusalError
    times: int
    effect: Callable[[Any], object] | None


class Service:
    """Requests on their way to their handlers: one at a time, written down, and failing when a test asks for it.

    Attributes:
        lock: held while a request is answered; hold it to look at what it changes.
        calls: method and decoded path of each request, oldest first.
    """

    def __init__(self, lock: AbstractContextManager[object] | None = None) -> None:
        self.lock = lock or threading.RLock()
        self.calls: list[tuple[str, str]] = []
        self._faults: list[_Fault] = []
        self._routes: Routes = ()

    def forget(self) -> None:
        """Forget the faults and the record."""
        self.calls, self._faults = [], []

    def inject(
        self,
        method: str,
        path_regex: str,
        status: int,
        message: str = "injected by the sandbox",
        *,
        reason: str = "",
        times: int = 1,
        effect: Callable[[Self], object] | None = None,
    ) -> None:
        """Let the next `times` requests fail that have this method and a path in which `path_regex` is found.

        Args:
            method: of the request.
            path_regex: matched against the decoded path without the query.
            status: the HTTP status to answer with.
            message: the error's message.
            reason: the error's reason, e.g. `SERVICE_DISABLED`.
            times: how many requests fail.
            effect: called with this object before each of them is answered, e.g. to let somebody else be faster.
        """
        fault = _Fault(method, re.compile(path_regex), RefusalError(status, message, reason), times, effect)
        with self.lock:
            self._faults.append(fault)

    def answer(self, call: Call) -> Answer:
        """Answer one request, alone; errors are answers too."""
        with self.lock:
            path = unquote(call.path)
            self.calls.append((call.method, path))
            try:
                self._fail_if_asked_to(call.method, path)
                return self._dispatch(call)
            except RefusalError as refused:
                return error_answer(refused)

    def _dispatch(self, call: Call) -> Answer:
        for method, pattern, handler in self._routes:
            if method == call.method and (found := pattern.fullmatch(call.path)):
                return handler(call, *(unquote(part) for part in found.groups()))
        raise RefusalError(404, f"the sandbox has no route {call.method} {unquote(call.path)}", "notFound")

    def _fail_if_asked_to(self, method: str, path: str) -> None:
        for fault in self._faults:
            if fault.times > 0 and fault.method == method and fault.pattern.search(path):
                fault.times -= 1
                if fault.effect:
                    fault.effect(self)
                raise fault.refusal

    def route(self, special: Callable[[Call], Response | None] = lambda _: None) -> Route:
        """Every path that no route before it has taken.

        Args:
            special: answers what has a form of its own; None: the service does.
        """

        def respond(call: Call) -> Response:
            return special(call) or self.answer(call).to_response()

        async def anything(request: Request) -> Response:
            call = Call(
                request.method,
                request.scope["raw_path"].decode("ascii").partition("?")[0],
                dict(request.query_params),
                dict(request.headers),
                await request.body(),
                str(request.base_url).rstrip("/"),
            )
            return await run_in_threadpool(respond, call)

        return Route("/{path:path}", anything, methods=METHODS)


def now() -> str:
    """The time as resources have it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def write_key(path: Path, url: str, project: str = PROJECT, account: str = "") -> Path:
    """Write a service account's key for `GOOGLE_APPLICATION_CREDENTIALS`, whose tokens come from `<url>/token`.

    Args:
        path: the file, readable for its owner alone; replaced if it is there.
        url: of the stand-in.
        project: the account's project.
        account: its address. Given one, google-auth's own way to authorize requests would ask
            iamcredentials.googleapis.com, the live one, which locations it may be used in.

    Returns:
        `path`.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    pem = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    key = {
        "type": "service_account",
        "project_id": project,
        "private_key_id": "sandbox",
        "private_key": pem.decode(),
        "client_email": account,
        "client_id": "1",
        "auth_uri": f"{url}/auth",
        "token_uri": f"{url}/token",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{getpid()}.partial")
    with fdopen(open_file(partial, O_WRONLY | O_CREAT | O_TRUNC, 0o600), "w") as opened:
        json.dump(key, opened)
    partial.replace(path)
    return path
