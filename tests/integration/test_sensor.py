"""The sensor for new files against a server and a folder: what it starts, what it remembers, what it costs."""

import json
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from lake.errors import LakeError
from lake.settings import get_settings
from orchestration.partitions import MONTHLY
from orchestration.sensors import WATCHED_MONTHS, new_file_sensor
from sandbox.server import SandboxServer

TABLE = "mobility_green_trips"
FILES = ["green_tripdata_{month}.parquet", "trip-data/green_tripdata_{month}.parquet"]
MONTHS = MONTHLY.get_partition_keys(current_time=datetime.now(UTC))[-6:]
RECENT = dg.MonthlyPartitionsDefinition(
    start_date=MONTHS[0], fmt="%Y-%m", end_offset=1
)  # as MONTHLY, and quicker to ask for
OLD, BEFORE_LAST, LAST, NEW = MONTHS[0], MONTHS[-4], MONTHS[-3], MONTHS[-2]  # OLD is not among those watched


@dg.asset(key=["bronze", "mobility", "green_trips"], partitions_def=RECENT)
def green_trips() -> None: ...


JOB = dg.define_asset_job("load_green", selection=dg.AssetSelection.assets(green_trips))
SENSOR = new_file_sensor(TABLE, JOB, RECENT, FILES)
REPOSITORY = dg.Definitions(assets=[green_trips], jobs=[JOB], sensors=[SENSOR]).get_repository_def()


class Watch:
    """The sensor with its cursor, as the daemon drives it."""

    def __init__(self) -> None:
        self.cursor: str | None = None
        self.skipped = ""

    def tick(self) -> Mapping[str, str]:
        """What one tick starts: month → run key."""
        with dg.build_sensor_context(cursor=self.cursor, repository_def=REPOSITORY, sensor_name=SENSOR.name) as context:
            result = SENSOR.evaluate_tick(context)
        self.cursor, self.skipped = result.cursor, result.skip_message or ""
        for request in result.run_requests or []:
            assert request.tags["dagster/partition"] == request.partition_key
        keys = {str(request.partition_key): str(request.run_key) for request in result.run_requests or []}
        assert len(set(keys.values())) == len(keys), "Dagster drops a request whose key it has seen"
        assert bool(keys) != bool(self.skipped), "a tick starts something, or says why not"
        return keys


@pytest.fixture
def watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    monkeypatch.setenv("LAKEGRAPH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LAKEGRAPH_HTTP_ATTEMPTS", "1")
    yield Watch()
    get_settings.cache_clear()


@pytest.fixture
def server(files: Path, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> Iterator[SandboxServer]:
    with SandboxServer(files) as server:
        reads(monkeypatch, server.tlc_base)
        yield server


def reads(monkeypatch: pytest.MonkeyPatch, base: object) -> None:
    monkeypatch.setenv("LAKEGRAPH_TLC_BASE", str(base))
    get_settings.cache_clear()


def publish(folder: Path, month: str, content: str = "as published") -> Path:
    """A file of a month; its content is never read, and its time of change is another whenever that differs."""
    path = folder / f"green_tripdata_{month}.parquet"
    path.write_text(content)
    seconds = 1_700_000_000 + sum(content.encode())
    os.utime(path, (seconds, seconds))
    return path


def test_the_first_tick_starts_every_month_there_is(server: SandboxServer, files: Path, watch: Watch) -> None:
    for month in (OLD, BEFORE_LAST, LAST):
        publish(files, month)
    started = watch.tick()
    assert list(started) == [OLD, BEFORE_LAST, LAST]
    assert sorted(json.loads(watch.cursor or "")) == [OLD, BEFORE_LAST, LAST]


def test_an_idle_tick_starts_nothing_and_asks_little(server: SandboxServer, files: Path, watch: Watch) -> None:
    for month in (OLD, LAST):
        publish(files, month)
    watch.tick()
    before = watch.cursor
    server.requests.clear()
    for _ in range(2):
        assert watch.tick() == {}
        assert "nothing new" in watch.skipped
        assert MONTHS[-1] in watch.skipped
        assert watch.cursor == before
    assert {asked.method for asked in server.requests} == {"HEAD"}
    months = {asked.path[-len("YYYY-MM.parquet") : -len(".parquet")] for asked in server.requests}
    assert months == set(MONTHS[-WATCHED_MONTHS:])
    assert WATCHED_MONTHS <= 4
    assert len(server.requests) <= 2 * WATCHED_MONTHS * len(FILES)


def test_a_month_that_is_there_costs_one_request(server: SandboxServer, files: Path, watch: Watch) -> None:
    for month in MONTHS[-WATCHED_MONTHS:]:
        publish(files, month)
    watch.tick()
    server.requests.clear()
    assert watch.tick() == {}
    assert len(server.requests) == WATCHED_MONTHS


def test_no_file_is_read(server: SandboxServer, files: Path, watch: Watch) -> None:
    publish(files, OLD)
    assert watch.tick()
    assert {asked.method for asked in server.requests} == {"HEAD"}


def test_a_new_month_is_started_alone(server: SandboxServer, files: Path, watch: Watch) -> None:
    publish(files, LAST)
    watch.tick()
    publish(files, NEW)
    assert list(watch.tick()) == [NEW]
    assert watch.tick() == {}


def test_a_corrected_month_is_started_again_alone(server: SandboxServer, files: Path, watch: Watch) -> None:
    for month in (OLD, BEFORE_LAST, LAST):
        publish(files, month)
    first = watch.tick()
    publish(files, BEFORE_LAST, "as corrected")
    again = watch.tick()
    assert list(again) == [BEFORE_LAST]
    assert again[BEFORE_LAST] != first[BEFORE_LAST], "the same key would be dropped as a run that was already started"
    assert watch.tick() == {}


def test_months_long_gone_are_not_asked_for_any_more(server: SandboxServer, files: Path, watch: Watch) -> None:
    for month in (OLD, LAST):
        publish(files, month)
    watch.tick()
    server.requests.clear()
    assert watch.tick() == {}
    assert not [asked for asked in server.requests if OLD in asked.path]
    assert OLD in json.loads(watch.cursor or ""), "what is not asked for is not forgotten"


def test_a_month_that_is_refused_counts_as_not_there(server: SandboxServer, files: Path, watch: Watch) -> None:
    """Object stores answer 403 for a missing object where listing is not allowed; the TLC's does."""
    for month in (BEFORE_LAST, LAST):
        publish(files, month)
    server.faults.fail(f"green_tripdata_{LAST}", status=403, times=len(FILES))
    assert list(watch.tick()) == [BEFORE_LAST]
    assert list(watch.tick()) == [LAST], "found once it is there"


def test_the_second_place_of_a_file_counts(server: SandboxServer, files: Path, watch: Watch) -> None:
    (files / "trip-data").mkdir()
    publish(files / "trip-data", LAST)
    assert list(watch.tick()) == [LAST]


def test_nothing_there_yet_starts_nothing(server: SandboxServer, watch: Watch) -> None:
    assert watch.tick() == {}
    assert "nothing new" in watch.skipped


def test_a_server_that_is_down_is_named_and_asked_again(
    files: Path, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(files, LAST)
    with SandboxServer(files) as gone:
        base = gone.tlc_base
    reads(monkeypatch, base)
    assert watch.tick() == {}
    assert base in watch.skipped
    assert "\n" not in watch.skipped
    assert not watch.cursor
    with SandboxServer(files) as back:
        reads(monkeypatch, back.tlc_base)
        assert list(watch.tick()) == [LAST]


def test_a_server_that_fails_half_way_loses_no_month(server: SandboxServer, files: Path, watch: Watch) -> None:
    """The fault: a slow server that never lets a tick come to its end would keep every month from being loaded."""
    for month in (BEFORE_LAST, LAST):
        publish(files, month)
    server.faults.fail(f"green_tripdata_{LAST}", status=503)
    assert list(watch.tick()) == [BEFORE_LAST]
    assert list(watch.tick()) == [LAST]
    assert watch.tick() == {}


def test_an_access_that_is_denied_fails_the_tick(server: SandboxServer, files: Path, watch: Watch) -> None:
    """Waiting will not help: the tick fails where somebody sees it, instead of being skipped for ever."""
    publish(files, LAST)
    server.faults.fail("green_tripdata", status=401)
    with pytest.raises(LakeError, match="HTTP 401"):
        watch.tick()


def test_secrets_of_the_address_are_not_told(files: Path, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    word, signature = "hunter2", "s1gn4ture"
    with SandboxServer(files) as gone:
        host, _, path = gone.tlc_base.removeprefix("http://").partition("/")
    reads(monkeypatch, f"http://reader:{word}@{host}/{path}?sig={signature}")
    assert watch.tick() == {}
    assert host in watch.skipped
    assert word not in watch.skipped
    assert signature not in watch.skipped


def test_a_folder_is_watched_like_a_server(files: Path, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    reads(monkeypatch, files)
    for month in (OLD, LAST):
        publish(files, month)
    assert list(watch.tick()) == [OLD, LAST]
    assert watch.tick() == {}
    publish(files, LAST, "as corrected")
    assert list(watch.tick()) == [LAST]
