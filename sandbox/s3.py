"""S3 on loopback: moto's implementation behind our own socket, with the time of an object settable.

What belongs here: the requests' way to moto and back, what it gets from us (the time that an object is put at), faults,
and seeding. What does not: the objects (`sandbox.shop`), and starting and stopping the process (`sandbox.control`).

State is in memory, and one for the whole process: a stand-in that starts is empty, or as the generator says. Signatures
and keys are not checked.
"""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime

import moto.s3.models
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.core.utils import utcnow
from moto.moto_server.werkzeug_app import create_backend_app
from moto.s3.models import s3_backends
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp
from werkzeug.test import EnvironBuilder, run_wsgi_app

from lake.settings import Settings
from sandbox import shop
from sandbox.server import Asked, Faults, Recorder
from sandbox.serving import InThread, Lifespan, announced, command_line, health, listen, uvicorn_server

ENDPOINT = "shop_s3"  # its name in the endpoints file
REGION = "us-east-1"
PARTITION = "aws"  # what moto has the one state of S3 under
METHODS = ["GET", "HEAD", "PUT", "POST", "DELETE"]

_moment: ContextVar[datetime | None] = ContextVar("moment", default=None)


def _now() -> datetime:
    return _moment.get() or utcnow()


moto.s3.models.utcnow = _now  # type: ignore[attr-defined]  # an object's time


@contextmanager
def _dated(moment: datetime | None) -> Iterator[None]:
    """Objects put meanwhile are dated `moment`; for None, now."""
    before = _moment.set(moment and moment.replace(tzinfo=None))  # moto's times are in UTC without saying so
    try:
        yield
    finally:
        _moment.reset(before)


def _answers() -> Callable[[Request], Awaitable[Response]]:
    """Requests to moto, in threads."""
    app = create_backend_app("s3")

    def call(request: Request, body: bytes) -> Response:
        environ = EnvironBuilder(
            path=request.scope["raw_path"].decode(),
            base_url=str(request.base_url),
            query_string=request.scope["query_string"].decode(),
            method=request.method,
            headers=list(request.headers.items()),
            data=body,
        ).get_environ()
        given = request.headers.get(shop.MODIFIED_HEADER)
        with _dated(datetime.fromisoformat(given) if given else None):
            content, status, headers = run_wsgi_app(app, environ)
            response = Response(b"".join(content), int(status.split()[0]))
        response.raw_headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
        return response

    async def answer(request: Request) -> Response:
        return await run_in_threadpool(call, request, await request.body())

    return answer


def application(
    *,
    token: str = "",
    faults: Faults | None = None,
    log: list[Asked] | None = None,
    lifespan: Lifespan | None = None,
) -> ASGIApp:
    """The server as an ASGI application, empty: buckets by path, and `/health`.

    A PUT with the header `shop.MODIFIED_HEADER` (a time in ISO 8601, UTC) makes an object of that time.

    Args:
        token: what `/health` answers with, next to the process id; tells this server from others.
        faults: failures to inject.
        log: the list that receives each request.
        lifespan: entered when the server starts, left when it stops.

    Returns:
        The application.
    """
    s3_backends.reset()
    routes = [health(token), Route("/{path:path}", _answers(), methods=METHODS)]
    app = Starlette(routes=routes, lifespan=lifespan)
    return Recorder(app, faults or Faults(), [] if log is None else log)


class S3StandIn(InThread):
    """The server in a thread of this process, for tests; empty at first, and one at a time.

    Attributes:
        faults: failures to inject.
        requests: what was asked so far, oldest first; a request is in it before its client sees the answer.
    """

    def __init__(self) -> None:
        self.faults = Faults()
        self.requests: list[Asked] = []
        super().__init__(application(faults=self.faults, log=self.requests))


def seed(state: shop.State) -> None:
    """Put objects without a client; the application must have been made before."""
    backend = s3_backends[DEFAULT_ACCOUNT_ID][PARTITION]
    backend.create_bucket(shop.BUCKET, REGION)
    for put in state.objects.values():
        with _dated(put.modified):
            backend.put_object(shop.BUCKET, put.key, put.body)


def serve(settings: Settings, *, token: str = "", port: int = 0) -> None:
    """Serve the shop's day until SIGTERM or SIGINT; the endpoints file names it while it listens.

    Args:
        settings: says where the sandbox's folder is.
        token: see `application`.
        port: TCP port on 127.0.0.1; 0 takes a free one.

    Raises:
        LakeError: the port is taken.
    """
    listener, url = listen(port)
    announcement = announced(settings.endpoints_file, {ENDPOINT: url})
    app = application(token=token, lifespan=lambda _: announcement)
    seed(shop.day().state())
    uvicorn_server(app, "info").run([listener])


if __name__ == "__main__":
    command_line("Serve the sandbox's S3 on loopback until interrupted.", serve)
