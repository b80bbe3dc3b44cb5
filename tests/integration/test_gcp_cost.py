"""What jobs on the target gcp say, may cost and did cost: labels, limits, estimates and the audit, on the emulator."""

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import gcp
import lakes
import pytest
import sqlglot
from google.cloud import bigquery
from sqlglot import exp

from lake.cost import audit_jobs, estimate
from lake.errors import LakeError
from lake.gcp import bigquery_client
from lake.settings import Settings, get_settings
from orchestration.assets import cost
from orchestration.checks.estimated_cost import compiled_sql, verdicts
from orchestration.dbt_costs import Answers, cost_metadata
from orchestration.runner import open_instance

pytestmark = pytest.mark.gcp

LAKEGRAPH = Path(sys.executable).with_name("lakegraph")
BRONZE, SILVER = "bronze-mobility_fhv_trips", "silver-mobility_fhv_trips__duplicates"
RUN_SECONDS = 300
OF_DLT = {"_dlt_loads", "_dlt_version", "_dlt_pipeline_state", "INFORMATION_SCHEMA.COLUMNS"}


@pytest.fixture(scope="module")
def settings(gcp_environment, tmp_path_factory) -> Iterator[Settings]:
    """The emulators under a home of this module's own, with a budget that nothing keeps."""
    home = tmp_path_factory.mktemp("cost")
    own = {
        "LAKEGRAPH_HOME": str(home),
        "DAGSTER_HOME": str(home / "dagster"),
        "LAKEGRAPH_GCP_RUN_BUDGET_BYTES": "1",
        "LAKEGRAPH_TLC_BASE": endpoint(gcp_environment, "tlc_base"),
        "LAKEGRAPH_USERS_API": endpoint(gcp_environment, "users_api"),
    }
    with gcp.variables({**gcp_environment, **own}):
        get_settings.cache_clear()
        yield Settings()
    get_settings.cache_clear()


def endpoint(environment: dict[str, str], name: str) -> str:
    with gcp.variables(environment):
        return Settings().endpoint(name)


@pytest.fixture(scope="module")
def run(settings) -> dg.DagsterRun:
    """A run over one table of bronze and one model."""
    command = [
        str(LAKEGRAPH),
        "materialize",
        "--select",
        "bronze/mobility/fhv_trips silver/mobility/fhv_trips__duplicates",
    ]
    done = subprocess.run(
        [*command, "--partition", "2023-01"], capture_output=True, text=True, check=False, timeout=RUN_SECONDS
    )
    assert done.returncode == 0, done.stdout + done.stderr
    with open_instance(settings) as instance:
        return instance.get_runs(limit=1)[0]


@pytest.fixture(scope="module")
def events(settings, run) -> list[dg.DagsterEvent]:
    with open_instance(settings) as instance:
        return [entry.dagster_event for entry in instance.all_logs(run.run_id) if entry.dagster_event]


def jobs(client: bigquery.Client, run_id: str) -> list[Any]:
    found = client.list_jobs(min_creation_time=datetime.now(UTC) - timedelta(hours=1), max_results=1000)
    return [job for job in found if (job.labels or {}).get("run") == run_id]


def test_every_job_of_a_run_says_whose_it_is(settings, run):
    client = bigquery_client(settings.gcp())
    found = jobs(client, run.run_id)
    assert {job.labels["app"] for job in found} == {"lakegraph"}
    by_asset: dict[str, set[str]] = {}
    for job in found:
        by_asset.setdefault(job.labels["asset"], set()).add(job.labels["partition"])
    assert by_asset[BRONZE] == {"", "2023-01-01"}  # questions about the table, and the load of its month
    assert by_asset[SILVER] == {"2023-01-01"}
    tests = {"not_null_mobility_fhv_trips__duplicates_key_hash", "not_null_mobility_fhv_trips__duplicates_copies"}
    assert tests <= set(by_asset), sorted(by_asset)
    assert all(job.labels["dbt_invocation_id"] for job in found if not job.labels["asset"].startswith("bronze-"))
    python = [job for job in found if job.labels["asset"] == BRONZE and job.parent_job_id is None]
    assert {job.maximum_bytes_billed for job in python} == {settings.gcp_maximum_bytes_billed}


def dlts(statement: exp.Expression) -> bool:
    """Whether it is one of those that dlt, which lets nobody set labels, sends beside its loads: about its own state, and
    to define staging tables. Whatever reads rows of a staging table, or names a table elsewhere, is ours.
    """
    if statement.sql("bigquery") == "DECLARE table_exists BOOL":
        return True
    tables = [(table.db, table.name) for table in statement.find_all(exp.Table)]
    if {dataset for dataset, _ in tables} != {"bronze_staging"}:
        return False
    defines = isinstance(statement, exp.Create | exp.Alter) and not statement.find(exp.Query)
    return defines or {name for _, name in tables} <= OF_DLT


def test_no_query_of_ours_is_without_its_run(settings, run):
    with open_instance(settings) as instance:
        record = instance.get_run_records(dg.RunsFilter([run.run_id]))[0]
    began, ended = (datetime.fromtimestamp(seconds, UTC) for seconds in (record.start_time, record.end_time))
    client = bigquery_client(settings.gcp())
    found = client.list_jobs(min_creation_time=began, max_creation_time=ended, max_results=1000)
    others = [job for job in found if (job.labels or {}).get("run") != run.run_id]
    assert [job.job_id for job in others if (job.labels or {}).get("app")] == []
    queries = [job.query for job in others if job.job_type != "load"]
    assert [sql for sql in queries if not all(map(dlts, sqlglot.parse(sql, dialect="bigquery")))] == []


def test_a_model_has_what_its_job_used_as_metadata(settings, run, events):
    (made,) = [e for e in events if e.is_step_materialization and e.asset_key.path[0] == "silver"]
    metadata = made.step_materialization_data.materialization.metadata
    job = bigquery_client(settings.gcp()).get_job(metadata["job_id"].value)
    assert job.labels["asset"] == SILVER
    assert metadata["job_bytes_processed"].value == job.total_bytes_processed > 0
    assert metadata["job_bytes_billed"].value == job.total_bytes_billed >= 10 << 20
    assert metadata["job_slot_seconds"].value >= 0
    table = "`silver`.`mobility_fhv_trips__duplicates`"
    sql = f"SELECT count(*) FROM {table} WHERE source_month >= DATE '0001-01-01'"
    ((rows,),) = (row.values() for row in bigquery_client(settings.gcp()).query_and_wait(sql))
    assert metadata["dagster/row_count"].value == rows


def test_an_estimate_over_the_budget_warns_and_says_how_much(events):
    (check,) = [
        e.event_specific_data
        for e in events
        if e.event_type_value == "ASSET_CHECK_EVALUATION" and e.event_specific_data.check_name == "estimated_cost"
    ]
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    metadata = {name: value.value for name, value in check.metadata.items()}
    assert metadata["estimated_bytes"] > metadata["budget_bytes"] == 1
    assert metadata["months"] == "2023-01"
    assert "LAKEGRAPH_GCP_RUN_BUDGET_BYTES" in check.description


def test_a_check_by_itself_has_what_is_missing_compiled_for_every_month(settings, run):
    """What the run's build compiled is taken as it is; dbt is started once, for the rest."""
    here, missing = (
        {"name": name, "package_name": "p", "original_file_path": f"{name}.sql"} for name in ("here", "gone")
    )
    alone = dg.DagsterRun("j", run_id="alone", tags={"dagster/partition": "2023-01"})
    started: list[list[str]] = []

    class Dbt:
        def run(self, args: list[str], settings: Settings, run_id: str, **_: Any) -> Any:
            started.append(args)
            compiled_sql(settings.dbt_target / run_id, missing).write_text("SELECT 1")
            return SimpleNamespace(wait=lambda: None)

    compiled = compiled_sql(settings.dbt_target / "alone", here)
    compiled.parent.mkdir(parents=True)
    compiled.write_text("SELECT count(*) FROM silver.mobility_fhv_trips__duplicates WHERE source_month = '2023-01-01'")
    models = {dg.AssetKey(node["name"]): node for node in (here, missing)}
    found = {check.asset_key.path[0]: check for check in verdicts(models, Dbt(), settings, alone)}
    assert started == [["compile", "--select", "gone"]]
    assert {name: (check.passed, check.metadata["months"].value) for name, check in found.items()} == {
        "here": (False, "2023-01"),
        "gone": (True, "every month"),
    }


def test_an_estimate_runs_nothing_and_names_what_is_wrong(settings, run):
    client = bigquery_client(settings.gcp())
    with pytest.raises(LakeError, match=r"^estimate of a model: .*nowhere") as raised:
        estimate(client, "SELECT * FROM bronze.nowhere", "a model")
    assert "\n" not in str(raised.value)


def test_the_audit_lists_what_was_run_and_warns_over_the_budget(settings, run, monkeypatch):
    """The stand-in also remembers the jobs of tests before this one: the lists are made long enough to hold all."""
    monkeypatch.setattr(cost, "TOP", 100_000)
    with dg.DagsterInstance.ephemeral() as instance:
        done = dg.materialize([cost.cost], instance=instance)
    (made,) = done.asset_materializations_for_node("ops__cost")
    metadata = {name: value.value for name, value in made.metadata.items() if name not in {"by_asset", "by_run"}}
    listed = {
        table: {row.data[heading]: row.data for row in made.metadata[table].records}
        for table, heading in (("by_asset", "asset"), ("by_run", "run"))
    }
    assert {BRONZE, SILVER} <= set(listed["by_asset"])
    processed = [usage["bytes_processed"] for usage in listed["by_asset"].values()]
    assert processed == sorted(processed, reverse=True)
    ours = [job for job in jobs(bigquery_client(settings.gcp()), run.run_id) if job.parent_job_id is None]
    row = listed["by_run"][run.run_id]
    assert (row["jobs"], row["bytes_billed"]) == (len(ours), sum(job.total_bytes_billed or 0 for job in ours))
    assert metadata["bytes_billed"] >= row["bytes_billed"] > 0
    assert metadata["days"] == 1
    (check,) = done.get_asset_check_evaluations()
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "over 1 bytes" in check.description


def test_the_audit_keeps_within_a_budget_that_is_enough(settings, run):
    audit = audit_jobs(settings, days=1, run_id="test")
    assert audit.over(10**15) == []
    assert (SILVER, run.run_id) in {(usage.asset, usage.run) for usage in audit.over(1)}
    assert sum(usage.jobs for usage in audit.by_asset()) == audit.total.jobs


@pytest.mark.parametrize("days", [0, 181])
def test_the_audit_looks_back_for_as_long_as_bigquery_remembers(settings, days):
    with pytest.raises(LakeError, match=f"days must be between 1 and 180, not {days}"):
        audit_jobs(settings, days=days, run_id="test")


def test_a_query_over_the_limit_is_refused_in_one_line(settings, run):
    strict = Settings(gcp_maximum_bytes_billed=1)
    with pytest.raises(
        LakeError, match=r"limit for bytes billed: 1\. .*raise LAKEGRAPH_GCP_MAXIMUM_BYTES_BILLED$"
    ) as raised:
        lakes.load_table(strict, "fhv_trips", "2023-01", run_id="refused")
    assert "\n" not in str(raised.value)
    assert any(job.error_result for job in jobs(bigquery_client(settings.gcp()), "refused"))


def test_rows_are_the_tables_only_where_the_whole_table_was_made():
    assert cost_metadata({"code": "CREATE TABLE", "rows_affected": 4.0}) == {"dagster/row_count": 4}
    assert cost_metadata({"code": "MERGE", "rows_affected": 4.0}) == {"job_rows_changed": 4}
    assert cost_metadata({}) == {}


def test_a_log_that_does_not_say_costs_no_run(tmp_path, monkeypatch):
    """The patience is set to nothing: the log will never say more, and no test need wait to find that out."""
    monkeypatch.setattr("orchestration.dbt_costs.PATIENCE_SECONDS", 0.0)
    log = tmp_path / "dbt.log"
    assert Answers(log).of("model.a", "i") == {}
    log.write_text(
        '{"info": {"name": "NodeFinished", "invocation_id": "i"}, "data": {"node_info": {"unique_id": "model.a'
    )
    assert Answers(log).of("model.a", "i") == {}
