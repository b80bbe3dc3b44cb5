"""Lint of SQL as GoogleSQL: what BigQuery refuses or reads otherwise, though the emulator, DuckDB inside, takes it.

What belongs here: a pure function from a text to its offences. What does not: where the text comes from. It is a deny
list beside a lenient parser, so a text without offences may still be refused by BigQuery; each refusal found is added.
"""

import re
from collections.abc import Iterator

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

# What stands between statements and is no query; sqlglot keeps it as a text without looking into it.
UNPARSED = re.compile(
    r"(begin|commit|rollback)( transaction)?|declare .+|set .+|(create|drop) .+", re.IGNORECASE | re.DOTALL
)

# Functions that GoogleSQL has not under these names.
FUNCTIONS = {
    *("hash", "epoch_us", "epoch_ms", "epoch", "quantile_disc", "quantile_cont", "quantile", "median", "mode"),
    *("json_extract_string", "read_parquet", "read_csv", "read_json", "parquet_scan", "iceberg_scan", "strptime"),
    *(
        "to_timestamp",
        "regexp_matches",
        "regexp_full_match",
        "arg_max",
        "arg_min",
        "any_value_or_null",
        "first",
        "last",
    ),
    *("unnest_struct", "struct_pack", "struct_extract", "list", "string_agg_distinct", "len", "datediff", "date_part"),
    *(
        "bool_and",
        "bool_or",
        "make_date",
        "make_timestamp",
        "strlen",
        "printf",
        "try_strptime",
        "string_split",
        "isfinite",
    ),
}
PREFIXES = ("list_", "duckdb_", "pragma_", "map_", "array_slice")
WORDS = {"try_cast", "ilike", "exclude", "glob", "similar", "asof", "positional", "summarize", "pragma", "attach"}
TYPES = {
    *("double", "varchar", "char", "text", "hugeint", "ubigint", "uinteger", "real", "float", "blob", "uuid", "float4"),
    *("float8", "int8", "int4", "int2", "int1", "timestamptz", "timestamp_s", "timestamp_ms", "timestamp_ns", "bpchar"),
}
QUOTED = re.compile(
    r"/\*.*?\*/|--[^\n]*|#[^\n]*|\"{3}.*?\"{3}|'{3}.*?'{3}|'(?:[^'\\]|\\.)*'|`[^`]*`|\"(?:[^\"\\]|\\.)*\"", re.DOTALL
)
OPTIONS = re.compile(r"\boptions\s*\((?:[^()]|\([^()]*\))*\)", re.IGNORECASE)
CONNECTION = re.compile(r"\bwith connection `[^`]+`", re.IGNORECASE)  # sqlglot does not know it
CAST = re.compile(r"\b(?:safe_)?cast\s*\(", re.IGNORECASE)
TYPE = re.compile(r"\bas\s+([a-z_][a-z0-9_]*(?:\s+precision)?)\s*(\()?", re.IGNORECASE)

STATEMENTS = (exp.Query, exp.Insert, exp.Delete, exp.Update, exp.Merge, exp.Create, exp.Drop, exp.Alter, exp.Declare)
STATEMENTS += (exp.Transaction, exp.Commit, exp.Rollback, exp.Set, exp.TruncateTable)
NUMBERS = (exp.Length, exp.Count, exp.Sum, exp.Avg, exp.Extract, exp.Floor, exp.Ceil, exp.Abs, exp.Sign, exp.DateDiff)
NUMBERS += (
    exp.TimestampDiff,
    exp.DatetimeDiff,
    exp.UnixMicros,
    exp.UnixSeconds,
    exp.UnixMillis,
    exp.UnixDate,
    exp.Round,
)
ARITHMETIC = (exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Mod, exp.IntDiv, exp.Neg)
TEXTS = {exp.DataType.Type.TEXT, exp.DataType.Type.VARCHAR, exp.DataType.Type.BINARY, exp.DataType.Type.VARBINARY}


def offences(sql: str) -> list[str]:
    """What BigQuery would not take of `sql`, one line each; empty if nothing is known against it.

    Args:
        sql: one or several statements.
    """
    code = blank(sql)
    found = [f"{what}: {_around(sql, at)}" for what, at in sorted(_in_text(code), key=lambda one: one[1])]
    try:
        statements = sqlglot.parse(CONNECTION.sub("", sql), read="bigquery", error_level=sqlglot.ErrorLevel.RAISE)
    except SqlglotError as error:
        return [*found, f"does not parse: {' '.join(str(error).split())}"]
    return [*found, *(offence for statement in statements if statement for offence in _in_tree(statement))]


def blank(sql: str) -> str:
    """`sql` with comments and the insides of quotes blanked out, every place where it was.

    The quotes themselves stay, except those of texts that describe a table: OPTIONS takes double quotes too.
    """
    out, at = [], 0
    for match in QUOTED.finditer(sql):
        text = match[0]
        single = text[0] in "'`\"" and not text.startswith(('"""', "'''"))
        out += [sql[at : match.start()], text[0] + " " * (len(text) - 2) + text[-1] if single else " " * len(text)]
        at = match.end()
    code = "".join([*out, sql[at:]])
    return OPTIONS.sub(lambda found: found[0].replace('"', " "), code)


def _in_text(code: str) -> Iterator[tuple[str, int]]:
    for match in re.finditer(r"::|(?<!:)//", code):
        yield f"operator {match[0]}", match.start()
    for match in re.finditer(r"(?<![\w.`@])([a-z_][a-z0-9_]*)\s*(\()?", code, re.IGNORECASE):
        word, call = match[1].lower(), match[2]
        if word in WORDS or (call and (word in FUNCTIONS or word.startswith(PREFIXES))):
            yield f"not GoogleSQL: {word}", match.start()
    for match in re.finditer(r"\"[^\"]*\"", code):
        yield "double quotes hold a text, not a name", match.start()
    for kind, parameterised, at in _casts(code):
        if kind in TYPES or kind == "double precision":
            yield f"no type of GoogleSQL: {kind}", at
        if parameterised:
            yield f"a type with parameters inside CAST: {kind}", at


def _casts(code: str) -> Iterator[tuple[str, bool, int]]:
    """The type each CAST is to: the AS at the depth of its own parenthesis."""
    for cast in CAST.finditer(code):
        depth = 1
        for at in range(cast.end(), len(code)):
            depth += {"(": 1, ")": -1}.get(code[at], 0)
            if depth == 0:
                break
            if depth == 1 and (found := TYPE.match(code, at)) and not code[at - 1].isalnum():
                yield " ".join(found[1].lower().split()), bool(found[2]), at
                break


def _in_tree(statement: exp.Expression) -> Iterator[str]:
    text = statement.sql("bigquery").strip()
    if not isinstance(statement, STATEMENTS) and not UNPARSED.fullmatch(text):
        yield f"not a statement: {text[:80]}"
    for node in statement.find_all(exp.DPipe):
        for operand in (node.this, node.expression):
            if _is_number(operand):
                yield f"|| joins texts, not: {operand.sql('bigquery')}"
    for select in statement.find_all(exp.Select):
        yield from _whole_rows(select)
        yield from _unequal_joins(select)


def _whole_rows(select: exp.Select) -> Iterator[str]:
    """Names of tables where a column is meant that is called so, too: they are the table's whole rows, which only JSON takes."""
    tables = {source.alias_or_name for source in _sources(select)}
    for clause in ("expressions", "where", "joins"):
        found = select.args.get(clause) or []
        for part in found if isinstance(found, list) else [found]:
            for column in part.find_all(exp.Column):
                if isinstance(column.parent, exp.JSONFormat) or column.find_ancestor(exp.Select) is not select:
                    continue
                if not column.table and column.name in tables:
                    yield f"a table, not a column of it: {column.name}"


def _unequal_joins(select: exp.Select) -> Iterator[str]:
    """Outer joins by no equality at all."""
    for join in select.args.get("joins") or []:
        on = join.args.get("on")
        if join.side and on and not any(isinstance(part, exp.EQ) for part in _conjuncts(on)):
            yield f"an outer join by no equality: {on.sql('bigquery')}"


def _conjuncts(condition: exp.Expression) -> Iterator[exp.Expression]:
    return condition.flatten() if isinstance(condition, exp.And) else iter([condition])


def _sources(select: exp.Select) -> Iterator[exp.Expression]:
    from_ = select.args.get("from") or select.args.get("from_")
    for clause in filter(None, [from_, *(select.args.get("joins") or [])]):
        if isinstance(clause.this, exp.Table | exp.Subquery):
            yield clause.this


def _is_number(operand: exp.Expression) -> bool:
    operand = operand.unnest()
    if isinstance(operand, exp.Literal):
        return not operand.is_string
    if isinstance(operand, exp.Cast):
        return operand.to.this not in TEXTS
    return isinstance(operand, NUMBERS + ARITHMETIC + (exp.Boolean,))


def _around(sql: str, at: int) -> str:
    return " ".join(sql[max(0, at - 20) : at + 40].split())
