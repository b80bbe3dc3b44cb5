"""Reading what was built, by SQL in the target's own dialect.

What belongs here: which engine answers for which target. What does not: the published copy itself (`lake.publish`).
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from lake import publish
from lake.settings import Settings, Target

if TYPE_CHECKING:
    import pyarrow as pa


def _bigquery(settings: Settings, sql: str) -> "pa.Table":
    from lake.gcp import bigquery_client, clear_errors, job_labels, query_config

    config = query_config(settings.gcp_maximum_bytes_billed, job_labels("query", "manual"))
    with clear_errors("query"):
        rows = bigquery_client(settings.gcp()).query_and_wait(sql, job_config=config)
        return rows.to_arrow(create_bqstorage_client=False)


RUNS_AS_FORMULA = "^[=+\\-@\uff1d\uff0b\uff0d\uff20\t\r\n]"

_ENGINES: Mapping[Target, Callable[[Settings, str], "pa.Table"]] = {"local": publish.query, "gcp": _bigquery}


def query(settings: Settings, sql: str) -> "pa.Table":
    """The result of `sql` on the target: the published DuckDB copy, or BigQuery.

    Raises:
        LakeError: the statement fails, with the engine's reason.
    """
    return _ENGINES[settings.target](settings, sql)


def for_spreadsheets(rows: "pa.Table") -> "pa.Table":
    """`rows` with an apostrophe before every text, and name of a column, that a spreadsheet would run as a formula.

    Such texts begin with `=`, `+`, `-`, `@` (full-width, too), a tab or a line break
    (https://owasp.org/www-community/attacks/CSV_Injection); the apostrophe is what spreadsheets themselves mark text
    with. Numbers are no texts: they stay.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    def is_text(kind: "pa.DataType") -> bool:
        inner = kind.value_type if pa.types.is_dictionary(kind) else kind
        return bool(pa.types.is_string(inner) or pa.types.is_large_string(inner) or pa.types.is_string_view(inner))

    def marked(texts: "pa.ChunkedArray | pa.Array") -> "pa.ChunkedArray | pa.Array":
        plain = texts.cast(pa.string())
        runs = pc.match_substring_regex(plain, RUNS_AS_FORMULA)
        return pc.if_else(runs, pc.binary_join_element_wise("'", plain, ""), plain)

    columns = [marked(column) if is_text(column.type) else column for column in rows.columns]
    return pa.table(columns, names=marked(pa.array(rows.column_names, pa.string())).to_pylist())
