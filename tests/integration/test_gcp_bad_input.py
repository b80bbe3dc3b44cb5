"""Mistakes with the target gcp: one line that says what to do, exit code 1, and nothing is written anywhere."""

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from command import Done, call

from infra_assets.gcp import gcp_resources
from infra_assets.plan import apply_all
from lake.errors import LakeError, TransientError
from lake.gcp_access import check_access
from lake.settings import GcpTarget, Settings, get_settings
from sandbox.gcp import GcpStandIn, write_key

COMMANDS = (
    ("infra", "plan"),
    ("infra", "apply"),
    ("infra", "drift"),
    ("materialize", "--select", "*", "--partition", "2023-01"),
)
TARGET = GcpTarget("a-project", "US", "a-lake", "lakegraph", None)
CANARY = "canary-of-a-key"


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GcpStandIn]:
    """The stand-in, and variables under which everything would be well."""
    for name in [n for n in os.environ if n.startswith(("LAKEGRAPH_", "GOOGLE_"))]:
        monkeypatch.delenv(name)
    with GcpStandIn(tmp_path / "gcp") as running:
        for name, value in {
            "LAKEGRAPH_HOME": str(tmp_path / "home"),
            "LAKEGRAPH_TARGET": "gcp",
            "LAKEGRAPH_GCP_PROJECT": "a-project",
            "LAKEGRAPH_GCP_BUCKET": "a-lake",
            "LAKEGRAPH_GCP_CONNECTION_ENDPOINT": running.url,
            "STORAGE_EMULATOR_HOST": running.url,
            "BIGQUERY_EMULATOR_HOST": running.url,
            "GOOGLE_APPLICATION_CREDENTIALS": str(write_key(tmp_path / "key.json", running.url)),
        }.items():
            monkeypatch.setenv(name, value)
        get_settings.cache_clear()
        yield running
    get_settings.cache_clear()


@pytest.fixture
def lakegraph(stand_in: GcpStandIn, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """The command in this process, under the stand-in's variables."""
    return partial(call, capsys)


@pytest.fixture
def refused(stand_in: GcpStandIn, lakegraph: Callable[..., Done], tmp_path: Path) -> Callable[[], str]:
    """The one line that every command ends with; none of them wrote anything."""

    def call() -> str:
        stand_in.calls.clear()
        lines = set()
        for command in COMMANDS:
            code, out, err = lakegraph(*command)
            assert (code, out, err.count("\n")) == (1, "", 1), (command, out, err)
            assert err.startswith("error: "), err
            lines.add(err.removeprefix("error: ").strip())
        assert [c for c in stand_in.calls if c[0] != "GET" and c[1] != "/token"] == []
        assert not (tmp_path / "home").exists()
        (line,) = lines
        return line

    return call


def closed_port() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_without_a_mistake_nothing_is_refused(lakegraph: Callable[..., Done]) -> None:
    code, out, err = lakegraph("infra", "apply")
    assert (code, len(out.splitlines()), err) == (0, 7 if "staging" in out else 6, "")
    assert lakegraph("infra", "drift") == (0, "no drift\n", "")


# -- variables -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["LAKEGRAPH_GCP_PROJECT", "LAKEGRAPH_GCP_BUCKET"])
@pytest.mark.parametrize("value", [None, ""])
def test_a_missing_variable_is_named(name: str, value: str | None, refused, monkeypatch: pytest.MonkeyPatch) -> None:
    if value is None:
        monkeypatch.delenv(name)
    else:
        monkeypatch.setenv(name, value)
    line = refused()
    assert line.startswith(f"target gcp: {name} not set; set them to")
    assert "lakegraph sandbox up --target gcp" in line


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("PROJECT", "My first project", "'My first project' is not a project id; set LAKEGRAPH_GCP_PROJECT to the id"),
        ("PROJECT", "123456789012", "is not a project id"),
        ("PROJECT", "a-project`; drop schema x", "is not a project id"),
        ("BUCKET", "gs://a-lake", "LAKEGRAPH_GCP_BUCKET: Value error, is not a bucket name"),
        ("BUCKET", "My Lake", "is not a bucket name"),
        ("BUCKET", "a-lake/folder", "is not a bucket name"),
        ("LOCATION", "the moon", "LAKEGRAPH_GCP_LOCATION 'the moon' is neither US, EU nor a region"),
        ("CONNECTION", "a.b.c", "LAKEGRAPH_GCP_CONNECTION: Value error, is not a connection id"),
        ("MAXIMUM_BYTES_BILLED", "much", "LAKEGRAPH_GCP_MAXIMUM_BYTES_BILLED: Input should be a valid integer"),
    ],
)
def test_a_malformed_variable_is_named(
    name: str, value: str, reason: str, refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"LAKEGRAPH_GCP_{name}", value)
    assert reason in refused()


# -- the project and the bucket -----------------------------------------------------------------------------------


def test_a_project_of_somebody_else(stand_in: GcpStandIn, refused) -> None:
    said = "Access Denied: Dataset a-project:bronze: Permission bigquery.datasets.get denied"
    stand_in.inject("GET", r"/datasets/bronze$", 403, said, reason="accessDenied", times=99)
    line = refused()
    assert line.startswith(f"dataset a-project.bronze: not allowed: {said.split(':', maxsplit=1)[0]}") or said in line
    assert "roles in docs/gcp.md" in line


def test_a_project_that_is_not_there(stand_in: GcpStandIn, refused) -> None:
    stand_in.inject("GET", r"/datasets/", 404, "Not found: Project a-project", reason="notFound", times=99)
    assert refused() == (
        "dataset a-project.bronze: there is no project a-project; "
        "set LAKEGRAPH_GCP_PROJECT to the id of one that you may use"
    )


def test_a_bucket_of_somebody_else(stand_in: GcpStandIn, refused) -> None:
    stand_in.inject("GET", r"/b/a-lake$", 403, "no storage.buckets.get access", reason="forbidden", times=99)
    line = refused()
    assert line.startswith("bucket gs://a-lake is not accessible (")
    assert "no storage.buckets.get access" in line
    assert "set LAKEGRAPH_GCP_BUCKET to another name" in line


def test_a_bucket_in_another_region(stand_in: GcpStandIn, refused, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket, *_ = gcp_resources(Settings(gcp_location="EU"))
    bucket.apply()
    assert refused() == (
        "bucket gs://a-lake is in EU, not in US, and a location cannot be changed: set LAKEGRAPH_GCP_LOCATION to EU, "
        "or LAKEGRAPH_GCP_BUCKET to another name; it is left alone"
    )
    monkeypatch.setenv("LAKEGRAPH_GCP_LOCATION", "EU")
    apply_all(gcp_resources(Settings()))


# -- credentials ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "was not found"),
        ("not json at all " + CANARY, "is not a valid json file"),
        (json.dumps({"type": "service_account", "private_key": CANARY}), "credentials"),
        (json.dumps({"private_key": CANARY}), "type"),
        ("", "is not a valid json file"),
    ],
    ids=["missing", "not json", "no key", "no type", "empty"],
)
def test_a_key_file_that_is_none(
    content: str | None, reason: str, refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "other.json"
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    if content is not None:
        path.write_text(content)
    line = refused()
    assert line.startswith("target gcp: no usable credentials: ")
    assert reason in line
    assert line.endswith(f"check the file {path}")
    assert CANARY not in line


@pytest.fixture
def refusing_token() -> Iterator[str]:
    """URL of a token endpoint at which every key has expired."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            body = json.dumps({"error": "invalid_grant", "error_description": "Invalid JWT Signature."}).encode()
            self.send_response(400)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_credentials_that_have_expired(refusing_token: str, refused, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(write_key(tmp_path / "old.json", refusing_token)))
    assert refused() == (
        "project a-project: the credentials were refused: invalid_grant: Invalid JWT Signature.; "
        "renew them: `gcloud auth application-default login`, or a new key"
    )


# -- nobody answers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["BIGQUERY_EMULATOR_HOST", "STORAGE_EMULATOR_HOST", "LAKEGRAPH_GCP_CONNECTION_ENDPOINT"]
)
def test_a_port_at_which_nobody_answers(name: str, refused, monkeypatch: pytest.MonkeyPatch) -> None:
    address = closed_port()
    monkeypatch.setenv(name, address)
    started = time.monotonic()
    line = refused()
    assert time.monotonic() - started < 10 * len(COMMANDS)
    assert line.startswith(
        f"target gcp: nobody answers at {address.removeprefix('http://')} ({name}): Connection refused"
    )
    assert "lakegraph sandbox up --target gcp" in line


def test_a_token_endpoint_at_which_nobody_answers(refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(write_key(tmp_path / "k.json", closed_port())))
    started = time.monotonic()
    assert refused().startswith("project a-project: no answer: ")
    assert time.monotonic() - started < 10 * len(COMMANDS)


def test_who_accepts_and_then_is_silent_does_not_hold_us_up(
    stand_in: GcpStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(64)
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(write_key(tmp_path / "k.json", url)))
        started = time.monotonic()
        with pytest.raises(TransientError, match="project a-project: no answer: "):
            check_access(TARGET, seconds=0.3)
        assert time.monotonic() - started < 10


def test_an_address_that_is_none() -> None:
    for address in ("http://", "http://host:port", "//"):
        with pytest.raises(LakeError, match="BIGQUERY_EMULATOR_HOST is no URL"):
            check_access(TARGET, environ={"BIGQUERY_EMULATOR_HOST": address})


# -- doctor --------------------------------------------------------------------------------------------------------


def test_doctor_says_what_the_target_lacks(stand_in: GcpStandIn, lakegraph, monkeypatch: pytest.MonkeyPatch) -> None:
    def lines() -> list[str]:
        return [line for line in lakegraph("doctor")[1].splitlines() if "google cloud:" in line or "infra" in line]

    assert lines()[0] == "ok       google cloud: answers, and takes the credentials"
    assert lines()[1].startswith("optional infrastructure: ")
    assert lines()[1].endswith(" changes to make; run `lakegraph infra apply`")
    assert lakegraph("infra", "apply")[0] == 0
    assert lines()[1] == "ok       infrastructure: as declared"
    monkeypatch.delenv("LAKEGRAPH_GCP_BUCKET")
    assert lines()[0].startswith("MISSING  google cloud: target gcp: LAKEGRAPH_GCP_BUCKET not set")
    assert lakegraph("doctor")[0] == 1
