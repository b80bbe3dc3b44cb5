"""What a gold model's `meta.lakegraph.serving` says: read exactly, refused by name where it is wrong."""

from typing import Any

import pytest

from lake.errors import LakeError
from lake.exports import Shape
from orchestration.served import read_served


def model(name: str, schema: str = "gold", serving: dict[str, Any] | None = None) -> dict[str, Any]:
    meta = {"lakegraph": {"freshness": "hourly"} | ({"serving": serving} if serving is not None else {})}
    columns = {"day": {"name": "day", "data_type": "date"}, "orders": {"name": "orders", "data_type": "bigint"}}
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
    assert found[0].columns == {"day": "date", "orders": "bigint"}
    assert found[0].description == "What shop_a holds."
    assert found[0].shapes == ()


def test_shapes_are_of_their_table() -> None:
    shapes = [{"name": "shop_a_monthly", "sql": "select 1", "description": "By month."}]
    (found,) = read_served(manifest(model("shop_a", serving={"shapes": shapes})))
    assert found.shapes == (Shape("shop_a_monthly", "shop_a", "select 1", "By month."),)


@pytest.mark.parametrize(
    ("serving", "reason"),
    [
        ({"shape": []}, r"shop_a: meta\.lakegraph\.serving\.shape: Extra inputs are not permitted"),
        ({"shapes": [{"name": "b"}]}, r"shop_a: meta\.lakegraph\.serving\.shapes\.0\.sql: Field required"),
        ({"shapes": [{"name": "shop_a", "sql": "select 1"}]}, "shop_a: two tables, or shapes of them, have this name"),
    ],
)
def test_what_cannot_be_is_refused_by_name(serving: dict[str, Any], reason: str) -> None:
    with pytest.raises(LakeError, match=reason):
        read_served(manifest(model("shop_a", serving=serving)))
