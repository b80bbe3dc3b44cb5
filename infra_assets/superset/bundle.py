"""The files of `dashboards/` as objects, and as the bundle that Superset imports.

What belongs here: reading the files, what refers to what, and rendering. Pure but for `read`. What does not: what must
hold of the files (`infra_assets.superset.validation`) and talking to Superset (`infra_assets.superset.client`).

The files are in Superset's own export format, so that what was drawn in its interface can be pasted. Rendering adds
what nobody should have to write: where gold is, the nulls (a key that is absent keeps its old value on import), the
numbers by which a dashboard refers to its charts, which charts a filter leaves alone, and the path of the file with the
name of the database, by which an imported object is known as ours.
"""

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from uuid import NAMESPACE_URL, UUID, uuid5

import yaml

from lake.errors import LakeError
from lake.settings import READERS

Document = Mapping[str, Any]
Parsed = TypeVar("Parsed")

ROOT = Path(__file__).parents[2] / "dashboards"
NAMESPACE = uuid5(NAMESPACE_URL, "https://lakegraph.example/dashboards")
SOURCE = "lakegraph_source"  # the key, in what Superset keeps of an object, that holds the path of its file
OWNER = "lakegraph_owner"  # likewise, whose file: a fork that renames its database removes nothing of ours
ZIP_DATE = (2026, 1, 1, 0, 0, 0)  # equal files give an equal bundle
ZIP_MODE = 0o644 << 16
TABLE = r"(?i)\b{schema}\.(\w+)"  # as a query names it

COLUMN_NULLS: Document = {
    "advanced_data_type": None,
    "description": None,
    "expression": None,
    "extra": None,
    "is_active": True,
    "is_dttm": False,
    "python_date_format": None,
    "verbose_name": None,
}
METRIC_NULLS: Document = {
    "currency": None,
    "d3format": None,
    "description": None,
    "extra": None,
    "metric_type": None,
    "verbose_name": None,
    "warning_text": None,
}
DATASET_NULLS: Document = {
    "cache_timeout": None,
    "catalog": None,
    "default_endpoint": None,
    "description": None,
    "fetch_values_predicate": None,
    "filter_select_enabled": True,
    "main_dttm_col": None,
    "normalize_columns": False,
    "offset": 0,
    "params": None,
    "sql": None,
    "template_params": None,
}
CHART_NULLS: Document = {
    "cache_timeout": None,
    "certification_details": None,
    "certified_by": None,
    "description": None,
    "query_context": None,
}
DASHBOARD_NULLS: Document = {
    "certification_details": None,
    "certified_by": None,
    "css": None,
    "description": None,
}


@dataclass(frozen=True)
class Database:
    """A connection; its address comes from the settings."""

    path: str
    uuid: UUID
    name: str
    document: Document


@dataclass(frozen=True)
class Dataset:
    """A table of gold as Superset knows it, or a query that joins some: Superset's charts join nothing.

    Attributes:
        path: of its file below the root, without the suffix.
        uuid: as the file says.
        database: the connection's uuid.
        schema: of the table, or of those that the query names.
        table: its name; a query's is its own.
        sql: the query, if it is one.
        columns: column → type.
        metrics: metric → SQL expression.
        date: the column that a filter of dates means, if any.
        document: the file.
    """

    path: str
    uuid: UUID
    database: UUID
    schema: str
    table: str
    sql: str | None
    columns: Mapping[str, str]
    metrics: Mapping[str, str]
    date: str | None
    document: Document

    @property
    def relation(self) -> str:
        """`schema.table`."""
        return f"{self.schema}.{self.table}"

    @property
    def reads(self) -> frozenset[str]:
        """The tables under it, as `schema.table`."""
        if self.sql is None:
            return frozenset({self.relation})
        named = re.findall(TABLE.format(schema=re.escape(self.schema)), self.sql)
        return frozenset(f"{self.schema}.{table}" for table in named)


@dataclass(frozen=True)
class Chart:
    """A chart: a kind of picture of one dataset."""

    path: str
    uuid: UUID
    name: str
    dataset: UUID
    params: Document
    document: Document


@dataclass(frozen=True)
class Filter:
    """A filter of a dashboard; it is of dates if it names neither a dataset nor a column."""

    id: str
    kind: str
    name: str
    dataset: UUID | None
    column: str | None

    def narrows(self, dataset: Dataset) -> bool:
        """Whether it means something to a chart of that dataset."""
        if self.column is None:
            return dataset.date is not None
        return self.column in dataset.columns


@dataclass(frozen=True)
class Dashboard:
    """A page of charts.

    Attributes:
        path: of its file below the root, without the suffix.
        uuid: as the file says.
        slug: the last part of its URL.
        title: what its head says.
        charts: the uuids of its charts, in the order of the file.
        filters: in the order of the file.
        document: the file.
    """

    path: str
    uuid: UUID
    slug: str
    title: str
    charts: tuple[UUID, ...]
    filters: tuple[Filter, ...]
    document: Document


@dataclass(frozen=True)
class Tree:
    """All files below a root, each kind in the order of the paths."""

    metadata: Document
    databases: tuple[Database, ...]
    datasets: tuple[Dataset, ...]
    charts: tuple[Chart, ...]
    dashboards: tuple[Dashboard, ...]

    @property
    def owner(self) -> str:
        """Whose files these are, as imported objects say it: the name of the database."""
        return next((one.name for one in self.databases), "")

    def dashboard(self, slug: str) -> Dashboard:
        """The dashboard of that slug.

        Raises:
            LakeError: there is none; names those that there are.
        """
        found = next((one for one in self.dashboards if one.slug == slug), None)
        if found is None:
            raise LakeError(f"dashboards: no {slug!r}; there are {', '.join(one.slug for one in self.dashboards)}")
        return found

    def used(self, dashboard: Dashboard) -> tuple[tuple[Chart, ...], tuple[Dataset, ...]]:
        """The charts on a dashboard, and the datasets that these and its filters rest on."""
        charts = tuple(chart for chart in self.charts if chart.uuid in dashboard.charts)
        wanted = {chart.dataset for chart in charts} | {one.dataset for one in dashboard.filters}
        return charts, tuple(dataset for dataset in self.datasets if dataset.uuid in wanted)


def uuid_of(path: str) -> UUID:
    """The uuid of the object whose file is `path`, below the root and without its suffix."""
    return uuid5(NAMESPACE, path)


def read(root: Path = ROOT) -> Tree:
    """The files below `root`.

    Raises:
        LakeError: a file is no YAML, or lacks a key that it needs, or holds something else there; names both.
    """
    if not (root / "metadata.yaml").is_file():
        raise LakeError(f"dashboards: {root} has no metadata.yaml; is it the folder of the dashboards?")
    return Tree(
        _load(root / "metadata.yaml"),
        tuple(_parsed(root, "databases", _database)),
        tuple(_parsed(root, "datasets", _dataset)),
        tuple(_parsed(root, "charts", _chart)),
        tuple(_parsed(root, "dashboards", _dashboard)),
    )


def tables(tree: Tree, slug: str) -> frozenset[str]:
    """The tables that a dashboard rests on, as `schema.table`.

    Raises:
        LakeError: there is no such dashboard.
    """
    _, datasets = tree.used(tree.dashboard(slug))
    return frozenset(table for dataset in datasets for table in dataset.reads)


def digest(tree: Tree, slug: str) -> str:
    """Changes when what the dashboard shows, or how, changes: its code version.

    Raises:
        LakeError: there is no such dashboard.
    """
    dashboard = tree.dashboard(slug)
    charts, datasets = tree.used(dashboard)
    documents = [dict(document) for document in (dashboard.document, *(c.document for c in charts))]
    documents += [dict(dataset.document) for dataset in datasets]
    return hashlib.sha256(json.dumps(documents, sort_keys=True, default=str).encode()).hexdigest()[:12]


def render(tree: Tree, uri: str) -> bytes:
    """The bundle: a zip of YAML for `POST /api/v1/assets/import/`; the same for the same arguments.

    Args:
        tree: valid files.
        uri: the SQLAlchemy URI under which Superset reads gold.
    """
    starrocks = uri.startswith("starrocks")
    files = {"metadata": dict(tree.metadata)}
    files |= {one.path: _ours(one.document, sqlalchemy_uri=uri) for one in tree.databases}
    files |= {one.path: _rendered_dataset(one, tree, READERS if starrocks else one.schema) for one in tree.datasets}
    files |= {one.path: _rendered_chart(one, tree) for one in tree.charts}
    files |= {one.path: _rendered_dashboard(one, tree) for one in tree.dashboards}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as bundle:
        for path, document in files.items():
            entry = zipfile.ZipInfo(f"dashboards/{path}.yaml", ZIP_DATE)  # Superset wants one folder around all
            entry.external_attr = ZIP_MODE
            bundle.writestr(entry, yaml.safe_dump(document, sort_keys=False, allow_unicode=True))
    return buffer.getvalue()


def _ours(document: Document, **changes: Any) -> dict[str, Any]:
    """Superset's interface lets nobody edit what is managed externally: the next import would undo it."""
    return {**deepcopy(dict(document)), "is_managed_externally": True, **changes}


def _origin(tree: Tree, path: str) -> dict[str, str]:
    """What is kept with an object, by which it is known again."""
    return {SOURCE: path, OWNER: tree.owner}


def _rendered_dataset(dataset: Dataset, tree: Tree, schema: str) -> dict[str, Any]:
    """In StarRocks tables are made anew with each snapshot: what stays, and is to be read, are the views over them."""
    document = dataset.document
    return _ours(
        {**DATASET_NULLS, **document},
        schema=schema,
        sql=dataset.sql and re.sub(TABLE.format(schema=re.escape(dataset.schema)), rf"{schema}.\1", dataset.sql),
        extra={**(document.get("extra") or {}), **_origin(tree, dataset.path)},
        columns=[{**COLUMN_NULLS, **column} for column in document["columns"]],
        metrics=[{**METRIC_NULLS, **metric} for metric in document["metrics"]],
    )


def _rendered_chart(chart: Chart, tree: Tree) -> dict[str, Any]:
    return _ours({**CHART_NULLS, **chart.document}, params={**chart.params, **_origin(tree, chart.path)})


def _rendered_dashboard(dashboard: Dashboard, tree: Tree) -> dict[str, Any]:
    """Superset replaces the numbers by those that the charts get, so that any will do that differ."""
    document = _ours({**DASHBOARD_NULLS, **dashboard.document})
    names = {chart.uuid: chart.name for chart in tree.charts}
    numbers = {uuid: number for number, uuid in enumerate(dashboard.charts, 1)}
    for meta in _chart_metas(document):
        uuid = UUID(meta["uuid"])
        meta |= {"chartId": numbers[uuid], "sliceName": names[uuid]}
    datasets = {dataset.uuid: dataset for dataset in tree.datasets}
    of_chart = {chart.uuid: datasets[chart.dataset] for chart in tree.charts}
    configured = document["metadata"].get("native_filter_configuration", [])
    for native, read_filter in zip(configured, dashboard.filters, strict=True):
        native["scope"] = {
            "rootPath": ["ROOT_ID"],
            "excluded": [number for uuid, number in numbers.items() if not read_filter.narrows(of_chart[uuid])],
        }
    document["metadata"] |= _origin(tree, dashboard.path)
    return document


def _chart_metas(document: Document) -> Iterator[dict[str, Any]]:
    """The part of each chart's place on the grid that says which chart it is, and how large."""
    for place in document["position"].values():
        if isinstance(place, dict) and place.get("type") == "CHART":
            yield place["meta"]


# -- reading
# ------------------------------------------------------------------------------------------------------------


def _parsed(root: Path, kind: str, parse: Callable[[str, Document], Parsed]) -> Iterator[Parsed]:
    for file in sorted((root / kind).rglob("*.yaml")):
        path = file.relative_to(root).with_suffix("").as_posix()
        try:
            yield parse(path, _load(file))
        except KeyError as error:
            raise LakeError(f"dashboards/{path}.yaml: {error.args[0]} is missing") from None
        except (TypeError, ValueError, AttributeError) as error:
            raise LakeError(f"dashboards/{path}.yaml: {error}") from None


def _load(file: Path) -> Document:
    try:
        document = yaml.load(file.read_text(), Loader=yaml.CSafeLoader)
    except yaml.YAMLError as error:
        raise LakeError(f"{file}: is no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(document, dict):
        raise LakeError(f"{file}: is no mapping of keys to values")
    return document


def _database(path: str, document: Document) -> Database:
    return Database(path, UUID(document["uuid"]), document["database_name"], document)


def _dataset(path: str, document: Document) -> Dataset:
    return Dataset(
        path,
        UUID(document["uuid"]),
        UUID(document["database_uuid"]),
        document["schema"],
        document["table_name"],
        document.get("sql"),
        {column["column_name"]: column["type"] for column in document["columns"]},
        {metric["metric_name"]: metric["expression"] for metric in document["metrics"]},
        document.get("main_dttm_col"),
        document,
    )


def _chart(path: str, document: Document) -> Chart:
    dataset = UUID(document["dataset_uuid"])
    if not isinstance(document["params"], dict):
        raise TypeError("params is no mapping of keys to values")
    return Chart(path, UUID(document["uuid"]), document["slice_name"], dataset, document["params"], document)


def _dashboard(path: str, document: Document) -> Dashboard:
    configured = document["metadata"].get("native_filter_configuration", [])
    return Dashboard(
        path,
        UUID(document["uuid"]),
        document["slug"],
        document["dashboard_title"],
        tuple(UUID(meta["uuid"]) for meta in _chart_metas(document)),
        tuple(map(_filter, configured)),
        document,
    )


def _filter(document: Document) -> Filter:
    (target,) = document["targets"]
    what = document["id"], document["filterType"], document["name"]
    if not target:
        return Filter(*what, None, None)
    return Filter(*what, UUID(target["datasetUuid"]), target["column"]["name"])
