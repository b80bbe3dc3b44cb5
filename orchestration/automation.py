"""When tables renew themselves.

What belongs here: automation conditions and the sensor that evaluates them. What does not: schedules.

`eager` alone never fires below a partly filled partitioned asset, and fires even after a failed blocking
check; others have met hundreds of thousands of failed runs that way. Hence no condition on missing ones, and
none of them without the last term.
"""

import dagster as dg

_C = dg.AutomationCondition

EAGER_BEHIND_CHECKS = (_C.eager().without(~_C.any_deps_missing()) & _C.all_deps_blocking_checks_passed()).with_label(
    "when upstream has changed and its blocking checks have passed"
)


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
