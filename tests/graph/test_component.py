"""A bronze table from one YAML file: what it becomes in the graph, what is refused, and what its step does."""

import importlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import lakes
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml
from dagster.components.testing import create_defs_folder_sandbox

from dlt_sources import tlc as tlc_source
from infra_assets.assets import build_infra_assets
from infra_assets.steps import step_failures
from lake import iceberg
from lake.accounting import LoadAccount
from lake.errors import LakeError, TransientError
from lake.load import LoadRequest, SourceReport
from lake.settings import Settings, get_settings
from orchestration import components
from orchestration.components import BronzeTable, bronze_table
from sandbox import tlc
from tests.workbooks import TOP_UP, top_up, workbook

DEFS = lakes.ROOT / "orchestration" / "defs"
RANGE = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
ROWS = {"2023-01": 120, "2023-02": 140, "2023-03": 160}
GREEN = dg.AssetKey(["bronze", "mobility", "green_trips"])
STORES: dict[str, Any] = {
    "table": {
        "domain": "shop",
        "name": "stores",
        "description": "Stores of the shop.",
        "columns": {"id": {"type": "long", "required": True, "description": "Number."}, "city": {"type": "string"}},
        "unique": ["id"],
    },
    "source": "dlt_sources.tlc.zones",
    "params": {"files": ["stores.csv"]},
    "cron": "0 5 * * *",
    "kinds": ["csv"],
}


def component(**changes: Any) -> BronzeTable:
    """The declaration of the green trips, changed."""
    text = (DEFS / "mobility" / "green_trips" / "defs.yaml").read_text()
    return BronzeTable.resolve_from_dict({**yaml.safe_load(text)["attributes"], **changes})


# -- from YAML to the graph --------------------------------------------------------------------------------


def snapshot(defs: dg.Definitions) -> dict[str, Any]:
    """What the definitions hold, comparable."""
    graph = defs.resolve_asset_graph()
    repository = defs.get_repository_def()
    return {
        **{
            key.to_user_string(): (node.group_name, node.kinds, node.owners, node.description, sorted(node.parent_keys))
            for key in graph.get_all_asset_keys()
            if (node := graph.get(key)) and key.path[0] == "bronze"
        },
        **{f"job {job.name}": job.name for job in repository.get_all_jobs() if not job.name.startswith("__")},
        **{f"schedule {s.name}": s.cron_schedule for s in repository.schedule_defs},
        **{f"sensor {s.name}": s.job_name for s in repository.sensor_defs},
    }


def test_a_new_table_is_one_new_file() -> None:
    infra = dg.Definitions(assets=build_infra_assets())
    with create_defs_folder_sandbox() as sandbox:
        shutil.copytree(DEFS, sandbox.defs_folder_path, dirs_exist_ok=True)
        with sandbox.build_all_defs() as defs:
            before = snapshot(dg.Definitions.merge(infra, defs))
        folder = sandbox.defs_folder_path / "shop" / "stores"
        folder.mkdir(parents=True)
        declaration = {"type": "orchestration.components.BronzeTable", "attributes": STORES}
        (folder / "defs.yaml").write_text(yaml.safe_dump(declaration, sort_keys=False))
        with sandbox.build_all_defs() as defs:
            merged = dg.Definitions.merge(infra, defs)
            after, node = snapshot(merged), merged.resolve_asset_graph().get(dg.AssetKey(["bronze", "shop", "stores"]))

    assert {name for name in before if name.startswith("bronze/")} == {
        f"bronze/{path.parent.parent.name}/{path.parent.name}" for path in DEFS.rglob("defs.yaml")
    }
    assert {name: after[name] for name in before} == before, "no other table has changed"
    assert after.keys() - before.keys() == {
        "bronze/shop/stores",
        "job load_shop_stores",
        "schedule load_shop_stores_schedule",
    }
    assert node.kinds == {"dlt", "iceberg", "csv"}
    assert node.description == "Stores of the shop."
    assert node.metadata["dagster/table_name"] == "bronze.shop_stores"
    columns = node.metadata["dagster/column_schema"].columns
    assert [(c.name, c.type, c.description) for c in columns] == [
        ("id", "bigint", "Number."),
        ("city", "varchar", None),
    ]
    assert {check.name for check in node.check_keys} == {"row_accounting", "schema_drift"}


def test_the_source_of_every_declared_table_exists() -> None:
    """The graph imports no source: a misspelt name would only be found by the first load."""
    files = sorted(DEFS.rglob("defs.yaml"))
    assert files
    for path in files:
        module, _, function = yaml.safe_load(path.read_text())["attributes"]["source"].rpartition(".")
        assert callable(getattr(importlib.import_module(module), function)), path


def test_the_component_is_found_by_its_short_name() -> None:
    assert components.BronzeTable is BronzeTable
    assert components.BronzeTable.__module__ == "orchestration.components.bronze_table"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("type: string", "type: text", r"columns\.city\.type.*\n.*unknown type 'text'; one of boolean, long, double"),
        ("type: string", "type: decimal(x)", r"unknown type 'decimal\(x\)'"),
        ("source: dlt", "sourc: dlt", r"sourc at .*\n.*Extra inputs are not permitted"),
        ("kinds:", "kind:", r"kind at .*\n.*Extra inputs are not permitted"),
        ("unique:", "uniqe:", r"table.*uniqe at .*\n.*Extra inputs are not permitted"),
        ("required:", "requred:", r"columns\.id\.requred at .*\n.*Extra inputs are not permitted"),
        ("description: Stores", "descripton: Stores", r"table.*description at .*\n.*Field required"),
        ("city:", "ID:", "two columns differ only in case"),
        ("city:", "ci ty:", "not identifiers: ci ty"),
        ("domain: shop", "domain: ../../etc", r"domain at .*\n.*'\.\./\.\./etc' is not an identifier"),
        ("name: stores", "name: x; drop table y", r"name at .*\n.*'x; drop table y' is not an identifier"),
        ("name: stores", "name: 'stores\n\n    x'", "is not an identifier"),
        ("name: stores", "name: ''", "'' is not an identifier"),
        ("kinds:", "partitions: weekly\nkinds:", r"partitions\n.*Input should be 'monthly'"),
        ("kinds:", "fresh: yearly\nkinds:", r"fresh\n.*Input should be 'monthly', 'daily', 'morning' or 'hourly'"),
        ("kinds:", "watch: true\nkinds:", "watch needs partitions and params.files, layout or prefix"),
        ("kinds:", "partitions: monthly\nkinds:", "partitions, table.partition_column and a mode other"),
        ("  unique:", "  partition_column: day\n  unique:", "partitions, table.partition_column and a mode other"),
        ("  unique:", "  mode: merge\n  unique:", r"mode at .*\n.*'replace_partition', 'replace' or 'append'"),
        ("  unique:", "  mode: append\n  unique:", "mode: append and identity go together"),
    ],
)
def test_a_declaration_that_is_wrong_says_where_and_why(old: str, new: str, message: str) -> None:
    text = yaml.safe_dump(STORES, sort_keys=False)
    assert BronzeTable.resolve_from_yaml(text)
    assert old in text
    with pytest.raises(Exception) as raised:  # noqa: PT011 - Dagster's error type is private
        BronzeTable.resolve_from_yaml(text.replace(old, new, 1))
    assert re.search(message, str(raised.value)), str(raised.value)


def test_a_partitioned_table_that_each_month_would_replace_whole_is_refused() -> None:
    """The fault: with `mode` left out, February's load would have removed January."""
    table = component().table.model_dump(exclude_defaults=True) | {"mode": "replace"}
    with pytest.raises(Exception, match="and a mode other than replace go together"):
        component(table=table)


def test_a_clock_that_is_none_is_refused() -> None:
    with pytest.raises(dg.DagsterInvalidDefinitionError, match="invalid cron schedule '61"):
        BronzeTable.resolve_from_dict({**STORES, "cron": "61 * * * *"}).build_defs(
            dg.ComponentTree.for_test().load_context
        )


# -- the step ----------------------------------------------------------------------------------------------


@pytest.fixture
def home(lake: Settings, files: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """The process's settings are those of a lake of the test's own, with three generated months to read."""
    for month, rows in ROWS.items():
        tlc.write("green", month, files, rows)
    monkeypatch.setenv("LAKEGRAPH_HOME", str(lake.home))
    monkeypatch.setenv("LAKEGRAPH_TLC_BASE", str(files))
    monkeypatch.setattr(bronze_table, "RETRY", dg.RetryPolicy(max_retries=2))  # as many tries, and no waiting
    get_settings.cache_clear()
    ATTEMPTS.clear()
    yield get_settings()
    get_settings.cache_clear()


def materialize(table: BronzeTable, first: str, last: str | None = None) -> dg.ExecuteInProcessResult:
    defs = table.build_defs(dg.ComponentTree.for_test().load_context)
    (asset,) = defs.assets or ()
    assert isinstance(asset, dg.AssetsDefinition)
    with dg.DagsterInstance.ephemeral() as instance:
        if last is None:
            return dg.materialize([asset], instance=instance, partition_key=first, raise_on_error=False)
        tags = dict(zip(RANGE, (first, last), strict=True))
        return dg.materialize([asset], instance=instance, tags=tags, raise_on_error=False)


def by_partition(result: dg.ExecuteInProcessResult) -> dict[str, dict[str, Any]]:
    materializations = result.asset_materializations_for_node("bronze__mobility__green_trips")
    return {str(m.partition): {name: value.value for name, value in m.metadata.items()} for m in materializations}


def loads(metadata: dict[str, Any]) -> list[Any]:
    """The table that an asset shows of its loads."""
    return [record.data for record in metadata["loads"].records]


def checks(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {evaluation.check_name: evaluation for evaluation in result.get_asset_check_evaluations()}


def cause(result: dg.ExecuteInProcessResult) -> str:
    """What the one failed step says, which is one line."""
    (event,) = (e for e in result.all_events if e.is_step_failure)
    data = event.step_failure_data.user_failure_data
    assert data, "the failure is ours"
    assert data.description
    assert "\n" not in data.description
    return data.description


def test_a_month_is_loaded_checked_and_told(home: Settings) -> None:
    result = materialize(component(), "2023-02")
    assert result.success
    assert lakes.by_month(home) == {"2023-02": ROWS["2023-02"]}
    ((month, metadata),) = by_partition(result).items()
    assert month == "2023-02"
    counts = {name: metadata[name] for name in ("rows_read", "rows_loaded", "rows_rejected", "dagster/row_count")}
    assert counts == {"rows_read": 140, "rows_loaded": 140, "rows_rejected": 0, "dagster/row_count": 140}
    assert metadata["dagster/partition_row_count"] == 140
    assert metadata["source_object"].endswith("green_tripdata_2023-02.parquet")
    assert len(metadata["digest"]) == 64
    (load,) = loads(metadata)
    assert (load["partition"], load["read"], load["loaded"], load["changed"]) == ("2023-02-01", 140, 140, True)
    assert metadata["iceberg_snapshot"] == str(lakes.open_table(home).current_snapshot().snapshot_id)

    done = checks(result)
    assert done.keys() == {"row_accounting", "schema_drift"}
    assert all(evaluation.passed for evaluation in done.values())
    told = {name: value.value for name, value in done["row_accounting"].metadata.items()}
    assert told == {"rows_read": 140, "rows_stored": 140, "rows_rejected": 0, "rows_unaccounted": 0}


def test_the_preview_shows_the_first_rows_of_the_table(home: Settings) -> None:
    ((_, metadata),) = by_partition(materialize(component(), "2023-02")).items()
    head, rule, *rows = metadata["preview"].splitlines()
    columns = [cell.strip() for cell in head.strip("|").split("|")]
    assert columns == lakes.rows(home).column_names
    assert set(rule) <= set("| -")
    assert len(rows) == bronze_table.PREVIEW_ROWS
    assert "2023-02-01" in rows[0]


def test_a_range_is_one_run_that_tells_of_each_month(home: Settings) -> None:
    result = materialize(component(), "2023-01", "2023-03")
    assert result.success
    assert len([event for event in result.all_events if event.is_step_start]) == 1
    assert lakes.by_month(home) == ROWS
    told = by_partition(result)
    assert {month: metadata["dagster/partition_row_count"] for month, metadata in told.items()} == ROWS
    assert {month: metadata["rows_loaded"] for month, metadata in told.items()} == ROWS, (
        "each month its own, not the sum"
    )
    assert all(month in metadata["source_object"] for month, metadata in told.items())
    assert {metadata["dagster/row_count"] for metadata in told.values()} == {sum(ROWS.values())}
    assert {load["partition"][:7]: load["read"] for load in loads(told["2023-01"])} == ROWS
    assert checks(result)["row_accounting"].metadata["rows_read"].value == sum(ROWS.values())


def test_what_was_cast_is_told_for_the_month_that_needed_them(home: Settings, files: Path) -> None:
    """2023-01 has a column without a type where later months have one: the drift of the real files."""
    told = by_partition(materialize(component(), "2023-01"))
    drifted = told["2023-01"]
    assert "notes" in drifted, "the generated month has the drift of the real one"
    assert all(line.startswith("- 2023-01-01: ") for line in drifted["notes"].splitlines())
    assert "notes" not in by_partition(materialize(component(), "2023-02"))["2023-02"]


def test_a_repeated_load_says_that_nothing_has_changed(home: Settings) -> None:
    materialize(component(), "2023-02")
    before = lakes.state(home)
    result = materialize(component(), "2023-02")
    assert result.success
    assert lakes.state(home) == before
    (load,) = loads(by_partition(result)["2023-02"])
    assert load["changed"] is False
    assert checks(result)["row_accounting"].passed


def test_a_new_column_is_reported_and_stops_nothing(home: Settings, files: Path) -> None:
    table = pq.read_table(files / "green_tripdata_2023-02.parquet")
    lakes.write_green(files, "2023-02", lakes.with_column(table, "cbd_congestion_fee", pa.array([0.75] * len(table))))
    result = materialize(component(), "2023-02")
    assert result.success
    drift = checks(result)["schema_drift"]
    assert not drift.passed
    assert drift.severity is dg.AssetCheckSeverity.WARN
    assert "cbd_congestion_fee" in (drift.description or "")
    assert pc.sum(lakes.rows(home)["cbd_congestion_fee"]).as_py() == 0.75 * ROWS["2023-02"]


def test_the_account_is_taken_from_what_is_stored(home: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check that blocks does not believe the load: rows that vanish after the commit fail it."""
    materialize(component(), "2023-02")
    less = {key: count - 1 for key, count in iceberg.rows_by_partition(lakes.open_table(home)).items()}
    monkeypatch.setattr(iceberg, "rows_by_partition", lambda _table: less)
    account = checks(materialize(component(), "2023-02"))["row_accounting"]
    assert not account.passed
    assert account.severity is dg.AssetCheckSeverity.ERROR
    assert account.blocking
    assert account.metadata["rows_unaccounted"].value == 1
    assert "bronze.mobility_green_trips 2023-02-01: 140 read, 139 stored, 0 rejected" in (account.description or "")


# -- the step fails ----------------------------------------------------------------------------------------

ATTEMPTS: list[str] = []  # the months that the sources below were asked for


def loses_a_row(request: LoadRequest, report: SourceReport, *, files: list[str]) -> Any:
    """A source that delivers one row less than it counts at the source."""
    import dlt

    count = ROWS[f"{request.partition:%Y-%m}"]

    @dlt.resource(name=request.spec.table, file_format="parquet")
    def rows() -> Iterator[pa.Table]:
        report.source_object, report.rows_read = files[0], count
        yield pa.table({f.name: pa.nulls(count - 1, f.type) for f in request.spec.arrow_schema()})

    @dlt.source(name="lossy", max_table_nesting=0)
    def lossy() -> Any:
        return rows

    return lossy()


def times_out(request: LoadRequest, report: SourceReport, *, files: list[str]) -> Any:
    """A source that gives up while it is read, inside dlt, which wraps what it raises."""
    import dlt

    @dlt.resource(name=request.spec.table, file_format="parquet")
    def rows() -> Iterator[pa.Table]:
        ATTEMPTS.append(f"{request.partition:%Y-%m}")
        raise TransientError("the source does not answer")
        yield

    @dlt.source(name="silent", max_table_nesting=0)
    def silent() -> Any:
        return rows

    return silent()


def times_out_once(request: LoadRequest, report: SourceReport, *, files: list[str]) -> Any:
    ATTEMPTS.append(f"{request.partition:%Y-%m}")
    if len(ATTEMPTS) == 1:
        raise TransientError("the source does not answer")
    return tlc_source.trips(request, report, files=files)


def is_refused(request: LoadRequest, report: SourceReport, *, files: list[str]) -> Any:
    ATTEMPTS.append(f"{request.partition:%Y-%m}")
    raise LakeError("the source says no")


def fails_in_march(request: LoadRequest, report: SourceReport, *, files: list[str]) -> Any:
    ATTEMPTS.append(f"{request.partition:%Y-%m}")
    if ATTEMPTS[-1] == "2023-03":
        raise LakeError("no March")
    return tlc_source.trips(request, report, files=files)


def from_here(function: Any) -> BronzeTable:
    return component(source=f"{__name__}.{function.__name__}")


def test_a_lost_row_fails_the_step_and_leaves_bronze_as_it_was(home: Settings) -> None:
    assert materialize(component(), "2023-01").success
    before = lakes.state(home)
    for month in ("2023-01", "2023-02"):
        result = materialize(from_here(loses_a_row), month)
        assert not result.success
        text = cause(result)
        assert f"read {ROWS[month]} rows, but {ROWS[month] - 1} loaded and 0 rejected: 1 unaccounted for" in text
        assert "nothing was committed" in text
        assert by_partition(result) == {}, "a failed load is never shown as materialized"
        assert checks(result) == {}
    assert lakes.state(home) == before
    assert lakes.leftovers(home) == []


def test_a_fault_that_may_pass_is_tried_again(home: Settings) -> None:
    result = materialize(from_here(times_out), "2023-02")
    assert not result.success
    assert ATTEMPTS == ["2023-02"] * 3
    assert cause(result) == "the source does not answer"


def test_a_fault_that_has_passed_leaves_no_trace_in_the_table(home: Settings) -> None:
    result = materialize(from_here(times_out_once), "2023-02")
    assert result.success
    assert ATTEMPTS == ["2023-02"] * 2
    assert lakes.by_month(home) == {"2023-02": ROWS["2023-02"]}
    assert checks(result)["row_accounting"].passed


def test_a_fault_that_will_not_pass_is_not_tried_again(home: Settings) -> None:
    result = materialize(from_here(is_refused), "2023-02")
    assert not result.success
    assert ATTEMPTS == ["2023-02"]
    assert cause(result) == "the source says no"


@pytest.mark.parametrize(
    ("error", "retries"),
    [
        (TransientError("the source does not answer"), True),
        (LakeError("the source says no"), False),
    ],
)
def test_only_what_may_pass_is_left_to_the_retry_policy(error: LakeError, retries: bool) -> None:
    with pytest.raises(dg.Failure) as raised, step_failures():
        raise error
    assert raised.value.allow_retries is retries
    assert raised.value.description == str(error)


def test_an_error_nobody_foresaw_keeps_its_trace() -> None:
    with pytest.raises(ZeroDivisionError), step_failures():
        _ = 1 / 0


def test_a_month_that_is_not_there_fails_with_its_name(home: Settings) -> None:
    result = materialize(component(), "2023-05")
    assert not result.success
    assert "green_tripdata_2023-05.parquet: no such file" in cause(result)


def test_a_range_that_fails_half_way_keeps_what_it_loaded_and_is_simply_run_again(home: Settings) -> None:
    result = materialize(from_here(fails_in_march), "2023-02", "2023-03")
    assert not result.success
    assert by_partition(result) == {}
    assert lakes.by_month(home) == {"2023-02": ROWS["2023-02"]}
    again = materialize(component(), "2023-02", "2023-03")
    assert again.success
    assert lakes.by_month(home) == {month: ROWS[month] for month in ("2023-02", "2023-03")}
    changed = {load["partition"]: load["changed"] for load in loads(by_partition(again)["2023-02"])}
    assert changed == {"2023-02-01": False, "2023-03-01": True}


@pytest.mark.parametrize("key", ["2023-13", "../../x", "2022-12", "2023-01'; drop table t; --"])
def test_a_partition_that_is_none_is_refused_before_anything_is_read(home: Settings, key: str) -> None:
    with pytest.raises(dg.DagsterError):
        materialize(from_here(is_refused), key)
    assert ATTEMPTS == []
    assert lakes.state(home) == {}
    assert not home.dlt_home.exists()


@pytest.mark.parametrize(("first", "last"), [("2023-01", "2023-13"), ("../../x", "2023-01"), ("2023-01", "../../x")])
def test_a_range_that_is_none_is_refused_before_anything_is_read(home: Settings, first: str, last: str) -> None:
    with pytest.raises((ValueError, dg.DagsterError)):
        materialize(from_here(is_refused), first, last)
    assert ATTEMPTS == []
    assert lakes.state(home) == {}


def test_an_account_names_the_run_that_loaded_it(home: Settings) -> None:
    result = materialize(component(), "2023-02")
    account = iceberg.accounts(lakes.open_table(home))["2023-02-01"]
    assert isinstance(account, LoadAccount)
    assert account.run_id == result.run_id


def test_workbooks_that_are_refused_are_told_by_a_check_and_so_are_new_columns(
    home: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "drop"
    folder.mkdir()
    monkeypatch.setenv("LAKEGRAPH_MEMBERSHIP_FOLDER", str(folder))
    get_settings.cache_clear()
    declared = yaml.safe_load((DEFS / "membership" / "top_up" / "defs.yaml").read_text(encoding="utf-8"))["attributes"]
    table = BronzeTable.resolve_from_dict(declared)
    (folder / "top_up_2023-03-30.xlsx").write_bytes(workbook([*TOP_UP, "Remark"], [*top_up("T1"), "VIP"]))
    (folder / "top_up_2023-03-31.xlsx").write_bytes(workbook(TOP_UP, top_up("T2")))
    assert checks(materialize(table, "2023-03-31"))["files_read"].passed
    (folder / "top_up_2023-03-30_b.xlsx").write_bytes(b"")
    result = materialize(table, "2023-03-30", "2023-03-31")
    assert result.success
    told = checks(result)
    assert not told["files_read"].passed
    assert told["files_read"].severity == dg.AssetCheckSeverity.WARN
    assert told["files_read"].description == "top_up_2023-03-30_b.xlsx: the file is empty (0 bytes); moved aside"
    assert told["row_accounting"].passed
    assert told["schema_drift"].description == (
        "2023-03-30 brought Remark: kept in extra_cells; declare it if silver should use it"
    )
    assert "files_read" not in checks(materialize(component(), "2023-01")), "a file a month is there or is not"
