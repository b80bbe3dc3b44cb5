"""Serving one table: what is declared for it, and one pass of plan, apply, refresh and probe.

What belongs here: the two ways a table is served, and the pass that is the same for both. What does not: the statements
(`ddl`), what has to be done (`plan`), comparing figures (`probe`), and where gold's own figures come from
(`orchestration`).

In either mode readers look at the view `bi.<table>`, which stays while what is behind it is made anew:

- `file`: an external table over the current exported snapshot, and the view over it.
- `iceberg_catalog`: the table in an Iceberg catalog behind a REST service, and the view over it; if `materialised_by`
  names a column, a copy in StarRocks' own storage is between the two.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import SecretStr

from infra_assets.starrocks import ddl, plan, probe
from infra_assets.starrocks.client import Row, Session
from infra_assets.starrocks.probe import Finding, Probe
from lake.errors import LakeError, NotConfiguredError
from lake.settings import READERS, Settings

Mode = Literal["file", "iceberg_catalog", "none"]

NAMESPACE = "gold"  # of the Iceberg catalog
LATENCY_MS = 1000.0
PREVIEW_ROWS = 5


@dataclass(frozen=True)
class Table:
    """A table to be served.

    Attributes:
        name: its name, the same on both sides.
        columns: its contract.
        comment: what it is.
        mode: see above; `none`: it is not served.
        measure: the column whose sum, least and greatest value must be gold's.
        day: the column whose first and last date must be gold's.
        latency_ms: how long the probe may take before a check warns.
        materialised_by: the column by which a copy is spread over StarRocks' machines; None: there is no copy.
    """

    name: str
    columns: tuple[ddl.Column, ...]
    comment: str = ""
    mode: Mode = "file"
    measure: str | None = None
    day: str | None = None
    latency_ms: float = LATENCY_MS
    materialised_by: str | None = None

    def __post_init__(self) -> None:
        names = {column.name for column in self.columns}
        for what in ("measure", "day", "materialised_by"):
            if (column := getattr(self, what)) not in {None, *names}:
                raise ddl.DeclarationError(f"{self.name}: {what} {column!r} is none of its columns")
        if self.materialised_by and self.mode != "iceberg_catalog":
            raise ddl.DeclarationError(f"{self.name}: StarRocks allows no materialised view over a table of files")


@dataclass(frozen=True)
class Declared:
    """What StarRocks is to have of a table: the objects in the order of their making, and the table that has the rows:
    that of the files, or that of the catalog.
    """

    objects: tuple[ddl.Declared, ...]
    source: ddl.Source


@dataclass(frozen=True)
class Pass:
    """What one pass did and found.

    Attributes:
        decisions: what was done to each object.
        probe: the figures as readers get them.
        preview: the first rows, by column.
        schema: whether the catalog's columns are the contract's; None: the table is one of files, whose columns are
            compared, and set right, by the decisions.
    """

    decisions: tuple[plan.Decision, ...]
    probe: Probe
    preview: tuple[Row, ...]
    schema: Finding | None = None

    @property
    def drift(self) -> tuple[str, ...]:
        """How columns in StarRocks differed before they were set right, in words."""
        return tuple(f"{one.declared.kind} {reason}" for one in self.decisions for reason in one.drift)


def properties(given: Mapping[str, str]) -> ddl.Properties:
    """Properties as set from outside; all are secrets but those whose key says that they are none."""
    return {key: value if ddl.OPEN_KEY.fullmatch(key) else SecretStr(value) for key, value in given.items()}


def declare(table: Table, settings: Settings, location: str | None) -> Declared:
    """What StarRocks is to have of a table.

    Args:
        table: the table.
        settings: name the database and the Iceberg catalog, and say how StarRocks gets at the files.
        location: URI of the folder of the current snapshot, for the mode `file`.

    Raises:
        NotConfiguredError: the table is in an Iceberg catalog, and none is set.
        LakeError: it was never exported, or StarRocks would refuse the declaration.
    """
    if table.mode == "iceberg_catalog":
        catalog = _catalog(settings, table.name)
        source = ddl.Source(NAMESPACE, table.name, catalog.name)
        return Declared((catalog, *_over(table, source, settings.starrocks_database)), source)
    if location is None:
        raise LakeError(f"{table.name}: was not exported yet; materialize serving/exports/{table.name} first")
    database = settings.starrocks_database
    access = properties(_revealed(settings.starrocks_properties))
    files = ddl.ExternalTable(database, table.name, table.columns, location, table.comment, access)
    source = ddl.Source(database, table.name)
    return Declared((files, _view(table, source)), source)


def _catalog(settings: Settings, table: str) -> ddl.Catalog:
    if settings.starrocks_catalog_uri is None:
        raise NotConfiguredError(
            f"{table}: is served from an Iceberg catalog, and none is set; set LAKEGRAPH_STARROCKS_CATALOG_URI"
        )
    return ddl.Catalog(
        settings.starrocks_catalog,
        settings.starrocks_catalog_uri,
        comment="lakegraph's Iceberg tables.",
        properties=properties(_revealed(settings.starrocks_catalog_properties)),
    )


def _revealed(secret: Mapping[str, SecretStr]) -> Mapping[str, str]:
    return {key: value.get_secret_value() for key, value in secret.items()}


def _over(table: Table, source: ddl.Source, database: str) -> tuple[ddl.Declared, ...]:
    """What is over a catalog's table: the view, and the copy that it is over, if there is one."""
    if table.materialised_by is None:
        return (_view(table, source),)
    copy = ddl.MaterialisedView(database, table.name, table.columns, source, table.materialised_by, table.comment)
    return copy, _view(table, ddl.Source(database, table.name))


def _view(table: Table, source: ddl.Source) -> ddl.View:
    return ddl.View(READERS, table.name, table.columns, source, table.comment)


def planned(declared: Declared) -> tuple[str, ...]:
    """The statements that would make all of it where there is nothing, secrets as ***; asks nobody."""
    return tuple(text for one in declared.objects for text in plan.decide(one, None).statements())


def serve(session: Session, table: Table, declared: Declared) -> Pass:
    """Plan, apply, refresh, probe: afterwards StarRocks serves the current snapshot.

    Raises:
        LakeError: by what went wrong (`infra_assets.starrocks.client`, `plan.ForeignObjectError`).
    """
    decisions = []
    for one in declared.objects:  # a copy has its rows before the view is over it
        plan.look_anew(session, one)
        decisions.append(plan.plan(session, one))
        plan.apply(session, decisions[-1])
        plan.refresh(session, one)
    readers = ddl.Source(READERS, table.name)
    named = ", ".join(ddl.column_identifier(column.name) for column in table.columns)
    return Pass(
        tuple(decisions),
        probe.probe(session, readers, measure=table.measure, day=table.day),
        tuple(session.query(f"SELECT {named} FROM {readers.sql} LIMIT {PREVIEW_ROWS}")),  # noqa: S608 - quoted
        _schema(session, table, declared.source),
    )


def _schema(session: Session, table: Table, source: ddl.Source) -> Finding | None:
    """Whether a catalog's table has the contract's columns."""
    if source.catalog == ddl.OWN_CATALOG:
        return None
    rows = session.query(f"DESC {source.sql}")
    found = tuple(ddl.Column(str(row[0]), str(row[1])) for row in rows)
    return probe.schema(table.columns, found, same=ddl.same_family)
