"""Everything that can be set from outside, in one frozen object read from `LAKEGRAPH_*` environment
variables.

What belongs here: settings, their defaults, and the folder layout under `LAKEGRAPH_HOME`. What does not: I/O
at import, and any default that reaches a live system unasked: the default sources are the loopback sandbox.

Maps keyed by `Target` or `Sources` are exhaustive: a missing entry raises `KeyError`; nothing falls back to
production.
"""

import json
import os
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from lake.errors import LakeError, NotConfiguredError

Target = Literal["local", "gcp"]
Sources = Literal["sandbox", "live"]

READERS = "bi"  # the database of StarRocks that readers look in

Endpoint = Literal[
    "tlc_base", "users_api", "shop_mongodb", "shop_s3", "membership_folder", "sales_database", "starrocks"
]

AWS_S3 = "https://s3.amazonaws.com"  # stands for AWS itself: the region's own endpoint is the client's to find
LIVE_ENDPOINTS: dict[Endpoint, str | None] = {
    "tlc_base": "https://d37ci6vzurychx.cloudfront.net",
    "users_api": "https://jsonplaceholder.typicode.com",
    "shop_mongodb": None,
    "shop_s3": AWS_S3,
    "membership_folder": None,
    "sales_database": None,
    "starrocks": None,
}
BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]")
PROJECT = re.compile(r"[a-z][a-z0-9-]{4,28}[a-z0-9]")
LOCATION = re.compile(r"[A-Za-z]+(-[a-z]+[0-9]+)?")
CONNECTION = re.compile(r"[A-Za-z0-9_-]{1,100}")
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
TARGETS: tuple[Target, ...] = get_args(Target)
CREDENTIALS_OF = {  # addresses that are shown, and where what is secret of them is set
    "superset_url": "LAKEGRAPH_SUPERSET_USER and LAKEGRAPH_SUPERSET_PASSWORD",
    "starrocks_catalog_uri": "LAKEGRAPH_STARROCKS_CATALOG_PROPERTIES",
}
SUPERSET_ADMIN = "admin"  # of the Superset that runs here


@dataclass(frozen=True)
class GcpTarget:
    """Where the tables of the target `gcp` live; every part is set and well-formed.

    Attributes:
        project: id of the Google Cloud project.
        location: of datasets, bucket and connection: a multi-region (`US`) or a region (`europe-west1`).
        bucket: name of the bucket, without `gs://`.
        connection: id of the BigLake connection.
        connection_endpoint: URL of a stand-in for the Connection API; None for the real one.
    """

    project: str
    location: str
    bucket: str
    connection: str
    connection_endpoint: str | None

    @property
    def connection_name(self) -> str:
        """The connection as SQL names it: `project.location.id`."""
        return f"{self.project}.{self.location.lower()}.{self.connection}"

    @property
    def lake_uri(self) -> str:
        """Folder of the Parquet files of all layers: `gs://<bucket>/lake`."""
        return f"gs://{self.bucket}/lake"


@dataclass(frozen=True)
class SupersetServer:
    """The Superset that shows gold; every part is set.

    Attributes:
        url: where it is, without a slash at its end.
        user: who imports.
        password: that user's.
        token: what `/health` of the one that was started here answers with; None if it is another's.
    """

    url: str
    user: str
    password: SecretStr
    token: str | None = None


class Settings(BaseSettings):
    """One run's settings. Environment variables: the field's name in upper case after `LAKEGRAPH_`."""

    model_config = SettingsConfigDict(env_prefix="LAKEGRAPH_", frozen=True, extra="ignore", env_ignore_empty=True)

    target: Target = Field("local", description="Where the tables live: embedded engines, or Google Cloud.")
    sources: Sources = Field("sandbox", description="Which systems are read: loopback stand-ins, or the live ones.")
    home: Path = Field(Path("data"), description="The folder that holds all state.")
    tlc_base: str | None = Field(
        None, repr=False, description="URL or folder of the TLC files (https, file, gs, s3, or a path)."
    )
    users_api: str | None = Field(None, repr=False, description="Base URL of the users API.")
    shop_mongodb: SecretStr | None = Field(
        None, description="Connection URI of the shop's MongoDB: mongodb://[user:password@]host[:port]/[?options]."
    )
    shop_s3: str | None = Field(
        None,
        repr=False,
        description="Endpoint URL of the shop's S3 (MinIO, say), with key:secret@ before the host if not those of the "
        "environment (AWS_*) are meant; unset and live, AWS itself.",
    )
    shop_bucket: str = Field("shop", description="The shop's bucket in S3.")
    shop_first_hour: datetime = Field(
        datetime(2023, 3, 31, tzinfo=UTC),
        description="First hour that the shop is loaded by, UTC, as in 2023-03-31-00:00; its load takes all that is "
        "older, too.",
    )
    shop_connect_timeout_seconds: float = Field(
        10.0, gt=0, description="How long the shop's MongoDB or S3 may take to take a connection."
    )
    shop_read_timeout_seconds: float = Field(
        60.0, gt=0, description="How long an answer of the shop's MongoDB or S3 may stall."
    )
    membership_folder: str | None = Field(
        None,
        repr=False,
        description="Folder that workbooks of the membership are dropped into (a path, file, s3, gs, or "
        "gdrive://FOLDER_ID).",
    )
    membership_zone: str = Field("Asia/Taipei", description="Time zone of the workbooks' times, and of their mornings.")
    membership_first_day: date = Field(
        date(2023, 3, 29),
        description="First day that workbooks are loaded by, as in 2023-03-29; its load takes all older ones, too.",
    )
    drive_key: Path | None = Field(
        None,
        description="Key file of the service account that reads Google Drive; unset, application default credentials.",
    )
    drive_endpoint: str | None = Field(
        None, description="URL of a stand-in for the Drive API; http on loopback alone; unset, the real one."
    )
    sales_database: SecretStr | None = Field(
        None,
        description="SQLAlchemy URL of the sales' database: postgresql://user:password@host/name, "
        "oracle+oracledb://user:password@host/?service_name=NAME, sqlite:////path.",
    )
    sales_schema: str | None = Field(None, description="Schema of the sales' tables; unset, the user's own.")
    sales_first_day: date = Field(
        date(2023, 3, 29),
        description="First day (UTC) that the sales are loaded by, as in 2023-03-29; its load takes all that is older, "
        "too.",
    )
    sales_connect_timeout_seconds: float = Field(
        10.0, gt=0, description="How long the sales' database may take to take a connection, or to give up a lock."
    )
    sales_statement_timeout_seconds: float = Field(
        600.0, gt=0, description="How long a statement may run in the sales' database."
    )
    starrocks: SecretStr | None = Field(
        None, description="StarRocks, where gold is served: mysql://user:password@host:9030, with ?tls=true for TLS."
    )
    starrocks_database: str = Field("gold", description="StarRocks' database that the exported tables are in.")
    starrocks_properties: dict[str, SecretStr] = Field(
        default_factory=dict,
        description="How StarRocks gets at the exported files, if not as the machine's own account: a JSON object of "
        'its properties, as in {"aws.s3.endpoint": …}.',
    )
    starrocks_catalog: str = Field("lakegraph", description="StarRocks' name of the Iceberg catalog.")
    starrocks_catalog_uri: str | None = Field(
        None, description="Iceberg REST service, for tables that are served from a catalog and not from exports."
    )
    starrocks_catalog_properties: dict[str, SecretStr] = Field(
        default_factory=dict, description="What StarRocks needs to get at that service: a JSON object of properties."
    )
    starrocks_connect_timeout_seconds: float = Field(
        10.0, gt=0, description="How long StarRocks may take to take a connection."
    )
    starrocks_read_timeout_seconds: float = Field(
        60.0, gt=0, description="How long an answer of StarRocks may stall, and a query may run."
    )
    starrocks_refresh_timeout_seconds: float = Field(
        1800.0, gt=0, description="How long the refresh of a materialised view of StarRocks may run."
    )
    http_timeout_seconds: float = Field(30.0, gt=0, description="Timeout of one HTTP request.")
    http_attempts: int = Field(4, ge=1, description="Attempts of one request to a source before it fails.")
    export_keep_days: int = Field(
        7, ge=1, description="Days that an exported snapshot stays after another has taken its place."
    )
    duckdb_memory_limit: str = Field("750MB", description="DuckDB's memory limit in each process.")
    gcp_project: str | None = Field(None, description="Google Cloud project; GOOGLE_CLOUD_PROJECT is taken too.")
    gcp_location: str = Field("US", description="Location of datasets, bucket and connection.")
    gcp_bucket: str | None = Field(None, description="GCS bucket that holds the lake; names are global.")
    gcp_connection: str = Field("lakegraph", description="Id of the BigLake cloud-resource connection.")
    gcp_connection_endpoint: str | None = Field(
        None, description="URL of a stand-in for the BigQuery Connection API; unset, the real one is called by gRPC."
    )
    gcp_maximum_bytes_billed: int = Field(
        100 * 10**9, gt=0, description="A BigQuery job that would be billed for more bytes than this is refused."
    )
    gcp_run_budget_bytes: int = Field(
        10 * 10**9,
        gt=0,
        description="Bytes that one model may scan in a run, by BigQuery's estimate, before a check fails.",
    )
    gcp_expiration_days: int | None = Field(
        None, gt=0, description="Default expiration of new tables, in days; unset, tables stay."
    )
    alert_webhook: SecretStr | None = Field(None, description="URL that receives a JSON POST for each failure.")
    alert_smtp: SecretStr | None = Field(None, description="smtp://[user:password@]host:port of the mail server.")
    alert_mail_from: str = Field("lakegraph@localhost", description="Sender of alert mails.")
    alert_mail_to: str | None = Field(None, description="Recipients of alert mails, separated by commas.")
    superset_url: str | None = Field(
        None, description="URL of the Superset that shows gold; unset, the one that `lakegraph superset up` started."
    )
    superset_user: str = Field(
        SUPERSET_ADMIN, description="Who imports dashboards into the Superset of LAKEGRAPH_SUPERSET_URL."
    )
    superset_password: SecretStr | None = Field(
        None, description="That user's password; the user and password of the one that was started here are known."
    )
    superset_database: SecretStr | None = Field(
        None,
        description="SQLAlchemy URI under which Superset reads gold, as in starrocks://host:9030/default_catalog.bi; "
        "unset, the published DuckDB copy.",
    )
    ui_url: str = Field("http://127.0.0.1:3000", description="Where the Dagster UI is, for links in alerts.")

    @field_validator("gcp_bucket", "shop_bucket")
    @classmethod
    def _bucket_name(cls, value: str | None) -> str | None:
        if value is not None and not BUCKET.fullmatch(value):
            raise ValueError("is not a bucket name: 3 to 63 lower-case letters, digits, dashes, dots and underscores")
        return value

    @field_validator("shop_first_hour", mode="before")
    @classmethod
    def _hour(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return datetime.strptime(value, "%Y-%m-%d-%H:00").replace(tzinfo=UTC)
        except ValueError:
            raise ValueError("is not an hour like 2023-03-31-00:00") from None

    @field_validator("membership_first_day")
    @classmethod
    def _first_day(cls, value: date, others: ValidationInfo) -> date:
        if value > datetime.now(ZoneInfo(others.data.get("membership_zone", "UTC"))).date():
            raise ValueError("is in the future: there would be no day to load")
        return value

    @field_validator("sales_first_day")
    @classmethod
    def _first_day_over(cls, value: date) -> date:
        if value >= datetime.now(UTC).date():
            raise ValueError("is not over yet: there would be no day to load")
        return value

    @field_validator("membership_zone")
    @classmethod
    def _zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ValueError, ZoneInfoNotFoundError, OSError):
            raise ValueError("is not a time zone like Asia/Taipei") from None
        return value

    @field_validator("gcp_connection")
    @classmethod
    def _connection_id(cls, value: str) -> str:
        if not CONNECTION.fullmatch(value):
            raise ValueError("is not a connection id: letters, digits, underscores and dashes")
        return value

    @field_validator("starrocks_database")
    @classmethod
    def _behind_readers(cls, value: str) -> str:
        if value.lower() == READERS:
            raise ValueError(f"is {READERS}, where readers look: a table and its view would have one name")
        return value

    @field_validator(*CREDENTIALS_OF)
    @classmethod
    def _web_address(cls, value: str | None, field: ValidationInfo) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("is not a URL: http:// or https://")
        if value is not None and "@" in urlsplit(value).netloc:
            raise ValueError(f"holds a user or password; set {CREDENTIALS_OF[str(field.field_name)]}")
        return value

    @field_validator("drive_key")
    @classmethod
    def _key_file(cls, value: Path | None) -> Path | None:
        return value and value.expanduser().absolute()

    @field_validator("drive_endpoint")
    @classmethod
    def _drive_address(cls, value: str | None) -> str | None:
        """An access token goes there with every request: never in clear text over a network."""
        if value is None:
            return None
        parts = urlsplit(value)
        if not parts.hostname or "@" in parts.netloc or parts.query or parts.fragment:
            raise ValueError("is not a URL like https://drive.example, without user, password and query")
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
            raise ValueError("is neither https, nor http on loopback")
        return value.rstrip("/")

    @field_validator("superset_database")
    @classmethod
    def _database_address(cls, value: SecretStr | None) -> SecretStr | None:
        try:
            scheme = value is None or urlsplit(value.get_secret_value()).scheme
        except ValueError:
            scheme = ""
        if not scheme:
            raise ValueError(
                "is not a URI like starrocks://user:password@host:9030/default_catalog.bi (%5B stands for [)"
            )
        return value

    @field_validator("home")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    # -- the folders under LAKEGRAPH_HOME
    # --------------------------------------------------------------------------

    @property
    def warehouse(self) -> Path:
        """Iceberg tables: `<namespace>/<table>/{data,metadata}`."""
        return self.home / "lake"

    @property
    def catalog_db(self) -> Path:
        """SQLite file of the Iceberg catalog."""
        return self.home / "lake" / "catalog.db"

    @property
    def duckdb_path(self) -> Path:
        """DuckDB file that dbt writes; one writer, private."""
        return self.home / "duckdb" / "work.duckdb"

    @property
    def published_path(self) -> Path:
        """DuckDB file that people read; replaced whole, never written in place."""
        return self.home / "duckdb" / "published.duckdb"

    @property
    def exports(self) -> Path:
        """Snapshots of gold as Parquet, on the embedded target."""
        return self.home / "exports"

    @property
    def staging(self) -> Path:
        """Downloads and files on their way into a table."""
        return self.home / "staging"

    @property
    def dlt_home(self) -> Path:
        """Dlt's working folders, one for each load."""
        return self.home / "dlt"

    @property
    def dbt_target(self) -> Path:
        """Dbt's artifacts."""
        return self.home / "dbt"

    @property
    def dagster_home(self) -> Path:
        """The Dagster instance: runs, events, schedules."""
        return self.home / "dagster"

    @property
    def reports(self) -> Path:
        """HTML reports."""
        return self.home / "reports"

    @property
    def superset_home(self) -> Path:
        """State of the Superset that `lakegraph superset up` starts."""
        return self.home / "superset"

    @property
    def superset_password_file(self) -> Path:
        """The password of that Superset's administrator; only its owner can read the file."""
        return self.superset_home / "admin_password"

    @property
    def sandbox_home(self) -> Path:
        """Generated sample sources and the stand-ins' state."""
        return self.home / "sandbox"

    @property
    def endpoints_file(self) -> Path:
        """JSON object written by the running sandbox: setting name → URL."""
        return self.sandbox_home / "endpoints.json"

    def endpoint(self, name: Endpoint) -> str:
        """The URL (or folder) of a source system, or of one that is served.

        An explicit setting wins; else `sources` decides: the running sandbox or the live system.

        Raises:
            NotConfiguredError: the sandbox is asked for and does not run, or the live system must be set and is not.
        """
        explicit: str | SecretStr | None = getattr(self, name)
        if isinstance(explicit, SecretStr):
            explicit = explicit.get_secret_value()
        if explicit:
            return explicit.rstrip("/")
        if self.sources == "live":
            if url := LIVE_ENDPOINTS[name]:
                return url
            raise NotConfiguredError(
                f"{name}: LAKEGRAPH_SOURCES is live, and there is no public one; set LAKEGRAPH_{name.upper()}"
            )
        try:
            return self._running()[name]
        except KeyError:
            hint = f"start it with `lakegraph sandbox up`, or set LAKEGRAPH_{name.upper()} or LAKEGRAPH_SOURCES=live"
            raise NotConfiguredError(f"{name}: the sandbox is not running under {self.home}; {hint}") from None

    def superset(self) -> SupersetServer:
        """Where dashboards are imported, and as whom: the Superset that is set, else the running one of this home.

        Raises:
            NotConfiguredError: none is set and none runs.
            LakeError: a password is missing.
        """
        if self.superset_url is None:
            return self._superset_here()
        if self.superset_password is None:
            raise LakeError(
                f"superset {self.superset_url}: no password; set LAKEGRAPH_SUPERSET_PASSWORD to that of its user"
            )
        return SupersetServer(self.superset_url.rstrip("/"), self.superset_user, self.superset_password)

    def _superset_here(self) -> SupersetServer:
        """The Superset that `lakegraph superset up` has started; the user and password of another are not its own."""
        url = self._running().get("superset_url")
        if url is None:
            raise NotConfiguredError(
                f"superset: none runs under {self.home}; start it with `lakegraph superset up`, or set "
                "LAKEGRAPH_SUPERSET_URL"
            )
        try:
            token = json.loads((self.sandbox_home / "superset.json").read_text())["token"]
            password = self.superset_password_file.read_text().strip()
        except FileNotFoundError as error:
            raise NotConfiguredError(
                f"superset {url}: {error.filename} is gone; start it again: `lakegraph superset down`, then `up`"
            ) from None
        return SupersetServer(url, SUPERSET_ADMIN, SecretStr(password), token)

    @property
    def superset_database_uri(self) -> SecretStr:
        """The SQLAlchemy URI under which Superset reads gold: as set, or of the published copy, read-only.

        Raises:
            NotConfiguredError: none is set, and the target publishes no copy.
        """
        if self.superset_database is not None:
            return self.superset_database
        if self.target != "local":
            raise NotConfiguredError(
                "superset: where it reads gold is not set; set LAKEGRAPH_SUPERSET_DATABASE, as in "
                "starrocks://user:password@host:9030/default_catalog.bi"
            )
        options = f"access_mode=read_only&memory_limit={self.duckdb_memory_limit}"
        return SecretStr(f"duckdb:///{self.published_path}?{options}")

    @property
    def superset_reads_starrocks(self) -> bool:
        """Whether Superset reads gold from StarRocks."""
        uri = self.superset_database.get_secret_value() if self.superset_database else ""
        return uri.startswith("starrocks")

    def _running(self) -> dict[str, str]:
        """The endpoints file: setting name → URL of what runs here."""
        try:
            running: dict[str, str] = json.loads(self.endpoints_file.read_text())
        except FileNotFoundError:
            return {}
        return running

    def gcp(self) -> GcpTarget:
        """The cloud's part of the settings.

        Raises:
            LakeError: a variable is missing or malformed; says which, and what to set it to.
        """
        project = self.gcp_project or os.environ.get("GOOGLE_CLOUD_PROJECT")
        wanted = (("LAKEGRAPH_GCP_PROJECT", project), ("LAKEGRAPH_GCP_BUCKET", self.gcp_bucket))
        if missing := [name for name, value in wanted if not value]:
            raise LakeError(
                f"target gcp: {' and '.join(missing)} not set; set them to the project and the bucket that hold the "
                "lake (docs/gcp.md), or for the stand-ins run `lakegraph sandbox up --target gcp`"
            )
        assert project and self.gcp_bucket  # noqa: S101, PT018 - just checked
        if not PROJECT.fullmatch(project):
            raise LakeError(
                f"target gcp: {project!r} is not a project id; set LAKEGRAPH_GCP_PROJECT to the id, not the name"
            )
        if not LOCATION.fullmatch(self.gcp_location):
            raise LakeError(f"target gcp: LAKEGRAPH_GCP_LOCATION {self.gcp_location!r} is neither US, EU nor a region")
        return GcpTarget(project, self.gcp_location, self.gcp_bucket, self.gcp_connection, self.gcp_connection_endpoint)


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The settings of this process, read once from the environment.

    Raises:
        LakeError: a variable has a value that it cannot have; the value is not repeated, it may be a secret.
    """
    try:
        return Settings()
    except ValidationError as error:
        wrong = (f"LAKEGRAPH_{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors(include_input=False))
        raise LakeError("; ".join(wrong)) from None
