"""What connects BI tools: the file and the link to the letter, and the commands that make them."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import dagster as dg
import pytest
from command import Done, call

from infra_assets.bi import looker_studio_url, pbids
from infra_assets.superset.contract import gold_contract
from lake.errors import LakeError
from lake.settings import GcpTarget
from orchestration.served import Served, named, served_tables

ROOT = Path(__file__).parents[2]
TARGET = GcpTarget("my-project", "EU", "my-lake", "lakegraph", None)
CLOUD = {"LAKEGRAPH_TARGET": "gcp", "LAKEGRAPH_GCP_PROJECT": "my-project", "LAKEGRAPH_GCP_BUCKET": "my-lake"}
Run = Callable[..., Done]


def parameters(url: str) -> dict[str, str]:
    pairs = parse_qsl(urlsplit(url).query, strict_parsing=True)
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.delenv("GOOGLE_CLOUD_PROJECT", raising=False)

    def command(*arguments: str, variables: dict[str, str] = CLOUD) -> Done:
        return call(capsys, "bi", *arguments, variables={"LAKEGRAPH_HOME": str(tmp_path / "home"), **variables})

    return command


# -- Power BI ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["Import", "DirectQuery"])
def test_the_data_source_file_is_one_connection_to_bigquery(mode):
    assert json.loads(pbids("my-project", mode)) == {
        "version": "0.1",
        "connections": [
            {
                "details": {"protocol": "google-bigquery", "address": {}},
                "options": {"BillingProject": "my-project"},
                "mode": mode,
            }
        ],
    }


def test_the_command_prints_the_file_or_writes_it(run, tmp_path):
    assert run("powerbi") == Done(0, pbids("my-project"), "")
    file = tmp_path / "gold.pbids"
    assert run("powerbi", "--mode", "DirectQuery", "--output", str(file)) == Done(0, f"wrote {file}\n", "")
    assert file.read_text() == pbids("my-project", "DirectQuery")
    assert run("powerbi", "--output", str(file)).code == 0  # in place of the old one
    assert file.read_text() == pbids("my-project")


def test_a_file_that_cannot_be_written_is_a_line(run, tmp_path):
    file = tmp_path / "missing" / "gold.pbids"
    assert run("powerbi", "--output", str(file)) == Done(
        1, "", f"error: {file}: cannot be written: No such file or directory\n"
    )


def test_the_model_in_the_docs_is_of_tables_and_columns_of_gold():
    page, contract = (ROOT / "docs/bi.md").read_text(), gold_contract()
    model = page.split("### The model\n")[1].split("\n### Incremental refresh\n")[0]
    assert {table for table in contract if f"| `{table.removeprefix('gold.')}` |" not in model} == set()
    related = re.findall(
        r"\b([a-z][a-z_]+)\[(\w+)\]", model
    )  # in tables and measures; what is calculated has a capital letter
    assert len(related) > 60
    assert [pair for pair in related if pair[1] not in contract.get(f"gold.{pair[0]}", {})] == []


def test_the_star_of_sales_in_the_docs_is_whole_and_has_one_way_to_each_fact():
    """Every key of the facts is related, and Power BI takes no second active way from one table to another."""
    star = (ROOT / "docs/bi.md").read_text().split("### The star of sales\n")[1].split("\n### ")[0]
    rows = re.findall(r"^\| (.*?) \| (.*?) \| (\**(?:in)?active.*?) \|$", star, re.MULTILINE)
    related = [
        (source(one), table, column, "inactive" not in how) for one, many, how in rows for table, column in pairs(many)
    ]
    assert {(table, column) for _, table, column, active in related if not active} == {
        ("sales_fct_invoice_line", "due_date_key"),
        ("sales_dim_customer", "account_manager_key"),
    }
    keys = {
        (fact, column)
        for fact in ("sales_fct_invoice_line", "sales_fct_payment")
        for column in gold_contract()[f"gold.{fact}"]
        if column.endswith("_key")
    }
    assert keys <= {(table, column) for _, table, column, _ in related}
    active = [(one, table) for one, table, _, is_active in related if is_active]
    assert len(active) == 14

    def ways(start: str) -> list[str]:
        return [end for one, many in active if one == start for end in (many, *ways(many))]

    for one, _ in active:
        assert len(ways(one)) == len(set(ways(one))), f"two ways from {one}"


def test_the_measures_in_the_docs_ask_for_measures_that_are_there():
    star = (ROOT / "docs/bi.md").read_text().split("### The star of sales\n")[1].split("\n### ")[0]
    code = "\n".join(re.findall(r"```dax\n(.*?)```", star, re.DOTALL))
    measures = set(re.findall(r"^(\w[\w ]+?) =(?: |$)", code, re.MULTILINE))
    assert measures >= {"Net revenue", "Discount share", "MRR", "Churn rate", "Outstanding", "Overdue share"}
    assert set(re.findall(r"(?<!\w)\[([A-Z][\w ]+)\]", code)) <= measures
    assert code.count("(") == code.count(")")


def source(cell: str) -> str:
    """The table on the one side: a calculated one, or that of the column."""
    calculated = re.search(r"`(\w+) = ", cell)
    return calculated[1] if calculated else pairs(cell)[0][0]


def pairs(cell: str) -> list[tuple[str, str]]:
    """The columns that a cell of a table names, `table[column]`."""
    return re.findall(r"\b(sales_\w+)\[(\w+)\]", cell)


# -- Looker Studio -------------------------------------------------------------------------------------------


def test_the_link_names_the_table_and_the_project():
    url = looker_studio_url(TARGET, "shop_orders_daily")
    assert url.startswith("https://lookerstudio.google.com/reporting/create?")
    assert parameters(url) == {
        "c.mode": "edit",
        "r.reportName": "shop_orders_daily",
        "ds.datasourceName": "gold.shop_orders_daily",
        "ds.connector": "bigQuery",
        "ds.type": "TABLE",
        "ds.projectId": "my-project",
        "ds.datasetId": "gold",
        "ds.tableId": "shop_orders_daily",
    }


def test_what_a_url_does_not_take_is_escaped_and_a_space_is_no_plus():
    name = "a b&ds.type=CUSTOM_QUERY#+é"
    url = looker_studio_url(TARGET, name)
    assert (parameters(url)["ds.tableId"], parameters(url)["ds.type"]) == (name, "TABLE")
    assert url.endswith("&ds.tableId=a%20b%26ds.type%3DCUSTOM_QUERY%23%2B%C3%A9")
    assert urlsplit(url).fragment == ""


def test_a_line_for_each_table_that_is_named_or_for_all_of_gold(run):
    two = ("shop_stock_on_hand", "mobility_trips_by_hour")
    assert run("looker", *two) == Done(0, "".join(f"{looker_studio_url(TARGET, table)}\n" for table in two), "")
    done = run("looker")
    tables = [parameters(line)["ds.tableId"] for line in done.out.splitlines()]
    assert tables == [one.table for one in served_tables()]
    assert "shop_orders_daily" in tables


def test_a_table_that_is_not_there_is_a_line_with_the_nearest(run):
    hint = "error: gold: there is no table 'shop_order_daily'; did you mean shop_orders_daily?\n"
    assert run("looker", "mobility_trips_by_hour", "shop_order_daily") == Done(1, "", hint)


def test_names_are_of_the_tables_as_they_are():
    tables = tuple(Served(name, dg.AssetKey(name), "", {}) for name in ("shop_a", "shop_b"))
    assert named((), tables) == tables
    assert named(("shop_b", "shop_a"), tables) == tables[::-1]
    with pytest.raises(LakeError, match=r"^gold: there is no table 'gold.shop_c'; did you mean shop_[ab]\?$"):
        named(("gold.shop_c",), tables)
    with pytest.raises(LakeError, match=r"^gold: there is no table 'zzz'; there are shop_a, shop_b$"):
        named(("zzz",), tables)


# -- settings ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["powerbi", "looker"])
def test_without_a_project_a_line_says_what_to_set(run, command):
    done = run(command, variables={"LAKEGRAPH_TARGET": "local"})
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: target gcp: LAKEGRAPH_GCP_PROJECT and LAKEGRAPH_GCP_BUCKET not set; set them")
    assert done.err.count("\n") == 1


def test_the_target_need_not_be_the_cloud(run):
    assert run("powerbi", variables={**CLOUD, "LAKEGRAPH_TARGET": "local"}).out == pbids("my-project")


def test_a_mode_that_does_not_exist_is_wrong_usage(run):
    assert run("powerbi", "--mode", "Live").code == 2
