"""MongoDB on loopback: the server of nx-27017 (MongoDB's protocol over SQLite), repaired where the shop needs it.

What belongs here: the server's socket, what it gets wrong and we put right, its states for tests (hanging, refusing),
and seeding it once. What does not: the documents (`sandbox.shop`), and starting and stopping the process
(`sandbox.control`).

Repaired: `Decimal128` (refused by the original), `$type` (slow, and an error for a list), and the index of a date
(ranges of dates would read the whole collection). Not repaired, so not to be relied on: `$not`, `$nor`, `$set` of a
date, dotted projections, counts; ranges of dates are right to the second, and also find text that looks like a date.

HTTP on the same port is answered with the token, as `sandbox.control` wants it of every stand-in.
"""

import asyncio
import json
import shutil
import signal
import threading
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from os import getpid
from pathlib import Path
from typing import Any, Self

import bson
from bson import Decimal128
from nx_27017.handler import NeoSQLiteHandler  # type: ignore[import-untyped]
from nx_27017.server import handle_client  # type: ignore[import-untyped]

from lake.errors import LakeError
from lake.settings import Settings
from sandbox import shop
from sandbox.serving import HOST, JOIN_SECONDS, announced, command_line, listen

ENDPOINT = "shop_mongodb"  # its name in the endpoints file
HTTP = b"GET "  # as the length of a message, these bytes would be more than the protocol allows
MONEY = "$numberDecimal"  # the key that a Decimal128 is stored under, as in MongoDB's own JSON

Json = dict[str, Any]

# The values of a type lie between two values in SQLite, which stores what JSON has no form for as JSON text. Text from
# `{` on is not told from that, nor from an array, nor a bool from 0 and 1; the last four cannot be stored at all.
NUMBERS = (float("-inf"), float("inf"))
BOOLS = (0, 1 + 1e-9)
DATES = ('{"$date"', '{"$datf')
DECIMALS = (f'{{"{MONEY}"', f'{{"{MONEY}~')
BINARIES = ('{"__neosqlite_binary__"', '{"__neosqlite_binary__~')
IDS = ('{"__neosqlite_objectid__"', '{"__neosqlite_objectid__~')
OBJECTS = (("{", DATES[0]), (DATES[1], DECIMALS[0]), (DECIMALS[1], BINARIES[0]), (IDS[1], "|"))
NEVER = (datetime(9999, 1, 1), datetime(1000, 1, 1))  # noqa: DTZ001 - as dates come off the wire
BETWEEN: Mapping[str, tuple[tuple[Any, Any], ...]] = {
    "string": (("", "{"),),
    "number": (NUMBERS, DECIMALS),
    "bool": (BOOLS,),
    "date": (DATES,),
    "decimal": (DECIMALS,),
    "object": OBJECTS,
    "objectId": (IDS,),
    "binData": (BINARIES,),
    "timestamp": (),
    "regex": (),
    "minKey": (),
    "maxKey": (),
}


def _stored(value: Any) -> Any:
    """`value` with each Decimal128 in it as `{"$numberDecimal": text}`."""
    if isinstance(value, Decimal128):
        return {MONEY: str(value)}
    if isinstance(value, dict):
        return {key: _stored(inner) for key, inner in value.items()}
    return [_stored(inner) for inner in value] if isinstance(value, list) else value


def _restored(value: Any) -> Any:
    """The reverse of `_stored`."""
    if isinstance(value, dict):
        if value.keys() == {MONEY}:
            return Decimal128(value[MONEY])
        return {key: _restored(inner) for key, inner in value.items()}
    return [_restored(inner) for inner in value] if isinstance(value, list) else value


def _typed(query: Json) -> Json:
    """`query` with each `$type` as ranges of values, which an index can serve.

    One of them is of dates, and empty: only with dates in it does the original ask SQLite for an `$or`.
    """
    clauses: list[Json] = []
    for field, wanted in query.items():
        types = wanted.get("$type") if isinstance(wanted, dict) and len(wanted) == 1 else None
        names = types if isinstance(types, list) else [types]
        if field in {"$or", "$and"}:
            clauses.append({field: [_typed(alternative) for alternative in wanted]})
        elif all(name in BETWEEN for name in names):
            ranges = [between for name in names for between in BETWEEN[name]]
            clauses.append({"$or": [{field: {"$gte": low, "$lt": high}} for low, high in (NEVER, *ranges)]})
        else:
            clauses.append({field: wanted})
    return {"$and": clauses} if len(clauses) > 1 else clauses[0] if clauses else {}


class _Repaired(NeoSQLiteHandler):  # type: ignore[misc]
    """The original's handler of commands, with our repairs around it."""

    def _convert_objectids(self, doc: Json) -> Json:  # what every document written goes through
        converted: Json = super()._convert_objectids(_stored(doc))
        return converted

    def handle_command(self, msg: Json) -> tuple[int, Json]:
        command: Json = next(section for kind, section in msg["sections"] if kind == "body")
        if "find" in command:
            command["filter"] = _typed(command.get("filter", {}))
        indexed = [(command["createIndexes"], index["key"]) for index in command.get("indexes", ())]
        request, answer = super().handle_command(msg)
        for collection, fields in indexed:
            self._index_dates(command["$db"], collection, fields)
        for batch in {"firstBatch", "nextBatch"} & answer.get("cursor", {}).keys():
            answer["cursor"][batch] = _restored(answer["cursor"][batch])
        return request, answer

    def _index_dates(self, database: str, collection: str, fields: Iterable[str]) -> None:
        """Index what the original compares dates by, beside the value itself."""
        for field in fields:
            if not (collection.isidentifier() and field.isidentifier()):
                continue
            path = f"json_extract(data, '$.{field}"
            with self._lock_for(database):
                self.get_database(database).db.execute(
                    f'CREATE INDEX IF NOT EXISTS "dates_{collection}_{field}" ON "{collection}" '
                    f"""(datetime(COALESCE({path}."$date"'), {path}'))))"""
                )

    def insert(self, database: str, documents: Mapping[str, Iterable[Mapping[str, Any]]]) -> None:
        """Insert documents by collection, without a client, and index `updated_at`."""
        for collection, several in documents.items():
            known = [bson.decode(bson.encode(one)) for one in several]  # dates and text as a client's arrive
            body = {"insert": collection, "$db": database, "documents": known}
            _, answer = self.handle_insert({"request_id": 0, "sections": [("body", body)]})
            if answer.get("writeErrors") or not answer["ok"]:
                raise LakeError(f"sandbox mongodb: {collection} not seeded: {answer}")
            index = {"createIndexes": collection, "$db": database, "indexes": [{"key": {"updated_at": 1}}]}
            self.handle_command({"request_id": 0, "sections": [("body", index)]})


class _Gated:
    """A connection's incoming bytes: first those read already, then the others, none while the gate is shut."""

    def __init__(self, first: bytes, reader: asyncio.StreamReader, gate: asyncio.Event) -> None:
        self._first, self._reader, self._gate = first, reader, gate

    async def read(self, n: int) -> bytes:
        data, self._first = self._first[:n], self._first[n:]
        data = data or await self._reader.read(n)
        await self._gate.wait()
        return data


class _Server:
    """The server on the running event loop."""

    def __init__(self, folder: Path | None, token: str) -> None:
        self.handler = _Repaired(data_dir="memory" if folder is None else str(folder))
        self.gate = asyncio.Event()
        self.gate.set()
        self._token = token
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    @asynccontextmanager
    async def listening(self, port: int) -> AsyncIterator[int]:
        """Listen on `port`, or a free one for 0; in the end the data are closed too."""
        try:
            yield await self.open(port)
        finally:
            self.close()
            self.handler.close_all()

    async def open(self, port: int) -> int:
        """Listen on `port`, or a free one for 0; returns which."""
        listener, _ = listen(port)
        self._server = await asyncio.start_server(self._answer, sock=listener)
        found: int = listener.getsockname()[1]
        return found

    def close(self) -> None:
        """Listen no more, and drop the connections there are."""
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            first = await reader.readexactly(len(HTTP))
            if first == HTTP:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(_http_answer({"token": self._token, "pid": getpid()}))
            else:
                await handle_client(_Gated(first, reader, self.gate), writer, self.handler)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the client has gone, or we go; Python 3.11 would log the latter as an error
        finally:
            self._writers.discard(writer)
            writer.close()


def _http_answer(content: Mapping[str, object]) -> bytes:
    body = json.dumps(content).encode()
    head = (
        f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body


class MongoStandIn:
    """The server in a thread of this process, for tests; empty at first.

    Attributes:
        url: what a client connects to.
    """

    def __init__(self, folder: Path | None = None) -> None:
        """`folder` keeps the data; without one they are in memory."""
        self._folder = folder
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._started = threading.Event()
        self._stopped = asyncio.Event()
        self._server: _Server | None = None
        self._port = 0
        self.url = ""

    @property
    def handler(self) -> _Repaired:
        """What answers the commands, for tests to look into."""
        return self._running.handler

    @property
    def _running(self) -> _Server:
        assert self._server is not None  # noqa: S101 - between enter and exit
        return self._server

    def __enter__(self) -> Self:
        self._thread.start()
        self._started.wait()
        if self._server is None:
            raise LakeError("sandbox mongodb: the stand-in did not start")
        self.url = f"mongodb://{HOST}:{self._port}/"
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(JOIN_SECONDS)
        if self._thread.is_alive():
            raise LakeError(f"sandbox mongodb at {self.url} did not stop within {JOIN_SECONDS:.0f} s")

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Connections are accepted meanwhile, but nothing is answered on them, nor on those there are."""
        gate = self._running.gate
        self._loop.call_soon_threadsafe(gate.clear)
        try:
            yield
        finally:
            self._loop.call_soon_threadsafe(gate.set)

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Connections are refused meanwhile, and those there are have been dropped."""
        server = self._running

        async def close() -> None:
            server.close()

        asyncio.run_coroutine_threadsafe(close(), self._loop).result(JOIN_SECONDS)
        try:
            yield
        finally:
            asyncio.run_coroutine_threadsafe(server.open(self._port), self._loop).result(JOIN_SECONDS)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        try:
            server = _Server(self._folder, "")
            async with server.listening(0) as self._port:
                self._server = server
                self._started.set()
                await self._stopped.wait()
        finally:
            self._started.set()


def serve(settings: Settings, *, token: str = "", port: int = 0) -> None:
    """Serve `<sandbox_home>/mongodb` until SIGTERM or SIGINT; the endpoints file names it while it listens.

    The shop's day is written first unless the folder has it: what was changed since then stays.

    Args:
        settings: says where the sandbox's folder is.
        token: what HTTP is answered with.
        port: TCP port on 127.0.0.1; 0 takes a free one.

    Raises:
        LakeError: the port is taken.
    """
    asyncio.run(_serve(settings, token, port))


async def _serve(settings: Settings, token: str, port: int) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    folder = settings.sandbox_home / "mongodb"
    seeded = folder / f"day-{shop.GENERATOR}"
    fresh = not seeded.exists()
    if fresh:  # half of a day, or another generator's
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    server = _Server(folder, token)
    async with server.listening(port) as found:
        if fresh:
            documents = shop.day().state().documents
            server.handler.insert(shop.DATABASE, {name: by_id.values() for name, by_id in documents.items()})
            seeded.touch()
        async with announced(settings.endpoints_file, {ENDPOINT: f"mongodb://{HOST}:{found}/"}):
            await stopped.wait()


if __name__ == "__main__":
    command_line("Serve the sandbox's MongoDB on loopback until interrupted.", serve)
