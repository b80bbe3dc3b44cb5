"""Fixtures that tests of several folders share; its folder is on the path, so `import lakes` works everywhere below."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gcp
import lakes
import pytest
from dagster._core.storage.defs_state.base import set_defs_state_storage
from postgres import postgres, postgres_database  # noqa: F401 - fixtures

from lake.errors import LakeError
from lake.settings import Settings

os.environ.setdefault("RUNTIME__DLTHUB_TELEMETRY", "false")
os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "1")


def pytest_configure(config: pytest.Config) -> None:
    """The graph is that of dbt's files as they are: they are parsed once, before there are workers."""
    if hasattr(config, "workerinput"):
        return
    from orchestration.project import prepare  # workers need not import it

    try:
        prepare()
    except LakeError as error:
        raise pytest.UsageError(str(error)) from error


@pytest.fixture(autouse=True)
def no_instance_of_another_test() -> Iterator[None]:
    """Dagster keeps the process's instance in a context variable, and a context that was never closed puts its own, long
    gone, back when it is collected as garbage: whatever runs next fails on an "undefined DagsterInstance weakref".
    """
    with set_defs_state_storage(None):
        yield


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """The folder of the source's files."""
    folder = tmp_path / "tlc"
    folder.mkdir()
    return folder


@pytest.fixture
def lake(tmp_path: Path, files: Path) -> Settings:
    """An empty lake that reads `files` from the folder itself."""
    return lakes.settings(tmp_path / "home", files)


@pytest.fixture(scope="session")
def gcp_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The variables of the target gcp on stand-ins, started once for each worker; mark the test `gcp`."""
    with gcp.running(tmp_path_factory.mktemp("gcp")) as environment:
        yield environment


@pytest.fixture
def loopback_alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No name but this machine's is looked up, not even in a client's background thread."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def look_up(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host not in ("127.0.0.1", "localhost", None):
            asked.append(str(host))
        return real(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    yield
    assert asked == []
