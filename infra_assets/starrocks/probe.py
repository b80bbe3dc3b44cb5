"""Whether a table serves what was exported: figures asked of StarRocks, compared with those of gold.

What belongs here: the one query that asks for the figures, and comparisons as named findings, so that each can be a
check. What does not: where the expected figures come from (the export's manifest, or gold itself), and Dagster.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from infra_assets.starrocks import ddl, plan
from infra_assets.starrocks.client import Session

RELATIVE_TOLERANCE = 1e-9  # of sums of doubles, which depend on the order of adding

Figure = int | float | Decimal | date | datetime | None


@dataclass(frozen=True)
class Figures:
    """What is counted of a table: rows, and, of one measure and one date if they are named, these.

    Attributes:
        rows: how many.
        total: sum of the measure; None if there is none, or it is null.
        least: its least value.
        greatest: its greatest value.
        first: the earliest date.
        last: the latest date.
    """

    rows: int
    total: Figure = None
    least: Figure = None
    greatest: Figure = None
    first: Figure = None
    last: Figure = None


@dataclass(frozen=True)
class Probe:
    """Figures as StarRocks gave them, and how long it took."""

    figures: Figures
    milliseconds: float


@dataclass(frozen=True)
class Finding:
    """One comparison: its name, whether it holds, and what was wanted and found, in words."""

    name: str
    passed: bool
    detail: str


def figures_query(
    source: str,
    measure: str | None = None,
    day: str | None = None,
    *,
    quote: Callable[[str], str] = ddl.column_identifier,
) -> str:
    """The query for `Figures`, in the order of its columns.

    Args:
        source: a table, as SQL names it.
        measure: the column to add up.
        day: the column of a date or a time.
        quote: of a column's name; StarRocks' and GoogleSQL's, unless the same is to be asked of DuckDB.
    """
    amount = quote(measure) if measure else "NULL"
    moment = quote(day) if day else "NULL"
    wanted = (
        "count(*)",
        *(f"{function}({amount})" if measure else "NULL" for function in ("sum", "min", "max")),
        *(f"{function}({moment})" if day else "NULL" for function in ("min", "max")),
    )
    return f"SELECT {', '.join(wanted)}\nFROM {source}"


def probe(session: Session, source: ddl.Source, *, measure: str | None = None, day: str | None = None) -> Probe:
    """Ask StarRocks for a table's figures.

    Args:
        session: an open connection, so that connecting is not counted.
        source: the table or view.
        measure: the column to add up.
        day: the column of a date or a time.

    Raises:
        LakeError: by what went wrong: a missing path, an unknown table, …
    """
    sql = figures_query(source.sql, measure, day)
    started = time.perf_counter()
    (row,) = session.query(sql)
    milliseconds = (time.perf_counter() - started) * 1000
    rows, *others = row
    return Probe(Figures(int(rows), *others), milliseconds)


def compare(wanted: Figures, found: Figures) -> tuple[Finding, ...]:
    """Findings `rows`, `measure` and `date`: whether StarRocks serves what was exported.

    A table that is stale, over an older snapshot, has other rows, or another sum.
    """
    return (
        _finding("rows", (wanted.rows,), (found.rows,)),
        _finding("measure", (wanted.total, wanted.least, wanted.greatest), (found.total, found.least, found.greatest)),
        _finding("date", (wanted.first, wanted.last), (found.first, found.last)),
    )


def _finding(name: str, wanted: Sequence[Figure], found: Sequence[Figure]) -> Finding:
    passed = all(same(one, other) for one, other in zip(wanted, found, strict=True))
    shown = ", ".join(map(str, found))
    return Finding(name, passed, shown if passed else f"{shown}, not {', '.join(map(str, wanted))}")


def same(one: Figure, other: Figure) -> bool:
    """Whether two figures are one: exact for decimals, whole numbers and dates, close for doubles."""
    if one is None or other is None:
        return one is other
    if isinstance(one, date) or isinstance(other, date):
        return bool(_moment(one) == _moment(other))
    if isinstance(one, float) or isinstance(other, float):
        left, right = float(one), float(other)
        both_nan = math.isnan(left) and math.isnan(right)
        return both_nan or math.isclose(left, right, rel_tol=RELATIVE_TOLERANCE, abs_tol=RELATIVE_TOLERANCE)
    return one == other


def _moment(value: Any) -> Any:
    """A date as its midnight, a time without its zone if that is UTC: as StarRocks has them."""
    if isinstance(value, datetime):
        return value.replace(tzinfo=None) if not value.utcoffset() else value
    return datetime(value.year, value.month, value.day) if isinstance(value, date) else value  # noqa: DTZ001


def latency(found: Probe, budget_ms: float) -> Finding:
    """Finding `latency`: whether the figures came within a budget of milliseconds."""
    passed = found.milliseconds <= budget_ms
    return Finding("latency", passed, f"{found.milliseconds:.0f} ms of {budget_ms:.0f} ms")


def schema(
    wanted: Sequence[ddl.Column],
    found: Sequence[ddl.Column],
    *,
    same: Callable[[str, str], bool] | None = ddl.same_type,
) -> Finding:
    """Finding `schema`: whether there are the contract's columns, all of them and no others; see `plan.drift`."""
    reasons = plan.drift(wanted, found, same=same)
    return Finding("schema", not reasons, "; ".join(reasons) or f"{len(found)} columns as declared")
