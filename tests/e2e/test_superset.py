"""A real Superset with the dashboards over a small published file: import, the data, the pages in a browser.

The file is made by `gold`, so that nothing else has to run. Superset is installed into the project's `.venv-superset`
if it is not there yet. Screenshots of what was seen stay in `data/screenshots/` of the checkout.
"""

import json
import os
import re
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import gold
import httpx
import pytest
import yaml
from browser import NEEDS_CHROMIUM, screenshot
from command import Done, call
from pydantic import SecretStr

from infra_assets.starrocks.client import StarRocks
from infra_assets.starrocks.serve import declare, serve
from infra_assets.superset import bundle, validation
from infra_assets.superset.bundle import Tree
from infra_assets.superset.client import Superset, connect
from lake.errors import LakeError
from lake.exports import export
from lake.settings import Settings, get_settings
from orchestration.assets.superset import build_superset
from orchestration.served import served_tables
from sandbox import superset_server
from sandbox.starrocks import StarRocksStandIn

ROOT = Path(__file__).parents[2]
TREE = validation.load()
PICTURES = ROOT / "data" / "screenshots"
DEADLINE_MS = 90_000
STILL_SECONDS = 30.0
WIDTH, HEIGHT = 1_600, 4_650  # every chart in sight: the page asks only for those

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("superset")]
IN_A_BROWSER = [pytest.mark.browser, NEEDS_CHROMIUM]

SETTLED = """charts => {
    const seen = [...document.querySelectorAll('[data-test="chart-grid-component"]')].map(chart => {
        const of = selector => chart.querySelector(selector);
        const inks = [...chart.querySelectorAll('canvas')].map(canvas => {
            const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data, colors = new Set();
            for (let i = 0; i < pixels.length; i += 388) colors.add(pixels.slice(i, i + 3).join());
            return colors.size;
        });
        const error = of('[role=alert], .ant-alert-error, [data-test="error-message"], .ant-empty');
        const drawn = inks.some(colors => colors > 1) || of('tbody td:not(.dt-no-results)')
            || /\\d/.test(of('.header-line')?.innerText ?? '');
        const busy = of('[data-test="loading-indicator"], .loading');
        return {
            name: chart.dataset.testChartName,
            number: Number(chart.dataset.testChartId),
            state: error ? 'error' : drawn && !busy ? 'drawn' : 'busy',
            text: error?.innerText.slice(0, 300) ?? '',
        };
    });
    return seen.length === charts && seen.every(chart => chart.state !== 'busy') ? seen : null;
}"""


@dataclass
class Page:
    """A logged-in page, and what it was answered.

    Attributes:
        page: Playwright's.
        url: Superset's.
        data: each answer to a query of a chart: its number, the status, the rows with a value; what was asked,
            and in which SQL.
        errors: exceptions of the page's own scripts.
        foreign: answers of other servers.
    """

    page: Any
    url: str
    data: list[tuple[int, int, int, dict[str, Any], list[str]]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    def listen(self) -> None:
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("response", self._answered)

    def _answered(self, response: Any) -> None:
        if not response.url.startswith((self.url, "data:", "blob:")):
            self.foreign.append(response.url)
        if "/api/v1/chart/data" in response.url and response.request.method == "POST":
            asked = json.loads(response.request.post_data)
            number = asked.get("form_data", {}).get("slice_id")
            if number:  # without one, it is the list of a filter
                answers = response.json()["result"] if response.ok else [{"data": []}]
                rows = [filled(*one) for one in zip(asked["queries"], answers, strict=True)] if response.ok else [0]
                self.data.append((number, response.status, min(rows), asked, [one.get("query", "") for one in answers]))

    def log_in(self, user: str, password: str) -> None:
        self.page.goto(f"{self.url}/login/")
        self.page.locator("input#username").fill(user)
        self.page.locator("input#password").fill(password)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.wait_for_url("**/superset/welcome/", timeout=DEADLINE_MS)

    def look(self, tree: Tree, slug: str, picture: str, query: str = "") -> dict[str, int]:
        """Open a dashboard, keep its picture, and assert that every chart drew rows; chart → its number."""
        self.data.clear()
        self.page.goto(f"{self.url}/superset/dashboard/{slug}/{query}", wait_until="domcontentloaded")
        names = {chart.name for chart in tree.used(tree.dashboard(slug))[0]}
        try:
            settled = self.page.wait_for_function(SETTLED, arg=len(names), timeout=DEADLINE_MS).json_value()
        finally:
            self.picture(picture)
        titles = {one["number"]: one["name"] for one in settled}
        faults = [f"{one['name']}: {one['text']}" for one in settled if one["state"] != "drawn"]
        faults += [f"{titles.get(number)}: {status}, {rows} rows" for number, status, rows, *_ in self.data if rows < 1]
        if faults:
            raise AssertionError("; ".join(faults))
        assert set(titles.values()) == names
        assert {number for number, *_ in self.data} == titles.keys()
        return {name: number for number, name in titles.items()}

    def picture(self, name: str) -> None:
        """Keep the page once it stands still: charts are drawn in motion."""
        PICTURES.mkdir(parents=True, exist_ok=True)
        file, end, last = PICTURES / f"{name}.png", time.monotonic() + STILL_SECONDS, b""
        while (now := self.page.screenshot(path=str(file))) != last and time.monotonic() < end:
            last = now


def filled(query: dict[str, Any], answer: dict[str, Any]) -> int:
    """Rows that have a value beside what they are of: axes alone would be drawn, too."""
    of = {one if isinstance(one, str) else one["label"] for one in query["columns"]}
    values = [[value for name, value in row.items() if name not in of] for row in answer["data"]]
    return sum(not query.get("metrics") or any(value is not None for value in row) for row in values)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(home=tmp_path_factory.mktemp("superset"))


@pytest.fixture(scope="module")
def good(settings: Settings) -> Path:
    """The published file as it should be, kept aside."""
    path = settings.home / "kept" / "good.duckdb"
    gold.write(path)
    return path


@pytest.fixture(scope="module")
def server(settings: Settings, good: Path) -> Iterator[superset_server.Running]:
    try:
        superset_server.ensure()
    except LakeError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    swap_in(settings, good)
    settings.superset_home.mkdir()
    with closing(sqlite3.connect(settings.superset_home / "metadata.db")) as half:  # as a killed first start leaves it
        half.execute("CREATE TABLE dbs (id INTEGER)")
    with superset_server.running(settings) as running:
        yield running


@pytest.fixture(scope="module")
def superset(settings: Settings, server: superset_server.Running) -> Iterator[Superset]:
    """A session with the dashboards imported."""
    with connect(settings) as session:
        assert session.deploy(TREE).removed == ()
        yield session


@pytest.fixture(scope="module")
def page(settings: Settings, server: superset_server.Running, superset: Superset) -> Iterator[Page]:
    with screenshot.browser_page(WIDTH, HEIGHT) as opened:
        made = Page(opened, server.url)
        made.listen()
        made.log_in(server.user, settings.superset().password.get_secret_value())
        yield made


@pytest.fixture
def published(settings: Settings, good: Path) -> Iterator[Callable[[str], None]]:
    """Publish a copy on which a statement was run; afterwards, what was there before."""

    def publish(statement: str) -> None:
        changed = good.with_name("changed.duckdb")
        shutil.copy(good, changed)
        with duckdb.connect(str(changed)) as connection:
            connection.execute(statement)
        swap_in(settings, changed)

    yield publish
    swap_in(settings, good)


def swap_in(settings: Settings, file: Path) -> None:
    """As `lake.publish` does."""
    draft = settings.published_path.with_name(".publishing.duckdb")
    draft.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(file, draft)
    draft.replace(settings.published_path)


def expected(good: Path, sql: str) -> Any:
    with duckdb.connect(str(good), read_only=True) as connection:
        row = connection.execute(sql).fetchone()
        assert row is not None
        return row[0]


def everything(superset: Superset) -> dict[str, Any]:
    """All that an import writes, as Superset tells it, with the numbers that Superset gave."""
    kept: dict[str, Any] = {}
    for kind in ("dataset", "chart", "dashboard"):
        for row in superset.listed(kind, "id", "uuid"):
            whole = superset.ask(kind, "GET", f"/api/v1/{kind}/{row['id']}")["result"]
            if kind == "dataset":  # its columns and metrics are written anew, each time with the same content
                whole = {
                    **{key: whole[key] for key in ("extra", "table_name", "schema", "main_dttm_col", "description")},
                    "columns": sorted((c["column_name"], c["type"], c["verbose_name"]) for c in whole["columns"]),
                    "metrics": sorted((m["metric_name"], m["expression"], m["d3format"]) for m in whole["metrics"]),
                }
            kept[f"{kind} {row['uuid']}"] = (row["id"], without_times(whole))
    return kept


def without_times(whole: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in whole.items() if "changed_on" not in key and "humanized" not in key}


# -- the server
# ------------------------------------------------------------------------------------------------------------


def test_a_second_start_finds_it_running(settings: Settings, server: superset_server.Running):
    assert superset_server.up(settings, port=0) == server
    assert httpx.get(f"{server.url}/health", trust_env=False).status_code == 200


def test_its_secrets_are_for_the_owner_alone_and_not_in_its_log(settings: Settings, superset: Superset):
    log = (settings.sandbox_home / "superset.log").read_text(errors="replace")
    for name in ("secret_key", "admin_password"):
        path = settings.superset_home / name
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.read_text().strip() not in log


def test_a_wrong_password_is_refused_in_a_line(settings: Settings, server: superset_server.Running):
    found = replace(settings.superset(), password=SecretStr("not-the-passw0rd"))
    with pytest.raises(
        LakeError, match=rf"^superset {server.url}: login refused: user admin or the password is wrong$"
    ):
        Superset(found, "duckdb://").__enter__()


# -- the import
# ------------------------------------------------------------------------------------------------------------


def test_every_dataset_answers_what_is_in_gold(superset: Superset, good: Path):
    answers = {one.relation: one for one in superset.answers(TREE.datasets)}
    assert {table for one in TREE.datasets for table in one.reads} == gold.ROWS.keys()
    assert [one.error for one in answers.values() if one.error] == []
    trips = answers["gold.mobility_trips_by_zone_day"].values
    assert trips["total_trips"] == expected(good, "SELECT sum(trips) FROM gold.mobility_trips_by_zone_day")
    basket = expected(good, "SELECT sum(gross_revenue - discount) / sum(orders) FROM gold.shop_orders_daily")
    assert answers["gold.shop_orders_daily"].values["basket"] == pytest.approx(float(basket))
    orders = expected(good, "SELECT sum(orders) FROM gold.shop_customer_lifetime_value")
    assert answers["gold.shop_customer_lifetime_value"].values["total_orders"] == orders
    paying = "SELECT count(DISTINCT user_id) FROM gold.membership_fct_topup WHERE status = 'succeeded'"
    assert answers["gold.membership_fct_topup"].values["paying_users"] == expected(good, paying)
    retention = expected(good, "SELECT sum(active_users) / sum(cohort_users) FROM gold.membership_user_retention")
    assert answers["gold.membership_user_retention"].values["retention"] == pytest.approx(retention)
    deviation = answers["gold.membership_deduction_deviation"].values
    assert (deviation["gap_outside"], deviation["days_outside"]) == (gold.SETTLEMENT_GAP, 1)
    revenue = expected(good, "SELECT sum(net_revenue) FROM gold.sales_revenue_monthly")
    assert answers["gold.sales_revenue_monthly"].values["total_net_revenue"] == pytest.approx(float(revenue))
    lines = answers["gold.sales_invoice_lines"].values  # a query: it loses no line and doubles none
    assert lines["line_revenue"] == pytest.approx(float(revenue))
    assert lines["invoiced_customers"] == gold.CLIENTS - 1  # the invoice of one is that of an unknown customer
    churn = expected(good, "SELECT sum(churned_customers) / sum(customers_at_start) FROM gold.sales_churn_monthly")
    assert answers["gold.sales_churn_monthly"].values["monthly_churn"] == pytest.approx(churn)


def test_a_second_import_changes_nothing(superset: Superset):
    before = everything(superset)
    assert len(before) == len(TREE.datasets) + len(TREE.charts) + len(TREE.dashboards)
    pruned = superset.deploy(TREE)
    assert (pruned.removed, pruned.kept) == ((), ())
    assert everything(superset) == before


def test_the_command_imports_and_says_where(
    settings: Settings, superset: Superset, capsys: pytest.CaptureFixture[str], published: Callable[[str], None]
):
    def run() -> Done:
        return call(capsys, "superset", "import", variables={"LAKEGRAPH_HOME": str(settings.home)})

    done = run()
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == links(settings)
    published("ALTER TABLE gold.shop_orders_daily DROP COLUMN average_basket")  # no metric needs it
    done = run()
    assert done.code == 1
    assert done.first == "error: 1 of 26 datasets do not answer"
    assert re.match(r"gold\.shop_orders_daily: superset http://.*average_basket", done.err.splitlines()[1])


def links(settings: Settings) -> list[str]:
    return [
        f"{one.title}: {settings.superset().url}/superset/dashboard/{one.slug}/ ({len(one.charts)} charts)"
        for one in TREE.dashboards
    ]


def test_the_command_that_starts_one_says_how_to_log_in(
    settings: Settings,
    server: superset_server.Running,
    superset: Superset,
    capsys: pytest.CaptureFixture[str],
    published: Callable[[str], None],
):
    """That of another Superset does not matter: its URL is not set."""
    variables = {"LAKEGRAPH_HOME": str(settings.home), "LAKEGRAPH_SUPERSET_USER": "ann"}
    done = call(capsys, "superset", "up", "--port", "0", variables=variables)
    assert done.code == 0, done.err
    *shown, login, stop = done.out.splitlines()
    assert shown == links(settings)
    file = settings.superset_home / "admin_password"
    assert login == f"log in as admin with the password {file.read_text().strip()} (kept in {file})"
    assert stop == f"stop it with `lakegraph superset down`; its log: {server.log}"
    published("DELETE FROM gold.shop_stock_on_hand")
    done = call(capsys, "superset", "up", "--port", "0", variables=variables)
    assert done.code == 1
    assert done.first.endswith("error: 1 of 26 datasets do not answer")
    assert "gold.shop_stock_on_hand: has no row" in done.err
    assert done.out.splitlines()[-2:] == [login, stop]


def test_a_bundle_that_superset_refuses_is_a_line(superset: Superset):
    chart = TREE.charts[0]
    wrong = replace(
        TREE, charts=(replace(chart, document={**chart.document, "cache_timeout": "soon"}), *TREE.charts[1:])
    )
    with pytest.raises(LakeError, match=r"import refused: 500 Import failed.*its log says more$") as refused:
        superset.deploy(wrong)
    assert "\n" not in str(refused.value)


def test_a_database_that_superset_cannot_reach_is_refused_and_the_one_before_stays(
    settings: Settings, server: superset_server.Running, superset: Superset
):
    """StarRocks by setting, where nobody listens."""
    address = "starrocks://reader:s3cr%40t-of-gold@127.0.0.1:9/default_catalog.bi"
    with (
        Superset(settings.superset(), address) as session,
        pytest.raises(
            LakeError, match=r"import refused: 500 .*unknown reason; can it reach the database of gold"
        ) as refused,
    ):
        session.deploy(TREE)
    assert "\n" not in str(refused.value)
    log = server.log.read_text(errors="replace")
    assert "Can't connect to MySQL server on '127.0.0.1'" in log  # so the driver and the dialect are there
    assert "s3cr" not in str(refused.value) + log
    assert [one.error for one in superset.answers(TREE.datasets[:1])] == [None]


def test_what_is_no_longer_in_the_files_is_removed_and_what_others_use_stays(superset: Superset, tmp_path: Path):
    """Two charts and a dataset leave the files; somebody has one of the charts on a page, and a chart of their own."""
    numbers = {row["uuid"]: row["id"] for kind in ("chart", "dataset") for row in superset.listed(kind, "id", "uuid")}
    users, orders = (
        numbers[str(bundle.uuid_of(f"datasets/gold/{name}"))]
        for name in ("mobility_users_by_city", "shop_orders_daily")
    )
    theirs = superset_post(superset, "dashboard", {"dashboard_title": "Theirs"})
    mine = superset_post(
        superset,
        "chart",
        {
            "slice_name": "Mine",
            "viz_type": "table",
            "datasource_id": orders,
            "datasource_type": "table",
            "params": "{}",
        },
    )
    used = numbers[str(bundle.uuid_of("charts/shop_refunds"))]
    superset.ask("chart", "PUT", f"/api/v1/chart/{used}", json={"dashboards": [theirs]})
    fewer = validation.load(
        without(tmp_path, {"mobility": ["mobility_users"], "shop": ["shop_refunds", "shop_orders"]})
    )
    try:
        pruned = superset.deploy(fewer)
        assert set(pruned.removed) == {
            "charts/mobility_users",
            "charts/shop_orders",
            "datasets/gold/mobility_users_by_city",
        }
        assert pruned.kept == ("charts/shop_refunds (in use by Theirs)",)
        charts = {row["id"] for row in superset.listed("chart", "id")}
        assert {mine, used} <= charts
        assert len(charts) == len(fewer.charts) + 2
        assert users not in {row["id"] for row in superset.listed("dataset", "id")}
        assert "Users by city" not in superset.show("mobility").charts
        assert superset.deploy(fewer).removed == ()
    finally:
        superset.ask("removal", "DELETE", f"/api/v1/chart/{mine}")
        superset.ask("removal", "DELETE", f"/api/v1/dashboard/{theirs}")
        superset.deploy(TREE)
    assert len(everything(superset)) == len(TREE.datasets) + len(TREE.charts) + len(TREE.dashboards)


def test_a_dashboard_that_is_no_longer_in_the_files_is_removed(superset: Superset):
    before = everything(superset)
    theirs = superset_post(superset, "dashboard", {"dashboard_title": "Theirs"})
    try:
        others = replace(TREE, dashboards=tuple(one for one in TREE.dashboards if one.slug != "mobility"))
        assert superset.deploy(others).removed == ("dashboards/mobility",)
        with pytest.raises(LakeError, match=r"dashboard mobility refused: 404 "):
            superset.show("mobility")
        assert theirs in {row["id"] for row in superset.listed("dashboard", "id")}
    finally:
        superset.ask("removal", "DELETE", f"/api/v1/dashboard/{theirs}")
        superset.deploy(TREE)
    assert everything(superset).keys() == before.keys()


def superset_post(superset: Superset, kind: str, body: dict[str, Any]) -> int:
    """Make an object as a person does."""
    return int(superset.ask(f"new {kind}", "POST", f"/api/v1/{kind}/", json=body)["id"])


def without(folder: Path, charts: dict[str, list[str]]) -> Path:
    """A copy of the files without these charts (dashboard → charts), and without the datasets that then nobody uses."""
    root = Path(shutil.copytree(bundle.ROOT, folder / "dashboards"))
    for slug, names in charts.items():
        file = root / "dashboards" / f"{slug}.yaml"
        document = yaml.safe_load(file.read_text())
        for name in names:
            (root / "charts" / f"{name}.yaml").unlink()
            del document["position"][f"CHART-{name}"]
            for place in document["position"].values():
                if isinstance(place, dict) and f"CHART-{name}" in place.get("children", []):
                    place["children"].remove(f"CHART-{name}")
        file.write_text(yaml.safe_dump(document, sort_keys=False))
    tree = bundle.read(root)
    used = {chart.dataset for chart in tree.charts}
    for dataset in tree.datasets:
        if dataset.uuid not in used:
            (root / f"{dataset.path}.yaml").unlink()
    return root


# -- the data under it
# ------------------------------------------------------------------------------------------------------------


def test_a_copy_that_is_swapped_in_is_read_and_nobody_is_disturbed(
    superset: Superset, published: Callable[[str], None], good: Path
):
    stop, seen = threading.Event(), list[Any]()

    def ask() -> None:
        while not stop.is_set():
            (answer,) = superset.answers([orders])
            seen.append(answer.error or answer.values["total_orders"])

    orders = next(one for one in TREE.datasets if one.table == "shop_orders_daily")
    before = expected(good, "SELECT sum(orders) FROM gold.shop_orders_daily")
    reader = threading.Thread(target=ask)
    reader.start()
    try:
        for _ in range(4):
            published("UPDATE gold.shop_orders_daily SET orders = orders + 1")
            published("SELECT 1")
    finally:
        stop.set()
        reader.join()
    assert seen
    assert set(seen) <= {before, before + gold.DAYS}
    published("UPDATE gold.shop_orders_daily SET orders = orders + 2")
    (answer,) = superset.answers([orders])
    assert answer.values["total_orders"] == before + 2 * gold.DAYS


# -- the assets
# ------------------------------------------------------------------------------------------------------------


def materialized(settings: Settings) -> dg.ExecuteInProcessResult:
    with dg.DagsterInstance.ephemeral() as instance, pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAKEGRAPH_HOME", str(settings.home))
        get_settings.cache_clear()
        try:
            return dg.materialize([build_superset()], instance=instance, raise_on_error=False)
        finally:
            get_settings.cache_clear()


@pytest.mark.usefixtures("superset")
def test_the_assets_import_link_and_ask(settings: Settings, good: Path, published: Callable[[str], None]):
    done = materialized(settings)
    assert done.success
    made = {event.asset_key.path[-1]: event.materialization for event in done.get_asset_materialization_events()}
    assert made.keys() == {one.slug for one in TREE.dashboards}
    for one in TREE.dashboards:
        metadata = made[one.slug].metadata
        assert metadata["url"].value == f"{settings.superset().url}/superset/dashboard/{one.slug}/"
        assert len(str(metadata["charts"].value).splitlines()) == len(one.charts)
    orders = expected(good, "SELECT sum(orders) FROM gold.shop_customer_lifetime_value")
    answered = made["shop"].metadata["metrics"].value["gold.shop_customer_lifetime_value"]
    assert answered["total_orders"] == str(orders)
    assert {one.passed for one in done.get_asset_check_evaluations()} == {True}
    published("DROP TABLE gold.shop_stock_on_hand")
    done = materialized(settings)
    assert not done.success, "the check is a blocking one"
    failed = {one.asset_key.path[-1]: one.description for one in done.get_asset_check_evaluations() if not one.passed}
    assert failed.keys() == {"shop"}
    assert str(failed["shop"]).startswith("gold.shop_stock_on_hand: ")
    published("DELETE FROM gold.shop_stock_on_hand")
    done = materialized(settings)
    assert [one.description for one in done.get_asset_check_evaluations() if not one.passed] == [
        "gold.shop_stock_on_hand: has no row"
    ]


@pytest.fixture
def over_starrocks(settings: Settings, superset: Superset, tmp_path: Path, good: Path) -> Iterator[Superset]:
    """The dashboards over the exports of the same gold, by StarRocks' stand-in; afterwards, as before."""
    lake = Settings(home=tmp_path / "lake", starrocks_database="elsewhere")
    swap_in(lake, good)
    with StarRocksStandIn(tmp_path / "starrocks" / "catalog.json") as running:
        with StarRocks.from_url(SecretStr(running.endpoint)).session() as session:
            for one in served_tables():
                location = export(lake, one.table).manifest.location
                serve(session, one.starrocks, declare(one.starrocks, lake, location))
        address = f"starrocks://root@127.0.0.1:{running.port}/default_catalog.bi"
        with Superset(settings.superset(), address) as opened:
            opened.deploy(TREE)
            yield opened
        superset.deploy(TREE)


def test_starrocks_by_setting_gives_the_same_answers(settings: Settings, superset: Superset, request):
    before = superset.answers(TREE.datasets)
    after = request.getfixturevalue("over_starrocks").answers(TREE.datasets)
    assert [one.error for one in after if one.error] == []
    assert {one.relation: comparable(one.values) for one in after} == {
        one.relation: comparable(one.values) for one in before
    }


def comparable(values: Mapping[str, Any]) -> dict[str, Any]:
    """Sums of doubles depend on the order of adding, and decimals come as text from some drivers."""
    return {name: pytest.approx(float(value)) for name, value in values.items() if value is not None}


# -- the pages
# ------------------------------------------------------------------------------------------------------------


class TestPages:
    """In headless Chromium."""

    pytestmark = IN_A_BROWSER

    @pytest.mark.parametrize("slug", [one.slug for one in TREE.dashboards])
    def test_every_chart_is_drawn_with_rows(self, page: Page, slug: str):
        page.look(TREE, slug, slug)
        assert (page.errors, page.foreign) == ([], [])

    @pytest.mark.usefixtures("over_starrocks")
    @pytest.mark.parametrize("slug", [one.slug for one in TREE.dashboards])
    def test_every_chart_is_drawn_over_starrocks(self, page: Page, slug: str):
        page.look(TREE, slug, f"{slug}_starrocks")

    def test_a_filter_narrows_the_charts_that_have_its_column(self, page: Page, good: Path):
        numbers = page.look(TREE, "mobility", "unfiltered")
        page.data.clear()
        page.page.get_by_role("combobox", name="Service").click()
        page.page.keyboard.type("green")
        page.page.get_by_title("green", exact=True).last.click()
        page.page.keyboard.press("Escape")
        page.page.get_by_role("button", name="Apply filters").click()
        trips = expected(good, "SELECT sum(trips) FROM gold.mobility_trips_by_zone_day WHERE service = 'green'")
        page.page.get_by_text(f"{trips:,}", exact=True).wait_for(timeout=DEADLINE_MS)
        page.page.wait_for_function(SETTLED, arg=len(numbers), timeout=DEADLINE_MS)
        page.picture("filtered")
        asked = {number for number, *_ in page.data}
        assert asked == {
            number for name, number in numbers.items() if name not in {"Green trips by payment", "Users by city"}
        }
        for _, status, rows, body, _ in page.data:
            assert (status, rows > 0) == (200, True)
            assert {"col": "service", "op": "IN", "val": ["green"]} in body["queries"][0]["filters"]

    @pytest.mark.parametrize(
        ("slug", "range_of_days", "undated"),
        [
            ("mobility", "2023-01-05 : 2023-01-12", {"by hour of the day", "Green trips by payment", "Users by city"}),
            ("shop", "2023-03-05 : 2023-03-12", {"by category", "by revenue", "tock ", "ifetime", "customers"}),
            ("membership", "2023-03-05 : 2023-04-12", {"Users by level", "Channels and when"}),
            (
                "sales",
                "2022-12-01 : 2023-03-01",
                {"utstanding", "Overdue", "Ageing", "Customers of today", "Price list"},
            ),
        ],
    )
    def test_a_range_of_days_reaches_every_query_of_what_has_days(
        self, page: Page, slug: str, range_of_days: str, undated: set[str]
    ):
        given = f"extraFormData:(time_range:'{range_of_days}'),filterState:(value:'{range_of_days}')"
        day = "NATIVE_FILTER-day"
        numbers = page.look(TREE, slug, f"{slug}_days", f"?native_filters=({day}:({given},id:{day},ownState:()))")
        titles = {number: name for name, number in numbers.items()}
        seen = set()
        for number, *_, asked in page.data:
            dated = not any(words in titles[number] for words in undated)
            reached = [all(f"'{day} 00:" in sql for day in range_of_days.split(" : ")) for sql in asked]
            assert reached == [dated] * len(asked), f"{titles[number]}: {asked}"
            seen.add((dated, len(asked)))
        assert seen >= {(True, 1), (False, 1), *({(True, 2)} if slug != "mobility" else ())}

    def test_a_table_that_is_gone_fails_the_check_and_the_page(
        self, page: Page, superset: Superset, published: Callable[[str], None]
    ):
        published("DROP TABLE gold.shop_stock_on_hand")
        failed = [one for one in superset.answers(TREE.datasets) if one.error]
        assert [one.relation for one in failed] == ["gold.shop_stock_on_hand"]
        assert re.search("shop_stock_on_hand does not exist", failed[0].error or "")
        with pytest.raises(AssertionError, match=r"(?s)Stock on hand, lowest first: .*Stock by warehouse: "):
            page.look(TREE, "shop", "broken")

    def test_a_table_without_rows_or_values_fails_the_page(self, page: Page, published: Callable[[str], None]):
        """The axes of what has no value are drawn all the same."""
        published("DELETE FROM gold.mobility_users_by_city; UPDATE gold.mobility_trips_by_hour SET trips = NULL")
        with pytest.raises(AssertionError, match=r"(?s)Users by city: .*Trips by hour of the day: 200, 0 rows"):
            page.look(TREE, "mobility", "empty")


# -- the next start; last, for the server moves to another port
# ------------------------------------------------------------------------------------------------------------


def test_a_restart_keeps_everything_and_takes_another_password(settings: Settings, superset: Superset):
    before = everything(superset)
    assert superset_server.down(settings)
    assert not superset_server.down(settings)
    with pytest.raises(LakeError, match=r"^superset: none runs under"):
        connect(settings)
    settings.superset_password_file.write_text("an0ther-of-the-admin\n")
    again = superset_server.up(settings, port=0)
    assert settings.superset().url == again.url
    with connect(settings) as session:
        assert everything(session) == before
