"""Everything that can be set from outside, in one frozen object read from `LAKEGRAPH_*` environment
variables.

What belongs here: settings, their defaults, and the folder layout under `LAKEGRAPH_HOME`. What does not: I/O
at import, and any default that reaches a live system unasked: the default sources are the loopback sandbox.

Maps keyed by `Target` or `Sources` are exhaustive: a missing entry raises `KeyError`; nothing falls back to
production.
"""

import json
from functools import lru_cache
from pathlib import Path
from typing import Literal, get_args

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from lake.errors import LakeError

Target = Literal["local", "gcp"]
Sources = Literal["sandbox", "live"]

LIVE_ENDPOINTS = {
    "tlc_base": "https://d37ci6vzurychx.cloudfront.net",
    "users_api": "https://jsonplaceholder.typicode.com",
}
TARGETS: tuple[Target, ...] = get_args(Target)


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
    http_timeout_seconds: float = Field(30.0, gt=0, description="Timeout of one HTTP request.")
    http_attempts: int = Field(4, ge=1, description="Attempts of one HTTP request before it fails.")
    duckdb_memory_limit: str = Field("750MB", description="DuckDB's memory limit in each process.")
    alert_webhook: SecretStr | None = Field(None, description="URL that receives a JSON POST for each failure.")
    alert_smtp: SecretStr | None = Field(None, description="smtp://[user:password@]host:port of the mail server.")
    alert_mail_from: str = Field("lakegraph@localhost", description="Sender of alert mails.")
    alert_mail_to: str | None = Field(None, description="Recipients of alert mails, separated by commas.")
    ui_url: str = Field("http://127.0.0.1:3000", description="Where the Dagster UI is, for links in alerts.")

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
    def sandbox_home(self) -> Path:
        """Generated sample sources and the stand-ins' state."""
        return self.home / "sandbox"

    @property
    def endpoints_file(self) -> Path:
        """JSON object written by the running sandbox: setting name → URL."""
        return self.sandbox_home / "endpoints.json"

    def endpoint(self, name: Literal["tlc_base", "users_api"]) -> str:
        """The URL (or folder) of a source system.

        An explicit setting wins; else `sources` decides: the running sandbox or the live system.

        Raises:
            LakeError: the sandbox is asked for and does not run.
        """
        explicit: str | None = getattr(self, name)
        if explicit:
            return explicit.rstrip("/")
        if self.sources == "live":
            return LIVE_ENDPOINTS[name]
        try:
            running: dict[str, str] = json.loads(self.endpoints_file.read_text())
            return running[name]
        except (FileNotFoundError, KeyError):
            hint = f"start it with `lakegraph sandbox up`, or set LAKEGRAPH_{name.upper()} or LAKEGRAPH_SOURCES=live"
            raise LakeError(f"{name}: the sandbox is not running under {self.home}; {hint}") from None


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
