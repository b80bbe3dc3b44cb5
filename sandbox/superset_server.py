"""A real Superset on loopback: its environment, its secrets, and the start and stop of its process.

What belongs here: which Python and packages it runs on, the files under `LAKEGRAPH_HOME/superset`, and its entry for
`sandbox.control`. What does not: the server itself (`sandbox/superset/`, which runs in an environment of its own), and
its dashboards, which are imported into it as into any other (`infra_assets.superset`).

It is no stand-in. It is here because production does not start it: the Superset of a team is given by
LAKEGRAPH_SUPERSET_URL.
"""

import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from lake.errors import LakeError
from lake.settings import SUPERSET_ADMIN, Settings
from sandbox import control
from sandbox.environments import INSTALL_SECONDS, PROJECT, Environment, find_uv, output

PROGRAM = PROJECT / "sandbox" / "superset" / "serve.py"
ENVIRONMENT = Environment("Superset", PROGRAM.with_name("requirements.txt"), PROJECT / ".venv-superset")
PYTHONS = (3, 11), (3, 13)  # its pandas and numpy have no wheels for 3.13
SPECIFIER = ">=3.11,<3.13"
DOWNLOADED = "3.12"
PORT = 8088  # Superset's own
START_SECONDS = 300.0  # it takes forty the first time, on a machine with nothing else to do
NOTHING = control.Sample((), {})


@dataclass(frozen=True)
class Running:
    """A Superset that answers.

    Attributes:
        url: where, without a slash at its end.
        user: the administrator.
        password_file: holds the password, for its owner alone.
        log: what the server writes.
    """

    url: str
    user: str
    password_file: Path
    log: Path


def up(settings: Settings, *, port: int = PORT) -> Running:
    """Install Superset if need be, and start it unless it runs; returns once it answers.

    One that runs in an environment of other packages than ours is stopped first: the installation removes these.

    Args:
        settings: says where its state is.
        port: a free one is taken if it is taken, or 0.

    Raises:
        LakeError: there is no Python for it, it cannot be installed, or it does not start; the log is named.
    """
    if _outdated(settings):
        down(settings)
    ensure()
    endpoints = control.start(settings, [_service(settings, port)], NOTHING)
    log = settings.sandbox_home / "superset.log"
    return Running(endpoints["superset_url"], SUPERSET_ADMIN, settings.superset_password_file, log)


def down(settings: Settings) -> bool:
    """Stop it; whether it ran. Its state stays.

    Raises:
        LakeError: the process outlives even SIGKILL.
    """
    return control.stop(settings, [_service(settings)])


@contextmanager
def running(settings: Settings) -> Iterator[Running]:
    """A Superset on a free port, stopped on exit."""
    try:
        yield up(settings, port=0)
    finally:
        down(settings)


def ensure() -> Path:
    """The environment's interpreter; the environment is made if it is missing.

    Raises:
        LakeError: there is no Python for it, or the packages cannot be installed.
    """
    return ENVIRONMENT.ensure(_base)


def _base() -> Path:
    """A Python that Superset runs on: ours, one that uv knows, or uv's download."""
    low, high = PYTHONS
    if low <= sys.version_info[:2] < high:
        return Path(sys.executable)
    uv = find_uv()
    if uv and (known := output(uv, "python", "find", SPECIFIER)):
        return Path(known)
    if uv:
        output(uv, "python", "install", "--quiet", DOWNLOADED, seconds=INSTALL_SECONDS)
        if managed := output(uv, "python", "find", "--managed-python", SPECIFIER):
            return Path(managed)
    raise LakeError(
        f"Superset: no Python 3.11 or 3.12 found or downloaded; get one with `uv python install {DOWNLOADED}`"
    )


def _outdated(settings: Settings) -> bool:
    """Whether one runs whose interpreter is not that of our environment."""
    found = control.look(settings, _service(settings))
    if found.state != "running":
        return False
    try:
        return psutil.Process(found.pid).cmdline()[0] != str(ENVIRONMENT.python)
    except (psutil.NoSuchProcess, IndexError):  # it has just ended
        return False


def _service(settings: Settings, port: int = PORT) -> control.StandIn:
    def prepare(settings: Settings, _sample: control.Sample) -> None:
        settings.superset_home.mkdir(parents=True, exist_ok=True)
        for path in (settings.superset_home / "secret_key", settings.superset_password_file):
            _secret(path)

    def command(settings: Settings, token: str) -> list[str]:
        options = {
            "--endpoints": str(settings.endpoints_file),
            "--port": str(port),
            "--token": token,
            "--user": SUPERSET_ADMIN,
        }
        return [str(ENVIRONMENT.python), "-I", str(PROGRAM), *(word for pair in options.items() for word in pair)]

    return control.StandIn(
        "superset",
        ("superset_url",),
        "superset_url",
        prepare,
        command,
        start_seconds=START_SECONDS,
        variables={
            "SUPERSET_HOME": str(settings.superset_home),
            "SUPERSET_CONFIG_PATH": str(PROGRAM.with_name("superset_config.py")),
        },
        command_line="superset",
    )


def _secret(path: Path) -> None:
    """Generate a secret for the owner's eyes alone, whole or not at all; one that is there stays."""
    if path.exists():
        return
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_urlsafe(32) + "\n")
    with suppress(FileExistsError):
        path.hardlink_to(partial)
    partial.unlink()
