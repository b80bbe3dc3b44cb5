"""Fixtures of PostgreSQL, which `conftest` imports: `postgres`, the server, one for each worker, and `postgres_database`, the URL of
an empty database, one for each test. What does not belong here: the server itself (`sandbox.postgres`), tables and expectations.
"""

import os
from collections.abc import Iterator

import pytest

from sandbox.postgres import NOT_INSTALLED, Postgres, installed, running


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The server; where there is none, the test is skipped, or fails if it must not be (CI)."""
    if installed() is None:
        pytest.fail(NOT_INSTALLED) if os.environ.get("CI") else pytest.skip(NOT_INSTALLED)
    with running() as server:
        yield server


@pytest.fixture
def postgres_database(postgres: Postgres) -> Iterator[str]:
    """The URL of an empty database."""
    with postgres.database() as url:
        yield url
