"""Sensors: what starts a run because something happened outside.

What belongs here: watching sources. What does not: reading them, and alerts (`alerts.py`).

An idle tick reads little and launches nothing. For monthly files it costs one HEAD request for each watched month: the
cursor holds the signature of every file seen. For objects in S3 it costs a listing, a thousand keys a request; for
workbooks one of their folder.
"""

import hashlib
import importlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from lake.errors import TransientError, one_line
from lake.settings import get_settings
from orchestration.partitions import date_of, hour_key, range_tags

WATCHED_MONTHS = 4  # the TLC publishes about two months late, and corrects what it published


def new_file_sensor(
    name: str, job: Any, partitions: dg.TimeWindowPartitionsDefinition, files: Sequence[str]
) -> dg.SensorDefinition:
    """Runs `job` for each of the latest months whose file is new or has changed since the cursor.

    Args:
        name: the table's name, for the sensor's.
        job: the job to run.
        partitions: the months; the latest `WATCHED_MONTHS` are watched, and all that the cursor knows not yet
            on the first tick.
        files: where the file may lie under `LAKEGRAPH_TLC_BASE`, with `{month}`.
    """

    @dg.sensor(
        name=f"{name}_new_file",
        job=job,
        minimum_interval_seconds=3600,
        description=f"Loads a month of {name} when its file appears or changes.",
    )
    def new_file(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        from dlt_sources.files import probe

        settings = get_settings()
        seen: dict[str, str] = json.loads(context.cursor) if context.cursor else {}
        months = partitions.get_partition_keys(current_time=datetime.now(UTC))
        watched = months[-WATCHED_MONTHS:] if seen else months
        requests, found, trouble = [], dict(seen), ""
        try:
            base = settings.endpoint("tlc_base")
            for month in watched:
                signature = probe(settings, base, [f.format(month=month) for f in files])
                if signature and signature != seen.get(month):
                    found[month] = signature
                    requests.append(dg.RunRequest(run_key=f"{name}-{month}-{signature}", partition_key=month))
        except TransientError as error:  # what was found before is requested all the same
            trouble = f"the source does not answer, next tick tries again: {one_line(error)}"
            context.log.warning(trouble)
        if trouble and not requests:
            return dg.SkipReason(trouble)
        if not requests:
            return dg.SkipReason(f"nothing new among the months {watched[0]} to {watched[-1]}")
        return dg.SensorResult(run_requests=requests, cursor=json.dumps(found, sort_keys=True))

    return new_file


def new_object_sensor(
    name: str, job: Any, partitions: dg.TimeWindowPartitionsDefinition, source: str, prefix: str
) -> dg.SensorDefinition:
    """Runs `job` for the hours in which objects came or changed since the cursor: one run for the first to the last.

    The first hour is asked for what is older than it, too. What is younger than the last is asked for by nobody until
    its hour is there; then the schedule does.

    Args:
        name: the table's name, for the sensor's.
        job: the job to run.
        partitions: the hours.
        source: module with `new_objects(settings, prefix, cursor)`, which lists what is new and gives the next cursor.
        prefix: what the keys of the objects begin with.
    """

    @dg.sensor(
        name=f"{name}_new_object",
        job=job,
        minimum_interval_seconds=60,
        description=f"Loads the hours in which objects of {name} came or changed.",
    )
    def new_object(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        try:
            found, cursor = importlib.import_module(source).new_objects(get_settings(), prefix, context.cursor)
        except TransientError as error:
            return dg.SkipReason(f"the source does not answer, next tick tries again: {one_line(error)}")
        last = partitions.get_last_partition_key() or ""  # as text, keys are in the order of their hours
        asked = {hour_key(max(changed.modified, partitions.start)) for changed in found}
        hours = sorted(hour for hour in asked if hour <= last)
        if not hours:
            context.update_cursor(cursor)
            return dg.SkipReason(f"nothing new below {prefix} to the hour {last}")
        told = hashlib.sha256(repr(sorted((o.key, o.etag, o.modified) for o in found)).encode()).hexdigest()[:16]
        if len(hours) == 1:
            request = dg.RunRequest(run_key=f"{name}-{told}", partition_key=hours[0])
        else:
            request = dg.RunRequest(run_key=f"{name}-{told}", tags=range_tags(hours))
        return dg.SensorResult(run_requests=[request], cursor=cursor)

    return new_object


def new_workbook_sensor(
    name: str, job: Any, partitions: dg.TimeWindowPartitionsDefinition, source: str, layout: str
) -> dg.SensorDefinition:
    """Runs `job` for each day of which a workbook came or changed since the cursor, however late: it re-opens its day.
    Each day is a run of its own: one whose workbook cannot be read holds up no other.

    A day that the partitions do not have yet is asked for when they do: its workbooks are not seen until then.

    Args:
        name: the table's name, for the sensor's.
        job: the job to run.
        partitions: the days.
        source: module with `new_workbooks(settings, layout, cursor, last)`.
        layout: the report.
    """

    @dg.sensor(
        name=f"{name}_new_workbook",
        job=job,
        minimum_interval_seconds=60,
        description=f"Loads the days of {name} whose workbooks came or changed.",
    )
    def new_workbook(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        last = date_of(partitions.get_last_partition_key() or "")
        try:
            module = importlib.import_module(source)
            days, cursor = module.new_workbooks(get_settings(), layout, context.cursor, last)
        except TransientError as error:
            return dg.SkipReason(f"the folder does not answer, next tick tries again: {one_line(error)}")
        if not days:
            context.update_cursor(cursor)
            return dg.SkipReason("nothing new in the folder")
        told = hashlib.sha256(cursor.encode()).hexdigest()[:16]
        keys = [day.isoformat() for day in days]
        requests = [dg.RunRequest(run_key=f"{name}-{key}-{told}", partition_key=key) for key in keys]
        return dg.SensorResult(run_requests=requests, cursor=cursor)

    return new_workbook
