"""Which gold tables reach people, and how: dbt's manifest read once, as frozen objects.

What belongs here: `meta.lakegraph.serving` of a gold model, and its contract. What does not: doing anything with them.

Every gold table is served; a model says only what differs:

    meta:
      lakegraph:
        serving:
          shapes:                       # the table in another shape, for a consumer who needs it
            - name: shop_orders_monthly
              description: …
              sql: select … from shop_orders_daily
          starrocks:                    # how StarRocks has it
            mode: file                  # or iceberg_catalog, or none
            measure: net_revenue        # compared with gold: sum, least and greatest value
            day: order_date             # compared with gold: first and last date
            latency_ms: 1000            # a check warns if the probe takes longer
            materialised_by: column     # iceberg_catalog: a copy in StarRocks, spread by this column
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

import dagster as dg
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from infra_assets.starrocks.ddl import COMMENT_LENGTH, NAME, Column
from infra_assets.starrocks.serve import LATENCY_MS, Mode, Table
from lake.errors import LakeError
from lake.exports import Shape
from orchestration.project import read_manifest
from orchestration.translators import asset_key

LAYER = "gold"


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=f"^{NAME.pattern}$")  # it names a folder, and a table of StarRocks
    sql: str
    description: str = ""


class _StarRocks(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    mode: Mode = "file"
    measure: str | None = None
    day: str | None = None
    latency_ms: float = LATENCY_MS
    materialised_by: str | None = None


class _Serving(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    shapes: tuple[_Shape, ...] = ()
    starrocks: _StarRocks = _StarRocks()


@dataclass(frozen=True)
class Served:
    """A gold table that is served.

    Attributes:
        table: its name in the schema `gold`.
        key: its asset.
        description: its first sentence says what it holds.
        starrocks: as it is registered in StarRocks, with its contract.
        shapes: what else is made of it.
    """

    table: str
    key: dg.AssetKey
    description: str
    starrocks: Table
    shapes: tuple[Shape, ...] = ()


@lru_cache(maxsize=1)
def served_tables() -> tuple[Served, ...]:
    """All of them, in the order of their names.

    Raises:
        LakeError: a model's `serving` says what cannot be; names the model and what is wrong.
    """
    return read_served(read_manifest())


def read_served(manifest: Mapping[str, Any]) -> tuple[Served, ...]:
    """As `served_tables`, of a manifest."""
    models = (node for node in manifest["nodes"].values() if node["resource_type"] == "model")
    found = sorted((_served(node) for node in models if node["schema"] == LAYER), key=lambda one: one.table)
    names = [name for one in found for name in (one.table, *(shape.name for shape in one.shapes))]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise LakeError(f"dbt_project: {twice[0]}: two tables, or shapes of them, have this name")
    return tuple(found)


def named(names: Sequence[str], tables: Sequence[Served]) -> tuple[Served, ...]:
    """Those of `tables` that have these names, in the order of the names; all of them if no name is given.

    Raises:
        LakeError: there is no table of a name; says which one may be meant.
    """
    known = {one.table: one for one in tables}
    for name in names:
        if name not in known:
            near = get_close_matches(name.removeprefix(f"{LAYER}."), known, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            raise LakeError(f"{LAYER}: there is no table {name!r}; {hint}")
    return tuple(known[name] for name in names) or tuple(tables)


def _served(node: Mapping[str, Any]) -> Served:
    name = node["name"]
    said = (node["config"].get("meta") or {}).get("lakegraph", {}).get("serving", {})
    try:
        serving = _Serving.model_validate(said)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise LakeError(f"dbt_project: {name}: meta.lakegraph.serving.{place}: {first['msg']}") from error
    description = _line(node["description"])
    columns = node["columns"].values() if serving.starrocks.mode != "none" else ()
    try:
        of_contract = tuple(Column.of(one["name"], one["data_type"], _line(one["description"])) for one in columns)
        starrocks = Table(name, of_contract, description, **dict(serving.starrocks))
    except LakeError as error:
        raise LakeError(f"dbt_project: {name}: meta.lakegraph.serving.starrocks: {error}") from error
    return Served(
        table=name,
        key=asset_key(LAYER, name),
        description=description,
        starrocks=starrocks,
        shapes=tuple(Shape(one.name, name, one.sql, one.description) for one in serving.shapes),
    )


def _line(text: str) -> str:
    """A description on one line, as long as StarRocks takes it."""
    return " ".join(text.split())[:COMMENT_LENGTH]
