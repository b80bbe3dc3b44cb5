"""Partitions as dates and keys, and what each schedule asks for when its clock strikes."""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
from dagster._utils.schedules import is_valid_cron_schedule, schedule_execution_time_iterator

from lake.catalog import open_catalog
from lake.errors import LakeError
from lake.settings import Settings, get_settings
from orchestration.partitions import (
    DAILY,
    HOURLY,
    MONTHLY,
    PARTITIONS,
    UTC_DAILY,
    closes,
    date_of,
    kind_of,
    range_tags,
    span_of,
    span_of_range,
)

TRIPS = ("yellow_trips", "green_trips", "fhv_trips")


def tick(repository: dg.RepositoryDefinition, schedule: str, at: datetime) -> Any:
    """What the schedule asks for when its clock strikes at `at`."""
    with dg.build_schedule_context(scheduled_execution_time=at, repository_def=repository) as context:
        return repository.get_schedule_def(schedule).evaluate_tick(context)


def strikes(repository: dg.RepositoryDefinition, schedule: str, after: datetime, count: int) -> list[datetime]:
    definition = repository.get_schedule_def(schedule)
    times = schedule_execution_time_iterator(after.timestamp(), definition.cron_schedule, definition.execution_timezone)
    return [next(times) for _ in range(count)]


# -- partitions --------------------------------------------------------------------------------------------


def test_months_run_from_2023_to_the_running_one() -> None:
    keys = MONTHLY.get_partition_keys(current_time=datetime(2023, 4, 2, tzinfo=UTC))
    assert keys == ["2023-01", "2023-02", "2023-03", "2023-04"]
    assert PARTITIONS == {"monthly": MONTHLY, "daily": DAILY, "utc_daily": UTC_DAILY, "hourly": HOURLY}


@pytest.mark.parametrize("instant", [datetime(2024, 1, 1, tzinfo=UTC), datetime(2023, 12, 31, 23, 59, 59, tzinfo=UTC)])
def test_the_running_month_changes_at_midnight_utc(instant: datetime) -> None:
    assert MONTHLY.get_partition_keys(current_time=instant)[-1] == f"{instant:%Y-%m}"


def test_a_month_is_the_dates_it_holds() -> None:
    for key in MONTHLY.get_partition_keys(current_time=datetime(2025, 3, 1, tzinfo=UTC)):
        window = MONTHLY.time_window_for_partition_key(key)
        assert date_of(key) == window.start.date()
        assert date_of(key) <= (window.end - timedelta(days=1)).date()
        assert (window.end - timedelta(days=1)).date().strftime("%Y-%m") == key


def test_hours_run_from_the_shops_first_day_to_the_running_one() -> None:
    keys = HOURLY.get_partition_keys(current_time=datetime(2023, 3, 31, 2, 30, tzinfo=UTC))
    assert keys == ["2023-03-31-00:00", "2023-03-31-01:00", "2023-03-31-02:00"]
    for key in keys:
        window = HOURLY.time_window_for_partition_key(key)
        assert (span_of(key).start, span_of(key).end) == (window.start, window.end)


def test_a_span_is_what_its_keys_cover() -> None:
    assert (span_of("2024-02").start, span_of("2024-02").end) == (
        datetime(2024, 2, 1, tzinfo=UTC),
        datetime(2024, 3, 1, tzinfo=UTC),
    )
    assert span_of("2023-12").end == datetime(2024, 1, 1, tzinfo=UTC)
    day = span_of_range(["2023-04-01-00:00", "2023-04-01-23:00"])
    assert (day.first_day, day.last_day) == (date(2023, 3, 31), date(2023, 4, 1)), "with the evening before"
    assert day.since == datetime(2023, 3, 31, 22, tzinfo=UTC)
    first = span_of_range(["2023-03-31-00:00", "2023-03-31-23:00"])
    assert (first.since, first.first_day) == (None, None), "no hour before it would bring what is older"
    with pytest.raises(LakeError, match=r"a month is written YYYY-MM.*; a day is written.*; an hour is written"):
        span_of("2023-01-01-00")


def test_days_of_changes_are_those_that_are_over_in_utc() -> None:
    keys = UTC_DAILY.get_partition_keys(current_time=datetime(2023, 3, 31, 23, 59, tzinfo=UTC))
    assert keys == ["2023-03-29", "2023-03-30"], "the running day changes still"
    for key in keys:
        window = UTC_DAILY.time_window_for_partition_key(key)
        assert (span_of(key).start, span_of(key).end) == (window.start, window.end)
    assert span_of("2023-03-29").since is None, "no day before it would bring what is older"
    assert span_of_range(["2023-03-30", "2023-03-31"]).since == datetime(2023, 3, 29, 22, tzinfo=UTC)


def test_a_key_is_its_first_day() -> None:
    assert date_of("2023-01") == date(2023, 1, 1)
    assert date_of("2024-02") == date(2024, 2, 1)


@pytest.mark.parametrize(
    "key",
    [
        "2023-13",
        "2023-00",
        "2023-1",
        "2023-01-01-00:00",
        "23-01",
        "",
        " 2023-01",
        "2023-01\n",
        "2023-01|2023-02",
        "٢٠٢٣-01",
        "0000-01",
        "../../x",
        "../../etc/passwd",
        "2023-01'; drop table t; --",
        "2023-01/../../x",
    ],
)
def test_a_key_that_is_no_month_is_refused(key: str) -> None:
    """Keys become file names and dates: nothing but a month or day may pass, whatever the kind of partitions."""
    with pytest.raises(LakeError) as raised:
        date_of(key)
    assert repr(key) in str(raised.value)
    assert "YYYY-MM" in str(raised.value)
    assert not MONTHLY.has_partition_key(key)


def test_a_day_is_one_of_the_zone_of_the_workbooks() -> None:
    """Taipei is eight hours ahead: its 1 April begins on 31 March at 16:00 UTC."""
    assert DAILY.get_partition_keys(current_time=datetime(2023, 3, 31, 15, 59, tzinfo=UTC))[-1] == "2023-03-31"
    assert DAILY.get_partition_keys(current_time=datetime(2023, 3, 31, 16, 0, tzinfo=UTC))[-1] == "2023-04-01"
    for key in DAILY.get_partition_keys(current_time=datetime(2023, 4, 2, tzinfo=UTC)):
        window = DAILY.time_window_for_partition_key(key)
        assert closes(key) == window.end
        assert date_of(key) == window.start.date()
    assert date_of("2023-03-31") == date(2023, 3, 31)
    assert date_of("2023-03") == date(2023, 3, 1)
    assert closes("2023-03-31-05:00") == datetime(2023, 3, 31, 6, tzinfo=UTC)


@pytest.mark.parametrize("key", ["2023-02-30", "2023-3-1", "2023-03-31-05:00", "20230331", "2023-03-31 "])
def test_a_key_that_is_no_day_is_refused(key: str) -> None:
    with pytest.raises(LakeError, match="YYYY-MM-DD") as raised:
        date_of(key)
    assert repr(key) in str(raised.value)


def test_a_key_tells_its_kind() -> None:
    assert [kind_of(key) for key in ("2023-03", "2023-03-31", "2023-03-31-05:00")] == ["monthly", "daily", "hourly"]


# -- schedules ---------------------------------------------------------------------------------------------


def test_every_schedule_has_a_valid_clock_and_a_job(repository: dg.RepositoryDefinition) -> None:
    schedules = repository.schedule_defs
    assert schedules
    for schedule in schedules:
        assert is_valid_cron_schedule(schedule.cron_schedule), schedule.name
        assert repository.has_job(schedule.job_name), schedule.name


def test_every_bronze_table_is_loaded_by_a_clock(repository: dg.RepositoryDefinition) -> None:
    bronze = {key for key in repository.asset_graph.get_all_asset_keys() if key.path[0] == "bronze"}
    loaded = {
        key
        for schedule in repository.schedule_defs
        for key in repository.get_job(schedule.job_name).asset_layer.executable_asset_keys
    }
    assert bronze <= loaded


@pytest.mark.parametrize("table", TRIPS)
def test_the_latest_month_that_is_published_is_loaded(repository: dg.RepositoryDefinition, table: str) -> None:
    result = tick(repository, f"load_mobility_{table}_schedule", datetime(2023, 4, 2, 6, 0, tzinfo=UTC))
    (request,) = result.run_requests
    assert request.partition_key == "2023-01"  # the TLC publishes about two months after a month's end
    assert request.tags["dagster/partition"] == "2023-01"
    assert result.skip_message is None


@pytest.mark.parametrize(
    ("at", "month"),
    [
        (datetime(2023, 4, 1, tzinfo=UTC), "2023-01"),
        (datetime(2023, 5, 31, 23, 59, tzinfo=UTC), "2023-02"),
        (datetime(2024, 1, 1, tzinfo=UTC), "2023-10"),
        (datetime(2024, 3, 2, 6, tzinfo=UTC), "2023-12"),
    ],
)
def test_a_month_is_due_two_months_after_its_end(repository: dg.RepositoryDefinition, at: datetime, month: str) -> None:
    (request,) = tick(repository, "load_mobility_green_trips_schedule", at).run_requests
    assert request.partition_key == month


@pytest.mark.parametrize("at", [datetime(2023, 1, 1, tzinfo=UTC), datetime(2023, 3, 31, 23, 59, tzinfo=UTC)])
def test_nothing_is_loaded_before_a_month_is_due(repository: dg.RepositoryDefinition, at: datetime) -> None:
    result = tick(repository, "load_mobility_green_trips_schedule", at)
    assert result.run_requests == []
    assert result.skip_message == "nothing is due yet"


REPORTS = ("top_up", "pre_deduction", "post_deduction", "op_stats")


@pytest.mark.parametrize("table", [*REPORTS, "workbooks"])
def test_workbooks_are_loaded_at_ten_in_their_zone(repository: dg.RepositoryDefinition, table: str) -> None:
    (first,) = strikes(repository, f"load_membership_{table}_schedule", datetime(2023, 3, 31, 12, tzinfo=UTC), 1)
    assert first.astimezone(UTC) == datetime(2023, 4, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize("table", REPORTS)
def test_the_day_that_is_over_in_the_zone_is_loaded(repository: dg.RepositoryDefinition, table: str) -> None:
    """At ten in the morning of 1 April in Taipei it is two o'clock in London: the 31st is over there alone."""
    (request,) = tick(repository, f"load_membership_{table}_schedule", datetime(2023, 4, 1, 2, tzinfo=UTC)).run_requests
    assert request.partition_key == "2023-03-31"
    assert request.run_key == "2023-03-31@2023-04-01"


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Settings]:
    """Where the schedules look for tables; there are none."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAKEGRAPH_HOME", str(tmp_path))
        get_settings.cache_clear()
        yield get_settings()
    get_settings.cache_clear()


@pytest.fixture
def hours(repository: dg.RepositoryDefinition, lake: Settings) -> Iterator[Callable[[datetime, list[str]], Any]]:
    """What the orders' schedule asks for at a moment, some hours being loaded."""
    with dg.instance_for_test() as instance:

        def ask(at: datetime, loaded: list[str], *, table: bool = True, under_way: bool = False) -> Any:
            if table:
                open_catalog(lake).create_namespace_if_not_exists("bronze")
                open_catalog(lake).create_table_if_not_exists("bronze.shop_orders", pa.schema([("id", pa.string())]))
            if under_way:
                job = repository.get_job("load_shop_orders")
                dg_run = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
                assert not dg_run.is_finished
            for key in loaded:
                event = dg.AssetMaterialization(["bronze", "shop", "orders"], partition=key)
                instance.report_runless_asset_event(event)
            ref = instance.get_ref()
            # Closed here: a context left to the garbage collector puts this instance back as the process's own when
            # that is long gone (dagster's set_defs_state_storage), and whatever runs next fails on it.
            with dg.build_schedule_context(instance, at, repository_def=repository, instance_ref=ref) as context:
                return repository.get_schedule_def("load_shop_orders_schedule").evaluate_tick(context)

        yield ask


def test_an_hour_that_has_ended_is_loaded(hours: Callable[[datetime, list[str]], Any]) -> None:
    (request,) = hours(datetime(2023, 3, 31, 1, 5, tzinfo=UTC), []).run_requests
    assert request.partition_key == "2023-03-31-00:00"


def test_hours_that_failed_or_were_missed_are_asked_for_again_in_one_run(
    hours: Callable[[datetime, list[str]], Any],
) -> None:
    at = datetime(2023, 3, 31, 5, 5, tzinfo=UTC)
    (request,) = hours(at, ["2023-03-31-00:00", "2023-03-31-01:00"]).run_requests
    assert request.partition_key is None
    assert request.tags.items() >= range_tags(["2023-03-31-02:00", "2023-03-31-03:00", "2023-03-31-04:00"]).items()
    later = hours(at, ["2023-03-31-02:00", "2023-03-31-03:00", "2023-03-31-04:00"])
    assert later.run_requests == []
    assert later.skip_message == "all hours to 2023-03-31-04:00 are loaded"


def test_hours_of_a_table_that_is_gone_are_asked_for_again(hours: Callable[..., Any]) -> None:
    """Dagster remembers them, and the table may be another one: restored, dropped, or another target's."""
    at = datetime(2023, 3, 31, 3, 5, tzinfo=UTC)
    loaded = ["2023-03-31-00:00", "2023-03-31-01:00", "2023-03-31-02:00"]
    (request,) = hours(at, loaded, table=False).run_requests
    assert request.tags.items() >= range_tags(loaded).items()
    assert hours(at, loaded).run_requests == []


def test_a_load_that_lasts_longer_than_an_hour_is_not_asked_for_twice(hours: Callable[..., Any]) -> None:
    result = hours(datetime(2023, 3, 31, 3, 5, tzinfo=UTC), [], under_way=True)
    assert result.run_requests == []
    assert "is under way" in result.skip_message


def test_an_outage_of_days_leaves_no_hole(hours: Callable[[datetime, list[str]], Any]) -> None:
    """The fault: what was missed more than 48 hours ago was never asked for, and the newest hour alone looked fresh."""
    at = datetime(2023, 4, 5, 9, 5, tzinfo=UTC)
    request = hours(at, ["2023-03-31-00:00", "2023-04-05-07:00"]).run_requests[0]
    assert request.tags.items() >= range_tags(["2023-03-31-01:00", "2023-04-05-08:00"]).items()


SALES = ("employees", "customers", "services", "contracts", "invoices", "invoice_lines", "payments")


@pytest.mark.parametrize("table", SALES)
def test_all_days_of_sales_that_are_not_loaded_are_asked_for_in_one_run(
    repository: dg.RepositoryDefinition, lake: Settings, table: str
) -> None:
    (first,) = strikes(repository, f"load_sales_{table}_schedule", datetime(2023, 3, 31, 12, tzinfo=UTC), 1)
    assert first.astimezone(UTC) == datetime(2023, 4, 1, 1, 30, tzinfo=UTC)
    with dg.instance_for_test() as instance:
        ref = instance.get_ref()
        with dg.build_schedule_context(instance, first, repository_def=repository, instance_ref=ref) as context:
            (request,) = repository.get_schedule_def(f"load_sales_{table}_schedule").evaluate_tick(context).run_requests
    assert request.tags.items() >= range_tags(["2023-03-29", "2023-03-30", "2023-03-31"]).items()


def test_a_clock_that_strikes_twice_starts_one_run(repository: dg.RepositoryDefinition) -> None:
    """Dagster drops a request whose run key it has seen: a restarted daemon does not load a month twice a day."""
    at = datetime(2023, 4, 2, 6, 0, tzinfo=UTC)
    keys = [tick(repository, "load_mobility_green_trips_schedule", at).run_requests[0].run_key for _ in range(2)]
    assert keys[0] is not None
    assert keys[0] == keys[1]
    later = tick(repository, "load_mobility_green_trips_schedule", at.replace(month=5)).run_requests[0].run_key
    assert later != keys[0]


@pytest.mark.parametrize("table", [*TRIPS, "taxi_zones"])
def test_months_are_loaded_once_a_month(repository: dg.RepositoryDefinition, table: str) -> None:
    times = strikes(repository, f"load_mobility_{table}_schedule", datetime(2023, 3, 15, tzinfo=UTC), 3)
    assert [(t.month, t.day) for t in times] == [(4, 2), (5, 2), (6, 2)]


def test_loads_of_one_day_do_not_start_at_one_moment(repository: dg.RepositoryDefinition) -> None:
    clocks = [
        s.cron_schedule for s in repository.schedule_defs if s.name.startswith("load_") and " 2 * *" in s.cron_schedule
    ]
    assert len(clocks) == len(set(clocks)) == 4


def test_users_are_loaded_every_day(repository: dg.RepositoryDefinition) -> None:
    after = datetime(2023, 4, 2, tzinfo=UTC)
    times = strikes(repository, "load_mobility_users_schedule", after, 3)
    assert [t - times[0] for t in times] == [timedelta(days=n) for n in range(3)]
    (request,) = tick(repository, "load_mobility_users_schedule", times[0]).run_requests
    assert request.partition_key is None
    keys = repository.get_job("load_mobility_users").asset_layer.executable_asset_keys
    assert {key.to_user_string() for key in keys} == {"bronze/mobility/users"}


def test_the_lake_is_kept_every_night_and_its_sources_looked_at_every_morning(
    repository: dg.RepositoryDefinition,
) -> None:
    after = datetime(2023, 4, 2, tzinfo=UTC)
    nights = strikes(repository, "maintain_nightly", after, 2)
    assert nights[1] - nights[0] == timedelta(days=1)
    assert nights[0].hour < 5
    job = repository.get_job(repository.get_schedule_def("maintain_nightly").job_name)
    assert {key.to_user_string() for key in job.asset_layer.executable_asset_keys} == {"ops/maintenance"}

    mornings = strikes(repository, "source_freshness_daily", after, 2)
    assert mornings[1] - mornings[0] == timedelta(days=1)
    layer = repository.get_job(repository.get_schedule_def("source_freshness_daily").job_name).asset_layer
    assert not layer.executable_asset_keys, "looking does not load"
    assert {check.name for check in layer.asset_graph.asset_check_keys} == {"source_freshness"}
    users = strikes(repository, "load_mobility_users_schedule", after, 1)[0]
    assert users.time() < mornings[0].time(), "looked at after the daily load, not before"


def test_the_first_hour_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each hour since then is an event in Dagster's log when the first run takes all of them."""
    import subprocess
    import sys

    said = "from orchestration.partitions import HOURLY, span_of; first = HOURLY.get_first_partition_key(); "
    said += "print(first, span_of(first).since, span_of(HOURLY.get_partition_keys()[1]).since)"
    monkeypatch.setenv("LAKEGRAPH_SHOP_FIRST_HOUR", "2026-11-01-07:00")
    found = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "2026-11-01-07:00 None 2026-11-01 06:00:00+00:00"
    monkeypatch.setenv("LAKEGRAPH_SHOP_FIRST_HOUR", "2026-11")
    wrong = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=False)
    assert "LAKEGRAPH_SHOP_FIRST_HOUR: Value error, is not an hour like 2023-03-31-00:00" in wrong.stderr
