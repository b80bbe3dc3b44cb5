"""The client of Superset against a server of the test's own: what it does when the answer is not the one hoped for.

A real Superset is in `e2e/test_superset.py`; here are the faults that one cannot be made to have.
"""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from infra_assets.superset import bundle
from infra_assets.superset.client import Superset
from lake.errors import LakeError, TransientError
from lake.settings import Settings, SupersetServer
from sandbox.server import Asked, Faults, Recorder
from sandbox.serving import InThread

PASSWORD = "Passw0rd-of-the-user"  # noqa: S105 - nobody has it
DATABASE = "starrocks://reader:s3cr%40t-of-gold@127.0.0.1:9030/default_catalog"
TREE = bundle.read()


class FakeServer(InThread):
    """The first requests of an import, with faults."""

    def __init__(self, importing: Callable[[Request], Response]) -> None:
        self.faults, self.asked = Faults(), list[Asked]()

        async def login(request: Request) -> Response:
            if (await request.json())["password"] != PASSWORD:
                return JSONResponse({"message": "Not authorized"}, 401)
            return JSONResponse({"access_token": "t"})

        async def csrf(_: Request) -> Response:
            return JSONResponse({"result": "c"})

        async def assets(request: Request) -> Response:
            return importing(request)

        async def listed(_: Request) -> Response:
            return JSONResponse({"result": [], "count": 0})

        routes = [
            Route("/api/v1/security/login", login, methods=["POST"]),
            Route("/api/v1/security/csrf_token/", csrf),
            Route("/api/v1/assets/import/", assets, methods=["POST"]),
            Route("/api/v1/{kind}/", listed),
        ]
        super().__init__(Recorder(Starlette(routes=routes), self.faults, self.asked))

    @contextmanager
    def session(self, password: str = PASSWORD) -> Iterator[Superset]:
        with Superset(SupersetServer(self.url, "admin", SecretStr(password)), DATABASE) as superset:
            yield superset


def accepted(_: Request) -> Response:
    return JSONResponse({"message": "OK"})


def test_what_may_pass_is_tried_again():
    with FakeServer(accepted) as server:
        server.faults.fail("login", 503)
        server.faults.fail("import", 502, times=2)
        with server.session() as superset:
            assert superset.deploy(TREE).removed == ()
        statuses = [one.status for one in server.asked if "login" in one.path or "import" in one.path]
        assert statuses == [503, 200, 502, 502, 200]


def test_what_does_not_pass_ends_as_a_transient_error():
    with FakeServer(accepted) as server, server.session() as superset:
        server.faults.fail("import", 503, times=9)
        with pytest.raises(TransientError, match=rf"^superset {server.url}: import: 503 "):
            superset.deploy(TREE)
        assert [one.status for one in server.asked if "import" in one.path] == [503] * 4


def test_a_refused_login_is_not_tried_again():
    with FakeServer(accepted) as server:
        with pytest.raises(
            LakeError, match=rf"^superset {server.url}: login refused: user admin or the pass"
        ) as refused:
            server.session("wrong-Passw0rd").__enter__()
        assert "wrong-Passw0rd" not in str(refused.value)
        assert len(server.asked) == 1


def test_nobody_there_is_a_transient_error_of_one_line():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    server = SupersetServer(f"http://127.0.0.1:{port}", "admin", SecretStr(PASSWORD))
    with pytest.raises(
        TransientError, match=rf"^superset http://127\.0\.0\.1:{port}: login: .*; does it run\?$"
    ) as refused:
        Superset(server, DATABASE, attempts=1).__enter__()
    assert PASSWORD not in str(refused.value)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (
            JSONResponse(
                {"errors": [{"message": f"cannot open {DATABASE} (s3cr@t-of-gold)", "extra": {"issue": 1}}]}, 500
            ),
            r"500 cannot open starrocks://reader:\*\*\*@127\.0\.0\.1:9030/default_catalog \(\*\*\*\); can it reach the database of gold\? its log says more$",
        ),
        (
            JSONResponse({"message": {"charts/x.yaml": {"uuid": ["Not a valid UUID."]}}}, 422),
            r"422 charts/x\.yaml: uuid: Not a valid UUID\.$",
        ),
        (PlainTextResponse("no", 403), "403 Forbidden$"),
    ],
    ids=["errors", "message", "text"],
)
def test_a_refused_import_gives_the_reason_without_a_password(answer: Response, reason: str):
    with FakeServer(lambda _: answer) as server, server.session() as superset:
        with pytest.raises(LakeError, match=rf"^superset {server.url}: import refused: {reason}") as refused:
            superset.deploy(TREE)
        assert not isinstance(refused.value, TransientError)
        assert len([one for one in server.asked if "import" in one.path]) == 1


def test_what_is_no_superset_is_said_so():
    expected = pytest.raises(LakeError, match=r"import: the answer is no JSON; is it a Superset\?$")
    with FakeServer(lambda _: PlainTextResponse("<html>")) as server, server.session() as superset, expected:
        superset.deploy(TREE)


# -- which Superset is meant
# ------------------------------------------------------------------------------------------------------------


def test_without_a_setting_it_is_the_one_that_runs_here(tmp_path):
    settings = Settings(home=tmp_path)
    with pytest.raises(LakeError, match=r"none runs under .*lakegraph superset up.*LAKEGRAPH_SUPERSET_URL$"):
        settings.superset()
    settings.sandbox_home.mkdir()
    settings.endpoints_file.write_text('{"superset_url": "http://127.0.0.1:8088"}')
    settings.superset_home.mkdir()
    settings.superset_password_file.write_text(f"{PASSWORD}\n")
    found = settings.superset()
    assert (found.url, found.user, found.password.get_secret_value()) == ("http://127.0.0.1:8088", "admin", PASSWORD)
    assert PASSWORD not in repr(found)


def test_a_setting_wins_and_needs_its_password(tmp_path):
    with pytest.raises(
        LakeError, match=r"^superset https://bi\.example/: no password; set LAKEGRAPH_SUPERSET_PASSWORD"
    ):
        Settings(home=tmp_path, superset_url="https://bi.example/").superset()
    found = Settings(home=tmp_path, superset_url="https://bi.example/", superset_password=PASSWORD).superset()
    assert (found.url, found.password.get_secret_value()) == ("https://bi.example", PASSWORD)


def test_gold_is_the_published_copy_unless_it_is_set(tmp_path):
    uri = Settings(home=tmp_path).superset_database_uri.get_secret_value()
    assert uri.startswith(f"duckdb:///{tmp_path}/duckdb/published.duckdb?access_mode=read_only")
    settings = Settings(home=tmp_path, superset_database=DATABASE)
    assert settings.superset_database_uri.get_secret_value() == DATABASE
    assert "s3cr" not in repr(settings)
