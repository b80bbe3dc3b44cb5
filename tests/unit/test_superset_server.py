"""Which Python the environment of Superset is made with; the server itself is in `e2e/test_superset.py`."""

import sys
from pathlib import Path

import pytest

from lake.errors import LakeError
from sandbox import superset_server
from sandbox.environments import Environment


def nothing(*_: str, **__: float) -> None:
    """What a program prints that is not there."""


def test_our_own_python_is_taken_if_superset_runs_on_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        superset_server, "PYTHONS", (sys.version_info[:2], (sys.version_info[0], sys.version_info[1] + 1))
    )
    assert superset_server._base() == Path(sys.executable)


def test_else_one_that_uv_knows_else_a_line_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(superset_server, "PYTHONS", ((2, 7), (2, 8)))
    monkeypatch.setattr(superset_server, "output", lambda *command, **_: "/found/python" if "find" in command else None)
    assert superset_server._base() == Path("/found/python")
    monkeypatch.setattr(superset_server, "output", nothing)
    with pytest.raises(LakeError, match=r"^Superset: no Python 3\.11 or 3\.12 .*`uv python install 3\.12`$"):
        superset_server._base()


def test_packages_that_cannot_be_installed_are_named_in_a_line_and_leave_no_environment(tmp_path: Path):
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("./no-such-package\n")
    environment = Environment("Superset", requirements, tmp_path / "environments")
    with pytest.raises(
        LakeError, match=r"^Superset: `.*uv pip install …` failed: .*; is the package index reachable\?$"
    ):
        environment.ensure(lambda: Path(sys.executable))
    assert not environment.ready
