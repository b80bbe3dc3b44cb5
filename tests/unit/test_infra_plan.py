"""Infrastructure without touching any: dependency order, the map of targets, building the assets."""

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
import pytest

import infra_assets
from infra_assets import resources
from infra_assets.assets import build_infra_assets
from infra_assets.plan import Change, Resource, apply_all, in_order, plan_all
from lake.errors import LakeError, TransientError
from lake.settings import TARGETS, Settings


@dataclass
class Marker:
    """A resource that is a set of names: `apply` adds its own."""

    name: str
    deps: tuple[str, ...] = ()
    world: list[str] = field(default_factory=list)
    description: str = "a marker"
    kinds: frozenset[str] = frozenset()
    pool: str | None = None
    failure: Exception | None = None

    def desired(self) -> tuple[str, ...]:
        return (self.name,)

    def plan(self) -> tuple[Change, ...]:
        return () if self.name in self.world else (Change("create", self.name),)

    def apply(self) -> tuple[Change, ...]:
        if self.failure:
            raise self.failure
        changes = self.plan()
        self.world.extend(change.resource for change in changes)
        return changes


def test_resources_are_planned_and_applied_after_what_they_depend_on() -> None:
    world: list[str] = []
    grant = Marker("grant", ("bucket", "connection"), world)
    connection, bucket = Marker("connection", ("bucket",), world), Marker("bucket", (), world)
    graph: list[Resource] = [grant, connection, bucket]

    planned = plan_all(graph)
    assert world == []
    assert [change.resource for change in planned] == ["bucket", "connection", "grant"]
    assert apply_all(graph) == planned
    assert world == ["bucket", "connection", "grant"]
    assert apply_all(graph) == plan_all(graph) == ()


def test_the_first_failure_ends_an_apply_and_the_next_apply_resumes() -> None:
    world: list[str] = []
    bucket, connection = Marker("bucket", (), world), Marker("connection", ("bucket",), world)
    connection.failure = LakeError("connection: quota used up")
    with pytest.raises(LakeError, match="quota used up"):
        apply_all([bucket, connection])
    assert world == ["bucket"]

    connection.failure = None
    assert apply_all([bucket, connection]) == (Change("create", "connection"),)


def test_unknown_and_circular_dependencies_are_named() -> None:
    with pytest.raises(LakeError, match="infra/a depends on unknown resources: b"):
        in_order([Marker("a", ("b",))])
    with pytest.raises(LakeError, match=r"in a circle: .*a"):
        in_order([Marker("a", ("b",)), Marker("b", ("a",))])


def test_every_target_has_an_entry_and_needs_no_settings_for_its_list(tmp_path: Path) -> None:
    assert set(infra_assets._RESOURCES) == set(TARGETS)
    unset = Settings(home=tmp_path, target="gcp", gcp_bucket=None)
    assert [(r.name, r.deps) for r in in_order(resources(unset))] == [
        ("bucket", ()),
        ("datasets", ()),
        ("connection", ()),
        ("lake_grant", ("bucket", "connection")),
    ]


def test_the_cloud_graph_is_known_without_variables_and_a_step_says_which_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GOOGLE_CLOUD_PROJECT", raising=False)
    assets = build_infra_assets(lambda: Settings(home=tmp_path, target="gcp", gcp_project=None, gcp_bucket=None))
    graph = dg.Definitions(assets=assets).resolve_asset_graph()
    assert {key.to_user_string(): sorted(k.to_user_string() for k in graph.get(key).parent_keys)
            for key in graph.get_all_asset_keys()} == {
        "infra/bucket": [],
        "infra/datasets": [],
        "infra/connection": [],
        "infra/lake_grant": ["infra/bucket", "infra/connection"],
    }  # fmt: skip
    for asset in assets:
        with pytest.raises(dg.Failure, match="LAKEGRAPH_GCP_PROJECT and LAKEGRAPH_GCP_BUCKET not set"):
            asset()


def test_the_local_graph_is_known_without_a_home(tmp_path: Path) -> None:
    home = tmp_path / "home"
    graph = dg.Definitions(assets=built(home)).resolve_asset_graph()
    assert {key.to_user_string(): sorted(k.to_user_string() for k in graph.get(key).parent_keys)
            for key in graph.get_all_asset_keys()} == {
        "infra/folders": [],
        "infra/iceberg_namespaces": ["infra/folders"],
        "infra/duckdb_schemas": ["infra/folders"],
    }  # fmt: skip
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        assert (node.group_name, node.owners) == ("infra", ["team:platform"])
        assert node.kinds
        assert node.description
        (check,) = graph.get_check_keys_for_assets({key})
        assert (check.name, graph.get_check_spec(check).blocking) == ("drift", False)
    pools = {definition.op.name: definition.op.pool for definition in built(home)}
    assert {name for name, pool in pools.items() if pool == "duckdb_writer"} == {
        "infra__duckdb_schemas",
        "infra__duckdb_schemas_drift",
    }
    assert not home.exists()


def built(home: Path) -> list[dg.AssetsDefinition]:
    return build_infra_assets(lambda: Settings(home=home))


def test_building_the_assets_loads_no_engine() -> None:
    code = (
        "import sys, infra_assets.assets as a; a.build_infra_assets(); "
        "print([m for m in ('duckdb', 'pyiceberg', 'pyarrow', 'sqlalchemy', 'pandas') if m in sys.modules])"
    )
    bare = "import sys, dagster; print([m for m in ('sqlalchemy',) if m in sys.modules])"
    run = [subprocess.run([sys.executable, "-c", c], capture_output=True, text=True, check=True) for c in (code, bare)]
    assert run[0].stdout == run[1].stdout, "only what dagster itself loads"


@pytest.mark.parametrize(
    ("error", "retried"), [(TransientError("bucket: 503"), True), (LakeError("bucket: taken"), False)]
)
def test_only_transient_errors_are_tried_again_and_say_why_in_one_line(
    error: LakeError, retried: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(infra_assets._RESOURCES, "local", lambda _settings: (Marker("bucket", failure=error),))
    (asset, _) = built(tmp_path)
    with pytest.raises(dg.Failure) as failure:
        asset()
    assert (failure.value.description, failure.value.allow_retries) == (str(error), retried)
