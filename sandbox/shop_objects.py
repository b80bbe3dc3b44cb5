"""The shop's CSV objects, hour by hour: drops of products and of stock movements, as its exports put them into S3.

What belongs here: rows, the forms that files come in, and everything that is wrong with them. What does not: documents
(`sandbox.shop_documents`), and the server (`sandbox.s3`).

`quantity` is a count: what `kind` says came in or went out. Only an adjustment has a sign. Objects are dated within the
hour that they show in, but for one. What is wrong is noted in `World.planted`, rows as `<key>:<line>`.
"""

import csv
import gzip
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sandbox.shop_world import FIRST_PRODUCTS, HOUR, HOURS, MATERIALS, MINUTE, MOVEMENTS_PER_HOUR, Product, World

Row = Mapping[str, str]

PRODUCT_COLUMNS = (
    "product_id", "name", "category", "size", "color", "list_price", "active", "updated_at", "deleted_at",
)  # fmt: skip
MOVEMENT_COLUMNS = (
    "movement_id", "product_id", "warehouse", "kind", "quantity", "moved_at", "updated_at", "deleted_at",
)  # fmt: skip
MATERIAL_FROM = 12  # the hour from which drops of products have one column more
PRODUCT_DROPS = (0, 3, 5, 7, 9, 12, 14, 16, 18, 21)  # hours; those in which products show are among them
PRODUCT_FORMS: Mapping[int, str] = {5: "bom", 7: "gzip", 14: "gzip"}
GZIPPED = range(3, HOURS, 4)  # the hours whose movements are compressed
DROPPED_AT = 55 * MINUTE  # after the hour began
WAREHOUSES = ("VIE1", "LYS2")
BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Put:
    """One object as it is put into the bucket; the name may have been there before.

    Attributes:
        at: seconds since the day began.
        key: its name.
        body: its bytes.
        modified: what S3 says of its time.
        rows: how many rows it has that are well-formed.
        bad: the lines, from 1, at which the others begin.
    """

    at: float
    key: str
    body: bytes
    modified: datetime
    rows: int
    bad: tuple[int, ...] = ()


@dataclass(frozen=True)
class Line:
    """Something between two line ends: a row, or text as it stands, which is a bad row unless it repeats the header."""

    row: Row | None = None
    text: str = ""
    planted: str = ""


def puts(world: World) -> list[Put]:
    """Every object of the day, in order."""
    return sorted([*_products(world), *_movements(world)], key=lambda put: (put.at, put.key))


def _time(world: World, seconds: float) -> str:
    return f"{world.at(seconds):%Y-%m-%dT%H:%M:%SZ}"


@dataclass(frozen=True)
class _Drop:
    """What one object is made of."""

    key: str
    hour: int
    columns: Sequence[str]
    lines: Sequence[Line]
    at: float | None = None  # where it is put at another time than usual
    modified: float | None = None  # where it is dated otherwise
    bom: bool = False
    end: str = "\n"
    ended: bool = True  # whether the last line is


def _put(world: World, drop: _Drop) -> Put:
    """The object with its text written out; notes what its lines are planted for."""
    rows, bad, text = 0, [], io.StringIO()
    writer = csv.DictWriter(text, drop.columns, lineterminator=drop.end, extrasaction="ignore")
    writer.writeheader()
    for line in drop.lines:
        number = text.getvalue().count("\n") + 1
        if line.planted:
            world.plant(line.planted, f"{drop.key}:{number}")
        if line.row is not None:
            writer.writerow(line.row)
            rows += 1
            continue
        text.write((line.text or ",".join(drop.columns)) + drop.end)
        if line.text:
            bad.append(number)
    written = text.getvalue() if drop.ended else text.getvalue().removesuffix(drop.end)
    body = written.encode()
    if drop.bom:
        world.plant("bom", drop.key)
        body = BOM + body
    if drop.key.endswith(".gz"):
        world.plant("gzip", drop.key)
        body = gzip.compress(body, mtime=0)
    at = drop.hour * HOUR + DROPPED_AT if drop.at is None else drop.at
    modified = world.at(at if drop.modified is None else drop.modified)
    return Put(at, drop.key, body, modified, rows, tuple(bad))


def _key(world: World, table: str, hour: int, form: str = "csv") -> str:
    return f"{table}/{world.start:%Y/%m/%d}/{table}-{hour:02d}.{form}"


# -- products


def _products(world: World) -> Iterator[Put]:
    products = world.products()
    latest: dict[str, Row] = {}
    for hour in PRODUCT_DROPS:
        fresh = [_product_row(world, product, hour) for product in products if product.shown == hour]
        for change in range(4 * world.scale if latest else 0):
            dice = world.dice("product change", hour, change)
            # the last of those shown first are kept for the plants below
            product = products[dice.between(0, (FIRST_PRODUCTS - 6) * world.scale)]
            fresh.append(_repriced(world, latest[product.id], hour, dice.between(60, 110), change))
        fresh = list({row["product_id"]: row for row in fresh}.values())
        latest.update({row["product_id"]: row for row in fresh})
        special = PRODUCT_PLANTS.get(hour, _plain)(world, hour, [Line(row) for row in fresh], latest)
        latest.update({line.row["product_id"]: line.row for line in special if line.row and not line.planted})
        form = PRODUCT_FORMS.get(hour, "")
        key = _key(world, "products", hour, "csv.gz" if form == "gzip" else "csv")
        columns = PRODUCT_COLUMNS if hour < MATERIAL_FROM else (*PRODUCT_COLUMNS, "material")
        if hour >= MATERIAL_FROM:
            world.plant("added_column", key)
        yield _put(world, _Drop(key, hour, columns, special, bom=form == "bom"))


def _product_row(world: World, product: Product, hour: int) -> Row:
    dice = world.dice("product", product.id)
    return {
        "product_id": product.id,
        "name": product.name,
        "category": product.category,
        "size": product.size,
        "color": product.color,
        "list_price": f"{product.cents / 100:.2f}",
        "active": "true",
        "updated_at": _time(world, hour * HOUR + dice.between(1, 50) * MINUTE),
        "deleted_at": "",
        "material": dice.pick(MATERIALS),
    }


def _repriced(world: World, row: Row, hour: int, percent: int, minute: int) -> Row:
    cents = round(float(row["list_price"]) * percent)
    at = hour * HOUR + (10 + minute % 40) * MINUTE
    return {**row, "list_price": f"{cents / 100:.2f}", "updated_at": _time(world, at)}


Plant = Callable[[World, int, list[Line], Mapping[str, Row]], list[Line]]


def _plain(_world: World, _hour: int, lines: list[Line], _latest: Mapping[str, Row]) -> list[Line]:
    return lines


def _one(world: World, latest: Mapping[str, Row], back: int) -> Row:
    """One of the products that nothing else changes: the `back`-th before the last of the first."""
    return latest[f"P{FIRST_PRODUCTS * world.scale - back:04d}"]


def _named_over_lines(world: World, hour: int, lines: list[Line], latest: Mapping[str, Row]) -> list[Line]:
    row = {
        **_one(world, latest, 0),
        "name": 'Scarf "Loop",\nlong',
        "updated_at": _time(world, hour * HOUR + 20 * MINUTE),
    }
    return [Line(row, planted="quoted_newline"), *lines]


def _ragged_products(world: World, hour: int, lines: list[Line], _latest: Mapping[str, Row]) -> list[Line]:
    moment = _time(world, hour * HOUR + 10 * MINUTE)
    short = Line(text="P0003,Chinos,trousers", planted="ragged_row")
    price = Line(text=f'P0004,Jeans,trousers,M,navy,"79,50",true,{moment},', planted="bad_number")
    return [lines[0], short, *lines[1:], price]


def _newer_version(world: World, hour: int, lines: list[Line], latest: Mapping[str, Row]) -> list[Line]:
    """A newer version of one product in the one drop; `_older_version` drops an older one after it."""
    at = hour * HOUR + 30 * MINUTE
    return [*lines, Line({**_one(world, latest, 1), "list_price": "18.00", "updated_at": _time(world, at)})]


def _older_version(world: World, hour: int, lines: list[Line], latest: Mapping[str, Row]) -> list[Line]:
    before = {**_one(world, latest, 1), "list_price": "16.00", "updated_at": _time(world, 15.5 * HOUR)}
    tied = {**_one(world, latest, 2), "color": "sand", "updated_at": _time(world, hour * HOUR + 15 * MINUTE)}
    return [*lines, Line(before, planted="out_of_order"), Line(tied)]


def _tied_and_deleted(world: World, hour: int, lines: list[Line], latest: Mapping[str, Row]) -> list[Line]:
    tied = {**_one(world, latest, 2), "color": "rust"}
    moment = _time(world, hour * HOUR + 40 * MINUTE)
    deleted = {**_one(world, latest, 3), "active": "false", "updated_at": moment, "deleted_at": moment}
    return [*lines, Line(tied, planted="tie"), Line(deleted, planted="deleted")]


PRODUCT_PLANTS: Mapping[int, Plant] = {
    3: _named_over_lines,
    9: _ragged_products,
    16: _newer_version,
    18: _older_version,
    21: _tied_and_deleted,
}


# -- stock movements


def _movements(world: World) -> Iterator[Put]:
    by_hour = _movement_rows(world)
    for hour, rows in enumerate(by_hour):
        key = _key(world, "stock_movements", hour, "csv.gz" if hour in GZIPPED else "csv")
        plain = _Drop(key, hour, MOVEMENT_COLUMNS, [Line(row) for row in rows])
        drops = MOVEMENT_PLANTS[hour](world, plain, by_hour) if hour in MOVEMENT_PLANTS else [plain]
        yield from (_put(world, drop) for drop in drops)


def _movement_rows(world: World) -> list[list[Row]]:
    """What moves in each hour: receipts of what is new, and then what is sold, comes back or is counted again."""
    products = world.products()
    by_hour: list[list[Row]] = [[] for _ in range(HOURS)]
    number = 0

    def add(product: Product, hour: int, kind: str, quantity: int) -> None:
        nonlocal number
        number += 1
        dice = world.dice("movement", number)
        at = hour * HOUR + dice.between(1, 49) * MINUTE + dice.between(0, 59)
        by_hour[hour].append(
            {
                "movement_id": f"M{world.start:%Y%m%d}-{number:06d}",
                "product_id": product.id,
                "warehouse": dice.pick(WAREHOUSES),
                "kind": kind,
                "quantity": str(quantity),
                "moved_at": _time(world, at),
                "updated_at": _time(world, at + dice.between(0, 30)),
                "deleted_at": "",
            }
        )

    for product in products:
        add(product, product.shown, "receipt", 60 + world.dice("receipt", product.id).between(0, 40))
    for hour in range(HOURS):
        shown = [product for product in products if product.shown <= hour]
        for turn in range(MOVEMENTS_PER_HOUR * world.scale):
            dice = world.dice("moves", hour, turn)
            kind = dice.pick(("sale", "sale", "sale", "sale", "sale", "sale", "return", "adjustment"))
            quantity = dice.pick((-2, -1, 1)) if kind == "adjustment" else dice.between(1, 3)
            add(dice.pick(shown), hour, kind, quantity)
    awaited = products[-1 - world.scale]  # it is received in the hour before it shows
    add(awaited, awaited.shown - 1, "receipt", 5)
    world.plant("product_heals", f"stock_movements/{by_hour[awaited.shown - 1][-1]['movement_id']}")
    return by_hour


def _extra_id(world: World, number: int) -> str:
    """The id of a movement beyond the ordinary ones."""
    return f"M{world.start:%Y%m%d}-{900_000 + number}"


Rows = Sequence[Sequence[Row]]


def _with_bom(_world: World, plain: _Drop, _by_hour: Rows) -> list[_Drop]:
    return [replace(plain, bom=True)]


def _header_inside(_world: World, plain: _Drop, _by_hour: Rows) -> list[_Drop]:
    half = len(plain.lines) // 2
    return [replace(plain, lines=[*plain.lines[:half], Line(planted="repeated_header"), *plain.lines[half:]])]


def _header_only(world: World, plain: _Drop, _by_hour: Rows) -> list[_Drop]:
    """What moves in this hour comes in the next one's object."""
    world.plant("header_only", plain.key)
    return [replace(plain, lines=[])]


def _two_hours(_world: World, plain: _Drop, by_hour: Rows) -> list[_Drop]:
    return [replace(plain, lines=[*map(Line, by_hour[plain.hour - 1]), *plain.lines])]


def _rewriting(world: World, plain: _Drop, by_hour: Rows) -> list[_Drop]:
    """An object of three hours ago is put again: of its rows, two corrected, one left out, one more."""
    before = plain.hour - 3
    key = _key(world, "stock_movements", before)
    world.plant("rewritten_in_place", key)
    moment, rows = _time(world, plain.hour * HOUR + 5 * MINUTE), by_hour[before]
    corrected = [{**row, "quantity": "9", "updated_at": moment} for row in rows[:2]]
    more = {**rows[0], "movement_id": _extra_id(world, 1), "moved_at": moment, "updated_at": moment}
    lines = [Line(row) for row in (*by_hour[before - 1], *corrected, *rows[3:], more)]
    return [plain, _Drop(key, plain.hour, MOVEMENT_COLUMNS, lines, at=plain.hour * HOUR + 20 * MINUTE)]


def _dropped_before(_world: World, plain: _Drop, by_hour: Rows) -> list[_Drop]:
    twice = [Line(row, planted="dropped_twice") for row in by_hour[plain.hour - 2][:5]]
    return [replace(plain, lines=[*plain.lines, *twice])]


def _ragged_movements(world: World, plain: _Drop, _by_hour: Rows) -> list[_Drop]:
    moment, lines = _time(world, plain.hour * HOUR + 5 * MINUTE), plain.lines
    short = Line(text=f"{_extra_id(world, 2)},P0002,VIE1", planted="ragged_row")
    long = f"{_extra_id(world, 3)},P0002,VIE1,sale,1,{moment},{moment},,extra,more"
    return [replace(plain, lines=[*lines[:3], short, *lines[3:6], Line(text=long, planted="ragged_row"), *lines[6:]])]


def _bad_quantity(world: World, plain: _Drop, _by_hour: Rows) -> list[_Drop]:
    moment = _time(world, plain.hour * HOUR + 5 * MINUTE)
    bad = f"{_extra_id(world, 4)},P0001,VIE1,sale,three,{moment},{moment},"
    return [replace(plain, lines=[Line(text=bad, planted="bad_number"), *plain.lines])]


def _nothing(_world: World, _plain: _Drop, _by_hour: Rows) -> list[_Drop]:
    return []


def _late(world: World, plain: _Drop, by_hour: Rows) -> list[_Drop]:
    """What moved in the hour before, dated then: S3 dates an upload in parts by its beginning."""
    world.plant("late_object", plain.key)
    lines = [Line(row) for row in by_hour[plain.hour - 1]]
    return [replace(plain, lines=lines, modified=(plain.hour - 1) * HOUR + DROPPED_AT)]


def _beside_others(world: World, plain: _Drop, _by_hour: Rows) -> list[_Drop]:
    folder = plain.key.rpartition("/")[0]
    world.plant("no_csv", f"{folder}/_SUCCESS")
    world.plant("empty_object", f"{folder}/empty.csv")
    nothing = _Drop("", plain.hour, (), (), ended=False)
    return [plain, *(replace(nothing, key=f"{folder}/{name}") for name in ("_SUCCESS", "empty.csv"))]


def _crlf(world: World, plain: _Drop, _by_hour: Rows) -> list[_Drop]:
    world.plant("crlf", plain.key)
    world.plant("no_last_line_end", plain.key)
    return [replace(plain, end="\r\n", ended=False)]


def _corrections(world: World, plain: _Drop, by_hour: Rows) -> list[_Drop]:
    """Two movements of long ago come again: one deleted, one counted anew."""
    moment, rows = _time(world, plain.hour * HOUR + 30 * MINUTE), by_hour[3]
    deleted = Line({**rows[0], "updated_at": moment, "deleted_at": moment}, planted="deleted")
    recounted = Line({**rows[1], "updated_at": moment, "quantity": "2"})
    return [replace(plain, lines=[*plain.lines, deleted, recounted])]


MOVEMENT_PLANTS: Mapping[int, Callable[[World, _Drop, Rows], list[_Drop]]] = {
    2: _with_bom,
    4: _header_inside,
    5: _header_only,
    6: _two_hours,
    9: _rewriting,
    10: _dropped_before,
    11: _ragged_movements,
    13: _bad_quantity,
    14: _nothing,
    15: _late,
    16: _two_hours,
    17: _beside_others,
    19: _crlf,
    20: _corrections,
}
