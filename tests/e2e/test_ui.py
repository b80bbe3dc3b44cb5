"""The running user interface on a home that was materialised: the whole lineage, and an asset's page."""

import json
import re
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from browser import NEEDS_CHROMIUM, screenshot
from homes import Demo

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.xdist_group("e2e-demo"),
    NEEDS_CHROMIUM,
]

GREEN = ("bronze", "mobility", "green_trips")
HIGHEST = 16_000  # a page of Chromium's is painted no higher than 16,384
LEVELS = re.compile(r"\b(WARNING|ERROR|CRITICAL)\b|Traceback \(most recent call last\)")


@dataclass(frozen=True)
class Ui:
    """The interface: its address, its log, a page, and where pictures go."""

    url: str
    log: Path
    page: Any
    pictures: Path

    def ask(self, query: str) -> Any:
        """GraphQL, as the page itself asks."""
        body = json.dumps({"query": query}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", body, {"Content-Type": "application/json"})  # noqa: S310
        with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310 - loopback
            answer = json.load(response)
        assert "errors" not in answer, answer
        return answer["data"]

    def open(self, address: str) -> None:
        self.page.goto(address, wait_until="domcontentloaded", timeout=90_000)

    def unroll(self, rows: int) -> None:
        """Make the window high enough for that many nodes in all columns: the page draws what is in sight."""
        self.page.set_viewport_size({"width": 5_000, "height": rows * 200})

    def unroll_list(self, rows: int) -> None:
        """Make it high enough for a list of that many, and no larger: all of it is painted without a graphics card."""
        self.page.set_viewport_size({"width": 1_600, "height": 1_000 + rows * 100})

    def picture(self, name: str) -> None:
        size = self.page.viewport_size or {"width": 5_000, "height": HIGHEST}
        self.page.set_viewport_size({"width": size["width"], "height": min(size["height"], HIGHEST)})
        self.page.screenshot(path=str(self.pictures / f"{name}.png"))


@pytest.fixture(scope="module")
def ui(demo: Demo, tmp_path_factory) -> Iterator[Ui]:
    pictures = tmp_path_factory.mktemp("ui")
    log = pictures / "dev.log"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in demo.home.variables.items():
            patch.setenv(name, value)
        with screenshot.dagster_dev(log, demo.home.path) as url, screenshot.browser_page() as page:
            yield Ui(url, log, page, pictures)


def test_the_code_location_loads_without_an_error(ui: Ui):
    workspace = ui.ask("""{ workspaceOrError { __typename ... on Workspace { locationEntries { name loadStatus
        locationOrLoadError { __typename ... on PythonError { message } } } } } }""")["workspaceOrError"]
    assert workspace["__typename"] == "Workspace"
    (location,) = workspace["locationEntries"]
    assert location == {
        "name": "lakegraph",
        "loadStatus": "LOADED",
        "locationOrLoadError": {"__typename": "RepositoryLocation"},
    }


def test_the_groups_list_every_asset(ui: Ui, here, demo: Demo):
    listed = {line.split()[0] for line in here(demo.home, "assets").out.splitlines()}
    nodes = ui.ask(
        "{ assetNodes { assetKey { path } groupName isMaterializable assetMaterializations(limit: 1) { runId } } }"
    )
    keys = {"/".join(node["assetKey"]["path"]): node for node in nodes["assetNodes"]}
    assert keys.keys() == listed
    # The run of the command line is in the instance the page reads; its months hold no hour of the shop's day, and no
    # StarRocks and no Superset is set.
    made = {key for key, node in keys.items() if node["assetMaterializations"]}
    assert made == listed & set(re.findall(r"^│ (\S+)", demo.summary.out, re.MULTILINE))
    assert {key.split("/")[1] for key in made} == {
        "folders",
        "iceberg_namespaces",
        "duckdb_schemas",
        "mobility",
        "membership",  # the list of its folder, which is empty
        "exports",
        "duckdb",
        "kpi_report",
        "maintenance",
    }
    groups: dict[str, list[str]] = {}
    for key, node in keys.items():
        groups.setdefault(node["groupName"], []).append(key.replace("/", " / "))
    assert groups.keys() == set(screenshot.GROUPS)
    for group, names in groups.items():
        ui.unroll_list(len(names))
        ui.open(f"{ui.url}/locations/__repository__@lakegraph/asset-groups/{group}/list")
        for name in names:
            ui.page.get_by_text(name, exact=True).first.wait_for(state="attached", timeout=90_000)
        assert_no_error(ui)


def test_the_lineage_is_drawn_with_every_asset(ui: Ui):
    nodes = ui.ask("{ assetNodes { assetKey { path } } }")["assetNodes"]
    names = Counter(node["assetKey"]["path"][-1] for node in nodes)  # an export and its table in StarRocks share one
    ui.unroll(len(nodes))
    ui.open(screenshot.lineage_url(ui.url))
    try:
        for group in screenshot.GROUPS:
            ui.page.get_by_text(group, exact=True).first.wait_for(state="attached", timeout=90_000)
        for name, times in names.items():
            nodes_of_it = ui.page.locator(f'[data-tooltip="{name}"]')  # whose text is cut where it is long
            nodes_of_it.nth(times - 1).wait_for(state="attached", timeout=90_000)
    finally:
        ui.picture("lineage")
    assert_no_error(ui)


def assert_no_error(ui: Ui) -> None:
    """No error banner, toast or dialog on the page."""
    assert (
        ui.page.get_by_text(re.compile("An error occurred|Failed to load|Unexpected GraphQL", re.IGNORECASE)).count()
        == 0
    )
    # The page's own route announcer is an alert too: it reads out the title.
    alerts = ui.page.locator("[role=alert], [data-testid*=error]").all_inner_texts()
    assert [text for text in alerts if re.search("error|fail", text, re.IGNORECASE)] == []


@pytest.mark.parametrize(
    ("view", "texts", "picture"),
    [
        ("overview", ("lpep_pickup_datetime", "congestion_surcharge", "source_month"), "columns"),
        ("checks", ("row_accounting", "schema_drift", "source_freshness"), "checks"),
    ],
    ids=["columns", "checks"],
)
def test_an_asset_page_shows_its_columns_and_checks(ui: Ui, view: str, texts: tuple[str, ...], picture: str):
    ui.open(f"{ui.url}/assets/{'/'.join(GREEN)}?view={view}")
    try:
        for text in texts:
            ui.page.get_by_text(text, exact=True).first.wait_for(timeout=90_000)
    finally:
        ui.picture(picture)
    assert_no_error(ui)


def test_the_log_has_no_warning_of_ours(ui: Ui):
    lines = [line for line in ui.log.read_text(errors="replace").splitlines() if LEVELS.search(line)]
    assert [line for line in lines if "SupersessionWarning" not in line] == []
