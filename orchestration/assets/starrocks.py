"""Gold in StarRocks: an asset for each table and each shape of one, all made in one step over one connection.

What belongs here: what a registration rests on, what is compared with gold, and what is reported. What does not: doing
it (`infra_assets.starrocks`), and which tables there are (`orchestration.served`).

Where no StarRocks is set, nothing is materialized: each asset is observed with the statements that would be sent.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import starmap
from typing import Any

import dagster as dg

from infra_assets.starrocks import ddl, plan, probe
from infra_assets.starrocks.client import MissingPathError, Session, StarRocks, StarRocksError
from infra_assets.starrocks.probe import Figures, Finding
from infra_assets.starrocks.serve import Declared, Pass, Table, declare, planned, serve
from infra_assets.steps import Parts, step_failures
from lake.duck import quote
from lake.errors import LakeError, NotConfiguredError, one_line
from lake.exports import Manifest, Shape, current, exports_folder
from lake.settings import Settings, Target, get_settings
from orchestration.assets.exports import export_key
from orchestration.automation import behind_checks
from orchestration.observations import not_configured
from orchestration.served import Served, served_tables
from orchestration.translators import OWNERS

ROWS, SCHEMA, VALUES, LATENCY = "row_parity", "schema", "value_parity", "latency"
CHECKS: Mapping[str, str] = {
    ROWS: "Readers count as many rows as gold has.",
    SCHEMA: "StarRocks, and the files or catalog behind it, have the contract's columns, all of them and no others.",
    VALUES: "Sum, least and greatest of one measure, and the first and last of one date, are gold's.",
    LATENCY: "The figures came within the table's budget.",
}
OF_A_SHAPE: Mapping[str, str] = {  # it has no contract, and no table of gold to be compared with
    ROWS: "Readers count as many rows as the exported files have.",
    SCHEMA: "StarRocks had the columns of the exported files, all of them and no others.",
    LATENCY: CHECKS[LATENCY],
}
RETRY = dg.RetryPolicy(max_retries=2, delay=5)
_QUOTES: Mapping[Target, Callable[[str], str]] = {"local": quote, "gcp": ddl.column_identifier}


def starrocks_key(table: str) -> dg.AssetKey:
    """`shop_orders_daily` → `serving/starrocks/shop_orders_daily`."""
    return dg.AssetKey(["serving", "starrocks", table])


def _wanted(tables: tuple[Served, ...]) -> Iterator[tuple[str, Served, Shape | None]]:
    """What is registered: tables, and their shapes."""
    for one in tables:
        if one.starrocks.mode == "none":
            continue
        yield one.table, one, None
        for shape in one.shapes:
            yield shape.name, one, shape


def _spec(name: str, one: Served, shape: Shape | None) -> dg.AssetSpec:
    by_catalog = one.starrocks.mode == "iceberg_catalog" and shape is None
    return dg.AssetSpec(
        starrocks_key(name),
        deps=[one.key if by_catalog else export_key(name)],
        description=f"`{name}` where dashboards read it: the view `bi.{name}` of StarRocks.",
        group_name="serving",
        kinds={"starrocks", "view"},
        owners=OWNERS,
        automation_condition=behind_checks(),
    )


def _check_specs(name: str, one: Served, shape: Shape | None) -> Iterator[dg.AssetCheckSpec]:
    for check, description in (OF_A_SHAPE if shape else CHECKS).items():
        if check != VALUES or one.starrocks.measure or one.starrocks.day:
            yield dg.AssetCheckSpec(check, asset=starrocks_key(name), description=description, blocking=check == ROWS)


def build_starrocks() -> dg.AssetsDefinition:
    """The assets `serving/starrocks/*`."""
    wanted = list(_wanted(served_tables()))

    @dg.multi_asset(
        name="starrocks",
        specs=list(starmap(_spec, wanted)),
        check_specs=[spec for one in wanted for spec in _check_specs(*one)],
        can_subset=True,
        retry_policy=RETRY,
    )
    def starrocks(context: dg.AssetExecutionContext) -> Iterator[Any]:
        """Register what is selected, refresh it, and compare what readers get with gold.

        A table that cannot be registered holds up none of the others; the step fails at the end.
        """
        settings = get_settings()
        selected = [one for one in wanted if starrocks_key(one[0]) in context.selected_asset_keys]
        parts = Parts()
        with step_failures():
            try:
                server = StarRocks.from_settings(settings)
            except NotConfiguredError as error:
                for name, one, shape in selected:
                    yield not_configured(starrocks_key(name), error, _statements(settings, name, one, shape))
                return
            with server.session() as session:
                for name, one, shape in selected:
                    with parts.part(name):
                        yield from _registered(session, settings, name, one, shape)
            parts.close()

    return starrocks


def _table(one: Served, shape: Shape | None, manifest: Manifest | None) -> Table:
    """What is registered; a shape has no contract, so its columns are those of its files."""
    if shape is None:
        return one.starrocks
    columns = tuple(ddl.Column.of(name, kind) for name, kind in manifest.columns.items()) if manifest else ()
    return Table(shape.name, columns, shape.description)


def _statements(settings: Settings, name: str, one: Served, shape: Shape | None) -> tuple[str, ...]:
    """What would be sent to a StarRocks that has nothing, or why that cannot be said; none if nothing is exported."""
    manifest = current(settings, name)
    if manifest is None and (shape or one.starrocks.mode == "file"):
        return ()
    try:
        return planned(declare(_table(one, shape, manifest), settings, manifest.location if manifest else None))
    except LakeError as error:
        return (f"-- {one_line(error)}",)


def _registered(session: Session, settings: Settings, name: str, one: Served, shape: Shape | None) -> Iterator[Any]:
    manifest = current(settings, name)
    table = _table(one, shape, manifest)
    try:
        declared = declare(table, settings, manifest.location if manifest else None)
    except NotConfiguredError as error:
        yield not_configured(starrocks_key(name), error)
        return
    with _files_looked_for(settings, manifest if table.mode == "file" else None):
        done = serve(session, table, declared)
    expected = Figures(manifest.rows) if shape and manifest else _gold(settings, table)
    rows, *values = probe.compare(expected, done.probe.figures)
    yield _result(name, table, declared, done, manifest)
    source = "in the exported files" if shape else "in gold"
    yield _verdict(name, ROWS, replace(rows, detail=f"{rows.detail} as {source}"))
    yield _schema_verdict(name, done, None if shape else _of_files(table, manifest))
    if compared := [one for one, column in zip(values, (table.measure, table.day), strict=True) if column]:
        yield _verdict(name, VALUES, _together(compared))
    yield _verdict(name, LATENCY, probe.latency(done.probe, table.latency_ms), dg.AssetCheckSeverity.WARN)


@contextmanager
def _files_looked_for(settings: Settings, manifest: Manifest | None) -> Iterator[None]:
    """StarRocks says "no file" also where it may not read them, or does not reach them: so we look ourselves."""
    try:
        yield
    except MissingPathError as error:
        if manifest is None:
            raise
        size = sum(exports_folder(settings).sizes(manifest.folder).values())
        if size == manifest.size_bytes:
            why = "the files are there: StarRocks may not read them, or does not reach them from where it runs"
        else:
            why = f"the files are not there, or not all of them; materialize serving/exports/{manifest.table}"
        raise StarRocksError(f"{error}; {why}") from error


def _gold(settings: Settings, table: Table) -> Figures:
    """Gold's own figures: of the published copy, or of BigQuery."""
    from lake.query import query

    quoted = _QUOTES[settings.target]
    sql = probe.figures_query(f"gold.{quoted(table.name)}", table.measure, table.day, quote=quoted)
    answer = query(settings, sql)
    rows, *others = (column[0].as_py() for column in answer.columns)
    return Figures(rows, *others)


def _result(
    name: str, table: Table, declared: Declared, done: Pass, manifest: Manifest | None
) -> dg.MaterializeResult[Any]:
    columns = [dg.TableColumn(one.name, one.type, one.comment or None) for one in table.columns]
    statements = [text for decision in done.decisions for text in decision.statements()]
    metadata: dict[str, Any] = {
        "dagster/row_count": done.probe.figures.rows,
        "dagster/table_name": f"bi.{name}",
        "dagster/column_schema": dg.TableSchema(columns),
        "mode": table.mode,
        "over": declared.source.sql.replace("`", ""),
        "actions": dg.MetadataValue.md("\n".join(_action(one) for one in done.decisions)),
        "preview": dg.MetadataValue.md(_preview(table, done)),
        "milliseconds": round(done.probe.milliseconds, 1),
    }
    if statements:
        metadata["statements"] = dg.MetadataValue.md("```sql\n{}\n```".format(";\n\n".join(statements)))
    if manifest is not None and table.mode == "file":
        metadata |= {"snapshot": manifest.snapshot, "dagster/uri": manifest.location}
    return dg.MaterializeResult(asset_key=starrocks_key(name), metadata=metadata)


def _action(decision: plan.Decision) -> str:
    why = f": {'; '.join(decision.reasons)}" if decision.reasons else ""
    return f"- {decision.declared.kind} {decision.action}{why}"


def _preview(table: Table, done: Pass) -> str:
    """The first rows as a table in Markdown."""
    rows = [[column.name for column in table.columns], ["---"] * len(table.columns)]
    rows += [["" if value is None else str(value).replace("|", "\\|") for value in row] for row in done.preview]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _of_files(table: Table, manifest: Manifest | None) -> Finding | None:
    """Whether the exported files have the contract's columns; None: the table is not of files."""
    if manifest is None or table.mode != "file":
        return None
    found = tuple(ddl.Column.of(column, kind) for column, kind in manifest.columns.items())
    return probe.schema(table.columns, found)


def _schema_verdict(name: str, done: Pass, of_files: Finding | None) -> dg.AssetCheckResult:
    """An error where the rows come from; a warning where StarRocks itself had others, which is set right by now."""
    wrong = [one.detail for one in (done.schema, of_files) if one and not one.passed]
    mended = (*done.drift, "made anew") if done.drift else ()
    finding = Finding(SCHEMA, not wrong and not mended, "; ".join((*wrong, *mended)) or "columns as declared")
    is_mended = mended and not wrong
    return _verdict(name, SCHEMA, finding, dg.AssetCheckSeverity.WARN if is_mended else dg.AssetCheckSeverity.ERROR)


def _together(compared: Sequence[Finding]) -> Finding:
    detail = "; ".join(f"{one.name} {one.detail}" for one in compared)
    return Finding(VALUES, all(one.passed for one in compared), f"{detail} as in gold")


def _verdict(
    name: str, check: str, finding: Finding, severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR
) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        asset_key=starrocks_key(name),
        check_name=check,
        passed=finding.passed,
        severity=severity,
        description=finding.detail,
    )
