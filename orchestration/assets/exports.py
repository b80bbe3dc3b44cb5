"""Gold as files for other engines: an asset for each table and each shape of one, all made in one step.

What belongs here: what an export rests on, and what it reports. What does not: writing (`lake.exports`), and which
tables there are (`orchestration.served`).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from infra_assets.assets import infra_key
from infra_assets.steps import Parts, step_failures
from lake.errors import LakeError
from lake.exports import Exported, Shape
from lake.settings import Target, get_settings
from orchestration.assets.serving import PUBLISHED
from orchestration.automation import behind_checks
from orchestration.served import Served, served_tables
from orchestration.translators import OWNERS

# What the files are read from, or written to, besides gold.
RESTS_ON: Mapping[Target, Sequence[dg.AssetKey]] = {"local": [PUBLISHED], "gcp": [infra_key("bucket")]}

RETRY = dg.RetryPolicy(max_retries=2, delay=5)


def export_key(table: str) -> dg.AssetKey:
    """`shop_orders_daily` → `serving/exports/shop_orders_daily`."""
    return dg.AssetKey(["serving", "exports", table])


def _spec(table: str, deps: Sequence[dg.AssetKey], description: str) -> dg.AssetSpec:
    return dg.AssetSpec(
        export_key(table),
        deps=deps,
        description=description,
        group_name="serving",
        kinds={"parquet"},
        owners=OWNERS,
        automation_condition=behind_checks(),
    )


def _specs(tables: Sequence[Served]) -> Iterator[dg.AssetSpec]:
    for one in tables:
        wanted = f"`gold.{one.table}` as Parquet: snapshots, and a manifest that names the current one."
        yield _spec(one.table, [one.key, *RESTS_ON[get_settings().target]], wanted)
        for shape in one.shapes:
            yield _spec(shape.name, [export_key(one.table)], shape.description or f"`{one.table}` in another shape.")


def _result(key: dg.AssetKey, done: Exported, expired: int) -> dg.MaterializeResult[Any]:
    manifest = done.manifest
    columns = [dg.TableColumn(name, kind) for name, kind in manifest.columns.items()]
    return dg.MaterializeResult(
        asset_key=key,
        metadata={
            "dagster/row_count": manifest.rows,
            "dagster/uri": manifest.location,
            "dagster/column_schema": dg.TableSchema(columns),
            "snapshot": manifest.snapshot,
            "unchanged": not done.is_new,
            "bytes": manifest.size_bytes,
            "snapshots_expired": expired,
        },
    )


def build_exports() -> dg.AssetsDefinition:
    """The assets `serving/exports/*`."""
    tables = served_tables()

    @dg.multi_asset(
        name="exports",
        specs=list(_specs(tables)),
        can_subset=True,
        retry_policy=RETRY,
    )
    def exports(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[Any]]:
        """Export what is selected, and remove snapshots that were replaced long ago.

        A table that cannot be exported holds up none of the others; the step fails at the end.
        """
        from lake.exports import expire, export, reshape

        settings = get_settings()
        wanted: list[tuple[str, Shape | None]] = [(one.table, None) for one in tables]
        wanted += [(shape.name, shape) for one in tables for shape in one.shapes]
        parts = Parts()
        with step_failures():
            for table, shape in wanted:
                key = export_key(table)
                if key not in context.selected_asset_keys:
                    continue
                with parts.part(table):
                    if shape and shape.source in parts.failed:
                        raise LakeError(f"{table}: is made of {shape.source}, which could not be exported")
                    done = reshape(settings, shape) if shape else export(settings, table, context.run_id)
                    gone = expire(settings, table, settings.export_keep_days)
                    yield _result(key, done, len(gone))
            parts.close()

    return exports
