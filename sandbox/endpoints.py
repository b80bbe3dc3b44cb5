"""The endpoints file: where each stand-in listens, while it does.

What belongs here: adding to the file, taking out of it and reading it. What does not: listening (`sandbox.serving`).
The standard library alone: servers of other environments import this module too.
"""

import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from os import getpid
from pathlib import Path


def publish(path: Path, endpoints: Mapping[str, str]) -> None:
    """Add `endpoints` (setting name → URL) to the endpoints file, replaced whole; others' entries stay."""
    with _alone(path):
        _rewrite(path, {**read_endpoints(path), **endpoints})


def withdraw(path: Path, endpoints: Mapping[str, str]) -> None:
    """Take `endpoints` out of the endpoints file where their URL is still the same; an empty file is removed."""
    if not path.exists():
        return
    with _alone(path):
        before = read_endpoints(path)
        after = dict(before.items() - endpoints.items())
        if after != before:
            _rewrite(path, after)


def read_endpoints(path: Path) -> dict[str, str]:
    """The endpoints file as it stands: setting name → URL; empty if there is none."""
    try:
        endpoints: dict[str, str] = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    return endpoints


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process at a time changes the endpoints file: stand-ins start and stop beside each other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _rewrite(path: Path, endpoints: Mapping[str, str]) -> None:
    if not endpoints:
        path.unlink(missing_ok=True)
        return
    partial = path.with_name(f".{path.name}.{getpid()}.partial")
    partial.write_text(json.dumps(endpoints, indent=2, sort_keys=True) + "\n")
    partial.replace(path)
