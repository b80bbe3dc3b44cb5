"""From words to a run: selections, partitions, the tags of a run, and what is said when it fails."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest

from lake.errors import LakeError, NotConfiguredError
from lake.settings import Settings
from lake.spec import TableSpec
from orchestration import project, runner
from orchestration.observations import not_configured
from orchestration.partitions import HOURLY, MONTHLY

RANGE = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
GREEN = {
    "bronze/mobility/green_trips",
    "silver/mobility/green_trips",
    "silver/mobility/green_trips__accounting",
    "silver/mobility/green_trips__duplicates",
    "silver/mobility/green_trips__rejected",
    "gold/mobility/green_trips_by_payment_type",
    "serving/exports/mobility_green_trips_by_payment_type",
    "serving/starrocks/mobility_green_trips_by_payment_type",
}
GOLD = {
    "gold/mobility/green_trips_by_payment_type",
    "gold/mobility/trips_by_hour",
    "gold/mobility/trips_by_zone_day",
    "gold/mobility/users_by_city",
}


USERS = {
    "gold/mobility/users_by_city",
    "silver/mobility/users",
    "bronze/mobility/users",
    "infra/folders",
    "infra/duckdb_schemas",
    "infra/iceberg_namespaces",
}
SHOP_GOLD = {
    "gold/shop/customer_lifetime_value",
    "gold/shop/orders_daily",
    "gold/shop/product_performance",
    "gold/shop/stock_on_hand",
}
MEMBERSHIP_GOLD = {
    f"gold/membership/{name}"
    for name in (
        "channel_performance",
        "deduction_deviation",
        "dim_channels",
        "dim_dates",
        "dim_users",
        "fct_channel_settlement",
        "fct_topup",
        "fct_user_activity",
        "membership_movement",
        "topup_funnel",
        "user_retention",
    )
}
SALES_GOLD = {
    f"gold/sales/{name}"
    for name in (
        "churn_monthly",
        "dim_customer",
        "dim_date",
        "dim_employee",
        "dim_service",
        "fct_invoice_line",
        "fct_payment",
        "receivables_ageing",
        "revenue_monthly",
    )
}
ALL_GOLD = GOLD | SHOP_GOLD | MEMBERSHIP_GOLD | SALES_GOLD
EXPORTED = {"_".join(one.split("/")[1:]) for one in ALL_GOLD}
SERVED = {  # downstream of the published copy, which is of all of gold
    "serving/duckdb",
    "serving/kpi_report",
    "serving/superset/membership",
    "serving/superset/mobility",
    "serving/superset/sales",
    "serving/superset/shop",
    *(f"serving/{kind}/{table}" for kind in ("exports", "starrocks") for table in (*EXPORTED, "shop_orders_monthly")),
}


@pytest.fixture(scope="module")
def defs() -> dg.Definitions:
    project.prepare()
    from orchestration.definitions import defs

    return defs


def keys(*names: str) -> set[dg.AssetKey]:
    return {dg.AssetKey.from_user_string(name) for name in names}


def selected(text: str, defs: dg.Definitions) -> set[str]:
    return {key.to_user_string() for key in runner.resolve(text, defs)}


# -- selections --------------------------------------------------------------------------------------------


def test_everything(defs: dg.Definitions) -> None:
    graph = defs.resolve_asset_graph()
    everything = graph.get_all_asset_keys()
    ours = {key.to_user_string() for key in everything if graph.get(key).is_materializable}
    assert selected("*", defs) == selected(" * ", defs) == ours
    assert runner.resolve("*", defs, readers=True) == everything
    assert everything - runner.resolve("*", defs) == keys("serving/looker_studio", "serving/power_bi")


def test_who_only_reads_gold_is_not_made_here(defs: dg.Definitions) -> None:
    with pytest.raises(LakeError, match=r"^--select 'serving/power_bi': serving/power_bi only reads gold"):
        runner.resolve("serving/power_bi", defs)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("*green*", GREEN),
        ("gold/mobility/*", GOLD),
        ("bronze/mobility/users", {"bronze/mobility/users"}),
        ("  bronze/mobility/users ", {"bronze/mobility/users"}),
        ("bronze/mobility/users silver/mobility/users", {"bronze/mobility/users", "silver/mobility/users"}),
        ("gold/mobility/* *green*", GOLD | GREEN),
        ("bronze/mobility/users gold/mobility/*", GOLD | {"bronze/mobility/users"}),
        ("gold/*", ALL_GOLD),
        ("group:gold", ALL_GOLD),
        ('key:"gold/mobility/*" or tag:team=nobody', GOLD),
        (
            " and not ".join(
                ["group:gold", *(f'key:"{it}"' for it in ("*trips*", "*/shop/*", "*/membership/*", "*/sales/*"))]
            ),
            {"gold/mobility/users_by_city"},
        ),
        ("+gold/mobility/users_by_city", USERS),
        ('+key:"gold/mobility/users_by_city"', USERS),
        ("gold/mobility/users_by_city+", {"gold/mobility/users_by_city", *SERVED}),
        ("(group:gold)", ALL_GOLD),
    ],
)
def test_a_selection_is_read_as_meant(defs: dg.Definitions, text: str, expected: set[str]) -> None:
    assert selected(text, defs) == expected


def test_a_pattern_of_a_layer_takes_the_whole_layer(defs: dg.Definitions) -> None:
    bronze = selected("bronze/mobility/* bronze/shop/* bronze/membership/* bronze/sales/*", defs)
    assert bronze == selected("group:bronze", defs)
    assert {name.rsplit("/", 1)[0] for name in bronze} == {
        "bronze/membership",
        "bronze/mobility",
        "bronze/sales",
        "bronze/shop",
    }


@pytest.mark.parametrize("text", ["", " ", "\n"])
def test_an_empty_selection_is_refused(defs: dg.Definitions, text: str) -> None:
    with pytest.raises(LakeError, match="--select is empty"):
        runner.parse_selection(text)
    with pytest.raises(LakeError, match="--select is empty"):
        runner.resolve(text, defs)


@pytest.mark.parametrize(
    "text", ["(((", 'key:"unclosed', "a;b", '*a" or key:"*', "group:", "group:gold and", "../../etc/passwd;"]
)
def test_what_is_no_selection_is_refused_with_its_own_words(text: str) -> None:
    with pytest.raises(LakeError) as raised:
        runner.parse_selection(text)
    assert repr(text) in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("text", ["nosuch", "bronze/mobility/user", "users*", "group:nosuch", 'key:"nosuch"'])
def test_what_selects_nothing_is_refused(defs: dg.Definitions, text: str) -> None:
    with pytest.raises(LakeError) as raised:
        runner.resolve(text, defs)
    assert repr(text) in str(raised.value)


@pytest.mark.parametrize("text", ["gold/* glod/*", "bronze/mobility/users silver/mobility/user"])
def test_a_misspelt_word_among_others_is_not_left_out(defs: dg.Definitions, text: str) -> None:
    """The fault: a union of patterns took what it found and was green, without the table that was asked for."""
    with pytest.raises(LakeError) as raised:
        runner.resolve(text, defs)
    assert repr(text.split()[1]) in str(raised.value)


# -- what a selection needs besides ------------------------------------------------------------------------


def test_an_empty_home_gets_its_infrastructure_and_the_copy(defs: dg.Definitions, lake: Settings) -> None:
    extra = runner.needed_besides(keys("bronze/mobility/users"), defs, lake)
    assert extra == keys("infra/folders", "infra/iceberg_namespaces", "infra/duckdb_schemas", "serving/duckdb")


def test_nothing_is_added_to_what_is_complete(defs: dg.Definitions, lake: Settings) -> None:
    from infra_assets import resources
    from infra_assets.plan import apply_all

    apply_all(resources(lake))
    assert runner.needed_besides(keys("ops/maintenance"), defs, lake) == set()
    assert runner.needed_besides(keys("gold/mobility/users_by_city", "serving/duckdb"), defs, lake) == set()


def test_without_publishing_nothing_of_an_older_copy_is_served() -> None:
    """The fault: `*green*` selects a table and its export, which was made of the copy before it, or failed without."""
    green = keys("gold/mobility/green_trips_by_payment_type", "serving/exports/mobility_green_trips_by_payment_type")
    assert runner.without_serving(green) == keys("gold/mobility/green_trips_by_payment_type")
    exports = keys("serving/exports/mobility_green_trips_by_payment_type", "serving/duckdb")
    assert runner.without_serving(exports) == exports


# -- partitions --------------------------------------------------------------------------------------------


def test_a_selection_without_partitions_has_no_tags(defs: dg.Definitions) -> None:
    plain = keys("bronze/mobility/users", "gold/mobility/trips_by_hour")
    assert runner.plan_runs(plain, defs, None, None, None) == ([runner.PlannedRun(frozenset(plain), {})], [])


@pytest.mark.parametrize(
    ("partition", "first", "last", "expected"),
    [
        ("2023-02", None, None, ("2023-02", "2023-02")),
        (None, "2023-01", "2023-03", ("2023-01", "2023-03")),
        (None, "2023-02", "2023-02", ("2023-02", "2023-02")),
        (None, "2023-02", None, ("2023-02", "2023-02")),
        (None, None, "2023-02", ("2023-02", "2023-02")),
        (None, "2023-12", "2024-01", ("2023-12", "2024-01")),
    ],
)
def test_a_range_becomes_the_tags_of_one_run(
    defs: dg.Definitions, partition: str | None, first: str | None, last: str | None, expected: tuple[str, str]
) -> None:
    both = keys("bronze/mobility/green_trips", "gold/mobility/trips_by_hour")  # one is partitioned, one is not
    tags = dict(zip(RANGE, expected, strict=True))
    assert runner.plan_runs(both, defs, partition, first, last) == (
        [runner.PlannedRun(frozenset(both), tags, "monthly")],
        [],
    )


@pytest.mark.parametrize(
    ("partition", "first", "last", "message"),
    [
        ("2023-01", "2023-01", None, "exclude each other"),
        ("2023-01", None, "2023-02", "exclude each other"),
        (None, None, None, "bronze/mobility/green_trips is partitioned: say which"),
        ("2023-13", None, None, "'2023-13': a month is written YYYY-MM"),
        ("2023", None, None, "'2023': a month is written YYYY-MM"),
        ("0000-01", None, None, "'0000-01': a month is written YYYY-MM"),
        ("../../x", None, None, "'../../x': a month is written YYYY-MM"),
        (None, "2023-01", "2023-1", "'2023-1': a month is written YYYY-MM"),
        ("2022-12", None, None, "2022-12 is not one of 2023-01 to "),
        (None, "2023-01", "2999-01", "2999-01 is not one of 2023-01 to "),
        (None, "2023-03", "2023-01", "--from 2023-03 is after --to 2023-01"),
    ],
)
def test_a_range_that_cannot_be_meant_is_refused(
    defs: dg.Definitions, partition: str | None, first: str | None, last: str | None, message: str
) -> None:
    with pytest.raises(LakeError) as raised:
        runner.plan_runs(keys("bronze/mobility/green_trips"), defs, partition, first, last)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_partition_for_tables_without_one_is_refused_only_where_it_contradicts(defs: dg.Definitions) -> None:
    with pytest.raises(LakeError, match="exclude each other"):
        runner.plan_runs(keys("bronze/mobility/users"), defs, "2023-01", "2023-01", None)


@pytest.fixture(scope="module")
def two_kinds() -> dg.Definitions:
    """An asset by hour, one by month, and four that have no partitions, two of which rest on those."""
    specs = [
        dg.AssetSpec("hours", partitions_def=HOURLY),
        dg.AssetSpec("months", partitions_def=MONTHLY),
        dg.AssetSpec("plain"),
        dg.AssetSpec("of_hours", deps=["hours"]),
        dg.AssetSpec("of_both", deps=["of_hours", "months"]),
        dg.AssetSpec(["infra", "ground"]),
    ]

    def made(spec: dg.AssetSpec) -> dg.AssetsDefinition:
        @dg.multi_asset(name="_".join(spec.key.path), specs=[spec])
        def make() -> None: ...

        return make

    return dg.Definitions(assets=[made(spec) for spec in specs])


def test_each_kind_of_partition_has_a_run_of_its_own(two_kinds: dg.Definitions) -> None:
    """A range of months is a range of hours too: of those that there are in it."""
    everything = keys("hours", "months", "plain", "of_hours", "of_both", "infra/ground")
    runs, notes = runner.plan_runs(everything, two_kinds, None, "2023-01", "2023-03")
    assert notes == []
    assert [sorted(key.to_user_string() for key in run.keys) for run in runs] == [
        ["hours", "infra/ground", "of_hours"],
        ["months", "of_both", "plain"],
    ]
    assert [tuple(run.tags.values()) for run in runs] == [
        ("2023-03-31-00:00", "2023-03-31-23:00"),
        ("2023-01", "2023-03"),
    ]


def test_what_has_no_partition_in_the_range_is_told(two_kinds: dg.Definitions) -> None:
    """With all that rests on nothing else: gold of the shop cannot be built where silver was not."""
    asked = keys("hours", "months", "of_hours", "of_both", "plain")
    runs, notes = runner.plan_runs(asked, two_kinds, "2023-01", None, None)
    assert [tuple(run.tags.values()) for run in runs] == [("2023-01", "2023-01")]
    assert [sorted(key.to_user_string() for key in run.keys) for run in runs] == [["months", "of_both", "plain"]]
    assert notes == ["left out: hours and 0 more have no partition from 2023-01 to 2023-01"]
    with pytest.raises(LakeError, match="hours has no partition from 2023-01 to 2023-02: they go from 2023-03-3"):
        runner.plan_runs(keys("hours"), two_kinds, None, "2023-01", "2023-02")


def test_a_full_refresh_is_a_run_of_the_first_day_of_changes(defs: dg.Definitions) -> None:
    asked = runner.resolve("bronze/sales/* silver/sales/* gold/sales/revenue_monthly", defs)
    run = runner.plan_refresh(asked, defs)
    assert run.keys == asked
    assert run.tags == {RANGE[0]: "2023-03-29", RANGE[1]: "2023-03-29", "lakegraph/full_refresh": "true"}
    for text, match in (
        ("bronze/sales/* bronze/shop/orders", r"^bronze/shop/orders cannot be refreshed whole: .* bronze/sales/\*$"),
        ("gold/sales/revenue_monthly", "none of it is selected"),
    ):
        with pytest.raises(LakeError, match=match):
            runner.plan_refresh(runner.resolve(text, defs), defs)


def test_what_is_served_of_a_domain_goes_with_it(defs: dg.Definitions) -> None:
    """Exports rest on their own table and on the copy, which holds all of gold: the latter draws none of them in."""
    asked = runner.resolve("bronze/* silver/* gold/* serving/*", defs)
    (months,), _ = runner.plan_runs(asked, defs, "2023-01", None, None)
    served = {key for key in asked if key.path[0] == "serving"}
    of_shop, of_membership, of_sales = (
        {key for key in served if key.path[-1].startswith(domain)} for domain in ("shop", "membership", "sales")
    )
    assert served - months.keys == of_shop | of_membership | of_sales
    assert len(of_shop) == 2 * (len(SHOP_GOLD) + 1) + 1
    assert len(of_membership) == 2 * len(MEMBERSHIP_GOLD) + 1
    assert len(of_sales) == 2 * len(SALES_GOLD) + 1
    hours, changes, days, months = runner.plan_runs(asked, defs, None, "2023-01", "2023-03")[0]
    assert of_shop <= hours.keys
    assert of_sales <= changes.keys
    assert of_membership <= days.keys
    assert not (of_shop | of_membership) & months.keys
    assert hours.keys & days.keys == days.keys & months.keys == keys("serving/duckdb")
    assert tuple(days.tags.values()) == ("2023-03-29", "2023-03-31")


def test_an_hour_is_no_month(two_kinds: dg.Definitions) -> None:
    hour = "2023-03-31-05:00"
    runs, _ = runner.plan_runs(keys("hours", "plain"), two_kinds, hour, None, None)
    assert [tuple(run.tags.values()) for run in runs] == [(hour, hour)]
    with pytest.raises(LakeError, match=f"partition {hour} is an hour, and months goes by month"):
        runner.plan_runs(keys("hours", "months"), two_kinds, hour, None, None)
    with pytest.raises(LakeError, match=r"partition 2023-03-31 is a day, and months goes by month: .*, or give months"):
        runner.plan_runs(keys("hours", "months"), two_kinds, "2023-03-31", None, None)
    runs, _ = runner.plan_runs(keys("hours"), two_kinds, "2023-03-31", None, None)
    assert [tuple(run.tags.values()) for run in runs] == [("2023-03-31-00:00", "2023-03-31-23:00")], "a day of hours"
    for wrong in ("2023-03-31-24:00", "2023-02-29-00:00", "2023-03-31-05:30"):
        with pytest.raises(LakeError, match="an hour is written YYYY-MM-DD-HH:00"):
            runner.plan_runs(keys("hours"), two_kinds, wrong, None, None)


# -- dbt's arguments ---------------------------------------------------------------------------------------


def test_a_run_without_partitions_builds_every_month_instead_of_none() -> None:
    from orchestration.assets.dbt import build_args, window_vars

    assert window_vars([]) == {}
    settings = Settings(membership_zone="Asia/Tokyo")
    variables = '{"membership_zone": "Asia/Tokyo"}'
    assert build_args([], settings) == ["build", "--exclude-resource-type", "unit_test", "--vars", variables]


def test_hours_look_at_the_days_on_which_their_changes_may_lie() -> None:
    """The first hours of a day bring what was changed the evening before, and showed late."""
    from orchestration.assets.dbt import window_vars

    assert window_vars(["2023-04-01-01:00"]) == {"from_day": "2023-03-31", "to_day": "2023-04-01"}
    assert window_vars(["2023-04-01-23:00", "2023-04-01-02:00"]) == {"from_day": "2023-04-01", "to_day": "2023-04-01"}
    assert window_vars(["2023-03-31-01:00"]) == {"from_day": "2023-03-30", "to_day": "2023-03-31"}
    assert window_vars(["2023-03-31-00:00", "2023-04-02-00:00"]) == {"to_day": "2023-04-02"}, (
        "the first hour: all before"
    )


def test_a_backfill_is_one_window_from_its_first_to_its_last_month_in_any_order() -> None:
    from orchestration.assets.dbt import window_vars

    months = ["2023-03", "2023-01", "2023-02"]
    assert window_vars(months) == {"from_month": "2023-01-01", "to_month": "2023-03-01"}
    assert window_vars(months[:1]) == {"from_month": "2023-03-01", "to_month": "2023-03-01"}


def test_the_window_reaches_dbt_as_json_not_as_words_of_a_shell() -> None:
    import json

    from orchestration.assets.dbt import build_args, window_vars

    *_, option, value = build_args(["2023-01"], Settings())
    assert option == "--vars"
    window = {"from_month": "2023-01-01", "to_month": "2023-01-01"}
    assert json.loads(value) == {"membership_zone": "Asia/Taipei", **window}
    assert window_vars(["2023-03-31", "2023-03-30"]) == {"from_day": "2023-03-29", "to_day": "2023-03-31"}
    assert window_vars(["2023-03-29", "2023-03-30"]) == {}, "with the first day of changes all is built anew"


def results(*outcomes: tuple[str, str, str | None]) -> dict[str, Any]:
    return {"results": [{"status": s, "unique_id": f"model.lakegraph.{n}", "message": m} for s, n, m in outcomes]}


def test_the_cause_is_the_first_node_that_failed_not_those_it_held_up() -> None:
    from orchestration.assets.dbt import failure_cause

    run = results(
        ("success", "one", "OK"), ("fail", "two", "Got 3 results"), ("skipped", "three", None), ("error", "four", "no")
    )
    assert failure_cause(run) == "two: Got 3 results"


def test_a_message_over_several_lines_stays_the_first_line() -> None:
    from orchestration.assets.dbt import failure_cause

    run = results(("error", "trips", "Runtime Error\n  Catalog Error: Table with name x\n\n  does not exist!"))
    assert failure_cause(run) == "trips: Runtime Error Catalog Error: Table with name x does not exist!"


def test_a_failure_without_words_still_names_its_node() -> None:
    from orchestration.assets.dbt import failure_cause

    assert failure_cause(results(("error", "trips", None))) == "trips: error"


@pytest.mark.parametrize("run", [{}, {"results": []}, results(("success", "a", "OK"), ("warn", "b", "Got 1 result"))])
def test_a_run_in_which_nothing_failed_has_no_cause(run: dict[str, Any]) -> None:
    """A warning is no failure; a run that failed otherwise (a killed dbt) must not be blamed on a model."""
    from orchestration.assets.dbt import failure_cause

    assert failure_cause(run) == ""


def test_the_failed_test_of_a_source_keeps_its_name() -> None:
    from orchestration.assets.dbt import failure_cause

    unique_id = "test.lakegraph.not_null_mobility_users_email.1a2b3c"
    run = {"results": [{"status": "fail", "unique_id": unique_id, "message": "Got 1 result"}]}
    assert failure_cause(run) == "not_null_mobility_users_email.1a2b3c: Got 1 result"


# -- what was selected and did not happen --------------------------------------------------------------------


def test_an_asset_that_was_selected_and_not_made_fails_the_run(lake: Settings) -> None:
    """The fault: a model that was deleted stayed in the graph; its run skipped publishing, and was green."""
    specs = [dg.AssetSpec("made"), dg.AssetSpec("left_out", skippable=True)]

    @dg.multi_asset(specs=specs)
    def both() -> Iterator[dg.MaterializeResult[Any]]:
        yield dg.MaterializeResult(asset_key="made")

    run = runner.PlannedRun(frozenset(keys("made", "left_out")), {})
    summary = runner.materialize(dg.Definitions(assets=[both]), run, lake)
    assert not summary.success
    assert summary.cause == "left_out: was selected, and the run has not materialized it"


def test_an_asset_whose_system_is_not_set_is_left_alone_and_named(lake: Settings) -> None:
    specs = [dg.AssetSpec("made"), dg.AssetSpec("served", skippable=True)]

    @dg.multi_asset(specs=specs)
    def both() -> Iterator[Any]:
        yield dg.MaterializeResult(asset_key="made")
        yield not_configured(dg.AssetKey("served"), NotConfiguredError("starrocks: none is set"), ["CREATE …"])

    run = runner.PlannedRun(frozenset(keys("made", "served")), {})
    summary = runner.materialize(dg.Definitions(assets=[both]), run, lake)
    assert (summary.success, summary.cause) == (True, "")
    assert summary.skipped == {"served": "starrocks: none is set"}
    assert [row.asset for row in summary.rows] == ["made"]
    assert summary.lacking == keys("served")


def test_a_fault_in_a_declaration_is_one_line() -> None:
    from orchestration.cli import _fault

    try:
        try:
            TableSpec.model_validate(
                {"domain": "d", "name": "n", "description": "", "columns": {"a": {"type": "float"}}}
            )
        except ValueError as cause:
            raise RuntimeError("a tree\nof components") from cause
    except RuntimeError as error:
        fault = _fault(error)
    assert fault.startswith("columns.a.type: Value error, unknown type 'float'; one of boolean, long, double")
    assert "\n" not in fault


def test_a_test_of_dbt_that_fails_says_how_many_rows_it_found() -> None:
    @dg.asset
    def totals() -> None: ...

    @dg.asset_check(asset=totals)
    def adds_up() -> dg.AssetCheckResult:
        found = {"dagster_dbt/failed_row_count": 1_007}  # dagster-dbt's metadata; it gives no description
        return dg.AssetCheckResult(passed=False, severity=dg.AssetCheckSeverity.WARN, metadata=found)

    (evaluation,) = dg.materialize([totals, adds_up]).get_asset_check_evaluations()
    assert runner._rows_found(evaluation) == "1,007 rows"
