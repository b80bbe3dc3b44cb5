"""Fixtures that tests of several folders share; its folder is on the path, so `import lakes` works everywhere below."""

import os
from pathlib import Path

import lakes
import pytest

from lake.settings import Settings

os.environ.setdefault("RUNTIME__DLTHUB_TELEMETRY", "false")
os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "1")


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
