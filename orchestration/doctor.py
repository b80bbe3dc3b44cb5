"""What this machine has, and what it lacks: the findings behind `lakegraph doctor`.

What belongs here: one small examination after another, each with a remedy. What does not: repairing.
"""

import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import get_args

from dlt_sources.files import redact
from dlt_sources.sales import database_of
from dlt_sources.shop import mongo_of
from dlt_sources.sql_tables import answer
from infra_assets import check_access, resources
from infra_assets.plan import plan_all
from infra_assets.starrocks.client import LEAST_RELEASE, StarRocks, is_too_old
from infra_assets.superset.client import connect
from lake.errors import LakeError, one_line
from lake.settings import Endpoint, Settings, Target

PYTHONS = (3, 11), (3, 14)
PACKAGES = (
    "dagster",
    "dagster-webserver",
    "dagster-dbt",
    "dlt",
    "dbt-core",
    "dbt-duckdb",
    "duckdb",
    "pyiceberg",
    "pyarrow",
)
FREE_BYTES = 2 << 30
SOURCES: tuple[Endpoint, ...] = tuple(name for name in get_args(Endpoint) if name != "starrocks")


@dataclass(frozen=True)
class Finding:
    """One thing: whether it is there, whether it must be, and what to do if not."""

    name: str
    ok: bool
    detail: str
    needed: bool = True


def examine(settings: Settings, emulator: Callable[[], tuple[bool, str]] | None = None) -> list[Finding]:
    """All findings, those that are needed first.

    Args:
        settings: whose home and sources are looked at.
        emulator: says whether the BigQuery emulator could be started, and with what; left out if None.
    """
    return [
        _python(),
        *map(_package, PACKAGES),
        _home(settings),
        _disk(settings),
        *_sources(settings),
        *_TARGETS[settings.target](settings),
        _starrocks(settings),
        _superset(settings),
        _browser(),
        *([Finding("bigquery emulator", *emulator(), needed=False)] if emulator else []),
    ]


def _python() -> Finding:
    low, high = PYTHONS
    ok = low <= sys.version_info[:2] < high
    return Finding(
        "python",
        ok,
        f"{sys.version.split()[0]}" if ok else f"{sys.version.split()[0]}; install Python 3.11, 3.12 or 3.13",
    )


def _package(name: str) -> Finding:
    try:
        return Finding(name, True, version(name))
    except PackageNotFoundError:
        return Finding(name, False, "not installed; run `make setup`")


def _home(settings: Settings) -> Finding:
    existing = next(p for p in (settings.home, *settings.home.parents) if p.exists())
    ok = existing.is_dir() and os.access(existing, os.W_OK)
    return Finding(
        "LAKEGRAPH_HOME",
        ok,
        str(settings.home) if ok else f"{existing} cannot be written; set LAKEGRAPH_HOME to a folder of yours",
    )


def _disk(settings: Settings) -> Finding:
    existing = next(p for p in (settings.home, *settings.home.parents) if p.exists())
    free = shutil.disk_usage(existing).free
    return Finding(
        "disk",
        free > FREE_BYTES,
        f"{free / 2**30:.0f} GiB free" + ("" if free > FREE_BYTES else "; free 2 GiB"),
    )


def _sources(settings: Settings) -> list[Finding]:
    findings = []
    for name in SOURCES:
        try:
            where = mongo_of(settings).hosts if name == "shop_mongodb" else redact(settings.endpoint(name))
            if name == "sales_database":
                answer(database_of(settings))
            findings.append(Finding(name, True, where))
        except LakeError as error:
            needed = settings.sources == "sandbox" or not name.startswith("shop_")  # who has no shop needs none
            findings.append(Finding(name, False, str(error).removeprefix(f"{name}: "), needed))
    return findings


def _starrocks(settings: Settings) -> Finding:
    """Where gold is served; without it, it is exported and registered nowhere."""
    name = "starrocks"
    try:
        server = StarRocks.from_settings(settings)
        ((version,),) = server.query("SELECT current_version()")
    except LakeError as error:
        return Finding(name, False, str(error).removeprefix(f"{name}: "), needed=False)
    if is_too_old(version):
        least = ".".join(map(str, LEAST_RELEASE))
        return Finding(
            name, False, f"{server.address}, version {version}; {least} is the least that works", needed=False
        )
    return Finding(name, True, f"{server.address}, version {version}")


def _superset(settings: Settings) -> Finding:
    """Where dashboards are imported; without it, they are files."""
    name = "superset"
    try:
        with connect(settings):
            pass
    except LakeError as error:
        return Finding(name, False, one_line(error).removeprefix(f"{name}: "), needed=False)
    return Finding(name, True, settings.superset().url)


def _embedded(_settings: Settings) -> list[Finding]:
    return []


def _cloud(settings: Settings) -> list[Finding]:
    """The adapter, the variables, access, and the infrastructure; each rests on those before it."""
    findings = [_package("dbt-bigquery")]
    try:
        target = settings.gcp()
        findings.append(Finding("project", True, f"{target.project}, {target.location}, gs://{target.bucket}"))
        check_access(settings)
        findings.append(Finding("google cloud", True, "answers, and takes the credentials"))
        changes = plan_all(resources(settings))
    except LakeError as error:
        return [*findings, Finding("google cloud", False, str(error))]
    missing = f"{len(changes)} changes to make; run `lakegraph infra apply`"
    return [*findings, Finding("infrastructure", not changes, missing if changes else "as declared", needed=False)]


_TARGETS: Mapping[Target, Callable[[Settings], list[Finding]]] = {"local": _embedded, "gcp": _cloud}


def _browser() -> Finding:
    found = next((path for path in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if path), None)
    return Finding(
        "browser",
        bool(found),
        found or "for screenshots and browser tests: apt-get install chromium",
        needed=False,
    )
