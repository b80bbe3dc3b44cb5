"""What a gold model's `meta.lakegraph.serving` says: read exactly, refused by name where it is wrong."""

from typing import Any

import pytest

from infra_assets.starrocks.ddl import Column
from infra_assets.starrocks.serve import Table
from lake.errors import LakeError
from lake.exports import Shape
from orchestration.served import read_served


def model(name: str, schema: str = "gold", serving: dict[str, Any] | None = None) -> dict[str, Any]:
    meta = {"lakegraph": {"freshness": "hourly"} | ({"serving": serving} if serving is not None else {})}
    types = {"day": "date", "orders": "bigint"}
    columns = {name: {"name": name, "data_type": kind, "description": f"The {name}."} for name, kind in types.items()}
    description = f"What {name}\nholds.\n"
    return {"resource_type": "model", "schema": schema, "name": name, "config": {"meta": meta}} | {
        "description": description,
        "columns": columns,
    }


def manifest(*models: dict[str, Any]) -> dict[str, Any]:
    return {"nodes": {f"model.lakegraph.{number}": one for number, one in enumerate(models)}}


def test_every_gold_table_is_served_and_no_other() -> None:
    found = read_served(manifest(model("shop_b"), model("shop_a"), model("shop_c", schema="silver")))
    assert [(one.table, one.key.to_user_string()) for one in found] == [
        ("shop_a", "gold/shop/a"),
        ("shop_b", "gold/shop/b"),
    ]
    columns = (Column("day", "date", "The day."), Column("orders", "bigint", "The orders."))
    assert found[0].starrocks == Table("shop_a", columns, "What shop_a holds.")
    assert found[0].description == "What shop_a holds."
    assert found[0].shapes == ()


def test_shapes_are_of_their_table() -> None:
    shapes = [{"name": "shop_a_monthly", "sql": "select 1", "description": "By month."}]
    (found,) = read_served(manifest(model("shop_a", serving={"shapes": shapes})))
    assert found.shapes == (Shape("shop_a_monthly", "shop_a", "select 1", "By month."),)


def test_how_starrocks_has_a_table_is_said_beside_it() -> None:
    said = {"mode": "iceberg_catalog", "measure": "orders", "day": "day", "latency_ms": 50, "materialised_by": "day"}
    (found,) = read_served(manifest(model("shop_a", serving={"starrocks": said})))
    table = found.starrocks
    assert (table.mode, table.measure, table.day) == ("iceberg_catalog", "orders", "day")
    assert (table.latency_ms, table.materialised_by) == (50, "day")


def test_a_type_that_starrocks_lacks_hinders_only_a_table_that_is_served() -> None:
    odd = model("shop_a", serving={"starrocks": {"mode": "none"}})
    odd["columns"]["at"] = {"name": "at", "data_type": "time", "description": ""}
    (found,) = read_served(manifest(odd))
    assert found.starrocks.mode == "none"
    odd["config"]["meta"]["lakegraph"]["serving"] = {}
    with pytest.raises(LakeError, match=r"shop_a: meta\.lakegraph\.serving\.starrocks: column 'at': time: StarRocks"):
        read_served(manifest(odd))


@pytest.mark.parametrize(
    ("serving", "reason"),
    [
        ({"starrocks": {"mode": "files"}}, r"shop_a: meta\.lakegraph\.serving\.starrocks\.mode: Input should be"),
        ({"starrocks": {"measure": "sales"}}, r"starrocks: shop_a: measure 'sales' is none of its columns"),
        (
            {"starrocks": {"materialised_by": "day"}},
            "shop_a: StarRocks allows no materialised view over a table of files",
        ),
        ({"shape": []}, r"shop_a: meta\.lakegraph\.serving\.shape: Extra inputs are not permitted"),
        ({"shapes": [{"name": "b"}]}, r"shop_a: meta\.lakegraph\.serving\.shapes\.0\.sql: Field required"),
        *(
            (
                {"shapes": [{"name": name, "sql": "select 1"}]},
                r"shop_a: .*serving\.shapes\.0\.name: String should match",
            )
            for name in ("../../evil", "a/b", "", "1a", "a" * 65, "a\n")
        ),
        ({"shapes": [{"name": "shop_a", "sql": "select 1"}]}, "shop_a: two tables, or shapes of them, have this name"),
    ],
)
def test_what_cannot_be_is_refused_by_name(serving: dict[str, Any], reason: str) -> None:
    with pytest.raises(LakeError, match=reason):
        read_served(manifest(model("shop_a", serving=serving)))
