"""The whole graph against `graph.json` beside this file, and what it promises whatever it holds.

`UPDATE_SNAPSHOT=1 pytest tests/graph/test_snapshot.py` rewrites the snapshot; read the difference before committing it.
"""

import difflib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.freshness import CronFreshnessPolicy

from orchestration import project
from orchestration.partitions import PARTITIONS, PartitionName

SNAPSHOT = Path(__file__).with_name("graph.json")
BLOCKING_CHECKS_PASSED = "all_deps_blocking_checks_passed"
DUCKDB_POOL = "duckdb_writer"
HOUR = timedelta(hours=1)
READERS = ["serving/looker_studio", "serving/power_bi"]
WITHOUT_RETRY = {
    "ops/maintenance": "comes again the next night, and a commit lost to another writer is retried inside",
    "serving/kpi_report": "reads one local file that is only ever replaced whole: what fails once fails again",
}


@pytest.fixture(scope="module")
def defs() -> dg.Definitions:
    project.prepare()
    from orchestration.definitions import defs

    return defs


@pytest.fixture(scope="module")
def graph(defs: dg.Definitions) -> Any:
    return defs.resolve_asset_graph()


@pytest.fixture(scope="module")
def everything(graph: Any) -> dict[str, Any]:
    return {key.to_user_string(): graph.get(key) for key in sorted(graph.get_all_asset_keys())}


@pytest.fixture(scope="module")
def nodes(everything: dict[str, Any]) -> dict[str, Any]:
    """What is made here: all but those who only read."""
    return {key: node for key, node in everything.items() if key not in READERS}


# -- the snapshot ------------------------------------------------------------------------------------------


def describe(defs: dg.Definitions) -> dict[str, Any]:
    """All of the graph that a reviewer wants to see change, and nothing that differs between two machines."""
    graph, repository = defs.resolve_asset_graph(), defs.get_repository_def()
    nodes = [graph.get(key) for key in sorted(graph.get_all_asset_keys())]
    conditions = {n.automation_condition.get_label(): n.automation_condition for n in nodes if n.automation_condition}
    return {
        "assets": {node.key.to_user_string(): describe_asset(graph, node) for node in nodes},
        "automation": {label: list(outline(condition)) for label, condition in sorted(conditions.items())},
        "jobs": {j.name: describe_job(j) for j in sorted(repository.get_all_jobs(), key=lambda j: j.name)},
        "schedules": {
            s.name: {"cron": s.cron_schedule, "job": s.job_name, "zone": s.execution_timezone or "UTC"}
            | {"status": s.default_status.value}
            for s in sorted(repository.schedule_defs, key=lambda s: s.name)
        },
        "sensors": {
            s.name: {"every_seconds": s.minimum_interval_seconds, "status": s.default_status.value}
            | {"watches": watched(s)}
            for s in sorted(repository.sensor_defs, key=lambda s: s.name)
        },
    }


def describe_asset(graph: Any, node: Any) -> dict[str, Any]:
    condition, retry = node.automation_condition, retry_policy(node)
    return {
        "deps": sorted(key.to_user_string() for key in node.parent_keys),
        "group": node.group_name,
        "kinds": sorted(node.kinds),
        "owners": list(node.owners),
        "partitions": partitions(node.partitions_def),
        "pool": node.assets_def.node_def.pool if node.is_executable else None,
        "retries": retry.max_retries if retry else 0,
        "automation": condition.get_label() if condition else None,
        "freshness": freshness(node.freshness_policy),
        "backfill": str(node.backfill_policy) if node.backfill_policy else None,
        "table_name": node.metadata.get("dagster/table_name"),
        "checks": {
            key.name: "blocking" if graph.get(key).blocking else "reports"
            for key in sorted(node.check_keys, key=lambda key: key.name)
        },
    }


def describe_job(job: dg.JobDefinition) -> dict[str, Any] | str:
    if job.name == "__ASSET_JOB":
        return "everything"
    layer = job.asset_layer
    assets = sorted(key.to_user_string() for key in layer.executable_asset_keys)
    checks = sorted(f"{key.asset_key.to_user_string()}: {key.name}" for key in layer.asset_graph.asset_check_keys)
    return {"assets": assets, "checks": checks}


def retry_policy(node: Any) -> dg.RetryPolicy | None:
    return node.assets_def.node_def.retry_policy if node.is_executable else None


def partitions(definition: Any) -> str | None:
    if definition is None:
        return None
    clock = f"{definition.cron_schedule!r} {definition.timezone}, end offset {definition.end_offset}"
    return f"{definition.fmt} from {definition.start:%Y-%m-%d} by {clock}"


def freshness(policy: Any) -> str | None:
    if policy is None:
        return None
    if isinstance(policy, CronFreshnessPolicy):
        hours = policy.lower_bound_delta.total_seconds() / 3600
        return f"by {policy.deadline_cron!r} {policy.timezone}, made in the {hours:g} h before"
    fail, warn = (timedelta(days=d.days, seconds=d.seconds) for d in (policy.fail_window, policy.warn_window))
    return f"warn after {warn / HOUR:g} h, fail after {fail / HOUR:g} h"


def watched(sensor: Any) -> str:
    if isinstance(sensor, dg.AutomationConditionSensorDefinition):
        return str(sensor.asset_selection)
    return f"starts {sensor.job_name}" if sensor.targets else "events"


def outline(condition: Any, depth: int = 0) -> Iterator[str]:
    """A condition as an indented outline, so that a change deep inside shows."""
    yield "  " * depth + (condition.get_label() or condition.name)
    for child in condition.children:
        yield from outline(child, depth + 1)


def check_snapshot(text: str, snapshot: Path) -> None:
    if os.getenv("UPDATE_SNAPSHOT") == "1":
        snapshot.write_text(text)
    known = snapshot.read_text() if snapshot.exists() else ""
    if text == known:
        return
    lines = difflib.unified_diff(
        known.splitlines(), text.splitlines(), snapshot.name, "the graph as it is", lineterm="", n=6
    )
    pytest.fail(
        "the graph has changed; if it was meant to, run UPDATE_SNAPSHOT=1 pytest tests/graph/test_snapshot.py\n"
        + "\n".join(lines),
        pytrace=False,
    )


def as_text(defs: dg.Definitions) -> str:
    return json.dumps(describe(defs), indent=1, ensure_ascii=False) + "\n"


def test_the_graph_is_as_reviewed(defs: dg.Definitions) -> None:
    check_snapshot(as_text(defs), SNAPSHOT)


@pytest.fixture(scope="module")
def cloud() -> str:
    """The graph of the target gcp, from a process of its own: the target is read when the graph is imported."""
    code = (
        "from orchestration import project; project.prepare(); import test_snapshot; "
        "from orchestration.definitions import defs; print(test_snapshot.as_text(defs), end='')"
    )
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("LAKEGRAPH_", "GOOGLE_"))}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent,
        env={**kept, "LAKEGRAPH_TARGET": "gcp"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_the_graph_of_the_cloud_target_is_as_reviewed_and_needs_no_project(cloud: str) -> None:
    check_snapshot(cloud, SNAPSHOT.with_name("graph_gcp.json"))


def test_both_targets_carry_the_same_tables(defs: dg.Definitions, cloud: str) -> None:
    here, there = describe(defs)["assets"], json.loads(cloud)["assets"]
    layers = ("bronze/", "silver/", "gold/")
    assert [key for key in here if key.startswith(layers)] == [key for key in there if key.startswith(layers)]
    for key in (key for key in here if key.startswith(layers)):
        assert here[key]["partitions"] == there[key]["partitions"], key
        assert set(here[key]["checks"]) <= set(there[key]["checks"]), key


# -- promises ----------------------------------------------------------------------------------------------


def layer(nodes: dict[str, Any], *names: str) -> dict[str, Any]:
    found = {key: node for key, node in nodes.items() if key.split("/")[0] in names}
    assert found, f"no asset in {names}: a promise about nothing"
    return found


def all_upstream(graph: Any, key: dg.AssetKey) -> set[dg.AssetKey]:
    """Everything that `key` rests on."""
    found: set[dg.AssetKey] = set()
    ahead = set(graph.get(key).parent_keys)
    while ahead:
        found |= ahead
        ahead = {parent for k in ahead for parent in graph.get(k).parent_keys} - found
    return found


def blocking_checks(graph: Any, key: dg.AssetKey) -> set[str]:
    return {check.name for check in graph.get(key).check_keys if graph.get(check).blocking}


def offenders(nodes: dict[str, Any], keeps: Callable[[Any], bool]) -> list[str]:
    return [key for key, node in nodes.items() if not keeps(node)]


@pytest.mark.parametrize("attribute", ["owners", "group_name", "kinds", "description"])
def test_every_asset_says_what_it_is(everything: dict[str, Any], attribute: str) -> None:
    nodes = everything
    assert offenders(nodes, lambda node: bool(getattr(node, attribute))) == []
    assert offenders(nodes, lambda node: node.group_name == node.key.path[0]) == [], "a group is a layer"
    assert offenders(nodes, lambda node: len(node.kinds) <= 3) == [], "Dagster shows three kinds"


def test_every_asset_can_be_materialized_but_those_that_only_read(everything: dict[str, Any]) -> None:
    """A misspelt source in a dbt model would otherwise become a phantom upstream that nothing builds."""
    assert offenders(everything, lambda node: node.is_materializable) == READERS
    for key in READERS:
        parents = {parent.path[0] for parent in everything[key].parent_keys}
        assert parents == {"gold"}, key


def test_every_table_has_its_name_in_the_warehouse(nodes: dict[str, Any]) -> None:
    tables = layer(nodes, "bronze", "silver", "gold")
    names = {key: node.metadata.get("dagster/table_name") for key, node in tables.items()}
    assert names == {key: "{}.{}_{}".format(*key.split("/")) for key in tables}


def test_every_bronze_table_shows_its_columns_before_its_first_load(nodes: dict[str, Any]) -> None:
    for key, node in layer(nodes, "bronze").items():
        columns = node.metadata["dagster/column_schema"].columns
        assert columns, key
        assert [c.name for c in columns if not c.description] == [], key
        partition = [c.name for c in columns if c.type == "date" and c.name in {"source_month", "source_day"}]
        assert bool(partition) == bool(node.partitions_def), key


def test_every_bronze_table_accounts_for_its_rows_and_needs_infrastructure(graph: Any, nodes: dict[str, Any]) -> None:
    for key, node in layer(nodes, "bronze").items():
        assert "row_accounting" in blocking_checks(graph, node.key), key
        assert "infra/iceberg_namespaces" in {k.to_user_string() for k in node.parent_keys}, key


def test_every_gold_table_rests_on_blocking_checks_all_the_way_down(graph: Any, nodes: dict[str, Any]) -> None:
    """Wherever its rows come from, something stands between a lost row and the people who read the table."""
    for name, node in layer(nodes, "gold").items():
        assert blocking_checks(graph, node.key), f"{name} has no blocking check of its own"
        above = {key.to_user_string(): key for key in all_upstream(graph, node.key)}
        bronze = {n: k for n, k in above.items() if n.startswith("bronze/")}
        assert bronze, f"{name} rests on no bronze table"
        for source, key in bronze.items():
            assert "row_accounting" in blocking_checks(graph, key), f"{name} rests on {source}"
        for table, key in above.items():
            if table.startswith("silver/"):
                assert blocking_checks(graph, key), f"{name} rests on {table}, which nothing checks"


def test_gold_waits_for_the_account_of_every_partitioned_silver_table_it_reads(
    graph: Any, nodes: dict[str, Any]
) -> None:
    accounts = [key for key in nodes if key.endswith("__accounting")]
    assert accounts
    for name, node in layer(nodes, "gold").items():
        parents = {key.to_user_string() for key in node.parent_keys}
        for account in accounts:
            if account.removesuffix("__accounting") in parents:
                assert account in parents, f"{name} does not wait for {account}"
    for account in accounts:
        assert any(c.startswith("row_accounting") for c in blocking_checks(graph, nodes[account].key)), account


def test_every_partitioned_bronze_table_has_an_account_in_silver(graph: Any, nodes: dict[str, Any]) -> None:
    partitioned = {key for key, node in layer(nodes, "bronze").items() if node.partitions_def}
    accounts = [node.key for key, node in layer(nodes, "silver").items() if key.endswith("__accounting")]
    accounted = {key.to_user_string() for account in accounts for key in all_upstream(graph, account)}
    assert partitioned - accounted == set()


def test_one_writer_of_the_duckdb_file(defs: dg.Definitions, nodes: dict[str, Any]) -> None:
    """A second process that opens the file while one writes gets an IOException."""
    named = {"infra/duckdb_schemas", "serving/duckdb", *layer(nodes, "silver", "gold")}
    by_kind = {key for key, node in nodes.items() if "duckdb" in node.kinds}
    assert named == by_kind
    assert [key for key in sorted(named) if nodes[key].assets_def.node_def.pool != DUCKDB_POOL] == []
    ops = defs.resolve_implicit_global_asset_job_def().all_node_defs
    dbt = [op for op in ops if "dbt" in op.required_resource_keys]
    assert {op.name for op in dbt} == {"dbt_build", "source_freshness"}
    assert [op.name for op in dbt if op.pool != DUCKDB_POOL] == []
    drift = [op for op in ops if "drift" in op.name and "duckdb" in op.name]
    assert drift
    assert [op.name for op in drift if op.pool != DUCKDB_POOL] == []


def test_bronze_loads_share_no_pool(nodes: dict[str, Any]) -> None:
    """Partitions and tables load in parallel: Iceberg's commits are retried, the DuckDB file is not touched."""
    assert offenders(layer(nodes, "bronze"), lambda node: node.assets_def.node_def.pool is None) == []


def test_every_asset_is_tried_again_or_says_why_not(nodes: dict[str, Any]) -> None:
    assert offenders(nodes, lambda node: retry_policy(node) is not None) == sorted(WITHOUT_RETRY)


def test_loads_wait_longer_with_each_try(nodes: dict[str, Any]) -> None:
    for key, node in layer(nodes, "bronze").items():
        policy = retry_policy(node)
        assert policy, key
        assert policy.max_retries >= 2, key
        assert (policy.backoff, policy.jitter) == (dg.Backoff.EXPONENTIAL, dg.Jitter.PLUS_MINUS), key


def test_a_range_of_partitions_is_one_run(nodes: dict[str, Any]) -> None:
    partitioned = {key: node for key, node in nodes.items() if node.partitions_def}
    assert partitioned
    assert offenders(partitioned, lambda node: node.backfill_policy == dg.BackfillPolicy.single_run()) == []


@pytest.mark.parametrize(("domain", "name"), [("mobility", "monthly"), ("shop", "hourly")])
def test_all_partitions_of_a_domain_are_the_same(nodes: dict[str, Any], domain: str, name: PartitionName) -> None:
    """A dependency between different partitions would need a mapping that nobody has written."""
    found = {key: node for key, node in nodes.items() if f"/{domain}/" in key}
    assert found
    assert [key for key, node in found.items() if node.partitions_def not in {None, PARTITIONS[name]}] == []


def test_nothing_is_renewed_behind_a_failed_blocking_check(nodes: dict[str, Any]) -> None:
    """The term has to be a conjunct at the top: inside an OR it would not stop anything."""
    for key, node in layer(nodes, "silver", "gold", "serving").items():
        assert node.automation_condition, f"{key} is renewed by nobody"
        assert BLOCKING_CHECKS_PASSED in conjuncts(node.automation_condition), key


def conjuncts(condition: Any) -> set[str]:
    """The labels of all that has to hold."""
    if type(condition).__name__ != "AndAutomationCondition":
        return {condition.get_label() or condition.name}
    return {label for child in condition.children for label in conjuncts(child)}


def test_bronze_and_infrastructure_are_never_started_by_automation(nodes: dict[str, Any]) -> None:
    assert offenders(layer(nodes, "bronze", "infra", "ops"), lambda node: node.automation_condition is None) == []


def test_the_automation_sensor_sees_every_condition(defs: dg.Definitions, graph: Any, nodes: dict[str, Any]) -> None:
    sensor = defs.get_repository_def().get_sensor_def("automation")
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
    seen = {key.to_user_string() for key in sensor.asset_selection.resolve(graph)}
    assert {key for key, node in nodes.items() if node.automation_condition} <= seen


def test_what_people_read_has_a_deadline(nodes: dict[str, Any]) -> None:
    loaded = layer(nodes, "bronze")
    assert [key for key, node in loaded.items() if node.partitions_def and not node.freshness_policy] == []
    assert (
        offenders(
            {k: n for k, n in layer(nodes, "gold").items() if n.partitions_def}, lambda n: bool(n.freshness_policy)
        )
        == []
    )


def test_every_part_of_the_infrastructure_is_checked_for_drift(nodes: dict[str, Any]) -> None:
    assert offenders(layer(nodes, "infra"), lambda node: "drift" in {c.name for c in node.check_keys}) == []


def test_no_data_goes_through_an_io_manager(graph: Any, nodes: dict[str, Any]) -> None:
    """Dagster's default IO manager pickles: steps hand over table names, never rows."""
    for key, node in nodes.items():
        assert node.assets_def.node_def.input_defs == [] or all(
            d.dagster_type.is_nothing for d in node.assets_def.node_def.input_defs
        ), key
