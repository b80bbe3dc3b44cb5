"""What BigQuery jobs cost, and what a query would: bytes and slot time, never money, for prices differ and change.

What belongs here: the audit of our jobs by their labels, and estimates by dry runs. What does not: labelling them
(`lake.gcp` for Python, `dbt_project/macros/labels.sql` for dbt), limits (`lake.settings`), and Dagster.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lake.errors import LakeError
from lake.gcp import LABELS, bigquery_client, clear_errors, job_labels, query_config
from lake.settings import Settings

if TYPE_CHECKING:
    from google.cloud import bigquery

ASSET = "ops/cost"
MAX_DAYS = 180  # BigQuery forgets jobs that are older

# A script's statements are jobs of their own, and the script repeats their sums: only what has no parent is counted.
# The bound on creation_time is what keeps the audit itself cheap: the view is partitioned by it.
JOBS = """
SELECT
    coalesce((SELECT l.value FROM UNNEST(labels) AS l WHERE l.key = 'asset'), '') AS asset,
    coalesce((SELECT l.value FROM UNNEST(labels) AS l WHERE l.key = 'run'), '') AS run,
    total_bytes_processed,
    total_bytes_billed,
    total_slot_ms,
    error_result.reason IS NOT NULL AS failed
FROM `{project}`.`region-{location}`.INFORMATION_SCHEMA.JOBS
WHERE creation_time >= TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL {days} DAY)
    AND parent_job_id IS NULL
    AND EXISTS (SELECT 1 FROM UNNEST(labels) AS l WHERE l.key = 'app' AND l.value = '{app}')
"""
AUDIT = """
SELECT
    asset,
    run,
    count(*) AS jobs,
    coalesce(sum(total_bytes_processed), 0) AS bytes_processed,
    coalesce(sum(total_bytes_billed), 0) AS bytes_billed,
    coalesce(sum(total_slot_ms), 0) AS slot_ms,
    countif(failed) AS errors
FROM ({jobs})
GROUP BY asset, run
"""


@dataclass(frozen=True)
class Usage:
    """What some jobs used.

    Attributes:
        asset: label `asset` of the jobs; "" if they have none.
        run: label `run` of the jobs; "" for several runs.
        jobs: how many there were.
        bytes_processed: bytes that they read.
        bytes_billed: bytes that they are billed for: at least 10 MB a table, 0 under a reservation.
        slot_seconds: seconds of one slot.
        errors: how many of the jobs failed.
    """

    asset: str
    run: str
    jobs: int
    bytes_processed: int
    bytes_billed: int
    slot_seconds: float
    errors: int


@dataclass(frozen=True)
class Audit:
    """Jobs of the last days, one `Usage` for each asset and run."""

    days: int
    usages: tuple[Usage, ...]

    @property
    def total(self) -> Usage:
        """Everything in one."""
        return _sum("", "", self.usages)

    def by_asset(self) -> list[Usage]:
        """One for each asset, the most bytes first."""
        return self._grouped(lambda usage: (usage.asset, ""))

    def by_run(self) -> list[Usage]:
        """One for each run, the most bytes first."""
        return self._grouped(lambda usage: ("", usage.run))

    def over(self, budget: int) -> list[Usage]:
        """Assets that read more than `budget` bytes in one run, the most bytes first."""
        return _largest_first(usage for usage in self.usages if usage.bytes_processed > budget)

    def _grouped(self, key: Callable[[Usage], tuple[str, str]]) -> list[Usage]:
        groups: dict[tuple[str, str], list[Usage]] = {}
        for usage in self.usages:
            groups.setdefault(key(usage), []).append(usage)
        return _largest_first(_sum(*names, usages) for names, usages in groups.items())


@dataclass(frozen=True)
class Estimate:
    """What BigQuery says that a query would read.

    Attributes:
        bytes_processed: the bytes.
        accuracy: how sure BigQuery is: PRECISE, LOWER_BOUND, UPPER_BOUND or UNKNOWN. Files outside of BigQuery are
            not counted before they are read, so a query over them has a lower bound.
    """

    bytes_processed: int
    accuracy: str


def audit_jobs(settings: Settings, *, days: int, run_id: str) -> Audit:
    """Our query jobs of the last `days` days in the settings' project and location.

    Args:
        settings: of the target gcp.
        days: how far to look back.
        run_id: who asks; this job is labelled too.

    Raises:
        LakeError: `days` is out of range, or the view cannot be read; it takes the role
            `roles/bigquery.resourceViewer`.
    """
    if not 1 <= days <= MAX_DAYS:
        raise LakeError(f"{ASSET}: days must be between 1 and {MAX_DAYS}, not {days}")
    target = settings.gcp()
    view = JOBS.format(project=target.project, location=target.location.lower(), days=days, app=LABELS["app"])
    config = query_config(settings.gcp_maximum_bytes_billed, job_labels(ASSET, run_id))
    with clear_errors("INFORMATION_SCHEMA.JOBS"):
        rows = bigquery_client(target).query_and_wait(AUDIT.format(jobs=view), job_config=config)
        usages = tuple(
            Usage(
                row["asset"],
                row["run"],
                row["jobs"],
                int(row["bytes_processed"]),
                int(row["bytes_billed"]),
                float(row["slot_ms"]) / 1000,
                row["errors"],
            )
            for row in rows
        )
    return Audit(days, usages)


def estimate(client: "bigquery.Client", sql: str, what: str) -> Estimate:
    """What `sql` would read, by a dry run: nothing is run, billed or listed among the jobs.

    Args:
        client: of the project.
        sql: one query.
        what: names the query in errors.

    Raises:
        LakeError: BigQuery refuses the query.
    """
    from google.cloud import bigquery

    with clear_errors(f"estimate of {what}"):
        job: Any = client.query(sql, job_config=bigquery.QueryJobConfig(dry_run=True, use_query_cache=False))
    # how sure BigQuery is, is not among the client's properties
    statistics = job.to_api_repr().get("statistics", {}).get("query", {})
    return Estimate(int(job.total_bytes_processed or 0), statistics.get("totalBytesProcessedAccuracy", "UNKNOWN"))


def _largest_first(usages: Iterable[Usage]) -> list[Usage]:
    return sorted(usages, key=lambda usage: (-usage.bytes_processed, usage.asset, usage.run))


def _sum(asset: str, run: str, usages: Collection[Usage]) -> Usage:
    return Usage(
        asset,
        run,
        sum(usage.jobs for usage in usages),
        sum(usage.bytes_processed for usage in usages),
        sum(usage.bytes_billed for usage in usages),
        sum(usage.slot_seconds for usage in usages),
        sum(usage.errors for usage in usages),
    )
