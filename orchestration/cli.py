"""The command `lakegraph`: thin over the library.

What belongs here: arguments, help, printing, exit codes (0 done, 1 failed with the cause in the first line of
the error output, 2 wrong usage). What does not: any logic. Heavy imports happen inside the commands, so that
`--help` is quick.
"""

import csv
import gc
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from lake.errors import LakeError, one_line
from lake.settings import Target, get_settings

if TYPE_CHECKING:
    from dagster import Definitions
    from rich.console import Console

    from infra_assets.superset.bundle import Tree
    from lake.settings import Settings
    from orchestration.runner import Summary

app = typer.Typer(
    name="lakegraph",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="One asset graph from source systems to dashboards. State lives under LAKEGRAPH_HOME (default: data/).",
)
infra_app = typer.Typer(no_args_is_help=True, help="Infrastructure: what is planned, made, and whether it has drifted.")
sandbox_app = typer.Typer(
    no_args_is_help=True, help="Loopback stand-ins of the source systems, with generated sample data."
)
superset_app = typer.Typer(no_args_is_help=True, help="Dashboards: the files of dashboards/ in a running Superset.")
bi_app = typer.Typer(no_args_is_help=True, help="BI tools: what connects them to gold in BigQuery; docs/bi.md goes on.")
app.add_typer(infra_app, name="infra")
app.add_typer(sandbox_app, name="sandbox")
app.add_typer(superset_app, name="superset")
app.add_typer(bi_app, name="bi")


MAX_PRINTED = 1_000  # rows of a table on the screen


class Format(StrEnum):
    """How rows are printed."""

    table = "table"
    csv = "csv"
    json = "json"


def _console(*, stderr: bool = False) -> "Console":
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, markup=False, emoji=False)  # what is printed is data


def main() -> None:
    """Run the command; a `LakeError` is one line on standard error and exit code 1."""
    try:
        app()
    except LakeError as error:
        sys.stderr.write(f"error: {one_line(error)}\n")
        sys.exit(1)
    finally:
        _let_go()


def _let_go() -> None:
    """End what would hold DuckDB's objects beyond the interpreter's end, of which its bindings print a page: the
    traceback of a failed step, and fsspec's thread, a daemon that has read S3 or Cloud Storage.
    """
    gc.collect()  # sessions are closed on that thread
    fsspec = sys.modules.get("fsspec.asyn")
    if fsspec and (loop := fsspec.loop[0]):
        loop.call_soon_threadsafe(loop.stop)
        fsspec.iothread[0].join()
        fsspec.reset_lock()  # forgets both: the next caller in this process starts anew
        _forget_instances(fsspec.AsyncFileSystem)


def _forget_instances(kind: Any) -> None:
    """Have fsspec make its file systems anew: those that it keeps would wait for their thread for ever."""
    kind.clear_instance_cache()
    for one in kind.__subclasses__():
        _forget_instances(one)


def _graph() -> "Definitions":
    """The definitions, with the manifest made anew first if dbt's files have changed.

    Raises:
        LakeError: a declaration or a model is wrong; says which and what.
    """
    from orchestration import project

    project.prepare()  # before anything is imported that reads the manifest
    from dagster import DagsterError
    from dagster.components.core.component_tree import ComponentTreeException

    try:
        from orchestration.build import build_defs

        return build_defs()
    except (ComponentTreeException, DagsterError, ValueError) as error:
        raise LakeError(_fault(error)) from error


def _fault(error: BaseException) -> str:
    """What is wrong with the graph: Dagster tells it in a tree, at whose root is pydantic's list."""
    from pydantic import ValidationError

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ValidationError):
            lines = str(cause).splitlines()[1:3]  # where, what
            return ": ".join(line.split(" [type=")[0].strip(" `") for line in lines)
        last, cause = cause, cause.__cause__ or cause.__context__
    return " ".join(str(last).split())


@app.command()
def materialize(
    select: Annotated[
        str,
        typer.Option(
            help="Dagster's selection syntax ('group:gold', '+gold/mobility/users_by_city' with all that is upstream), "
            "or key patterns ('*green*', 'bronze/mobility/* silver/mobility/*')."
        ),
    ],
    partition: Annotated[str | None, typer.Option(help="One partition, as in 2023-01 or 2023-03-31-05:00.")] = None,
    first: Annotated[
        str | None,
        typer.Option(
            "--from", help="First partition of a range; a month is a range of hours too. Without --to, it alone."
        ),
    ] = None,
    last: Annotated[
        str | None, typer.Option("--to", help="Last partition of a range, included. Without --from, it alone.")
    ] = None,
    full_refresh: Annotated[
        bool,
        typer.Option(
            "--full-refresh",
            help="Take all rows anew from the source, and build everything on them anew: finds what was deleted there. "
            "For '*sales*' only, and instead of partitions.",
        ),
    ] = False,
    publish: Annotated[
        bool,
        typer.Option(
            help="Also swap in the copy that `lakegraph query` reads. Without: tables alone, nothing of `serving`. "
            "Infrastructure that is missing is always made."
        ),
    ] = True,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show the logs of Dagster and dbt.")] = False,
) -> None:
    """Materialize a selection, in one run for each kind of partition; print what was read, loaded and rejected."""
    from infra_assets import preflight

    settings = get_settings()
    preflight(settings)
    defs = _graph()
    from orchestration import runner  # reads the manifest

    asked = runner.resolve(select, defs)
    keys = asked | runner.needed_besides(asked, defs, settings)
    keys = keys if publish else runner.without_serving(keys)
    if full_refresh and (partition or first or last):
        raise LakeError("--full-refresh takes everything: it goes without --partition, --from and --to")
    runs, notes = (
        ([runner.plan_refresh(keys, defs)], [])
        if full_refresh
        else runner.plan_runs(keys, defs, partition, first, last)
    )
    for note in notes:
        typer.echo(note)
    log = settings.dagster_home / "lakegraph.log"
    failed: list[Summary] = []
    made: set[str] = set()
    for planned in runs:
        run = runner.go_on(planned, failed, defs)
        for key in sorted(planned.keys - run.keys):
            typer.echo(f"left out: {key.to_user_string()} rests on what failed")
        if not run.keys:
            continue
        with (
            _own_console() as console,
            nullcontext() if verbose else runner.quiet(log),
            _progress(console, len(run.keys)) as show,
        ):
            summary = runner.materialize(defs, run, settings, show)
        made |= {row.asset for row in summary.rows}
        if summary.success:
            _print_summary(summary, _console())
        else:
            failed.append(summary)
            _print_failure(summary, log, settings.ui_url)
    if failed:
        raise typer.Exit(1)
    # Beside other assets it is enough to say what was not done; if it is all that was asked for, a script must see it.
    if made.isdisjoint(key.to_user_string() for key in asked):
        raise LakeError("nothing was materialized; the lines above say why")


def _print_failure(summary: "Summary", log: "Path", ui_url: str) -> None:
    sys.stderr.write(f"error: {summary.cause}\n")
    sys.stderr.write(f"run {summary.run_id} failed; its log: {log}; in the UI: {ui_url}/runs/{summary.run_id}\n")
    _print_summary(summary, _console(stderr=True))


@contextmanager
def _own_console() -> Iterator["Console"]:
    """A console on a descriptor of its own: the run's output, which is sent to a file, cannot take it
    along. Nobody watches a file or a pipe: there the first line of the error output is kept for the cause.
    """
    from rich.console import Console

    with os.fdopen(os.dup(2 if os.isatty(2) else 1), "w") as stream:
        yield Console(file=stream, highlight=False, markup=False, emoji=False)


@contextmanager
def _progress(console: "Console", total: int) -> Iterator[Any]:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
    )

    columns = (
        SpinnerColumn(),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("starting", total=total)
        seen: set[str] = set()

        def show(progress: Any) -> None:
            for note in progress.notes:
                console.print(note, soft_wrap=True)
            for name in progress.messages:  # a partitioned asset says so once for each partition
                if name not in seen and not console.is_terminal:
                    console.print(f"materialized {name}", soft_wrap=True)
                seen.add(name)
            bar.update(task, completed=min(len(seen), total), description=progress.running)

        yield show


def _print_summary(summary: "Summary", console: "Console") -> None:
    from rich.table import Table

    table = Table(title=f"run {summary.run_id}", title_justify="left")
    table.add_column("asset", no_wrap=True)
    for name in ("read", "loaded", "rejected", "set aside", "in table", "seconds"):
        table.add_column(name, justify="right")
    for row in summary.rows:
        numbers = (row.read, row.loaded, row.rejected, row.aside, row.total)
        cells = ["" if n is None else f"{n:,}" for n in numbers]
        table.add_row(row.asset, *cells, "" if row.seconds is None else f"{row.seconds:.1f}")
    if not console.is_terminal:
        console.width = max(console.width, 120)
    if summary.rows:
        console.print(table)
    own, child = summary.peak_mb
    console.print(f"{summary.seconds:.1f} s; peak memory {own:,.0f} MB, largest child process {child:,.0f} MB")
    _print_checks(summary, console)
    by_reason: dict[str, list[str]] = {}
    for name, reason in summary.skipped.items():
        by_reason.setdefault(reason, []).append(name)
    for reason, names in by_reason.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        console.print(f"not done: {names[0]}{more}: {reason}", soft_wrap=True)
    if summary.report:
        console.print(f"report: {summary.report}", soft_wrap=True)


def _print_checks(summary: "Summary", console: "Console") -> None:
    if summary.failed_checks:
        warnings = all(severity == "WARN" for _, severity, _ in summary.failed_checks)
        kind = "gave a warning" if warnings else "failed"
        console.print(f"{len(summary.failed_checks)} of {summary.checks} checks {kind}:")
        for name, severity, description in summary.failed_checks:
            console.print(f"  {severity} {name}: {description}", soft_wrap=True)
    elif summary.checks or summary.success:
        console.print(f"{summary.checks} checks passed")


@app.command()
def assets(select: Annotated[str, typer.Option(help="As for materialize.")] = "*") -> None:
    """List the keys of the graph with their partitions; `(reads only)`: a tool that nobody here makes."""
    defs = _graph()
    from orchestration import runner  # reads the manifest
    from orchestration.partitions import PARTITIONS

    names: dict[Any, str] = {definition: name for name, definition in PARTITIONS.items()}
    graph = defs.resolve_asset_graph()
    for key in sorted(runner.resolve(select, defs, readers=True)):
        asset = graph.get(key)
        name = names.get(asset.partitions_def) if asset.is_materializable else "reads only"
        typer.echo(f"{key.to_user_string()}{f'  ({name})' if name else ''}")


@app.command()
def query(
    sql: Annotated[
        str,
        typer.Argument(
            help="SQL over the schemas bronze, silver and gold, in the dialect of the target: DuckDB's, or GoogleSQL."
        ),
    ],
    output: Annotated[
        Format,
        typer.Option(
            "--format",
            help="How rows are printed; csv begins with a header line, and puts ' before text that a spreadsheet would "
            "run as a formula; json has every text as it is.",
        ),
    ] = Format.table,
) -> None:
    """Query what was built: the published copy, read-only, also while a run is under way; in the cloud, BigQuery."""
    from lake.query import for_spreadsheets
    from lake.query import query as ask

    if not sql.strip():
        raise LakeError('the query is empty; for the tables that there are: lakegraph query "show all tables"')
    rows = ask(get_settings(), sql)
    if output is Format.csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(rows.column_names)
        for batch in for_spreadsheets(rows).to_batches():
            writer.writerows(zip(*(column.to_pylist() for column in batch.columns), strict=True))
    elif output is Format.json:
        sys.stdout.write(json.dumps(rows.to_pylist(), default=str, ensure_ascii=False) + "\n")
    else:
        from rich.table import Table

        caption = f"{rows.num_rows:,} row{'' if rows.num_rows == 1 else 's'}"
        if rows.num_rows > MAX_PRINTED:
            caption = f"the first {MAX_PRINTED:,} of {caption}; --format csv prints all"
            rows = rows.slice(0, MAX_PRINTED)
        table = Table(caption=caption, caption_justify="left")
        for column in rows.schema:
            table.add_column(column.name)
        for row in zip(*(column.to_pylist() for column in rows.columns), strict=True):
            table.add_row(*("" if value is None else str(value) for value in row))
        console = _console()
        if not console.is_terminal:
            console.width = max(console.width, 200)
        console.print(table)


@infra_app.command("plan")
def infra_plan() -> None:
    """Show what apply would change; writes nothing."""
    from infra_assets import check_access, resources
    from infra_assets.plan import plan_all

    check_access(get_settings())
    _print_changes(plan_all(resources(get_settings())), "nothing to change")


@infra_app.command("apply")
def infra_apply() -> None:
    """Make what is missing. Applying again changes nothing."""
    from infra_assets import preflight, resources
    from infra_assets.plan import apply_all

    preflight(get_settings())
    _print_changes(apply_all(resources(get_settings())), "nothing changed")


@infra_app.command("drift")
def infra_drift() -> None:
    """Compare the infrastructure with its declaration; exit code 1 if they differ."""
    from infra_assets import check_access, resources
    from infra_assets.plan import plan_all

    check_access(get_settings())
    changes = plan_all(resources(get_settings()))
    if changes:
        sys.stderr.write(
            f"error: {len(changes)} resources differ from their declaration; `lakegraph infra apply` repairs them\n"
        )
        _print_changes(changes, "")
        raise typer.Exit(1)
    typer.echo("no drift")


def _print_changes(changes: tuple[Any, ...], none: str) -> None:
    for change in changes:
        typer.echo(f"{change.action} {change.resource}{f' ({change.detail})' if change.detail else ''}")
    if not changes:
        typer.echo(none)


@sandbox_app.command("up")
def sandbox_up(
    target: Annotated[
        Target, typer.Option(help="gcp: BigQuery and Cloud Storage too, see `lakegraph sandbox env`.")
    ] = "local",
) -> None:
    """Generate the sample sources if they are not there, and start what serves them."""
    from sandbox import control

    with _console(stderr=True).status("generating and starting"):
        endpoints = control.up(get_settings(), target=target)
    for name, url in endpoints.items():
        typer.echo(f"{name}: {url}")


@sandbox_app.command("down")
def sandbox_down() -> None:
    """Stop the stand-ins; the generated files stay."""
    from sandbox import control

    typer.echo("stopped" if control.down(get_settings()) else "was not running")


@sandbox_app.command("status")
def sandbox_status() -> None:
    """Show the stand-ins; exit code 1 if one of them is not running."""
    from sandbox import control

    services = control.status(get_settings())
    for service in services:
        facts = [service.state, service.url or "", f"pid {service.pid}" if service.pid else ""]
        typer.echo(f"{service.name}: {' '.join(fact for fact in facts if fact)}")
    if any(service.state != "running" for service in services):
        raise typer.Exit(1)


@sandbox_app.command("env")
def sandbox_env() -> None:
    """Print the variables of the target gcp on the stand-ins, for the shell: eval "$(lakegraph sandbox env)"."""
    import shlex

    from sandbox import control
    from sandbox.endpoints import read_endpoints

    settings = get_settings()
    for name, value in control.environment(settings, read_endpoints(settings.endpoints_file)).items():
        typer.echo(f"export {name}={shlex.quote(value)}")


@superset_app.command("up")
def superset_up(
    port: Annotated[int, typer.Option(help="Port on loopback; a free one if it is taken, or 0.")] = 8088,
) -> None:
    """Install and start a Superset of your own, import the dashboards, and say how to log in."""
    from infra_assets.superset import validation
    from sandbox import superset_server

    settings = get_settings()
    if settings.superset_url:
        raise LakeError(
            f"superset: LAKEGRAPH_SUPERSET_URL is {settings.superset_url}; import into that one with "
            "`lakegraph superset import`, or unset it to start one here"
        )
    _ = settings.superset_database_uri  # raises where the target has no copy of its own
    if settings.superset_database is None and not settings.published_path.exists():
        raise LakeError(f"superset: nothing is published at {settings.published_path}; run `make demo` first")
    tree = validation.load()
    with _console(stderr=True).status("installing and starting Superset"):
        running = superset_server.up(settings, port=port)
    failed = _import_dashboards(settings, tree)
    password = running.password_file.read_text().strip()
    typer.echo(f"log in as {running.user} with the password {password} (kept in {running.password_file})")
    typer.echo(f"stop it with `lakegraph superset down`; its log: {running.log}")
    if failed:
        raise typer.Exit(1)


@superset_app.command("down")
def superset_down() -> None:
    """Stop the Superset that `up` started; what is in it stays."""
    from sandbox import superset_server

    typer.echo("stopped" if superset_server.down(get_settings()) else "was not running")


@superset_app.command("import")
def superset_import() -> None:
    """Import the dashboards into the Superset that is set, or that runs here; remove what is no longer in the files."""
    from infra_assets.superset import validation

    if _import_dashboards(get_settings(), validation.load()):
        raise typer.Exit(1)


def _import_dashboards(settings: "Settings", tree: "Tree") -> bool:
    """Import, and ask every dataset; whether one failed to answer."""
    from infra_assets.superset.client import connect

    with connect(settings) as superset:
        pruned = superset.deploy(tree)
        answers = superset.answers(tree.datasets)
        shown = {dashboard.title: superset.show(dashboard.slug) for dashboard in tree.dashboards}
    failed = [answer for answer in answers if answer.error]
    if failed:
        sys.stderr.write(f"error: {len(failed)} of {len(answers)} datasets do not answer\n")
        for answer in failed:
            sys.stderr.write(f"{answer.relation}: {answer.error}\n")
    for path in pruned.removed:
        typer.echo(f"removed {path}: it is no longer in the files")
    for path in pruned.kept:
        typer.echo(f"kept {path}, which is no longer in the files")
    for title, one in shown.items():
        typer.echo(f"{title}: {one.url} ({len(one.charts)} charts)")
    return bool(failed)


@bi_app.command("powerbi")
def bi_powerbi(
    output: Annotated[
        Path | None,
        typer.Option(help="File to write; Power BI Desktop opens it if it ends in .pbids. Else it is printed."),
    ] = None,
    mode: Annotated[
        Literal["Import", "DirectQuery"],
        typer.Option(help="Import copies tables into the model; DirectQuery asks BigQuery at each look."),
    ] = "Import",
) -> None:
    """Make Power BI's data source file of the project, to open Get Data at BigQuery (docs/bi.md: untried). It holds no
    credentials.
    """
    from infra_assets.bi import pbids

    text = pbids(get_settings().gcp().project, mode)
    if output is None:
        typer.echo(text, nl=False)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise LakeError(f"{output}: cannot be written: {error.strerror}") from error
    typer.echo(f"wrote {output}")


@bi_app.command("looker")
def bi_looker(
    tables: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TABLE]...", help="As in shop_orders_daily; without any, all of gold."),
    ] = None,
) -> None:
    """Print a link for each table, of all of gold if none is named, that opens a new report on it in Looker Studio."""
    from infra_assets.bi import looker_studio_url
    from orchestration import project

    target = get_settings().gcp()
    project.prepare()  # before anything is imported that reads the manifest
    from orchestration.served import named, served_tables

    for one in named(tables or (), served_tables()):
        typer.echo(looker_studio_url(target, one.table))


@app.command()
def dev(
    port: Annotated[int, typer.Option(help="Port of the UI.")] = 3000,
    host: Annotated[
        str, typer.Option(help="Address to listen on; the UI has no login, so mind who can reach it.")
    ] = "127.0.0.1",
) -> None:
    """Run the Dagster UI with its daemon, on the instance that `lakegraph materialize` writes to."""
    settings = get_settings()
    _graph()  # what is wrong with it is said here, in a line
    from orchestration import liveness, project, runner

    with runner.open_instance(settings) as instance:
        liveness.bury_dead_runs(instance)
    os.environ["LAKEGRAPH_HOME"] = str(settings.home)
    os.chdir(settings.home)  # in the project's folder Dagster would warn that its dagster.yaml is not the one in use
    command = [
        sys.executable,
        "-m",
        "dagster",
        "dev",
        "-w",
        str(project.ROOT / "workspace.yaml"),
        "-h",
        host,
        "-p",
        str(port),
    ]
    os.execv(sys.executable, command)  # noqa: S606 - our own interpreter, our own arguments


@app.command()
def docs() -> None:
    """Write dbt's documentation as one HTML page that opens from disk."""
    from orchestration.resources.dbt import write_docs

    typer.echo(f"docs: {write_docs(get_settings())}")


@app.command()
def doctor() -> None:
    """Say what is missing and how to get it; exit code 1 if something that is needed is."""
    from orchestration.doctor import examine
    from sandbox import emulators

    findings = examine(get_settings(), emulators.describe)
    for finding in findings:
        mark = "ok" if finding.ok else "MISSING" if finding.needed else "optional"
        typer.echo(f"{mark:9}{finding.name}: {finding.detail}")
    if any(finding.needed and not finding.ok for finding in findings):
        raise typer.Exit(1)
