"""Infrastructure of the target `gcp`: bucket, BigQuery datasets, BigLake connection, and the connection's grant.

What belongs here: looking at and making them through the official clients, with races, propagation and APIs that
are just being enabled settled. What does not: constructing clients (`lake.gcp`), tables (loads and dbt make those),
enabling APIs, and the roles of whoever runs this (docs/gcp.md).

Each verb reads what is there, compares, and writes the difference; whatever may pass (somebody else was faster, an
API or an account is not visible yet) has the whole of it done again from fresh reads. Nothing is deleted or made
anew: what cannot be changed in place is refused. Names in answers may carry the project's number in place of its id,
so none is compared.

Google's libraries are imported inside functions: the graph is built from these objects without loading them.
"""

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from infra_assets.plan import Change, Resource
from lake.bigquery_store import STAGING, STAGING_FOLDER
from lake.catalog import LAYERS
from lake.errors import LakeError, TransientError
from lake.gcp import LABELS, bigquery_client, clear_errors, connection_client, storage_client
from lake.settings import GcpTarget, Settings

if TYPE_CHECKING:
    from google.cloud import bigquery, storage
    from google.cloud.bigquery_connection_v1 import Connection as BigLakeConnection
    from google.cloud.bigquery_connection_v1 import ConnectionServiceClient

T = TypeVar("T")

ROLES = ("roles/storage.objectUser", "roles/storage.legacyBucketReader")  # managed Iceberg tables need both
ENFORCED = "enforced"
DAY_MS = 24 * 60 * 60 * 1000
STAGING_DAYS = 1  # what a load that died has left there
DATASETS = (*LAYERS, STAGING)
SWEPT = {"action": {"type": "Delete"}, "condition": {"age": STAGING_DAYS, "matchesPrefix": [f"{STAGING_FOLDER}/"]}}
POLICY_VERSION = 3  # the only one that shows conditions, and so does not lose them


@dataclass(frozen=True)
class Patience:
    """How long to try again what may pass by itself.

    Attributes:
        seconds: for how long in all: an API just enabled, an account not visible yet, somebody else's writes.
        first_wait: about how long before the second attempt; later waits double.
    """

    seconds: float = 120.0
    first_wait: float = 1.0


@dataclass(frozen=True)
class _GcpResource:
    """Plan and apply are one comparison, `_settle`, that writes or does not."""

    settings: Settings
    patience: Patience = Patience()

    pool: ClassVar[str | None] = None

    def plan(self) -> tuple[Change, ...]:
        """The creation of what is missing, and what differs; nothing is written."""
        return self._settle(write=False)

    def apply(self) -> tuple[Change, ...]:
        """Create what is missing and repair what differs."""
        return self._settle(write=True)

    def _settle(self, *, write: bool) -> tuple[Change, ...]:
        raise NotImplementedError


class Bucket(_GcpResource):
    """The bucket that holds the lake's files."""

    name: ClassVar[str] = "bucket"
    description: ClassVar[str] = (
        "The GCS bucket of the lake: uniform access, never public, labelled, staging swept daily."
    )
    kinds: ClassVar[frozenset[str]] = frozenset({"gcs"})
    deps: ClassVar[tuple[str, ...]] = ()

    def desired(self) -> tuple[str, ...]:
        """The bucket, its location, its access settings, its labels."""
        target = self.settings.gcp()
        access = ("uniform bucket-level access", f"public access prevention {ENFORCED}", _sweeping())
        return (_bucket(target), f"location {target.location.upper()}", *access, _labels())

    def _settle(self, *, write: bool) -> tuple[Change, ...]:
        from google.cloud.exceptions import Forbidden

        target = self.settings.gcp()

        def attempt(client: "storage.Client") -> tuple[Change, ...]:
            try:
                found = client.lookup_bucket(target.bucket, retry=_busy(self.patience))
            except Forbidden as error:
                raise _not_ours(target, error) from error
            if found is None:
                if write:
                    new = client.bucket(target.bucket)
                    _set_access(new)
                    client.create_bucket(new, location=target.location, retry=_busy(self.patience))
                return (Change("create", _bucket(target), f"in {target.location.upper()}, uniform access, not public"),)
            _same_location(_bucket(target), found.location, target, "LAKEGRAPH_GCP_BUCKET to another name")
            changes = tuple(Change("update", _bucket(target), detail) for detail in _access_drift(found))
            if changes and write:
                _set_access(found)
                found.patch(if_metageneration_match=found.metageneration, retry=_busy(self.patience))
            return changes

        with closing(storage_client(target)) as client:
            return _settled(_bucket(target), target, "storage.googleapis.com", self.patience, lambda: attempt(client))


class Datasets(_GcpResource):
    """One BigQuery dataset for each layer, and one for tables on their way into bronze."""

    name: ClassVar[str] = "datasets"
    description: ClassVar[str] = "The BigQuery datasets: bronze with its staging, silver, gold."
    kinds: ClassVar[frozenset[str]] = frozenset({"bigquery"})
    deps: ClassVar[tuple[str, ...]] = ()

    def desired(self) -> tuple[str, ...]:
        """The datasets, their location, the expiration of their tables, their labels."""
        target = self.settings.gcp()
        names = tuple(f"{_dataset(target, name)}, {self._expiration(name)}" for name in DATASETS)
        return (*names, f"location {target.location.upper()}", _labels())

    def _settle(self, *, write: bool) -> tuple[Change, ...]:
        target = self.settings.gcp()
        with closing(bigquery_client(target)) as client:

            def settle(layer: str) -> tuple[Change, ...]:
                return _settled(
                    _dataset(target, layer),
                    target,
                    "bigquery.googleapis.com",
                    self.patience,
                    lambda: self._attempt(client, target, layer, write=write),
                )

            return tuple(change for layer in DATASETS for change in settle(layer))

    def _attempt(self, client: "bigquery.Client", target: GcpTarget, layer: str, *, write: bool) -> tuple[Change, ...]:
        from google.cloud import bigquery
        from google.cloud.exceptions import NotFound

        name, patient = _dataset(target, layer), _busy(self.patience)
        try:
            found = client.get_dataset(f"{target.project}.{layer}", retry=patient)
        except NotFound as error:
            if "Not found: Project" in str(error):
                remedy = "set LAKEGRAPH_GCP_PROJECT to the id of one that you may use"
                raise LakeError(f"{name}: there is no project {target.project}; {remedy}") from error
            if write:
                new = bigquery.Dataset(f"{target.project}.{layer}")
                new.location = target.location
                self._set(new, layer)
                client.create_dataset(new, retry=patient)
            return (Change("create", name, f"in {target.location.upper()}, {self._expiration(layer)}"),)
        remedy = "LAKEGRAPH_GCP_PROJECT to another project"
        _same_location(name, found.location, target, remedy)
        drift = []
        if found.default_table_expiration_ms != self._expiration_ms(layer):
            drift.append(self._expiration(layer))
        if not found.labels.items() >= LABELS.items():
            drift.append(_labels())
        if drift and write:
            self._set(found, layer)
            client.update_dataset(found, ["default_table_expiration_ms", "labels"], retry=patient)  # checks the etag
        return tuple(Change("update", name, detail) for detail in drift)

    def _set(self, dataset: "bigquery.Dataset", layer: str) -> None:
        dataset.labels = {**dataset.labels, **LABELS}
        dataset.default_table_expiration_ms = self._expiration_ms(layer)

    def _days(self, layer: str) -> int | None:
        return STAGING_DAYS if layer == STAGING else self.settings.gcp_expiration_days

    def _expiration_ms(self, layer: str) -> int | None:
        days = self._days(layer)
        return days * DAY_MS if days else None

    def _expiration(self, layer: str) -> str:
        days = self._days(layer)
        return f"tables expire after {days} {'day' if days == 1 else 'days'}" if days else "tables never expire"


class Connection(_GcpResource):
    """The BigLake connection through which BigQuery reads and writes the bucket."""

    name: ClassVar[str] = "connection"
    description: ClassVar[str] = "The BigLake connection: the service account with which BigQuery uses the bucket."
    kinds: ClassVar[frozenset[str]] = frozenset({"bigquery"})
    deps: ClassVar[tuple[str, ...]] = ()

    def desired(self) -> tuple[str, ...]:
        """The connection and its type."""
        return (_connection(self.settings.gcp()), "type CLOUD_RESOURCE")

    def _settle(self, *, write: bool) -> tuple[Change, ...]:
        from google.cloud.bigquery_connection_v1 import CloudResourceProperties
        from google.cloud.bigquery_connection_v1 import Connection as Wanted

        target = self.settings.gcp()

        def attempt(client: "ConnectionServiceClient") -> tuple[Change, ...]:
            if _service_account(client, target) is not None:
                return ()
            if write:
                client.create_connection(
                    parent=_parent(target),
                    connection_id=target.connection,
                    connection=Wanted(cloud_resource=CloudResourceProperties()),
                )
            return (Change("create", _connection(target), "type CLOUD_RESOURCE"),)

        with connection_client(target) as client:
            return _settled(_connection(target), target, CONNECTION_API, self.patience, lambda: attempt(client))


class LakeGrant(_GcpResource):
    """What the connection's service account may do with the bucket."""

    name: ClassVar[str] = "lake_grant"
    description: ClassVar[str] = "What the connection's service account may do with the bucket: " + ", ".join(ROLES)
    kinds: ClassVar[frozenset[str]] = frozenset({"gcs"})
    deps: ClassVar[tuple[str, ...]] = ("bucket", "connection")

    def desired(self) -> tuple[str, ...]:
        """The bucket, then the role and whose it is."""
        target = self.settings.gcp()
        return (_bucket(target), _grant(target).detail)

    def _account(self, target: GcpTarget) -> str | None:
        with connection_client(target) as client:
            return _settled(
                _connection(target), target, CONNECTION_API, self.patience, lambda: _service_account(client, target)
            )

    def _settle(self, *, write: bool) -> tuple[Change, ...]:
        """The grant, if it is missing, and so without a bucket or a connection; all other grants stay."""
        from google.cloud.exceptions import Forbidden, NotFound

        target = self.settings.gcp()
        account = self._account(target)
        if account is None:
            if write:
                raise LakeError(f"{_connection(target)} is not there: materialize infra/connection first")
            return (_grant(target),)
        member = f"serviceAccount:{account}"

        def attempt(client: "storage.Client") -> tuple[Change, ...]:
            bucket = client.bucket(target.bucket)
            try:
                policy = bucket.get_iam_policy(requested_policy_version=POLICY_VERSION, retry=_busy(self.patience))
            except Forbidden as error:
                raise _not_ours(target, error) from error
            except NotFound:
                if write:
                    raise LakeError(f"{_bucket(target)} is not there: materialize infra/bucket first") from None
                return (_grant(target),)
            missing = [role for role in ROLES if not any(_grants(b, role, member) for b in policy.bindings)]
            if not missing:
                return ()
            if write:
                policy.version = POLICY_VERSION
                policy.bindings.extend({"role": role, "members": {member}} for role in missing)
                bucket.set_iam_policy(policy)  # carries the etag of what was read
            return (_grant(target),)

        what = f"{' and '.join(ROLES)} on {_bucket(target)}"
        with closing(storage_client(target)) as client:
            return _settled(what, target, "storage.googleapis.com", self.patience, lambda: attempt(client))


CONNECTION_API = "bigqueryconnection.googleapis.com"


def gcp_resources(settings: Settings, patience: Patience = Patience()) -> tuple[Resource, ...]:
    """The resources of the target `gcp`; no I/O, and the variables that name them need not be set yet."""
    return (
        Bucket(settings, patience),
        Datasets(settings, patience),
        Connection(settings, patience),
        LakeGrant(settings, patience),
    )


# -- names and texts ----------------------------------------------------------------------------------------


def _bucket(target: GcpTarget) -> str:
    return f"bucket gs://{target.bucket}"


def _dataset(target: GcpTarget, layer: str) -> str:
    return f"dataset {target.project}.{layer}"


def _connection(target: GcpTarget) -> str:
    return f"connection {target.connection_name}"


def _parent(target: GcpTarget) -> str:
    return f"projects/{target.project}/locations/{target.location.lower()}"


def _grant(target: GcpTarget) -> Change:
    """Named by the connection: its account is known only once it is there."""
    return Change("grant", _bucket(target), f"{' and '.join(ROLES)} to the service account of {_connection(target)}")


def _sweeping() -> str:
    return f"objects below {STAGING_FOLDER}/ are deleted after {STAGING_DAYS} day"


def _labels() -> str:
    return "labels " + ", ".join(f"{key}={value}" for key, value in LABELS.items())


# -- comparing ----------------------------------------------------------------------------------------------


def _access_drift(bucket: "storage.Bucket") -> tuple[str, ...]:
    access = bucket.iam_configuration
    wanted = (
        (access.uniform_bucket_level_access_enabled, "uniform bucket-level access"),
        (access.public_access_prevention == ENFORCED, f"public access prevention {ENFORCED}"),
        (bucket.labels.items() >= LABELS.items(), _labels()),
        (SWEPT in map(dict, bucket.lifecycle_rules), _sweeping()),
    )
    return tuple(detail for holds, detail in wanted if not holds)


def _set_access(bucket: "storage.Bucket") -> None:
    bucket.iam_configuration.uniform_bucket_level_access_enabled = True
    bucket.iam_configuration.public_access_prevention = ENFORCED
    bucket.labels = {**bucket.labels, **LABELS}
    if SWEPT not in map(dict, bucket.lifecycle_rules):
        bucket.add_lifecycle_delete_rule(age=STAGING_DAYS, matches_prefix=[f"{STAGING_FOLDER}/"])


def _same_location(what: str, actual: str, target: GcpTarget, elsewhere: str) -> None:
    if actual.upper() != target.location.upper():
        raise LakeError(
            f"{what} is in {actual.upper()}, not in {target.location.upper()}, and a location cannot be changed: "
            f"set LAKEGRAPH_GCP_LOCATION to {actual}, or {elsewhere}; it is left alone"
        )


def _service_account(client: "ConnectionServiceClient", target: GcpTarget) -> str | None:
    """The account of the connection; None without a connection.

    Raises:
        LakeError: it is a connection of another type.
    """
    from google.api_core.exceptions import NotFound

    try:
        found: BigLakeConnection = client.get_connection(name=f"{_parent(target)}/connections/{target.connection}")
    except NotFound:
        return None
    if "cloud_resource" not in found:
        raise LakeError(
            f"{_connection(target)} is there, but not of the type CLOUD_RESOURCE: "
            "set LAKEGRAPH_GCP_CONNECTION to another id; it is left alone"
        )
    return str(found.cloud_resource.service_account_id)


def _grants(binding: Mapping[str, Any], role: str, member: str) -> bool:
    """Whether the binding grants the role to `member` always; under a condition it may not."""
    return binding["role"] == role and member in binding["members"] and not binding.get("condition")


# -- errors and attempts ------------------------------------------------------------------------------------


def _not_ours(target: GcpTarget, error: Any) -> Exception:
    if _api_disabled(error):
        return error  # type: ignore[no-any-return] # says nothing about the bucket
    return LakeError(
        f"{_bucket(target)} is not accessible ({' '.join(str(error.message).split())}): names of buckets are global "
        "and this one may be somebody else's, then set LAKEGRAPH_GCP_BUCKET to another name; if it is yours, ask for "
        "the roles in docs/gcp.md"
    )


def _busy(patience: Patience) -> Any:
    """The libraries' own retries (503 and the like), for no longer than we have patience."""
    from google.cloud.storage.retry import DEFAULT_RETRY

    return DEFAULT_RETRY.with_timeout(patience.seconds)


def _api_disabled(error: BaseException) -> bool:
    """Whether a 403 says that the API is not enabled, which it also says for minutes after it was."""
    from google.api_core.exceptions import Forbidden

    if not isinstance(error, Forbidden):
        return False
    reasons = {error.reason, *(e.get("reason") for e in error.errors if isinstance(e, dict))}
    text = str(error)
    return bool(reasons & {"SERVICE_DISABLED", "accessNotConfigured"}) or "has not been used in project" in text


def _lost_a_race(error: BaseException) -> bool:
    """Whether somebody else has created (409) or changed (412) it between our read and our write."""
    from google.api_core.exceptions import Conflict, PreconditionFailed

    return isinstance(error, Conflict | PreconditionFailed)


def _account_unknown(error: BaseException) -> bool:
    """Whether Cloud Storage does not know a new service account yet."""
    from google.api_core.exceptions import BadRequest

    return isinstance(error, BadRequest) and "ervice account" in str(error) and "does not exist" in str(error)


def _settled(what: str, target: GcpTarget, api: str, patience: Patience, attempt: Callable[[], T]) -> T:
    """What `attempt` returns, done again from its first read while what stops it may pass by itself.

    Args:
        what: the object, for messages.
        target: whose project the API is enabled in.
        api: the service's name, for the message that it is not enabled.
        patience: how long.
        attempt: reads, compares, writes.

    Raises:
        TransientError: it has not passed in time, but may.
        LakeError: it will not pass, or the API is not enabled.
    """
    from google.api_core.exceptions import RetryError
    from google.api_core.retry import Retry

    def may_pass(error: BaseException) -> bool:
        return _api_disabled(error) or _lost_a_race(error) or _account_unknown(error)

    patiently = Retry(
        predicate=may_pass, initial=patience.first_wait, maximum=15.0, multiplier=2.0, timeout=patience.seconds
    )
    with clear_errors(what):
        try:
            return patiently(attempt)()
        except RetryError as error:
            cause = error.cause
            if cause is None:
                raise
            if not may_pass(cause):
                raise cause from error  # the clients' own retries have ended: tell what for
            raise _out_of_patience(what, target, api, patience, cause) from cause


def _out_of_patience(what: str, target: GcpTarget, api: str, patience: Patience, cause: Exception) -> LakeError:
    waited = f"after {patience.seconds:.0f} s"
    if _api_disabled(cause):
        return LakeError(
            f"{what}: the API {api} is still not enabled {waited}: run `gcloud services enable {api} "
            f"--project {target.project}`"
        )
    if _account_unknown(cause):
        return TransientError(f"{what}: the connection's service account is still unknown {waited}; try again later")
    return TransientError(f"{what}: somebody else was faster each time, for {patience.seconds:.0f} s; try again later")
