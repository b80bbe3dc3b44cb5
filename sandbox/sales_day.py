"""One further day in the sales' database, and its tables as SQLAlchemy has them.

What belongs here: what people enter and correct on a day, in plain SQL that any database understands. What does not:
what was there before (`sandbox.sales_world`), whose mess it leaves alone, and making the database (`sandbox.sales`).

Chance depends on the day, and on what is there. The source keeps no history: a change replaces a row and moves its
`updated_at`. Two customers are invoiced on 2023-03-29 and 30 and entered on the 31st only; that is part of `MESS`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_HALF_UP, Decimal
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from lake.errors import LakeError
from sandbox.sales_world import CATEGORIES, EMPLOYEES, ITS_PRICE, MANAGERS, NOBODY, TABLES
from sandbox.shop_world import Dice

if TYPE_CHECKING:
    from sqlalchemy import Connection, MetaData, Table

Row = dict[str, Any]

WITHOUT_KEY = "payments"  # it stands for a table that nobody constrains
LATE_CUSTOMERS: Mapping[date, int] = {date(2023, 3, 29): 1, date(2023, 3, 30): 2}  # day of the invoice → which of them
LATE_ARRIVAL = date(2023, 3, 31)
SEGMENTS = ("smb", "mid_market", "enterprise")
PROMOTED: Mapping[str, str] = {"smb": "mid_market", "mid_market": "enterprise", "enterprise": "mid_market"}
FACTORS: Mapping[str, float] = {"smb": 1, "mid_market": 3.2, "enterprise": 11}
TERMS_OF_PAYMENT: Mapping[str, int] = {"smb": 14, "mid_market": 30, "enterprise": 45}  # days
CENT = Decimal("0.01")
DAY_BEGINS, DAY_SECONDS = 7 * 3600, 13 * 3600  # when people work
PARAMETERS = 5_000  # of one statement, which databases limit


@dataclass(frozen=True)
class Changes:
    """What a day did. Each row named here has a time of change in that day, and no other row has.

    Attributes:
        day: in UTC.
        added: table → keys of its new rows.
        changed: table → keys of rows that were there.
        corrected_lines: lines with another quantity or employee.
        moved_customers: of another segment, and of another account manager.
        closed_customers: their contracts end, too.
    """

    day: date
    added: Mapping[str, tuple[int, ...]]
    changed: Mapping[str, tuple[int, ...]]
    corrected_lines: tuple[int, ...]
    moved_customers: tuple[int, ...]
    closed_customers: tuple[int, ...]

    def touched(self, table: str) -> tuple[int, ...]:
        """Keys of all rows of a table that the day has added or changed."""
        return tuple(sorted((*self.added[table], *self.changed[table])))


def happen(connection: "Connection", day: date) -> Changes:
    """Let a day happen, in the caller's transaction.

    Args:
        connection: to a database that holds the days before.
        day: after all of them.

    Returns:
        What it did.

    Raises:
        LakeError: it, or a later day, has happened.
    """
    return _Day(connection, day).happen()


# -- tables ------------------------------------------------------------------------------------------------------------


@cache
def schema() -> "MetaData":
    """The tables, as SQLAlchemy has them; no index but the keys'."""
    from sqlalchemy import CLOB, Column, MetaData, Table

    schema = MetaData()
    for name, columns in TABLES.items():
        key = None if name == WITHOUT_KEY else next(iter(columns))
        Table(
            name,
            schema,
            *(
                Column(column, _type(kind, CLOB), primary_key=column == key, autoincrement=False)
                for column, kind in columns.items()
            ),
        )
    return schema


def _type(kind: str, clob: Any) -> Any:
    from sqlalchemy import BIGINT, BOOLEAN, DATE, DECIMAL, TEXT, TIMESTAMP

    if decimal := re.fullmatch(r"decimal\((\d+),(\d+)\)", kind):
        return DECIMAL(int(decimal[1]), int(decimal[2]))
    return {
        "bigint": BIGINT(),
        "text": TEXT(),
        "clob": TEXT().with_variant(clob(), "sqlite", "oracle"),
        "date": DATE(),
        "boolean": BOOLEAN(),
        "timestamp": TIMESTAMP(timezone=True),
    }[kind]


def indexes() -> list[str]:
    """Statements that make the other indexes, once the tables are full."""
    return [f"CREATE INDEX {name}_updated_at ON {name} (updated_at)" for name in TABLES]


# -- a day -------------------------------------------------------------------------------------------------------------


@dataclass
class _Day:
    """One day while it happens. What it reads, it reads before it writes to that table."""

    connection: "Connection"
    day: date
    added: dict[str, list[Row]] = field(default_factory=lambda: {name: [] for name in TABLES})
    changed: dict[str, dict[int, Row]] = field(default_factory=lambda: {name: {} for name in TABLES})
    newest: dict[str, int] = field(default_factory=dict)  # table → the greatest key before the day

    def __post_init__(self) -> None:
        self.dice = Dice("sales", self.day)

    def happen(self) -> Changes:
        """All of the day, in the caller's transaction."""
        newest = _date(self._one("SELECT max(issued_on) FROM invoices"))
        if newest >= self.day:
            raise LakeError(f"sales: {self.day} has happened already; the newest invoice is of {newest}")
        for name, columns in TABLES.items():
            self.newest[name] = int(self._one(f"SELECT max({next(iter(columns))}) FROM {name}"))  # noqa: S608 - ours
        customers = self._rows(
            "customers",
            f"closed_at IS NULL AND customer_name IS NOT NULL AND segment IN {SEGMENTS} ORDER BY customer_id",
        )
        number = max(6, self.newest["invoices"] // 500)
        self._late_customers()
        self._invoices(customers, number)
        self._payments(number)
        corrected = (*self._recount(max(2, number // 4)), *self._reassign(max(2, number // 4)))
        moved, closed = self._customers(customers)
        self._write()
        return Changes(
            self.day,
            MappingProxyType(
                {name: tuple(sorted(_key(name, row) for row in rows)) for name, rows in self.added.items()}
            ),
            MappingProxyType({name: tuple(sorted(rows)) for name, rows in self.changed.items()}),
            corrected,
            moved,
            closed,
        )

    def _invoices(self, customers: Sequence[Row], number: int) -> None:
        """New invoices of customers, and of one who is not there yet."""
        services = {row["service_id"]: row for row in self._rows("services", "list_price >= 0 OR list_price IS NULL")}
        buyers = [self.dice.pick(customers) for _ in range(number)]
        if late := LATE_CUSTOMERS.get(self.day):
            buyers.append(self._late(late))
        ids = sorted({buyer["customer_id"] for buyer in buyers})
        running: dict[int, list[Row]] = {}
        for signed in self._rows_of("contracts", "customer_id", ids):
            if signed["status"] == "active" and signed["starts_on"] <= self.day:
                running.setdefault(signed["customer_id"], []).append(signed)
        invoice_id, line_id = self.newest["invoices"], self.newest["invoice_lines"]
        for buyer in buyers:
            invoice_id += 1
            at = self._moment()
            lines = []
            own = running.get(buyer["customer_id"], [])
            for place in range(self.dice.between(4, 12)):
                line_id += 1
                contract = self.dice.pick(own) if own and self.dice.chance(0.5) else None
                service = services[contract["service_id"] if contract else self.dice.pick(sorted(services))]
                placed = {"line_id": line_id, "invoice_id": invoice_id, "line_number": place + 1}
                lines.append({**placed, **self._sold(service, contract, buyer), "updated_at": at})
            self.added["invoice_lines"] += lines
            self.added["invoices"].append(
                {
                    "invoice_id": invoice_id,
                    "invoice_number": f"INV-{self.day.year}-{invoice_id:08}",
                    "customer_id": buyer["customer_id"],
                    "issued_on": self.day,
                    "due_on": self.day + timedelta(days=TERMS_OF_PAYMENT[buyer["segment"]]),
                    "status": "open",
                    "net_total": sum(line["net_amount"] for line in lines),
                    "tax_total": sum(line["tax_amount"] for line in lines),
                    "updated_at": at,
                }
            )

    def _sold(self, service: Row, contract: Row | None, buyer: Row) -> Row:
        """What a line says of a service, beside its place."""
        category = CATEGORIES[service["category"]]
        value = category.worth * (1 + category.growth) * FACTORS[buyer["segment"]] * (0.5 + 1.5 * self.dice.share())
        full = service["list_price"] or ITS_PRICE
        price = _rounded(full * Decimal(84 + self.dice.between(0, 16)) / 100, "0.0001")
        quantity = _rounded(Decimal(value) / price, "0.001")
        rate = Decimal("0.10") if self.dice.chance(0.25) else None
        return {
            "contract_id": contract and contract["contract_id"],
            "service_id": service["service_id"],
            "employee_id": (contract or {}).get("employee_id") or buyer["account_manager_id"],
            "description": f"{service['service_name'] or 'Service'}, {self.day:%Y-%m}",
            "unit_price": price,
            **_amounts(quantity, price, rate and _rounded(quantity * price * rate), _tax_rate(buyer)),
        }

    def _payments(self, number: int) -> None:
        """Of invoices that are due, oldest first: one is paid in part, one too much; and one is given back a little."""
        since = self.day - timedelta(days=60)
        due = self._rows(
            "invoices", f"status = 'open' AND due_on > '{since}' ORDER BY due_on, invoice_id LIMIT {number}"
        )
        received: dict[int, Decimal] = {}
        for payment in self._rows_of("payments", "invoice_id", [invoice["invoice_id"] for invoice in due]):
            received[payment["invoice_id"]] = received.get(payment["invoice_id"], Decimal(0)) + payment["amount"]
        for place, invoice in enumerate(due):
            rest = invoice["net_total"] + invoice["tax_total"] - received.get(invoice["invoice_id"], 0)
            if rest <= 0:
                continue
            amount = {1: _rounded(rest / 2), 2: rest + 10}.get(place, rest)
            at = self._paid(invoice["invoice_id"], amount)
            if amount >= rest:
                self._change("invoices", invoice, at, status="paid")
        for invoice in self._rows("invoices", "status = 'paid' ORDER BY issued_on DESC, invoice_id LIMIT 1"):
            self._paid(invoice["invoice_id"], _rounded((invoice["net_total"] + invoice["tax_total"]) * Decimal("-0.1")))

    def _paid(self, invoice: int, amount: Decimal) -> datetime:
        at = self._moment()
        self.added["payments"].append(
            {
                "payment_id": self.newest["payments"] + len(self.added["payments"]) + 1,
                "invoice_id": invoice,
                "paid_on": self.day,
                "amount": amount,
                "method": self.dice.pick(("bank_transfer", "direct_debit", "card")),
                "reference": f"RF{invoice:09}" if self.dice.chance(0.9) else None,
                "updated_at": at,
            }
        )
        return at

    def _recount(self, number: int) -> Iterator[int]:
        """One unit more on a line of so many open invoices, whose headers follow."""
        taken = self.changed["invoices"]
        found = self._rows(
            "invoices",
            f"status = 'open' AND issued_on < '{self.day}' "
            f"ORDER BY issued_on DESC, invoice_id LIMIT {4 * number + len(taken)}",
        )
        wanted = [invoice for invoice in found if invoice["invoice_id"] not in taken]
        customers = {
            row["customer_id"]: row
            for row in self._rows_of("customers", "customer_id", [invoice["customer_id"] for invoice in wanted])
        }
        lines: dict[
            int, Row
        ] = {}  # nothing but their key has an index, and the newest lines are of the newest invoices
        newest = self.newest["invoice_lines"]
        for line in self._rows("invoice_lines", f"line_id > {newest - 60 * number} ORDER BY line_id"):
            if _in_order(line) and line["quantity"] > 0:
                lines.setdefault(line["invoice_id"], line)
        pairs = [(invoice, lines[invoice["invoice_id"]]) for invoice in wanted if invoice["invoice_id"] in lines]
        for invoice, line in pairs[:number]:
            at = self._moment()
            rate = _tax_rate(customers.get(invoice["customer_id"], {}))
            values = _amounts(line["quantity"] + 1, line["unit_price"], line["discount_amount"], rate)
            totals = {
                f"{part}_total": invoice[f"{part}_total"] + values[f"{part}_amount"] - line[f"{part}_amount"]
                for part in ("net", "tax")
            }
            self._change("invoice_lines", line, at, **values)
            self._change("invoices", invoice, at, **totals)
            yield line["line_id"]

    def _reassign(self, number: int) -> Iterator[int]:
        """So many lines, of whatever age, turn out to be another employee's."""
        newest, taken = self.newest["invoice_lines"], self.changed["invoice_lines"]
        ids = sorted({self.dice.between(1, newest) for _ in range(3 * number + 20)})
        found = [line for line in self._rows_of("invoice_lines", "line_id", ids) if line["line_id"] not in taken]
        for line in [line for line in found if _in_order(line)][:: max(1, len(found) // number)][:number]:
            employee = self.dice.between(MANAGERS + 1, EMPLOYEES - 1)
            other = employee + (employee >= (line["employee_id"] or EMPLOYEES))
            self._change("invoice_lines", line, self._moment(), employee_id=other)
            yield line["line_id"]

    def _customers(self, customers: Sequence[Row]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """One moves to another segment, one gets another account manager, one closes."""
        start, step = self.dice.between(0, len(customers) - 1), len(customers) // 3
        first, second, third = (customers[(start + place * step) % len(customers)] for place in range(3))
        self._change("customers", first, self._moment(), segment=PROMOTED[first["segment"]])
        manager = self.dice.between(MANAGERS + 1, EMPLOYEES - 1)
        manager += manager >= (second["account_manager_id"] or EMPLOYEES)
        self._change("customers", second, self._moment(), account_manager_id=manager)
        at = self._moment()
        self._change("customers", third, at, closed_at=at)
        for contract in self._rows_of("contracts", "customer_id", [third["customer_id"]]):
            if contract["status"] == "active":
                ends = max(self.day, contract["starts_on"])
                self._change("contracts", contract, at, ends_on=ends, status="cancelled")
        return (first["customer_id"], second["customer_id"]), (third["customer_id"],)

    def _late_customers(self) -> None:
        """Those who were invoiced before they were known."""
        if self.day != LATE_ARRIVAL:
            return
        for invoiced, place in LATE_CUSTOMERS.items():
            customer, at = self._late(place), self._moment()
            created = datetime.combine(invoiced, time(8, 30), UTC)
            self.added["customers"].append(
                {**customer, "industry": "finance", "created_at": created, "closed_at": None, "updated_at": at}
            )
            self.added["contracts"].append(
                {
                    "contract_id": customer["customer_id"] * 10 + 1,
                    "customer_id": customer["customer_id"],
                    "service_id": 1 + place,
                    "employee_id": customer["account_manager_id"],
                    "starts_on": invoiced,
                    "ends_on": None,
                    "monthly_amount": Decimal("250.50") * place,
                    "status": "active",
                    "terms": None,
                    "updated_at": at,
                }
            )

    def _late(self, place: int) -> Row:
        """The customer who comes as so manieth after the others."""
        return {
            "customer_id": self.newest["customers"] + place,
            "customer_name": f"Latecomer {place} AG",
            "segment": SEGMENTS[place - 1],
            "country": "AT",
            "account_manager_id": 10 + place,
        }

    # -- reading and writing rows

    def _one(self, query: str) -> Any:
        from sqlalchemy import text

        return self.connection.execute(text(query)).scalar_one()

    def _rows(self, table: str, condition: str) -> list[Row]:
        from sqlalchemy import select, text

        found = self.connection.execute(select(self._table(table)).where(text(condition)))
        return [dict(row) for row in found.mappings()]

    def _rows_of(self, table: str, column: str, values: Sequence[int]) -> list[Row]:
        """Rows with one of these values, in the order of their keys."""
        from sqlalchemy import select

        model, rows = self._table(table), []
        wanted = sorted(set(values))
        for first in range(0, len(wanted), PARAMETERS):
            query = select(model).where(model.c[column].in_(wanted[first : first + PARAMETERS]))
            rows += [dict(row) for row in self.connection.execute(query).mappings()]
        return sorted(rows, key=lambda row: _key(table, row))

    def _change(self, table: str, row: Row, at: datetime, **values: Any) -> None:
        self.changed[table][_key(table, row)] = {**values, "updated_at": at}

    def _write(self) -> None:
        from sqlalchemy import bindparam

        for name in TABLES:
            model = self._table(name)
            key = next(iter(TABLES[name]))
            if rows := self.added[name]:
                self.connection.execute(model.insert(), rows)
            for columns, changes in _by_columns(self.changed[name]).items():
                update = model.update().where(model.c[key] == bindparam("the_key"))
                self.connection.execute(
                    update.values({column: bindparam(f"new_{column}") for column in columns}),
                    [
                        {"the_key": number, **{f"new_{column}": values[column] for column in columns}}
                        for number, values in changes
                    ],
                )

    def _table(self, name: str) -> "Table":
        return schema().tables[name]

    def _moment(self) -> datetime:
        """Some time of the day."""
        seconds = DAY_BEGINS + self.dice.share() * DAY_SECONDS
        return datetime.combine(self.day, time(), UTC) + timedelta(microseconds=int(seconds * 1_000_000))


def _key(table: str, row: Row) -> int:
    return int(row[next(iter(TABLES[table]))])


def _by_columns(changes: Mapping[int, Row]) -> dict[tuple[str, ...], list[tuple[int, Row]]]:
    """Changes of the same columns together: one statement for each."""
    found: dict[tuple[str, ...], list[tuple[int, Row]]] = {}
    for number, values in changes.items():
        found.setdefault(tuple(values), []).append((number, values))
    return found


def _in_order(line: Row) -> bool:
    """Whether a line is none of the mess, which stays as it is."""
    net = _rounded(line["quantity"] * line["unit_price"]) - (line["discount_amount"] or 0)
    return bool(line["quantity"] != 0 and line["invoice_id"] < NOBODY and net == line["net_amount"] != 0)


def _amounts(quantity: Decimal, price: Decimal, discount: Decimal | None, rate: Decimal) -> Row:
    net = _rounded(quantity * price) - (discount or 0)
    return {"quantity": quantity, "discount_amount": discount, "net_amount": net, "tax_amount": _rounded(net * rate)}


def _tax_rate(customer: Row) -> Decimal:
    return Decimal("0.19") if customer.get("country") == "DE" else Decimal("0.21")


def _rounded(value: Decimal, unit: str | Decimal = CENT) -> Decimal:
    return value.quantize(Decimal(unit), ROUND_HALF_UP)


def _date(value: Any) -> date:
    """A date as a database gives it to whom it tells no type."""
    return date.fromisoformat(str(value))
