"""When tables renew themselves.

What belongs here: automation conditions and the sensor that evaluates them. What does not: schedules.

`eager` alone is wrong here in four ways, each of which a test in `tests/graph/test_automation.py` shows:

- it looks at the latest time window only: the running month, while a file comes about two months late;
- below a partitioned asset it waits until every partition is filled, which never happens. Asking that each
  dependency has something, instead, means the very partition where both are partitioned alike, and any one
  where only the dependency is partitioned;
- without that it starts on a month that has just begun and has nothing below it;
- it fires after a failed blocking check; others have met hundreds of thousands of failed runs that way.

And it forgets: what was asked for and failed is not asked for again until something above it changes. Below hours that
is for good, for the next news is of another hour, and gold would lack the failed one. So a failed partition is asked
for again by a clock: each hour if it is one, each day if not.
"""

from collections.abc import Iterable
from functools import cache
from typing import Any

import dagster as dg

from orchestration.partitions import HOURLY

_C = dg.AutomationCondition

_EAGER = _C.eager().without(_C.in_latest_time_window()).without(~_C.any_deps_missing())
_DEPS_THERE = _C.all_deps_match(~_C.missing() | _C.will_be_requested()).with_label("all_deps_there")
_CHECKS_PASSED = _C.all_checks_match(_C.check_passed() | _C.will_be_requested(), blocking_only=True)
_NEW_CODE: dg.AutomationCondition[Any] = _C.code_version_changed()
_HOURLY, _DAILY = "40 * * * *", "40 4 * * *"


@cache
def behind_checks(partitions: dg.PartitionsDefinition[Any] | None = None) -> dg.AutomationCondition[Any]:
    """Renewed when upstream has changed, and again by the clock if that failed; never behind a failed blocking check.

    Args:
        partitions: of the asset; they say which clock.
    """
    return ((_EAGER | _failed(partitions)) & _DEPS_THERE & _C.all_deps_blocking_checks_passed()).with_label(
        "when upstream has changed and its blocking checks have passed; again by the clock after a failure"
    )


def as_code() -> dg.AutomationCondition[Any]:
    """Renewed when its code has changed, not its data; as `behind_checks` while it is missing or has failed."""
    news = (_C.missing() & _C.any_deps_updated()) | _NEW_CODE
    changed = news.since_last_handled() & ~_C.any_deps_in_progress() & ~_C.in_progress()
    return ((changed | _failed(None)) & _DEPS_THERE & _C.all_deps_blocking_checks_passed()).with_label(
        "when its code has changed, or it is not there, and upstream's blocking checks have passed; again by the clock "
        "after a failure"
    )


def behind_domains(domains: Iterable[dg.AssetSelection]) -> dg.AutomationCondition[Any]:
    """As `behind_checks`, for what rests on several domains: one that has nothing yet holds up none of the others.

    Args:
        domains: what it rests on, by domain; each must be there whole, or not at all.
    """
    passed = _C.all_deps_match(_C.missing() | _CHECKS_PASSED).with_label("all_deps_blocking_checks_passed")
    condition = (_EAGER | _failed(None)) & passed
    for domain in domains:
        there = ~_C.missing() | _C.will_be_requested()
        condition &= _C.all_deps_match(there).allow(domain) | ~_C.any_deps_match(there).allow(domain)
    return condition.with_label("when a domain has changed and all blocking checks have passed; again after a failure")


def _failed(partitions: dg.PartitionsDefinition[Any] | None) -> dg.AutomationCondition[Any]:
    """What failed is asked for again by the clock."""
    stroke = _C.cron_tick_passed(_HOURLY if partitions == HOURLY else _DAILY)
    return stroke & _C.execution_failed() & ~_C.in_progress()


def build_automation_sensor() -> dg.AutomationConditionSensorDefinition:
    """Evaluates the conditions of silver, gold and serving once a minute; on by default, for without it
    nothing is renewed.
    """
    return dg.AutomationConditionSensorDefinition(
        "automation",
        target=dg.AssetSelection.groups("silver", "gold", "serving"),
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
