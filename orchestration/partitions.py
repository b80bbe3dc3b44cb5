"""The partitions of the graph, each defined once.

What belongs here: partition definitions, and the way from a partition key to times. What does not: who is
partitioned by them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Literal

import dagster as dg

from lake.errors import LakeError
from lake.settings import get_settings

PartitionName = Literal["monthly", "hourly"]

MONTHLY = dg.MonthlyPartitionsDefinition(start_date="2023-01", fmt="%Y-%m", end_offset=1)
"""Month of the TLC's file, from 2023-01 to the running month, which a late backfill or a live feed may hold
already.
"""

FIRST_HOUR = get_settings().shop_first_hour
HOURLY = dg.HourlyPartitionsDefinition(start_date=FIRST_HOUR, end_offset=1)
"""Hour of the shop's changes in UTC, from the settings' first one to the running hour, of which a later load brings the
rest. The first hour stands for all that is older, too.
"""

PARTITIONS: dict[PartitionName, dg.TimeWindowPartitionsDefinition] = {"monthly": MONTHLY, "hourly": HOURLY}

OVERLAP = timedelta(hours=2)
"""How long before its hour a load looks for changes that show late, or were stamped by a clock that is off."""

_FORMS = (
    (re.compile(r"([1-9]\d{3})-(0[1-9]|1[0-2])", re.ASCII), "a month is written YYYY-MM, as in 2023-01"),
    (
        re.compile(r"([1-9]\d{3})-(0[1-9]|1[0-2])-(\d{2})-(\d{2}):00", re.ASCII),
        "an hour is written YYYY-MM-DD-HH:00, as in 2023-03-31-05:00",
    ),
)


@dataclass(frozen=True)
class Span:
    """The time that a partition, or a range of them, covers, in UTC; `end` is excluded."""

    start: datetime
    end: datetime

    @property
    def since(self) -> datetime | None:
        """From when on a load of this time asks for changes; None: from the beginning, for no earlier hour would bring
        them.
        """
        return self.start - OVERLAP if self.start > FIRST_HOUR else None

    @property
    def first_day(self) -> date | None:
        """The first day on which a change that a load of this time brings may have happened; None: any before."""
        return self.since.date() if self.since else None

    @property
    def last_day(self) -> date:
        """The last one."""
        return (self.end - timedelta(microseconds=1)).date()


def span_of(key: str) -> Span:
    """The time that a partition key names: a month `YYYY-MM` or an hour `YYYY-MM-DD-HH:00`.

    Raises:
        LakeError: the key has another form.
    """
    for form, _ in _FORMS:
        if match := form.fullmatch(key):
            try:
                return _span([int(part) for part in match.groups()])
            except ValueError:  # the 31st of February, the 25th hour
                break
    raise LakeError(f"partition {key!r}: {'; '.join(text for _, text in _FORMS)}")


def _span(parts: list[int]) -> Span:
    if is_month := len(parts) == 2:  # noqa: PLR2004 - year, month
        parts = [*parts, 1]
    start = datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type,misc]
    if is_month:
        return Span(start, (start + timedelta(days=31)).replace(day=1))
    return Span(start, start + timedelta(hours=1))


def span_of_range(keys: list[str]) -> Span:
    """The time from the first of `keys` to the last; they are in order."""
    return Span(span_of(keys[0]).start, span_of(keys[-1]).end)


RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


def range_tags(keys: Sequence[str]) -> dict[str, str]:
    """The tags of one run over the partitions from the first of `keys`, which are in order, to the last."""
    return {RANGE_START: keys[0], RANGE_END: keys[-1]}


def hour_key(moment: datetime) -> str:
    """The key of the hour that `moment`, in UTC, lies in."""
    return f"{moment:%Y-%m-%d-%H}:00"


def is_month(key: str) -> bool:
    """Whether `key` is a month's."""
    return bool(_FORMS[0][0].fullmatch(key))


def month_of(key: str) -> date:
    """The first day of the month that a key `YYYY-MM` names.

    Raises:
        LakeError: the key has another form.
    """
    match = _FORMS[0][0].fullmatch(key)
    if not match:
        raise LakeError(f"partition {key!r}: {_FORMS[0][1]}")
    return date(int(match[1]), int(match[2]), 1)
