"""Rows that break a table's rules: found, counted, and kept with the reason and the raw row.

What belongs here: the split of an Arrow table into good and rejected rows by the spec's rules, in SQL over
Arrow. What does not: rules that need business sense; those are silver's.
"""

import re
from typing import TYPE_CHECKING

from lake.duck import literal, quote
from lake.errors import LakeError
from lake.spec import DECIMAL, TableSpec

if TYPE_CHECKING:
    import pyarrow as pa


def rejected_schema() -> "pa.Schema":
    """Columns of every `bronze.<table>__rejected`: reject_reason, source_object, row_ordinal (from 1),
    run_id, raw_row (JSON).
    """
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


def _is_lossless(value: str, kind: str) -> str:
    """SQL: whether the cast of `value` to `kind` keeps it whole; DuckDB itself rounds '1.5' to 2 without a
    word.
    """
    wider = {"long": "DOUBLE", "date": "TIMESTAMP"}.get(kind)  # decimal(38) has none wider: unchecked
    if match := DECIMAL.fullmatch(kind):
        precision, scale = int(match[1]), int(match[2])
        wider = f"DECIMAL(38,{min(38 - precision + scale, scale + 10)})"
    if wider is None:
        return "true"
    return f"CAST(TRY_CAST({value} AS {_sql_type(kind)}) AS {wider}) IS NOT DISTINCT FROM TRY_CAST({value} AS {wider})"


def extra_columns(rows: "pa.Table", spec: TableSpec, source_object: str) -> dict[str, str]:
    """Columns of `rows` that the spec does not know: their names in the table (snake_case) and in `rows`.

    Raises:
        LakeError: two of them, or one and a declared column, would have the same name.
    """
    found: dict[str, str] = {}
    for raw in rows.column_names:
        if spec.match(raw):
            continue
        name = re.sub(r"\W+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", raw)).strip("_").lower() or "column"
        if name in found or name in {declared.lower() for declared in spec.columns}:
            raise LakeError(f"{source_object}: column {raw!r} would be {spec.identifier}.{name}, which another one is")
        found[name] = raw
    return found


def split(
    rows: "pa.Table", spec: TableSpec, *, source_object: str, run_id: str, first_ordinal: int = 1
) -> tuple["pa.Table", "pa.Table"]:
    """Split `rows` into those that keep the spec's rules, in its columns and types, and those that do not.

    A row is rejected for the first of: `invalid_<column>` (a text that is not of the declared type, or not
    without loss), `missing_<column>` (a required column is null or empty), `duplicate_<columns>` (the unique
    columns, in their types, equal those of an earlier good row of the same load).

    Args:
        rows: raw rows; columns are found by the spec's source names, without case. Others join as text.
        spec: the table's declaration.
        source_object: the file or URL, for the rejected rows.
        run_id: for the rejected rows.
        first_ordinal: ordinal of the first row in its source.

    Returns:
        Good rows with `spec.arrow_schema()` and the `extra_columns`, and rejected rows with
        `rejected_schema()`; together as many as `rows`.

    Raises:
        LakeError: the source has no column at all for one that is required or unique.
    """
    import duckdb
    import pyarrow as pa

    extra = extra_columns(rows, spec, source_object)
    present = {name.lower(): name for name in rows.column_names}
    casts, reasons, values = {}, [], []
    for name, column in spec.columns.items():
        raw = present.get((column.source or name).lower())
        if raw is None and (column.required or name in spec.unique):
            raise LakeError(f"{source_object}: column {column.source or name} of {spec.identifier} is missing")
        value = "NULL" if raw is None else quote(raw)
        cast = f"TRY_CAST({value} AS {_sql_type(column.type)})"
        casts[name] = cast
        values.append(f"{cast} AS {quote(name)}")
        if raw is not None and column.type != "string":
            unfit = f"({cast} IS NULL OR NOT {_is_lossless(value, column.type)})"
            reasons.append((f"nullif(trim(CAST({value} AS VARCHAR)), '') IS NOT NULL AND {unfit}", f"invalid_{name}"))
        if column.required:
            reasons.append((f"nullif(trim(CAST({value} AS VARCHAR)), '') IS NULL", f"missing_{name}"))
    values += [f"CAST({quote(raw)} AS VARCHAR) AS {quote(name)}" for name, raw in extra.items()]
    verdict = " ".join(f"WHEN {test} THEN {literal(reason)}" for test, reason in reasons)
    verdict = f"CASE {verdict} END" if verdict else "CAST(NULL AS VARCHAR)"
    duplicate = "CAST(NULL AS VARCHAR)"
    if spec.unique:
        keys = ", ".join(casts[name] for name in spec.unique)
        nth = f"row_number() OVER (PARTITION BY _broken IS NULL, {keys} ORDER BY _ordinal)"
        duplicate = f"CASE WHEN {nth} > 1 THEN {literal('duplicate_' + '_'.join(spec.unique))} END"
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        con.register("raw_rows", rows)
        con.execute(
            f"""
            CREATE TABLE judged AS
            WITH numbered AS (SELECT *, row_number() OVER () + {first_ordinal - 1} AS _ordinal FROM raw_rows),
            judged AS (SELECT *, {verdict} AS _broken FROM numbered)
            SELECT *, coalesce(_broken, {duplicate}) AS _reason FROM judged
            """  # noqa: S608 - identifiers come from a validated spec, literals are escaped
        )
        columns = ", ".join(quote(c) for c in rows.column_names)
        good = con.sql(
            f"SELECT {', '.join(values)} FROM judged WHERE _reason IS NULL ORDER BY _ordinal"  # noqa: S608
        ).to_arrow_table()
        rejected = con.sql(
            f"""
            SELECT _reason, {literal(source_object)}, _ordinal, {literal(run_id)},
                CAST(to_json(struct_pack({columns})) AS VARCHAR)
            FROM judged WHERE _reason IS NOT NULL ORDER BY _ordinal
            """  # noqa: S608
        ).to_arrow_table()
    schema = pa.schema([*spec.arrow_schema(), *(pa.field(name, pa.string()) for name in extra)])
    return good.cast(schema), rejected.rename_columns(rejected_schema().names).cast(rejected_schema())
