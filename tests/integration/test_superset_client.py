"""The client of Superset against a server of the test's own: what it does when the answer is not the one hoped for.

A real Superset is in `e2e/test_superset.py`; here are the faults that one cannot be made to have.
"""

import json
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from command import call
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from infra_assets.superset import bundle
from infra_assets.superset.client import Superset, connect
from lake.errors import LakeError, NotConfiguredError, TransientError
from lake.settings import Settings, SupersetServer
from sandbox import superset_server
from sandbox.server import Asked, Faults, Recorder
from sandbox.serving import InThread

PASSWORD = "Passw0rd-of-the-user"  # noqa: S105 - nobody has it
DATABASE = "starrocks://reader:s3cr%40t-of-gold@127.0.0.1:9030/default_catalog"
BIGQUERY = "bigquery://project/gold?credentials_base64=Y3JlZA%3D%3D&location=EU"
TREE = bundle.read()


class FakeServer(InThread):
    """The first requests of an import, with faults.

    Attributes:
        objects: kind → what its list answers.
        data: the rows that each query of a dataset answers.
        health: what `/health` answers.
    """

    def __init__(self, importing: Callable[[Request], Response]) -> None:
        self.faults, self.asked = Faults(), list[Asked]()
        self.objects, self.data = dict[str, list[Any]](), list[dict[str, Any]]()
        self.health = {"token": "t", "pid": 1}

        async def login(request: Request) -> Response:
            if (await request.json())["password"] != PASSWORD:
                return JSONResponse({"message": "Not authorized"}, 401)
            return JSONResponse({"access_token": "t"})

        async def csrf(_: Request) -> Response:
            return JSONResponse({"result": "c"})

        async def assets(request: Request) -> Response:
            return importing(request)

        async def listed(request: Request) -> Response:
            rows = self.objects.get(request.path_params["kind"], [])
            return JSONResponse({"result": rows, "count": len(rows)})

        async def query(_: Request) -> Response:
            return JSONResponse({"result": [{"data": self.data}]})

        async def done(_: Request) -> Response:
            return JSONResponse({"message": "OK"})

        async def health(_: Request) -> Response:
            return JSONResponse(self.health)

        routes = [
            Route("/api/v1/security/login", login, methods=["POST"]),
            Route("/api/v1/security/csrf_token/", csrf),
            Route("/api/v1/assets/import/", assets, methods=["POST"]),
            Route("/api/v1/chart/data", query, methods=["POST"]),
            Route("/api/v1/{kind}/{number:int}", done, methods=["DELETE"]),
            Route("/api/v1/{kind}/", listed),
            Route("/health", health),
        ]
        super().__init__(Recorder(Starlette(routes=routes), self.faults, self.asked))

    @contextmanager
    def session(self, password: str = PASSWORD, database: str = DATABASE) -> Iterator[Superset]:
        with Superset(SupersetServer(self.url, "admin", SecretStr(password)), database) as superset:
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


def test_a_secret_in_the_query_of_the_address_is_in_no_reason():
    """Of BigQuery it is the key itself."""

    def refused(_: Request) -> Response:
        return JSONResponse({"message": f"cannot open {BIGQUERY} (Y3JlZA==)"}, 422)

    with FakeServer(refused) as server, server.session(database=BIGQUERY) as superset:
        with pytest.raises(LakeError) as raised:
            superset.deploy(TREE)
        assert str(raised.value).endswith("bigquery://project/gold?credentials_base64=***&location=EU (***)")


def test_a_dataset_that_has_no_row_does_not_answer():
    dataset = TREE.datasets[0]
    with FakeServer(accepted) as server, server.session() as superset:
        server.objects["dataset"] = [{"id": 1, "uuid": str(dataset.uuid)}]
        server.data = [dict.fromkeys([*dataset.metrics, *dataset.columns], 1)]
        assert [one.error for one in superset.answers([dataset])] == [None]
        server.data = []
        (answer,) = superset.answers([replace(dataset, metrics={})])
        assert answer.error == "has no row"


def test_a_dataset_that_may_answer_later_is_no_failed_check():
    """The fault: a 503 failed the blocking check for good, where the step would have been tried again."""
    with FakeServer(accepted) as server, server.session() as superset:
        server.objects["dataset"] = [{"id": 1, "uuid": str(TREE.datasets[0].uuid)}]
        server.faults.fail("chart/data", 503, times=9)
        with pytest.raises(TransientError, match="metrics of gold"):
            superset.answers(TREE.datasets[:1])


def test_what_another_project_has_imported_is_not_removed():
    """The fault: by the path alone, every fork of these files was one owner."""

    def chart(number: int, name: str, **noted: str) -> dict[str, Any]:
        path = f"charts/{name}"
        params = json.dumps({bundle.SOURCE: path, **noted})
        uuid = str(bundle.uuid_of(path))
        return {"id": number, "uuid": uuid, "params": params, "is_managed_externally": True, "dashboards": []}

    with FakeServer(accepted) as server, server.session() as superset:
        ours, theirs = {bundle.OWNER: TREE.owner}, {bundle.OWNER: "A fork's gold"}
        server.objects["chart"] = [chart(1, "left", **ours), chart(2, "forked", **theirs), chart(3, "unsaid")]
        assert superset.deploy(TREE).removed == ("charts/left",)
        assert [one.path for one in server.asked if one.method == "DELETE"] == ["/api/v1/chart/1"]


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
    started_here(settings, "http://127.0.0.1:8088")
    found = settings.superset()
    assert (found.url, found.user, found.password.get_secret_value()) == ("http://127.0.0.1:8088", "admin", PASSWORD)
    assert PASSWORD not in repr(found)
    another = Settings(home=tmp_path, superset_user="ann", superset_password="another's").superset()  # noqa: S106
    assert another == found, "they are of another Superset, whose URL is not set"
    settings.superset_password_file.unlink()
    with pytest.raises(NotConfiguredError, match=r"admin_password is gone; start it again"):
        settings.superset()


def started_here(settings: Settings, url: str) -> None:
    """As `lakegraph superset up` leaves it."""
    settings.sandbox_home.mkdir()
    settings.endpoints_file.write_text(json.dumps({"superset_url": url}))
    (settings.sandbox_home / "superset.json").write_text(json.dumps({"pid": 1, "started": 0.0, "token": "t"}))
    settings.superset_home.mkdir()
    settings.superset_password_file.write_text(f"{PASSWORD}\n")


def test_nobody_else_on_the_port_of_one_that_was_killed_gets_the_password(tmp_path):
    settings = Settings(home=tmp_path)
    with FakeServer(accepted) as server:
        started_here(settings, server.url)
        with connect(settings) as superset:
            assert superset.deploy(TREE).removed == ()
        server.asked.clear()
        server.health = {"token": "another's", "pid": 1}
        with pytest.raises(NotConfiguredError, match=rf"^superset {server.url}: no longer runs; start it with"):
            connect(settings)
        assert [one.path for one in server.asked] == ["/health"]


def test_a_setting_wins_and_needs_its_password(tmp_path):
    with pytest.raises(
        LakeError, match=r"^superset https://bi\.example/: no password; set LAKEGRAPH_SUPERSET_PASSWORD"
    ):
        Settings(home=tmp_path, superset_url="https://bi.example/").superset()
    found = Settings(home=tmp_path, superset_url="https://bi.example/", superset_password=PASSWORD).superset()
    assert (found.url, found.password.get_secret_value()) == ("https://bi.example", PASSWORD)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        (
            "SUPERSET_URL",
            "https://ann:s3cret@bi.example",
            "set LAKEGRAPH_SUPERSET_USER and LAKEGRAPH_SUPERSET_PASSWORD",
        ),
        (
            "STARROCKS_CATALOG_URI",
            "https://ann:s3cret@iceberg.example",
            "set LAKEGRAPH_STARROCKS_CATALOG_PROPERTIES",
        ),
        ("SUPERSET_DATABASE", "starrocks://u:s3cr[et@host:9030/x", "is not a URI like starrocks"),
        ("SUPERSET_DATABASE", "s3cret", "is not a URI like starrocks"),
    ],
)
def test_an_address_that_cannot_be_is_refused_in_a_line_without_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str, value: str, words: str
):
    name = f"LAKEGRAPH_{name}"
    done = call(capsys, "superset", "import", variables={"LAKEGRAPH_HOME": str(tmp_path), name: value})
    assert done.code == 1
    assert done.err.startswith(f"error: {name}: ")
    assert words in done.err
    assert "s3cr" not in done.err
    assert len(done.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        (
            {"LAKEGRAPH_SUPERSET_URL": "https://bi.example"},
            r"LAKEGRAPH_SUPERSET_URL is https://bi\.example; import into that one with `lakegraph superset import`",
        ),
        ({}, r"nothing is published at .*published\.duckdb; run `make demo` first"),
        ({"LAKEGRAPH_TARGET": "gcp"}, r"where it reads gold is not set; set LAKEGRAPH_SUPERSET_DATABASE"),
    ],
    ids=["another is set", "nothing is published", "no database in the cloud"],
)
def test_one_that_would_show_nothing_is_not_started(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    words: str,
):
    monkeypatch.setattr(superset_server, "up", lambda *_, **__: pytest.fail("it was started"))
    done = call(capsys, "superset", "up", variables={"LAKEGRAPH_HOME": str(tmp_path), **variables})
    assert done.code == 1
    assert re.search(words, done.first)


def test_gold_is_the_published_copy_unless_it_is_set(tmp_path):
    uri = Settings(home=tmp_path).superset_database_uri.get_secret_value()
    assert uri.startswith(f"duckdb:///{tmp_path}/duckdb/published.duckdb?access_mode=read_only")
    settings = Settings(home=tmp_path, superset_database=DATABASE)
    assert settings.superset_database_uri.get_secret_value() == DATABASE
    assert "s3cr" not in repr(settings)
