"""What must hold of the files of `dashboards/`: Superset itself answers a wrong one with a 500 that gives no reason.

What belongs here: one small rule after another, each with a sentence for whoever wrote the file. What does not: reading
(`infra_assets.superset.bundle`), and whether the engine likes the SQL (`infra_assets.superset.client` asks it).
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any
from uuid import UUID

from infra_assets.superset.bundle import (
    CHART_NULLS,
    COLUMN_NULLS,
    DASHBOARD_NULLS,
    DATASET_NULLS,
    METRIC_NULLS,
    ROOT,
    Chart,
    Dashboard,
    Database,
    Dataset,
    Filter,
    Tree,
    read,
    uuid_of,
)
from infra_assets.superset.contract import LAYER, Contract, gold_contract
from lake.errors import LakeError

VERSION = "1.0.0"
COLUMN_KEYS = ("x_axis", "series", "entity", "granularity_sqla")
COLUMN_LISTS = ("groupby", "groupby_b", "groupbyRows", "groupbyColumns", "columns", "all_columns")
METRIC_KEYS = ("metric", "timeseries_limit_metric", "timeseries_limit_metric_b")
METRIC_LISTS = ("metrics", "metrics_b", "percent_metrics")
FILTER_LISTS = ("adhoc_filters", "adhoc_filters_b")
SORT_KEY = "x_axis_sort"  # names a column, a metric, or how to sum up the series
SERIES_SORTS = frozenset({"name", "sum", "min", "max", "avg"})
GRAINS = (None, "P1D", "P1M", "P1Y")
DATES = ("DATE", "TIMESTAMP")
SYNONYMS = {"STRING": "VARCHAR", "TEXT": "VARCHAR", "INT": "INTEGER", "DATETIME": "TIMESTAMP"}
GRID_COLUMNS = 12

Keys = tuple[frozenset[str], frozenset[str]]  # that must be there, and that may


def _keys(must: str, may: Iterable[str] = ()) -> Keys:
    return frozenset(must.split()), frozenset(may)


# What may be absent is set to null on import; what must be there would keep its old value.
KEYS: Mapping[type, Keys] = {
    Database: _keys(
        "version uuid database_name sqlalchemy_uri expose_in_sqllab allow_run_async allow_ctas allow_cvas allow_dml "
        "allow_csv_upload cache_timeout impersonate_user extra"
    ),
    Dataset: _keys("version uuid database_uuid schema table_name columns metrics", {*DATASET_NULLS, "extra"}),
    Chart: _keys("version uuid dataset_uuid slice_name viz_type params", CHART_NULLS),
    Dashboard: _keys("version uuid slug dashboard_title published metadata position", DASHBOARD_NULLS),
}
COLUMN = _keys("column_name type groupby filterable", COLUMN_NULLS)
METRIC = _keys("metric_name expression", METRIC_NULLS)
TIMESERIES = ("x_axis", "metrics")
# The kinds of chart, each with the params that it cannot be without; a table's depend on its mode.
CHARTS: Mapping[str, tuple[str, ...]] = {
    "big_number": ("metric", "x_axis"),
    "big_number_total": ("metric",),
    "echarts_area": TIMESERIES,
    "echarts_timeseries_bar": TIMESERIES,
    "echarts_timeseries_line": TIMESERIES,
    "funnel": ("metric", "groupby"),
    "mixed_timeseries": (*TIMESERIES, "metrics_b"),
    "pie": ("metric", "groupby"),
    "pivot_table_v2": ("metrics", "groupbyRows", "groupbyColumns"),
    "table": ("query_mode",),
}
MODES: Mapping[str, tuple[str, ...]] = {"aggregate": ("metrics",), "raw": ("all_columns",)}
DATE_FILTER = "filter_time"
FILTERS = (DATE_FILTER, "filter_select", "filter_range")


def load(root: Path = ROOT) -> Tree:
    """The files below `root`, once they are found to be valid by gold's contract.

    Raises:
        LakeError: see `infra_assets.superset.bundle.read` and `check`.
    """
    tree = read(root)
    check(tree, gold_contract())
    return tree


def check(tree: Tree, contract: Contract) -> None:
    """Refuse files that Superset would not import, or whose charts would fail.

    Args:
        tree: the files.
        contract: gold's tables (`schema.table`), each with its columns and their types.

    Raises:
        LakeError: the first fault, and how many more there are.
    """
    found = faults(tree, contract)
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise LakeError(f"{found[0]}{more}")


def faults(tree: Tree, contract: Contract) -> tuple[str, ...]:
    """Everything that is wrong, one line each, beginning with the file."""
    return (
        *_identities(tree),
        *(fault for one in tree.datasets for fault in _readable(one.path, _dataset(one, tree, contract))),
        *(fault for one in tree.charts for fault in _readable(one.path, _chart(one, tree))),
        *(fault for one in tree.dashboards for fault in _readable(one.path, _dashboard(one, tree))),
    )


def _readable(path: str, found: Iterator[str]) -> Iterator[str]:
    """The faults found; what is of so wrong a kind that a rule cannot look into it is one, too."""
    try:
        yield from found
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        yield _said(path, f"something is of a wrong kind: {error}")


def _said(path: str, fault: str) -> str:
    return f"dashboards/{path}.yaml: {fault}"


def _identities(tree: Tree) -> Iterator[str]:
    if tree.metadata.get("type") != "assets":
        yield _said("metadata", "type is not `assets`")
    every: tuple[Database | Dataset | Chart | Dashboard, ...]
    every = (*tree.databases, *tree.datasets, *tree.charts, *tree.dashboards)
    for one in every:
        if one.uuid != uuid_of(one.path):
            yield _said(one.path, f"uuid is not that of its path, which is {uuid_of(one.path)}")
        if one.document.get("version") != VERSION:
            yield _said(one.path, f"version is not {VERSION}")
        yield from (_said(one.path, fault) for fault in _key_faults(one.document, KEYS[type(one)]))
        if not isinstance(one.document.get("cache_timeout"), int | None):
            yield _said(one.path, "cache_timeout is no number of seconds")
    for database in tree.databases:
        if database.document.get("extra") != {}:
            yield _said(database.path, "extra must be {}: Superset fails without the key")
    for slug, count in Counter(one.slug for one in tree.dashboards).items():
        if count > 1:
            yield f"dashboards: {count} of them have the slug {slug}"


def _key_faults(document: Mapping[str, Any], keys: Keys) -> Iterator[str]:
    must, may = keys
    yield from (f"{key} is missing" for key in sorted(must - document.keys()))
    yield from (f"{key} is no key of it" for key in sorted(document.keys() - must - may))


def _dataset(dataset: Dataset, tree: Tree, contract: Contract) -> Iterator[str]:
    if dataset.database not in {database.uuid for database in tree.databases}:
        yield _said(dataset.path, f"database_uuid {dataset.database} is of no database here")
    if not dataset.metrics:
        yield _said(dataset.path, "has no metric: nothing would tell whether it answers")
    for column in _unknown(dataset.date, dataset.columns):
        yield _said(dataset.path, f"main_dttm_col {column} is not among its columns")
    for kind, name, keys in (("columns", "column_name", COLUMN), ("metrics", "metric_name", METRIC)):
        for one in dataset.document[kind]:
            yield from (_said(dataset.path, f"{kind}: {one[name]}: {fault}") for fault in _key_faults(one, keys))
    for metric, expression in dataset.metrics.items():
        yield from (_said(dataset.path, f"metric {metric} {fault}") for fault in _metric(expression, dataset))
    yield from _of_gold(dataset, contract)


def _of_gold(dataset: Dataset, contract: Contract) -> Iterator[str]:
    """It is a table of gold, or a query of such."""
    if missing := sorted(dataset.reads - contract.keys()):
        yield _said(dataset.path, f"gold has no table {missing[0]}")
    elif dataset.sql is None:
        yield from _promised(dataset, contract[dataset.relation])
    elif dataset.relation in contract:
        yield _said(dataset.path, f"table_name {dataset.table} is that of a table; a query needs one of its own")
    else:
        try:
            result = _result(dataset.sql, dataset.reads, contract)
        except ValueError as error:
            yield _said(dataset.path, f"sql: {error}")
        else:
            yield from _promised(dataset, result)


def _result(sql: str, reads: AbstractSet[str], contract: Contract) -> Mapping[str, str]:
    """The columns that a query of gold gives, and their types, by gold's contract.

    Raises:
        ValueError: it is no query, or one of other tables than `reads`, which are as its text has them, or of columns
            that are not there.
    """
    import sqlglot
    from sqlglot import exp
    from sqlglot.optimizer.annotate_types import annotate_types
    from sqlglot.optimizer.qualify import qualify

    known = {relation.partition(".")[2]: dict(columns) for relation, columns in contract.items()}
    schema: dict[str, object] = {LAYER: known}
    try:
        parsed = sqlglot.parse_one(sql, read="duckdb")
        others = sorted({one.sql() for one in parsed.find_all(exp.Table) if f"{one.db}.{one.name}" not in reads})
        if others or not isinstance(parsed, exp.Query):
            raise ValueError(f"{others[0]} is not written as gold.…" if others else "is no query")
        typed = annotate_types(qualify(parsed, schema=schema, dialect="duckdb"), schema=schema, dialect="duckdb")
    except sqlglot.errors.SqlglotError as error:
        raise ValueError(" ".join(str(error).split())) from None
    return {one.alias_or_name: one.type.sql("duckdb") for one in typed.selects if one.type is not None}


def _metric(expression: str, dataset: Dataset) -> Iterator[str]:
    import sqlglot
    from sqlglot import exp

    try:
        parsed = sqlglot.parse_one(expression, read="duckdb")
    except sqlglot.errors.SqlglotError:
        yield f"is no SQL: {expression}"
        return
    for column in _unknown(sorted({one.name for one in parsed.find_all(exp.Column)}), dataset.columns):
        yield f"needs a column {column}, which is not among its columns"


def _promised(dataset: Dataset, known: Mapping[str, str]) -> Iterator[str]:
    """Its columns are those that gold's contract promises, of the same types."""
    temporal = {column["column_name"] for column in dataset.document["columns"] if column.get("is_dttm")}
    for name, declared in dataset.columns.items():
        if name not in known:
            yield _said(dataset.path, f"{dataset.relation} has no column {name}")
        elif _type(declared) != _type(known[name]):
            yield _said(dataset.path, f"column {name} is {known[name]} in gold, not {declared}")
        elif (name in temporal) != (_type(declared) in DATES):
            yield _said(dataset.path, f"column {name}: is_dttm must say whether it is a date")


def _chart(chart: Chart, tree: Tree) -> Iterator[str]:
    dataset = next((one for one in tree.datasets if one.uuid == chart.dataset), None)
    if dataset is None:
        yield _said(chart.path, f"dataset_uuid {chart.dataset} is of no dataset here")
        return
    if chart.params.get("viz_type") != chart.document.get("viz_type"):
        yield _said(chart.path, "viz_type differs between the chart and its params")
    grain = chart.params.get("time_grain_sqla")
    if grain not in GRAINS:
        yield _said(
            chart.path,
            f"time_grain_sqla {grain}: hours are wrong on StarRocks, and weeks begin on another day by engine; "
            "take a column of gold",
        )
    yield from (_said(chart.path, fault) for fault in _chart_kind(chart.params))
    yield from (_said(chart.path, fault) for fault in _chart_names(chart.params, dataset))
    yield from (_said(chart.path, fault) for fault in _chart_filters(chart.params, dataset))


def _chart_kind(params: Mapping[str, Any]) -> Iterator[str]:
    """It is of a kind that is known, and has what that kind needs: without a metric, say, it would show nothing."""
    kind, mode = str(params.get("viz_type")), str(params.get("query_mode"))
    if kind not in CHARTS:
        yield f"viz_type {kind} is none of {', '.join(CHARTS)}"
        return
    if kind == "table" and mode not in MODES:
        yield f"query_mode {mode} is none of {', '.join(MODES)}"
    needed = CHARTS[kind] + (MODES.get(mode, ()) if kind == "table" else ())
    yield from (f"{key} is missing: a chart {kind} needs it" for key in needed if not params.get(key))


def _chart_names(params: Mapping[str, Any], dataset: Dataset) -> Iterator[str]:
    """What a chart names by column or metric is there."""
    for key in (*COLUMN_KEYS, *COLUMN_LISTS):
        for name in _unknown(params.get(key), dataset.columns):
            yield f"{key}: {dataset.relation} has no column {name}"
    for key in (*METRIC_KEYS, *METRIC_LISTS):
        for name in _unknown(params.get(key), dataset.metrics):
            yield f"{key}: the dataset {dataset.table} has no metric {name}"
    for name in _unknown(params.get(SORT_KEY), {*dataset.columns, *dataset.metrics, *SERIES_SORTS}):
        yield f"{SORT_KEY}: the dataset {dataset.table} has no column or metric {name}"
    for order in params.get("order_by_cols", []):
        name, _ascending = _order(order)
        for unknown in _unknown(name, dataset.columns):
            yield f"order_by_cols: {dataset.relation} has no column {unknown}"
    formatted = [one.get("column") for one in params.get("conditional_formatting", [])]
    for key, names in (("conditional_formatting", formatted), ("column_config", [*params.get("column_config", {})])):
        for name in _unknown(names, {*dataset.columns, *dataset.metrics}):
            yield f"{key}: the dataset {dataset.table} has no column or metric {name}"


def _order(order: Any) -> tuple[Any, Any]:
    try:
        name, ascending = json.loads(order)
    except (TypeError, ValueError):
        raise ValueError(f"order_by_cols: {order} is not like '[\"column\", true]'") from None
    return name, ascending


def _chart_filters(params: Mapping[str, Any], dataset: Dataset) -> Iterator[str]:
    """What a dashboard's filter of dates is to reach has to say which date it means."""
    for key in FILTER_LISTS if "metrics_b" in params else FILTER_LISTS[:1]:
        filters = params.get(key)
        if filters is None:
            yield f"{key} is missing"
            continue
        if wrong := [one for one in filters if not isinstance(one, dict)]:
            yield f"{key}: {wrong[0]} is no filter"
            continue
        for name in _unknown([one.get("subject") for one in filters], dataset.columns):
            yield f"{key}: {dataset.relation} has no column {name}"
        dated = {one.get("subject") for one in filters if one.get("operator") == "TEMPORAL_RANGE"}
        if dataset.date and dataset.date not in dated:
            yield f"{key}: no TEMPORAL_RANGE of {dataset.date}: a dashboard's dates would pass it by"


def _dashboard(dashboard: Dashboard, tree: Tree) -> Iterator[str]:
    position = dashboard.document["position"]
    charts = {chart.uuid for chart in tree.charts}
    for uuid in dashboard.charts:
        if uuid not in charts:
            yield _said(dashboard.path, f"chart {uuid} is of no chart here")
    for uuid, count in Counter(dashboard.charts).items():
        if count > 1:
            yield _said(dashboard.path, f"chart {uuid} is there {count} times")
    if not dashboard.charts:
        yield _said(dashboard.path, "has no chart")
    yield from (_said(dashboard.path, fault) for fault in _grid(position))
    _, used = tree.used(dashboard)
    by_uuid = {dataset.uuid: dataset for dataset in tree.datasets}
    for number, count in Counter(one.id for one in dashboard.filters).items():
        if count > 1:
            yield _said(dashboard.path, f"{count} filters have the id {number}")
    for one in dashboard.filters:
        yield from (_said(dashboard.path, f"filter {one.name}: {fault}") for fault in _filter(one, by_uuid))
        if not any(one.narrows(dataset) for dataset in used):
            yield _said(dashboard.path, f"filter {one.name}: no chart has its column")


def _filter(one: Filter, by_uuid: Mapping[UUID, Dataset]) -> Iterator[str]:
    if one.kind not in FILTERS:
        yield f"filterType {one.kind} is none of {', '.join(FILTERS)}"
    elif (one.kind == DATE_FILTER) != (one.column is None):
        yield f"filterType {one.kind}: only {DATE_FILTER} has no column, and it has none"
    if one.dataset is None:
        return
    found = by_uuid.get(one.dataset)
    if found is None:
        yield f"datasetUuid {one.dataset} is of no dataset here"
    elif one.column not in found.columns:
        yield f"{found.relation} has no column {one.column}"


def _grid(position: Mapping[str, Any]) -> Iterator[str]:
    """Each place is a child of the last of its parents, and a row is no wider than the page."""
    places = {name: place for name, place in position.items() if isinstance(place, dict)}
    children = Counter(child for place in places.values() for child in place.get("children", []))
    for name, place in places.items():
        if place.get("id") != name:
            yield f"{name}: its id is {place.get('id')}"
        for child in place.get("children", []):
            if child not in places:
                yield f"{name}: its child {child} is nowhere"
        if name not in {"ROOT_ID", "HEADER_ID"}:
            if children[name] != 1:
                yield f"{name}: is in {children[name]} places of the grid, not in one"
            parents = place.get("parents") or [None]
            if name not in places.get(parents[-1], {}).get("children", []):
                yield f"{name}: its parent {parents[-1]} does not have it"
        width = sum(places.get(child, {}).get("meta", {}).get("width", 0) for child in place.get("children", []))
        if place.get("type") == "ROW" and width > GRID_COLUMNS:
            yield f"{name}: its charts are {width} columns wide, of {GRID_COLUMNS}"


def _unknown(names: Any, known: Any) -> list[Any]:
    """Those of the names that are not known; a name, several, or none."""
    wanted = names if isinstance(names, list) else [names]
    return [name for name in wanted if name is not None and (not isinstance(name, str) or name not in known)]


def _type(name: str) -> str:
    """A type's name by which those of dbt and Superset can be compared: `DECIMAL(18,2)`, `VARCHAR`."""
    plain = re.sub(r"\s+", "", name).upper()
    return SYNONYMS.get(plain, plain)
