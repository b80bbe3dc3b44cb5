"""Two years of a company that sells cloud services: its seven tables, as SQL over hashes, made by DuckDB.

What belongs here: the tables' columns, what is true, and the mess that is planted in it (`MESS`). What does not: the
databases that it is written to and what further days bring (`sandbox.sales`), and any rule about which row counts: that
is the pipeline's to find out, and sharing a rule with it would let both be wrong together.

Same arguments give the same rows. Nothing is drawn in order: each value follows from its row's number, so that any part
of ten million lines can be made by itself. `BLOCK` says which lines an invoice has; days get invoices by their weight,
which grows and has seasons. An invoice's header is the sum of its lines to the cent.

Amounts have at most 15 digits: more than those SQLite does not keep, though a DECIMAL(18,2) elsewhere does.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from itertools import accumulate
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import duckdb

GENERATOR = 1  # raised when the same arguments give other rows
FIRST_DAY, LAST_DAY = date(2021, 4, 1), date(2023, 3, 28)  # later days are changes: see `sandbox.sales.change`
MINIMUM_LINES = 2_000
BATCH_LINES = 240_000  # a multiple of the block's
BLOCK = (8, 3, 12, 1, 15, 6, 10, 4, 13, 7, 2, 14, 9, 5, 11)  # lines of each invoice of a block
BLOCK_LINES = sum(BLOCK)
NOBODY = 999_000_000_000  # numbers above it are of invoices that do not exist

TABLES: Mapping[str, Mapping[str, str]] = {  # the first column is the key
    "employees": {
        "employee_id": "bigint",
        "full_name": "text",
        "email": "text",
        "team": "text",
        "manager_id": "bigint",
        "hired_on": "date",
        "left_on": "date",
        "updated_at": "timestamp",
    },
    "customers": {
        "customer_id": "bigint",
        "customer_name": "text",
        "segment": "text",
        "industry": "text",
        "country": "text",
        "account_manager_id": "bigint",
        "created_at": "timestamp",
        "closed_at": "timestamp",
        "updated_at": "timestamp",
    },
    "services": {
        "service_id": "bigint",
        "service_code": "text",
        "service_name": "text",
        "category": "text",
        "unit": "text",
        "list_price": "decimal(18,4)",
        "is_active": "boolean",
        "updated_at": "timestamp",
    },
    "contracts": {
        "contract_id": "bigint",
        "customer_id": "bigint",
        "service_id": "bigint",
        "employee_id": "bigint",
        "starts_on": "date",
        "ends_on": "date",
        "monthly_amount": "decimal(18,2)",
        "status": "text",
        "terms": "clob",
        "updated_at": "timestamp",
    },
    "invoices": {
        "invoice_id": "bigint",
        "invoice_number": "text",
        "customer_id": "bigint",
        "issued_on": "date",
        "due_on": "date",
        "status": "text",
        "net_total": "decimal(18,2)",
        "tax_total": "decimal(18,2)",
        "updated_at": "timestamp",
    },
    "invoice_lines": {
        "line_id": "bigint",
        "invoice_id": "bigint",
        "line_number": "bigint",
        "contract_id": "bigint",
        "service_id": "bigint",
        "employee_id": "bigint",
        "description": "text",
        "quantity": "decimal(18,3)",
        "unit_price": "decimal(18,4)",
        "discount_amount": "decimal(18,2)",
        "net_amount": "decimal(18,2)",
        "tax_amount": "decimal(18,2)",
        "updated_at": "timestamp",
    },
    "payments": {
        "payment_id": "bigint",
        "invoice_id": "bigint",
        "paid_on": "date",
        "amount": "decimal(18,2)",
        "method": "text",
        "reference": "text",
        "updated_at": "timestamp",
    },
}

MESS: Mapping[str, int] = {  # what is wrong → how often, whatever the scale
    "line_of_unknown_invoice": 3,
    "line_net_mismatch": 5,
    "line_quantity_zero": 1,
    "line_changed_in_2199": 1,  # it is worth nothing: headers are right with and without it
    "payment_of_unknown_invoice": 2,
    "payment_id_twice": 1,
    "payment_without_updated_at": 2,
    "customer_without_name": 1,
    "customer_of_unknown_segment": 1,
    "customer_later_than_invoices": 2,  # invoices of 03-29 and 03-30, the customers on 03-31
    "contract_ends_before_start": 2,
    "invoice_due_before_issue": 1,
    "invoice_of_unknown_status": 1,
    "invoice_header_not_sum": 2,
    "service_of_negative_price": 1,
}

SERVICES = 40  # the mess comes on top of them


@dataclass(frozen=True)
class Category:
    """What services of a category are like.

    Attributes:
        unit: what is counted.
        code: begins the codes of its services.
        worth: euros of a small customer's line.
        growth: by how much that grows in the two years.
        services: their names.
    """

    unit: str
    code: str
    worth: float
    growth: float
    services: tuple[str, ...]


CATEGORIES: Mapping[str, Category] = {
    "compute": Category("hour", "CMP", 38, 0.35, ("XS", "S", "M", "L", "XL", "GPU", "Spot", "Metal")),
    "storage": Category(
        "gigabyte", "STO", 17, 0.10, ("Hot", "Warm", "Cold", "Archive", "Block", "Files", "Backup", "Snapshots")
    ),
    "network": Category(
        "gigabyte", "NET", 12, 0.05, ("Egress", "CDN", "Balancer", "VPN", "DNS", "NAT", "Peering", "Firewall")
    ),
    "database": Category(
        "hour", "DBS", 46, 0.90, ("SQL S", "SQL M", "SQL L", "Documents", "Cache", "Search", "Vectors", "Warehouse")
    ),
    "support": Category(
        "month", "SUP", 29, 0.20, ("Basic", "Business", "Premium", "Start", "Review", "Training", "Move", "Bespoke")
    ),
}
PRICES = ("0.0125", "0.0875", "0.0190", "0.3333", "1.0050", "0.0075", "12.4999", "0.1450")  # of a category's services
UNPRICED, ITS_PRICE = SERVICES, Decimal("25.0000")  # the bespoke one has no list price
FIRST_NAMES = ("Anna", "Bram", "Chloé", "David", "Elif", "Farid", "Greta", "Henrik", "Inès", "Jan", "Katja", "Luca")
LAST_NAMES = ("Müller", "de Vries", "Lefèvre", "Rossi", "Novák", "Jensen", "García", "O'Neill", "Kowalska", "Özdemir")
TEAMS = ("sales north", "sales south", "key accounts")
EMPLOYEES, MANAGERS = 30, len(TEAMS)
TERMS = (
    'The provider keeps the service available for 99.9 % of each month; "available" means: it answers.',
    "Fees are due in euros (€), within the days that the invoice names, without deduction.",
    "Either side may end the contract with three months' notice, in writing.\nA mail is writing.",
    "Data stays in the European Union; Müller & Söhne, Zürich, audit that once a year.",
    "Backslash \\N, tab\tand comma, are characters like others: this clause proves it.",
)

Sink = Callable[["duckdb.DuckDBPyConnection", str, str], None]


@dataclass(frozen=True)
class World:
    """How much there is.

    Attributes:
        lines: of invoices up to `LAST_DAY`, as planned; mess comes on top.
    """

    lines: int

    def __post_init__(self) -> None:
        if self.lines < MINIMUM_LINES:
            raise ValueError(f"{self.lines} lines are too few to hold the mess: at least {MINIMUM_LINES}")

    @property
    def invoices(self) -> int:
        """Up to `LAST_DAY`."""
        blocks, rest = divmod(self.lines, BLOCK_LINES)
        starts = [0, *accumulate(BLOCK)]
        return blocks * len(BLOCK) + sum(start < rest for start in starts[:-1])

    @property
    def customers(self) -> int:
        """Those in order, up to `LAST_DAY`; their numbers are 1 and on."""
        return max(60, self.lines // 400)

    @property
    def mismatched(self) -> tuple[int, ...]:
        """Lines whose net amount is wrong."""
        count = MESS["line_net_mismatch"]
        return tuple(self.lines * (2 * number + 1) // (2 * count) for number in range(count))

    @property
    def zero(self) -> int:
        """The line whose quantity is zero."""
        return self.lines * 3 // 5

    def invoice_of(self, line: int) -> int:
        """The invoice that a line in order is on."""
        block, place = divmod(line - 1, BLOCK_LINES)
        return block * len(BLOCK) + sum(end <= place for end in accumulate(BLOCK)) + 1


def generate(world: World, connection: "duckdb.DuckDBPyConnection", sink: Sink) -> None:
    """Make all that is there on the evening of `LAST_DAY`, table by table and lines in batches.

    Args:
        world: how much.
        connection: an empty DuckDB; holds everything but the lines at the end.
        sink: takes rows: given the connection, a table's name and a query for (part of) its rows.
    """
    _macros(connection)
    _employees(connection)
    _services(connection)
    connection.execute(_CUSTOMERS, {"customers": world.customers})
    connection.execute(_CONTRACTS, {"terms": list(TERMS), "backwards": MESS["contract_ends_before_start"]})
    _days(connection, world)
    connection.execute(_DRAFTS)
    _shape(connection)
    for name in ("employees", "services", "customers", "contracts"):
        sink(connection, name, _ordered(name))
    connection.execute("CREATE TABLE totals (invoice_id BIGINT, net_total DECIMAL(18,2), tax_total DECIMAL(18,2))")
    for first in range(0, world.lines, BATCH_LINES):
        last = min(first + BATCH_LINES, world.lines)
        bounds = {"first": first, "last": last, "block_lines": BLOCK_LINES, "block_invoices": len(BLOCK)}
        connection.execute(_LINES, {**bounds, "zero": world.zero, "mismatched": list(world.mismatched)})
        connection.execute(_TOTALS)
        if last == world.lines:
            connection.execute(_MESSY_LINES, {"lines": world.lines, "nobody": NOBODY})
        sink(connection, "invoice_lines", _ordered("invoice_lines"))
    connection.execute("DROP TABLE invoice_lines")
    connection.execute(_PAYMENTS)
    connection.execute(_INVOICES)
    _messy_invoices(connection, world)
    connection.execute(_MESSY_PAYMENTS, {"nobody": NOBODY})
    for name in ("invoices", "payments"):
        sink(connection, name, _ordered(name))


def _ordered(table: str) -> str:
    columns = TABLES[table]
    return f"SELECT {', '.join(columns)} FROM {table} ORDER BY {next(iter(columns))}, updated_at"  # noqa: S608 - ours


def _macros(connection: "duckdb.DuckDBPyConnection") -> None:
    """Chance, and moments that are over by the evening of the last day."""
    for name, value in {"begins": FIRST_DAY, "ends": LAST_DAY}.items():
        connection.execute(f"CREATE MACRO {name}() AS DATE '{value}'")
    connection.execute(f"CREATE MACRO services() AS {SERVICES}")
    for macro in _CHANCE:
        connection.execute(f"CREATE MACRO {macro}")


def _listed(connection: "duckdb.DuckDBPyConnection", table: str, columns: Mapping[str, Sequence[Any]]) -> None:
    """A table of lists, one a column; without Arrow, whose import takes longer than all of this."""
    values = ", ".join(f"unnest(${column}) AS {column}" for column in columns)
    connection.execute(f"CREATE TABLE {table} AS SELECT {values}", {name: list(v) for name, v in columns.items()})


def _employees(connection: "duckdb.DuckDBPyConnection") -> None:
    connection.execute(
        """
        CREATE TABLE employees AS
        SELECT
            n AS employee_id,
            $first[1 + n % 12] || ' ' || $last[1 + (n * 7) % 10] AS full_name,
            CASE WHEN n % 11 <> 0 THEN 'employee' || n || '@cloud.example' END AS email,
            CASE WHEN n <> 17 THEN $teams[1 + n % 3] END AS team,
            CASE WHEN n > $managers THEN 1 + (n % 3 + 2) % 3 END AS manager_id,
            CASE WHEN n <> 23 THEN DATE '2015-01-05' + CAST(n * 83 + 1 AS INTEGER) END AS hired_on,
            CASE WHEN n IN (9, 21) THEN DATE '2022-06-30' + CAST(n AS INTEGER) END AS left_on,
            after(coalesce(left_on, hired_on, DATE '2021-04-01'), 30, n, 'employee') AS updated_at
        FROM range(1, $employees + 1) AS numbers (n)
        """,
        {
            "first": list(FIRST_NAMES),
            "last": list(LAST_NAMES),
            "teams": list(TEAMS),
            "managers": MANAGERS,
            "employees": EMPLOYEES,
        },
    )


def _services(connection: "duckdb.DuckDBPyConnection") -> None:
    """`services`, and `sold`: what a line of one is like."""
    rows: list[dict[str, Any]] = [
        {
            "service_id": place * len(CATEGORIES) + number + 1,
            "service_code": f"{category.code}-{place + 1:02}",
            "service_name": f"{name.capitalize()} {service}",
            "category": name,
            "unit": category.unit,
            "price": PRICES[(place + number) % len(PRICES)],
            "worth": category.worth,
            "growth": category.growth,
        }
        for number, (name, category) in enumerate(CATEGORIES.items())
        for place, service in enumerate(category.services)
    ]
    _listed(connection, "listed", {name: [row[name] for row in rows] for name in rows[0]})
    # the dearer ones of support are not sold by fractions of a cent
    connection.execute(
        f"""
        CREATE TABLE services AS
        SELECT
            service_id, service_code, CASE WHEN service_id <> 13 THEN service_name END AS service_name, category,
            CASE WHEN service_id <> 29 THEN unit END AS unit,
            CASE WHEN service_id <> {UNPRICED}
                THEN CAST(CAST(price AS DECIMAL(18, 4)) * CASE category WHEN 'support' THEN 40 ELSE 1 END
                    AS DECIMAL(18, 4))
            END AS list_price,
            service_id NOT IN (14, 26) AS is_active,
            after(DATE '2021-03-01' + CAST(service_id * 11 AS INTEGER), 30, service_id, 'service') AS updated_at
        FROM listed
        UNION ALL
        SELECT {SERVICES + 1}, 'CMP-99', 'Compute Test', 'compute', 'hour', -1.0000, false,
            TIMESTAMP '2022-11-08 09:15:27.000481'
        """  # noqa: S608 - our own numbers
    )
    connection.execute(
        f"""
        CREATE TABLE sold AS
        SELECT s.service_id, s.service_name, coalesce(s.list_price, {ITS_PRICE}) AS price, l.worth, l.growth
        FROM services AS s INNER JOIN listed AS l USING (service_id)
        """  # noqa: S608 - our own numbers
    )


def _days(connection: "duckdb.DuckDBPyConnection", world: World) -> None:
    """`days`: the numbers of the invoices of each day, the customers that are there, and how far the story has gone."""
    days = [FIRST_DAY + timedelta(days=number) for number in range((LAST_DAY - FIRST_DAY).days + 1)]
    ends = list(accumulate(_weight(day, number / len(days)) for number, day in enumerate(days)))
    bounds = [0, *(round(world.invoices * end / ends[-1]) for end in ends)]
    columns: dict[str, list[Any]] = {
        "day": days,
        "first": [start + 1 for start in bounds[:-1]],
        "last": bounds[1:],
        "progress": [number / len(days) for number in range(len(days))],
    }
    _listed(connection, "calendar", columns)
    connection.execute(
        """
        CREATE TABLE days AS
        SELECT c.day, c.first, c.last, c.progress, count(*) AS customers
        FROM calendar AS c
        INNER JOIN customers AS k ON k.customer_name IS NOT NULL AND k.segment <> 'galactic' AND k.created_at < c.day
        GROUP BY ALL
        """
    )


def _weight(day: date, progress: float) -> float:
    """How many invoices a day has, beside others: growth, seasons, weekends, and bills at a month's begin."""
    season = 1 + 0.10 * math.sin(2 * math.pi * (day.timetuple().tm_yday - 60) / 365)
    return (1 + 0.8 * progress) * season * (0.2 if day.isoweekday() > 5 else 1) * (3 if day.day <= 3 else 1)  # noqa: PLR2004 - a week's and a month's days


def _shape(connection: "duckdb.DuckDBPyConnection") -> None:
    """`shape`: for each place in a block of lines, the invoice in the block and the line's number on it."""
    places = [(invoice, number) for invoice, lines in enumerate(BLOCK) for number in range(1, lines + 1)]
    columns = {
        "place": list(range(len(places))),
        "invoice": [invoice for invoice, _ in places],
        "line_number": [number for _, number in places],
    }
    _listed(connection, "shape", columns)


_CHANCE = (
    "dice(id, salt) AS (hash(id, salt) % 1000000007) / 1000000007.0",
    "pick(id, salt, choices) AS choices[1 + CAST(floor(dice(id, salt) * len(choices)) AS INTEGER)]",
    """after(day, hours, id, salt) AS
        CAST(day AS TIMESTAMP) + to_microseconds(CAST(dice(id, salt) * hours * 3600000000 AS BIGINT))""",
    """over(moment, id) AS least(
        moment,
        CAST(ends() + 1 AS TIMESTAMP) - to_microseconds(1 + CAST(dice(id, 'over') * 14400000000 AS BIGINT)))""",
    # a few per cent were corrected, if there has been time for it
    """seen(day, id, salt) AS CASE
        WHEN dice(id, salt || ' corrected') < 0.04 AND day < ends() - 40 THEN after(day + 2, 900, id, salt)
        ELSE over(after(day, 30, id, salt), id) END""",
)

# Customers come in the order of their numbers, the first half of them before the story begins. The last digit says what
# becomes of one: 2 and 5 leave, 6 leaves and returns, 7 takes less, 8 renews for more, the others take more.
_CUSTOMERS = """
CREATE TABLE customers AS
WITH ages AS (
    SELECT n,
        CAST(CASE
            WHEN n <= 0.55 * $customers THEN DATE '2018-01-08' + CAST(floor(1150 * n / (0.55 * $customers)) AS INTEGER)
            ELSE begins() + CAST(floor(715 * (n / $customers - 0.55) / 0.45) AS INTEGER)
        END AS DATE) AS created_on
    FROM range(1, $customers + 1) AS numbers (n)
), turns AS (
    SELECT *,
        greatest(created_on + 150, begins() + 20) + CAST(floor(dice(n, 'turn') * 560) AS INTEGER) AS turns_on
    FROM ages
)
SELECT
    n AS customer_id,
    pick(n, 'name', ['Nord', 'Süd', 'Alpen', 'Hansa', 'Baltic', 'Iber', 'Gallia', 'Zeta', 'Omni', 'Quer'])
        || pick(n, 'kind', ['soft', 'werk', 'data', 'bank', 'mart', 'bio', 'log', 'media'])
        || ' ' || pick(n, 'form', ['GmbH', 'S.A.', 'B.V.', 'AG', 'S.r.l.', '& Söhne']) || ' ' || n AS customer_name,
    CASE WHEN dice(n, 'segment') < 0.58 THEN 'smb' WHEN dice(n, 'segment') < 0.87 THEN 'mid_market' ELSE 'enterprise'
        END AS segment,
    CASE WHEN dice(n, 'no industry') > 0.04
        THEN pick(n, 'industry', ['retail', 'finance', 'health', 'media', 'logistics', 'energy', 'public'])
        END AS industry,
    CASE WHEN dice(n, 'no country') > 0.03
        THEN pick(n, 'country', ['DE', 'DE', 'DE', 'FR', 'NL', 'AT', 'ES', 'IT', 'PL', 'SE']) END AS country,
    CASE WHEN dice(n, 'no manager') > 0.05 THEN 4 + CAST(floor(dice(n, 'manager') * 27) AS BIGINT) END
        AS account_manager_id,
    over(after(created_on, 24, n, 'created'), n) AS created_at,
    CASE WHEN n % 10 IN (2, 5) AND turns_on + 3 <= ends() THEN over(after(turns_on + 3, 24, n, 'closed'), n) END
        AS closed_at,
    coalesce(closed_at, greatest(created_at, seen(created_on, n, 'customer'))) + INTERVAL '41' MINUTE AS updated_at,
    created_on,
    turns_on
FROM turns
UNION ALL
SELECT $customers + 1, NULL, 'smb', 'retail', 'DE', 7, TIMESTAMP '2022-05-02 08:00:00.25', NULL,
    TIMESTAMP '2022-05-02 08:00:01.125', DATE '2022-05-02', NULL
UNION ALL
SELECT $customers + 2, 'Andromeda AG', 'galactic', 'energy', 'FR', 8, TIMESTAMP '2022-08-15 10:30:00', NULL,
    TIMESTAMP '2022-09-01 12:00:00.000001', DATE '2022-08-15', NULL
"""

_CONTRACTS = """
CREATE TABLE contracts AS
WITH signed AS (
    SELECT c.*, t.number, c.customer_id * 10 + t.number AS contract_id, c.customer_id % 10 AS fate
    FROM customers AS c CROSS JOIN (VALUES (1), (2), (3)) AS t (number)
    WHERE c.turns_on IS NOT NULL AND (t.number < 3 OR c.customer_id % 10 IN (4, 9))
), terms AS (
    SELECT *,
        CAST(CASE
            WHEN number = 1 THEN created_on + CAST(floor(dice(contract_id, 'start') * 10) AS INTEGER)
            WHEN number = 2 AND fate IN (2, 5, 7)
                THEN created_on + 30 + CAST(floor(dice(contract_id, 'start') * 90) AS INTEGER)
            WHEN number = 2 AND fate = 6 THEN turns_on + 60 + CAST(floor(dice(contract_id, 'start') * 90) AS INTEGER)
            WHEN number = 2 AND fate = 8 THEN turns_on + 1
            WHEN number = 2 THEN turns_on
            ELSE turns_on + 90 + CAST(floor(dice(contract_id, 'start') * 110) AS INTEGER)
        END AS DATE) AS starts_on,
        CAST(CASE WHEN fate IN (2, 5) OR (fate IN (6, 8) AND number = 1) OR (fate = 7 AND number = 2) THEN turns_on END
            AS DATE) AS ends_on,
        CAST(exp(0.9 * dice(customer_id, 'size'))
            * CASE segment WHEN 'smb' THEN 90 WHEN 'mid_market' THEN 700 ELSE 5200 END
            * CASE WHEN number = 1 THEN 1 WHEN fate = 8 THEN 1.15 ELSE 0.2 + 0.6 * dice(contract_id, 'amount') END
            AS DECIMAL(18, 2)) AS monthly_amount
    FROM signed
)
SELECT
    contract_id, customer_id, 1 + CAST(floor(dice(contract_id, 'service') * services()) AS BIGINT) AS service_id,
    CASE WHEN dice(contract_id, 'no employee') > 0.03 THEN coalesce(account_manager_id, 5) END AS employee_id,
    starts_on, ends_on,
    CASE WHEN contract_id % 270 <> 31 THEN monthly_amount END AS monthly_amount,
    CASE WHEN ends_on IS NULL OR ends_on > ends() THEN 'active'
        WHEN fate = 7 OR (fate IN (2, 5) AND dice(customer_id, 'cancels') < 0.5) THEN 'cancelled'
        ELSE 'ended' END AS status,
    CASE WHEN hash(contract_id, 'terms') % 12 = 0 THEN
        repeat(pick(contract_id, 'clause', $terms) || ' ',
            12 + CAST(floor(dice(contract_id, 'length') * 180) AS INTEGER))
        || array_to_string($terms, ' § ') END AS terms,
    seen(CASE WHEN ends_on <= ends() THEN ends_on ELSE least(starts_on, ends()) END,
        contract_id, 'contract') AS updated_at
FROM terms
WHERE starts_on <= ends() + 20
UNION ALL
SELECT customer_id * 10 + 9, customer_id, 3, 5, DATE '2022-07-01', DATE '2022-06-30' - CAST(customer_id AS INTEGER),
    120.00, 'ended', NULL, TIMESTAMP '2022-07-01 07:07:07.000007' + to_minutes(customer_id)
FROM customers WHERE customer_id <= $backwards
"""

# An invoice before it has lines. Who has left gets none: the customer before takes its place, who stays.
_DRAFTS = """
CREATE TABLE drafts AS
WITH numbered AS (
    SELECT unnest(range(first, last + 1)) AS invoice_id, day AS issued_on, progress, customers
    FROM days
), picked AS (
    SELECT *, 1 + CAST(floor(pow(dice(invoice_id, 'customer'), 1.2) * customers) AS BIGINT) AS picked_id FROM numbered
), addressed AS (
    SELECT p.*, CASE WHEN gone.closed_at < p.issued_on THEN p.picked_id - 1 ELSE p.picked_id END AS customer_id
    FROM picked AS p LEFT JOIN customers AS gone ON gone.customer_id = p.picked_id
)
SELECT
    a.invoice_id, a.customer_id, a.issued_on, a.progress, c.segment, c.account_manager_id,
    CASE c.country WHEN 'DE' THEN 0.19 ELSE 0.21 END AS tax_rate,
    CASE c.segment WHEN 'smb' THEN 14 WHEN 'mid_market' THEN 30 ELSE 45 END AS term,
    a.issued_on < ends() - 150 AS is_old,
    dice(a.invoice_id, 'fate') AS fate,
    CASE WHEN fate < 0.02 THEN 'void'
        WHEN fate < 0.03 OR (fate < 0.07 AND NOT is_old) THEN 'unpaid'
        WHEN fate < 0.07 THEN 'full'
        WHEN fate < 0.08 OR (fate < 0.13 AND NOT is_old) THEN 'part'
        WHEN fate < 0.19 THEN 'two parts'
        WHEN fate < 0.21 THEN 'too much'
        WHEN fate < 0.23 THEN 'refunded'
        ELSE 'full' END AS paying
FROM addressed AS a INNER JOIN customers AS c USING (customer_id)
"""

_LINES = """
CREATE OR REPLACE TEMP TABLE invoice_lines AS
WITH placed AS (
    SELECT 1 + n AS line_id, $block_invoices * (n // $block_lines) + s.invoice + 1 AS invoice_id, s.line_number
    FROM range($first, $last) AS numbers (n) INNER JOIN shape AS s ON s.place = n % $block_lines
), agreed AS (
    SELECT p.*, d.issued_on, d.progress, d.segment, d.tax_rate, k.contract_id,
        coalesce(k.service_id, 1 + CAST(floor(dice(line_id, 'service') * services()) AS BIGINT)) AS service_id,
        CASE WHEN dice(line_id, 'no employee') > 0.03 THEN coalesce(k.employee_id, d.account_manager_id) END
            AS employee_id
    FROM placed AS p
    INNER JOIN drafts AS d USING (invoice_id)
    LEFT JOIN contracts AS k
        ON k.contract_id = d.customer_id * 10 + 1 + CAST(hash(line_id, 'contract') % 3 AS BIGINT)
        AND d.issued_on BETWEEN k.starts_on AND coalesce(k.ends_on, DATE '9999-12-31')
), priced AS (
    SELECT a.*, s.service_name,
        CAST(s.price * (0.84 + 0.16 * dice(coalesce(contract_id, line_id), 'price')) AS DECIMAL(18, 4)) AS unit_price,
        s.worth * (1 + s.growth * progress) * exp(2 * dice(line_id, 'quantity') - 1)
            * CASE segment WHEN 'smb' THEN 1 WHEN 'mid_market' THEN 3.2 ELSE 11 END
            * CASE WHEN dice(line_id, 'credit') < 0.01 THEN -0.3 ELSE 1 END AS value
    FROM agreed AS a INNER JOIN sold AS s USING (service_id)
), counted AS (
    SELECT *,
        CASE WHEN line_id = $zero THEN CAST(0 AS DECIMAL(18, 3))
            ELSE CAST(value / CAST(unit_price AS DOUBLE) AS DECIMAL(18, 3)) END AS quantity,
        CAST(quantity * unit_price AS DECIMAL(18, 2)) AS full_amount
    FROM priced
), reduced AS (
    SELECT *,
        CASE WHEN quantity <= 0 OR dice(line_id, 'discount') > 0.25 THEN NULL
            WHEN dice(line_id, 'discount') < 0.01 THEN CAST(0 AS DECIMAL(18, 2))
            ELSE CAST(full_amount * pick(line_id, 'rate', [0.05, 0.10, 0.15]) AS DECIMAL(18, 2)) END AS discount_amount,
        CAST(full_amount - coalesce(discount_amount, 0)
            + CASE WHEN list_contains($mismatched, line_id) THEN 5 ELSE 0 END AS DECIMAL(18, 2)) AS net_amount
    FROM counted
)
SELECT
    line_id, invoice_id, line_number, contract_id, service_id, employee_id,
    CASE WHEN dice(line_id, 'silent') > 0.03 THEN
        coalesce(service_name, 'Service ' || service_id) || ', ' || strftime(issued_on, '%Y-%m')
        || CASE WHEN quantity < 0 THEN ', credit' ELSE '' END END AS description,
    quantity, unit_price, discount_amount, net_amount,
    CAST(net_amount * tax_rate AS DECIMAL(18, 2)) AS tax_amount,
    seen(issued_on, line_id, 'line') AS updated_at
FROM reduced
"""

_TOTALS = """
INSERT INTO totals SELECT invoice_id, sum(net_amount), sum(tax_amount) FROM invoice_lines GROUP BY invoice_id
"""

_MESSY_LINES = """
INSERT INTO invoice_lines
SELECT $lines + n, $nobody + n, 1, NULL, 2 + n, 6, 'Lost ' || n, 2.5 * n, 0.3333, NULL,
    CAST(2.5 * n * 0.3333 AS DECIMAL(18, 2)), 0.00, TIMESTAMP '2023-02-01 09:00:00.5' + to_days(CAST(n AS INTEGER))
FROM range(1, 4) AS numbers (n)
UNION ALL
SELECT $lines + 4, $lines // 16, 99, NULL, 7, 6, 'Gift', 1, 10, 10, 0, 0, TIMESTAMP '2199-01-01 00:00:00'
"""

# How an invoice is paid was drawn beforehand; what of it happens after the last day has not happened yet.
_PAYMENTS = """
CREATE TABLE payments AS
WITH owed AS (
    SELECT d.*, t.net_total + t.tax_total AS gross,
        CAST(d.issued_on + d.term + CAST(floor(CASE
            WHEN dice(invoice_id, 'late') < 0.72 THEN -9 + 12 * dice(invoice_id, 'delay')
            WHEN dice(invoice_id, 'late') < 0.90 THEN 4 + 32 * dice(invoice_id, 'delay')
            ELSE 35 + 75 * dice(invoice_id, 'delay') END) AS INTEGER) AS DATE) AS first_on
    FROM drafts AS d INNER JOIN totals AS t USING (invoice_id)
    WHERE d.paying NOT IN ('void', 'unpaid') AND gross > 1
), paid AS (
    SELECT invoice_id, 1 AS number, greatest(first_on, issued_on) AS paid_on,
        CAST(CASE paying
            WHEN 'part' THEN gross * (0.3 + 0.5 * dice(invoice_id, 'part'))
            WHEN 'two parts' THEN gross * 0.5
            WHEN 'too much' THEN gross + pick(invoice_id, 'over', [0.50, 10.00, 119.00])
            ELSE gross END AS DECIMAL(18, 2)) AS amount,
        gross, paying
    FROM owed
)
SELECT invoice_id * 10 + number AS payment_id, invoice_id, paid_on, amount,
    pick(invoice_id, 'method', ['bank_transfer', 'bank_transfer', 'direct_debit', 'direct_debit', 'card']) AS method,
    CASE WHEN dice(invoice_id, 'no reference') > 0.1 THEN 'RF' || lpad(CAST(invoice_id AS VARCHAR), 9, '0') END
        AS reference,
    seen(paid_on, invoice_id * 10 + number, 'payment') AS updated_at
FROM (
    SELECT invoice_id, number, paid_on, amount FROM paid
    UNION ALL
    SELECT invoice_id, 2, paid_on + 21,
        CAST(CASE paying WHEN 'two parts' THEN gross - amount ELSE gross * -0.15 END AS DECIMAL(18, 2))
    FROM paid WHERE paying IN ('two parts', 'refunded')
)
WHERE paid_on <= ends()
"""

_INVOICES = """
CREATE TABLE invoices AS
WITH received AS (
    SELECT invoice_id, sum(CASE WHEN amount > 0 THEN amount END) AS amount, max(paid_on) AS paid_on
    FROM payments GROUP BY invoice_id
)
SELECT
    d.invoice_id,
    'INV-' || year(d.issued_on) || '-' || lpad(CAST(d.invoice_id AS VARCHAR), 8, '0') AS invoice_number,
    d.customer_id, d.issued_on,
    CASE WHEN dice(d.invoice_id, 'no due') > 0.005 THEN d.issued_on + d.term END AS due_on,
    CASE WHEN d.paying = 'void' THEN 'void' WHEN r.amount >= t.net_total + t.tax_total THEN 'paid' ELSE 'open' END
        AS status,
    t.net_total, t.tax_total,
    CASE WHEN d.paying = 'void' THEN over(after(d.issued_on + 2, 400, d.invoice_id, 'void'), d.invoice_id)
        WHEN r.amount >= t.net_total + t.tax_total THEN over(after(r.paid_on, 30, d.invoice_id, 'paid'), d.invoice_id)
        ELSE seen(d.issued_on, d.invoice_id, 'invoice') END AS updated_at
FROM drafts AS d
INNER JOIN totals AS t USING (invoice_id)
LEFT JOIN received AS r USING (invoice_id)
"""

_MESSY_PAYMENTS = """
INSERT INTO payments
SELECT n * 10 + 7, CASE n WHEN 1 THEN $nobody + 101 WHEN 2 THEN $nobody + 102 ELSE n END, DATE '2023-01-10', 25.05 * n,
    'bank_transfer', 'unknown ' || n,
    CASE WHEN n < 3 THEN TIMESTAMP '2023-01-10 16:00:00.123456' + to_days(CAST(n AS INTEGER)) END
FROM range(1, 5) AS numbers (n)
UNION ALL
SELECT 58, 5, DATE '2023-02-03', 17.10, 'card', 'first', TIMESTAMP '2023-02-03 11:00:00'
UNION ALL
SELECT 58, 6, DATE '2023-02-04', 71.01, 'bank_transfer', 'second', TIMESTAMP '2023-02-04 11:00:00'
"""


def _messy_invoices(connection: "duckdb.DuckDBPyConnection", world: World) -> None:
    """Invoices that were in order are made otherwise, none of them with other mess."""
    others = [*map(world.invoice_of, (*world.mismatched, world.zero)), world.lines // 16, *range(1, 7)]
    chosen = connection.execute(
        "SELECT invoice_id FROM invoices WHERE status = 'paid' AND due_on IS NOT NULL "
        "AND NOT list_contains($others, invoice_id) ORDER BY hash(invoice_id, 'mess'), invoice_id LIMIT 4",
        {"others": others},
    ).fetchall()
    changes = (
        "due_on = issued_on - 7",
        "status = 'lost'",
        "net_total = net_total + 10.00",
        "net_total = net_total - 0.01",
    )
    for (invoice,), change in zip(chosen, changes, strict=True):
        connection.execute(f"UPDATE invoices SET {change} WHERE invoice_id = ?", [invoice])  # noqa: S608 - ours
