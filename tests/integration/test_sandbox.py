"""The sandbox on the wire and as a process: files, paging, faults, and the life of what `up` starts."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Thread

import httpx
import psutil
import pytest
from command import wait_for

from lake.errors import LakeError
from lake.settings import Settings
from sandbox import control, tlc
from sandbox.endpoints import publish, read_endpoints, withdraw
from sandbox.server import Asked, SandboxServer
from sandbox.users import USERS

MONTHS = ("2023-01",)
EVERYWHERE = (
    "membership_folder",
    "sales_database",
    "shop_mongodb",
    "shop_s3",
    "starrocks",
    "tlc_base",
    "users_api",
)
ROWS = {"yellow": 200, "green": 100, "fhv": 100}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("files")
    tlc.write("yellow", "2023-01", made, 500)
    (made.parent / f"{made.name}-secret.txt").write_text("outside")
    return made


@pytest.fixture(scope="module")
def server(folder):
    """For tests that only ask."""
    with SandboxServer(folder) as running:
        yield running


@pytest.fixture
def failing(folder):
    """A server of the test's own, whose faults and log it may rely on."""
    with SandboxServer(folder) as running:
        yield running


@pytest.fixture
def settings(tmp_path):
    made = Settings(home=tmp_path)
    yield made
    control.down(made)


def start(settings: Settings) -> dict[str, str]:
    return control.up(settings, months=MONTHS, rows=ROWS)


def status(settings: Settings, name: str = "sources") -> control.ServiceStatus:
    (found,) = (one for one in control.status(settings) if one.name == name)
    return found


def state(settings: Settings) -> str:
    return status(settings).state


def links(response: httpx.Response) -> dict[str, int]:
    found = {rel: re.search(r"_page=(\d+)", link["url"]) for rel, link in response.links.items()}
    return {rel: int(match[1]) for rel, match in found.items()}


# -- files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "/trip-data"])
def test_a_file_comes_whole_with_its_headers(server, folder, prefix):
    name = "yellow_tripdata_2023-01.parquet"
    expected = (folder / name).read_bytes()
    response = httpx.get(f"{server.tlc_base}{prefix}/{name}")
    assert response.content == expected
    assert response.headers["Content-Length"] == str(len(expected))
    head = httpx.head(f"{server.tlc_base}{prefix}/{name}")
    assert (head.status_code, head.content) == (200, b"")
    for header in ("Content-Length", "ETag", "Last-Modified"):
        assert head.headers[header] == response.headers[header]
    again = httpx.get(f"{server.tlc_base}/{name}", headers={"If-None-Match": head.headers["ETag"]})
    assert again.status_code == 304


def test_the_live_layout_on_disk_is_served_too(tmp_path):
    tlc.write_zones(tmp_path / "misc")
    with SandboxServer(tmp_path) as server:
        assert httpx.get(f"{server.tlc_base}/misc/taxi_zone_lookup.csv").text.count("\n") == 266


@pytest.mark.parametrize("path", ["missing.parquet", "trip-data/missing.parquet", "", "misc/", "%00"])
def test_what_is_not_there_is_404(server, path):
    assert httpx.get(f"{server.tlc_base}/{path}").status_code == 404


@pytest.mark.parametrize(
    "path", ["..%2F{}", "%2e%2e/{}", "misc/..%2F..%2F{}", "misc/%2F{root}", "%2F{root}", "trip-data/../../{}"]
)
def test_no_path_leads_out_of_the_folder(server, folder, path):
    secret = folder.parent / f"{folder.name}-secret.txt"
    url = f"{server.tlc_base}/" + path.format(secret.name, root=str(secret).replace("/", "%2F"))
    response = httpx.get(url)
    assert response.status_code == 404
    assert "outside" not in response.text


# -- users ---------------------------------------------------------------------------------------------------


def test_users_without_a_page_are_all(server):
    response = httpx.get(f"{server.users_api}/users")
    assert response.json() == list(USERS)
    assert "Link" not in response.headers
    assert len(response.json()) == 10
    assert set(response.json()[0]) == {
        "id", "name", "username", "email", "address", "phone", "website", "company"
    }  # fmt: skip
    cities = [user["address"]["city"] for user in response.json()]
    assert len(set(cities)) < len(cities)


def test_pages_link_to_each_other(server):
    def get(page):
        return httpx.get(f"{server.users_api}/users", params={"_page": page, "_limit": 4})

    first, middle, last, beyond = (get(page) for page in (1, 2, 3, 4))
    assert [[u["id"] for u in r.json()] for r in (first, middle, last, beyond)] == [
        [1, 2, 3, 4], [5, 6, 7, 8], [9, 10], []
    ]  # fmt: skip
    assert {r.headers["X-Total-Count"] for r in (first, middle, last, beyond)} == {"10"}
    assert links(first) == {"first": 1, "next": 2, "last": 3}
    assert links(middle) == {"first": 1, "prev": 1, "next": 3, "last": 3}
    assert links(last) == {"first": 1, "prev": 2, "last": 3}
    assert links(beyond) == {}
    assert httpx.get(first.links["next"]["url"]).json() == middle.json()


def test_page_size_defaults_to_ten_and_one_page_has_no_links(server):
    response = httpx.get(f"{server.users_api}/users?_page=1")
    assert len(response.json()) == 10
    assert "Link" not in response.headers
    assert httpx.get(f"{server.users_api}/users?_page=x&_limit=-3").json() == response.json()
    assert [u["id"] for u in httpx.get(f"{server.users_api}/users?_limit=2").json()] == [1, 2]


# -- faults and the log --------------------------------------------------------------------------------------


def test_a_failure_is_used_up_and_every_request_is_logged(failing):
    failing.faults.fail("^/users", 503, times=2, headers={"Retry-After": "1"})
    answers = [httpx.get(f"{failing.users_api}/users?_page=1") for _ in range(3)]
    assert [a.status_code for a in answers] == [503, 503, 200]
    assert answers[0].headers["Retry-After"] == "1"
    assert failing.requests == [Asked("GET", "/users", "_page=1", s) for s in (503, 503, 200)]
    assert httpx.head(f"{failing.tlc_base}/yellow_tripdata_2023-01.parquet").status_code == 200
    assert failing.requests[-1].method == "HEAD"


def test_failures_come_in_order_and_can_be_cleared(failing):
    failing.faults.fail("users", 500)
    failing.faults.fail("users", 429)
    failing.faults.fail("users", 404, times=9)
    failing.faults.fail("users", 418, times=0)
    url = f"{failing.users_api}/users"
    assert [httpx.get(url).status_code for _ in range(3)] == [500, 429, 404]
    failing.faults.clear()
    assert httpx.get(url).status_code == 200


def test_a_delay_outlasts_the_clients_patience_once(failing):
    failing.faults.delay("/users", seconds=1.0)
    with pytest.raises(httpx.ReadTimeout):
        httpx.get(f"{failing.users_api}/users", timeout=0.2)
    assert httpx.get(f"{failing.users_api}/users", timeout=5).status_code == 200


def test_stand_ins_that_start_at_once_all_come_into_the_file(tmp_path):
    path = tmp_path / "sandbox" / "endpoints.json"
    code = "import sys; from pathlib import Path; from sandbox.endpoints import publish, withdraw; path = Path(sys.argv[1])"
    loop = "\nfor n in range(40): publish(path, {sys.argv[2] + str(n): 'x'}); n % 2 or withdraw(path, {sys.argv[2] + str(n): 'x'})"
    command = [sys.executable, "-c", code + loop, str(path)]
    running = [subprocess.Popen([*command, name], cwd=Path(__file__).parents[2]) for name in "abc"]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    assert set(read_endpoints(path)) == {f"{name}{number}" for name in "abc" for number in range(1, 40, 2)}


def test_endpoints_of_several_stand_ins_share_the_file(tmp_path):
    path = tmp_path / "sandbox" / "endpoints.json"
    publish(path, {"a": "1", "b": "2"})
    publish(path, {"b": "3"})
    assert json.loads(path.read_text()) == {"a": "1", "b": "3"}
    withdraw(path, {"b": "2"})
    assert read_endpoints(path) == {"a": "1", "b": "3"}
    withdraw(path, {"a": "1", "b": "3"})
    assert not path.exists()


# -- processes -----------------------------------------------------------------------------------------------


def test_up_status_down(settings):
    assert state(settings) == "stopped"
    assert control.down(settings) is False

    endpoints = start(settings)
    assert endpoints.keys() == {*EVERYWHERE, "starrocks_http"}
    assert {name: endpoints[name] for name in EVERYWHERE} == {name: settings.endpoint(name) for name in EVERYWHERE}
    running = status(settings)
    assert (running.state, running.url) == ("running", endpoints["tlc_base"])
    assert os.getsid(running.pid) == running.pid != os.getsid(0)
    assert len(httpx.get(f"{endpoints['users_api']}/users").json()) == 10
    for name in [*(tlc.file_name(s, "2023-01") for s in tlc.SERVICES), "taxi_zone_lookup.csv"]:
        assert httpx.head(f"{endpoints['tlc_base']}/{name}").status_code == 200

    assert control.down(settings) is True
    assert {one.state for one in control.status(settings)} == {"stopped"}
    assert not settings.endpoints_file.exists()
    with pytest.raises(httpx.ConnectError):
        httpx.get(endpoints["users_api"])


def test_up_twice_starts_and_makes_nothing_twice_but_adds_months(settings):
    endpoints = start(settings)
    before = control.status(settings)
    folder = settings.sandbox_home / "tlc"
    times = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert control.up(settings, months=("2023-01", "2023-02"), rows=ROWS) == endpoints
    assert control.status(settings) == before
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert httpx.head(f"{endpoints['tlc_base']}/green_tripdata_2023-02.parquet").status_code == 200


def test_two_ups_at_once_start_one_process_each(settings):
    answers: list[dict[str, str]] = []
    threads = [Thread(target=lambda: answers.append(start(settings))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 3
    assert answers[0] == answers[1] == answers[2]
    servers = [p for p in psutil.process_iter(["cmdline"]) if str(settings.home) in (p.info["cmdline"] or [])]
    assert {process.pid for process in servers} == {one.pid for one in control.status(settings)}
    assert len(servers) == len(control.status(settings))


def test_a_killed_server_is_recognised_and_replaced(settings):
    old = start(settings)
    before = status(settings)
    os.kill(before.pid, signal.SIGKILL)
    wait_for(lambda: state(settings) != "running", "it is gone", 10)
    assert state(settings) == "stopped"
    assert settings.endpoints_file.exists()  # left behind
    new = start(settings)
    assert new != old
    after = status(settings)
    assert after.state == "running"
    assert after.pid != before.pid


def test_a_reused_pid_is_foreign_and_never_killed(settings):
    start(settings)
    record_path = settings.sandbox_home / "sources.json"
    control.down(settings)
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        record_path.write_text(json.dumps({"pid": other.pid, "started": 1.0, "token": "x"}))
        assert status(settings) == control.ServiceStatus("sources", None, other.pid, "foreign")
        assert control.down(settings) is False
        assert other.poll() is None
        record_path.write_text(json.dumps({"pid": other.pid, "started": 1.0, "token": "x"}))
        start(settings)
        running = status(settings)
        assert running.state == "running"
        assert running.pid != other.pid
    finally:
        other.kill()
        other.wait()


def test_a_server_started_by_hand_is_foreign_and_leaves_no_endpoints(settings):
    by_hand = subprocess.Popen(
        [sys.executable, "-m", "sandbox.server", "--home", str(settings.home)],
        cwd=Path(__file__).parents[2],
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(settings.endpoints_file.exists, "it says its addresses", 20)
        url = settings.endpoint("users_api")
        assert httpx.get(f"{url}/users").status_code == 200  # it listens before it is announced
        assert status(settings) == control.ServiceStatus("sources", url, by_hand.pid, "foreign")
        with pytest.raises(LakeError, match=rf"^sandbox sources: .*process {by_hand.pid}.*stop that one first$"):
            start(settings)
        assert control.down(settings) is False
        assert by_hand.poll() is None
        by_hand.terminate()
        assert by_hand.wait(10) is not None
        assert not settings.endpoints_file.exists()
    finally:
        by_hand.kill()
        by_hand.wait()


def test_a_server_that_ends_while_starting_is_one_clear_line(settings, monkeypatch):
    broken = control.StandIn(
        "broken",
        ("users_api",),
        "users_api",
        lambda *_: None,
        lambda *_: [sys.executable, "-c", "raise SystemExit('no port left')"],
    )
    monkeypatch.setattr(control, "STAND_INS", (broken,))
    with pytest.raises(LakeError, match=r"^sandbox broken: ended with code 1 while starting: no port left"):
        control.up(settings)
    assert status(settings, "broken").state == "stopped"


def test_if_one_does_not_start_none_of_those_started_with_it_stays(settings, monkeypatch):
    broken = control.StandIn(
        "broken", ("none",), "none", lambda *_: None, lambda *_: [sys.executable, "-c", "raise SystemExit(3)"]
    )
    first, *_ = (one for one in control.STAND_INS if one.name == "sources")
    monkeypatch.setattr(control, "STAND_INS", (first, broken))
    with pytest.raises(LakeError, match=r"^sandbox broken: ended with code 3 while starting"):
        start(settings)
    assert state(settings) == "stopped"
    assert [p for p in psutil.process_iter(["cmdline"]) if str(settings.home) in (p.info["cmdline"] or [])] == []
    monkeypatch.setattr(control, "STAND_INS", (first,))
    start(settings)
    before = control.status(settings)
    monkeypatch.setattr(control, "STAND_INS", (first, broken))
    with pytest.raises(LakeError, match=r"^sandbox broken: "):
        start(settings)
    assert control.status(settings)[:1] == before  # what ran before runs on


def test_an_answer_without_the_token_is_not_taken_for_ours(settings, monkeypatch, tmp_path):
    monkeypatch.setattr(control, "START_SECONDS", 1.0)
    silent = control.StandIn(
        "silent",
        ("users_api",),
        "users_api",
        lambda *_: None,
        lambda *_: [sys.executable, "-c", "import time; time.sleep(60)"],
    )
    monkeypatch.setattr(control, "STAND_INS", (silent,))
    with SandboxServer(tmp_path / "other") as other:
        thread = Thread(
            target=lambda: (time.sleep(0.3), publish(settings.endpoints_file, {"users_api": other.users_api}))
        )
        thread.start()
        with pytest.raises(LakeError, match=r"^sandbox silent: no answer within 1 s"):
            control.up(settings)
        thread.join()
    assert not (settings.sandbox_home / "silent.json").exists()
