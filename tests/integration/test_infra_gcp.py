"""Infrastructure of the target gcp: the official clients, unmodified, against a stand-in on loopback."""

import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from google.api_core import exceptions as google
from google.rpc.error_details_pb2 import ErrorInfo

from infra_assets import gcp, resources
from infra_assets.assets import build_infra_assets
from infra_assets.gcp import SWEPT, Bucket, Connection, Datasets, LakeGrant, Patience, gcp_resources
from infra_assets.plan import Change, Resource, apply_all, plan_all
from lake.catalog import LAYERS
from lake.errors import LakeError, TransientError
from lake.settings import Settings, get_settings
from sandbox.gcp import Cloud, GcpStandIn, write_key

ROLE, READER = "roles/storage.objectUser", "roles/storage.legacyBucketReader"
QUICK = Patience(seconds=1.5, first_wait=0.01)
KEY = "us/biglake"
MADE = (
    Change("create", "bucket gs://a-lake", "in US, uniform access, not public"),
    *(Change("create", f"dataset a-project.{layer}", "in US, tables never expire") for layer in LAYERS),
    Change("create", "dataset a-project.bronze_staging", "in US, tables expire after 1 day"),
    Change("create", "connection a-project.us.biglake", "type CLOUD_RESOURCE"),
    Change(
        "grant", "bucket gs://a-lake", f"{ROLE} and {READER} to the service account of connection a-project.us.biglake"
    ),
)
DISABLED = "BigQuery Connection API has not been used in project 1 before or it is disabled."


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GcpStandIn]:
    with GcpStandIn(tmp_path / "gcp") as running:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", running.url)
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", running.url)
        monkeypatch.setenv("LAKEGRAPH_GCP_CONNECTION_ENDPOINT", running.url)
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(write_key(tmp_path / "key.json", running.url)))
        yield running


@pytest.fixture
def settings(stand_in: GcpStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """The settings as a process gets them: from the environment."""
    for name, value in (
        ("HOME", str(tmp_path / "home")),
        ("TARGET", "gcp"),
        ("GCP_PROJECT", "a-project"),
        ("GCP_BUCKET", "a-lake"),
        ("GCP_CONNECTION", "biglake"),
    ):
        monkeypatch.setenv(f"LAKEGRAPH_{name}", value)
    get_settings.cache_clear()
    yield get_settings()
    get_settings.cache_clear()


def quick(settings: Settings, **changes: Any) -> tuple[Resource, ...]:
    return gcp_resources(settings.model_copy(update=changes), QUICK)


def writes(cloud: Cloud) -> list[tuple[str, str]]:
    return [(method, path) for method, path in cloud.calls if method != "GET" and path != "/token"]


def asked(cloud: Cloud, method: str, path_regex: str) -> int:
    return sum(m == method and re.search(path_regex, path) is not None for m, path in cloud.calls)


def state(cloud: Cloud) -> dict[str, dict[str, Any]]:
    return {kind: cloud.store.all(kind) for kind in ("bucket", "policy", "dataset", "connection")}


def document(cloud: Cloud, kind: str, key: str) -> dict[str, Any]:
    found = cloud.store.get(kind, key)
    assert found is not None
    return found


def account(cloud: Cloud) -> str:
    return str(document(cloud, "connection", KEY)["cloudResource"]["serviceAccountId"])


# -- plan and apply -------------------------------------------------------------------------------------


def test_a_plan_lists_what_apply_then_makes_and_writes_nothing(stand_in: GcpStandIn, settings: Settings) -> None:
    assert plan_all(resources(settings)) == MADE
    assert writes(stand_in) == []
    assert state(stand_in) == {"bucket": {}, "policy": {}, "dataset": {}, "connection": {}}

    assert apply_all(resources(settings)) == MADE
    bucket = document(stand_in, "bucket", "a-lake")
    assert bucket["location"] == "US"
    assert bucket["labels"] == {"app": "lakegraph"}
    assert bucket["iamConfiguration"]["uniformBucketLevelAccess"]["enabled"] is True
    assert bucket["iamConfiguration"]["publicAccessPrevention"] == "enforced"
    datasets = stand_in.store.all("dataset")
    expirations = {name: dataset.get("defaultTableExpirationMs") for name, dataset in datasets.items()}
    assert expirations == {
        **{f"a-project/{layer}": None for layer in LAYERS},
        "a-project/bronze_staging": str(86_400_000),
    }
    for dataset in datasets.values():
        assert (dataset["location"], dataset["labels"]) == ("US", {"app": "lakegraph"})
    assert bucket["lifecycle"]["rule"] == [
        {"action": {"type": "Delete"}, "condition": {"age": 1, "matchesPrefix": ["staging/"]}}
    ]
    assert set(stand_in.store.all("connection")) == {KEY}
    granted = [{"role": role, "members": [f"serviceAccount:{account(stand_in)}"]} for role in (ROLE, READER)]
    assert sorted(map(str, document(stand_in, "policy", "a-lake")["bindings"])) == sorted(map(str, granted))


def test_after_apply_the_plan_is_empty_and_neither_it_nor_another_apply_writes(
    stand_in: GcpStandIn, settings: Settings
) -> None:
    apply_all(resources(settings))
    before = state(stand_in)
    stand_in.calls.clear()
    assert plan_all(resources(settings)) == apply_all(resources(settings)) == ()
    assert writes(stand_in) == []
    assert state(stand_in) == before
    assert document(stand_in, "connection", KEY)["name"].startswith("projects/123456789012/"), "not what was asked for"


def test_location_and_expiration_are_the_settings(stand_in: GcpStandIn, settings: Settings) -> None:
    there = {"gcp_location": "europe-west1", "gcp_expiration_days": 3}
    planned = plan_all(quick(settings, **there))
    assert apply_all(quick(settings, **there)) == planned
    assert Change("create", "dataset a-project.gold", "in EUROPE-WEST1, tables expire after 3 days") in planned
    assert document(stand_in, "bucket", "a-lake")["location"] == "EUROPE-WEST1"
    assert document(stand_in, "dataset", "a-project/gold")["location"] == "europe-west1"
    assert document(stand_in, "dataset", "a-project/gold")["defaultTableExpirationMs"] == str(3 * 86_400_000)
    assert set(stand_in.store.all("connection")) == {"europe-west1/biglake"}
    assert plan_all(quick(settings, **there)) == ()


def test_the_desired_state_is_what_can_be_set(settings: Settings) -> None:
    wanted = [resource.desired() for resource in quick(settings)]
    assert wanted == [resource.desired() for resource in quick(settings)]
    for change in (
        {"gcp_location": "EU"},
        {"gcp_bucket": "b-lake"},
        {"gcp_connection": "other"},
        {"gcp_expiration_days": 1},
        {"gcp_project": "b-project"},
    ):
        assert [resource.desired() for resource in quick(settings, **change)] != wanted


# -- drift ----------------------------------------------------------------------------------------------


def edit(kind: str, key: str, **values: Any) -> Callable[[Cloud], object]:
    return lambda cloud: cloud.store.put(kind, key, {**document(cloud, kind, key), **values})


def access(uniform: bool, prevention: str) -> dict[str, Any]:
    return {"uniformBucketLevelAccess": {"enabled": uniform}, "publicAccessPrevention": prevention}


UPDATE_BUCKET = ("update", "bucket gs://a-lake")
DRIFTS = [
    pytest.param(
        "bucket",
        edit("bucket", "a-lake", iamConfiguration=access(False, "enforced")),
        Change(*UPDATE_BUCKET, "uniform bucket-level access"),
        id="acls",
    ),
    pytest.param(
        "bucket",
        edit("bucket", "a-lake", iamConfiguration=access(True, "inherited")),
        Change(*UPDATE_BUCKET, "public access prevention enforced"),
        id="public",
    ),
    pytest.param(
        "bucket",
        edit("bucket", "a-lake", labels={"team": "theirs"}),
        Change(*UPDATE_BUCKET, "labels app=lakegraph"),
        id="bucket labels",
    ),
    pytest.param(
        "bucket",
        edit("bucket", "a-lake", lifecycle={"rule": []}),
        Change(*UPDATE_BUCKET, "objects below staging/ are deleted after 1 day"),
        id="staging is swept",
    ),
    pytest.param(
        "datasets",
        edit("dataset", "a-project/silver", labels={"app": "other", "team": "theirs"}),
        Change("update", "dataset a-project.silver", "labels app=lakegraph"),
        id="dataset labels",
    ),
    pytest.param(
        "datasets",
        edit("dataset", "a-project/gold", defaultTableExpirationMs="3600000"),
        Change("update", "dataset a-project.gold", "tables never expire"),
        id="expiration",
    ),
    pytest.param("datasets", lambda cloud: cloud.store.drop("dataset", "a-project/bronze"), MADE[1], id="dataset"),
    pytest.param("lake_grant", edit("policy", "a-lake", bindings=[]), MADE[-1], id="grant"),
]


@pytest.mark.parametrize(("name", "drift", "change"), DRIFTS)
def test_drift_is_planned_and_repaired(
    name: str, drift: Callable[[Cloud], object], change: Change, stand_in: GcpStandIn, settings: Settings
) -> None:
    apply_all(resources(settings))
    drift(stand_in)
    before = state(stand_in)
    stand_in.calls.clear()
    assert {r.name for r in resources(settings) if r.plan()} == {name}
    assert plan_all(resources(settings)) == (change,)
    assert (writes(stand_in), state(stand_in)) == ([], before)

    assert apply_all(resources(settings)) == (change,)
    assert len(writes(stand_in)) == 1
    assert plan_all(resources(settings)) == ()


def test_what_others_have_set_beside_it_is_kept(stand_in: GcpStandIn, settings: Settings) -> None:
    apply_all(resources(settings))
    theirs = [
        {"role": "roles/storage.objectViewer", "members": ["user:reader@example.org"]},
        {
            "role": ROLE,
            "members": [f"serviceAccount:{account(stand_in)}"],
            "condition": {"title": "nights", "expression": "request.time.getHours() < 6"},
        },
    ]
    edit("policy", "a-lake", bindings=theirs)(stand_in)
    rule = {"action": {"type": "Delete"}, "condition": {"age": 30, "matchesPrefix": ["theirs/"]}}
    edit("bucket", "a-lake", labels={"team": "theirs"}, lifecycle={"rule": [rule]})(stand_in)
    edit("dataset", "a-project/gold", labels={"team": "theirs"}, description="theirs")(stand_in)
    assert MADE[-1] in plan_all(resources(settings)), "a grant under a condition is not the grant"
    apply_all(resources(settings))

    granted = [{"role": role, "members": [f"serviceAccount:{account(stand_in)}"]} for role in (ROLE, READER)]
    policy = document(stand_in, "policy", "a-lake")
    assert sorted(map(str, policy["bindings"])) == sorted(map(str, [*theirs, *granted]))
    assert policy["version"] == 3
    assert document(stand_in, "bucket", "a-lake")["labels"] == {"team": "theirs", "app": "lakegraph"}
    assert document(stand_in, "bucket", "a-lake")["lifecycle"] == {"rule": [rule, SWEPT]}
    assert document(stand_in, "dataset", "a-project/gold")["labels"] == {"team": "theirs", "app": "lakegraph"}
    assert document(stand_in, "dataset", "a-project/gold")["description"] == "theirs"


# -- what is refused ------------------------------------------------------------------------------------


def refused(resource: Resource, verbs: tuple[str, ...] = ("plan", "apply")) -> str:
    """The sentence with which each of the verbs refuses."""
    sentences = set()
    for verb in verbs:
        with pytest.raises(LakeError) as error:
            getattr(resource, verb)()
        sentences.add(str(error.value))
        assert not isinstance(error.value, TransientError)
    (sentence,) = sentences
    assert "\n" not in sentence
    return sentence


def test_another_location_is_refused_and_left_alone(stand_in: GcpStandIn, settings: Settings) -> None:
    apply_all(resources(settings))
    before = state(stand_in)
    stand_in.calls.clear()
    moved = settings.model_copy(update={"gcp_location": "EU"})
    assert refused(Bucket(moved, QUICK)) == (
        "bucket gs://a-lake is in US, not in EU, and a location cannot be changed: set LAKEGRAPH_GCP_LOCATION to US, "
        "or LAKEGRAPH_GCP_BUCKET to another name; it is left alone"
    )
    assert refused(Datasets(moved, QUICK)) == (
        "dataset a-project.bronze is in US, not in EU, and a location cannot be changed: set LAKEGRAPH_GCP_LOCATION "
        "to US, or LAKEGRAPH_GCP_PROJECT to another project; it is left alone"
    )
    assert (writes(stand_in), state(stand_in)) == ([], before)


def test_somebody_elses_bucket_is_refused(stand_in: GcpStandIn, settings: Settings) -> None:
    stand_in.inject("GET", "/b/a-lake", 403, "sandbox does not have storage.buckets.get access", times=4)
    expected = (
        "bucket gs://a-lake is not accessible (GET {}/storage/v1/b/a-lake{}: sandbox does not have "
        "storage.buckets.get access): names of buckets are global and this one may be somebody else's, then set "
        "LAKEGRAPH_GCP_BUCKET to another name; if it is yours, ask for the roles in docs/gcp.md"
    )
    query = "?fields=name&prettyPrint=false"
    assert re.sub(r"\?[^:]*", query, refused(Bucket(settings, QUICK))) == expected.format(stand_in.url, query)
    assert asked(stand_in, "GET", "/b/a-lake$") == 2, "not tried again"
    stand_in.add_connection("us", "biglake", {"cloudResource": {}})
    assert "is not accessible" in refused(LakeGrant(settings, QUICK))
    assert writes(stand_in) == []


def test_a_name_that_is_taken_shows_when_it_is_created(stand_in: GcpStandIn, settings: Settings) -> None:
    def taken(cloud: Cloud) -> None:
        cloud.inject("GET", "/b/a-lake$", 403, "no access")

    stand_in.inject("POST", "/b$", 409, "The requested bucket name is not available.", effect=taken)
    assert "is not accessible" in refused(Bucket(settings, QUICK), ("apply",))
    assert writes(stand_in) == [("POST", "/storage/v1/b")]


def test_a_connection_of_another_type_is_refused_and_left_alone(stand_in: GcpStandIn, settings: Settings) -> None:
    stand_in.add_connection("us", "biglake", {"cloudSql": {"instanceId": "p:us:i", "database": "d", "type": "MYSQL"}})
    before = state(stand_in)
    for resource in (Connection(settings, QUICK), LakeGrant(settings, QUICK)):
        assert refused(resource) == (
            "connection a-project.us.biglake is there, but not of the type CLOUD_RESOURCE: "
            "set LAKEGRAPH_GCP_CONNECTION to another id; it is left alone"
        )
    assert (writes(stand_in), state(stand_in)) == ([], before)


@pytest.mark.parametrize(
    ("name", "method", "path"),
    [
        ("bucket", "POST", "/b$"),
        ("datasets", "GET", "/datasets/bronze$"),
        ("datasets", "POST", "/datasets$"),
        ("connection", "GET", "/connections/biglake$"),
        ("connection", "POST", "/connections$"),
        ("lake_grant", "PUT", "/iam$"),
    ],
)
def test_a_missing_permission_is_one_line_and_not_tried_again(
    name: str, method: str, path: str, stand_in: GcpStandIn, settings: Settings
) -> None:
    graph = {resource.name: resource for resource in quick(settings)}
    for dependency in graph[name].deps:
        graph[dependency].apply()
    stand_in.calls.clear()
    stand_in.inject(method, path, 403, "Permission denied on resource", times=5)
    sentence = refused(graph[name], ("apply",))
    assert re.search(r"(a-lake|a-project\.\S+): not allowed: .*Permission denied on resource; see the roles", sentence)
    assert asked(stand_in, method, path) == 1


def test_a_grant_without_what_it_depends_on_is_planned_and_refused(stand_in: GcpStandIn, settings: Settings) -> None:
    grant = LakeGrant(settings, QUICK)
    assert grant.plan() == MADE[-1:]
    assert refused(grant, ("apply",)) == (
        "connection a-project.us.biglake is not there: materialize infra/connection first"
    )
    Connection(settings, QUICK).apply()
    assert grant.plan() == MADE[-1:]
    assert refused(grant, ("apply",)) == "bucket gs://a-lake is not there: materialize infra/bucket first"
    Bucket(settings, QUICK).apply()
    assert grant.apply() == MADE[-1:]


def test_another_bad_request_is_not_tried_again(stand_in: GcpStandIn, settings: Settings) -> None:
    for resource in quick(settings)[:-1]:
        resource.apply()
    stand_in.inject("PUT", "/iam$", 400, "Role roles/storage.objectUser is not supported for this resource.", times=5)
    assert "is not supported for this resource" in refused(LakeGrant(settings, QUICK), ("apply",))
    assert asked(stand_in, "PUT", "/iam$") == 1


@pytest.mark.parametrize(
    ("error", "race", "disabled", "unknown"),
    [
        (google.AlreadyExists("there"), True, False, False),
        (google.Conflict("there"), True, False, False),
        (google.PreconditionFailed("changed"), True, False, False),
        (google.PermissionDenied(DISABLED), False, True, False),
        (google.PermissionDenied("no", error_info=ErrorInfo(reason="SERVICE_DISABLED")), False, True, False),
        (google.Forbidden("no", errors=[{"reason": "accessNotConfigured"}]), False, True, False),
        (google.Forbidden("no", errors=[{"reason": "forbidden"}]), False, False, False),
        (google.PermissionDenied("no"), False, False, False),
        (google.BadRequest("Service account x does not exist."), False, False, True),
        (google.BadRequest("Role x does not exist."), False, False, False),
        (google.NotFound("Service account x does not exist."), False, False, False),
    ],
    ids=str,
)
def test_errors_of_rest_and_grpc_mean_the_same(error: Exception, race: bool, disabled: bool, unknown: bool) -> None:
    assert (gcp._lost_a_race(error), gcp._api_disabled(error), gcp._account_unknown(error)) == (race, disabled, unknown)


# -- what passes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "message"), [("SERVICE_DISABLED", "disabled"), ("accessNotConfigured", "no"), ("", DISABLED)]
)
@pytest.mark.parametrize("path", ["/b/a-lake$", "/iam$", "/datasets/gold$", "/connections/biglake$"])
def test_an_api_that_is_just_being_enabled_is_waited_for(
    path: str, reason: str, message: str, stand_in: GcpStandIn, settings: Settings
) -> None:
    stand_in.inject("GET", path, 403, message, reason=reason, times=3)
    assert apply_all(quick(settings)) == MADE
    assert plan_all(quick(settings)) == ()


def test_an_api_that_stays_disabled_is_named_with_the_command(stand_in: GcpStandIn, settings: Settings) -> None:
    stand_in.inject("GET", "/connections/", 403, DISABLED, reason="SERVICE_DISABLED", times=1000)
    sentence = refused(Connection(settings, Patience(seconds=0.3, first_wait=0.01)))
    assert sentence == (
        "connection a-project.us.biglake: the API bigqueryconnection.googleapis.com is still not enabled after 0 s: "
        "run `gcloud services enable bigqueryconnection.googleapis.com --project a-project`"
    )
    assert asked(stand_in, "GET", "/connections/") > 4
    assert writes(stand_in) == []


def create_bucket(cloud: Cloud) -> object:
    access_ = access(True, "enforced")
    return cloud.store.put(
        "bucket",
        "a-lake",
        {
            "name": "a-lake",
            "location": "US",
            "labels": {"app": "lakegraph"},
            "iamConfiguration": access_,
            "lifecycle": {"rule": [SWEPT]},
            "metageneration": "1",
        },
    )


def create_gold(cloud: Cloud) -> object:
    dataset = {"datasetReference": {"projectId": "a-project", "datasetId": "gold"}, "etag": "x"}
    return cloud.store.put("dataset", "a-project/gold", {**dataset, "location": "US", "labels": {"app": "lakegraph"}})


def test_who_loses_a_race_to_create_has_changed_nothing(stand_in: GcpStandIn, settings: Settings) -> None:
    for resource, path, faster in (
        (Bucket(settings, QUICK), "/b$", create_bucket),
        (
            Connection(settings, QUICK),
            "/connections$",
            lambda c: c.add_connection("us", "biglake", {"cloudResource": {}}),
        ),
    ):
        stand_in.inject("POST", path, 409, "Already Exists", effect=faster)
        assert resource.apply() == ()
        assert resource.plan() == ()
        assert asked(stand_in, "POST", path) == 1

    for layer in ("bronze", "silver"):
        create_gold(stand_in)
        gold = document(stand_in, "dataset", "a-project/gold")
        stand_in.store.put("dataset", f"a-project/{layer}", gold)
    stand_in.store.put("dataset", "a-project/bronze_staging", {**gold, "defaultTableExpirationMs": "86400000"})
    stand_in.store.drop("dataset", "a-project/gold")
    stand_in.inject("POST", "/datasets$", 409, "Already Exists", effect=create_gold)
    assert Datasets(settings, QUICK).apply() == ()
    assert Datasets(settings, QUICK).plan() == ()
    assert asked(stand_in, "POST", "/datasets$") == 1


def test_a_change_made_by_somebody_else_meanwhile_is_read_again_and_kept(
    stand_in: GcpStandIn, settings: Settings
) -> None:
    apply_all(resources(settings))
    edit("bucket", "a-lake", labels={}, metageneration="7")(stand_in)
    edit("dataset", "a-project/gold", labels={})(stand_in)
    edit("policy", "a-lake", bindings=[])(stand_in)
    theirs = {"role": "roles/storage.objectViewer", "members": ["user:reader@example.org"]}
    stand_in.inject("PATCH", "/b/a-lake$", 412, "changed", effect=edit("bucket", "a-lake", labels={"a": "b"}))
    stand_in.inject("PATCH", "/gold$", 412, "changed", effect=edit("dataset", "a-project/gold", labels={"a": "b"}))
    stand_in.inject("PUT", "/iam$", 412, "changed", effect=edit("policy", "a-lake", bindings=[theirs]))
    stand_in.calls.clear()

    assert len(apply_all(quick(settings))) == 3
    assert len(writes(stand_in)) == 6
    assert document(stand_in, "bucket", "a-lake")["labels"] == {"a": "b", "app": "lakegraph"}
    assert document(stand_in, "dataset", "a-project/gold")["labels"] == {"a": "b", "app": "lakegraph"}
    assert theirs in document(stand_in, "policy", "a-lake")["bindings"]
    assert plan_all(quick(settings)) == ()


def test_a_stale_write_is_refused_by_what_it_carries(stand_in: GcpStandIn, settings: Settings) -> None:
    """The injected 412 above stands for these: each write names the version that it has read."""
    apply_all(resources(settings))
    edit("bucket", "a-lake", labels={})(stand_in)
    edit("dataset", "a-project/gold", labels={})(stand_in)
    edit("policy", "a-lake", bindings=[])(stand_in)
    patch, put = stand_in._routes, []

    def slow(handler: Callable[..., Any], change: Callable[[Cloud], object]) -> Callable[..., Any]:
        def first_change_then(*args: Any) -> Any:
            if handler not in put:
                put.append(handler)
                change(stand_in)
            return handler(*args)

        return first_change_then

    changes: dict[str, Callable[[Cloud], object]] = {
        "_patch_bucket": edit("bucket", "a-lake", metageneration="99"),
        "_patch_dataset": edit("dataset", "a-project/gold", etag="newer"),
        "_set_policy": edit("policy", "a-lake", bindings=[{"role": "roles/x", "members": ["user:a@example.org"]}]),
    }
    stand_in._routes = tuple(
        (method, pattern, slow(handler, changes[handler.__name__]) if handler.__name__ in changes else handler)
        for method, pattern, handler in patch
    )
    stand_in.calls.clear()
    assert len(apply_all(quick(settings))) == 3
    assert len(writes(stand_in)) == 6, "each was refused once"
    assert plan_all(quick(settings)) == ()


def test_an_account_that_is_not_visible_yet_is_waited_for(stand_in: GcpStandIn, settings: Settings) -> None:
    for resource in quick(settings)[:-1]:
        resource.apply()
    unknown = f"Service account {account(stand_in)} does not exist."
    stand_in.inject("PUT", "/iam$", 400, unknown, times=3)
    assert LakeGrant(settings, QUICK).apply() == MADE[-1:]
    assert asked(stand_in, "PUT", "/iam$") == asked(stand_in, "GET", "/iam$") == 4, "a fresh read before each write"


@pytest.mark.parametrize(
    ("status", "message", "sentence"),
    [
        (400, "Service account x does not exist.", "the connection's service account is still unknown after 0 s"),
        (412, "changed", "somebody else was faster each time, for 0 s"),
    ],
)
def test_what_does_not_pass_in_time_may_be_tried_again_later(
    status: int, message: str, sentence: str, stand_in: GcpStandIn, settings: Settings
) -> None:
    for resource in quick(settings)[:-1]:
        resource.apply()
    stand_in.inject("PUT", "/iam$", status, message, times=1000)
    with pytest.raises(TransientError) as error:
        LakeGrant(settings, Patience(seconds=0.3, first_wait=0.01)).apply()
    assert str(error.value) == f"{ROLE} and {READER} on bucket gs://a-lake: {sentence}; try again later"


def test_a_busy_or_silent_service_is_transient(
    stand_in: GcpStandIn, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in.inject("GET", "/b/a-lake$", 503, "busy", times=1000)
    impatient = Patience(seconds=0.2, first_wait=0.01)
    with pytest.raises(TransientError, match=r"bucket gs://a-lake: no answer: .*busy"):
        Bucket(settings, impatient).plan()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    with pytest.raises(TransientError, match=r"bucket gs://a-lake: no answer: .*is the network, or the stand-in, up"):
        Bucket(settings, impatient).plan()


def test_two_that_apply_at_once_make_each_thing_once(stand_in: GcpStandIn, settings: Settings) -> None:
    start = threading.Barrier(2)

    def apply(_: int) -> tuple[Change, ...]:
        start.wait()
        return apply_all(gcp_resources(settings, Patience(seconds=20, first_wait=0.01)))

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(apply, range(2))
    assert sorted(map(str, first + second)) == sorted(map(str, MADE))
    assert plan_all(resources(settings)) == ()


# -- the same in Dagster --------------------------------------------------------------------------------


def test_the_assets_materialize_and_their_drift_checks_tell_what_is_missing(
    stand_in: GcpStandIn, settings: Settings
) -> None:
    graph = build_infra_assets()
    result = dg.materialize(graph, raise_on_error=False)
    assert result.success
    assert {e.asset_key.path[-1]: e.passed for e in result.get_asset_check_evaluations()} == {
        "bucket": True,
        "datasets": True,
        "connection": True,
        "lake_grant": True,
    }
    edit("policy", "a-lake", bindings=[])(stand_in)
    definitions = dg.Definitions(
        assets=graph, jobs=[dg.define_asset_job("drift", selection=dg.AssetSelection.all_asset_checks())]
    )
    checks = definitions.resolve_job_def("drift").execute_in_process().get_asset_check_evaluations()
    (failed,) = [check for check in checks if not check.passed]
    assert failed.asset_key.path[-1] == "lake_grant"
    assert f"| grant | {MADE[-1].resource} | {MADE[-1].detail} |" in str(failed.metadata["pending"].value)


def test_without_the_variables_each_verb_says_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOOGLE_CLOUD_PROJECT", raising=False)
    for resource in gcp_resources(Settings(home=tmp_path, target="gcp", gcp_project=None, gcp_bucket=None)):
        for verb in (resource.desired, resource.plan, resource.apply):
            with pytest.raises(LakeError, match="LAKEGRAPH_GCP_PROJECT and LAKEGRAPH_GCP_BUCKET not set"):
                verb()
