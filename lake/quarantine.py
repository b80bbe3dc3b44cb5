"""Rows that break a table's rules: found, counted, and kept with the reason and the raw row.

What belongs here: the split of an Arrow table into good and rejected rows by the spec's rules, in SQL over
Arrow. What does not: rules that need business sense; those are silver's.
"""

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
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


def _cast(value: str, kind: str) -> str:
    """SQL: `value` as `kind`, null if it is none. A time with an offset becomes UTC; DuckDB alone drops the offset."""
    if kind == "timestamp":
        return f"TRY_CAST(TRY_CAST({value} AS TIMESTAMPTZ) AS TIMESTAMP)"
    return f"TRY_CAST({value} AS {_sql_type(kind)})"


def _is_lossless(value: str, kind: str) -> str:
    """SQL: whether the cast of `value` to `kind` keeps it whole; DuckDB itself rounds '1.5' to 2 without a
    word.
    """
    if kind in {"timestamp", "timestamptz"}:  # "infinity" is a time to DuckDB, and to nobody else
        return f"isfinite({_cast(value, kind)})"
    wider = {"long": "DOUBLE", "date": "TIMESTAMP"}.get(kind)  # decimal(38) has none wider: unchecked
    if match := DECIMAL.fullmatch(kind):
        precision, scale = int(match[1]), int(match[2])
        wider = f"DECIMAL(38,{min(38 - precision + scale, scale + 10)})"
    if wider is None:
        return "true"
    whole = f"CAST(TRY_CAST({value} AS {_sql_type(kind)}) AS {wider}) IS NOT DISTINCT FROM TRY_CAST({value} AS {wider})"
    return f"(isfinite({_cast(value, kind)}) AND {whole})" if kind == "date" else f"({whole})"


@dataclass(frozen=True)
class Origin:
    """What a reader knows of the rows it read beside their own columns.

    Attributes:
        ordinals: of each row in its source; None: 1, 2, 3 and so on.
        raw_rows: JSON text of each row as it came; None: its columns as a JSON object.
        reasons: why the reader rejects a row, null: it does not; None: it rejects none.
        columns: values of declared columns that the reader made itself. They are no part of the raw row; a column of
            that name in the source joins under another name.
        day_of: column of the table whose day (or month, as the spec says) is the row's partition; None: the partition
            is not the rows' matter.
    """

    ordinals: "pa.Array | None" = None
    raw_rows: "pa.Array | None" = None
    reasons: "pa.Array | None" = None
    columns: "Mapping[str, pa.Array]" = field(default_factory=dict)
    day_of: str | None = None


def column_name(raw: str) -> str:
    """The name in snake_case under which the source's column `raw` joins a table."""
    return re.sub(r"\W+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", raw)).strip("_").lower() or "column"


def apart(raw: str) -> str:
    """The name under which the source's column `raw` joins a table whose column of its name is another's."""
    return f"{column_name(raw)}__{hashlib.sha256(raw.encode()).hexdigest()[:6]}"


def extra_columns(rows: "pa.Table", spec: TableSpec, source_object: str, own: Collection[str] = ()) -> dict[str, str]:
    """Columns of `rows` that the spec does not know: their names in the table (snake_case) and in `rows`.

    Args:
        rows: raw rows.
        spec: the table's declaration.
        source_object: the file or URL, for messages.
        own: names of columns that are the reader's own (`Origin.columns`, the partition).

    Raises:
        LakeError: two of them, or one and a declared column, would have the same name.
    """
    found: dict[str, str] = {}
    for raw in rows.column_names:
        if column_name(raw) in own:
            found[apart(raw)] = raw
            continue
        if spec.match(raw):
            continue
        name = column_name(raw)
        if name in found or name in {declared.lower() for declared in spec.columns}:
            raise LakeError(f"{source_object}: column {raw!r} would be {spec.identifier}.{name}, which another one is")
        found[name] = raw
    return found


def split(
    rows: "pa.Table", spec: TableSpec, *, source_object: str, run_id: str, origin: Origin | None = None
) -> tuple["pa.Table", "pa.Table"]:
    """Split `rows` into those that keep the spec's rules, in its columns and types, and those that do not.

    A row is rejected for the first of: the reader's reason, `invalid_<column>` (a text that is not of the declared
    type, or not without loss), `missing_<column>` (a required column is null or empty), `duplicate_<columns>` (the
    unique columns, in their types, equal those of an earlier good row of the same load).

    Args:
        rows: raw rows; columns are found by the spec's source names, without case. Others join as text.
        spec: the table's declaration.
        source_object: the file or URL, for the rejected rows.
        run_id: for the rejected rows.
        origin: what the reader knows of the rows beside their columns.

    Returns:
        Good rows with `spec.arrow_schema()`, the `extra_columns` and, with `origin.day_of`, the partition column;
        and rejected rows with `rejected_schema()`; together as many as `rows`.

    Raises:
        LakeError: the source has no column at all for one that is required or unique.
    """
    import duckdb
    import pyarrow as pa

    origin = origin or Origin()
    partition = spec.partition_column if origin.day_of else None
    extra = extra_columns(rows, spec, source_object, {*origin.columns, *([partition] if partition else [])})
    own = ("ordinal", "raw_row", "given", "broken", "reason")
    made = _unused([*(f"made_{name}" for name in origin.columns), *own], rows)
    ordinal, raw_row, given, broken, reason = (quote(made[name]) for name in own)
    present = {name.lower(): name for name in rows.column_names}
    casts, reasons, values = {}, [], []
    for name, column in spec.columns.items():
        raw = made[f"made_{name}"] if name in origin.columns else present.get((column.source or name).lower())
        if raw is None and (column.required or name in spec.unique):
            raise LakeError(f"{source_object}: column {column.source or name} of {spec.identifier} is missing")
        value = "NULL" if raw is None else quote(raw)
        cast = _cast(value, column.type)
        casts[name] = cast
        values.append(f"{cast} AS {quote(name)}")
        if raw is not None and column.type != "string":
            unfit = f"({cast} IS NULL OR NOT {_is_lossless(value, column.type)})"
            reasons.append((f"nullif(trim(CAST({value} AS VARCHAR)), '') IS NOT NULL AND {unfit}", f"invalid_{name}"))
        if column.required:
            reasons.append((f"nullif(trim(CAST({value} AS VARCHAR)), '') IS NULL", f"missing_{name}"))
    values += [f"CAST({quote(raw)} AS VARCHAR) AS {quote(name)}" for name, raw in extra.items()]
    if partition and origin.day_of:
        day = f"date_trunc({literal(spec.partition_by)}, {casts[origin.day_of]})"
        values.append(f"CAST({day} AS DATE) AS {quote(partition)}")
    verdict = " ".join(f"WHEN {test} THEN {literal(reason)}" for test, reason in reasons)
    verdict = f"CASE {verdict} END" if verdict else "CAST(NULL AS VARCHAR)"
    if origin.reasons is not None:
        verdict = f"coalesce({given}, {verdict})"
    duplicate = "CAST(NULL AS VARCHAR)"
    if spec.unique:
        keys = ", ".join(casts[name] for name in spec.unique)
        nth = f"row_number() OVER (PARTITION BY {broken} IS NULL, {keys} ORDER BY {ordinal})"
        duplicate = f"CASE WHEN {nth} > 1 THEN {literal('duplicate_' + '_'.join(spec.unique))} END"
    raw_rows = f"CAST(to_json(struct_pack({', '.join(quote(c) for c in rows.column_names)})) AS VARCHAR)"
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        con.register("raw_rows", _annotated(rows, origin, made))
        con.execute(
            f"""
            CREATE TABLE judged AS
            WITH verdicts AS (SELECT *, {verdict} AS {broken} FROM raw_rows)
            SELECT *, coalesce({broken}, {duplicate}) AS {reason} FROM verdicts
            """  # noqa: S608 - identifiers come from a validated spec, literals are escaped
        )
        good = con.sql(
            f"SELECT {', '.join(values)} FROM judged WHERE {reason} IS NULL ORDER BY {ordinal}"  # noqa: S608
        ).to_arrow_table()
        rejected = con.sql(
            f"""
            SELECT {reason}, {literal(source_object)}, {ordinal}, {literal(run_id)},
                {raw_row if origin.raw_rows is not None else raw_rows}
            FROM judged WHERE {reason} IS NOT NULL ORDER BY {ordinal}
            """  # noqa: S608
        ).to_arrow_table()
    schema = pa.schema([*spec.arrow_schema(), *(pa.field(name, pa.string()) for name in extra)])
    if partition:
        schema = schema.append(pa.field(partition, pa.date32()))
    return good.cast(schema), rejected.rename_columns(rejected_schema().names).cast(rejected_schema())


def _unused(names: Iterable[str], rows: "pa.Table") -> dict[str, str]:
    """A name for each of `names` that no column of `rows` has, in any case."""
    longer = "_" * (1 + max(map(len, rows.column_names), default=0))
    return {name: longer + name for name in names}


def _annotated(rows: "pa.Table", origin: Origin, names: Mapping[str, str]) -> "pa.Table":
    """`rows` with the ordinals and what else the reader knows as further columns, called by `names`."""
    import pyarrow as pa

    ordinals = pa.array(range(1, rows.num_rows + 1), pa.int64()) if origin.ordinals is None else origin.ordinals
    annotated = rows.append_column(names["ordinal"], ordinals)
    if origin.raw_rows is not None:
        annotated = annotated.append_column(names["raw_row"], origin.raw_rows)
    if origin.reasons is not None:
        annotated = annotated.append_column(names["given"], origin.reasons)
    for name, values in origin.columns.items():
        annotated = annotated.append_column(names[f"made_{name}"], values)
    return annotated
