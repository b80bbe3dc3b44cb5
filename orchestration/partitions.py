"""The partitions of the graph, each defined once.

What belongs here: partition definitions, and the way from a partition key to dates. What does not: who is
partitioned by them.
"""

import re
from datetime import date
from typing import Literal

import dagster as dg

from lake.errors import LakeError

PartitionName = Literal["monthly"]

MONTHLY = dg.MonthlyPartitionsDefinition(start_date="2023-01", fmt="%Y-%m", end_offset=1)
"""Month of the TLC's file, from 2023-01 to the running month, which a late backfill or a live feed may hold
already.
"""

PARTITIONS: dict[PartitionName, dg.TimeWindowPartitionsDefinition] = {"monthly": MONTHLY}

_MONTH = re.compile(r"([1-9]\d{3})-(0[1-9]|1[0-2])", re.ASCII)


def month_of(key: str) -> date:
    """The first day of the month that a key `YYYY-MM` names.

    Raises:
        LakeError: the key has another form.
    """
    match = _MONTH.fullmatch(key)
    if not match:
        raise LakeError(f"partition {key!r}: a month is written YYYY-MM, as in 2023-01")
    return date(int(match[1]), int(match[2]), 1)
