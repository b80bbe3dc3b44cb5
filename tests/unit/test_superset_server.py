"""The environment of Superset: with which Python it is made, when it is made anew, and what `make superset` gives away.

The server itself is in `e2e/test_superset.py`.
"""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from lake.errors import LakeError
from lake.settings import Settings
from sandbox import superset_server
from sandbox.environments import Environment

ROOT = Path(__file__).parents[2]
SERVER = """
import http.server, json, os, pathlib, sys
options = dict(zip(sys.argv[1::2], sys.argv[2::2]))
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"token": options["--token"], "pid": os.getpid()}).encode())
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
url = f"http://127.0.0.1:{server.server_port}"
pathlib.Path(options["--endpoints"]).write_text(json.dumps({"superset_url": url}))
server.serve_forever()
"""


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


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """A small server in the place of Superset, and an environment that is made in no time."""
    (tmp_path / "requirements.txt").write_text("")
    program = tmp_path / "serve.py"
    program.write_text(SERVER)
    monkeypatch.setattr(superset_server, "PROGRAM", program)
    environment = Environment("Superset", tmp_path / "requirements.txt", tmp_path / "environments")
    monkeypatch.setattr(superset_server, "ENVIRONMENT", environment)
    monkeypatch.setattr(superset_server, "_base", lambda: Path(sys.executable))
    settings = Settings(home=tmp_path / "home")
    yield settings
    superset_server.down(settings)


def running(settings: Settings) -> psutil.Process:
    found = superset_server.control.look(settings, superset_server._service(settings))
    assert found.state == "running"
    return psutil.Process(found.pid)


def test_one_that_runs_on_other_packages_is_stopped_before_they_are_removed(
    stand_in: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The fault: an update took the packages away from under a server that went on, and that `up` found healthy."""
    assert superset_server.up(stand_in, port=0).user == "admin"
    first = running(stand_in)
    superset_server.up(stand_in, port=0)
    assert running(stand_in) == first, "nothing has changed"
    (tmp_path / "requirements.txt").write_text("# others\n")
    seen: list[bool] = []
    monkeypatch.setattr(superset_server, "_base", lambda: seen.append(first.is_running()) or Path(sys.executable))
    superset_server.up(stand_in, port=0)
    assert seen == [False]
    assert running(stand_in) != first
    assert [path for path in (tmp_path / "environments").iterdir() if path.is_dir()] == [
        superset_server.ENVIRONMENT.python.parents[1]
    ]


def test_others_need_not_wait_for_the_installation(stand_in: Settings, monkeypatch: pytest.MonkeyPatch):
    """It takes minutes; what else is started and stopped meanwhile is under a lock of its own."""

    def base() -> Path:
        with (stand_in.sandbox_home / ".lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return Path(sys.executable)

    stand_in.sandbox_home.mkdir(parents=True)
    monkeypatch.setattr(superset_server, "_base", base)
    superset_server.up(stand_in, port=0)
    assert running(stand_in).is_running()


def dry_run(**variables: str) -> str:
    """What `make superset` would do."""
    make = shutil.which("make")
    if make is None:
        pytest.skip("no make is installed")
    return subprocess.check_output(
        [make, "--dry-run", "superset"], cwd=ROOT, env=os.environ | variables, text=True, timeout=60
    )


def test_make_superset_puts_no_address_into_a_command_line():
    """The fault: `ps` showed the database's password, and make expanded the dollars in it."""
    said = dry_run(LAKEGRAPH_SUPERSET_DATABASE="starrocks://u:s3cret$(error expanded)@h/x")
    assert "lakegraph superset up" in said
    assert "s3cret" not in said


def test_make_superset_does_not_build_the_demo_in_the_cloud(tmp_path: Path):
    assert "sandbox up" not in dry_run(LAKEGRAPH_TARGET="gcp", LAKEGRAPH_HOME=str(tmp_path))
