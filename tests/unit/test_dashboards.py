"""The files of `dashboards/`: they are valid by gold's contract, and each way to break them is refused in a line."""

import io
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import yaml

from infra_assets.superset import bundle, validation
from infra_assets.superset.contract import gold_contract
from lake.errors import LakeError

URI = "duckdb:////somewhere/published.duckdb?access_mode=read_only"
TREE = bundle.read()
ONE_OF_EACH = ("databases/gold", "datasets/gold/shop_orders_daily", "charts/shop_orders", "dashboards/shop")
ELSEWHERE = str(uuid4())

Document = dict[str, Any]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A copy of the files, to be broken."""
    return shutil.copytree(bundle.ROOT, tmp_path / "dashboards")


def edit(root: Path, path: str, change: Callable[[Document], object]) -> None:
    file = root / f"{path}.yaml"
    document = yaml.safe_load(file.read_text())
    change(document)
    file.write_text(yaml.safe_dump(document, sort_keys=False))


def unzip(blob: bytes) -> dict[str, Document]:
    with zipfile.ZipFile(io.BytesIO(blob)) as archive:
        return {
            name.removeprefix("dashboards/").removesuffix(".yaml"): yaml.safe_load(archive.read(name))
            for name in archive.namelist()
        }


# -- as they are
# ------------------------------------------------------------------------------------------------------------


def test_the_files_are_valid_by_the_contract_of_gold():
    assert validation.faults(TREE, gold_contract()) == ()
    assert [one.slug for one in TREE.dashboards] == ["mobility", "shop"]


def test_every_uuid_is_that_of_its_path():
    paths = [file.relative_to(bundle.ROOT).with_suffix("").as_posix() for file in bundle.ROOT.rglob("*.yaml")]
    found = {one.path: one.uuid for one in (*TREE.databases, *TREE.datasets, *TREE.charts, *TREE.dashboards)}
    assert found == {path: bundle.uuid_of(path) for path in paths if path != "metadata"}
    assert found["charts/shop_orders"] == UUID("a9523f2e-3b73-5f4f-994c-d6f6b6b44c32")  # for ever: it is in Supersets


def test_every_table_of_gold_is_shown_by_a_chart_that_is_on_a_dashboard():
    shown = {table for one in TREE.dashboards for table in bundle.tables(TREE, one.slug)}
    assert shown == gold_contract().keys()
    assert {uuid for one in TREE.dashboards for uuid in one.charts} == {chart.uuid for chart in TREE.charts}


def test_a_dashboard_rests_on_the_tables_of_its_charts_and_filters():
    assert bundle.tables(TREE, "mobility") == {
        "gold.mobility_trips_by_zone_day",
        "gold.mobility_trips_by_hour",
        "gold.mobility_green_trips_by_payment_type",
        "gold.mobility_users_by_city",
    }
    with pytest.raises(LakeError, match=r"no 'membership'; there are mobility, shop$"):
        bundle.tables(TREE, "membership")


def test_every_dashboard_is_filtered_by_date_and_by_more():
    for dashboard in TREE.dashboards:
        assert any(one.column is None for one in dashboard.filters)
        assert any(one.column is not None for one in dashboard.filters)


@pytest.mark.parametrize("path", ONE_OF_EACH)
def test_the_code_version_follows_what_is_shown(files: Path, path: str):
    edit(files, path, lambda document: document.update(description="another"))
    edited = bundle.read(files)
    assert bundle.digest(edited, "mobility") == bundle.digest(TREE, "mobility")
    changed = bundle.digest(edited, "shop") != bundle.digest(TREE, "shop")
    assert changed is not path.startswith("databases/")


# -- the bundle
# ------------------------------------------------------------------------------------------------------------


def test_the_bundle_holds_every_file_and_the_address_of_gold():
    documents = unzip(bundle.render(TREE, URI))
    assert documents.keys() == {
        file.relative_to(bundle.ROOT).with_suffix("").as_posix() for file in bundle.ROOT.rglob("*.yaml")
    }
    assert documents["databases/gold"]["sqlalchemy_uri"] == URI
    assert documents["metadata"]["type"] == "assets"
    assert bundle.render(TREE, URI) == bundle.render(bundle.read(), URI)


def test_what_is_absent_is_null_in_the_bundle():
    """A key that is absent keeps its old value on import."""
    documents = unzip(bundle.render(TREE, URI))
    for path, nulls in (
        ("datasets/gold/shop_orders_daily", bundle.DATASET_NULLS),
        ("charts/shop_orders", bundle.CHART_NULLS),
        ("dashboards/shop", bundle.DASHBOARD_NULLS),
    ):
        assert nulls.keys() <= documents[path].keys()
    dataset = documents["datasets/gold/shop_orders_daily"]
    assert all(bundle.COLUMN_NULLS.keys() <= column.keys() for column in dataset["columns"])
    assert all(bundle.METRIC_NULLS.keys() <= metric.keys() for metric in dataset["metrics"])
    assert dataset["sql"] is None


def test_what_is_imported_is_managed_externally_and_knows_its_file():
    documents = unzip(bundle.render(TREE, URI))
    del documents["metadata"]
    assert all(document["is_managed_externally"] for document in documents.values())
    kept = {"datasets": "extra", "charts": "params", "dashboards": "metadata"}
    for path, document in documents.items():
        if (kind := path.split("/")[0]) in kept:
            assert document[kept[kind]][bundle.SOURCE] == path


def test_a_filter_leaves_the_charts_alone_that_do_not_have_its_column():
    dashboard = unzip(bundle.render(TREE, URI))["dashboards/mobility"]
    places = [place["meta"] for place in dashboard["position"].values() if isinstance(place, dict) and "meta" in place]
    names = {meta["chartId"]: meta["sliceName"] for meta in places if "chartId" in meta}
    assert len(names) == len(TREE.dashboard("mobility").charts)
    left_alone = {
        one["name"]: {names[number] for number in one["scope"]["excluded"]}
        for one in dashboard["metadata"]["native_filter_configuration"]
    }
    undated = {"Trips by hour of the day", "Green trips by payment", "Users by city"}
    assert left_alone == {"Day": undated, "Borough": undated, "Service": undated - {"Trips by hour of the day"}}


def test_rendering_changes_nothing_of_the_tree():
    before = json.dumps([dict(one.document) for one in TREE.dashboards], sort_keys=True)
    bundle.render(TREE, URI)
    assert json.dumps([dict(one.document) for one in TREE.dashboards], sort_keys=True) == before


# -- broken
# ------------------------------------------------------------------------------------------------------------


def _column(document: Document, name: str) -> Document:
    return next(column for column in document["columns"] if column["column_name"] == name)


def _metric(document: Document, name: str) -> Document:
    return next(metric for metric in document["metrics"] if metric["metric_name"] == name)


ORDERS = "datasets/gold/shop_orders_daily"
BY_DAY = "charts/shop_revenue_by_day"
STOCK = "charts/shop_low_stock"
SHOP = "dashboards/shop"

BROKEN = {
    "uuid of another path": (
        "charts/shop_orders",
        lambda d: d.update(uuid=ELSEWHERE),
        "charts/shop_orders.yaml: uuid is not that of its path",
    ),
    "no uuid": (SHOP, lambda d: d.pop("uuid"), "dashboards/shop.yaml: uuid is missing"),
    "no real uuid": (SHOP, lambda d: d.update(uuid="shop"), "dashboards/shop.yaml: badly formed"),
    "no columns": (ORDERS, lambda d: d.pop("columns"), "shop_orders_daily.yaml: columns is missing"),
    "no extra of the database": ("databases/gold", lambda d: d.pop("extra"), "gold.yaml: extra must be {}"),
    "version": (BY_DAY, lambda d: d.update(version="2"), "version is not 1.0.0"),
    "metadata": ("metadata", lambda d: d.update(type="Dashboard"), "metadata.yaml: type is not `assets`"),
    "no metrics": (ORDERS, lambda d: d.update(metrics=[]), "has no metric"),
    "a database that is not there": (ORDERS, lambda d: d.update(database_uuid=ELSEWHERE), "is of no database here"),
    "a dataset that is not there": (BY_DAY, lambda d: d.update(dataset_uuid=ELSEWHERE), "is of no dataset here"),
    "a table that gold does not have": (
        ORDERS,
        lambda d: d.update(table_name="shop_orders_hourly"),
        "gold has no table gold.shop_orders_hourly",
    ),
    "a column that gold does not have": (
        ORDERS,
        lambda d: _column(d, "average_basket").update(column_name="basket"),
        "gold.shop_orders_daily has no column basket",
    ),
    "a column of another type": (
        ORDERS,
        lambda d: _column(d, "refunds").update(type="DOUBLE"),
        r"column refunds is decimal\(18, 2\) in gold, not DOUBLE",
    ),
    "a date that is not marked": (
        ORDERS,
        lambda d: _column(d, "order_date").update(is_dttm=False),
        "order_date: is_dttm must say",
    ),
    "a metric of a column that is not there": (
        ORDERS,
        lambda d: _metric(d, "basket").update(expression="SUM(gross) / SUM(orders)"),
        "metric basket needs a column gross,",
    ),
    "a date column that is not there": (ORDERS, lambda d: d.update(main_dttm_col="day"), "main_dttm_col day is not"),
    "a chart's metric": (
        BY_DAY,
        lambda d: d["params"].update(metrics=["net"]),
        "metrics: the dataset shop_orders_daily has no metric net",
    ),
    "a metric without a name": (
        BY_DAY,
        lambda d: d["params"].update(metrics=[{"expressionType": "SQL", "sqlExpression": "1"}]),
        "metrics: the dataset shop_orders_daily has no metric {",
    ),
    "a chart's column": (
        BY_DAY,
        lambda d: d["params"].update(groupby=["shop"]),
        "groupby: gold.shop_orders_daily has no column shop",
    ),
    "a chart's order": (
        STOCK,
        lambda d: d["params"].update(order_by_cols=['["stock", true]']),
        "order_by_cols: gold.shop_stock_on_hand has no column stock",
    ),
    "a chart's sorting": (BY_DAY, lambda d: d["params"].update(x_axis_sort="up"), "no column or metric up"),
    "a chart's filter": (
        STOCK,
        lambda d: d["params"]["adhoc_filters"].append({"subject": "shelf", "operator": "=="}),
        "adhoc_filters: gold.shop_stock_on_hand has no column shelf",
    ),
    "hours": (BY_DAY, lambda d: d["params"].update(time_grain_sqla="PT1H"), "time_grain_sqla PT1H: hours are wrong"),
    "weeks": (BY_DAY, lambda d: d["params"].update(time_grain_sqla="P1W"), "time_grain_sqla P1W: hours are wrong"),
    "dates that pass it by": (
        BY_DAY,
        lambda d: d["params"].update(adhoc_filters=[]),
        "no TEMPORAL_RANGE of order_date",
    ),
    "another kind of chart in its params": (BY_DAY, lambda d: d["params"].update(viz_type="pie"), "viz_type differs"),
    "a chart that is not there": (
        SHOP,
        lambda d: d["position"]["CHART-shop_orders"]["meta"].update(uuid=ELSEWHERE),
        f"chart {ELSEWHERE} is of no chart here",
    ),
    "a chart that is there twice": (
        SHOP,
        lambda d: d["position"]["CHART-shop_orders"]["meta"].update(
            uuid=d["position"]["CHART-shop_refunds"]["meta"]["uuid"]
        ),
        "is there 2 times",
    ),
    "a row wider than the page": (
        SHOP,
        lambda d: d["position"]["CHART-shop_orders"]["meta"].update(width=9),
        "ROW-1: its charts are 18 columns wide, of 12",
    ),
    "a chart that is in no row": (
        SHOP,
        lambda d: d["position"]["ROW-1"]["children"].remove("CHART-shop_orders"),
        "CHART-shop_orders: is in 0 places of the grid",
    ),
    "a row whose chart is nowhere": (
        SHOP,
        lambda d: d["position"].pop("CHART-shop_orders"),
        "ROW-1: its child CHART-shop_orders is nowhere",
    ),
    "a filter's column": (
        SHOP,
        lambda d: d["metadata"]["native_filter_configuration"][1]["targets"][0]["column"].update(name="brand"),
        "filter Category: gold.shop_product_performance has no column brand",
    ),
    "a filter's dataset": (
        SHOP,
        lambda d: d["metadata"]["native_filter_configuration"][1]["targets"][0].update(datasetUuid=ELSEWHERE),
        f"filter Category: datasetUuid {ELSEWHERE} is of no dataset here",
    ),
    "the slug of another": (SHOP, lambda d: d.update(slug="mobility"), "2 of them have the slug mobility"),
}


@pytest.mark.parametrize(("path", "change", "fault"), BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_refused_in_a_line(files: Path, path: str, change: Callable[[Document], object], fault: str):
    edit(files, path, change)
    with pytest.raises(LakeError, match=f"^dashboards.*{fault}") as refused:
        validation.load(files)
    assert "\n" not in str(refused.value)


def test_what_is_no_yaml_is_refused_in_a_line(files: Path):
    (files / "charts" / "shop_orders.yaml").write_text("uuid: [")
    with pytest.raises(LakeError, match=r"charts/shop_orders\.yaml: is no YAML: ") as refused:
        validation.load(files)
    assert "\n" not in str(refused.value)
    (files / "charts" / "shop_orders.yaml").write_text("[]")
    with pytest.raises(LakeError, match=r"charts/shop_orders\.yaml: is no mapping"):
        validation.load(files)


def test_another_folder_is_refused(tmp_path: Path):
    with pytest.raises(LakeError, match=r"has no metadata\.yaml"):
        bundle.read(tmp_path)


def test_gold_that_loses_a_column_is_found_out():
    contract = {table: dict(columns) for table, columns in gold_contract().items()}
    del contract["gold.mobility_trips_by_hour"]["revenue"]
    with pytest.raises(
        LakeError, match=r"mobility_trips_by_hour\.yaml: gold\.mobility_trips_by_hour has no column revenue$"
    ):
        validation.check(TREE, contract)
