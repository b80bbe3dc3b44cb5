"""Fixtures of the tests from outside; `homes` holds what they are made of."""

from collections.abc import Callable, Iterator

import pytest
from command import Done, call
from homes import Demo, Home, serving, write_sources


@pytest.fixture
def here(capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """`lakegraph …` in this process, with the variables of a home alone."""

    def called(home: Home, *arguments: str) -> Done:
        return call(capsys, *arguments, variables=home.variables)

    return called


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """`lakegraph materialize --select '*'` over two months, as `make demo` does."""
    base = tmp_path_factory.mktemp("demo")
    files = write_sources(base / "tlc", ("2023-01", "2023-02"))
    with serving(files) as server:
        home = Home(base / "home", str(files), server.users_api)
        summary = home.run("materialize", "--select", "*", "--from", "2023-01", "--to", "2023-02")
        assert summary.code == 0, summary.err + home.log()[-3000:]
        yield Demo(home, files, summary, home.contents())
