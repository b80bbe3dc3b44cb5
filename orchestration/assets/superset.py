"""Dashboards: an asset for each one of `dashboards/`, imported in one step.

What belongs here: what a dashboard rests on, by its own files, and what is reported. What does not: the files and the
import (`infra_assets.superset`), and starting a Superset of one's own (`sandbox`).

Where no Superset is set or runs here, nothing is materialized: each asset is observed, and says how to get one.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

from infra_assets.steps import step_failures
from infra_assets.superset.bundle import Dashboard, Tree, digest, read, tables
from lake.errors import LakeError, NotConfiguredError
from lake.settings import Settings, Target, get_settings
from orchestration.assets.serving import PUBLISHED
from orchestration.assets.starrocks import starrocks_key
from orchestration.automation import as_code
from orchestration.observations import not_configured
from orchestration.served import served_tables
from orchestration.translators import OWNERS, asset_key

if TYPE_CHECKING:
    from infra_assets.superset.client import Superset

CHECK = "datasets_answer"
# What Superset reads where no database is set: nothing stands for BigQuery, so that one must be set there.
READ_FROM: Mapping[Target, tuple[dg.AssetKey, ...]] = {"local": (PUBLISHED,), "gcp": ()}


def superset_key(slug: str) -> dg.AssetKey:
    """`shop` → `serving/superset/shop`."""
    return dg.AssetKey(["serving", "superset", slug])


def _deps(tree: Tree, slug: str, settings: Settings) -> list[dg.AssetKey]:
    """The tables of the dashboard's charts and filters, wherever Superset reads them."""
    relations = [relation.partition(".") for relation in sorted(tables(tree, slug))]
    gold = {table: asset_key(schema, table) for schema, _, table in relations}
    if settings.superset_reads_starrocks:
        registered = {one.table for one in served_tables() if one.starrocks.mode != "none"}
        return [starrocks_key(table) if table in registered else key for table, key in gold.items()]
    return [*gold.values(), *(READ_FROM[settings.target] if settings.superset_database is None else ())]


def _spec(one: Dashboard, tree: Tree, settings: Settings) -> dg.AssetSpec:
    return dg.AssetSpec(
        superset_key(one.slug),
        deps=_deps(tree, one.slug, settings),
        description=f"The dashboard “{one.title}” in Superset.",
        group_name="serving",
        kinds={"superset", "dashboard"},
        owners=OWNERS,
        code_version=digest(tree, one.slug),
        automation_condition=as_code(),
    )


def build_superset() -> dg.AssetsDefinition:
    """The assets `serving/superset/*`.

    Raises:
        LakeError: a file of `dashboards/` is none.
    """
    tree, settings = read(), get_settings()

    @dg.multi_asset(
        name="superset",
        specs=[_spec(one, tree, settings) for one in tree.dashboards],
        check_specs=[
            dg.AssetCheckSpec(
                CHECK,
                asset=superset_key(one.slug),
                description="Superset gets every metric and column of the dashboard's datasets.",
                blocking=True,
            )
            for one in tree.dashboards
        ],
        can_subset=True,
        retry_policy=dg.RetryPolicy(max_retries=2, delay=5),
    )
    def superset(context: dg.AssetExecutionContext) -> Iterator[Any]:
        """Import the files, all at once; remove what is no longer in them; ask every dataset."""
        from infra_assets.superset.client import connect

        selected = [one for one in tree.dashboards if superset_key(one.slug) in context.selected_asset_keys]
        with step_failures():
            try:
                server = connect(get_settings())
            except NotConfiguredError as error:
                yield from (not_configured(superset_key(one.slug), error) for one in selected)
                return
            yield from _imported(server, selected)

    return superset


def _imported(server: "Superset", selected: list[Dashboard]) -> Iterator[Any]:
    from infra_assets.superset import validation

    tree = validation.load()  # the files as they are now: the graph may have been read long ago
    if gone := {one.slug for one in selected} - {one.slug for one in tree.dashboards}:
        raise LakeError(
            f"dashboards: {', '.join(sorted(gone))} left the files since Dagster read them; reload its code"
        )
    with server:
        pruned = server.deploy(tree)
        answers = {one.relation: one for one in server.answers(tree.datasets)}
        shown = {one.slug: server.show(one.slug) for one in selected}
    for one in selected:
        url, charts = shown[one.slug].url, shown[one.slug].charts
        of_board = [answers[relation] for relation in sorted({dataset.relation for dataset in tree.used(one)[1]})]
        yield dg.MaterializeResult(
            asset_key=superset_key(one.slug),
            metadata={
                "url": dg.MetadataValue.url(url),
                "charts": dg.MetadataValue.md("\n".join(f"- {chart}" for chart in charts)),
                "metrics": dg.MetadataValue.json(
                    {
                        answer.relation: {name: str(value) for name, value in answer.values.items()}
                        for answer in of_board
                    }
                ),
                "removed": dg.MetadataValue.json(list(pruned.removed)),
                "kept": dg.MetadataValue.json(list(pruned.kept)),
            },
        )
        silent = [f"{answer.relation}: {answer.error}" for answer in of_board if answer.error]
        yield dg.AssetCheckResult(
            asset_key=superset_key(one.slug),
            check_name=CHECK,
            passed=not silent,
            description="; ".join(silent) or f"{len(of_board)} datasets answer",
        )
