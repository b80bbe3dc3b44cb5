"""The assets `serving/superset/*` without a Superset: what they rest on, by their own files and the settings.

Over a real one they are in `tests/e2e/test_superset.py`.
"""

import json
import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from infra_assets.superset import validation
from infra_assets.superset.bundle import read, tables
from lake.settings import get_settings
from orchestration import project
from orchestration.assets import superset as assets
from orchestration.assets.superset import build_superset, superset_key
from orchestration.observations import why_skipped
from orchestration.served import served_tables

ROOT = Path(__file__).parents[2]
SHOP = superset_key("shop")
STARROCKS = "starrocks://root@127.0.0.1:9030/default_catalog.bi"
OF_SHOP = {"customer_lifetime_value", "orders_daily", "product_performance", "stock_on_hand"}


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., dg.AssetsDefinition]]:
    """Builds the assets under variables of the environment, and an empty home."""
    project.prepare()

    def build(**variables: str) -> dg.AssetsDefinition:
        for name, value in {"home": str(tmp_path), **variables}.items():
            monkeypatch.setenv(f"LAKEGRAPH_{name.upper()}", value)
        get_settings.cache_clear()
        return build_superset()

    yield build
    get_settings.cache_clear()


def deps(asset: dg.AssetsDefinition) -> set[str]:
    return {key.to_user_string() for key in asset.asset_deps[SHOP]}


def test_a_dashboard_rests_on_the_tables_of_its_files_wherever_they_are_read(
    built: Callable[..., dg.AssetsDefinition],
) -> None:
    gold = {f"gold/shop/{table}" for table in OF_SHOP}
    assert deps(built()) == gold | {"serving/duckdb"}
    assert deps(built(superset_database=STARROCKS)) == {f"serving/starrocks/shop_{table}" for table in OF_SHOP}
    assert deps(built(superset_database="bigquery://project/gold")) == gold


def test_a_table_that_is_not_registered_is_no_asset_of_starrocks(
    built: Callable[..., dg.AssetsDefinition], monkeypatch: pytest.MonkeyPatch
) -> None:
    project.prepare()
    served = [
        replace(one, starrocks=replace(one.starrocks, mode="none")) if one.table == "shop_stock_on_hand" else one
        for one in served_tables()
    ]
    monkeypatch.setattr(assets, "served_tables", lambda: served)
    registered = {f"serving/starrocks/shop_{table}" for table in OF_SHOP - {"stock_on_hand"}}
    assert deps(built(superset_database=STARROCKS)) == registered | {"gold/shop/stock_on_hand"}


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({}, r"none runs under .*; start it with `lakegraph superset up`, or set LAKEGRAPH_SUPERSET_URL"),
        (
            {"target": "gcp", "superset_url": "https://bi.example", "superset_password": "sesame"},
            "where it reads gold is not set; set LAKEGRAPH_SUPERSET_DATABASE",
        ),
    ],
)
def test_where_none_is_set_nothing_is_made(
    built: Callable[..., dg.AssetsDefinition], variables: dict[str, str], words: str
) -> None:
    asset = built(**variables)
    with dg.DagsterInstance.ephemeral() as instance:
        done = dg.materialize([asset], instance=instance)
    assert done.get_asset_materialization_events() == []
    observed = done.get_asset_observation_events()
    assert {event.asset_key for event in observed} == set(asset.keys)
    for event in observed:
        assert re.search(words, str(why_skipped(event.asset_observation_data.asset_observation)))


def test_a_superset_that_was_killed_is_observed_and_not_a_failure(
    built: Callable[..., dg.AssetsDefinition], tmp_path: Path
) -> None:
    """The fault: the endpoints file outlives a reboot, and `make demo` then failed."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    for path, content in {
        "sandbox/endpoints.json": json.dumps({"superset_url": url}),
        "sandbox/superset.json": json.dumps({"pid": 1, "started": 0.0, "token": "t"}),
        "superset/admin_password": "nobody's",
    }.items():
        file = tmp_path / path
        file.parent.mkdir(exist_ok=True)
        file.write_text(content)
    with dg.DagsterInstance.ephemeral() as instance:
        done = dg.materialize([built()], instance=instance)
    reasons = {why_skipped(one.asset_observation_data.asset_observation) for one in done.get_asset_observation_events()}
    assert reasons == {f"superset {url}: no longer runs; start it with `lakegraph superset up`"}


def test_a_dashboard_that_left_the_files_meanwhile_is_named(
    built: Callable[..., dg.AssetsDefinition], monkeypatch: pytest.MonkeyPatch
) -> None:
    asset, tree = built(superset_url="http://127.0.0.1:9", superset_password="sesame"), validation.load()  # noqa: S106
    others = tuple(one for one in tree.dashboards if one.slug != "shop")
    monkeypatch.setattr(validation, "load", lambda: replace(tree, dashboards=others))
    with dg.DagsterInstance.ephemeral() as instance:
        done = dg.materialize([asset], instance=instance, raise_on_error=False)
        (failure,) = (event for event in done.all_events if event.event_type_value == "STEP_FAILURE")
    assert "dashboards: shop left the files since Dagster read them; reload its code" in str(
        failure.event_specific_data
    )


def exposures() -> dict[str, Any]:
    project.prepare()
    manifest = json.loads(project.dbt_project.manifest_path.read_text())
    return {one["name"]: one for one in manifest["exposures"].values()}


def models(exposure: Any) -> set[str]:
    return {node.removeprefix("model.lakegraph.") for node in exposure["depends_on"]["nodes"]}


def test_dbts_exposures_say_what_the_dashboards_and_the_report_read() -> None:
    tree, found = read(), exposures()
    for one in tree.dashboards:
        assert models(found[f"superset_{one.slug}"]) == {name.removeprefix("gold.") for name in tables(tree, one.slug)}
    report = {
        name for file in (ROOT / "lake/report").glob("*.py") for name in re.findall(r"gold\.(\w+)", file.read_text())
    }
    gold = {one.table for one in served_tables()}
    assert models(found["kpi_report"]) == report == gold  # a table that is added is read by all of them
    assert models(found["power_bi"]) == models(found["looker_studio"]) == gold


def test_an_exposure_that_is_an_asset_of_ours_names_one() -> None:
    from orchestration.definitions import defs

    keys = {key.to_user_string() for key in defs.resolve_asset_graph().get_all_asset_keys()}
    ours = {name: one["config"]["meta"]["lakegraph"].get("asset") for name, one in exposures().items()}
    assert {name for name, asset in ours.items() if asset is None} == {"power_bi", "looker_studio"}
    assert {asset for asset in ours.values() if asset} <= keys
    assert {f"serving/{name}" for name, asset in ours.items() if asset is None} <= keys
