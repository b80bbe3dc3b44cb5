"""Silver and gold of the sales on BigQuery (the emulator): built day after day, they are what they are on DuckDB."""

from collections.abc import Iterator

import duckdb
import gcp
import parity
import pytest
from googlesql import offences
from sales import D29, D30, D31, Sales, fill

from infra_assets import resources
from infra_assets.plan import apply_all
from lake.settings import Settings

pytestmark = [pytest.mark.gcp, pytest.mark.slow]

MODELS = ("unit_test", "test")  # left out: models alone
EMPTY = {f"silver.sales_{name}__rejected" for name in ("employees", "services", "contracts", "invoices", "payments")}


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Sales:
    return Sales(Settings(home=tmp_path_factory.mktemp("home"), target="local"), tmp_path_factory.mktemp("dbt"))


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sales]:
    """In a home of this module's own, for the names of its tables are the project's."""
    with gcp.running(tmp_path_factory.mktemp("gcp")) as environment, gcp.variables(environment):
        settings = Settings()
        apply_all(resources(settings))
        yield Sales(settings, tmp_path_factory.mktemp("dbt"))


def first(sales: Sales) -> None:
    """Something of everything."""
    fill(sales)
    sales.load(D29)
    sales.make(D29, without=MODELS)


def second(sales: Sales) -> None:
    """A line moves to another month, one breaks a rule, one comes before its invoice; customers change."""
    sales.put("invoices", 2, D30, issued_on="2023-03-02")
    sales.put("invoice_lines", 31, D30, net_amount=6, unit_price=5)
    sales.put("invoice_lines", 90, D30, invoice_id=9, net_amount=4, service_id=7, employee_id=7)
    sales.put("customers", 1, D30, segment="enterprise", account_manager_id=1)
    sales.put("customers", 4, D30, segment="odd")
    sales.invoice(5, 1.23, at=D30, issued_on="2023-03-30")
    sales.put("payments", 3, D30, invoice_id=5, amount=1)
    sales.load(D30)
    sales.make(D30, without=MODELS)


def third(sales: Sales) -> None:
    """What was missing comes."""
    sales.put("invoices", 9, D31, customer_id=9, issued_on="2023-02-20", net_total=4, tax_total=0)
    sales.put("customers", 9, D31)
    sales.put("services", 7, D31)
    sales.put("employees", 7, D31)
    sales.load(D31)
    sales.make(D31)


def refreshed(sales: Sales) -> None:
    """A line, an invoice and a customer are gone: a full refresh finds it."""
    sales.forget("invoice_lines", 11)
    sales.forget("invoices", 4)
    sales.forget("customers", 3)
    sales.load(refresh=True)
    sales.make(without=MODELS)


@pytest.mark.parametrize("step", [first, second, third, refreshed])
def test_tables_are_the_same_on_both_targets(local: Sales, cloud: Sales, step) -> None:
    """Each step goes on where the one before it ended. (The unit tests run there in `test_parity.py`.)"""
    for sales in (local, cloud):
        step(sales)
    if step is second:  # January is left alone, and scans can prune it
        (sent,) = (
            sql
            for path, sql in cloud.sent().items()
            if "/run/" in path and path.endswith("/sales_fct_invoice_line.sql")
        )
        assert "where invoice_month in (date '1900-01-01', date '2023-02-01', date '2023-03-01');" in sent
    assert {offence: path for path, sql in cloud.sent().items() for offence in offences(sql)} == {}
    found = {n: held for n, held in parity.gcp_tables(cloud.settings.gcp()).items() if ".sales_" in n}
    with duckdb.connect(str(local.settings.duckdb_path), read_only=True) as connection:
        expected = {n: held for n, held in parity.local_tables(connection).items() if ".sales_" in n}
    assert set(found) == set(expected)
    assert {name for name, (rows, _) in expected.items() if not rows.num_rows} <= EMPTY | {
        f"silver.sales_{name}__rejected" for name in ("customers", "invoice_lines")
    }
    different = []
    for name, (rows, types) in expected.items():
        different += parity.type_differences(name, types, found[name][1])
        different += parity.differences(name, rows, found[name][0])
    assert [str(one) for one in different] == [], "\n".join(map(str, different))
