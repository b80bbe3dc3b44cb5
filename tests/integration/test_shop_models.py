"""Silver and gold of the shop, built by dbt over a hand-written bronze: hours in any order, orphans, accounts, cost."""

import itertools
import json
from collections import defaultdict
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import shops
from shops import START, Rows, Shop, Step, Tables, days, row

HOURS = shops.hours(seed=11)
EARLY, LATE = date(2023, 3, 30), date(2023, 3, 31)
KEYS = {table: next(iter(columns)) for table, columns in shops.COLUMNS.items()}
CHANGED = {"products": "product", "orders": "order", "reviews": "review", "stock_movements": "movement"}


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Everything at once: what every other way must end in."""
    shop = Shop(tmp_path_factory.mktemp("once"))
    shop.prepare(HOURS)
    shop.run([Step(list(range(len(HOURS))))])
    return shop


@pytest.fixture(scope="module")
def expected(once: Shop) -> Tables:
    return once.everything()


def steps(order: list[int], *, dying: bool = False) -> list[Step]:
    """An hour after another; `dying`: each is begun, dies after some models, and is run again."""
    found = []
    for number in order:
        window = days(HOURS[number])
        if dying:
            half = ("shop_orders__versions", "shop_orders__current", "shop_products__current", "shop_customers_history")
            found.append(Step([number], window, half))
        found.append(Step([number], window))
    return found


def versions(table: str) -> list[dict[str, Any]]:
    """All that was ever delivered, each version once."""
    rows = [one for delivery in HOURS for one in delivery[table]]
    return list({(one[KEYS[table]], one["version"]): one for one in rows}.values())


def newest(table: str) -> dict[str, dict[str, Any]]:
    ordered = sorted(versions(table), key=lambda one: (one["updated_at"], one["version"]))
    return {one[KEYS[table]]: one for one in ordered}


class TestOrder:
    """However the hours are run, silver and gold end as after one pass."""

    @pytest.mark.parametrize(
        ("order", "dying"),
        [([3, 2, 1, 0], False), ([2, 2, 0, 3, 1, 0], True)],
        ids=["reversed", "repeated, shuffled, dying"],
    )
    def test_the_hours_may_come_in_any_order(
        self, expected: Tables, tmp_path: Path, order: list[int], dying: bool
    ) -> None:
        shop = Shop(tmp_path / "home")
        shop.prepare(HOURS)
        shop.run(steps(order, dying=dying))
        found = shop.everything()
        assert found.keys() == expected.keys()
        assert [name for name in expected if found[name] != expected[name]] == []

    def test_hours_that_loaded_at_once_and_are_built_one_after_the_other(
        self, expected: Tables, tmp_path: Path
    ) -> None:
        """The first of them to be built finds more in bronze than its own rows."""
        shop = Shop(tmp_path / "home")
        shop.prepare(HOURS)
        shop.run([Step([0, 1, 2, 3], days(HOURS[3])), Step([], days(HOURS[0])), Step([], days(HOURS[2]))])
        assert shop.everything() == expected

    def test_the_pass_is_not_empty(self, expected: Tables) -> None:
        """Nor is a comparison of nothing: every kind of row is there."""
        assert [name for name, rows in expected.items() if not rows] == []
        accounts = [row for name, rows in expected.items() if name.endswith("__accounting") for row in rows]
        assert all(account[-1] == 0 for account in accounts)
        for kind in range(1, 7):  # bronze, live, rejected, deleted, superseded, repeated
            assert any(len(account) > kind + 1 and account[kind] for account in accounts)


class TestMeaning:
    """The pass itself against the same worked out in Python."""

    def test_the_newest_version_is_kept(self, once: Shop) -> None:
        for table, thing in CHANGED.items():
            found = once.rows(f"SELECT {thing}_id, version, deleted_at FROM silver.shop_{table}__current ORDER BY 1")
            wanted = [(key, one["version"], one["deleted_at"]) for key, one in sorted(newest(table).items())]
            assert found == wanted

    def test_the_history_has_every_version_and_one_at_a_time(self, once: Shop) -> None:
        wanted = []
        ordered = sorted(versions("customers"), key=lambda one: (one["id"], one["updated_at"], one["version"]))
        for key, group in itertools.groupby(ordered, key=lambda one: one["id"]):
            rows = list(group)
            ends = [one["updated_at"] for one in rows[1:]] + [None]
            wanted += [
                (key, one["version"], one["updated_at"], end, end is None) for one, end in zip(rows, ends, strict=True)
            ]
        found = once.rows(
            "SELECT customer_id, version, valid_from, valid_to, is_current FROM silver.shop_customers_history"
            " ORDER BY customer_id, valid_from, version"
        )
        assert found == wanted
        assert any(start == end for *_, start, end, _ in found)  # two versions of one moment

    def test_the_days_revenue(self, once: Shop) -> None:
        customers, products = set(newest("customers")), set(newest("products"))
        wanted: dict[date, list[Any]] = defaultdict(lambda: [0, 0, Decimal(0), Decimal(0), Decimal(0)])
        for order in newest("orders").values():
            items = json.loads(order["items"]) if order["items"] else None
            valid = order["status"] in {"placed", "paid"} or (
                order["status"] == "refunded" and order["refund_amount"] is not None
            )
            counts = valid and order["customer_id"] in customers and isinstance(items, list) and items
            if order["deleted_at"] or not counts:
                continue
            day = wanted[order["ordered_at"].date()]
            day[0] += 1
            day[4] += order["refund_amount"] or 0
            for item in items:
                line = item if isinstance(item, dict) else {}
                quantity, price = line.get("quantity"), line.get("unit_price")
                if line.get("product_id") not in products or quantity in {0, 1.5} or price == "free":
                    continue
                cents = Decimal("0.01")
                amount = int(float(quantity)) * Decimal(str(price)).quantize(cents, "ROUND_HALF_UP")
                discount = Decimal(str(line.get("discount", 0))).quantize(cents, "ROUND_HALF_UP")
                if discount <= amount:
                    day[1] += int(float(quantity))
                    day[2] += amount
                    day[3] += discount
        found = once.rows(
            "SELECT order_date, orders, items, gross_revenue, discount, refunds, net_revenue"
            " FROM gold.shop_orders_daily ORDER BY 1"
        )
        assert [tuple(one[:-1]) for one in found] == [(day, *figures) for day, figures in sorted(wanted.items())]
        assert all(one[-1] == one[3] - one[4] - one[5] for one in found)
        assert sum(one[2] for one in found) > 0

    def test_a_full_refresh_gives_the_same(self, once: Shop, expected: Tables) -> None:
        once.build("run", "--select", *shops.SELECT, "--full-refresh", from_day="2023-03-31", to_day="2023-03-31")
        assert once.everything() == expected


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A shop with one plain row of everything, built with all its tests, unit tests too."""
    made = Shop(tmp_path_factory.mktemp("shop"))
    made.deliver({table: [row(table)] for table in shops.COLUMNS})
    made.build("build", "--select", *shops.SELECT)
    return made


@pytest.fixture
def shop(built: Shop, tmp_path: Path) -> Shop:
    """A copy of it."""
    return built.copy(tmp_path / "home")


CHILDREN: Rows = {
    "orders": [
        row("orders", id="waits", customer_id="c2"),
        row(
            "orders",
            id="lacks",
            items=[
                {"line": 1, "product_id": "P2", "quantity": 1, "unit_price": "5.00"},
                {"line": 2, "product_id": "P1", "quantity": 1, "unit_price": "7.00"},
            ],
        ),
    ],
    "reviews": [row("reviews", id="waits", order_id="o2")],
    "stock_movements": [row("stock_movements", movement_id="waits", product_id="P2")],
}
ARRIVED = START + timedelta(hours=5)
PARENTS: Rows = {
    "customers": [row("customers", ARRIVED, id="c2")],
    "products": [row("products", ARRIVED, product_id="P2")],
    "orders": [row("orders", ARRIVED, id="o2", deleted_at=ARRIVED)],
}


class TestParents:
    """Orphans wait in quarantine, and come back by themselves."""

    def rejected(self, shop: Shop) -> set[tuple[str, str]]:
        found: set[tuple[str, str]] = set()
        for table, key in {**CHANGED, "order_items": "order"}.items():
            found |= set(shop.rows(f"SELECT {key}_id, reject_reason FROM silver.shop_{table}__rejected"))
        return found

    def test_orphans_come_back_when_their_parents_arrive(self, shop: Shop) -> None:
        shop.prepare([CHILDREN, PARENTS])
        shop.run([Step([1], days(CHILDREN))])
        assert self.rejected(shop) == {
            ("waits", "orphan_customer"),
            ("lacks", "orphan_product"),
            ("waits", "orphan_order"),
            ("waits", "orphan_product"),
        }
        sold = "SELECT orders, items, gross_revenue FROM gold.shop_orders_daily"
        assert shop.rows(sold) == [(2, 3, Decimal("46.80"))]
        # only the day of the parents is looked at
        shop.run([Step([2], days(PARENTS))])
        assert self.rejected(shop) == set()
        assert shop.rows(sold) == [(3, 6, Decimal("91.60"))]

    def test_deleted_parents_are_still_parents(self, shop: Shop) -> None:
        before = shop.rows("SELECT * FROM gold.shop_orders_daily")
        at = START + timedelta(hours=6)
        gone: Rows = {
            "customers": [row("customers", at, deleted_at=at)],
            "products": [row("products", at, deleted_at=at)],
        }
        shop.deliver(gone)
        shop.build(**days(gone))
        assert shop.rows("SELECT * FROM gold.shop_orders_daily") == before
        assert self.rejected(shop) == set()
        assert shop.rows("SELECT * FROM silver.shop_customers") == []
        value = shop.rows("SELECT is_deleted, lifetime_value FROM gold.shop_customer_lifetime_value")
        assert value == [(True, Decimal("38.80"))]


class TestAccounts:
    """Every row of bronze is somewhere, or nothing is built."""

    def test_rows_that_arrive_while_a_run_is_under_way_are_the_next_runs(self, shop: Shop) -> None:
        arrived: Rows = {"orders": [row("orders", id="arrived")]}
        shop.deliver(arrived)
        out = shop.build("build", "--select", "shop_orders__accounting", **days(arrived))
        assert "PASS row_accounting_shop_orders__accounting" in out
        account = "SELECT bronze_rows, live_rows, unaccounted_rows FROM silver.shop_orders__accounting"
        assert shop.rows(account) == [(1, 1, 0)]
        shop.build(
            "build", "--select", "+shop_orders__accounting", "--exclude-resource-type", "unit_test", **days(arrived)
        )
        assert shop.rows(account) == [(2, 2, 0)]

    @pytest.mark.parametrize(
        ("lose", "account"),
        [
            ("DELETE FROM silver.shop_orders__current WHERE order_id = 'o1'", "orders"),
            ("DELETE FROM silver.shop_order_items__lines WHERE order_id = 'o1'", "order_items"),
            ("DELETE FROM silver.shop_customers_history WHERE customer_id = 'c1' AND is_current", "customers"),
            ("UPDATE silver.shop_products__current SET updated_at = '2023-01-01', version = ''", "products"),
        ],
    )
    def test_rows_unaccounted_for_stop_gold(self, shop: Shop, lose: str, account: str) -> None:
        before = shop.rows("SELECT * FROM gold.shop_orders_daily")
        shop.change(lose)
        done = shop.dbt("build", "--select", f"shop_{account}__accounting", "shop_orders_daily")
        assert done.returncode == 1
        assert f"row_accounting_shop_{account}__accounting" in done.stdout
        assert "SKIP relation gold.shop_orders_daily" in done.stdout
        assert shop.rows("SELECT * FROM gold.shop_orders_daily") == before

    def test_a_row_that_is_twice_in_bronze_is_not_accounted_for(self, shop: Shop) -> None:
        shop.change("INSERT INTO bronze.shop_orders SELECT * FROM bronze.shop_orders")
        done = shop.dbt("build", "--select", "shop_orders__versions", "shop_orders__current", "shop_orders__accounting")
        assert done.returncode == 1
        assert "FAIL 1 row_accounting_shop_orders__accounting" in done.stdout
        assert shop.rows("SELECT count(*) FROM silver.shop_orders") == [(1,)]


class TestWindow:
    """A run by hours looks at the days that it is told, and at no other."""

    def test_a_run_reads_no_other_day_of_bronze(self, tmp_path: Path) -> None:
        shop = Shop(tmp_path / "home")
        shop.deliver({table: [row(table, datetime.fromisoformat("2023-03-31 05:00"))] for table in shops.COLUMNS})
        for table, columns in shops.COLUMNS.items():
            others = [
                f"CAST(error('read') AS {kind})" if name != "source_day" else "DATE '2023-03-30'"
                for name, kind in columns.items()
            ]
            shop.change(
                f"ALTER TABLE bronze.shop_{table} RENAME TO shop_{table}_today",
                f"CREATE VIEW bronze.shop_{table} AS SELECT * FROM bronze.shop_{table}_today"
                f" UNION ALL SELECT {', '.join(others)}, NULL FROM range(1)",
            )
        assert "Invalid Input Error: read" in shop.dbt("run", "--select", "shop_orders__current").stdout
        today = {"from_day": "2023-03-31", "to_day": "2023-03-31"}
        shop.run([Step([], today)])
        shop.build(**today)
        assert shop.rows("SELECT order_date, orders FROM gold.shop_orders_daily") == [(EARLY, 1)]

    def test_a_day_that_is_none_is_refused(self, shop: Shop) -> None:
        done = shop.dbt("compile", "--select", "shop_orders__current", from_day="2023-03-31-05:00")
        assert done.returncode != 0
        assert "from_day must be a day like 2023-01-31, not 2023-03-31-05:00" in done.stdout
