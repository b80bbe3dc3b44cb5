"""Table specs: what is refused, how columns are matched, and what makes a load another load."""

import lakes
import pyarrow as pa
import pytest
from pydantic import ValidationError

from lake.spec import Column, TableSpec

BASE = {
    "domain": "shop",
    "name": "orders",
    "description": "Orders.",
    "columns": {"id": {"type": "long"}, "placed_at": {"type": "timestamptz", "source": "PlacedAt"}},
}


def spec(**changes: object) -> TableSpec:
    return TableSpec.model_validate({**BASE, **changes})


def test_names():
    made = spec()
    assert (made.table, made.rejected_table, made.identifier) == (
        "shop_orders", "shop_orders__rejected", "bronze.shop_orders",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("declared", "arrow"),
    [
        ("boolean", pa.bool_()),
        ("long", pa.int64()),
        ("double", pa.float64()),
        ("string", pa.string()),
        ("date", pa.date32()),
        ("timestamp", pa.timestamp("us")),
        ("timestamptz", pa.timestamp("us", "UTC")),
        ("decimal(18,2)", pa.decimal128(18, 2)),
        ("decimal(38, 9)", pa.decimal128(38, 9)),
    ],
)
def test_every_type_has_its_arrow_type(declared, arrow):
    assert Column(type=declared).arrow_type() == arrow


@pytest.mark.parametrize("declared", ["int", "LONG", "decimal", "decimal(18)", "decimal(18,2", "", "timestamp "])
def test_unknown_types_are_refused(declared):
    with pytest.raises(ValidationError, match="unknown type"):
        Column(type=declared)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"name": "orders; drop"}, "not an identifier"),
        ({"domain": "1shop"}, "not an identifier"),
        ({"name": "x" * 129}, "not an identifier"),
        ({"columns": {"Fee": {"type": "long"}, "fee": {"type": "long"}}}, "differ only in case"),
        ({"columns": {"a b": {"type": "long"}}}, "not identifiers: a b"),
        ({"columns": {"a": {"type": "long", "nullable": True}}}, "Extra inputs"),
        ({"colums": {}}, "Extra inputs"),
        ({"mode": "append_all"}, "replace_partition"),
    ],
)
def test_what_is_not_a_table_is_refused(changes, reason):
    with pytest.raises(ValidationError, match=reason):
        spec(**changes)


def test_a_source_column_is_found_by_either_name_without_case():
    made = spec()
    assert [made.match(n) for n in ("ID", "placedat", "PLACED_AT", "placed at")] == [
        "id", "placed_at", "placed_at", None,
    ]  # fmt: skip


def test_the_fingerprint_changes_with_what_decides_the_bytes_and_with_nothing_else():
    same = spec(description="Other words.")
    assert same.fingerprint() == spec().fingerprint()
    others = [
        spec(unique=["id"]),
        spec(partition_column="day"),
        spec(mode="replace_partition"),
        spec(columns={**BASE["columns"], "id": {"type": "double"}}),
        spec(columns={**BASE["columns"], "id": {"type": "long", "required": True}}),
        spec(columns=dict(reversed(BASE["columns"].items()))),
    ]
    prints = {made.fingerprint() for made in others}
    assert len(prints) == len(others)
    assert spec().fingerprint() not in prints


def test_a_spec_is_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        spec().name = "other"


@pytest.mark.parametrize("name", ["yellow_trips", "green_trips", "fhv_trips", "taxi_zones", "users"])
def test_the_declared_tables_of_mobility_are_specs(name):
    made, _ = lakes.declared(name)
    assert made.table == f"mobility_{name}"
    assert all(column.description for column in made.columns.values())
    monthly = name.endswith("_trips")
    assert (made.mode, made.partition_column) == (
        ("replace_partition", "source_month") if monthly else ("replace", None)
    )
