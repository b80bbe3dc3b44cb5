"""The partitions of the graph, each defined once.

What belongs here: partition definitions, and the way from a partition key to times. What does not: who is
partitioned by them.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

import dagster as dg

from lake.errors import LakeError
from lake.load import OVERLAP
from lake.settings import get_settings

PartitionName = Literal["monthly", "daily", "utc_daily", "hourly"]

MONTHLY = dg.MonthlyPartitionsDefinition(start_date="2023-01", fmt="%Y-%m", end_offset=1)
"""Month of the TLC's file, from 2023-01 to the running month, which a late backfill or a live feed may hold
already.
"""

ZONE = get_settings().membership_zone
FIRST_DAY = get_settings().membership_first_day
DAILY = dg.DailyPartitionsDefinition(start_date=FIRST_DAY.isoformat(), timezone=ZONE, end_offset=1)
"""Day that a workbook of the membership reports, in the settings' zone, from their first one to the running day, of
which one may have been dropped early. The first day stands for all that is older, too.
"""

FIRST_CHANGES = get_settings().sales_first_day
UTC_DAILY = dg.DailyPartitionsDefinition(start_date=FIRST_CHANGES.isoformat())
"""Day of the sales' changes in UTC, from the settings' first one to the last that is over. The first day stands for all
that is older, too.
"""

FIRST_HOUR = get_settings().shop_first_hour
HOURLY = dg.HourlyPartitionsDefinition(start_date=FIRST_HOUR, end_offset=1)
"""Hour of the shop's changes in UTC, from the settings' first one to the running hour, of which a later load brings the
rest. The first hour stands for all that is older, too.
"""

PARTITIONS: dict[PartitionName, dg.TimeWindowPartitionsDefinition] = {
    "monthly": MONTHLY,
    "daily": DAILY,
    "utc_daily": UTC_DAILY,
    "hourly": HOURLY,
}
FIRST: dict[PartitionName, datetime] = {
    "daily": datetime(FIRST_CHANGES.year, FIRST_CHANGES.month, FIRST_CHANGES.day, tzinfo=UTC),
    "hourly": FIRST_HOUR,
}
"""Where changes begin, by the form of the keys that they are loaded by. (Workbooks are no changes.)"""

_FORMS: dict[PartitionName, tuple[re.Pattern[str], str]] = {
    "monthly": (
        re.compile(r"([1-9]\d{3})-(0[1-9]|1[0-2])", re.ASCII),
        "a month is written YYYY-MM, as in 2023-01",
    ),
    "daily": (
        re.compile(r"([1-9]\d{3})-(0[1-9]|1[0-2])-(\d{2})", re.ASCII),
        "a day is written YYYY-MM-DD, as in 2023-03-31",
    ),
    "hourly": (
        re.compile(r"([1-9]\d{3})-(0[1-9]|1[0-2])-(\d{2})-(\d{2}):00", re.ASCII),
        "an hour is written YYYY-MM-DD-HH:00, as in 2023-03-31-05:00",
    ),
}
_LENGTHS: dict[PartitionName, timedelta] = {"daily": timedelta(days=1), "hourly": timedelta(hours=1)}


@dataclass(frozen=True)
class Span:
    """The time that a partition, or a range of them, covers, in UTC; `end` is excluded. `kind` is its keys' form."""

    start: datetime
    end: datetime
    kind: PartitionName

    @property
    def since(self) -> datetime | None:
        """From when on a load of this time asks for changes; None: from the beginning, for no earlier partition would
        bring them.
        """
        return self.start - OVERLAP if self.start > FIRST.get(self.kind, datetime.max.replace(tzinfo=UTC)) else None

    @property
    def first_day(self) -> date | None:
        """The first day on which a change that a load of this time brings may have happened; None: any before."""
        return self.since.date() if self.since else None

    @property
    def last_day(self) -> date:
        """The last one."""
        return (self.end - timedelta(microseconds=1)).date()


def kind_of(key: str) -> PartitionName:
    """Which partitions a key is of, by its form: a day of changes (`utc_daily`) looks like any other, `daily`.

    Raises:
        LakeError: it has the form of none.
    """
    for kind, (form, _) in _FORMS.items():
        if form.fullmatch(key):
            return kind
    raise LakeError(f"partition {key!r}: {'; '.join(text for _, text in _FORMS.values())}")


def span_of(key: str) -> Span:
    """The time that a month `YYYY-MM`, a day `YYYY-MM-DD` or an hour `YYYY-MM-DD-HH:00` covers in a calendar of UTC.

    A day of a zone covers other hours: see `closes`.

    Raises:
        LakeError: the key has another form.
    """
    kind = kind_of(key)
    match = _FORMS[kind][0].fullmatch(key)
    assert match  # noqa: S101 - `kind_of` has found it
    parts = [int(part) for part in match.groups()]
    try:
        start = datetime(*[*parts, 1][: max(3, len(parts))], tzinfo=UTC)  # type: ignore[arg-type,misc]
    except ValueError as error:  # the 31st of February, the 25th hour
        raise LakeError(f"partition {key!r}: {error}; {_FORMS[kind][1]}") from None
    if kind == "monthly":
        return Span(start, (start + timedelta(days=31)).replace(day=1), kind)
    return Span(start, start + _LENGTHS[kind], kind)


def span_of_range(keys: list[str]) -> Span:
    """The time from the first of `keys` to the last; they are in order."""
    first = span_of(keys[0])
    return Span(first.start, span_of(keys[-1]).end, first.kind)


def closes(key: str) -> datetime:
    """The moment at which the partition's time is over: a day's in its own zone."""
    end = span_of(key).end
    return end.replace(tzinfo=ZoneInfo(ZONE)) if kind_of(key) == "daily" else end


FULL_REFRESH = "lakegraph/full_refresh"
"""Tag of a run that takes everything anew from the source, and builds everything anew on it."""


def is_full_refresh(tags: Mapping[str, str]) -> bool:
    """Whether a run with these tags is one."""
    return tags.get(FULL_REFRESH, "false").lower() == "true"


RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


def range_tags(keys: Sequence[str]) -> dict[str, str]:
    """The tags of one run over the partitions from the first of `keys`, which are in order, to the last."""
    return {RANGE_START: keys[0], RANGE_END: keys[-1]}


def hour_key(moment: datetime) -> str:
    """The key of the hour that `moment`, in UTC, lies in."""
    return f"{moment:%Y-%m-%d-%H}:00"


def date_of(key: str) -> date:
    """The first day of the month, or the day, that a key names: what its rows carry in the table.

    Raises:
        LakeError: the key has another form.
    """
    if kind_of(key) == "hourly":
        raise LakeError(f"partition {key!r}: {_FORMS['monthly'][1]}; {_FORMS['daily'][1]}")
    return span_of(key).start.date()
