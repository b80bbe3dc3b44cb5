"""Virtual environments beside the project's own, for servers whose packages cannot be installed together with ours.

What belongs here: making such an environment from its pinned requirements, and asking a program what it prints. What
does not: which Python it needs and what runs in it (`sandbox.emulators`, `sandbox.superset_server`).

An environment is one for the project and is kept: its folder is named by the hash of the requirements, so that other
requirements make another one, and a process that waits for the lock finds it made.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lake.errors import LakeError

PROJECT = Path(__file__).parents[1]
PROBE_SECONDS = 20.0
INSTALL_SECONDS = 900.0


@dataclass(frozen=True)
class Environment:
    """An environment of its own.

    Attributes:
        name: what runs in it, for messages.
        requirements: the pinned packages.
        folder: holds it, and nothing else.
    """

    name: str
    requirements: Path
    folder: Path

    @property
    def python(self) -> Path:
        """Its interpreter, made or not."""
        return self._path / "bin" / "python"

    @property
    def ready(self) -> bool:
        """Whether it is made."""
        return self.python.exists()

    @property
    def _path(self) -> Path:
        return self.folder / hashlib.sha256(self.requirements.read_bytes()).hexdigest()[:12]

    def ensure(self, base: Callable[[], Path]) -> Path:
        """Its interpreter; it is made if it is missing or its requirements have changed.

        Args:
            base: finds the Python to make it with, or raises; called only if it is to be made.

        Raises:
            LakeError: the packages cannot be installed.
        """
        with _lock(self.folder):
            if self.ready:
                return self.python
            uv = find_uv()
            if uv is None:
                raise LakeError(f"{self.name}: no `uv` to make its environment with; run `make setup`")
            python = base()
            partial = self.folder / "partial"
            shutil.rmtree(partial, ignore_errors=True)
            self._run(uv, "venv", "--quiet", "--relocatable", "--python", str(python), str(partial))
            into = str(partial / "bin/python")
            self._run(
                uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", into, "-r", str(self.requirements)
            )
            for outdated in [path for path in self.folder.iterdir() if path.is_dir() and path != partial]:
                shutil.rmtree(outdated, ignore_errors=True)
            partial.replace(self._path)
        return self.python

    def _run(self, *command: str) -> None:
        said = f"{self.name}: `{' '.join(command[:3])} …`"
        try:
            subprocess.run(  # noqa: S603 - our own commands
                command, capture_output=True, text=True, check=True, timeout=INSTALL_SECONDS, stdin=subprocess.DEVNULL
            )
        except subprocess.CalledProcessError as error:
            reason = (error.stderr.strip().splitlines() or ["no reason given"])[0]
            raise LakeError(f"{said} failed: {reason}; is the package index reachable?") from error
        except subprocess.TimeoutExpired as error:
            raise LakeError(f"{said} did not end within {INSTALL_SECONDS:.0f} s") from error


def find_uv() -> str | None:
    """The `uv` beside our own interpreter, else the one on the path."""
    beside = Path(sys.executable).with_name("uv")
    return str(beside) if beside.exists() else shutil.which("uv")


def output(*command: str, seconds: float = PROBE_SECONDS) -> str | None:
    """What a command prints; None if it is not there, fails or takes too long."""
    try:
        done = subprocess.run(  # noqa: S603 - our own commands
            command, capture_output=True, text=True, check=True, timeout=seconds, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """One process at a time makes the environment; another waits."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
