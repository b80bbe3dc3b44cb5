"""Who reads gold from outside the graph: dbt's exposures as external assets.

What belongs here: turning an exposure into an asset that nobody here makes, so that lineage ends where people look.
What does not: exposures that are assets of ours already (`meta.lakegraph.asset` names those: the report, Superset's
dashboards), and how such a tool connects (`docs/bi.md`).
"""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from orchestration.project import read_manifest
from orchestration.translators import OWNERS, asset_key


def build_readers() -> list[dg.AssetSpec]:
    """An external asset `serving/<exposure>` for each exposure that is not an asset of ours."""
    return list(read_exposures(read_manifest()))


def read_exposures(manifest: Mapping[str, Any]) -> Iterator[dg.AssetSpec]:
    """As `build_readers`, of a manifest."""
    nodes = manifest["nodes"]
    for exposure in sorted(manifest["exposures"].values(), key=lambda one: str(one["name"])):
        ours = (exposure["config"].get("meta") or {}).get("lakegraph", {})
        if "asset" in ours:
            continue
        models = [
            nodes[parent] for parent in exposure["depends_on"]["nodes"] if parent in nodes
        ]  # not sources, metrics
        link = {"url": dg.MetadataValue.url(exposure["url"])} if exposure.get("url") else {}
        yield dg.AssetSpec(
            dg.AssetKey(["serving", exposure["name"]]),
            deps=sorted(asset_key(model["schema"], model["name"]) for model in models),
            description=f"{exposure['label']}: {' '.join(exposure['description'].split())}",
            group_name="serving",
            kinds=set(ours.get("kinds", ())),
            owners=OWNERS,
            metadata=link,
        )
