"""What tests of the lake share: declared tables, loads in one line, what a table holds, servers with odd answers."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from functools import cache, partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml
from pyiceberg.exceptions import NoSuchTableError

from lake import iceberg
from lake.accounting import LoadResult
from lake.catalog import open_catalog
from lake.errors import LakeError, TransientError
from lake.load import load
from lake.settings import Settings
from lake.spec import TableSpec

ROOT = Path(__file__).parents[1]
REAL_FILES = ROOT.parent / "shared" / "data" / "tlc"
DRIFT = ("2023-01", "2023-02", "2023-03", "2024-01", "2025-01", "2025-02", "2025-03", "2025-11")  # DOMAINS.md, green

needs_real_files = pytest.mark.skipif(
    not (REAL_FILES / "green_tripdata_2023-01.parquet").exists(),
    reason=f"the TLC's real green files are not in {REAL_FILES}; generated ones with the same drift are tested",
)


@cache
def declared(name: str, domain: str = "mobility") -> tuple[TableSpec, Any]:
    """A table as the graph declares it, and its source with the declared parameters."""
    text = (ROOT / "orchestration" / "defs" / domain / name / "defs.yaml").read_text()
    attributes = yaml.safe_load(text)["attributes"]
    module, function = attributes["source"].rsplit(".", 1)
    source = partial(getattr(import_module(module), function), **attributes.get("params", {}))
    return TableSpec.model_validate(attributes["table"]), source


def settings(home: Path, base: object = None, **more: Any) -> Settings:
    """Settings that give up fast."""
    return Settings(**{"home": home, "tlc_base": str(base), "http_attempts": 2, "http_timeout_seconds": 5, **more})


def load_table(lake: Settings, name: str, month: str | None = None, run_id: str = "test") -> LoadResult:
    spec, source = declared(name)
    partition = date.fromisoformat(f"{month}-01") if month else None
    return load(spec, source, lake, partition=partition, run_id=run_id)


def load_green(lake: Settings, month: str = "2023-02", run_id: str = "test") -> LoadResult:
    return load_table(lake, "green_trips", month, run_id)


def write_green(folder: Path, month: str, table: pa.Table, *, signed: bool = True) -> Path:
    """`table` as a month's file; `signed` adds the column by which a green file is known, if it is not there."""
    if signed and "lpep_pickup_datetime" not in table.column_names:
        table = table.append_column("lpep_pickup_datetime", pa.nulls(table.num_rows, pa.timestamp("us")))
    path = folder / f"green_tripdata_{month}.parquet"
    pq.write_table(table, path)
    return path


def with_column(table: pa.Table, name: str, values: Any) -> pa.Table:
    """`table` with the column `name` replaced, or added."""
    index = table.schema.get_field_index(name)
    return table.append_column(name, values) if index < 0 else table.set_column(index, name, values)


def open_table(lake: Settings, name: str = "mobility_green_trips") -> Any:
    return open_catalog(lake).load_table(f"bronze.{name}")


def rows(lake: Settings, name: str = "mobility_green_trips") -> pa.Table:
    """The table as pyiceberg reads it."""
    return open_table(lake, name).scan().to_arrow()


def by_month(lake: Settings, name: str = "mobility_green_trips") -> dict[str, int]:
    counts = iceberg.rows_by_partition(open_table(lake, name))
    return {f"{key:%Y-%m}" if key else "": n for key, n in sorted(counts.items(), key=str)}


def data_files(lake: Settings, name: str = "mobility_green_trips", month: str | None = None) -> dict[str, bytes]:
    """The current data files, or those of one month, with their content."""
    table = open_table(lake, name)
    wanted = date.fromisoformat(f"{month}-01") if month else None
    return {
        file.file_path: Path(file.file_path.removeprefix("file://")).read_bytes()
        for file in iceberg.current_files(table)
        if month is None or iceberg.partition_of(table, file) == wanted
    }


def state(lake: Settings) -> dict[str, tuple[int | None, int, dict[str, bytes]]]:
    """Of every bronze table: the current snapshot, how many there are, the data files with their content."""
    catalog, held = open_catalog(lake), {}
    with suppress(NoSuchTableError):
        for _, name in catalog.list_tables("bronze") if ("bronze",) in catalog.list_namespaces() else []:
            table = catalog.load_table(f"bronze.{name}")
            current = table.current_snapshot()
            snapshot = current.snapshot_id if current else None
            held[name] = (snapshot, len(table.snapshots()), data_files(lake, name))
    return held


def leftovers(lake: Settings) -> list[Path]:
    """What loads left in dlt's folder."""
    return sorted(lake.dlt_home.iterdir()) if lake.dlt_home.exists() else []


def refused(lake: Settings, act: Callable[[], object], *, transient: bool = False) -> str:
    """The message of the error that `act` must raise: one line, bronze as it was, nothing left behind."""
    before = state(lake)
    with pytest.raises(LakeError) as raised:
        act()
    assert isinstance(raised.value, TransientError) == transient, repr(raised.value)
    assert state(lake) == before
    assert leftovers(lake) == []
    message = str(raised.value)
    assert message
    assert "\n" not in message
    return message


def canonical(table: pa.Table) -> pa.Table:
    """Rows in an order of their own, columns by lower-case name, without chunks: equal content is equal."""
    order = sorted(table.column_names, key=str.lower)
    plain = table.select(order).rename_columns([name.lower() for name in order])
    texts = [pa.field(f.name, pa.string() if pa.types.is_large_string(f.type) else f.type) for f in plain.schema]
    plain = plain.cast(pa.schema(texts)).combine_chunks()
    keys = [(name, "ascending") for name in plain.column_names]
    plain = plain.take(pc.sort_indices(plain, sort_keys=keys))
    return pa.table({name: plain[name].combine_chunks() for name in plain.column_names})


@dataclass(frozen=True)
class Answer:
    """What a server says to one request."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] | None = None
    announced: int | None = None  # Content-Length, where it is not the truth


@contextmanager
def answering(reply: Callable[[str], Answer]) -> Iterator[str]:
    """A loopback HTTP server that answers GET with `reply(path with query)`; gives its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = reply(self.path)
            self.send_response(answer.status)
            for key, value in (answer.headers or {}).items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(answer.body) if answer.announced is None else answer.announced))
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
