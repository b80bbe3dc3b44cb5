"""Runs whose process is gone: told apart from those that work, and reported.

What belongs here: finding dead runs. What does not: resuming them; a run is simply started again.

A process that is killed writes no last event. Its run stays "started" for ever, and with it its place in the pool
`duckdb_writer`: runs in the queue would wait for it without end. Dagster's daemon looks after runs where one is
running; the command must not need it. What keeps two writers apart for real is `lake.duck.exclusive`, which the system
releases with its holder.
"""

import json
import os
import socket

import dagster as dg

PROCESS_TAG = "lakegraph/process"
SERVER_TAG = ".dagster/grpc_info"  # written by Dagster's default run launcher
UNDER_WAY = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.CANCELING]


def process_tag() -> dict[str, str]:
    """A run's tag that says which process it lives in: its id with the time of its start, for ids are used again."""
    import psutil

    return {PROCESS_TAG: f"{os.getpid()}@{psutil.Process().create_time():.2f}@{socket.gethostname()}"}


def _process_lives(tag: str) -> bool:
    import psutil

    pid, started, host = tag.split("@", 2)
    if host != socket.gethostname():
        return True  # who can tell from here
    try:
        return f"{psutil.Process(int(pid)).create_time():.2f}" == started
    except psutil.NoSuchProcess:
        return False


def _server_lives(tag: str) -> bool:
    """Whether the code server answers whose child the run is. One that listens on a port is taken to live."""
    path = json.loads(tag).get("socket")
    if not path:
        return True
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(path) == 0


def is_dead(run: dg.DagsterRun) -> bool:
    """Whether the process of a run under way is gone. A run that does not tell is left alone."""
    if tag := run.tags.get(PROCESS_TAG):
        return not _process_lives(tag)
    if tag := run.tags.get(SERVER_TAG):
        return not _server_lives(tag)
    return False


def bury_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Report every dead run as failed; their ids."""
    dead = [run for run in instance.get_runs(dg.RunsFilter(statuses=UNDER_WAY)) if is_dead(run)]
    for run in dead:
        instance.report_run_failed(run, "the run's process is gone: it was killed, or the machine went down")
    return [run.run_id for run in dead]
