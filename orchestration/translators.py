"""From dbt nodes to assets: keys, groups, owners, kinds, partitions, automation, freshness.

What belongs here: the mapping, derived from a node's schema and name, so that a new model needs no line here.
What does not: running dbt.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, DagsterDbtTranslatorSettings, DbtProject

from infra_assets.assets import infra_key
from lake.settings import Target, get_settings
from orchestration import freshness
from orchestration.automation import behind_checks
from orchestration.partitions import PARTITIONS

OWNERS = ["team:data"]
NEEDED_BY_MODELS: Mapping[Target, Sequence[str]] = {"local": ["duckdb_schemas"], "gcp": ["datasets", "lake_grant"]}


def asset_key(schema: str, table: str) -> dg.AssetKey:
    """`gold`, `mobility_trips_by_hour` → `gold/mobility/trips_by_hour`."""
    domain, _, name = table.partition("_")
    return dg.AssetKey([schema, domain, name])


class LakegraphTranslator(DagsterDbtTranslator):
    """Layer, domain and table out of the relation's name; the rest out of `config.meta.lakegraph`."""

    def __init__(self, settings: DagsterDbtTranslatorSettings | None = None) -> None:
        super().__init__(settings)
        self._specs: dict[int, tuple[dg.AssetSpec, dg.AssetSpec]] = {}  # dagster-dbt's by its identity, and ours

    def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> dg.AssetKey:
        """The key of a model or a source table."""
        return asset_key(
            dbt_resource_props["schema"], dbt_resource_props.get("identifier") or dbt_resource_props["name"]
        )

    def get_partitions_def(self, dbt_resource_props: Mapping[str, Any]) -> dg.PartitionsDefinition[Any] | None:
        """What `meta.lakegraph.partitions` names."""
        name = _meta(dbt_resource_props).get("partitions")
        return PARTITIONS[name] if name else None

    def get_asset_spec(self, manifest: Mapping[str, Any], unique_id: str, project: DbtProject | None) -> dg.AssetSpec:
        """The whole spec of a model, made once: dagster-dbt asks for it as often as others read the model."""
        spec = super().get_asset_spec(manifest, unique_id, project)
        if id(spec) not in self._specs:
            self._specs[id(spec)] = (spec, _completed(spec, manifest, self.get_resource_props(manifest, unique_id)))
        return self._specs[id(spec)][1]


def _completed(spec: dg.AssetSpec, manifest: Mapping[str, Any], props: Mapping[str, Any]) -> dg.AssetSpec:
    """dagster-dbt's spec with what this project says of a model; as it is, if it is of something else."""
    if props["resource_type"] not in {"model", "snapshot", "seed"}:
        return spec
    layer = props["schema"]
    kinds = {"dbt", manifest["metadata"]["adapter_type"], layer}
    if props["config"].get("materialized") == "iceberg":
        kinds.add("iceberg")
    cadence = _meta(props).get("freshness", _meta(props).get("partitions"))
    return spec.replace_attributes(
        group_name=layer,
        kinds=kinds - {layer} if len(kinds) > 3 else kinds,  # noqa: PLR2004 - Dagster shows three kinds
        owners=OWNERS,
        automation_condition=behind_checks(spec.partitions_def),
        freshness_policy=freshness.POLICIES[cadence] if cadence and layer == "gold" else None,
        deps=[*spec.deps, *_infrastructure(props)],
    ).merge_attributes(metadata={"dagster/table_name": f"{props['schema']}.{props['name']}"})


def _infrastructure(props: Mapping[str, Any]) -> list[dg.AssetKey]:
    """The schemas, for models that read nothing but sources; the others have them through these."""
    reads_models = any(node.startswith(("model.", "snapshot.", "seed.")) for node in props["depends_on"]["nodes"])
    return [] if reads_models else [infra_key(name) for name in NEEDED_BY_MODELS[get_settings().target]]


def is_partitioned(props: Mapping[str, Any]) -> bool:
    """Whether a node is built by partitions."""
    return bool(_meta(props).get("partitions"))


def _meta(props: Mapping[str, Any]) -> Mapping[str, Any]:
    meta: Mapping[str, Any] = (props.get("config", {}).get("meta") or {}).get("lakegraph", {})
    return meta


translator = LakegraphTranslator(
    DagsterDbtTranslatorSettings(enable_code_references=True, enable_source_tests_as_checks=True)
)
