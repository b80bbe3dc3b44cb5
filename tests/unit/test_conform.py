"""How columns of a file become columns of a table: what registers, what is cast, what is refused."""

import datetime as dt
import random

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.conform import conform, plan
from lake.errors import LakeError
from lake.spec import TableSpec

SPEC = TableSpec.model_validate(
    {
        "domain": "d",
        "name": "t",
        "description": "Test.",
        "partition_column": "source_month",
        "columns": {
            "Id": {"type": "long", "required": True},
            "fee": {"type": "double", "source": "Airport Fee"},
            "flag": {"type": "string"},
            "at": {"type": "timestamp"},
            "seen": {"type": "timestamptz"},
            "day": {"type": "date"},
            "amount": {"type": "decimal(18,2)"},
            "ok": {"type": "boolean"},
        },
    }
)
FILE = "http://host/file.parquet"
NAIVE = dt.datetime(1970, 1, 1)  # noqa: DTZ001 - the table has no zone either


def planned(types, known=None):
    return plan(SPEC, pa.schema({"Id": pa.int64()} | types), known or {}, FILE)


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        ("flag", pa.string()),
        ("flag", pa.large_string()),
        ("Airport Fee", pa.float64()),
        ("at", pa.timestamp("us")),
        ("seen", pa.timestamp("us", "UTC")),
        ("day", pa.date32()),
        ("amount", pa.decimal128(18, 2)),
        ("ok", pa.bool_()),
    ],
)
def test_a_file_is_registered_as_it_is_only_under_its_own_names(column, kind):
    made = planned({column: kind})
    assert made.as_is == (column != "Airport Fee")  # a renamed column is a rewritten file
    assert made.casts == (("Airport Fee: double → double",) if column == "Airport Fee" else ())


@pytest.mark.parametrize("kind", [pa.int8(), pa.int16(), pa.int32(), pa.int64()])
def test_every_signed_width_registers_as_long(kind):
    made = plan(SPEC, pa.schema({"iD": kind}), {}, FILE)
    assert made.as_is
    assert [(c.source, c.name, c.want) for c in made.columns] == [("iD", "Id", pa.int64())]


@pytest.mark.parametrize(
    ("column", "have", "want"),
    [
        ("Id", pa.array([3.0, None]), [3, None]),
        ("Id", pa.array([3, None], pa.uint64()), [3, None]),
        ("Id", pa.nulls(2), [None, None]),
        ("fee", pa.array([3, None], pa.int64()), [3.0, None]),
        ("fee", pa.array([0.5, None], pa.float16()), [0.5, None]),
        ("flag", pa.nulls(2), [None, None]),
        ("at", pa.array([1_000, None], pa.timestamp("ns")), [NAIVE + dt.timedelta(microseconds=1), None]),
        ("at", pa.array([1, None], pa.timestamp("s")), [NAIVE + dt.timedelta(seconds=1), None]),
        (
            "seen",
            pa.array([0, None], pa.timestamp("us", "America/New_York")),
            [dt.datetime(1970, 1, 1, tzinfo=dt.UTC), None],
        ),
        ("day", pa.array([dt.date(2024, 2, 29), None], pa.date64()), [dt.date(2024, 2, 29), None]),
    ],
)
def test_what_is_cast_keeps_its_values(column, have, want):
    source = pa.table({"Id": pa.array([1, 2], pa.int64())} | {column: have})
    made = plan(SPEC, source.schema, {}, FILE)
    assert not made.as_is
    assert any(line.startswith(f"{column}: {have.type} → ") for line in made.casts)
    result = conform(source, made, FILE)[column]
    assert result.to_pylist() == want
    assert result.type == SPEC.columns[column].arrow_type()


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("Id", pa.array([1.0, 2.5])),
        ("Id", pa.array([1.0, float("nan")])),
        ("Id", pa.array([1.0, float("inf")])),
        ("Id", pa.array([1, 2**63], pa.uint64())),
        ("fee", pa.array([1, 2**53 + 1], pa.int64())),
        ("at", pa.array([1_000, 1_001], pa.timestamp("ns"))),
    ],
)
def test_a_value_that_would_change_stops_the_load(column, values):
    table = pa.table({"Id": pa.array([1, 2], pa.int64())} | {column: values})
    with pytest.raises(LakeError) as raised:
        conform(table, plan(SPEC, table.schema, {}, FILE), FILE)
    message = str(raised.value)
    assert message.startswith(f"{FILE}: column {column} cannot become {SPEC.columns[column].arrow_type()}: ")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        ("Id", pa.string()),
        ("fee", pa.string()),
        ("flag", pa.int64()),
        ("flag", pa.list_(pa.string())),
        ("at", pa.timestamp("us", "UTC")),
        ("seen", pa.timestamp("us")),
        ("at", pa.string()),
        ("day", pa.timestamp("us")),
        ("ok", pa.int64()),
        ("Id", pa.bool_()),
    ],
)
def test_no_type_is_guessed(column, kind):
    with pytest.raises(LakeError) as raised:
        plan(SPEC, pa.schema({"Id": pa.int64()} | {column: kind}), {}, FILE)
    want = SPEC.columns[column].arrow_type()
    assert str(raised.value) == f"{FILE}: column {column} is {kind}, bronze.d_t declares {want}"


def test_new_columns_enter_at_their_widest_and_untyped_ones_wait():
    made = planned(
        {
            "small": pa.int16(),
            "half": pa.float32(),
            "text": pa.large_string(),
            "when": pa.timestamp("ms", "Europe/Paris"),
            "later": pa.null(),
        }
    )
    assert {c.name: c.want for c in made.columns} == {
        "Id": pa.int64(),
        "small": pa.int64(),
        "half": pa.float64(),
        "text": pa.string(),
        "when": pa.timestamp("us", "Europe/Paris"),
    }
    assert made.new == ("small", "half", "text", "when")
    assert made.untyped == ("later",)
    assert not made.as_is


def test_a_column_the_table_has_gained_is_no_longer_new_and_keeps_its_type():
    made = planned({"CBD_Fee": pa.int32()}, {"cbd_fee": pa.float64()})
    assert made.new == ()
    assert made.casts == ("CBD_Fee: int32 → double",)
    assert [(c.source, c.name) for c in made.columns] == [("Id", "Id"), ("CBD_Fee", "cbd_fee")]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ([("Id", pa.int64()), ("ID", pa.int64())], "columns Id and ID are both bronze.d_t.Id"),
        ([("Id", pa.int64()), ("fee", pa.float64()), ("airport fee", pa.float64())], "fee and airport fee are both"),
        ([("Id", pa.int64()), ("New", pa.int64()), ("new", pa.int64())], "columns New and new are both"),
        ([("Id", pa.int64()), ("Source_Month", pa.date32())], "Source_Month has the name of the partition column"),
        ([("flag", pa.string())], "column Id of bronze.d_t is missing"),
        ([("a", pa.int64()), ("b", pa.int64())], "has none of the columns of bronze.d_t; found a, b"),
        ([], "has none of the columns of bronze.d_t"),
    ],
)
def test_a_file_that_does_not_fit_is_named(fields, reason):
    with pytest.raises(LakeError) as raised:
        plan(SPEC, pa.schema(fields), {}, FILE)
    assert str(raised.value).startswith(f"{FILE}: ")
    assert reason in str(raised.value)


def test_missing_columns_are_listed_and_no_error():
    assert planned({"flag": pa.string()}).missing == ("fee", "at", "seen", "day", "amount", "ok")


COLUMNS = {
    "Id": pa.array([1.0, 2.0, None]),
    "fee": pa.array([1, None, 3], pa.int32()),
    "flag": pa.array(["a", None, "c"], pa.large_string()),
    "at": pa.array([1, None, 3], pa.timestamp("s")),
    "Fresh": pa.array([7, 8, None], pa.int8()),
}


def recase(name, seed):
    return "".join(random.Random(f"{seed}{i}").choice((c.lower(), c.upper())) for i, c in enumerate(name))  # noqa: S311


@settings(deadline=None)
@given(st.permutations(list(COLUMNS)), st.integers(0, 2**32))
def test_order_and_case_of_the_columns_never_change_the_result(order, seed):
    usual = pa.table(COLUMNS)
    expected = conform(usual, plan(SPEC, usual.schema, {}, FILE), FILE)
    known = {"Fresh": pa.int64()}
    shuffled = pa.table({recase(name, seed): COLUMNS[name] for name in order})
    result = conform(shuffled, plan(SPEC, shuffled.schema, known, FILE), FILE)
    assert result.select(expected.column_names).equals(expected)


@settings(deadline=None)
@given(st.lists(st.one_of(st.none(), st.integers(-(2**53), 2**53), st.floats(width=64)), max_size=20))
def test_a_cast_keeps_every_value_or_raises(values):
    doubles = [None if v is None else float(v) for v in values]
    whole = all(v is None or (v.is_integer() and abs(v) < 2**63) for v in doubles)
    table = pa.table({"Id": pa.array(doubles, pa.float64())})
    how = plan(SPEC, table.schema, {}, FILE)
    if whole:
        assert conform(table, how, FILE)["Id"].to_pylist() == doubles
    else:
        with pytest.raises(LakeError, match="column Id cannot become int64"):
            conform(table, how, FILE)
