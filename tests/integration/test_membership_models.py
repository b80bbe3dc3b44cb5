"""Silver and gold of the membership, built by dbt over bronze that was loaded for real: meaning, checks, history."""

import re
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any, ClassVar

import duckdb
import pytest
from memberships import (
    FIRST,
    LAST,
    NEXT,
    OF_FIRST,
    SECOND,
    SELECT,
    THIRD,
    Delivery,
    Membership,
    active,
    bring,
    post,
    pre,
    top_up,
)

from lake.settings import Settings

NO_UNIT_TESTS = ("--exclude-resource-type", "unit_test")
STAR = ("dim_users", "dim_channels", "dim_dates", "fct_topup", "fct_user_activity", "fct_channel_settlement")
WEEKS = [date(2023, 3, day) for day in (6, 13, 20, 27)]
Rows = list[tuple[Any, ...]]


def d(text: str) -> date:
    return date.fromisoformat(f"2023-{text}")


def m(text: str) -> Decimal:
    return Decimal(text)


class Local(Membership):
    """On DuckDB, with something to ask it."""

    def rows(self, sql: str) -> Rows:
        with duckdb.connect(str(self.settings.duckdb_path), read_only=True) as connection:
            return connection.execute(sql).fetchall()

    def change(self, *statements: str) -> None:
        with duckdb.connect(str(self.settings.duckdb_path)) as connection:
            for statement in statements:
                connection.execute(statement)

    def failing(self, test: str) -> list[dict[str, Any]]:
        """The rows that a test of the last run gives, as whoever looks into it sees them."""
        (path,) = (self.folder / "target" / "compiled").rglob(f"{test}.sql")
        with duckdb.connect(str(self.settings.duckdb_path), read_only=True) as connection:
            found = connection.execute(path.read_text())
            names = [column[0] for column in found.description or ()]
            return [dict(zip(names, row, strict=True)) for row in found.fetchall()]

    def gold(self) -> dict[str, Rows]:
        """Every table of gold, its rows sorted."""
        names = self.rows("SELECT table_name FROM information_schema.tables WHERE table_schema = 'gold' ORDER BY 1")
        return {name: self.rows(f"SELECT * FROM gold.{name} ORDER BY ALL") for (name,) in names}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Local:
    """The first load, built with all its tests, unit tests too."""
    membership = Local(Settings(home=tmp_path_factory.mktemp("home")), tmp_path_factory.mktemp("dbt"))
    bring(membership.settings, OF_FIRST)
    membership.build()
    return membership


class TestFirstBuild:
    """One load of four weeks. Runs before the module's later classes bring more."""

    def test_the_last_workbook_counts_and_what_is_invalid_is_aside_with_its_reason(self, made: Local) -> None:
        found = made.rows("SELECT top_up_id, amount, source_day FROM silver.membership_top_ups ORDER BY 1")
        assert found == [
            (f"T{number:02}", m(amount), FIRST)
            for number, amount in enumerate(["100.00", "50.50", "30.00", "30.00", "20.00", "40.00", "10.00"], 1)
        ]
        rejected = made.rows(
            "SELECT reject_reason, top_up_id FROM silver.membership_top_ups__rejected"
            " UNION ALL SELECT reject_reason, user_id FROM silver.membership_user_activity__rejected"
            " UNION ALL SELECT reject_reason, concat_ws(' ', report, settlement_date, channel_code)"
            " FROM silver.membership_channel_settlements__rejected ORDER BY ALL"
        )
        assert rejected == [
            ("invalid_amount", "T92"),
            ("invalid_amount", "post 2023-03-29 web"),
            ("invalid_amount", "pre 2023-03-29 kiosk"),
            ("invalid_diamonds", "T93"),
            ("invalid_rate", "post 2023-03-29 gplay"),
            ("negative_count", "pre 2023-03-30 kiosk"),
            ("negative_count", "u8"),
            ("unknown_channel_type", "pre 2023-03-28 kiosk"),
            ("unknown_currency", "T91"),
            ("unknown_level", "u9"),
            ("unknown_status", "T90"),
        ]
        place = made.rows("SELECT workbook, sheet, sheet_row FROM silver.membership_top_ups__rejected ORDER BY 3")
        assert place == [("01.xlsx", "Sheet1", number) for number in (90, 91, 92, 93)]

    def test_every_row_of_bronze_is_in_one_place(self, made: Local) -> None:
        accounts = made.rows(
            "SELECT 'top_up', * FROM silver.membership_top_ups__accounting"
            " UNION ALL SELECT 'op_stats', * FROM silver.membership_user_activity__accounting"
            " UNION ALL SELECT * FROM silver.membership_channel_settlements__accounting ORDER BY ALL"
        )
        assert accounts == [  # bronze, silver, rejected, superseded, unaccounted
            ("op_stats", FIRST, 12, 10, 2, 0, 0),
            ("post", FIRST, 7, 5, 2, 0, 0),
            ("pre", FIRST, 9, 5, 3, 1, 0),
            ("top_up", FIRST, 12, 7, 4, 1, 0),
        ]

    def test_top_ups_by_the_clock_on_the_wall(self, made: Local) -> None:
        found = made.rows(
            "SELECT top_up_id, topup_date, topup_hour, topup_day_segment, is_repeat_topup, paid_amount"
            " FROM gold.membership_fct_topup ORDER BY 1"
        )
        assert found == [
            ("T01", d("03-06"), 23, "evening", False, m("100.00")),
            ("T02", d("03-07"), 0, "dawn", True, m("50.50")),
            ("T03", d("03-12"), 5, "dawn", False, m("0.00")),
            ("T04", d("03-12"), 6, "morning", False, m("30.00")),  # what failed before it does not count
            ("T05", d("03-12"), 12, "afternoon", True, m("0.00")),
            ("T06", d("03-12"), 18, "evening", True, m("40.00")),
            ("T07", d("03-28"), 1, "dawn", False, m("10.00")),
        ]

    def test_dimensions(self, made: Local) -> None:
        users = made.rows("SELECT * FROM gold.membership_dim_users ORDER BY 1")
        assert users == [
            ("u1", "Uno", d("03-01"), d("03-06"), d("03-27"), "gold", 2, d("03-27"), 2, m("150.50")),
            ("u2", "U2", d("02-28"), d("03-06"), d("03-13"), "silver", 1, d("03-13"), 2, m("70.00")),
            ("u3", "U3", d("03-01"), d("03-12"), d("03-28"), "basic", 0, d("03-12"), 1, m("10.00")),
            ("u4", "U4", d("03-01"), d("03-29"), d("03-29"), "diamond", 3, d("03-29"), 0, m("0.00")),
        ]
        channels = made.rows("SELECT * FROM gold.membership_dim_channels ORDER BY 1")
        assert channels == [
            ("gplay", "Play", "app_store", d("03-12"), d("03-28")),
            ("web", "The web", "web", d("03-06"), d("03-28")),
        ]
        days = made.rows(
            "SELECT date_day, week_start, day_of_week, is_weekend FROM gold.membership_dim_dates ORDER BY 1"
        )
        assert [day for day, *_ in days] == [date(2023, 3, number) for number in range(6, 30)]
        assert all(start == WEEKS[(day - WEEKS[0]).days // 7] for day, start, *_ in days)
        assert all(number == day.isoweekday() and end == (number > 5) for day, _, number, end in days)

    def test_the_funnel_of_a_day(self, made: Local) -> None:
        found = made.rows("SELECT activity_date, stage_order, users FROM gold.membership_topup_funnel ORDER BY 1, 2")
        days = {day: [users for that, _, users in found if that == day] for day, *_ in found}
        assert days == {
            d("03-06"): [2, 2, 1, 1, 0],  # u2 saw the page, u1 bought for the first time
            d("03-07"): [1, 1, 1, 1, 1],  # u1 bought again, and is in no statistics of that day
            d("03-12"): [3, 2, 1, 1, 1],  # u3 saw the page; u2 paid twice on one day
            d("03-13"): [1, 0, 0, 0, 0],
            d("03-19"): [1, 0, 0, 0, 0],
            d("03-27"): [1, 0, 0, 0, 0],
            d("03-28"): [1, 1, 1, 1, 0],
            d("03-29"): [1, 0, 0, 0, 0],
        }

    def test_cohorts_of_weeks(self, made: Local) -> None:
        found = made.rows("SELECT * FROM gold.membership_user_retention ORDER BY ALL")
        first, last = WEEKS[0], WEEKS[3]
        assert found == [(first, 0, 3, 3), (first, 1, 3, 2), (first, 2, 3, 0), (first, 3, 3, 2), (last, 0, 1, 1)]

    def test_who_moved_from_week_to_week(self, made: Local) -> None:
        found = made.rows("SELECT * FROM gold.membership_membership_movement ORDER BY ALL")
        assert found == [
            (WEEKS[0], "joined", None, "basic", 1),
            (WEEKS[0], "joined", None, "gold", 1),
            (WEEKS[0], "joined", None, "silver", 1),  # basic on Monday, silver on Sunday
            (WEEKS[1], "downgraded", "gold", "silver", 1),
            (WEEKS[1], "dropped_off", "basic", None, 1),
            (WEEKS[1], "stayed", "silver", "silver", 1),
            (WEEKS[2], "dropped_off", "silver", None, 2),
            (WEEKS[3], "joined", None, "diamond", 1),
            (WEEKS[3], "returned", None, "basic", 1),
            (WEEKS[3], "returned", None, "gold", 1),
        ]

    def test_channels_and_their_deductions(self, made: Local) -> None:
        performance = made.rows(
            "SELECT topup_date, channel_code, orders, paid_orders, paying_users, repeat_orders, paid_amount, deductions,"
            " net_amount FROM gold.membership_channel_performance ORDER BY 1, 2"
        )
        assert performance == [
            (d("03-06"), "web", 1, 1, 1, 0, m("100.00"), m("31.50"), m("68.50")),
            (d("03-07"), "web", 1, 1, 1, 1, m("50.50"), m("15.91"), m("34.60")),
            (d("03-12"), "gplay", 4, 2, 1, 1, m("70.00"), m("10.50"), m("59.50")),
            (d("03-12"), "web", 0, 0, 0, 0, m("0.00"), m("0.00"), m("0.00")),
            (d("03-28"), "gplay", 0, 0, 0, 0, m("0.00"), m("0.00"), m("0.00")),
            (d("03-28"), "web", 1, 1, 1, 0, m("10.00"), None, None),
        ]
        deviation = made.rows(
            "SELECT settlement_date, channel_code, expected_deductions, deviation, settlement_gap, is_within_tolerance"
            " FROM gold.membership_deduction_deviation ORDER BY 1, 2"
        )
        assert deviation == [
            (d("03-06"), "web", m("30.00"), m("1.50"), m("0.00"), True),
            (d("03-07"), "web", m("15.15"), m("0.76"), m("0.01"), True),
            (d("03-12"), "gplay", m("10.50"), m("0.00"), m("0.00"), True),
            (d("03-12"), "web", None, None, m("0.00"), True),
        ]


class TestLaterBuilds:
    """The next day with a correction of the first one, then a correction of that and a report that is gone."""

    @pytest.fixture(scope="class")
    def second(self, made: Local) -> Local:
        bring(made.settings, SECOND)
        made.build(*NO_UNIT_TESTS)
        return made

    @pytest.fixture(scope="class")
    def third(self, second: Local) -> Local:
        bring(second.settings, THIRD)
        second.build(*NO_UNIT_TESTS)
        return second

    def history(self, membership: Local) -> Rows:
        return membership.rows(
            "SELECT user_id, membership_level, dbt_valid_from, dbt_valid_to FROM silver.membership_user_levels"
            " ORDER BY user_id, dbt_valid_from, workbook_modified_at"
        )

    def test_a_late_workbook_reopens_its_day(self, second: Local) -> None:
        level = "SELECT membership_level, level_since FROM gold.membership_dim_users WHERE user_id = 'u4'"
        assert second.rows(level) == [("gold", FIRST)]
        account = second.rows(
            "SELECT source_day, bronze_rows, silver_rows, rejected_rows, superseded_rows"
            " FROM silver.membership_user_activity__accounting ORDER BY 1"
        )
        assert account == [(FIRST, 13, 10, 2, 1), (NEXT, 1, 1, 0, 0)]

    def test_of_two_orders_in_one_second_that_with_the_greater_number_repeats(self, second: Local) -> None:
        found = second.rows(
            f"SELECT top_up_id, is_repeat_topup FROM gold.membership_fct_topup WHERE topup_date = '{NEXT}' ORDER BY 1"
        )
        assert found == [("T08", False), ("T09", True)]
        (funnel,) = second.rows(
            f"SELECT list(users ORDER BY stage_order) FROM gold.membership_topup_funnel WHERE activity_date = '{NEXT}'"
        )
        assert funnel == ([2, 1, 1, 1, 1],)

    def test_history_is_by_the_day_of_the_report(self, second: Local) -> None:
        assert self.history(second) == [
            ("u1", "gold", WEEKS[3], NEXT),
            ("u1", "diamond", NEXT, None),
            ("u2", "silver", WEEKS[1], None),
            ("u3", "basic", d("03-28"), None),
            ("u4", "diamond", FIRST, FIRST),  # taken back by a workbook of the same day
            ("u4", "gold", FIRST, None),
        ]

    def test_a_level_may_be_corrected_twice_and_a_report_that_is_gone_takes_nothing_back(self, third: Local) -> None:
        found = third.rows("SELECT user_id, membership_level FROM gold.membership_dim_users ORDER BY 1")
        assert found == [("u1", "gold"), ("u2", "silver"), ("u3", "basic"), ("u4", "diamond")]
        assert self.history(third) == [
            ("u1", "gold", WEEKS[3], NEXT),
            ("u1", "diamond", NEXT, None),
            ("u2", "silver", WEEKS[1], None),
            ("u3", "basic", d("03-28"), None),
            ("u4", "diamond", FIRST, FIRST),
            ("u4", "gold", FIRST, FIRST),
            ("u4", "diamond", FIRST, None),
        ]


class TestWhatStopsGold:
    """Each check is broken once: it fails alone, says where, and gold is left as it was."""

    GOOD: ClassVar[Delivery] = {
        ("top_up", LAST): (top_up(20, "u1", "web", "2023-03-31 03:00:00", "5"),),
        ("pre_deduction", LAST): (pre("2023-03-31", "web", 1, "5"), pre("2023-03-31", "gplay", 3, "0")),
        ("post_deduction", LAST): (
            post("2023-03-31", "web", "0.30", "1.50", "0.08", "3.42"),
            post("2023-03-31", "gplay", "0.15", "0", "0", "0"),
        ),
        ("op_stats", LAST): (active("2023-03-31", "u1", "diamond"),),
    }
    BROKEN: ClassVar[Mapping[str, tuple[Delivery, dict[str, Any]]]] = {
        "top_ups_are_of_known_users": (
            {("top_up", LAST): (top_up(20, "nobody", "web", "2023-03-31 03:00:00", "5"),)},
            {"source_day": LAST, "topup_date": LAST, "channel_code": "web", "user_id": "nobody", "row_count": 1},
        ),
        "top_ups_are_of_known_channels": (
            {
                ("top_up", LAST): (
                    *GOOD["top_up", LAST],
                    top_up(21, "u1", "nowhere", "2023-03-31 03:00:00", "7"),
                    top_up(22, "u1", "nowhere", "2023-03-31 04:00:00", "7"),
                )
            },
            {"source_day": LAST, "topup_date": LAST, "channel_code": "nowhere", "row_count": 2},
        ),
        "gross_amounts_are_what_top_ups_come_to": (
            {("pre_deduction", LAST): (pre("2023-03-31", "web", 1, "5.01"),)},
            {"settlement_date": LAST, "channel_code": "web", "topup_amount": m("5.00"), "gross_gap": m("0.01")},
        ),
        "net_amounts_are_top_ups_less_deductions": (
            {("post_deduction", LAST): (post("2023-03-31", "web", "0.30", "1.50", "0.08", "3.40"),)},
            {"settlement_date": LAST, "channel_code": "web", "topup_amount": m("5.00"), "net_gap": m("-0.02")},
        ),
    }

    @pytest.fixture(scope="class")
    def good(self, made: Local) -> Local:
        bring(made.settings, self.GOOD)
        made.build(*NO_UNIT_TESTS)
        return made

    @pytest.mark.parametrize("test", BROKEN)
    def test_a_check_across_tables_fails_and_names_the_place(self, good: Local, test: str) -> None:
        before = good.gold()
        delivery, expected = self.BROKEN[test]
        bring(good.settings, delivery)
        done = good.dbt("build", "--select", *SELECT, *NO_UNIT_TESTS)
        bring(good.settings, {partition: self.GOOD[partition] for partition in delivery})
        assert done.returncode == 1
        (failed,) = re.findall(r" of \d+ FAIL (\d+) (\w+)", done.stdout)
        assert failed == ("1", test)
        (row,) = good.failing(test)
        assert {name: row[name] for name in expected} == expected
        assert "OK created sql table model gold." not in done.stdout
        assert "SKIP relation gold.membership_fct_topup" in done.stdout
        assert good.gold() == before

    def test_a_settlement_that_counts_otherwise_is_said_and_a_repeat_changes_nothing(self, good: Local) -> None:
        levels = "SELECT * FROM silver.membership_user_levels ORDER BY ALL"
        before = good.gold(), good.rows(levels)
        out = good.build(*NO_UNIT_TESTS)
        assert set(re.findall(r" of \d+ WARN (\d+) (\w+)", out)) == {
            ("1", "channels_count_the_top_ups_that_we_do"),
            ("1", "settlements_are_reported_before_deductions"),
            ("1", "settlements_are_reported_after_deductions"),
        }
        (row,) = good.failing("channels_count_the_top_ups_that_we_do")
        assert (row["settlement_date"], row["channel_code"], row["count_gap"]) == (LAST, "gplay", 3)
        assert (good.gold(), good.rows(levels)) == before
        assert all(before[0].values())

    def test_rows_unaccounted_for_stop_gold(self, good: Local) -> None:
        before = good.gold()
        good.change(
            "DELETE FROM silver.membership_top_ups WHERE top_up_id = 'T01'",
            f"DELETE FROM silver.membership_user_activity WHERE user_id = 'u1' AND activity_date = '{LAST}'",
            f"UPDATE silver.membership_channel_settlements SET has_post = false WHERE settlement_date = '{LAST}'",
        )
        star = [f"membership_{name}" for name in STAR]
        done = good.dbt("build", "--select", "membership_*__accounting", *star, *NO_UNIT_TESTS)
        assert done.returncode == 1
        assert sorted(re.findall(r"FAIL 1 row_accounting_membership_(\w+)__accounting_", done.stdout)) == [
            "channel_settlements",
            "top_ups",
            "user_activity",
        ]
        assert [name for name in star if f"SKIP relation gold.{name} " not in done.stdout] == []
        (lost,) = good.failing("row_accounting_membership_user_activity__accounting_")
        assert (lost["source_day"], lost["unaccounted_rows"]) == (LAST, 1)
        assert good.gold() == before
