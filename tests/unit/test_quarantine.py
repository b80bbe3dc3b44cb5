"""The split into good and rejected rows: every row once, for the right reason, with its ordinal and its raw form."""

import datetime as dt
import json
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lake.errors import LakeError
from lake.quarantine import Origin, apart, extra_columns, rejected_schema, split
from lake.spec import TableSpec


def spec(columns, **more):
    return TableSpec.model_validate({"domain": "d", "name": "t", "description": "T.", "columns": columns, **more})


PEOPLE = spec(
    {
        "id": {"type": "long", "source": "ID", "required": True},
        "name": {"type": "string", "required": True},
        "born": {"type": "date"},
    },
    unique=["id"],
)


def texts(**columns):
    return pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})


def judge(rows, of=PEOPLE, **more):
    return split(rows, of, source_object="people.csv", run_id="run-1", **more)


def reasons(rejected):
    return dict(zip(rejected["row_ordinal"].to_pylist(), rejected["reject_reason"].to_pylist(), strict=True))


def test_good_rows_get_the_declared_names_and_types_and_keep_their_order():
    rows = texts(
        extra=["x", "y", "z"],
        born=["2000-02-29", "", None],
        NAME=["Zoë", "O'Hara", 'quote " and \\'],
        id=["3", " 1 ", "2"],
    )
    good, rejected = judge(rows)
    assert good.schema == PEOPLE.arrow_schema().append(pa.field("extra", pa.string()))
    assert good.to_pylist() == [
        {"id": 3, "name": "Zoë", "born": dt.date(2000, 2, 29), "extra": "x"},
        {"id": 1, "name": "O'Hara", "born": None, "extra": "y"},
        {"id": 2, "name": 'quote " and \\', "born": None, "extra": "z"},
    ]
    assert rejected.num_rows == 0
    assert rejected.schema == rejected_schema()


def test_every_reason_and_the_raw_row():
    rows = texts(
        ID=["1", "x", "", None, "1", "2", "3", " "],
        name=["a", "b", "c", "d", "e", "", "f", "g"],
        born=["2000-01-01", "", "", "", "", "", "31.12.2000", ""],
    )
    good, rejected = judge(rows)
    assert good["id"].to_pylist() == [1]
    assert reasons(rejected) == {
        2: "invalid_id",
        3: "missing_id",
        4: "missing_id",
        5: "duplicate_id",
        6: "missing_name",
        7: "invalid_born",
        8: "missing_id",
    }
    assert set(rejected["source_object"].to_pylist()) == {"people.csv"}
    assert set(rejected["run_id"].to_pylist()) == {"run-1"}
    raw = [json.loads(text) for text in rejected["raw_row"].to_pylist()]
    assert raw == [row for row in rows.to_pylist() if (row["ID"], row["name"]) != ("1", "a")]


def test_ordinals_are_those_of_the_source():
    _, rejected = judge(texts(ID=["1", "x", ""], name=["a", "b", "c"]), origin=Origin(pa.array([101, 104, 109])))
    assert reasons(rejected) == {104: "invalid_id", 109: "missing_id"}


def test_what_the_reader_made_fills_its_columns_and_is_no_part_of_the_raw_row():
    of = spec(
        {"id": {"type": "long"}, "made": {"type": "timestamp"}}, mode="append", partition_column="day", identity=["id"]
    )
    rows = texts(id=["1", "x"], Made=["theirs", "too"], day=["Monday", "Tuesday"], ordinal=["a", "b"])
    origin = Origin(columns={"made": pa.array(["2023-03-31T23:59:59.5Z", "2023-04-01T00:00:00Z"])}, day_of="made")
    good, rejected = judge(rows, of, origin=origin)
    assert good.to_pylist() == [
        {
            "id": 1,
            "made": dt.datetime(2023, 3, 31, 23, 59, 59, 500_000),  # noqa: DTZ001
            apart("Made"): "theirs",
            apart("day"): "Monday",
            "ordinal": "a",
            "day": dt.date(2023, 3, 31),
        }
    ]
    assert good.schema.field("day").type == pa.date32()
    assert json.loads(rejected["raw_row"][0].as_py()) == {"id": "x", "Made": "too", "day": "Tuesday", "ordinal": "b"}


def test_the_raw_row_may_be_another_text_than_the_columns():
    _, rejected = judge(texts(ID=["x"], name=["a"]), origin=Origin(raw_rows=pa.array(['{"as": "it came"}'])))
    assert rejected["raw_row"].to_pylist() == ['{"as": "it came"}']


def test_ordinals_are_right_in_tables_of_many_chunks():
    total = 300_000
    ids = ["x" if i % 1000 == 0 else str(i) for i in range(1, total + 1)]
    table = pa.concat_tables(texts(ID=ids[i : i + 7_000], name=ids[i : i + 7_000]) for i in range(0, total, 7_000))
    good, rejected = judge(table)
    assert rejected["row_ordinal"].to_pylist() == list(range(1000, total + 1, 1000))
    assert good["id"].to_pylist() == [i for i in range(1, total + 1) if i % 1000]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("long", "1.5"),
        ("long", "0.4"),
        ("long", "9223372036854775808"),
        ("long", "seven"),
        ("long", "1,000"),
        ("long", "nan"),
        ("double", "1,5"),
        ("decimal(6,2)", "1.239"),
        ("decimal(6,2)", "12345.67"),
        ("date", "2023-02-29"),
        ("date", "2023-02-28 10:00:00"),
        ("timestamp", "yesterday"),
        ("date", "infinity"),
        ("timestamp", "infinity"),
        ("timestamptz", "-infinity"),
        ("boolean", "perhaps"),
    ],
)
def test_a_text_that_does_not_fit_without_loss_is_invalid(kind, text):
    good, rejected = judge(texts(v=["", text]), spec({"v": {"type": kind}}))
    assert good["v"].to_pylist() == [None]
    assert reasons(rejected) == {2: "invalid_v"}


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("long", "-9223372036854775808", -(2**63)),
        ("long", "9223372036854775807", 2**63 - 1),
        ("long", "7.0", 7),
        ("decimal(6,2)", "-1234.50", Decimal("-1234.50")),
        ("decimal(6,2)", "1.2300", Decimal("1.23")),
        ("decimal(18,2)", "9999999999999999.99", Decimal("9999999999999999.99")),
        ("decimal(38,2)", "1" * 36 + ".25", Decimal("1" * 36 + ".25")),
        ("double", "1e-3", 0.001),
        ("date", "2024-02-29", dt.date(2024, 2, 29)),
        ("timestamp", "2024-02-29T01:02:03.000004", dt.datetime(2024, 2, 29, 1, 2, 3, 4)),  # noqa: DTZ001
        ("timestamp", "2024-02-29T01:02:03Z", dt.datetime(2024, 2, 29, 1, 2, 3)),  # noqa: DTZ001
        ("timestamp", "2024-02-29T01:02:03+02:00", dt.datetime(2024, 2, 28, 23, 2, 3)),  # noqa: DTZ001
        ("timestamptz", "2024-02-29T01:02:03+02:00", dt.datetime(2024, 2, 28, 23, 2, 3, tzinfo=dt.UTC)),
        ("boolean", "true", True),
    ],
)
def test_a_text_that_fits_is_kept_to_the_last_digit(kind, text, value):
    good, rejected = judge(texts(v=[text]), spec({"v": {"type": kind}}))
    assert good["v"].to_pylist() == [value]
    assert rejected.num_rows == 0


def test_duplicates_are_found_by_value_not_by_spelling():
    good, rejected = judge(texts(ID=["7", "07", " 7", "7.0", "8"], name=list("abcde")))
    assert good["id"].to_pylist() == [7, 8]
    assert reasons(rejected) == dict.fromkeys([2, 3, 4], "duplicate_id")


def test_a_rejected_row_does_not_make_a_later_good_one_a_duplicate():
    good, rejected = judge(texts(ID=["5", "5", "5"], name=["", "kept", "again"]))
    assert good["name"].to_pylist() == ["kept"]
    assert reasons(rejected) == {1: "missing_name", 3: "duplicate_id"}


def test_several_unique_columns_count_together():
    of = spec({"a": {"type": "long"}, "b": {"type": "string"}}, unique=["a", "b"])
    good, rejected = judge(texts(a=["1", "1", "1"], b=["x", "y", "x"]), of)
    assert good.num_rows == 2
    assert reasons(rejected) == {3: "duplicate_a_b"}


@pytest.mark.parametrize("column", ["ID", "name"])
def test_a_source_without_a_column_that_must_be_there_is_refused(column):
    rows = texts(ID=["1"], name=["a"]).drop_columns(column)
    with pytest.raises(LakeError, match=rf"^people.csv: column {column} of bronze.d_t is missing$"):
        judge(rows)


def test_a_source_without_an_optional_column_has_nulls_there():
    good, _ = judge(texts(ID=["1"], name=["a"]))
    assert good["born"].to_pylist() == [None]


def test_a_hostile_name_or_value_stays_data():
    of = spec({"id": {"type": "long", "source": 'a"; DROP TABLE x; --', "required": True}})
    rows = pa.table({'a"; DROP TABLE x; --': ["'; DELETE", "1"]})
    good, rejected = split(rows, of, source_object="it's a file", run_id="o'run")
    assert good["id"].to_pylist() == [1]
    assert rejected.select(["source_object", "run_id"]).to_pylist() == [
        {"source_object": "it's a file", "run_id": "o'run"}
    ]
    assert json.loads(rejected["raw_row"][0].as_py()) == {'a"; DROP TABLE x; --': "'; DELETE"}


def test_typed_rows_are_judged_too():
    rows = pa.table({"ID": pa.array([1.0, 2.5, None, 1.0]), "name": ["a", "b", "c", "d"]})
    good, rejected = judge(rows)
    assert good["id"].to_pylist() == [1]
    assert reasons(rejected) == {2: "invalid_id", 3: "missing_id", 4: "duplicate_id"}


# -- properties ----------------------------------------------------------------------------------------------

IDS = st.one_of(
    st.none(),
    st.sampled_from(["", " ", "x", "1.5", "NaN", "--1", "1 2", "9" * 30]),
    st.integers(-3, 3).map(str),
    st.integers(-(2**63), 2**63 - 1).map(str),
)
NAMES = st.one_of(st.none(), st.just(""), st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5))
BORN = st.sampled_from([None, "", "2000-01-01", "2000-13-01", "soon"])
TABLES = st.lists(st.tuples(IDS, NAMES, BORN), max_size=12)


def expected_reason(row, seen):
    """The rules once more, in plain Python, a row at a time."""
    identity, name, born = row
    text = (identity or "").strip(" ")
    try:
        number = int(text)
        fits = -(2**63) <= number < 2**63
    except ValueError:
        number, fits = None, False
    if text and not fits:
        return "invalid_id"
    if not text:
        return "missing_id"
    if not (name or "").strip(" "):
        return "missing_name"
    if born in {"2000-13-01", "soon"}:
        return "invalid_born"
    if number in seen:
        return "duplicate_id"
    seen.add(number)
    return None


@settings(deadline=None, max_examples=60)
@given(TABLES)
@example([("1", "a", None), ("1", "a", None), ("x", None, "soon")])
def test_good_and_rejected_are_the_input_each_row_once_for_its_reason(table):
    rows = texts(ID=[r[0] for r in table], name=[r[1] for r in table], born=[r[2] for r in table])
    good, rejected = judge(rows)
    seen = set()
    expected = [expected_reason(row, seen) for row in table]
    assert reasons(rejected) == {i: reason for i, reason in enumerate(expected, start=1) if reason}
    kept = [row for row, reason in zip(table, expected, strict=True) if reason is None]
    assert good["id"].to_pylist() == [int(row[0]) for row in kept]
    assert good["name"].to_pylist() == [row[1] for row in kept]
    raw = [json.loads(text) for text in rejected["raw_row"].to_pylist()]
    assert raw == [
        dict(zip(("ID", "name", "born"), row, strict=True))
        for row, reason in zip(table, expected, strict=True)
        if reason
    ]


@settings(deadline=None, max_examples=30)
@given(TABLES)
def test_good_rows_stay_good_and_the_same_rows_give_the_same_verdicts(table):
    rows = texts(ID=[r[0] for r in table], name=[r[1] for r in table], born=[r[2] for r in table])
    good, rejected = judge(rows)
    again, none = judge(good.rename_columns(["ID", "name", "born"]))
    assert again.equals(good)
    assert none.num_rows == 0
    repeated_good, repeated_rejected = judge(rows)
    assert repeated_good.equals(good)
    assert repeated_rejected.equals(rejected)


def test_a_column_nobody_declared_joins_as_text_in_snake_case():
    assert extra_columns(texts(id=["1"], **{"firstName": ["a"], "E-Mail Address": ["b"]}), PEOPLE, "x") == {
        "first_name": "firstName",
        "e_mail_address": "E-Mail Address",
    }


def test_two_columns_that_would_be_one_are_refused():
    with pytest.raises(LakeError, match="'firstName' would be"):
        extra_columns(texts(id=["1"], first_name=["a"], firstName=["b"]), PEOPLE, "x")
