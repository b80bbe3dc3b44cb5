"""The assets `serving/starrocks/*` over real exports and the stand-in: what is made, compared, refused and left alone."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import gold
import pytest
from iceberg_rest import WAREHOUSE, IcebergRest, client
from pydantic import SecretStr
from pyiceberg.types import StringType

from infra_assets.starrocks import ddl
from infra_assets.starrocks.client import StarRocks
from infra_assets.starrocks.serve import Declared, Table, declare
from lake.exports import current, export, reshape
from lake.settings import Settings, get_settings
from orchestration.assets import starrocks
from orchestration.assets.starrocks import CHECKS, LATENCY, OF_A_SHAPE, ROWS, SCHEMA, VALUES, starrocks_key
from orchestration.observations import why_skipped
from orchestration.served import served_tables
from sandbox.starrocks import StarRocksStandIn
from sandbox.starrocks_catalog import refused
from sandbox.starrocks_files import Files

ORDERS, MONTHLY, USERS = "shop_orders_daily", "shop_orders_monthly", "mobility_users_by_city"
ALL = {one.table for one in served_tables()} | {shape.name for one in served_tables() for shape in one.shapes}


@dataclass(frozen=True)
class Lake:
    """Gold published and exported, and a StarRocks that knows nothing."""

    settings: Settings
    server: StarRocks

    def export(self) -> None:
        for one in served_tables():
            export(self.settings, one.table)
            for shape in one.shapes:
                reshape(self.settings, shape)

    def change(self, statement: str) -> None:
        """In gold; the exports are as before."""
        with duckdb.connect(str(self.settings.published_path)) as connection:
            connection.execute(statement)


@dataclass(frozen=True)
class Made:
    """What a run has made, and found."""

    result: dg.ExecuteInProcessResult

    def metadata(self, table: str) -> dict[str, Any]:
        (event,) = [e for e in self.result.get_asset_materialization_events() if e.asset_key == starrocks_key(table)]
        return {key: one.value for key, one in event.materialization.metadata.items()}

    @property
    def tables(self) -> set[str]:
        return {event.asset_key.path[-1] for event in self.result.get_asset_materialization_events()}

    @property
    def failed(self) -> dict[str, str]:
        """Checks that have not passed: table and check → what they say."""
        found = self.result.get_asset_check_evaluations()
        return {f"{one.asset_key.path[-1]}: {one.check_name}": str(one.description) for one in found if not one.passed}

    @property
    def cause(self) -> str:
        (failure,) = self.result.filter_events(lambda event: event.is_step_failure)
        return str(failure.step_failure_data.user_failure_data.description)


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StarRocksStandIn]:
    with StarRocksStandIn(tmp_path_factory.mktemp("starrocks") / "catalog.json") as running:
        yield running


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("exported")
    lake = Lake(Settings(home=home), StarRocks("127.0.0.1"))
    gold.write(lake.settings.published_path)
    lake.export()
    return home


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Settings]]:
    """Sets variables of the environment, and gives the settings that they make."""

    def settings(**variables: str) -> Settings:
        for name, value in variables.items():
            monkeypatch.setenv(f"LAKEGRAPH_{name.upper()}", value)
        get_settings.cache_clear()
        return get_settings()

    yield settings
    get_settings.cache_clear()


@pytest.fixture
def lake(stand_in: StarRocksStandIn, exported: Path, tmp_path: Path, configured: Callable[..., Settings]) -> Lake:
    home = tmp_path / "home"
    shutil.copytree(exported, home)
    server = StarRocks.from_url(SecretStr(stand_in.endpoint))
    with server.session() as session:
        for (database,) in session.query("SHOW DATABASES"):
            if database != "information_schema":
                session.execute(f"DROP DATABASE `{database}`")
    return Lake(configured(home=str(home), starrocks=stand_in.endpoint), server)


def register(*tables: str) -> Made:
    selection = [starrocks_key(table) for table in tables] if tables else None
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [starrocks.build_starrocks()], instance=instance, selection=selection, raise_on_error=False
        )
    return Made(result)


def test_every_table_and_shape_is_served_as_gold_has_it(lake: Lake) -> None:
    made = register()
    assert made.result.success
    assert (made.tables, made.failed) == (ALL, {})
    ran = {(one.asset_key.path[-1], one.check_name) for one in made.result.get_asset_check_evaluations()}
    assert ran == {(table, check) for table in ALL for check in (OF_A_SHAPE if table == MONTHLY else CHECKS)}
    with lake.server.session() as session, duckdb.connect(str(lake.settings.published_path), read_only=True) as here:
        for one in served_tables():
            rows = here.execute(f"SELECT * FROM gold.{one.table} ORDER BY ALL").fetchall()
            named = ", ".join(f"`{column.name}`" for column in one.starrocks.columns)
            assert sorted(session.query(f"SELECT {named} FROM bi.{one.table}"), key=repr) == sorted(rows, key=repr)
    said = made.metadata(ORDERS)
    manifest = current(lake.settings, ORDERS)
    assert manifest is not None
    assert (said["dagster/row_count"], said["snapshot"]) == (gold.DAYS, manifest.snapshot)
    assert said["actions"] == "- table create\n- view create"
    assert "CREATE EXTERNAL TABLE IF NOT EXISTS `gold`.`shop_orders_daily`" in said["statements"]
    assert said["preview"].splitlines()[0].startswith("| order_date | orders | items |")
    assert len(said["preview"].splitlines()) == 2 + 5


def test_what_is_as_declared_is_left_as_it_is_and_a_new_snapshot_is_looked_at(lake: Lake) -> None:
    register(ORDERS)
    again = register(ORDERS).metadata(ORDERS)
    assert again["actions"] == "- table unchanged\n- view unchanged"
    assert "statements" not in again
    lake.change(f"DELETE FROM gold.{ORDERS} WHERE order_date < DATE '2023-03-08'")
    lake.export()
    made = register(ORDERS)
    said = made.metadata(ORDERS)
    assert (said["dagster/row_count"], made.failed) == (gold.DAYS - 7, {})
    assert said["actions"].startswith("- table recreate: path changed: ")
    assert said["actions"].endswith("\n- view unchanged")


def test_a_table_that_is_behind_gold_is_found_out(lake: Lake) -> None:
    lake.change(f"DELETE FROM gold.{ORDERS} WHERE order_date = DATE '2023-03-01'")
    made = register(ORDERS)
    assert made.failed.keys() == {f"{ORDERS}: {ROWS}", f"{ORDERS}: {VALUES}"}
    assert made.failed[f"{ORDERS}: {ROWS}"] == f"{gold.DAYS}, not {gold.DAYS - 1} as in gold"
    assert "date 2023-03-01, 2023-04-14, not 2023-03-02, 2023-04-14 as in gold" in made.failed[f"{ORDERS}: {VALUES}"]
    assert not made.result.success, "a blocking check fails the step once all is done"
    checks = {one.name: one.blocking for one in starrocks.build_starrocks().check_specs}
    assert checks == {ROWS: True, SCHEMA: False, VALUES: False, LATENCY: False}


def test_as_many_rows_with_other_values_are_found_out(lake: Lake) -> None:
    lake.change(f"UPDATE gold.{USERS} SET users = users + 1 WHERE city = 'Velmoor'")
    assert register(USERS).failed == {f"{USERS}: {VALUES}": "measure 7, 1, 4, not 8, 2, 4 as in gold"}


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("ALTER TABLE gold.{} ADD COLUMN mayor VARCHAR", "has columns too many: mayor"),
        ("ALTER TABLE gold.{} DROP COLUMN companies", "lacks columns: companies"),
        ("ALTER TABLE gold.{} ALTER companies TYPE DOUBLE", "has other types: companies is double, not bigint"),
    ],
)
def test_files_that_differ_from_the_contract_are_found_out(lake: Lake, statement: str, words: str) -> None:
    lake.change(statement.format(USERS))
    lake.export()
    assert register(USERS).failed[f"{USERS}: {SCHEMA}"] == words


def alter(lake: Lake, declared: Declared, *columns: ddl.Column) -> None:
    """Give a registered table other columns, as ALTER TABLE does: its comment stays."""
    there, *_ = declared.objects
    assert isinstance(there, ddl.ExternalTable)
    altered = replace(there, columns=columns)
    lake.server.execute(f"DROP TABLE {there.database}.{there.name}")
    lake.server.execute(altered.create().replace(altered.hash, there.hash))


def declared(lake: Lake, table: str, columns: tuple[ddl.Column, ...]) -> Declared:
    manifest = current(lake.settings, table)
    assert manifest is not None
    comment = next((one.starrocks.comment for one in served_tables() if one.table == table), "")
    return declare(Table(table, columns, comment), lake.settings, manifest.location)


def test_a_table_altered_behind_our_back_is_made_anew_and_told(lake: Lake) -> None:
    register(USERS)
    (columns,) = (one.starrocks.columns for one in served_tables() if one.table == USERS)
    alter(lake, declared(lake, USERS, columns), *columns[:-1], ddl.Column("mayor", "bigint"))
    made = register(USERS)
    assert made.metadata(USERS)["actions"].startswith(
        "- table recreate: lacks columns: companies; has columns too many"
    )
    assert made.failed == {
        f"{USERS}: {SCHEMA}": "table lacks columns: companies; table has columns too many: mayor; made anew"
    }
    (warning,) = [one for one in made.result.get_asset_check_evaluations() if not one.passed]
    assert warning.severity is dg.AssetCheckSeverity.WARN
    assert made.result.success
    assert [row[0] for row in lake.server.query(f"DESC gold.{USERS}")] == [one.name for one in columns]
    assert register(USERS).failed == {}


def test_a_shape_is_compared_with_its_files_alone(lake: Lake) -> None:
    checks = {
        spec.name: spec for spec in starrocks.build_starrocks().check_specs if spec.asset_key == starrocks_key(MONTHLY)
    }
    assert checks.keys() == {ROWS, SCHEMA, LATENCY}
    assert checks[ROWS].description == "Readers count as many rows as the exported files have."
    register(MONTHLY)
    manifest = lake.settings.exports / MONTHLY / "manifest.json"
    said = json.loads(manifest.read_text())
    columns = tuple(ddl.Column.of(*one) for one in said["columns"].items())
    (of_shape,) = (shape for one in served_tables() for shape in one.shapes if shape.name == MONTHLY)
    exported = current(lake.settings, MONTHLY)
    assert exported is not None
    there = declare(Table(MONTHLY, columns, of_shape.description), lake.settings, exported.location)
    alter(lake, there, *columns[1:])
    manifest.write_text(json.dumps(said | {"rows": said["rows"] + 1}))
    assert register(MONTHLY).failed == {
        f"{MONTHLY}: {ROWS}": f"{said['rows']}, not {said['rows'] + 1} as in the exported files",
        f"{MONTHLY}: {SCHEMA}": "table lacks columns: order_month; made anew",
    }


def test_a_table_with_a_date_says_which_is_compared() -> None:
    dated = {
        one.table for one in served_tables() if {column.type for column in one.starrocks.columns} & {"date", "datetime"}
    }
    assert dated == {one.table for one in served_tables() if one.starrocks.day}
    assert ORDERS in dated


def test_a_probe_over_its_budget_is_a_warning(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    hasty = tuple(replace(one, starrocks=replace(one.starrocks, latency_ms=0)) for one in served_tables())
    monkeypatch.setattr(starrocks, "served_tables", lambda: hasty)
    made = register(USERS)
    assert made.failed.keys() == {f"{USERS}: {LATENCY}"}
    (late,) = [one for one in made.result.get_asset_check_evaluations() if not one.passed]
    assert late.severity is dg.AssetCheckSeverity.WARN


def test_what_one_table_lacks_holds_up_no_other(lake: Lake) -> None:
    """The folder of one is gone, another was never exported, a third is somebody else's."""
    register(ORDERS)
    shutil.rmtree(lake.settings.exports / ORDERS / f"snapshot={current(lake.settings, ORDERS).snapshot}")  # type: ignore[union-attr]
    shutil.rmtree(lake.settings.exports / MONTHLY)
    lake.server.execute("CREATE DATABASE IF NOT EXISTS bi")
    lake.server.execute(f"CREATE VIEW bi.{USERS} AS SELECT 1 AS city")
    made = register()
    assert not made.result.success
    assert made.tables == ALL - {ORDERS, MONTHLY, USERS}
    assert made.cause.endswith(" (and 2 more)")
    for table, words in (
        (ORDERS, f"the files are not there, or not all of them; materialize serving/exports/{ORDERS}"),
        (MONTHLY, f"{MONTHLY}: was not exported yet; materialize serving/exports/{MONTHLY} first"),
        (USERS, f"view bi.{USERS} is there and was not made by lakegraph"),
    ):
        assert words in register(table).cause


def test_files_that_are_there_and_starrocks_does_not_get_at(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real one says the same of what it may not read, and of a store that it does not reach."""

    def unread(_self: Files, _name: str, table: Any) -> list[Path]:
        raise refused(f"doesn't get file with path: {table.path}")

    monkeypatch.setattr(Files, "of", unread)
    cause = register(ORDERS).cause
    assert "finds no file there, or may not read the store (1064): doesn't get file with path: file://" in cause
    assert cause.endswith("the files are there: StarRocks may not read them, or does not reach them from where it runs")


def test_a_server_that_is_away_is_tried_again_and_told(
    lake: Lake, configured: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    configured(starrocks="mysql://root:sesame@127.0.0.1:9")
    monkeypatch.setattr(starrocks, "RETRY", dg.RetryPolicy(max_retries=2))  # as it is, but without the waits
    made = register(USERS)
    assert made.tables == set()
    assert made.result.retry_attempts_for_node("starrocks") == 2
    assert made.cause.startswith("StarRocks at 127.0.0.1:9 cannot be reached")
    assert "sesame" not in made.cause


def test_where_none_is_set_nothing_is_made_and_the_statements_are_told(
    lake: Lake, configured: Callable[..., Settings]
) -> None:
    configured(
        starrocks="", sources="live", starrocks_properties='{"aws.s3.secret_key": "sesame", "aws.s3.region": "b"}'
    )
    made = register()
    assert (made.result.success, made.tables) == (True, set())
    observed = {
        event.asset_key.path[-1]: event.asset_observation_data.asset_observation
        for event in made.result.get_asset_observation_events()
    }
    assert observed.keys() == ALL
    assert "set LAKEGRAPH_STARROCKS" in str(why_skipped(observed[ORDERS]))
    plan = str(observed[ORDERS].metadata["plan"].value)
    assert "CREATE EXTERNAL TABLE IF NOT EXISTS `gold`.`shop_orders_daily`" in plan
    assert "CREATE OR REPLACE VIEW `bi`.`shop_orders_daily`" in plan
    assert '"aws.s3.secret_key" = "***"' in plan
    assert '"aws.s3.region" = "b"' in plan
    assert lake.server.query("SHOW DATABASES") == [("information_schema",)]


@pytest.fixture
def from_catalog(monkeypatch: pytest.MonkeyPatch) -> None:
    """Users are served from an Iceberg catalog."""
    tables = tuple(
        replace(one, starrocks=replace(one.starrocks, mode="iceberg_catalog")) if one.table == USERS else one
        for one in served_tables()
    )
    monkeypatch.setattr(starrocks, "served_tables", lambda: tables)


@pytest.mark.usefixtures("from_catalog")
def test_where_none_is_set_it_is_told_why_there_are_no_statements(
    lake: Lake, configured: Callable[..., Settings]
) -> None:
    configured(starrocks="", sources="live")
    shutil.rmtree(lake.settings.exports / USERS)  # a catalog needs no export
    shutil.rmtree(lake.settings.exports / ORDERS)
    observed = {one.asset_key.path[-1]: one for one in register(USERS, ORDERS).result.get_asset_observation_events()}
    plans = {name: one.asset_observation_data.asset_observation.metadata.get("plan") for name, one in observed.items()}
    assert "set LAKEGRAPH_STARROCKS_CATALOG_URI" in str(plans[USERS].value)
    assert plans[ORDERS] is None
    configured(starrocks_catalog_uri="http://127.0.0.1:9", starrocks_catalog="no-name")
    (event,) = register(USERS).result.get_asset_observation_events()
    plan = str(event.asset_observation_data.asset_observation.metadata["plan"].value)
    assert "-- catalog 'no-name': must be 1 to 64 letters" in plan


@pytest.mark.usefixtures("from_catalog")
def test_a_table_of_a_catalog_is_served_as_gold_has_it(
    lake: Lake, configured: Callable[..., Settings], tmp_path: Path
) -> None:
    with duckdb.connect(str(lake.settings.published_path), read_only=True) as here:
        users = here.sql(f"SELECT * FROM gold.{USERS}").to_arrow_table()
    with IcebergRest(tmp_path / "iceberg") as service:
        catalog = client(service)
        catalog.create_namespace("gold")
        table = catalog.create_table(f"gold.{USERS}", users.schema)
        table.append(users)
        properties = json.dumps({"iceberg.catalog.warehouse": WAREHOUSE})
        configured(starrocks_catalog_uri=service.url, starrocks_catalog_properties=properties)
        made = register(USERS)
        assert (made.result.success, made.failed) == (True, {})
        said = made.metadata(USERS)
        assert said["actions"] == "- catalog create\n- view create"
        assert (said["over"], said["dagster/row_count"]) == (f"lakegraph.gold.{USERS}", users.num_rows)
        assert "snapshot" not in said
        table.append(users.slice(0, 1))
        with table.update_schema() as update:
            update.add_column("mayor", StringType())
        failed = register(USERS).failed
        assert failed.keys() == {f"{USERS}: {check}" for check in (ROWS, SCHEMA, VALUES)}
        assert failed[f"{USERS}: {ROWS}"] == f"{users.num_rows + 1}, not {users.num_rows} as in gold"
        assert failed[f"{USERS}: {SCHEMA}"] == "has columns too many: mayor"
        lake.server.execute("DROP CATALOG lakegraph")


@pytest.mark.usefixtures("from_catalog")
def test_a_table_of_a_catalog_waits_for_one_to_be_set(lake: Lake) -> None:
    asset = starrocks.build_starrocks()
    assert {key.to_user_string() for key in asset.asset_deps[starrocks_key(USERS)]} == {"gold/mobility/users_by_city"}
    made = register(USERS, ORDERS)
    assert made.tables == {ORDERS}
    (event,) = made.result.get_asset_observation_events()
    assert "set LAKEGRAPH_STARROCKS_CATALOG_URI" in str(why_skipped(event.asset_observation_data.asset_observation))
