"""What dbt's BigQuery jobs used, as metadata of the assets they built.

What belongs here: from dbt's log to metadata. What does not: starting dbt (`orchestration.resources.dbt`), and sums
over jobs (`lake.cost`).

BigQuery's answer to a model's job is in the event `NodeFinished`, which dbt gives to its log file only, a moment after
the event that ends the model; `run_results.json` has it too, but not before the end of the run.
"""

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_dbt import DbtCliInvocation

PATIENCE_SECONDS = 2.0
POLL_SECONDS = 0.05
LOG = "dbt.log"


def with_costs(invocation: DbtCliInvocation) -> Iterator[Any]:
    """dagster-dbt's events; a model's output has what its job used among its metadata."""
    answers = Answers(invocation.target_path / LOG)
    for event in invocation.stream():
        if isinstance(event, dg.Output):
            answer = answers.of(**_node(event))
            yield event.with_metadata({**event.metadata, **cost_metadata(answer)})
        else:
            yield event


def _node(output: dg.Output[Any]) -> dict[str, str]:
    return {name: str(output.metadata[name].value) for name in ("unique_id", "invocation_id")}


class Answers:
    """What the warehouse answered to the jobs of nodes, followed in dbt's log as it grows: each line is read once."""

    def __init__(self, log: Path) -> None:
        self._log, self._offset = log, 0
        self._found: dict[tuple[str, str], Mapping[str, Any]] = {}

    def of(self, unique_id: str, invocation_id: str) -> Mapping[str, Any]:
        """The answer to the job of a node that has just ended; empty if dbt's log does not say in time."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (unique_id, invocation_id) not in self._found:
            self._read_on()
            if (unique_id, invocation_id) in self._found or time.monotonic() > deadline:
                break
            time.sleep(POLL_SECONDS)
        return self._found.get((unique_id, invocation_id), {})

    def _read_on(self) -> None:
        if not self._log.exists():
            return
        with self._log.open("rb") as stream:
            stream.seek(self._offset)
            for line in stream:
                if not line.endswith(b"\n"):  # still being written
                    return
                self._offset += len(line)
                if b'"NodeFinished"' in line:
                    event = json.loads(line)
                    key = (event["data"]["node_info"]["unique_id"], event["info"]["invocation_id"])
                    self._found[key] = event["data"]["run_result"]["adapter_response"]


def cost_metadata(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata of BigQuery's answer to the model's main job; what other jobs of the model used is in `ops/cost`.

    Only CREATE TABLE AS says how many rows the table has; of others it is known how many they changed.
    """
    found: dict[str, Any] = {
        f"job_{name}": int(answer[name]) for name in ("bytes_processed", "bytes_billed") if answer.get(name) is not None
    }
    if answer.get("slot_ms") is not None:
        found["job_slot_seconds"] = round(float(answer["slot_ms"]) / 1000, 3)
    if answer.get("job_id"):
        found["job_id"] = str(answer["job_id"])
    if answer.get("rows_affected") is not None:
        whole = answer.get("code") == "CREATE TABLE"
        found["dagster/row_count" if whole else "job_rows_changed"] = int(answer["rows_affected"])
    return found
