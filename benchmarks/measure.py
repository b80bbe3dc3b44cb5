"""One measurement: a command in a process of its own, its CPU seconds, wall time and peak memory.

What belongs here: starting a process and reading what the kernel says of it. What does not: what is measured.

Nothing heavy is imported here: Linux counts the memory of the process that starts another into the other's peak.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

MEGABYTE = 1_000_000
MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True)
class Cost:
    """CPU (user and system, of the process and those it started), wall time, and the largest process's peak memory."""

    cpu: float
    wall: float
    peak_mb: float
    start_cpu: float = 0.0
    rows: int = 0
    detail: Mapping[str, Any] | None = None

    def less(self, other: "Cost") -> "Cost":
        """What is left without `other`, whose time is start-up."""
        return replace(
            self, cpu=self.cpu - other.cpu, wall=self.wall - other.wall, start_cpu=self.start_cpu + other.cpu
        )


class ContenderFailedError(RuntimeError):
    """A measured command failed; the text holds its last words."""


def run(command: Sequence[str], environment: Mapping[str, str] | None = None) -> tuple[Cost, str]:
    """Run `command` to its end.

    Returns:
        What the whole of it cost, start-up included, and what it printed.

    Raises:
        ContenderFailedError: it did not exit with 0.
    """
    with tempfile.TemporaryFile() as output:
        started = time.perf_counter()
        process = subprocess.Popen(
            list(command), stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **(environment or {})}
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read().decode(errors="replace")
    if process.returncode:
        raise ContenderFailedError(f"{' '.join(command)[:200]}: exit {process.returncode}\n{text[-3000:]}")
    peak = usage.ru_maxrss * MAXRSS_UNIT / MEGABYTE
    return Cost(usage.ru_utime + usage.ru_stime, wall, peak), text


def contender(
    name: str,
    arguments: Mapping[str, Any],
    environment: Mapping[str, str] | None = None,
    *,
    module: str = "benchmarks.contenders",
) -> Cost:
    """Run a function of `module` in a fresh process.

    Returns:
        CPU and wall time of its measured part; `start_cpu` is what went before that: imports and warm-up.
    """
    command = [sys.executable, "-m", module, name, json.dumps(arguments)]
    whole, text = run(command, environment)
    said = json.loads(text.strip().splitlines()[-1])
    return Cost(
        cpu=said["cpu"],
        wall=said["wall"],
        peak_mb=whole.peak_mb,
        start_cpu=whole.cpu - said["cpu"],
        rows=said.get("rows", 0),
        detail=said,
    )


class Server:
    """A process that serves what is read, with a clock of its own."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.endpoints: Mapping[str, str] = self._answer()

    def cpu(self) -> float:
        """The seconds it has used since it said where it is."""
        assert self._process.stdin  # noqa: S101 - it is a pipe
        print(file=self._process.stdin, flush=True)
        return float(self._answer()["cpu"])

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout  # noqa: S101 - it is a pipe
        line = self._process.stdout.readline()
        if not line:
            raise ContenderFailedError(f"{self._process.args!s:.200}: exit {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextmanager
def serving(module: str, arguments: Mapping[str, Any]) -> Iterator[Server]:
    """The function `serve` of `module` in a process of its own, until exit.

    Raises:
        ContenderFailedError: it ended by itself; standard error says why.
    """
    command = [sys.executable, "-m", module, "serve", json.dumps(arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Server(process)  # the pipes are closed next, and that ends it


def median(costs: Sequence[Cost]) -> Cost:
    """The run in the middle by CPU, with the highest peak of all."""
    middle = statistics.median_low(cost.cpu for cost in costs)
    chosen = next(cost for cost in costs if cost.cpu == middle)
    return replace(chosen, peak_mb=max(cost.peak_mb for cost in costs))
