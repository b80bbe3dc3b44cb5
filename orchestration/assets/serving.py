"""What people read: the published DuckDB copy and the KPI report.

What belongs here: serving assets of the embedded target. What does not: how publishing works (`lake.publish`,
`lake.report`).
"""

from collections.abc import Iterable
from typing import Any

import dagster as dg

from infra_assets.steps import step_failures
from lake.settings import get_settings
from orchestration.assets.dbt import DUCKDB_POOL, dbt_build
from orchestration.automation import behind_checks, behind_domains
from orchestration.translators import OWNERS

PUBLISHED = dg.AssetKey(["serving", "duckdb"])
REPORT = dg.AssetKey(["serving", "kpi_report"])


def _models(layer: str) -> list[dg.AssetKey]:
    return sorted(key for key in dbt_build.keys if key.path[0] == layer)  # gold rests on all of silver


def _domains() -> list[dg.AssetSelection]:
    """Gold, by domain."""
    gold = _models("gold")
    return [
        dg.AssetSelection.assets(*(key for key in gold if key.path[1] == domain))
        for domain in sorted({key.path[1] for key in gold})
    ]


def build_published_copy(after: Iterable[dg.AssetKey] = ()) -> dg.AssetsDefinition:
    """The asset of the published copy; in a run of its own making, it also waits for the tables `after`."""

    @dg.asset(
        key=PUBLISHED,
        deps=sorted({*_models("gold"), *after}),
        group_name="serving",
        kinds={"duckdb"},
        owners=OWNERS,
        pool=DUCKDB_POOL,
        automation_condition=behind_domains(_domains()),
        retry_policy=dg.RetryPolicy(max_retries=2, delay=5),
    )
    def published_copy() -> dg.MaterializeResult[Any]:
        """The DuckDB file that readers open: a copy of dbt's, with bronze as views, swapped in whole."""
        from lake.duck import exclusive
        from lake.publish import publish

        settings = get_settings()
        with step_failures(), exclusive(settings.duckdb_path):
            published = publish(settings)
        return dg.MaterializeResult(
            metadata={
                "path": dg.MetadataValue.path(str(published.path)),
                "bytes": published.bytes,
                **{f"{layer}_relations": count for layer, count in published.relations.items()},
            }
        )

    return published_copy


published_copy = build_published_copy()


@dg.asset(
    key=REPORT,
    deps=[PUBLISHED],
    group_name="serving",
    kinds={"plotly", "dashboard"},
    owners=OWNERS,
    automation_condition=behind_checks(),
)
def kpi_report() -> dg.MaterializeResult[Any]:
    """One HTML page of plots over the published copy; opens from disk, without a network."""
    from lake.report import render

    settings = get_settings()
    with step_failures():
        path = render(settings.published_path, settings.reports / "kpi.html")
    return dg.MaterializeResult(
        metadata={
            "path": dg.MetadataValue.path(str(path)),
            "url": dg.MetadataValue.url(path.as_uri()),
            "bytes": path.stat().st_size,
        }
    )
