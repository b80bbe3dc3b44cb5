"""Rows that break a table's rules: found, counted, and kept with the reason and the raw row.

What belongs here: the split of an Arrow table into good and rejected rows by the spec's rules, in SQL over Arrow. What does not:
rules that need business sense; those are silver's.
"""

from typing import TYPE_CHECKING

from lake.duck import literal, quote
from lake.spec import TableSpec

if TYPE_CHECKING:
    import pyarrow as pa


def rejected_schema() -> "pa.Schema":
    """Columns of every `bronze.<table>__rejected`: reject_reason, source_object, row_ordinal (from 1), run_id, raw_row (JSON)."""
    import pyarrow as pa

    return pa.schema(
        [
            ("reject_reason", pa.string()),
            ("source_object", pa.string()),
            ("row_ordinal", pa.int64()),
            ("run_id", pa.string()),
            ("raw_row", pa.string()),
        ]
    )


def _sql_type(kind: str) -> str:
    scalars = {"long": "BIGINT", "string": "VARCHAR", "timestamptz": "TIMESTAMPTZ"}
    return scalars.get(kind, kind.upper())


def split(
    rows: "pa.Table", spec: TableSpec, *, source_object: str, run_id: str, first_ordinal: int = 1
) -> tuple["pa.Table", "pa.Table"]:
    """Split `rows` into those that keep the spec's rules, in its columns and types, and those that do not.

    A row is rejected for the first of: `invalid_<column>` (a text that is not of the declared type), `missing_<column>` (a required
    column is null or empty), `duplicate_<columns>` (the unique columns equal those of an earlier row of the same load).

    Args:
        rows: raw rows; columns are found by the spec's source names, without case. Others are left out.
        spec: the table's declaration.
        source_object: the file or URL, for the rejected rows.
        run_id: for the rejected rows.
        first_ordinal: ordinal of the first row in its source.

    Returns:
        Good rows with `spec.arrow_schema()`, and rejected rows with `rejected_schema()`; together as many as `rows`.
    """
    import duckdb

    present = {name.lower(): name for name in rows.column_names}
    reasons, values = [], []
    for name, column in spec.columns.items():
        raw = present.get((column.source or name).lower())
        value = "NULL" if raw is None else quote(raw)
        cast = f"TRY_CAST({value} AS {_sql_type(column.type)})"
        values.append(f"{cast} AS {quote(name)}")
        if raw is not None and column.type != "string":
            reasons.append((f"nullif(trim(CAST({value} AS VARCHAR)), '') IS NOT NULL AND {cast} IS NULL", f"invalid_{name}"))
        if column.required:
            reasons.append((f"nullif(trim(CAST({value} AS VARCHAR)), '') IS NULL", f"missing_{name}"))
    if spec.unique:
        keys = ", ".join(quote(present[(spec.columns[u].source or u).lower()]) for u in spec.unique)
        reasons.append(("_nth > 1", f"duplicate_{'_'.join(spec.unique)}"))
        nth = f"row_number() OVER (PARTITION BY {keys} ORDER BY _ordinal)"
    else:
        nth = "1"
    verdict = " ".join(f"WHEN {test} THEN {literal(reason)}" for test, reason in reasons)
    verdict = f"CASE {verdict} END" if verdict else "NULL"
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        con.register("raw_rows", rows)
        con.execute(
            f"""
            CREATE TABLE judged AS
            WITH numbered AS (SELECT *, row_number() OVER () + {first_ordinal - 1} AS _ordinal FROM raw_rows),
            counted AS (SELECT *, {nth} AS _nth FROM numbered)
            SELECT *, {verdict} AS _reason FROM counted
            """  # noqa: S608 - identifiers come from a validated spec, literals are escaped
        )
        columns = ", ".join(quote(c) for c in rows.column_names)
        good = con.sql(
            f"SELECT {', '.join(values)} FROM judged WHERE _reason IS NULL ORDER BY _ordinal"  # noqa: S608
        ).to_arrow_table()
        rejected = con.sql(
            f"""
            SELECT _reason, {literal(source_object)}, _ordinal, {literal(run_id)}, CAST(to_json(struct_pack({columns})) AS VARCHAR)
            FROM judged WHERE _reason IS NOT NULL ORDER BY _ordinal
            """  # noqa: S608
        ).to_arrow_table()
    return good.cast(spec.arrow_schema()), rejected.rename_columns(rejected_schema().names).cast(rejected_schema())
