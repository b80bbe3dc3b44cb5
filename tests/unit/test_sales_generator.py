"""The generated sales' database: its mess is as often in it as it says, all else is in order, and a day does what it tells.

SQLite and PostgreSQL both; what is read back is compared as text, so that no client's float hides what a database holds.
"""

import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, inspect, text

from lake.errors import LakeError
from lake.settings import Settings
from sandbox import sales, sales_world
from sandbox.sales_world import BLOCK_LINES, LAST_DAY, MESS, MINIMUM_LINES, TABLES, World

FEW = MINIMUM_LINES
LATER = date(2023, 4, 1)
Rows = dict[str, dict[tuple[Any, ...], tuple[Any, ...]]]

QUERIES: Mapping[str, str] = {
    "line_of_unknown_invoice": """
        select count(*) from invoice_lines l
        where not exists (select 1 from invoices i where i.invoice_id = l.invoice_id)""",
    "line_net_mismatch": """
        select count(*) from invoice_lines
        where abs(net_amount - (quantity * unit_price - coalesce(discount_amount, 0))) > 0.01""",
    "line_quantity_zero": "select count(*) from invoice_lines where quantity = 0",
    "line_changed_in_2199": "select count(*) from invoice_lines where updated_at > '2100-01-01'",
    "payment_of_unknown_invoice": """
        select count(*) from payments p where not exists (select 1 from invoices i where i.invoice_id = p.invoice_id)""",
    "payment_id_twice": """
        select count(*) from (
            select payment_id from payments group by payment_id having count(*) = 2 and min(amount) < max(amount)) twice""",
    "payment_without_updated_at": "select count(*) from payments where updated_at is null",
    "customer_without_name": "select count(*) from customers where customer_name is null",
    "customer_of_unknown_segment": """
        select count(*) from customers where segment not in ('smb', 'mid_market', 'enterprise')""",
    "contract_ends_before_start": "select count(*) from contracts where ends_on < starts_on",
    "invoice_due_before_issue": "select count(*) from invoices where due_on < issued_on",
    "invoice_of_unknown_status": "select count(*) from invoices where status not in ('open', 'paid', 'void')",
    "invoice_header_not_sum": """
        select count(*) from invoices i join (
            select invoice_id, sum(net_amount) as net, sum(tax_amount) as tax from invoice_lines group by invoice_id
        ) l on l.invoice_id = i.invoice_id
        where abs(i.net_total - l.net) > 0.005 or abs(i.tax_total - l.tax) > 0.005""",
    "service_of_negative_price": "select count(*) from services where list_price < 0",
}
IN_ORDER: Mapping[str, str] = {  # what must not be
    "a header without lines": """
        select count(*) from invoices i
        where not exists (select 1 from invoice_lines l where l.invoice_id = i.invoice_id)""",
    "two lines of one number": """
        select count(*) from (select 1 from invoice_lines group by invoice_id, line_number having count(*) > 1) twice""",
    "a line of another customer's contract": """
        select count(*) from invoice_lines l join invoices i on i.invoice_id = l.invoice_id
        left join contracts c on c.contract_id = l.contract_id
        where l.contract_id is not null and (c.customer_id is null or c.customer_id <> i.customer_id)""",
    "a line of no service": """
        select count(*) from invoice_lines l
        where not exists (select 1 from services s where s.service_id = l.service_id and s.list_price > 0
            or s.service_id = l.service_id and s.list_price is null)""",
    "a line of no employee": """
        select count(*) from invoice_lines l where l.employee_id is not null
        and not exists (select 1 from employees e where e.employee_id = l.employee_id)""",
    "an invoice of nobody": """
        select count(*) from invoices i where not exists (select 1 from customers c where c.customer_id = i.customer_id)""",
    "an invoice to who has left": """
        select count(*) from invoices i join customers c on c.customer_id = i.customer_id
        where i.issued_on > c.closed_at and c.closed_at < '2023-03-29'""",
    "an invoice before its customer": """
        select count(*) from invoices i join customers c on c.customer_id = i.customer_id where i.issued_on < '2023-03-29'
        and c.created_at > i.issued_on""",
    "a payment of nothing": "select count(*) from payments where amount = 0",
    "a payment of a void invoice": """
        select count(*) from payments p join invoices i on i.invoice_id = p.invoice_id
        where i.status = 'void' and p.invoice_id > 6""",
    "an open invoice that is paid": """
        select count(*) from invoices i join (
            select invoice_id, sum(amount) as amount from payments where amount > 0 group by invoice_id
        ) p on p.invoice_id = i.invoice_id
        where i.invoice_id > 6 and i.status = 'open' and p.amount >= i.net_total + i.tax_total""",
    "a contract of nobody": """
        select count(*) from contracts k where not exists (select 1 from customers c where c.customer_id = k.customer_id)""",
    "a change before the business": """
        select count(*) from invoices where updated_at < issued_on""",
    "a method that nobody knows": """
        select count(*) from payments where method not in ('bank_transfer', 'card', 'direct_debit')""",
}
NULLABLE = {  # those that are sometimes null, beside the mess
    "employees": {"email", "team", "manager_id", "hired_on", "left_on"},
    "customers": {"customer_name", "industry", "country", "account_manager_id", "closed_at"},
    "services": {"service_name", "unit", "list_price"},
    "contracts": {"employee_id", "ends_on", "monthly_amount", "terms"},
    "invoices": {"due_on"},
    "invoice_lines": {"contract_id", "employee_id", "description", "discount_amount"},
    "payments": {"reference", "updated_at"},
}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sandbox's own database; for tests that only read."""
    sales.prepare(tmp_path_factory.mktemp("sandbox"))
    return next(tmp_path_factory.getbasetemp().glob("sandbox*/sales/sales.db"))


@pytest.fixture(scope="module")
def engine(file: Path) -> Iterator[Engine]:
    made = create_engine(f"sqlite:///{file}")
    yield made
    made.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def small(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """A small world of the test's own, up to 2023-03-30."""
    if request.param == "sqlite":
        sales.write(tmp_path / "small.db", lines=FEW, until=date(2023, 3, 30))
        made = create_engine(f"sqlite:///{tmp_path}/small.db")
    else:
        made = create_engine(request.getfixturevalue("postgres_database"))
        sales.create(made, lines=FEW, until=date(2023, 3, 30))
    yield made
    made.dispose()


def one(engine: Engine, query: str) -> Any:
    with engine.connect() as connection:
        return connection.execute(text(query)).scalar_one()


def mess(engine: Engine) -> dict[str, int]:
    return {name: int(one(engine, query)) for name, query in QUERIES.items()}


def wrong(engine: Engine) -> dict[str, int]:
    return {name: count for name, query in IN_ORDER.items() if (count := one(engine, query))}


def rows(engine: Engine) -> Rows:
    """Table → key, and what makes payments without one distinct → values, alike for both systems."""
    found: Rows = {}
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("set time zone 'UTC'"))
        for table, kinds in TABLES.items():
            columns = ", ".join(f"cast({column} as text)" for column in kinds)
            read = [
                tuple(map(alike, kinds.values(), row))
                for row in connection.execute(text(f"select {columns} from {table}"))
            ]
            found[table] = {(row[0], row[1]) if table == "payments" else (row[0],): row for row in read}
            assert len(found[table]) == len(read)
    return found


def alike(kind: str, value: str | None) -> Any:
    if value is None or kind in {"text", "clob", "date"}:
        return value
    if kind == "timestamp":
        return datetime.fromisoformat(value).replace(tzinfo=None)
    return value[0] in "1t" if kind == "boolean" else Decimal(value)


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# -- what there is -----------------------------------------------------------------------------------------------------


def test_the_mess_is_as_often_there_as_it_says(engine: Engine) -> None:
    assert mess(engine) == {name: count for name, count in MESS.items() if name in QUERIES}
    assert MESS.keys() - QUERIES.keys() == {"customer_later_than_invoices"}  # see the next but one


def test_all_else_is_in_order(engine: Engine) -> None:
    assert wrong(engine) == {}


def test_mess_does_not_grow_with_the_world_nor_with_the_system(small: Engine) -> None:
    assert mess(small) == {name: count for name, count in MESS.items() if name in QUERIES}
    unknown = "select count(distinct i.customer_id) from invoices i where i.customer_id not in (select customer_id from customers)"
    assert one(small, unknown) == MESS["customer_later_than_invoices"]
    assert wrong(small).keys() == {"an invoice of nobody"}
    changes = sales.change(small, date(2023, 3, 31))
    assert one(small, unknown) == 0
    assert len(changes.added["customers"]) == MESS["customer_later_than_invoices"]
    assert wrong(small) == {}


def test_there_are_as_many_lines_as_were_asked_for(engine: Engine, file: Path) -> None:
    world = World(sales.LINES)
    assert (world.invoices, world.customers) == (2_501, 60)
    counted = {
        table: one(engine, f"select count(*) from {table} where {first} <= '2023-03-28'")
        for table, first in (("invoices", "issued_on"), ("payments", "paid_on"))
    }
    assert counted["invoices"] == world.invoices
    assert 0.9 * world.invoices < counted["payments"] < 1.1 * world.invoices
    planned = "select count(*) from invoice_lines l join invoices i on i.invoice_id = l.invoice_id where issued_on <= '2023-03-28'"
    assert one(engine, planned) == sales.LINES + MESS["line_changed_in_2199"]
    assert one(engine, "select count(*) from services") == 41
    assert one(engine, "select count(*) from employees") == 30
    assert one(engine, "select count(*) from customers") == 60 + 2 + MESS["customer_later_than_invoices"]
    assert 1.7 < one(engine, "select 1.0 * count(*) / 60 from contracts") < 2.3


def test_headers_are_the_sums_of_their_lines_to_the_cent(file: Path) -> None:
    """In decimals, from the text that the database has; floats would not do."""
    with closing(sqlite3.connect(file)) as database:
        lines = database.execute(
            "select invoice_id, cast(net_amount as text), cast(tax_amount as text) from invoice_lines"
        )
        sums: dict[int, tuple[Decimal, Decimal]] = {}
        floats = exact = 0
        for invoice, net, tax in lines:
            before = sums.get(invoice, (Decimal(0), Decimal(0)))
            sums[invoice] = (before[0] + Decimal(net), before[1] + Decimal(tax))
            floats, exact = floats + float(net), exact + Decimal(net)
        headers = database.execute("select invoice_id, cast(net_total as text), cast(tax_total as text) from invoices")
        off = {
            invoice: (Decimal(net) - sums[invoice][0], Decimal(tax) - sums[invoice][1])
            for invoice, net, tax in headers
            if (Decimal(net), Decimal(tax)) != sums[invoice]
        }
    assert sorted(off.values()) == [(Decimal("-0.01"), Decimal(0)), (Decimal("10.00"), Decimal(0))]
    assert Decimal(repr(floats)) != exact


def test_both_systems_hold_the_same_to_the_last_digit(tmp_path: Path, postgres_database: str) -> None:
    sales.write(tmp_path / "sales.db", lines=FEW)
    generic, here, there = (
        create_engine(url)
        for url in (f"sqlite:///{tmp_path}/generic.db", f"sqlite:///{tmp_path}/sales.db", postgres_database)
    )
    sales.create(generic, lines=FEW)  # the way into a system that has no fast one
    with there.connect() as connection:
        connection.execute(text("set time zone 'Asia/Taipei'"))
        sales.create(connection, lines=FEW)
        connection.commit()
    try:
        assert rows(here) == rows(generic) == rows(there)
    finally:
        for engine in (generic, here, there):
            engine.dispose()


def test_tables_are_of_the_databases_own_types(small: Engine) -> None:
    found = inspect(small)
    zoned = small.dialect.name == "postgresql"
    for table, kinds in TABLES.items():
        assert [column["name"] for column in found.get_columns(table)] == list(kinds)
        for column, kind in zip(found.get_columns(table), kinds.values(), strict=True):
            said = re.sub(r"\s", "", str(column["type"]).lower()).replace("numeric", "decimal")
            assert said == kind.replace("clob", "text")
            if kind == "timestamp":
                assert column["type"].timezone is zoned
        key = [] if table == "payments" else [next(iter(kinds))]
        assert found.get_pk_constraint(table)["constrained_columns"] == key
        assert ["updated_at"] in [index["column_names"] for index in found.get_indexes(table)]


def test_nulls_are_where_they_may_be_and_nowhere_else(engine: Engine) -> None:
    for table, kinds in TABLES.items():
        empty = {column for column in kinds if one(engine, f"select count(*) from {table} where {column} is null")}
        assert empty == NULLABLE[table], table


# -- what it is like ---------------------------------------------------------------------------------------------------


def test_two_years_grow_and_no_month_is_missing(engine: Engine) -> None:
    with engine.connect() as connection:
        months = connection.execute(
            text("select substr(issued_on, 1, 7), count(*), sum(net_total) from invoices group by 1 order by 1")
        ).all()
    assert [month for month, *_ in months] == [f"{2021 + n // 12}-{1 + n % 12:02}" for n in range(3, 27)]
    assert all(60 < invoices < 180 for _, invoices, _ in months)
    assert sum(net for *_, net in months[-6:]) > 1.3 * sum(net for *_, net in months[:6])


def test_customers_leave_and_return_and_contracts_grow(engine: Engine) -> None:
    def running(day: str) -> dict[int, Decimal]:
        with engine.connect() as connection:
            query = f"""select customer_id, cast(sum(monthly_amount) as text) from contracts
                where starts_on <= '{day}' and (ends_on is null or ends_on >= '{day}') group by customer_id"""
            return {customer: Decimal(amount or 0) for customer, amount in connection.execute(text(query))}

    years = [f"{2021 + n // 12}-{1 + n % 12:02}-28" for n in range(3, 27)]
    seen: set[int] = set()
    kinds = dict.fromkeys(("new", "returned", "churned", "more", "less"), 0)
    before = running("2021-03-28")
    for day in years:
        seen |= before.keys()
        now = running(day)
        kinds["new"] += len(now.keys() - before.keys() - seen)
        kinds["returned"] += len((now.keys() - before.keys()) & seen)
        kinds["churned"] += len(before.keys() - now.keys())
        kinds["more"] += sum(now[one_] > before[one_] for one_ in now.keys() & before.keys())
        kinds["less"] += sum(now[one_] < before[one_] for one_ in now.keys() & before.keys())
        before = now
    assert all(count >= 3 for count in kinds.values()), kinds


def test_terms_are_long_texts_of_any_characters(engine: Engine) -> None:
    with engine.connect() as connection:
        terms = connection.execute(text("select terms from contracts where terms is not null")).scalars().all()
    assert len(terms) >= 5
    assert all(1_000 <= len(one_.encode()) <= 20_480 for one_ in terms)
    assert max(len(one_) for one_ in terms) > 10_000
    assert all(character in one_ for one_ in terms for character in '€"\n,\t\\')


def test_invoices_are_paid_in_every_way(engine: Engine) -> None:
    query = """
        with paid as (
            select i.invoice_id, i.status, i.due_on, i.net_total + i.tax_total as gross, count(p.payment_id) as payments,
                coalesce(sum(case when p.amount > 0 then p.amount end), 0) as amount, min(p.amount) as least,
                max(p.paid_on) as last
            from invoices i left join payments p on p.invoice_id = i.invoice_id
            where i.invoice_id > 6 and i.status <> 'lost' group by i.invoice_id, i.status, i.due_on, gross)
        select count(*) filter (where status = 'paid'),
            count(*) filter (where status = 'open' and amount > 0),
            count(*) filter (where payments = 2 and least > 0),
            count(*) filter (where amount > gross + 0.1),
            count(*) filter (where least < 0),
            count(*) filter (where last > date(due_on, '+5 days')),
            count(*) filter (where status = 'open' and payments = 0),
            count(*) filter (where status = 'open' and due_on < '2022-12-31'),
            count(*) filter (where status = 'void')
        from paid"""
    with engine.connect() as connection:
        paid, partly, in_two, over, refunded, late, unpaid, old, void = connection.execute(text(query)).one()
    assert paid > 1_900
    assert min(partly, in_two, over, refunded, late, unpaid, old, void) >= 10


def test_a_few_rows_are_corrected_long_after_and_nothing_before_its_time(engine: Engine) -> None:
    query = """select count(*), count(*) filter (where julianday(l.updated_at) - julianday(issued_on) > 2.5)
        from invoice_lines l join invoices i on i.invoice_id = l.invoice_id
        where issued_on < '2023-02-01' and l.updated_at < '2023-03-29'"""
    with engine.connect() as connection:
        lines, corrected = connection.execute(text(query)).one()
    assert 0.02 < corrected / lines < 0.06
    assert one(engine, "select count(*) from invoice_lines where updated_at < '2021-04-01'") == 0


# -- the same again ----------------------------------------------------------------------------------------------------


def test_same_arguments_give_the_same_rows(engine: Engine, tmp_path: Path) -> None:
    sales.write(tmp_path / "again.db")
    again = create_engine(f"sqlite:///{tmp_path}/again.db")
    assert rows(again) == rows(engine)
    again.dispose()


def test_lines_are_the_same_in_whatever_parts_they_are_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sales.write(tmp_path / "whole.db", lines=FEW, until=LAST_DAY)
    monkeypatch.setattr(sales_world, "BATCH_LINES", 2 * BLOCK_LINES)
    monkeypatch.setattr(sales, "BATCH_ROWS", 77)
    sales.write(tmp_path / "parts.db", lines=FEW, until=LAST_DAY)
    whole, parts = (create_engine(f"sqlite:///{tmp_path}/{name}.db") for name in ("whole", "parts"))
    assert rows(whole) == rows(parts)
    whole.dispose()
    parts.dispose()


def test_a_file_is_left_alone_unless_the_arguments_are_others(tmp_path: Path) -> None:
    path = tmp_path / "sales" / "sales.db"
    sales.write(path, lines=FEW)
    sales.change(path, LATER)
    changed = path.read_bytes()
    sales.write(path, lines=FEW)
    assert path.read_bytes() == changed
    sales.write(path, lines=FEW, until=LAST_DAY)
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("select max(issued_on) from invoices").fetchone()[0] <= "2023-03-28"
    path.write_bytes(b"no database")
    sales.write(path, lines=FEW)
    assert path.stat().st_size > 100_000
    assert files_in(path.parent) == ["sales.db"]


def test_a_world_that_cannot_be_leaves_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "sales.db"
    sales.write(path, lines=FEW)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="too few"):
        sales.write(path, lines=FEW - 1)
    with pytest.raises(LakeError, match="2023-03-27 is before that"):
        sales.write(path, lines=FEW, until=date(2023, 3, 27))
    assert path.read_bytes() == before
    assert files_in(tmp_path) == ["sales.db"]


def test_the_sandbox_url_leads_to_the_file(file: Path) -> None:
    home = file.parents[1]
    settings = Settings(home=home.parent, sales_database=sales.url(home))
    engine = create_engine(settings.endpoint("sales_database"))
    assert one(engine, "select count(*) from invoices") > 2_500
    engine.dispose()


# -- further days ------------------------------------------------------------------------------------------------------


def test_days_played_afterwards_are_the_days_that_are_written(tmp_path: Path) -> None:
    sales.write(tmp_path / "played.db", lines=FEW, until=LAST_DAY)
    for day in (29, 30, 31):
        sales.change(tmp_path / "played.db", date(2023, 3, day))
    sales.write(tmp_path / "written.db", lines=FEW)
    played, written = (create_engine(f"sqlite:///{tmp_path}/{name}.db") for name in ("played", "written"))
    assert rows(played) == rows(written)
    played.dispose()
    written.dispose()


@pytest.mark.parametrize("day", [date(2023, 3, 31), LATER], ids=str)
def test_a_day_does_what_it_says_and_nothing_else(small: Engine, day: date) -> None:
    before = rows(small)
    changes = sales.change(small, day)
    after = rows(small)
    assert changes.day == day
    for table in TABLES:
        new = sorted(int(key[0]) for key in after[table].keys() - before[table].keys())
        other = sorted(int(key[0]) for key in before[table] if after[table][key] != before[table][key])
        assert (new, other) == (list(changes.added[table]), list(changes.changed[table])), table
        start = datetime.combine(day, datetime.min.time())
        touched = sorted(
            int(row[0]) for row in after[table].values() if row[-1] and start <= row[-1] < start + timedelta(days=1)
        )
        assert tuple(touched) == changes.touched(table)
    late = {"customers": 2, "contracts": 2} if day < LATER else {}
    counts = {table: len(keys) for table, keys in changes.added.items()}
    assert counts == {"employees": 0, "customers": 0, "services": 0, "contracts": 0} | late | {
        "invoices": 6, "invoice_lines": counts["invoice_lines"], "payments": 7,
    }  # fmt: skip
    assert 24 <= counts["invoice_lines"] <= 72
    assert len(changes.changed["customers"]) == 3
    assert mess(small) == {name: count for name, count in MESS.items() if name in QUERIES}


def test_what_a_day_changes_is_what_people_would(small: Engine) -> None:
    before = rows(small)
    changes = sales.change(small, LATER)
    after = rows(small)

    def differing(table: str, key: int) -> dict[str, tuple[Any, Any]]:
        was, is_ = before[table][Decimal(key),], after[table][Decimal(key),]
        return {
            column: (a, b)
            for column, a, b in zip(TABLES[table], was, is_, strict=True)
            if a != b and column != "updated_at"
        }

    moved = [differing("customers", key) for key in changes.moved_customers]
    assert [list(one_) for one_ in moved] == [["segment"], ["account_manager_id"]]
    (closed,) = changes.closed_customers
    assert list(differing("customers", closed)) == ["closed_at"]
    assert changes.changed["contracts"]
    for contract in changes.changed["contracts"]:
        assert after["contracts"][Decimal(contract),][1] == closed
        assert differing("contracts", contract)["status"] == ("active", "cancelled")

    lines = [differing("invoice_lines", key) for key in changes.corrected_lines]
    counted = [one_ for one_ in lines if "quantity" in one_]
    assert len(lines) == 4
    assert len(counted) == 2
    assert all(one_["quantity"][1] == one_["quantity"][0] + 1 for one_ in counted)
    assert [list(one_) for one_ in lines if "quantity" not in one_] == 2 * [["employee_id"]]

    headers = [differing("invoices", key) for key in changes.changed["invoices"]]
    assert sum("net_total" in one_ for one_ in headers) == 2
    assert sum(one_.get("status") == ("open", "paid") for one_ in headers) == len(headers) - 2 == 5
    amounts = [row[3] for key, row in after["payments"].items() if key not in before["payments"]]
    assert sum(amount < 0 for amount in amounts) == 1


def test_a_day_happens_once_and_in_order(small: Engine) -> None:
    with pytest.raises(LakeError, match="2023-03-29 has happened already; the newest invoice is of 2023-03-30"):
        sales.change(small, date(2023, 3, 29))
    before = rows(small)
    with small.connect() as connection:
        sales.change(connection, LATER)
        connection.rollback()  # the transaction is the caller's
    assert rows(small) == before
    assert sales.change(small, LATER).day == LATER
    with pytest.raises(LakeError, match="2023-04-01 has happened already"):
        sales.change(small, LATER)


def test_times_are_of_utc_in_a_database_that_keeps_zones(postgres_database: str) -> None:
    engine = create_engine(postgres_database)
    sales.create(engine, lines=FEW)
    with engine.connect() as connection:
        lost = (
            connection.execute(text("select updated_at from contracts where ends_on < starts_on order by 1"))
            .scalars()
            .all()
        )
    engine.dispose()
    assert [moment.astimezone(UTC) for moment in lost] == [
        datetime(2022, 7, 1, 7, minute, 7, 7, UTC) for minute in (8, 9)
    ]
