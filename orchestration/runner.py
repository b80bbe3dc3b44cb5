"""Materialising a selection from the command line: what is selected, one run, and what it did.

What belongs here: the way from a selection to a finished run and its summary. What does not: printing
(`cli.py`) and the graph itself.

The run happens in this process: the heavy imports are paid once, and the Dagster instance under
LAKEGRAPH_HOME holds the run, so that the UI shows it. A process that is killed leaves the run as started; the
tables are whole, and the next call does the rest.
"""

import os
import re
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from lake.catalog import LAYERS
from lake.duck import exclusive
from lake.errors import LakeError
from lake.settings import Settings, Target
from orchestration.checks.source_freshness import CHECK as SOURCE_FRESHNESS
from orchestration.liveness import bury_dead_runs, process_tag
from orchestration.observations import why_skipped
from orchestration.partitions import (
    FULL_REFRESH,
    PARTITIONS,
    RANGE_END,
    RANGE_START,
    PartitionName,
    kind_of,
    range_tags,
    span_of,
    span_of_range,
)
from orchestration.project import ROOT

if TYPE_CHECKING:
    from infra_assets.plan import Resource

SYNTAX = re.compile(r"[:+()\"]|\b(?:and|or|not)\b")
LINEAGE = re.compile(r"(?=.*\+)(\+?)([\w/*-]+)(\+?)")
INFRA_PENDING = "infra"
PUBLISHES: tuple[Target, ...] = ("local",)  # targets whose readers have a copy of their own
REFRESHED: PartitionName = "utc_daily"  # partitions of what can be refreshed whole
SERVING = "serving"
PUBLISH = dg.AssetKey([SERVING, "duckdb"])
MODELS = ("silver/", "gold/")  # what dbt builds
POLL_SECONDS = 0.3
FINENESS: tuple[PartitionName, ...] = ("monthly", "daily", "utc_daily", "hourly")
KINDS: Mapping[Any, PartitionName] = {definition: name for name, definition in PARTITIONS.items()}
NOUNS: Mapping[PartitionName, str] = {"monthly": "month", "daily": "day", "utc_daily": "day", "hourly": "hour"}


@dataclass
class AssetRow:
    """A line of the summary: one asset of the run; read = loaded + rejected + aside.

    Attributes:
        asset: its key.
        read: rows of the source, or of bronze.
        loaded: rows that came into the table, or are in it.
        rejected: rows in quarantine.
        aside: rows that are neither: known already, duplicates, replaced by a newer version, deleted.
        total: rows in the table after the run, whichever partitions they are of.
        seconds: how long it took.
    """

    asset: str
    read: int | None = None
    loaded: int | None = None
    rejected: int | None = None
    aside: int | None = None
    total: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Summary:
    """What a run did.

    Attributes:
        run_id: the Dagster run.
        success: whether every step succeeded; a failed check of severity WARN does not count against it.
        cause: the first failure's cause in one line, "" if there is none.
        rows: a line for each materialised asset.
        lacking: assets that were not materialised, or that a blocking check has refused.
        skipped: assets that were left alone as a system that they need is not set, with what to set.
        failed_checks: (check, severity, description).
        checks: number of checks that ran.
        seconds: duration.
        peak_mb: peak resident memory in MB: of this process, and of the largest process it started.
        report: path of the KPI report if the run made it.
    """

    run_id: str
    success: bool
    cause: str
    rows: list[AssetRow]
    lacking: frozenset[dg.AssetKey]
    failed_checks: list[tuple[str, str, str]]
    checks: int
    seconds: float
    peak_mb: tuple[float, float]
    report: str | None = None
    skipped: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_half_built(self) -> bool:
        """Whether some tables of silver and gold were built, and others that should have been were not."""
        return any(row.asset.startswith(MODELS) for row in self.rows) and any(
            key.to_user_string().startswith(MODELS) for key in self.lacking
        )


@dataclass
class Progress:
    """Steps under way, for whoever shows them."""

    total: int = 0
    done: int = 0
    running: str = ""
    messages: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def parse_selection(text: str) -> dg.AssetSelection:
    """A selection in Dagster's syntax (`key:"gold/*"`, `group:silver`, `+gold/mobility/users_by_city`); plain
    words with `*` are key patterns, several of them a union: `'bronze/mobility/* silver/mobility/*'`.

    Raises:
        LakeError: the text is not a selection.
    """
    from dagster import DagsterError

    words = text.split()
    if len(words) == 1 and (lineage := LINEAGE.fullmatch(text)):
        text = '{}key:"{}"{}'.format(*lineage.groups())  # a bare key would be one step up or down only
    if not words:
        raise LakeError("--select is empty: give a selection such as '*', 'bronze/mobility/*' or 'group:gold'")
    try:
        if SYNTAX.search(text) or ((len(words) == 1 and "*" not in text.strip("*")) and text.strip("*") == text):
            return dg.AssetSelection.from_string(text)
        if words == ["*"]:
            return dg.AssetSelection.all(include_sources=True)
        return dg.AssetSelection.from_string(" or ".join(f'key:"{word}"' for word in words))
    except DagsterError as error:
        raise LakeError(f"--select {text!r}: {str(error).splitlines()[0]}") from error


def resolve(text: str, defs: dg.Definitions, *, readers: bool = False) -> set[dg.AssetKey]:
    """The keys that `text` selects.

    Args:
        text: see `parse_selection`.
        defs: the graph.
        readers: also those of the tools that only read gold, which nobody here makes.

    Raises:
        LakeError: none, or a key that does not exist.
    """
    from dagster._core.errors import DagsterInvalidSubsetError

    words = text.split()
    if len(words) > 1 and not SYNTAX.search(text):  # each must select something: a misspelt one is not left out
        return {key for word in words for key in resolve(word, defs, readers=readers)}
    graph = defs.resolve_asset_graph()
    try:
        keys = parse_selection(text).resolve(graph)
    except DagsterInvalidSubsetError as error:
        known = [key.to_user_string() for key in graph.get_all_asset_keys()]
        near = [word for name in words for word in get_close_matches(name.strip("+"), known, 1)]
        hint = f"; did you mean {near[0]}?" if near else ""
        raise LakeError(
            f"--select {text!r}: there is no such asset; `lakegraph assets` lists all keys{hint}"
        ) from error
    ours = {key for key in keys if readers or graph.get(key).is_materializable}
    if keys and not ours:
        raise LakeError(f"--select {text!r}: {min(keys).to_user_string()} only reads gold, and is not made here")
    if not ours:
        raise LakeError(f"--select {text!r} selects nothing; `lakegraph assets` lists all keys")
    return ours


def needed_besides(keys: set[dg.AssetKey], defs: dg.Definitions, settings: Settings) -> set[dg.AssetKey]:
    """What a selection needs to be of use: infrastructure that is not there yet, and the copy that readers
    open.
    """
    from infra_assets import resources

    extra = {dg.AssetKey([INFRA_PENDING, r.name]) for r in resources(settings) if _is_pending(r)}
    if makes_tables(keys):
        extra.add(PUBLISH)
    return (extra & defs.resolve_asset_graph().get_all_asset_keys()) - keys


def makes_tables(keys: set[dg.AssetKey]) -> bool:
    """Whether there is a table among what is made: what is served would be of another state without it."""
    return any(key.path[0] in LAYERS for key in keys)


def without_serving(keys: set[dg.AssetKey]) -> set[dg.AssetKey]:
    """`keys` without what readers get, where tables are made: `*green*` selects a table and its export, which would be
    of the copy that was published before it.
    """
    return {key for key in keys if key.path[0] != SERVING} if makes_tables(keys) else keys


def _for_one_run(defs: dg.Definitions, keys: set[dg.AssetKey]) -> dg.Definitions:
    """`defs` for one run over `keys`: dbt is not started once more to find fresh what was just loaded, and publishing
    waits for every table of the run.

    In the graph it rests on gold, which rests on the rest; but a selection without gold (`bronze/mobility/users`)
    leaves it without anything to wait for, and the copy would be published first.
    """
    from dagster_shared.record import replace

    from orchestration.assets.serving import build_published_copy

    checks = [c for c in defs.asset_checks or [] if SOURCE_FRESHNESS not in {key.name for key in c.check_keys}]
    defs = replace(defs, asset_checks=checks)
    if PUBLISH not in keys:
        return defs
    last = build_published_copy(key for key in keys if key.path[0] in LAYERS)

    def is_publish(asset: Any) -> bool:
        return isinstance(asset, dg.AssetsDefinition) and PUBLISH in asset.keys

    return replace(defs, assets=[last if is_publish(asset) else asset for asset in defs.assets or []])


def _is_pending(resource: "Resource") -> bool:
    """Whether a resource is to be made; one that cannot be looked at is too, for its step repairs it or says why
    not.
    """
    try:
        return bool(resource.plan())
    except LakeError:
        return True


@dataclass(frozen=True)
class PlannedRun:
    """What is materialized in one run, and its tags: the range of partitions, if any of it is partitioned, and `kind`
    says how.
    """

    keys: frozenset[dg.AssetKey]
    tags: Mapping[str, str]
    kind: PartitionName | None = None


def plan_refresh(keys: set[dg.AssetKey], defs: dg.Definitions) -> PlannedRun:
    """The run that takes everything that `keys` rest on anew from its source: of the first partition, see
    `orchestration.partitions`.

    Raises:
        LakeError: the keys, or some of them, cannot be refreshed whole.
    """
    graph = defs.resolve_asset_graph()
    for key in sorted(keys):
        definition = graph.get(key).partitions_def
        if definition is not None and KINDS[definition] != REFRESHED:
            raise LakeError(f"{key.to_user_string()} cannot be refreshed whole: --full-refresh is for bronze/sales/*")
    if not any(graph.get(key).partitions_def for key in keys):
        raise LakeError("--full-refresh is for bronze/sales/* and what rests on it, and none of it is selected")
    first = str(PARTITIONS[REFRESHED].get_first_partition_key())
    return PlannedRun(frozenset(keys), {**range_tags([first]), FULL_REFRESH: "true"}, REFRESHED)


def plan_runs(
    keys: set[dg.AssetKey], defs: dg.Definitions, partition: str | None, first: str | None, last: str | None
) -> tuple[list[PlannedRun], list[str]]:
    """The runs that materialize `keys`: one for each kind of partition, for a run has partitions of one kind.

    What is not partitioned goes with the last one that it rests on; infrastructure goes with the first. Months are also
    ranges of hours: where hours are asked for by month, those that there are in it are meant. If there are none, they
    are left out, with what rests on nothing else.

    Returns:
        The runs in order, and a note for each kind of partition of which there is none in the range.

    Raises:
        LakeError: the partition is missing, malformed, unknown, or the range is empty or given in two ways.
    """
    if partition and (first or last):
        raise LakeError("--partition and --from/--to exclude each other")
    for key in filter(None, (partition, first, last)):
        span_of(key)  # a misspelt one is not passed over, even where none is needed
    graph = defs.resolve_asset_graph()
    by_kind: dict[Any, set[dg.AssetKey]] = {}
    for asset in keys:
        by_kind.setdefault(graph.get(asset).partitions_def, set()).add(asset)
    plain = by_kind.pop(None, set())
    if not by_kind:
        return [PlannedRun(frozenset(plain), {})], []
    first, last = (partition, partition) if partition else (first or last, last or first)
    if not first or not last:
        name = min(asset.to_user_string() for assets in by_kind.values() for asset in assets)
        raise LakeError(f"{name} is partitioned: say which with --partition KEY or --from KEY --to KEY")
    runs, notes = [], []
    left_out: set[dg.AssetKey] = set()
    finest_first = sorted(by_kind.items(), key=lambda one: FINENESS.index(KINDS[one[0]]), reverse=True)
    for definition, assets in finest_first:
        name = min(asset.to_user_string() for asset in assets)
        inside = _partitions_in(definition, name, first, last)
        if inside:
            runs.append(PlannedRun(frozenset(assets), range_tags(inside), KINDS[definition]))
        elif len(by_kind) == 1:
            raise LakeError(f"{name} has no partition from {first} to {last}: they {_extent(definition)}")
        else:
            left_out |= assets
            notes.append(f"left out: {name} and {len(assets) - 1} more have no partition from {first} to {last}")
    return _with_plain(runs, plain, left_out, graph), notes


def _with_plain(
    runs: list[PlannedRun], plain: set[dg.AssetKey], left_out: set[dg.AssetKey], graph: Any
) -> list[PlannedRun]:
    """`runs` with the assets that have no partitions: each in the last run that makes what it rests on, whatever else
    the published copy holds. The copy itself is in each of those, for a run's summary tells what silver says, and reads
    it there.
    """
    placed: list[set[dg.AssetKey]] = [set() for _ in runs]
    for asset in plain:
        above = _upstream(graph, asset, () if asset == PUBLISH else (PUBLISH,)) - {PUBLISH}
        rests_on = [number for number, run in enumerate(runs) if above & run.keys]
        if asset.path[0] == INFRA_PENDING:
            placed[0].add(asset)
        elif rests_on and asset == PUBLISH:
            for number in rests_on:
                placed[number].add(asset)
        elif rests_on or not above & left_out:
            placed[max(rests_on, default=-1)].add(asset)
    return [replace(run, keys=run.keys | more) for run, more in zip(runs, placed, strict=True)]


def go_on(run: PlannedRun, ended: Sequence[Summary], defs: dg.Definitions) -> PlannedRun:
    """`run` without what rests on what others before it lack: a source that is down stops what comes from it, and
    nothing else. What people read is published even so, unless there is half of a failed run in silver and gold.
    """
    graph = defs.resolve_asset_graph()
    lacking = {key for summary in ended for key in summary.lacking}
    whole = {PUBLISH} if not any(summary.is_half_built for summary in ended) else set()
    left = {key for key in run.keys - whole if _upstream(graph, key, whole) & lacking}
    return replace(run, keys=run.keys - left)


def _upstream(graph: Any, key: dg.AssetKey, up_to: Collection[dg.AssetKey]) -> set[dg.AssetKey]:
    """All that an asset rests on, and nothing beyond `up_to`."""
    found: set[dg.AssetKey] = set()
    ahead = {key}
    while ahead:
        ahead = {parent for one in ahead - {*up_to} for parent in graph.get(one).parent_keys} - found
        found |= ahead
    return found


def _extent(definition: dg.PartitionsDefinition[Any]) -> str:
    first, last = definition.get_first_partition_key(), definition.get_last_partition_key()
    return f"go from {first} to {last}" if first and last else "have not begun"


def _partitions_in(definition: Any, asset: str, first: str, last: str) -> list[str]:
    """The keys of `definition` from `first` to `last`, which are of its own form or coarser."""
    known: list[str] = definition.get_partition_keys()
    if span_of(first).start > span_of(last).start:
        raise LakeError(f"--from {first} is after --to {last}")
    kind = KINDS[definition]
    for key in (first, last):
        given = kind_of(key)
        if FINENESS.index(given) > FINENESS.index(kind):
            own, other = NOUNS[kind], NOUNS[given]
            raise LakeError(
                f"partition {key} is {'an' if other == 'hour' else 'a'} {other}, and {asset} goes by {own}: select it "
                f"apart, or give {own}s"
            )
        if given == kind and key not in known:
            raise LakeError(f"partition {key} is not one of {known[0]} to {known[-1]}")
    start, end = span_of(first).start, span_of(last).end
    return [key for key in known if start <= span_of(key).start and span_of(key).end <= end]


def open_instance(settings: Settings) -> dg.DagsterInstance:
    """The Dagster instance under LAKEGRAPH_HOME, configured by the project's `dagster.yaml`."""
    home = settings.dagster_home
    home.mkdir(parents=True, exist_ok=True)
    wanted = (ROOT / "dagster.yaml").read_text().replace("base_dir: data/dagster", f"base_dir: {home}")
    present = home / "dagster.yaml"
    if not present.exists() or present.read_text() != wanted:
        draft = home / f".dagster.yaml.{os.getpid()}"  # another process may be reading it: never half a file
        draft.write_text(wanted)
        draft.replace(present)
    os.environ["DAGSTER_HOME"] = str(home)
    with exclusive(home / "instance"):  # Dagster's own creation of its SQLite files does not stand a race
        instance = dg.DagsterInstance.get()
        _ = instance.run_storage, instance.event_log_storage, instance.schedule_storage
    return instance


@contextmanager
def quiet(log: Path) -> Iterator[None]:
    """Send what this process and its children print to the file `log`; the caller's console must own another
    descriptor.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    saved = os.dup(1), os.dup(2)
    with log.open("ab") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
        try:
            yield
        finally:
            for number, descriptor in zip((1, 2), saved, strict=True):
                os.dup2(descriptor, number)
                os.close(descriptor)


def _follow(
    instance: dg.DagsterInstance,
    run_id: str,
    show: Callable[[Progress], None],
    stop: threading.Event,
) -> None:
    """Show the steps of a run, read from its event log, until told to stop."""
    progress, cursor = Progress(), None
    while True:
        last = stop.is_set()
        connection = instance.get_records_for_run(run_id, cursor=cursor)
        cursor = connection.cursor
        for record in connection.records:
            event = record.event_log_entry.dagster_event
            if event is None:
                continue
            if event.is_step_start:
                progress.running = event.step_key or ""
            elif event.is_step_up_for_retry:
                progress.notes.append(f"{_asset_of(event)}: {_first_line(event.step_retry_data.error)}; trying again")
            elif event.is_step_success or event.is_step_failure:
                progress.done += 1
            elif event.is_step_materialization and event.asset_key:
                progress.messages.append(event.asset_key.to_user_string())
        show(progress)
        progress.messages.clear()
        progress.notes.clear()
        if last:
            return
        stop.wait(POLL_SECONDS)


def materialize(
    defs: dg.Definitions,
    run: PlannedRun,
    settings: Settings,
    show: Callable[[Progress], None] = lambda _progress: None,
) -> Summary:
    """Materialise one run.

    Args:
        defs: the graph.
        run: of `plan_runs`.
        settings: where everything is.
        show: called a few times a second with the run's progress.
    """
    import time

    from dagster._core.utils import make_new_run_id

    keys, tags = set(run.keys), dict(run.tags)
    run_id = make_new_run_id()
    started = time.perf_counter()
    job = _for_one_run(defs, keys).resolve_implicit_global_asset_job_def()
    with open_instance(settings) as instance:
        stop = threading.Event()
        bury_dead_runs(instance)
        follower = threading.Thread(target=_follow, args=(instance, run_id, show, stop), daemon=True)
        follower.start()
        try:
            # The run's record names the assets: automation asks for nothing again that the same run has made.
            result = job.execute_in_process(
                instance=instance,
                asset_selection=sorted(keys),
                tags={**tags, **process_tag()},
                run_id=run_id,
                raise_on_error=False,
            )
        finally:
            stop.set()
            follower.join()
        return _summarise(instance, run_id, run, result.success, time.perf_counter() - started, settings)


def _summarise(
    instance: dg.DagsterInstance,
    run_id: str,
    run: PlannedRun,
    success: bool,
    seconds: float,
    settings: Settings,
) -> Summary:
    from dagster._core.events import DagsterEventType as Kind

    rows: dict[str, AssetRow] = {}
    failed, checks, cause = [], 0, ""
    refused: set[dg.AssetKey] = set()
    events = [entry.dagster_event for entry in instance.all_logs(run_id) if entry.dagster_event]
    for event in events:
        if event.event_type == Kind.ASSET_MATERIALIZATION and event.asset_key:
            name = event.asset_key.to_user_string()
            metadata = event.step_materialization_data.materialization.metadata
            rows[name] = _row(name, metadata, rows.get(name))
        elif event.event_type == Kind.ASSET_CHECK_EVALUATION:
            checks += 1
            evaluation = event.asset_check_evaluation_data
            if not evaluation.passed:
                label = f"{evaluation.asset_key.to_user_string()}: {evaluation.check_name}"
                failed.append((label, evaluation.severity.value, evaluation.description or _rows_found(evaluation)))
                refused |= {evaluation.asset_key} if evaluation.severity == dg.AssetCheckSeverity.ERROR else set()
        elif event.is_step_success and event.step_key:
            _seconds(rows, event, event.step_success_data.duration_ms / 1000)
        elif event.is_step_failure and not cause:
            cause = _cause(event)
        elif event.event_type == Kind.RUN_FAILURE and not cause:
            cause = event.message or "the run failed"
    _accounts(rows, settings, run)
    skipped = dict(_skipped(events))
    left_out = {key for key in run.keys if key.to_user_string() not in rows}
    unexplained = {key for key in left_out if key.to_user_string() not in skipped}
    if success and unexplained:
        cause = f"{min(unexplained).to_user_string()}: was selected, and the run has not materialized it"
    return Summary(
        run_id,
        success and not unexplained,
        cause,
        list(rows.values()),
        frozenset(left_out | refused),
        failed,
        checks,
        seconds,
        _peak_mb(),
        str(settings.reports / "kpi.html") if "serving/kpi_report" in rows else None,
        skipped,
    )


def _skipped(events: Sequence[dg.DagsterEvent]) -> Iterator[tuple[str, str]]:
    """Assets that were left alone, and why."""
    for event in events:
        if event.is_asset_observation and event.asset_key:
            reason = why_skipped(event.asset_observation_data.asset_observation)
            if reason:
                yield event.asset_key.to_user_string(), reason


def _row(name: str, metadata: Any, before: AssetRow | None) -> AssetRow:
    """The line of an asset. A bronze asset says for each partition what that one loaded, so its lines add
    up.
    """

    def number(key: str) -> Any:
        return metadata[key].value if key in metadata else None

    if (loaded := number("rows_loaded")) is None:
        if before and before.loaded is not None:  # another partition of the run has told for all
            return before
        return AssetRow(name, total=number("dagster/row_count"), seconds=number("Execution Duration"))
    past = before or AssetRow(name, 0, 0, 0)
    return AssetRow(
        name,
        read=(past.read or 0) + number("rows_read"),
        loaded=(past.loaded or 0) + loaded,
        rejected=(past.rejected or 0) + number("rows_rejected"),
        aside=(past.aside or 0) + (number("rows_known") or 0) or None,
        total=number("dagster/row_count") or past.total,
    )


def _seconds(rows: dict[str, AssetRow], event: Any, seconds: float) -> None:
    """A step's duration goes to its asset if it made one alone; dbt's models carry their own."""
    name = _asset_of(event)
    if name in rows and rows[name].seconds is None:
        rows[name].seconds = seconds


def _rows_found(evaluation: dg.AssetCheckEvaluation) -> str:
    """What dbt tells of a test that fails: how many rows it has found."""
    found = evaluation.metadata.get("dagster_dbt/failed_row_count")
    return f"{found.value:,} rows" if isinstance(found, dg.IntMetadataValue) else ""


def _cause(event: Any) -> str:
    """The first line of the innermost cause of a failed step."""
    data = event.step_failure_data
    if data.user_failure_data and data.user_failure_data.description:
        return f"{_asset_of(event)}: {str(data.user_failure_data.description).splitlines()[0]}"
    return f"{_asset_of(event)}: {_first_line(data.error)}"


def _first_line(error: Any) -> str:
    from orchestration.alerts import reason_of

    return reason_of(error).splitlines()[0] if error else "failed"


def _asset_of(event: Any) -> str:
    """A step's name as its asset's key, where it makes one: `bronze__mobility__users` is `bronze/mobility/users`."""
    return str(event.step_key or "").replace("__", "/")


PLACES: Mapping[PartitionName, tuple[str, str, str]] = {  # the account's date, rows in the table, set aside
    "monthly": ("source_month", "silver_rows", "duplicate_rows"),
    "daily": ("source_day", "silver_rows", "superseded_rows"),
    "utc_daily": ("source_day", "silver_rows", "superseded_rows"),
    "hourly": ("source_day", "live_rows", "deleted_rows + superseded_rows + repeated_rows"),
}


def _accounts(rows: dict[str, AssetRow], settings: Settings, run: PlannedRun) -> None:
    """What became of the rows of bronze, from silver's accounts; not from a copy older than the run."""
    from lake.query import query

    published = PUBLISH.to_user_string() in rows or settings.target not in PUBLISHES
    if not published or run.kind is None:
        return
    span, kind = span_of_range([run.tags[RANGE_START], run.tags[RANGE_END]]), run.kind
    # lines of orders, say, have an account and are no rows there
    of_bronze = "__versions" if kind == "hourly" else "__accounting"
    silver = [name for name in rows if f"{name}__accounting" in rows and f"{name}{of_bronze}" in rows]
    if not silver:
        return
    date_column, loaded, aside = PLACES[kind]
    low, high = span.start.date(), span.last_day
    if kind == "hourly":
        low = span.first_day or date.min
    elif kind == "utc_daily" and not span.first_day:  # built anew whole
        low, high = date.min, date.max
    counts = " UNION ALL ".join(
        f"SELECT '{name}' AS asset, sum(bronze_rows) AS bronze, sum({loaded}) AS loaded, "  # noqa: S608 - asset keys
        f"sum(rejected_rows) AS rejected, sum({aside}) AS aside "
        f"FROM silver.{'_'.join(name.split('/')[1:])}__accounting "
        f"WHERE {date_column} BETWEEN DATE '{low}' AND DATE '{high}'"
        for name in silver
    )
    for asset, *numbers in (found.values() for found in query(settings, counts).to_pylist()):
        row = rows[asset]
        row.read, row.loaded, row.rejected, row.aside = (int(n or 0) for n in numbers)


def _peak_mb() -> tuple[float, float]:
    import resource

    unit = 1024.0  # Linux counts ru_maxrss in KiB
    peaks = [resource.getrusage(who).ru_maxrss / unit for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return peaks[0], peaks[1]
