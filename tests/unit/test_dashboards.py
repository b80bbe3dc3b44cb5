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
    assert [one.slug for one in TREE.dashboards] == ["membership", "mobility", "sales", "shop"]


def test_every_uuid_is_that_of_its_path():
    paths = [file.relative_to(bundle.ROOT).with_suffix("").as_posix() for file in bundle.ROOT.rglob("*.yaml")]
    found = {one.path: one.uuid for one in (*TREE.databases, *TREE.datasets, *TREE.charts, *TREE.dashboards)}
    assert found == {path: bundle.uuid_of(path) for path in paths if path != "metadata"}
    assert found["charts/shop_orders"] == UUID("a9523f2e-3b73-5f4f-994c-d6f6b6b44c32")  # for ever: it is in Supersets


def test_every_table_of_gold_is_shown_by_a_chart_that_is_on_a_dashboard():
    shown = {table for one in TREE.dashboards for table in bundle.tables(TREE, one.slug)}
    assert shown == gold_contract().keys()
    assert {uuid for one in TREE.dashboards for uuid in one.charts} == {chart.uuid for chart in TREE.charts}


def test_every_metric_is_shown_by_a_chart():
    """One that nobody looks at may be wrong for ever, and is asked for at each import."""
    used = {(chart.dataset, name) for chart in TREE.charts for name in _texts(chart.params)}
    assert [(one.table, name) for one in TREE.datasets for name in one.metrics if (one.uuid, name) not in used] == []


def _texts(value: Any) -> set[str]:
    if isinstance(value, dict):
        value = list(value.values())
    return {text for part in value for text in _texts(part)} if isinstance(value, list) else {str(value)}


def test_trips_and_revenue_are_shown_by_day_zone_and_hour():
    charts = TREE.used(TREE.dashboard("mobility"))[0]
    shown = {
        (metric, chart.params.get("x_axis") or chart.params["groupby"][0])
        for chart in charts
        for metric in chart.params.get("metrics", [])
    }
    by = ("pickup_date", "zone", "pickup_hour")
    assert {(metric, column) for metric in ("total_trips", "total_revenue") for column in by} <= shown


def test_the_five_questions_of_membership_are_answered():
    """Each by its own mart: how far users come, what channels bring, who stays, who moves, what deviates."""
    charts = TREE.used(TREE.dashboard("membership"))[0]
    tables = {one.uuid: one.table.removeprefix("membership_") for one in TREE.datasets}
    kinds = {(tables[chart.dataset], chart.params["viz_type"]) for chart in charts}
    assert {
        ("topup_funnel", "funnel"),
        ("topup_funnel", "echarts_timeseries_line"),
        ("channel_performance", "echarts_timeseries_bar"),
        ("channel_performance", "table"),
        ("user_retention", "pivot_table_v2"),
        ("membership_movement", "echarts_timeseries_bar"),
        ("deduction_deviation", "echarts_timeseries_bar"),
        ("deduction_deviation", "table"),
    } <= kinds


def test_the_questions_of_sales_are_answered():
    """Revenue, discounts and services; what recurs, who leaves; what is owed and what was paid."""
    charts = TREE.used(TREE.dashboard("sales"))[0]
    tables = {one.uuid: one.table.removeprefix("sales_") for one in TREE.datasets}
    shown = {
        (tables[chart.dataset], chart.params["viz_type"], one)
        for chart in charts
        for one in ([chart.params["metric"]] if "metric" in chart.params else chart.params["metrics"])
    }
    by = {(chart.params.get("x_axis"), *chart.params.get("groupby", [])) for chart in charts}
    assert {
        ("revenue_monthly", "echarts_timeseries_bar", "total_net_revenue"),
        ("revenue_monthly", "echarts_timeseries_line", "discount_share"),
        ("invoice_lines", "table", "line_revenue"),
        ("churn_monthly", "echarts_timeseries_line", "monthly_churn"),
        ("receivables_ageing", "echarts_timeseries_bar", "total_outstanding"),
        ("fct_payment", "echarts_timeseries_bar", "received"),
    } <= shown
    movement = {
        ("churn_monthly", "echarts_timeseries_bar", one)
        for one in ("new_mrr", "expansion", "contraction", "churned_mrr")
    }
    assert movement <= shown
    assert {("revenue_month", "category"), ("revenue_month", "segment"), (None, "service_name", "category")} <= by


def test_a_query_rests_on_the_tables_that_it_joins():
    lines = next(one for one in TREE.datasets if one.table == "sales_invoice_lines")
    dimensions = ("customer", "service", "employee", "date")
    assert lines.reads == {"gold.sales_fct_invoice_line", *(f"gold.sales_dim_{one}" for one in dimensions)}
    assert lines.reads <= bundle.tables(TREE, "sales")
    assert lines.relation not in bundle.tables(TREE, "sales")


def test_a_dashboard_rests_on_the_tables_of_its_charts_and_filters():
    assert bundle.tables(TREE, "mobility") == {
        "gold.mobility_trips_by_zone_day",
        "gold.mobility_trips_by_hour",
        "gold.mobility_green_trips_by_payment_type",
        "gold.mobility_users_by_city",
    }
    with pytest.raises(LakeError, match=r"no 'finance'; there are membership, mobility, sales, shop$"):
        bundle.tables(TREE, "finance")


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


def test_in_starrocks_the_views_are_read_that_stay():
    """The fault: tables there are made anew with each snapshot, and those of a catalog are in no `gold`."""
    documents = unzip(bundle.render(TREE, "starrocks://reader@host:9030/default_catalog.bi"))
    assert {one["schema"] for path, one in documents.items() if path.startswith("datasets/")} == {"bi"}
    joined = documents["datasets/gold/sales_invoice_lines"]["sql"]
    assert joined.count(" bi.sales_") == 5
    assert "gold" not in joined
    near = unzip(bundle.render(TREE, URI))["datasets/gold/sales_invoice_lines"]["sql"]
    assert near == joined.replace(" bi.", " gold.")
    assert unzip(bundle.render(TREE, URI))["datasets/gold/shop_orders_daily"]["schema"] == "gold"


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
            assert document[kept[kind]][bundle.OWNER] == "Lakegraph gold"


def test_a_filter_leaves_the_charts_alone_that_do_not_have_its_column():
    dashboard = unzip(bundle.render(TREE, URI))["dashboards/mobility"]
    places = [place["meta"] for place in dashboard["position"].values() if isinstance(place, dict) and "meta" in place]
    names = {meta["chartId"]: meta["sliceName"] for meta in places if "chartId" in meta}
    assert len(names) == len(TREE.dashboard("mobility").charts)
    left_alone = {
        one["name"]: {names[number] for number in one["scope"]["excluded"]}
        for one in dashboard["metadata"]["native_filter_configuration"]
    }
    by_hour = {"Trips by hour of the day", "Revenue by hour of the day"}
    undated = {"Green trips by payment", "Users by city"} | by_hour
    assert left_alone == {"Day": undated, "Borough": undated, "Service": undated - by_hour}


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


def _filter(document: Document, number: int) -> Document:
    return document["metadata"]["native_filter_configuration"][number]


ORDERS = "datasets/gold/shop_orders_daily"
BY_DAY = "charts/shop_revenue_by_day"
STOCK = "charts/shop_low_stock"
SHOP = "dashboards/shop"
NUMBER = "charts/shop_orders"
PRODUCTS = "charts/shop_products"
FUNNEL = "charts/membership_funnel"
COHORTS = "charts/membership_cohorts"
LINES = "datasets/gold/sales_invoice_lines"
RECURRING = "charts/sales_mrr"


def _sql(old: str, new: str) -> Callable[[Document], object]:
    """Another text in the query of a dataset."""
    return lambda document: document.update(sql=document["sql"].replace(old, new))


BROKEN = {
    "uuid of another path": (
        "charts/shop_orders",
        lambda d: d.update(uuid=ELSEWHERE),
        "charts/shop_orders.yaml: uuid is not that of its path",
    ),
    "no uuid": (SHOP, lambda d: d.pop("uuid"), "dashboards/shop.yaml: uuid is missing"),
    "no real uuid": (SHOP, lambda d: d.update(uuid="shop"), "dashboards/shop.yaml: badly formed"),
    "no columns": (ORDERS, lambda d: d.pop("columns"), "shop_orders_daily.yaml: columns is missing"),
    "no extra of the database": ("databases/gold", lambda d: d.pop("extra"), "gold.yaml: extra is missing"),
    "another extra of the database": (
        "databases/gold",
        lambda d: d.update(extra=None),
        "gold.yaml: extra must be {}",
    ),
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
        lambda d: _filter(d, 1)["targets"][0]["column"].update(name="brand"),
        "filter Category: gold.shop_product_performance has no column brand",
    ),
    "a filter's dataset": (
        SHOP,
        lambda d: _filter(d, 1)["targets"][0].update(datasetUuid=ELSEWHERE),
        f"filter Category: datasetUuid {ELSEWHERE} is of no dataset here",
    ),
    "a chart of no kind": (BY_DAY, lambda d: (d.pop("viz_type"), d["params"].pop("viz_type")), "viz_type is missing"),
    "a chart of an unknown kind": (
        BY_DAY,
        lambda d: (d.update(viz_type="bars"), d["params"].update(viz_type="bars")),
        "viz_type bars is none of big_number, ",
    ),
    "an unknown key of a column": (
        ORDERS,
        lambda d: _column(d, "refunds").update(vebose_name="Refunds"),
        "columns: refunds: vebose_name is no key of it",
    ),
    "no key of a column that would keep its value": (
        ORDERS,
        lambda d: _column(d, "refunds").pop("groupby"),
        "columns: refunds: groupby is missing",
    ),
    "an unknown key of a metric": (
        ORDERS,
        lambda d: _metric(d, "basket").update(format="d"),
        "metrics: basket: format is no key of it",
    ),
    "an unknown key of a dataset": (ORDERS, lambda d: d.update(table="x"), "shop_orders_daily.yaml: table is no key"),
    "an unknown key of a chart": (BY_DAY, lambda d: d.update(desription="x"), "desription is no key of it"),
    "an unknown key of a dashboard": (SHOP, lambda d: d.update(title="x"), "shop.yaml: title is no key of it"),
    "an unknown key of the database": ("databases/gold", lambda d: d.update(name="x"), "gold.yaml: name is no key"),
    "a time that is none": (BY_DAY, lambda d: d.update(cache_timeout="soon"), "cache_timeout is no number of seconds"),
    "a number without a metric": (
        NUMBER,
        lambda d: d["params"].pop("metric"),
        "metric is missing: a chart big_number_total needs it",
    ),
    "metrics by another name": (
        BY_DAY,
        lambda d: d["params"].update(metric=d["params"].pop("metrics")[0]),
        "metrics is missing: a chart echarts_timeseries_bar needs it",
    ),
    "a funnel without stages": (
        FUNNEL,
        lambda d: d["params"].update(groupby=[]),
        "groupby is missing: a chart funnel needs it",
    ),
    "a pivot's rows": (
        COHORTS,
        lambda d: d["params"].update(groupbyRows=["week"]),
        "groupbyRows: gold.membership_user_retention has no column week",
    ),
    "a pivot's columns": (
        COHORTS,
        lambda d: d["params"].update(groupbyColumns=["weeks"]),
        "groupbyColumns: gold.membership_user_retention has no column weeks",
    ),
    "a pivot of rows only": (
        COHORTS,
        lambda d: d["params"].pop("groupbyColumns"),
        "groupbyColumns is missing: a chart pivot_table_v2 needs it",
    ),
    "a table without metrics": (
        PRODUCTS,
        lambda d: d["params"].update(metrics=[]),
        "metrics is missing: a chart table",
    ),
    "a table without columns": (STOCK, lambda d: d["params"].pop("all_columns"), "all_columns is missing"),
    "a table of no mode": (STOCK, lambda d: d["params"].update(query_mode="rows"), "query_mode rows is none of aggreg"),
    "a colour of a column that is not there": (
        STOCK,
        lambda d: d["params"]["conditional_formatting"][0].update(column="stock"),
        "conditional_formatting: the dataset shop_stock_on_hand has no column or metric stock",
    ),
    "a setting of a column that is not there": (
        PRODUCTS,
        lambda d: d["params"]["column_config"].update(rating={}),
        "column_config: the dataset shop_product_performance has no column or metric rating",
    ),
    "a metric that is no SQL": (
        ORDERS,
        lambda d: _metric(d, "basket").update(expression="SUM("),
        r"metric basket is no SQL: SUM\(",
    ),
    "an order that is no JSON": (
        STOCK,
        lambda d: d["params"].update(order_by_cols=["on_hand"]),
        "order_by_cols: on_hand is not like ",
    ),
    "a chart's filter that is text": (
        STOCK,
        lambda d: d["params"]["adhoc_filters"].append("on_hand > 0"),
        "adhoc_filters: on_hand > 0 is no filter",
    ),
    "params that are text": (STOCK, lambda d: d.update(params="{}"), "shop_low_stock.yaml: params is no mapping"),
    "a list that is none": (
        STOCK,
        lambda d: d["params"].update(conditional_formatting=[1]),
        "shop_low_stock.yaml: something is of a wrong kind",
    ),
    "a filter of an unknown kind": (
        SHOP,
        lambda d: _filter(d, 1).update(filterType="filter_slect"),
        "filter Category: filterType filter_slect is none of",
    ),
    "a filter of dates by a column": (
        SHOP,
        lambda d: _filter(d, 1).update(filterType="filter_time"),
        "filter Category: filterType filter_time: only filter_time has no column",
    ),
    "filters of one id": (
        SHOP,
        lambda d: _filter(d, 1).update(id=_filter(d, 2)["id"]),
        "2 filters have the id NATIVE_FILTER-warehouse",
    ),
    "a number over time without its time": (
        RECURRING,
        lambda d: d["params"].pop("x_axis"),
        "x_axis is missing: a chart big_number needs it",
    ),
    "a query of a table that gold does not have": (
        LINES,
        _sql("sales_dim_service", "sales_dim_product"),
        "sales_invoice_lines.yaml: gold has no table gold.sales_dim_product",
    ),
    "a query of a table without its schema": (
        LINES,
        _sql("gold.sales_dim_service", "sales_dim_service"),
        "sql: sales_dim_service AS service is not written as gold",
    ),
    "a query of a table outside gold": (
        LINES,
        _sql("gold.sales_dim_service", "silver.sales_services"),
        "sql: silver.sales_services AS service is not written as gold",
    ),
    "a query of a column that gold does not have": (
        LINES,
        _sql("service.category", "service.kind AS category"),
        "sql: .*kind",
    ),
    "a query that does not give a column": (
        LINES,
        _sql("employee.team,", ""),
        "gold.sales_invoice_lines has no column team",
    ),
    "a query that gives another type": (
        LINES,
        _sql("fact.gross_amount", "CAST(fact.gross_amount AS DOUBLE) AS gross_amount"),
        r"column gross_amount is DOUBLE in gold, not DECIMAL\(18, 2\)",
    ),
    "a query that is no SQL": (LINES, _sql("LEFT JOIN", "LEFT JOIN ("), "sql: "),
    "a statement that is no query": (
        LINES,
        lambda d: d.update(sql="DELETE FROM gold.sales_dim_service"),
        "sql: is no query",
    ),
    "a query by the name of a table": (
        LINES,
        lambda d: d.update(table_name="sales_fct_payment"),
        "table_name sales_fct_payment is that of a table",
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
