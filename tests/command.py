"""`lakegraph` in the test's own process, and waiting for what other processes do.

What belongs here: what tests of several folders need to give a command and see how it ends. What does not: homes, fresh
and warm processes (`e2e/homes.py`), and expectations.
"""

import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pytest

from lake.settings import get_settings

DEADLINE = 600.0  # seconds, for one run on a machine that is busy with other tests


class Done(NamedTuple):
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def first(self) -> str:
        """The first line of the error output."""
        return self.err.splitlines()[0] if self.err else ""


def wait_for(condition: Callable[[], Any], what: str, seconds: float = DEADLINE, poll: float = 0.01) -> Any:
    """The first true value of `condition`."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {seconds:.0f} s: {what}"
        time.sleep(poll)
    return value


def call(capsys: pytest.CaptureFixture[str], *arguments: str, variables: Mapping[str, str] | None = None) -> Done:
    """The command's own `main`, with arguments, output and exit code.

    Given `variables`, these take the place of every LAKEGRAPH_ variable; else the environment is as the test made it.
    """
    from orchestration import cli

    with pytest.MonkeyPatch.context() as patch:
        if variables is not None:
            for name in [n for n in os.environ if n.startswith("LAKEGRAPH_")]:
                patch.delenv(name)
            for name, value in variables.items():
                patch.setenv(name, value)
        patch.setattr(sys, "argv", ["lakegraph", *arguments])
        get_settings.cache_clear()
        capsys.readouterr()
        try:
            cli.main()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(bool(end.code))
        finally:
            get_settings.cache_clear()
    return Done(code, *capsys.readouterr())
