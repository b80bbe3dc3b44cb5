"""Runs on the target gcp fail in several ways, and what they leave behind and print holds no secret.

The canaries: parts of the service account's key, the mail server's password, user, password and signature of a URL.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import gcp
import pytest

from sandbox.gcp import GcpStandIn, write_key
from sandbox.server import SandboxServer

LAKEGRAPH = Path(sys.executable).with_name("lakegraph")
PROJECT = Path(__file__).parents[2]
CANARIES = tuple(f"canary{word}7f3a" for word in ("keyid", "clientid", "mailword", "urluser", "urlword", "signature"))
KEY_ID, CLIENT_ID, MAIL, USER, WORD, SIGNATURE = CANARIES


def plant(key: Path, target: Path) -> Path:
    """The key with canaries in it; its other secret is the private key."""
    content = json.loads(key.read_text()) | {"private_key_id": KEY_ID, "client_id": CLIENT_ID}
    target.write_text(json.dumps(content))
    return target


@dataclass
class Place:
    """A home, the variables of the command with every canary in them, and all it has printed."""

    home: Path
    env: dict[str, str]
    private: str
    printed: str = ""

    def run(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [LAKEGRAPH, *arguments],
            env=self.env | more,
            cwd=self.home.parent,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        self.printed += done.stdout + done.stderr
        return done

    def leaks(self) -> list[str]:
        """Where a canary is, as `canary in file`; stand-ins' own files are the other side of the wire."""
        sandbox = self.home / "sandbox"
        folders = (self.home, PROJECT / "dbt_project" / "target", PROJECT / "dbt_project" / "logs")
        files = [f for folder in folders for f in folder.rglob("*") if f.is_file() and sandbox not in f.parents]
        harmless = self.env["LAKEGRAPH_GCP_PROJECT"].encode()
        assert any(f.suffix == ".db" and harmless in f.read_bytes() for f in files), "what is no secret is found"
        words = [word.encode() for word in (*CANARIES, self.private)]
        found = [f"{w.decode()} in {f}" for f in files for w in words if w in f.read_bytes()]
        return [*found, *(f"{w.decode()} in the output" for w in words if w in self.printed.encode())]


def place(home: Path, variables: dict[str, str], tlc_base: str) -> Place:
    key = plant(Path(variables["GOOGLE_APPLICATION_CREDENTIALS"]), home.parent / "planted.json")
    parts = urlsplit(tlc_base)
    own = {
        "LAKEGRAPH_HOME": str(home),
        "GOOGLE_APPLICATION_CREDENTIALS": str(key),
        "LAKEGRAPH_ALERT_SMTP": f"smtp://robot:{MAIL}@127.0.0.1:9",
        "LAKEGRAPH_ALERT_MAIL_TO": "team@example.org",
        "LAKEGRAPH_TLC_BASE": f"http://{USER}:{WORD}@{parts.netloc}{parts.path}?sig={SIGNATURE}",
        "LAKEGRAPH_HTTP_ATTEMPTS": "1",
        "DAGSTER_DISABLE_TELEMETRY": "1",
        "RUNTIME__DLTHUB_TELEMETRY": "false",
    }
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("LAKEGRAPH_", "DAGSTER_", "DBT_"))}
    private = json.loads(key.read_text())["private_key"].splitlines()[5]
    return Place(home, kept | variables | own, private)


@pytest.fixture
def refusing(tmp_path: Path) -> Iterator[tuple[Place, GcpStandIn]]:
    """Infrastructure alone, whose stand-in fails as it is told to."""
    home = tmp_path / "home"
    with GcpStandIn(tmp_path / "gcp") as cloud, SandboxServer(tmp_path) as server:
        variables = {
            "LAKEGRAPH_TARGET": "gcp",
            "LAKEGRAPH_GCP_PROJECT": "a-project",
            "LAKEGRAPH_GCP_BUCKET": "a-lake",
            "LAKEGRAPH_GCP_CONNECTION_ENDPOINT": cloud.url,
            "STORAGE_EMULATOR_HOST": cloud.url,
            "BIGQUERY_EMULATOR_HOST": cloud.url,
            "LAKEGRAPH_USERS_API": server.users_api,
            "GOOGLE_APPLICATION_CREDENTIALS": str(write_key(tmp_path / "key.json", cloud.url)),
        }
        yield place(home, variables, server.tlc_base), cloud


@pytest.mark.slow
def test_a_refused_grant_tells_no_secret(refusing: tuple[Place, GcpStandIn]) -> None:
    here, cloud = refusing
    cloud.inject("PUT", r"/b/a-lake/iam$", 403, "no storage.buckets.setIamPolicy", reason="forbidden", times=9)
    done = here.run("materialize", "--select", "infra/*", "--no-publish", "--verbose")
    assert done.returncode == 1
    assert "storage.buckets.setIamPolicy" in done.stderr
    assert here.leaks() == []


@pytest.mark.gcp
@pytest.mark.slow
def test_failures_of_loads_and_models_tell_no_secret(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with gcp.running(home) as variables:
        endpoints = json.loads((home / "sandbox" / "endpoints.json").read_text())
        here = place(home, variables, endpoints["tlc_base"])
        good = here.run("materialize", "--select", "bronze/mobility/users bronze/mobility/taxi_zones", "--no-publish")
        assert good.returncode == 0, good.stderr

        missing = here.run("materialize", "--select", "bronze/mobility/green_trips", "--partition", "2023-07")
        assert missing.returncode == 1
        assert "green_tripdata_2023-07.parquet: not there" in missing.stderr.splitlines()[0]

        dear = {"LAKEGRAPH_GCP_MAXIMUM_BYTES_BILLED": "1"}
        refused = here.run("materialize", "--select", "silver/mobility/users", "--no-publish", "--verbose", **dear)
        assert refused.returncode == 1
        assert "limit for bytes billed" in refused.stderr

        assert here.run("doctor").returncode in {0, 1}
        assert here.leaks() == []
