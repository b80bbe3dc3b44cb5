"""The KPI report: one HTML file that opens from disk, without a server and without a network.

What belongs here: reading the published DuckDB file and writing the page in one step. What does not: the
questions (`lake.report.sections`) and the looks (`lake.report.page`). The published file is opened
read-only, so the report neither waits for a writer nor disturbs one.
"""

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from lake.errors import LakeError
from lake.report.membership import SECTIONS as MEMBERSHIP
from lake.report.mobility import SECTIONS as MOBILITY
from lake.report.page import Answer, page
from lake.report.sales import SECTIONS as SALES
from lake.report.sections import Section
from lake.report.shop import SECTIONS as SHOP

if TYPE_CHECKING:
    import duckdb

__all__ = ["SECTIONS", "Section", "render"]

SECTIONS = (*MEMBERSHIP, *MOBILITY, *SALES, *SHOP)
_TABLES = re.compile(r"\{([\w.*]+)(?::([\w,\s]+))?\}")


def _resolve(sql: str, existing: Sequence[str]) -> tuple[str, list[str]]:
    """`sql` with its `{…}` names replaced by what exists, and the names that match nothing."""
    missing: list[str] = []

    def tables(match: re.Match[str]) -> str:
        pattern, columns = match[1], match[2] or "*"
        found = [name for name in existing if fnmatchcase(name, pattern)]
        if not found:
            missing.append(pattern)
        quoted = ('"' + name.replace(".", '"."', 1) + '"' for name in found)
        return "(" + " UNION ALL BY NAME ".join(f"SELECT {columns} FROM {name}" for name in quoted) + ")"  # noqa: S608

    return _TABLES.sub(tables, sql), missing


def _ask(connection: "duckdb.DuckDBPyConnection", section: Section, existing: Sequence[str]) -> Answer:
    sql, missing = _resolve(section.sql, existing)
    if missing:
        return Answer(section, missing=tuple(missing))
    result = connection.execute(sql)
    return Answer(section, tuple(column[0] for column in result.description), tuple(result.fetchall()))


def render(published: Path, out: Path, sections: Sequence[Section] = SECTIONS) -> Path:
    """Write the KPI report of a published DuckDB file.

    Args:
        published: the DuckDB file that people read; opened read-only.
        out: the HTML file to write; its folder is made, and a file that is there is replaced whole.
        sections: what to show, in this order; one whose tables do not exist yet is named in the footer.

    Returns:
        `out`.

    Raises:
        LakeError: nothing is published yet, or the file cannot be read.
        duckdb.Error: a section's SQL does not fit the tables it names.
    """
    import os
    import tempfile

    import duckdb

    if not published.exists():
        raise LakeError(f"{published}: nothing is published yet; materialise gold and publish it first")
    try:
        connection = duckdb.connect(str(published), read_only=True)
    except duckdb.Error as error:
        raise LakeError(f"{published}: cannot be read as a DuckDB file: {error}") from error
    with connection:
        tables = "SELECT table_schema || '.' || table_name FROM information_schema.tables ORDER BY 1"
        existing = [name for (name,) in connection.execute(tables).fetchall()]
        answers = [_ask(connection, section, existing) for section in sections]

    out.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=out.parent, prefix=f".{out.name}.")
    part = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.writelines(page(answers, source=published))
        part.chmod(0o644)
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
    return out
