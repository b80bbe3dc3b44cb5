"""Start, find and stop the sandbox's processes: a registry of stand-ins, and `up`, `down`, `status` over it.

What belongs here: the life of a stand-in's process, whatever it plays, and the environment variables that lead the
official clients to it. What does not: what it plays (`sandbox.server`, `sandbox.mongodb`, `sandbox.s3`,
`sandbox.starrocks`, `sandbox.gcp`, `sandbox/bigquery`) and the data it serves (`sandbox.tlc`, `sandbox.shop`,
`sandbox.sales`). Another joins by an entry in `STAND_INS`.

A process is ours if its record (`<sandbox_home>/<name>.json`) has both its id and its start time, so that an
id the system gave to another process is never taken for ours, nor killed. It is up once `/health` gives the
random token it was started with, so that nobody else's answer on its port is taken for it.
"""

import fcntl
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal
from urllib.parse import urlsplit

import httpx
import psutil

from lake.errors import LakeError
from lake.settings import Settings, Target
from sandbox import emulators, membership_workbooks, sales, tlc
from sandbox.endpoints import read_endpoints, withdraw

State = Literal["running", "stopped", "foreign"]

MONTHS = ("2023-01", "2023-02", "2023-03")
ROWS: Mapping[tlc.Service, int] = MappingProxyType({"yellow": 20_000, "green": 5_000, "fhv": 10_000})
START_SECONDS = 20.0
EMULATOR_START_SECONDS = 120.0  # it takes five, but a machine that is busy with tests has others to serve
STOP_SECONDS = 10.0
POLL_SECONDS = 0.05
PROBE_SECONDS = 2.0
CLOCK_SECONDS = 2.0
PROJECT = Path(__file__).parents[1]
GCP_PROJECT = "lakegraph-local"
GCP_BUCKET = "lakegraph-local-lake"
LOOPBACK = ("127.0.0.1", "localhost")


@dataclass(frozen=True)
class Sample:
    """The sample data to have at hand: months (`YYYY-MM`), and rows a month for each TLC service."""

    months: Sequence[str]
    rows: Mapping[tlc.Service, int]


@dataclass(frozen=True)
class StandIn:
    """One stand-in for a source system.

    Attributes:
        name: names its record and its log file.
        endpoints: the settings whose URLs it adds to the endpoints file while it listens.
        probe: which of them names the host and port that answer `/health`.
        prepare: makes the data it serves, as far as that is missing.
        command: its command line, given a token that its `/health` must answer with.
        target: it is started for this target only; None: for every one.
        start_seconds: how long it may take to answer; None: `START_SECONDS`.
        variables: environment variables of its process, beside our own.
        command_line: the part of `lakegraph` that starts and stops it.
    """

    name: str
    endpoints: tuple[str, ...]
    probe: str
    prepare: Callable[[Settings, Sample], None]
    command: Callable[[Settings, str], list[str]]
    target: Target | None = None
    start_seconds: float | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    command_line: str = "sandbox"


@dataclass(frozen=True)
class ServiceStatus:
    """What a stand-in is doing.

    Attributes:
        name: the stand-in.
        url: where it answers; None if it does not run.
        pid: the process; None if there is none.
        state: `running`: the process we started is alive. `foreign`: its recorded id, or its URL, is a
            process's that we did not start. `stopped`: neither.
    """

    name: str
    url: str | None
    pid: int | None
    state: State


@dataclass(frozen=True)
class _Record:
    pid: int
    started: float  # psutil's create_time: with the id, it names a process for good
    token: str


@dataclass(frozen=True)
class _Launched:
    stand_in: StandIn
    process: "subprocess.Popen[bytes]"
    token: str
    log: Path


def _prepare_sources(settings: Settings, sample: Sample) -> None:
    folder = settings.sandbox_home / "tlc"
    for service, rows in sample.rows.items():
        for month in sample.months:
            tlc.write(service, month, folder, rows)
    tlc.write_zones(folder)
    membership_workbooks.prepare(settings.sandbox_home)
    sales.prepare(settings.sandbox_home)


def _prepare_nothing(_settings: Settings, _sample: Sample) -> None:
    pass


def _module(name: str) -> Callable[[Settings, str], list[str]]:
    """The command line of a stand-in that is a module here."""
    return lambda settings, token: [sys.executable, "-m", name, "--home", str(settings.home), "--token", token]


def _prepare_bigquery(_settings: Settings, _sample: Sample) -> None:
    emulators.ensure()


def _serve_bigquery(settings: Settings, token: str) -> list[str]:
    options = {
        "--data": str(settings.sandbox_home / "bigquery"),
        "--endpoints": str(settings.endpoints_file),
        "--project": GCP_PROJECT,
        "--token": token,
    }
    return [
        str(emulators.ensure()),
        "-I",
        str(emulators.LAUNCHER),
        *(word for pair in options.items() for word in pair),
    ]


STAND_INS: tuple[StandIn, ...] = (
    # those of the shop make their data themselves, beside the making of the sources'
    StandIn("mongodb", ("shop_mongodb",), "shop_mongodb", _prepare_nothing, _module("sandbox.mongodb")),
    StandIn("s3", ("shop_s3",), "shop_s3", _prepare_nothing, _module("sandbox.s3")),
    StandIn(
        "starrocks", ("starrocks", "starrocks_http"), "starrocks_http", _prepare_nothing, _module("sandbox.starrocks")
    ),
    StandIn(
        "sources",
        ("tlc_base", "users_api", "membership_folder", "sales_database"),
        "users_api",
        _prepare_sources,
        _module("sandbox.server"),
    ),
    StandIn(
        "gcp",
        ("gcs",),
        "gcs",
        _prepare_nothing,
        _module("sandbox.gcp"),
        target="gcp",
        variables={"LAKEGRAPH_GCP_PROJECT": GCP_PROJECT},  # the key that it writes is of this project
    ),
    StandIn(
        "bigquery",
        ("bigquery",),
        "bigquery",
        _prepare_bigquery,
        _serve_bigquery,
        target="gcp",
        start_seconds=EMULATOR_START_SECONDS,
    ),
)


def up(
    settings: Settings,
    *,
    target: Target = "local",
    months: Sequence[str] = MONTHS,
    rows: Mapping[tlc.Service, int] = ROWS,
) -> dict[str, str]:
    """Make the sample data that is missing, start what does not run, and return once everything answers.

    Calling it again starts nothing twice; further months are served by the running server.

    Args:
        settings: says where the sandbox's folder is.
        target: `gcp` starts the stand-ins of Google Cloud too.
        months: `YYYY-MM`, from 2023-01.
        rows: rows of each month's file, by TLC service.

    Returns:
        The endpoints: setting name → URL.

    Raises:
        LakeError: a stand-in ends or stays silent while it starts, another process answers in its place, a month
            is not one, or there is no Python for the BigQuery emulator.
    """
    wanted = [stand_in for stand_in in STAND_INS if stand_in.target in {None, target}]
    return start(settings, wanted, Sample(months, rows))


def start(settings: Settings, stand_ins: Sequence[StandIn], sample: Sample) -> dict[str, str]:
    """`up` for these alone; see there.

    Args:
        settings: says where the sandbox's folder is.
        stand_ins: started beside each other.
        sample: the data to have at hand.

    Returns:
        The endpoints of all that runs: setting name → URL.

    Raises:
        LakeError: see `up`.
    """
    with _lock(settings):
        launched: list[_Launched] = []
        try:
            for stand_in in stand_ins:
                stand_in.prepare(settings, sample)
                if one := _launch(settings, stand_in):
                    launched.append(one)
                    _remember(settings, one)
            for one in launched:  # they start beside each other
                _await_health(settings, one)
        except BaseException:
            for one in launched:
                one.process.kill()
                one.process.wait()
                _forget(settings, one.stand_in)
            raise
        for one in launched:
            one.process.returncode = 0  # it is meant to outlive this object, which would warn of that
    return read_endpoints(settings.endpoints_file)


def down(settings: Settings) -> bool:
    """Stop every stand-in that `up` started, and return once their processes have ended.

    Args:
        settings: says where the sandbox's folder is.

    Returns:
        Whether anything ran.

    Raises:
        LakeError: a process outlives even SIGKILL.
    """
    return stop(settings, STAND_INS)


def stop(settings: Settings, stand_ins: Sequence[StandIn]) -> bool:
    """`down` for these alone; see there.

    Raises:
        LakeError: a process outlives even SIGKILL.
    """
    with _lock(settings):
        stopped = [_stop(settings, stand_in) for stand_in in reversed(stand_ins)]
    return any(stopped)


def status(settings: Settings) -> list[ServiceStatus]:
    """What each stand-in is doing, in the registry's order; changes nothing.

    Args:
        settings: says where the sandbox's folder is.

    Returns:
        One status for each stand-in; one of a target is left out if nothing is known of it here.
    """
    return [
        look(settings, stand_in)
        for stand_in in STAND_INS
        if stand_in.target is None or _record(settings, stand_in) or _url(settings, stand_in)
    ]


def environment(
    settings: Settings, endpoints: Mapping[str, str], environ: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """The variables under which the target `gcp` and the official clients talk to the stand-ins of this home.

    Args:
        settings: says where the sandbox's folder is.
        endpoints: what `up` returned, or `read_endpoints` reads.
        environ: variables that are set already; what they except from proxies stays excepted.

    Returns:
        Variable → value.

    Raises:
        LakeError: the stand-ins of Google Cloud are not up.
    """
    if missing := [name for name in ("gcs", "bigquery") if name not in endpoints]:
        raise LakeError(
            f"sandbox: {' and '.join(missing)} not running under {settings.home}; "
            "start them with `lakegraph sandbox up --target gcp`"
        )
    storage, bigquery = endpoints["gcs"], endpoints["bigquery"]
    excepted = (environ.get("no_proxy") or environ.get("NO_PROXY") or "").split(",")
    no_proxy = ",".join(dict.fromkeys(host for host in (*excepted, *LOOPBACK) if host))
    return {
        "LAKEGRAPH_TARGET": "gcp",
        "LAKEGRAPH_HOME": str(settings.home),
        "LAKEGRAPH_GCP_PROJECT": GCP_PROJECT,
        "LAKEGRAPH_GCP_BUCKET": GCP_BUCKET,
        "LAKEGRAPH_GCP_CONNECTION_ENDPOINT": storage,
        "GOOGLE_CLOUD_PROJECT": GCP_PROJECT,
        "BIGQUERY_EMULATOR_HOST": bigquery,
        "STORAGE_EMULATOR_HOST": storage,
        "GOOGLE_APPLICATION_CREDENTIALS": str(settings.sandbox_home / "gcp" / "key.json"),
        "NO_PROXY": no_proxy,
        "no_proxy": no_proxy,  # where both are set, this one counts
    }


def look(settings: Settings, stand_in: StandIn) -> ServiceStatus:
    """What one stand-in is doing; changes nothing."""
    name, record, url = stand_in.name, _record(settings, stand_in), _url(settings, stand_in)
    if record and _alive(record):
        address = read_endpoints(settings.endpoints_file).get(stand_in.endpoints[0])
        return ServiceStatus(name, address, record.pid, "running")
    if url and (answer := _health(url)):
        pid = answer.get("pid")
        return ServiceStatus(name, url, pid if isinstance(pid, int) else None, "foreign")
    if record and _reused(record):
        return ServiceStatus(name, None, record.pid, "foreign")
    return ServiceStatus(name, None, None, "stopped")


def _launch(settings: Settings, stand_in: StandIn) -> _Launched | None:
    """Start the stand-in's process, and do not wait for its answer; None if it is up."""
    record, url = _record(settings, stand_in), _url(settings, stand_in)
    answer = _health(url) if url else None
    if record and _alive(record):
        if answer and answer.get("token") == record.token:
            return None
        raise LakeError(
            f"sandbox {stand_in.name}: process {record.pid} runs but does not answer at {url}; "
            f"stop it with `lakegraph {stand_in.command_line} down`"
        )
    if answer:
        raise LakeError(
            f"sandbox {stand_in.name}: {url} is answered by process {answer.get('pid')}, "
            "which `up` did not start; stop that one first"
        )
    _forget(settings, stand_in)

    token = secrets.token_hex(16)
    log = settings.sandbox_home / f"{stand_in.name}.log"
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603 - the command is the registry's
            stand_in.command(settings, token),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=PROJECT,
            env={**os.environ, **stand_in.variables},
            start_new_session=True,
        )
    return _Launched(stand_in, process, token, log)


def _await_health(settings: Settings, launched: _Launched) -> None:
    stand_in, log = launched.stand_in, launched.log
    seconds = START_SECONDS if stand_in.start_seconds is None else stand_in.start_seconds
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        url = _url(settings, stand_in)
        if url and (_health(url) or {}).get("token") == launched.token:
            return
        try:
            code = launched.process.wait(POLL_SECONDS)
        except subprocess.TimeoutExpired:
            continue
        last = (log.read_text(errors="replace").strip().splitlines() or ["no output"])[-1]
        raise LakeError(f"sandbox {stand_in.name}: ended with code {code} while starting: {last} (log: {log})")
    raise LakeError(f"sandbox {stand_in.name}: no answer within {seconds:.0f} s (log: {log})")


def _stop(settings: Settings, stand_in: StandIn) -> bool:
    record = _record(settings, stand_in)
    ours = record is not None and _alive(record)
    if record and ours:
        for end in (psutil.Process.terminate, psutil.Process.kill):
            if _end(record, end):
                break
        else:
            raise LakeError(f"sandbox {stand_in.name}: process {record.pid} does not end, not even by SIGKILL")
    if record:
        _forget(settings, stand_in)
    return ours


def _end(record: _Record, end: Callable[[psutil.Process], None]) -> bool:
    """Signal the process, if it is still ours, and wait for its end: whether it ended in time."""
    try:
        process = psutil.Process(record.pid)
        if _same(process, record):
            end(process)
    except psutil.NoSuchProcess:
        return True
    deadline = time.monotonic() + STOP_SECONDS
    while _alive(record) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    with suppress(ChildProcessError):  # started by another process, which is the usual case
        os.waitpid(record.pid, os.WNOHANG)
    return not _alive(record)


def _alive(record: _Record) -> bool:
    try:
        process = psutil.Process(record.pid)
        return _same(process, record) and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _reused(record: _Record) -> bool:
    try:
        return not _same(psutil.Process(record.pid), record)
    except psutil.NoSuchProcess:
        return False


def _same(process: psutil.Process, record: _Record) -> bool:
    """Whether the id still belongs to the process recorded; a corrected clock moves start times a little."""
    return abs(process.create_time() - record.started) < CLOCK_SECONDS


def _url(settings: Settings, stand_in: StandIn) -> str | None:
    return read_endpoints(settings.endpoints_file).get(stand_in.probe)


def _health(url: str) -> dict[str, object] | None:
    """What `/health` answers at the host and port of `url`, or None: a silent port, or no JSON object."""
    try:
        answer = httpx.get(f"http://{urlsplit(url).netloc}/health", timeout=PROBE_SECONDS, trust_env=False).json()
    except (httpx.HTTPError, ValueError):
        return None
    return answer if isinstance(answer, dict) else None


def _record_path(settings: Settings, stand_in: StandIn) -> Path:
    return settings.sandbox_home / f"{stand_in.name}.json"


def _record(settings: Settings, stand_in: StandIn) -> _Record | None:
    try:
        return _Record(**json.loads(_record_path(settings, stand_in).read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _remember(settings: Settings, launched: _Launched) -> None:
    pid = launched.process.pid
    path = _record_path(settings, launched.stand_in)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(asdict(_Record(pid, psutil.Process(pid).create_time(), launched.token))))
    partial.replace(path)


def _forget(settings: Settings, stand_in: StandIn) -> None:
    """Remove what a process left behind: its record, and its endpoints if nobody answers there."""
    _record_path(settings, stand_in).unlink(missing_ok=True)
    url = _url(settings, stand_in)
    if url and _health(url) is None:
        running = read_endpoints(settings.endpoints_file)
        withdraw(settings.endpoints_file, {k: v for k, v in running.items() if k in stand_in.endpoints})


@contextmanager
def _lock(settings: Settings) -> Iterator[None]:
    """One `up` or `down` at a time for one home; another waits."""
    settings.sandbox_home.mkdir(parents=True, exist_ok=True)
    lock = os.open(settings.sandbox_home / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
