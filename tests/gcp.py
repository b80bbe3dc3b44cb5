"""The target gcp on this machine: the stand-ins of Google Cloud in a home of their own, for the tests marked `gcp`.

What belongs here: starting and stopping them, and official clients that talk to them. What does not: expectations.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from lake.settings import Settings
from sandbox import control, emulators, tlc

REQUIRE = "LAKEGRAPH_REQUIRE_GCP"
MONTHS = ("2023-01",)
ROWS: Mapping[tlc.Service, int] = {"yellow": 200, "green": 100, "fhv": 100}


def up(settings: Settings) -> dict[str, str]:
    """Start everything; where there is no Python 3.13 the test is skipped, or fails if it must not be."""
    try:
        return control.up(settings, target="gcp", months=MONTHS, rows=ROWS)
    except emulators.NoPythonError as error:
        if os.environ.get(REQUIRE) == "1":
            raise
        pytest.skip(str(error))


@contextmanager
def running(home: Path) -> Iterator[dict[str, str]]:
    """Everything under `home`, as the variables that lead there; stopped at the end."""
    settings = Settings(home=home)
    try:
        yield control.environment(settings, up(settings))
    finally:
        control.down(settings)


@contextmanager
def variables(environment: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for a while."""
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
