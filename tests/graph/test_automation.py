"""What the automation conditions ask for, evaluated on the real graph tick by tick, as Dagster's daemon does.

Nothing is built: a test reports what has happened (a materialization, the outcome of the blocking checks) and looks at
what the next tick requests.
"""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pytest

from orchestration import project

JUNE, JULY = datetime(2023, 6, 15, tzinfo=UTC), datetime(2023, 7, 15, tzinfo=UTC)
WHOLE = "whole"  # stands for a table without partitions
SERVICES = ("yellow", "green", "fhv")
PARTS = ("__duplicates", "", "__rejected", "__accounting")
ALL_SILVER = tuple(f"silver/mobility/{service}_trips{part}" for service in SERVICES for part in PARTS)
Requests = dict[str, list[str]]


class Ticks:
    """The real graph on an instance of its own, and the daemon's cursor."""

    def __init__(
        self, defs: dg.Definitions, instance: dg.DagsterInstance, evaluated: dg.AssetSelection | None = None
    ) -> None:
        self.defs, self.instance, self.evaluated = defs, instance, evaluated
        self.graph: Any = defs.resolve_asset_graph()
        self.cursor: Any = None

    def tick(self, at: datetime = JUNE) -> Requests:
        """What one evaluation requests: asset → partitions."""
        result = dg.evaluate_automation_conditions(
            self.defs, self.instance, self.evaluated, cursor=self.cursor, evaluation_time=at
        )
        self.cursor = result.cursor
        requested = {key: result.get_requested_partitions(key) for key in sorted(self.graph.get_all_asset_keys())}
        return {key.to_user_string(): sorted(p or WHOLE for p in parts) for key, parts in requested.items() if parts}

    def built(self, *names: str, months: tuple[str, ...] = (), checks_pass: bool = True) -> None:
        """Report that assets were built and their blocking checks ran."""
        for name in names:
            key = dg.AssetKey.from_user_string(name)
            partitioned = self.graph.get(key).partitions_def is not None
            assert partitioned == bool(months), name
            for month in months or (None,):
                self.instance.report_runless_asset_event(dg.AssetMaterialization(key, partition=month))
            for check in self.blocking(name):
                self.check(name, check, passed=checks_pass)

    def blocking(self, name: str) -> list[str]:
        checks = self.graph.get(dg.AssetKey.from_user_string(name)).check_keys
        return sorted(check.name for check in checks if self.graph.get(check).blocking)

    def check(self, name: str, check: str, *, passed: bool) -> None:
        key = dg.AssetKey.from_user_string(name)
        self.instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(asset_key=key, check_name=check, passed=passed)
        )


@pytest.fixture(scope="module")
def defs() -> dg.Definitions:
    logging.getLogger("dagster.automation_condition_tester").setLevel(logging.WARNING)  # hundreds of lines a tick
    project.prepare()
    from orchestration.definitions import defs

    return defs


def ready(defs: dg.Definitions, instance: dg.DagsterInstance, evaluated: dg.AssetSelection | None = None) -> Ticks:
    """The graph with its infrastructure in place, one tick after the daemon first saw it."""
    ticks = Ticks(defs, instance, evaluated)
    ticks.built("infra/folders", "infra/iceberg_namespaces", "infra/duckdb_schemas")
    assert ticks.tick() == {}, "an empty lake has nothing to renew"
    return ticks


@pytest.fixture
def ticks(defs: dg.Definitions) -> Iterator[Ticks]:
    """The graph, ready, with nothing in it."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield ready(defs, instance)


@pytest.fixture
def users(defs: dg.Definitions) -> Iterator[Ticks]:
    """The users' tables built from bronze to gold, and at rest; only what is below them is evaluated."""
    below = dg.AssetSelection.assets(["bronze", "mobility", "users"]).downstream()
    with dg.DagsterInstance.ephemeral() as instance:
        users = ready(defs, instance, below)
        users.built("bronze/mobility/users", "silver/mobility/users", "gold/mobility/users_by_city")
        assert users.tick() == {}, "what is built already is not built again"
        yield users


# -- it fires ----------------------------------------------------------------------------------------------


def test_gold_is_renewed_one_layer_after_the_other(users: Ticks) -> None:
    users.built("bronze/mobility/users")
    assert users.tick() == {"silver/mobility/users": [WHOLE], "gold/mobility/users_by_city": [WHOLE]}, "in one run"
    users.built("silver/mobility/users", "gold/mobility/users_by_city")
    assert users.tick() == {}


def test_the_first_load_reaches_gold_once_the_checks_have_run(ticks: Ticks) -> None:
    """Silver's checks have no outcome before it is built: gold waits for them, it does not guess."""
    ticks.built("bronze/mobility/users")
    assert ticks.tick() == {"silver/mobility/users": [WHOLE]}
    ticks.built("silver/mobility/users")
    assert ticks.tick() == {"gold/mobility/users_by_city": [WHOLE]}
    ticks.built("gold/mobility/users_by_city")
    assert ticks.tick() == {}


def test_only_the_filled_months_are_built(ticks: Ticks) -> None:
    ticks.built("bronze/mobility/green_trips", months=("2023-01", "2023-02"))
    assert ticks.tick() == {"silver/mobility/green_trips__duplicates": ["2023-01", "2023-02"]}


def test_a_month_that_comes_two_months_late_is_built(ticks: Ticks) -> None:
    """The fault: `eager` looks at the latest time window alone, the running month, which never has a file yet."""
    ticks.built("bronze/mobility/green_trips", months=("2023-03",))
    assert ticks.tick(JUNE) == {"silver/mobility/green_trips__duplicates": ["2023-03"]}


def test_a_corrected_month_is_built_again_alone(ticks: Ticks) -> None:
    green = [name for name in ALL_SILVER if "green" in name]
    ticks.built("bronze/mobility/green_trips", *green, months=("2023-01", "2023-02", "2023-03"))
    ticks.built("gold/mobility/green_trips_by_payment_type")
    assert ticks.tick() == {}
    ticks.built("bronze/mobility/green_trips", months=("2023-02",))
    assert ticks.tick() == {key: ["2023-02"] for key in green}, "all of silver in one run; gold when it is done"
    ticks.built(*green, months=("2023-02",))
    assert ticks.tick() == {"gold/mobility/green_trips_by_payment_type": [WHOLE]}


def test_gold_over_all_months_does_not_wait_for_months_to_come(ticks: Ticks) -> None:
    """The fault: plain `eager` never fires below a partitioned table, for some partition is always missing."""
    ticks.built("bronze/mobility/green_trips", months=("2023-01",))
    ticks.built(*(name for name in ALL_SILVER if "green" in name), months=("2023-01",))
    requests = ticks.tick()
    assert requests == {"gold/mobility/green_trips_by_payment_type": [WHOLE]}


def test_gold_by_month_is_built_for_the_months_that_all_services_have(ticks: Ticks) -> None:
    ticks.built("bronze/mobility/taxi_zones", "silver/mobility/taxi_zones")
    for service, months in zip(SERVICES, (("2023-01", "2023-02"), ("2023-01", "2023-02"), ("2023-02",)), strict=True):
        ticks.built(f"bronze/mobility/{service}_trips", months=months)
        ticks.built(*(name for name in ALL_SILVER if service in name), months=months)
    requests = ticks.tick()
    assert requests["gold/mobility/trips_by_zone_day"] == ["2023-02"]
    assert requests["gold/mobility/trips_by_hour"] == [WHOLE]
    assert not {key for key in requests if key.startswith("silver/")}


@pytest.mark.parametrize("domain", ["mobility", "shop"])
def test_what_people_read_follows_gold(ticks: Ticks, domain: str) -> None:
    """A domain that has nothing yet, its source may be down, holds up none of the others."""
    gold = sorted(key.to_user_string() for key in ticks.graph.get_all_asset_keys() if key.path[:2] == ["gold", domain])
    assert len(gold) == 4
    partitioned = {name for name in gold if ticks.graph.get(dg.AssetKey.from_user_string(name)).partitions_def}
    for name in gold:
        assert "serving/duckdb" not in ticks.tick(), f"published before {name} was there"
        ticks.built(name, months=("2023-01",) if name in partitioned else ())
    requests = ticks.tick()
    assert requests["serving/duckdb"] == [WHOLE]
    assert requests["serving/kpi_report"] == [WHOLE], "the report is made in the same run, after the copy"


def test_a_dashboard_is_imported_once_and_then_when_its_code_has_changed(defs: dg.Definitions) -> None:
    """The fault: each renewal of gold imported what had not changed, and a changed file waited for one."""
    name = "serving/superset/shop"
    board = dg.AssetSelection.assets(dg.AssetKey.from_user_string(name))
    with dg.DagsterInstance.ephemeral() as instance:
        ticks = ready(defs, instance, board)
        below = [key.to_user_string() for key in sorted(board.upstream(1).resolve(ticks.graph))]
        below.remove(name)
        assert "gold/shop/orders_daily" in below
        ticks.built(*below)
        assert ticks.tick() == {name: [WHOLE]}
        assert ticks.tick() == {}, "not again and again, where no Superset is set and nothing is made"
        ticks.built(*below)
        assert ticks.tick() == {name: [WHOLE]}, "it is still not there"
        ticks.built(name)
        assert ticks.tick() == {}
        ticks.built(*below)
        assert ticks.tick() == {}, "Superset reads gold itself"

        ticks.defs = defs.map_resolved_asset_specs(
            func=lambda spec: spec.replace_attributes(code_version="another"), selection=board
        )
        assert ticks.tick() == {name: [WHOLE]}
        failed(ticks, [name], None)
        assert ticks.tick(JUNE.replace(hour=1)) == {}
        assert ticks.tick(JUNE.replace(hour=4, minute=41)) == {name: [WHOLE]}
        ticks.built(name)
        assert ticks.tick(JUNE.replace(hour=23)) == {}


# -- it does not fire --------------------------------------------------------------------------------------


def test_nothing_is_built_behind_a_failed_blocking_check(users: Ticks) -> None:
    users.built("bronze/mobility/users", checks_pass=False)
    assert users.tick() == {}
    users.built("bronze/mobility/users")
    assert "silver/mobility/users" in users.tick(), "the repaired load goes on by itself"


def test_a_blocking_check_of_silver_keeps_gold_as_it_was(users: Ticks) -> None:
    users.built("silver/mobility/users")
    one, *_ = users.blocking("silver/mobility/users")
    users.check("silver/mobility/users", one, passed=False)
    assert users.tick() == {}
    users.check("silver/mobility/users", one, passed=True)
    assert users.tick() == {"gold/mobility/users_by_city": [WHOLE]}


def test_an_account_that_does_not_add_up_keeps_gold_as_it_was(ticks: Ticks) -> None:
    month = ("2023-01",)
    ticks.built("bronze/mobility/green_trips", *(name for name in ALL_SILVER if "green" in name), months=month)
    account = "silver/mobility/green_trips__accounting"
    (check,) = (name for name in ticks.blocking(account) if name.startswith("row_accounting"))
    ticks.check(account, check, passed=False)
    assert ticks.tick() == {}


def test_a_failed_check_that_only_reports_stops_nothing(users: Ticks) -> None:
    users.built("bronze/mobility/users")
    users.check("bronze/mobility/users", "schema_drift", passed=False)
    assert "silver/mobility/users" in users.tick()


def test_gold_is_not_built_before_every_table_it_reads_is_there(ticks: Ticks) -> None:
    """A build would fail on a table that does not exist."""
    ticks.built("bronze/mobility/yellow_trips", *(n for n in ALL_SILVER if "yellow" in n), months=("2023-01",))
    requests = ticks.tick()
    assert "gold/mobility/trips_by_hour" not in requests
    assert "gold/mobility/trips_by_zone_day" not in requests


def test_nothing_is_built_without_the_infrastructure_it_needs(defs: dg.Definitions) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        ticks = Ticks(defs, instance)
        ticks.built("bronze/mobility/users")
        assert ticks.tick() == {}


def test_a_month_that_begins_is_not_built_before_its_file_is_loaded(ticks: Ticks) -> None:
    """The fault: a new partition counts as newly missing; without a guard, each first of a month built empty ones."""
    months = ("2023-01",)
    ticks.built("bronze/mobility/green_trips", *(name for name in ALL_SILVER if "green" in name), months=months)
    ticks.tick(JUNE)
    ticks.built("gold/mobility/green_trips_by_payment_type")
    assert ticks.tick(JULY) == {}


# -- it comes to rest --------------------------------------------------------------------------------------


def test_ticks_without_news_request_nothing(users: Ticks) -> None:
    users.built("bronze/mobility/users")
    assert users.tick()
    assert [users.tick() for _ in range(4)] == [{}] * 4, "requested once, although the run has not ended"


def test_a_run_that_failed_is_not_requested_again_and_again(users: Ticks) -> None:
    """The fault: run-away automation has cost others 368,000 failed runs from one asset."""
    users.built("bronze/mobility/users")
    assert "silver/mobility/users" in users.tick()
    for _ in range(3):  # the run ends without silver, its check says why
        users.check("silver/mobility/users", users.blocking("silver/mobility/users")[0], passed=False)
        assert users.tick() == {}


def test_a_check_that_keeps_failing_starts_no_runs(users: Ticks) -> None:
    for _ in range(4):
        users.built("bronze/mobility/users", checks_pass=False)
        assert users.tick() == {}


def test_a_daemon_that_lost_its_cursor_builds_nothing_twice(users: Ticks) -> None:
    users.cursor = None
    assert users.tick() == {}


# -- hours, and what failed --------------------------------------------------------------------------------

SHOP = ("customers", "orders", "products", "reviews", "stock_movements")
HOURS = ("2023-03-31-05:00", "2023-03-31-06:00")
APRIL = datetime(2023, 4, 1, 12, 10, tzinfo=UTC)


def build_silver_of_shop(ticks: Ticks, hour: str) -> None:
    """Tables go by the hour; what is valid of them is a view, which does not."""
    nodes = (
        ticks.graph.get(key) for key in sorted(ticks.graph.get_all_asset_keys()) if key.path[:2] == ["silver", "shop"]
    )
    for node in nodes:
        ticks.built(node.key.to_user_string(), months=(hour,) if node.partitions_def else ())


def failed(ticks: Ticks, names: list[str], partition: str | None) -> None:
    """Report a run that was to build `names`, and failed without."""
    from dagster._core.events import AssetMaterializationPlannedData, DagsterEvent
    from dagster._core.test_utils import create_run_for_test

    run = create_run_for_test(ticks.instance, status=dg.DagsterRunStatus.STARTED)
    for name in names:
        planned = AssetMaterializationPlannedData(dg.AssetKey.from_user_string(name), partition=partition)
        event = DagsterEvent.build_asset_materialization_planned_event(run.job_name, "dbt_build", planned)
        ticks.instance.report_dagster_event(event, run.run_id)
    ticks.instance.report_run_failed(run)


@pytest.fixture
def shop(defs: dg.Definitions) -> Iterator[Ticks]:
    """The shop's graph with one hour of bronze."""
    with dg.DagsterInstance.ephemeral() as instance:
        shop = ready(defs, instance)
        shop.built(*(f"bronze/shop/{table}" for table in SHOP), months=HOURS[:1])
        yield shop


def test_an_hour_of_bronze_reaches_silver_and_gold(shop: Ticks) -> None:
    first = shop.tick(APRIL)
    assert first
    assert {hour for hours in first.values() for hour in hours} == {HOURS[0]}
    build_silver_of_shop(shop, HOURS[0])
    assert {name for name in shop.tick(APRIL) if name.startswith("gold/shop/")} == {
        "gold/shop/customer_lifetime_value",
        "gold/shop/orders_daily",
        "gold/shop/product_performance",
        "gold/shop/stock_on_hand",
    }


def test_an_hour_waits_for_every_table_of_bronze(defs: dg.Definitions) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        ticks = ready(defs, instance)
        ticks.built("bronze/shop/orders", months=HOURS[:1])
        requests = ticks.tick(APRIL)
        assert requests == {"silver/shop/orders__versions": [HOURS[0]]}


def test_an_hour_that_failed_is_built_again_with_the_next_stroke_of_the_clock(shop: Ticks) -> None:
    """The fault: later hours asked for themselves alone, so gold lacked the failed one for good, and every check passed."""
    again = [name for name, hours in shop.tick(APRIL).items() if hours == [HOURS[0]]]
    assert "silver/shop/orders__versions" in again
    build_silver_of_shop(shop, HOURS[0])
    shop.tick(APRIL)
    failed(shop, again, HOURS[0])
    assert not {name for name in shop.tick(APRIL) if name in again}, "not at once, and not again and again"
    at = APRIL.replace(minute=41)
    assert {name: hours for name, hours in shop.tick(at).items() if name in again} == dict.fromkeys(again, [HOURS[0]])
    assert not {name for name in shop.tick(at.replace(minute=42)) if name in again}
    build_silver_of_shop(shop, HOURS[0])
    assert not {name for name in shop.tick(at.replace(hour=13)) if name in again}, "once it is built, the clock is idle"


def test_a_table_that_failed_is_built_again_once_a_day(users: Ticks) -> None:
    users.built("bronze/mobility/users")
    assert "silver/mobility/users" in users.tick()
    failed(users, ["silver/mobility/users", "gold/mobility/users_by_city"], None)
    assert users.tick(JUNE.replace(hour=1)) == {}
    assert "silver/mobility/users" in users.tick(JUNE.replace(hour=4, minute=41))
    assert users.tick(JUNE.replace(hour=23)) == {}
