"""Silver and gold of the sales, built by dbt over bronze that the source itself has loaded: versions, the star, the months
of the fact, what adds up, and what each check refuses.
"""

import shutil
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from sales import (
    APRIL,
    D29,
    D30,
    D31,
    NOON,
    OLD,
    SELECT,
    TABLES,
    Sales,
    april,
    gone,
    older_state,
    second_day,
    third_day,
    world,
)

FACT = "SELECT line_id, invoice_month, net_amount FROM gold.sales_fct_invoice_line ORDER BY 1"
KEYS = """
    SELECT invoice_month, customer_key = -1, service_key = -1, employee_key = -1
    FROM gold.sales_fct_invoice_line WHERE line_id = 90
"""
JAN, FEB, MAR, UNKNOWN = date(2023, 1, 1), date(2023, 2, 1), date(2023, 3, 1), date(1900, 1, 1)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Sales:
    """The first day, built with all its tests, unit tests too: the project is made for whoever copies the folder."""
    sales = world(tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("dbt"))
    sales.load(D29)
    done = sales.dbt("build", "--select", *SELECT)
    assert done.returncode == 0, done.stdout[-6000:]
    return sales


class TestFirstBuild:
    """One load of all there is. Runs before the module's later classes bring more."""

    def test_a_line_leads_to_every_dimension(self, made: Sales) -> None:
        found = made.rows(
            """
            SELECT f.line_id, f.invoice_month, d.date_day, due.date_day, c.customer_id, s.service_code, e.employee_id,
                f.invoice_status, f.net_amount
            FROM gold.sales_fct_invoice_line AS f
            JOIN gold.sales_dim_date AS d USING (date_key)
            JOIN gold.sales_dim_date AS due ON f.due_date_key = due.date_key
            JOIN gold.sales_dim_customer AS c USING (customer_key)
            JOIN gold.sales_dim_service AS s USING (service_key)
            JOIN gold.sales_dim_employee AS e USING (employee_key)
            ORDER BY 1
            """
        )
        assert found == [
            (10, JAN, date(2023, 1, 15), date(2023, 2, 14), 1, "S1", -1, "paid", Decimal("10.00")),
            (11, JAN, date(2023, 1, 15), date(2023, 2, 14), 1, "S2", -1, "paid", Decimal("20.00")),
            (20, FEB, date(2023, 2, 15), date(2023, 3, 17), 2, "S1", -1, "open", Decimal("5.00")),
            (30, MAR, date(2023, 3, 15), date(2023, 4, 14), 1, "S1", -1, "open", Decimal("7.50")),
            (31, MAR, date(2023, 3, 15), date(2023, 4, 14), 1, "S1", -1, "open", Decimal("2.50")),
            (40, MAR, date(2023, 3, 20), date(2023, 4, 14), 1, "S1", -1, "void", Decimal("100.00")),
            (70, FEB, date(2023, 2, 20), date(2023, 3, 22), 2, "S1", -1, "paid", Decimal("3.00")),
            (71, FEB, date(2023, 2, 20), date(2023, 3, 22), 2, "S1", -1, "paid", Decimal("4.00")),
        ]

    def test_each_dimension_has_an_unknown_member(self, made: Sales) -> None:
        for name in ("customer", "service", "employee", "date"):
            assert made.rows(f"SELECT count(*) FROM gold.sales_dim_{name} WHERE {name}_key = -1") == [(1,)]

    def test_void_invoices_are_no_revenue(self, made: Sales) -> None:
        sql = (
            "SELECT revenue_month, category, segment, net_revenue, lines FROM gold.sales_revenue_monthly ORDER BY 1, 2"
        )
        assert made.rows(sql) == [
            (JAN, "compute", "smb", Decimal("10.00"), 1),
            (JAN, "storage", "smb", Decimal("20.00"), 1),
            (FEB, "compute", "enterprise", Decimal("12.00"), 3),
            (MAR, "compute", "smb", Decimal("10.00"), 2),
        ]

    def test_who_left_is_churned(self, made: Sales) -> None:
        sql = "SELECT month_start, segment, new_customers, churned_customers, mrr_at_end FROM gold.sales_churn_monthly ORDER BY 1, 2"
        assert made.rows(sql) == [
            (JAN, "smb", 1, 0, Decimal("100.00")),
            (FEB, "enterprise", 1, 0, Decimal("100.00")),
            (FEB, "smb", 0, 0, Decimal("100.00")),
            (MAR, "enterprise", 0, 1, Decimal("0.00")),
            (MAR, "smb", 0, 0, Decimal("100.00")),
        ]

    def test_what_is_owed_is_told_by_its_age(self, made: Sales) -> None:
        sql = (
            "SELECT as_of, bucket, segment, invoices, outstanding_amount FROM gold.sales_receivables_ageing ORDER BY 2"
        )
        assert made.rows(sql) == [
            (D29, "0 not due", "smb", 1, Decimal("10.00")),
            (D29, "1 1-30 days", "enterprise", 1, Decimal("3.00")),
        ]

    def test_managers_are_known_by_their_keys(self, made: Sales) -> None:
        sql = """
            SELECT e.full_name, m.full_name FROM gold.sales_dim_employee AS e
            JOIN gold.sales_dim_employee AS m ON e.manager_key = m.employee_key ORDER BY 1
        """
        assert made.rows(sql) == [("E1", "unknown"), ("E2", "E1"), ("unknown", "unknown")]


@pytest.fixture(scope="module")
def second(made: Sales) -> str:
    """What dbt printed of the second day."""
    made.change("UPDATE gold.sales_fct_invoice_line SET invoice_number = 'as it was'")
    second_day(made)
    made.load(D30)
    return made.make(D30)


@pytest.mark.usefixtures("second")
class TestSecondDay:
    """A day's changes, of every kind."""

    def test_a_line_is_in_the_month_of_its_invoice_alone(self, made: Sales) -> None:
        """The fault that it would show: a line that moved is in two months, or a month that lost its last one keeps it."""
        assert made.rows(FACT) == [
            (10, JAN, Decimal("10.00")),
            (11, JAN, Decimal("20.00")),
            (20, MAR, Decimal("5.00")),
            (30, MAR, Decimal("8.00")),
            (40, MAR, Decimal("100.00")),
            (50, MAR, Decimal("1.00")),
            (60, MAR, Decimal("2.00")),
            (70, FEB, Decimal("3.00")),
            (71, FEB, Decimal("4.00")),
            (90, UNKNOWN, Decimal("4.00")),
        ]

    def test_months_without_a_change_are_not_written(self, made: Sales) -> None:
        sql = "SELECT DISTINCT invoice_month FROM gold.sales_fct_invoice_line WHERE invoice_number = 'as it was'"
        assert made.rows(sql) == [(JAN,)]

    def test_a_line_that_breaks_a_rule_is_in_quarantine(self, made: Sales) -> None:
        sql = "SELECT reject_reason, line_id FROM silver.sales_invoice_lines__rejected"
        assert made.rows(sql) == [("net_mismatch", 31)]

    def test_invoices_that_do_not_add_up_only_warn(self, made: Sales, second: str) -> None:
        assert "WARN=1" in second
        sql = """
            SELECT invoice_id, is_known, difference_net FROM silver.sales_invoice_totals
            WHERE difference_net <> 0 ORDER BY 1
        """
        assert made.rows(sql) == [(3, True, Decimal("-3.00")), (9, False, Decimal("-4.00"))]

    def test_what_is_not_known_yet_has_the_unknown_keys(self, made: Sales) -> None:
        assert made.rows(KEYS) == [(UNKNOWN, True, True, True)]

    def test_a_customer_who_changes_keeps_its_past(self, made: Sales) -> None:
        sql = """
            SELECT c.segment, list(f.line_id ORDER BY f.line_id) FROM gold.sales_fct_invoice_line AS f
            JOIN gold.sales_dim_customer AS c USING (customer_key) WHERE c.customer_id = 1 GROUP BY 1 ORDER BY 1
        """
        assert made.rows(sql) == [("enterprise", [60]), ("smb", [10, 11, 30, 40, 50])]
        sql = "SELECT segment, valid_from, valid_to, is_current FROM gold.sales_dim_customer WHERE customer_id = 1 ORDER BY 2"
        assert made.rows(sql) == [("smb", UNKNOWN, D30, False), ("enterprise", D30, date(9999, 12, 31), True)]


@pytest.fixture(scope="module")
def third(made: Sales) -> None:
    """The third day; and of the one before it a version that was late, while that day is run once more."""
    third_day(made)
    made.load(D31)
    made.make(D31)
    older_state(made)
    made.load(D30, D31)
    made.make(D30)


@pytest.mark.usefixtures("third")
class TestThirdDay:
    """What was wrong or missing comes right; what is old changes nothing."""

    def test_a_line_that_is_mended_comes_back(self, made: Sales) -> None:
        assert (31, MAR, Decimal("2.50")) in made.rows(FACT)
        assert made.rows("SELECT count(*) FROM silver.sales_invoice_lines__rejected") == [(0,)]

    def test_a_line_moves_to_another_invoice(self, made: Sales) -> None:
        assert {row for row in made.rows(FACT) if row[0] in {70, 71}} == {
            (70, FEB, Decimal("3.00")),
            (71, MAR, Decimal("4.00")),
        }

    def test_an_invoice_that_is_void_is_no_revenue_any_more(self, made: Sales) -> None:
        sql = "SELECT invoice_status, net_amount FROM gold.sales_fct_invoice_line WHERE line_id = 50"
        assert made.rows(sql) == [("void", Decimal("1.00"))]
        sql = "SELECT sum(net_revenue) FROM gold.sales_revenue_monthly WHERE revenue_month = '2023-03-01'"
        assert made.rows(sql) == [(Decimal("21.50"),)]  # 5 + 4 + 8 + 2.5 + 2

    def test_a_line_moves_to_the_month_of_the_invoice_that_came_late(self, made: Sales) -> None:
        assert made.rows(KEYS) == [(FEB, True, True, True)]

    def test_an_older_version_that_comes_late_changes_nothing(self, made: Sales) -> None:
        sql = "SELECT segment, updated_at FROM silver.sales_customers WHERE customer_id = 2"
        assert made.rows(sql) == [("mid_market", datetime.combine(D31, NOON))]
        sql = "SELECT segment FROM silver.sales_customers_snapshot WHERE customer_id = 2 ORDER BY dbt_valid_from"
        assert made.rows(sql) == [("enterprise",), ("mid_market",)]
        sql = """
            SELECT source_day, bronze_rows, silver_rows, rejected_rows, superseded_rows, unaccounted_rows
            FROM silver.sales_customers__accounting ORDER BY 1
        """
        assert made.rows(sql) == [(OLD, 3, 0, 0, 3, 0), (D30, 3, 1, 1, 1, 0), (D31, 2, 2, 0, 0, 0)]


@pytest.fixture(scope="module")
def fourth(made: Sales) -> None:
    """What was unknown comes, days after who refers to it."""
    april(made)
    made.load(APRIL)
    made.make(APRIL)


@pytest.mark.usefixtures("fourth")
def test_what_was_unknown_is_known_when_it_comes(made: Sales) -> None:
    assert made.rows(KEYS) == [(FEB, False, False, False)]


@pytest.mark.usefixtures("fourth")
def test_what_was_known_is_unknown_when_it_breaks_a_rule(made: Sales) -> None:
    """Its lines are in a month that nothing else touches, and keep their revenue."""
    sql = "SELECT invoice_month, service_key FROM gold.sales_fct_invoice_line WHERE line_id = 11"
    assert made.rows(sql) == [(JAN, -1)]
    sql = "SELECT category, net_revenue FROM gold.sales_revenue_monthly WHERE revenue_month = '2023-01-01' ORDER BY 1"
    assert made.rows(sql) == [("compute", Decimal("10.00")), ("unknown", Decimal("20.00"))]


@pytest.mark.usefixtures("fourth")
def test_days_one_by_one_give_what_one_build_of_all_gives(made: Sales, tmp_path: Path) -> None:
    """But for the customers' past, of which one build sees the present alone."""
    whole = Sales(made.settings.model_copy(update={"home": tmp_path}), made.folder)
    made.put("customers", 2, D31, segment="mid_market")  # as it was before the older state
    whole.load(D29, APRIL)
    whole.make(without=("unit_test", "test"))
    mine, theirs = made.tables(), whole.tables()
    past = {"silver.sales_customers_snapshot", "gold.sales_dim_customer", "gold.sales_revenue_monthly"}
    for name in mine.keys() - past - {"gold.sales_fct_invoice_line", "gold.sales_fct_payment"}:
        assert name.endswith("__accounting") or mine[name] == theirs[name], (
            name
        )  # the one bronze has seen more versions
    for name, key in (("fct_invoice_line", "line_id"), ("fct_payment", "payment_id")):
        sql = f"SELECT COLUMNS(lambda c: c NOT IN ('customer_key', 'invoice_number')) FROM gold.sales_{name} ORDER BY {key}"
        assert made.rows(sql) == whole.rows(sql), name


@pytest.mark.usefixtures("fourth")
class TestChecks:
    """Each refuses what it is there for: the tables are broken by hand, and its SQL is asked."""

    @pytest.fixture
    def broken(self, made: Sales, tmp_path: Path) -> Sales:
        """A copy of the tables."""
        shutil.copytree(made.settings.home / "duckdb", tmp_path / "duckdb")
        return Sales(made.settings.model_copy(update={"home": tmp_path}), made.folder)

    @pytest.mark.parametrize("table", TABLES)
    def test_a_row_that_is_lost_or_there_twice_is_missed(self, broken: Sales, table: str) -> None:
        test, current = f"row_accounting_sales_{table}__accounting_*", f"silver.sales_{table}__current"
        of_window = f"FROM {current} WHERE source_day >= '2023-03-31'"
        ((days,),) = broken.rows(f"SELECT count(DISTINCT source_day) {of_window}")
        assert days
        assert broken.failing(test) == []
        broken.change(f"INSERT INTO {current} SELECT * {of_window} LIMIT 1")
        assert [row[-1] for row in broken.failing(test)] == [-1]
        broken.change(f"DELETE {of_window}")
        assert len(broken.failing(test)) == days

    @pytest.mark.parametrize(
        "statement",
        [
            "DELETE FROM gold.sales_fct_invoice_line WHERE line_id = 31",
            "UPDATE gold.sales_fct_invoice_line SET net_amount = net_amount + 0.01 WHERE line_id = 10",
            "UPDATE gold.sales_fct_invoice_line SET tax_amount = tax_amount - 0.01 WHERE line_id = 10",
            "UPDATE gold.sales_fct_invoice_line SET invoice_month = DATE '2023-03-01' WHERE line_id = 10",
            "INSERT INTO gold.sales_fct_invoice_line SELECT * FROM gold.sales_fct_invoice_line WHERE line_id = 20",
        ],
    )
    def test_a_cent_that_is_missing_blocks(self, broken: Sales, statement: str) -> None:
        test = "facts_reconcile_to_source"
        assert broken.failing(test) == []
        broken.change(statement)
        assert broken.failing(test)

    def test_churn_that_does_not_add_up_blocks(self, broken: Sales) -> None:
        assert broken.failing("churn_adds_up") == []
        broken.change("UPDATE gold.sales_churn_monthly SET mrr_new = mrr_new + 0.01 WHERE month_start = '2023-03-01'")
        assert broken.failing("churn_adds_up")

    def test_a_payment_that_is_lost_blocks(self, broken: Sales) -> None:
        test = "same_totals_sales_fct_payment_*"
        assert broken.failing(test) == []
        broken.change("DELETE FROM gold.sales_fct_payment WHERE payment_id = 2")
        assert broken.failing(test)

    def test_a_customer_of_two_versions_at_a_time_blocks(self, broken: Sales) -> None:
        """Its lines would be there twice."""
        test = "a_customer_has_one_version_at_a_time"
        assert broken.failing(test) == []
        broken.change("UPDATE silver.sales_customers_snapshot SET dbt_valid_to = NULL WHERE customer_id = 1")
        assert broken.failing(test)


@pytest.mark.usefixtures("fourth")
def test_a_full_refresh_forgets_what_is_gone(made: Sales) -> None:
    """Last of all: the module's own tables go with it."""
    gone(made)
    made.load(refresh=True)
    made.make()
    assert 11 not in {line for line, *_ in made.rows(FACT)}
    assert made.rows("SELECT list(customer_id ORDER BY customer_id) FROM silver.sales_customers") == [([1, 2, 9],)]
