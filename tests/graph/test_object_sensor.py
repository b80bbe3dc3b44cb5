"""The graph's sensors for new objects against S3's protocol: which hours they ask for, what they remember and cost."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import pytest

from lake.errors import LakeError
from lake.settings import get_settings
from orchestration.partitions import FIRST_HOUR, hour_key, range_tags, span_of, span_of_range
from sandbox import shop
from sandbox.s3 import S3StandIn

SECRET = "hunter2"  # noqa: S105 - stands for one # pragma: allowlist secret
HOUR = timedelta(hours=1)
FIVE = datetime(2023, 3, 31, 5, 12, tzinfo=UTC)
FIVE_KEY = "2023-03-31-05:00"


class Watch:
    """A sensor of the graph with its cursor, as the daemon drives it."""

    def __init__(self, repository: dg.RepositoryDefinition, table: str) -> None:
        self._repository, self._sensor = repository, repository.get_sensor_def(f"{table}_new_object")
        self.cursor: str | None = None
        self.skipped = ""
        self.run_key = ""

    def tick(self) -> list[str]:
        """The first hour and the last one that a tick asks for; one hour that it asks for; or nothing."""
        with dg.build_sensor_context(
            cursor=self.cursor, repository_def=self._repository, sensor_name=self._sensor.name
        ) as context:
            result = self._sensor.evaluate_tick(context)
        self.cursor, self.skipped = result.cursor, result.skip_message or ""
        requests: list[Any] = list(result.run_requests or [])
        assert bool(requests) != bool(self.skipped), "a tick starts something, or says why not"
        if not requests:
            return []
        (request,) = requests
        self.run_key = str(request.run_key)
        if request.partition_key:
            return [request.partition_key]
        asked = [request.tags[name] for name in range_tags(["", ""])]
        assert asked == sorted(set(asked))
        return asked


@pytest.fixture
def s3() -> Iterator[S3StandIn]:
    with S3StandIn() as server:
        shop.play(None, server.url, [])  # makes the bucket
        yield server


@pytest.fixture
def watch(
    repository: dg.RepositoryDefinition, s3: S3StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Watch]:
    monkeypatch.setenv("LAKEGRAPH_HOME", str(tmp_path))
    monkeypatch.setenv("LAKEGRAPH_HTTP_ATTEMPTS", "1")
    monkeypatch.setenv("LAKEGRAPH_SHOP_S3", s3.url.replace("://", f"://reader:{SECRET}@"))
    get_settings.cache_clear()
    yield Watch(repository, "shop_products")
    get_settings.cache_clear()


def put(server: S3StandIn, name: str, modified: datetime, body: str = "product_id\nP1\n") -> None:
    headers = {"Authorization": shop.SIGNED, shop.MODIFIED_HEADER: modified.isoformat()}
    httpx.put(f"{server.url}/shop/{name}", content=body, headers=headers).raise_for_status()


def asked_of(server: S3StandIn, start: int = 0) -> list[tuple[str, str]]:
    """Method and path of the requests from a number on."""
    return [(asked.method, asked.path) for asked in server.requests[start:]]


def test_one_hour_is_a_partition(s3: S3StandIn, watch: Watch) -> None:
    put(s3, "products/a.csv", FIVE)
    put(s3, "products/b.csv.gz", FIVE + HOUR / 2)
    assert watch.tick() == [FIVE_KEY]
    assert watch.cursor


def test_several_hours_are_one_run_from_the_first_to_the_last(s3: S3StandIn, watch: Watch) -> None:
    for hours in (3, 0, 1):
        put(s3, f"products/{hours}.csv", FIVE + hours * HOUR)
    assert watch.tick() == [FIVE_KEY, "2023-03-31-08:00"]
    put(s3, "products/4.csv", FIVE + 4 * HOUR)
    assert watch.tick() == ["2023-03-31-09:00"], "what was asked for is not asked for again"


@pytest.mark.parametrize("table", ["products", "stock_movements"])
def test_the_sandboxs_day_is_asked_for_with_the_hours_of_its_objects(
    repository: dg.RepositoryDefinition, s3: S3StandIn, watch: Watch, table: str
) -> None:
    shop.play(None, s3.url)
    days = Watch(repository, f"shop_{table}")
    span = span_of_range(days.tick())
    moments = [one.modified for key, one in shop.day().state().objects.items() if key.startswith(f"{table}/")]
    assert all((span.since or span.start) <= moment < span.end for moment in moments)
    assert span.end - HOUR <= max(moments)
    assert days.tick() == []


def test_an_idle_tick_costs_one_listing_and_reads_no_object(s3: S3StandIn, watch: Watch) -> None:
    for number in range(3):
        put(s3, f"products/{number}.csv", FIVE)
    watch.tick()
    kept, start = watch.cursor, len(s3.requests)
    assert watch.tick() == []
    assert "nothing new below products/" in watch.skipped
    assert watch.cursor == kept
    assert asked_of(s3, start) == [("GET", "/shop")]


def test_a_tick_that_finds_something_reads_no_object_either(s3: S3StandIn, watch: Watch) -> None:
    put(s3, "products/a.csv", FIVE)
    start = len(s3.requests)
    assert watch.tick() == [FIVE_KEY]
    assert asked_of(s3, start) == [("GET", "/shop")]


def test_a_bucket_with_nothing_for_the_table_starts_nothing(s3: S3StandIn, watch: Watch) -> None:
    put(s3, "products/read.me", FIVE)
    put(s3, "products/empty.csv", FIVE, "")
    put(s3, "stock_movements/a.csv", FIVE)
    assert watch.tick() == []
    put(s3, "products/a.csv", FIVE)
    assert watch.tick() == [FIVE_KEY]


def test_an_object_rewritten_under_its_name_is_asked_for_again(s3: S3StandIn, watch: Watch) -> None:
    put(s3, "products/a.csv", FIVE)
    put(s3, "products/b.csv", FIVE)
    watch.tick()
    put(s3, "products/a.csv", FIVE + HOUR, "product_id\nP2\n")
    assert watch.tick() == ["2023-03-31-06:00"]
    assert watch.tick() == []


def test_a_run_key_is_of_one_state(s3: S3StandIn, watch: Watch) -> None:
    """Dagster drops a request whose key it has seen: right for the same state, a loss for another one."""
    bodies = ["product_id\nP1\n", "product_id\nP2\n", "product_id\nP1\n"]  # in the end as in the beginning
    keys = []
    for number, body in enumerate(bodies):
        put(s3, "products/a.csv", FIVE + number * HOUR, body)
        assert watch.tick() == [hour_key(FIVE + number * HOUR)]
        keys.append(watch.run_key)
    assert len(set(keys)) == len(keys)
    watch.cursor = None  # as when the daemon died before it kept the cursor
    assert watch.tick() == ["2023-03-31-07:00"]
    assert watch.run_key == keys[-1]


def test_each_table_has_run_keys_of_its_own(repository: dg.RepositoryDefinition, s3: S3StandIn, watch: Watch) -> None:
    other = Watch(repository, "shop_stock_movements")
    for prefix in ("products", "stock_movements"):
        put(s3, f"{prefix}/a.csv", FIVE)
    assert watch.tick() == other.tick() == [FIVE_KEY]
    assert watch.run_key != other.run_key


def test_what_is_older_than_the_first_hour_comes_with_it(s3: S3StandIn, watch: Watch) -> None:
    """The fault: no hour was asked for, though the first one stands for all that is older."""
    old = FIRST_HOUR - 9000 * HOUR
    put(s3, "products/old.csv", old)
    put(s3, "products/older.csv", old - 24 * HOUR)
    assert watch.tick() == [hour_key(FIRST_HOUR)]
    assert span_of(hour_key(FIRST_HOUR)).since is None
    assert watch.tick() == []
    put(s3, "products/new.csv", FIVE)
    put(s3, "products/second.csv", FIRST_HOUR + 4 * HOUR)
    assert watch.tick() == ["2023-03-31-04:00", FIVE_KEY]


def test_old_and_new_objects_are_one_run_from_the_first_hour(s3: S3StandIn, watch: Watch) -> None:
    put(s3, "products/old.csv", FIRST_HOUR - timedelta(seconds=1))
    put(s3, "products/new.csv", FIVE)
    assert watch.tick() == [hour_key(FIRST_HOUR), FIVE_KEY]


def test_an_hour_that_is_not_there_yet_is_not_asked_for(s3: S3StandIn, watch: Watch) -> None:
    """A server's clock may be ahead; what it dates later comes with its hour's schedule."""
    put(s3, "products/a.csv", datetime.now(UTC) + HOUR)
    assert watch.tick() == []
    assert "nothing new below products/ to the hour" in watch.skipped
    kept = watch.cursor
    assert kept
    assert watch.tick() == []
    assert watch.cursor == kept
    put(s3, "products/b.csv", datetime.now(UTC))
    assert len(watch.tick()) == 1


def test_a_server_that_fails_is_named_and_asked_again(s3: S3StandIn, watch: Watch) -> None:
    put(s3, "products/a.csv", FIVE)
    watch.tick()
    kept = watch.cursor
    put(s3, "products/b.csv", FIVE + HOUR)
    s3.faults.fail("^/shop", 503)
    assert watch.tick() == []
    assert watch.cursor == kept
    assert "next tick tries again" in watch.skipped
    assert s3.url in watch.skipped
    assert "HTTP 503" in watch.skipped
    assert "\n" not in watch.skipped
    assert not [word for word in (SECRET, "reader") if word in watch.skipped]
    assert watch.tick() == ["2023-03-31-06:00"]


def test_an_access_that_is_denied_fails_the_tick(s3: S3StandIn, watch: Watch) -> None:
    """Waiting will not help: the tick fails where somebody sees it, instead of being skipped for ever."""
    s3.faults.fail("^/shop", 403)
    with pytest.raises(LakeError) as raised:
        watch.tick()
    assert s3.url in str(raised.value)
    assert SECRET not in str(raised.value)
