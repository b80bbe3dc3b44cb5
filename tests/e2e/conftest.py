"""Fixtures of the tests from outside; `homes` holds what they are made of."""

import os
import sys
from collections.abc import Callable, Iterator

import pytest
from homes import Demo, Done, Home, serving, write_sources

from lake.settings import get_settings


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """`lakegraph …` in this process: the command's own `main`, with arguments, output and exit code."""

    def call(home: Home, *arguments: str) -> Done:
        from orchestration import cli

        with monkeypatch.context() as patch:
            for name in [n for n in os.environ if n.startswith("LAKEGRAPH_")]:
                patch.delenv(name)
            for name, value in home.variables.items():
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

    return call


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
