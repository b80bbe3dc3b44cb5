"""The environment that the BigQuery emulator runs in: finding a Python 3.13 to make it with.

What belongs here: the search for an interpreter, and which packages are installed where. What does not: making the
environment (`sandbox.environments`), the emulator itself (`sandbox/bigquery/emulator.py`, which runs in it) and its
process (`sandbox.control`).
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lake.errors import LakeError
from sandbox.environments import INSTALL_SECONDS, PROJECT, Environment, find_uv, output

LAUNCHER = PROJECT / "sandbox" / "bigquery" / "emulator.py"
REQUIREMENTS = LAUNCHER.with_name("requirements.txt")
ENVIRONMENTS = PROJECT / ".venv-bigquery"
WANTED = "3.13"
RELEASE = re.compile(re.escape(WANTED) + r"(\.\d+)?")  # not 3.13.1t, which has no wheels
VARIABLE = "LAKEGRAPH_PYTHON313"
PROBE = "import sys, sysconfig; print('%d.%d' % sys.version_info[:2], sysconfig.get_config_var('Py_GIL_DISABLED') or 0)"
REMEDY = (
    f"get one with `pyenv install {WANTED}` or `uv python install {WANTED}`, or set {VARIABLE} to the path of one; "
    "only the target gcp on this machine needs it"
)


class NoPythonError(LakeError):
    """There is no Python 3.13 on this machine, and none could be downloaded."""


@dataclass(frozen=True)
class Found:
    """What is there without downloading anything: the interpreter, and whether the environment is made."""

    python: Path | None
    ready: bool


def suitable(probed: str | None) -> bool:
    """Whether an interpreter that prints this for `PROBE` can be used: 3.13 with the lock that wheels are built for."""
    return probed == f"{WANTED} 0"


def choose(candidates: Iterable[Path], probe: Callable[[Path], str | None]) -> Path | None:
    """The first candidate that can be used; later ones are not even looked at.

    Args:
        candidates: paths of interpreters, best first.
        probe: what an interpreter prints for `PROBE`; None if it does not run.
    """
    return next((path for path in candidates if suitable(probe(path))), None)


def in_pyenv(versions: Iterable[Path]) -> list[Path]:
    """The interpreters among pyenv's version folders that by their name are 3.13, newest first."""
    named = [folder for folder in versions if RELEASE.fullmatch(folder.name)]
    newest = sorted(named, key=lambda folder: [int(part) for part in folder.name.split(".")], reverse=True)
    return [folder / "bin" / "python" for folder in newest]


def find(environ: Mapping[str, str] = os.environ, *, download: bool = False) -> Path | None:
    """A Python 3.13: the one that the variable names, pyenv's, one that uv knows, or uv's download.

    Args:
        environ: environment variables.
        download: whether uv may download one if there is none.

    Raises:
        NoPythonError: the variable names something else than a Python 3.13.
    """
    if named := environ.get(VARIABLE):
        path = Path(named).expanduser()
        if suitable(_probe(path)):
            return path
        raise NoPythonError(f"{VARIABLE}: {named} is not a Python {WANTED} (with GIL); set it to the path of one")
    return choose(_candidates(environ, download=download), _probe)


def _candidates(environ: Mapping[str, str], *, download: bool) -> Iterator[Path]:
    root = environ.get("PYENV_ROOT") or output("pyenv", "root") or Path.home() / ".pyenv"
    versions = Path(root) / "versions"
    if versions.is_dir():
        yield from in_pyenv(versions.iterdir())
    uv = find_uv()
    if uv is None:
        return
    if known := output(uv, "python", "find", WANTED):
        yield Path(known)
    if download:
        output(uv, "python", "install", "--quiet", WANTED, seconds=INSTALL_SECONDS)
    if managed := output(uv, "python", "find", "--managed-python", WANTED):
        yield Path(managed)


def look() -> Found:
    """What is there; makes and downloads nothing.

    Raises:
        NoPythonError: see `find`.
    """
    environment = _environment()
    if environment.ready:
        return Found(environment.python, True)
    return Found(find(), False)


def describe() -> tuple[bool, str]:
    """Whether the emulator could be started without a download, and with what, or how to get there."""
    try:
        found = look()
    except NoPythonError as error:
        return False, str(error)
    if found.python is None:
        return False, f"no Python {WANTED}; {REMEDY}"
    made = (
        "its environment is made" if found.ready else "its environment is made on `lakegraph sandbox up --target gcp`"
    )
    return True, f"{found.python} ({made})"


def ensure() -> Path:
    """The environment's interpreter; the environment is made if it is missing or its requirements have changed.

    Raises:
        NoPythonError: there is no Python 3.13 and none can be downloaded.
        LakeError: the packages cannot be installed.
    """
    return _environment().ensure(_base)


def _environment() -> Environment:
    return Environment("BigQuery emulator", REQUIREMENTS, ENVIRONMENTS)


def _base() -> Path:
    base = find(download=True)
    if base is None:
        raise NoPythonError(f"BigQuery emulator: no Python {WANTED} found or downloaded; {REMEDY}")
    return base


def _probe(python: Path) -> str | None:
    return output(str(python), "-I", "-c", PROBE)
