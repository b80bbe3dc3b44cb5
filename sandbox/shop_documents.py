"""The shop's MongoDB documents, each time they are written: customers, orders with their items, and reviews.

What belongs here: what the shop's services write and when, and everything that is wrong with it. What does not: CSV
objects (`sandbox.shop_objects`), sorting writes into hours and playing them (`sandbox.shop`), and any rule about which
document counts: that is the pipeline's to find out.

What a document says of its time (`updated_at`) never goes back from one write to the next, and lies between two hours
before the hour of the write and one hour after it, so that the hourly windows of a whole day find every version that is
still there. What is wrong is noted in `World.planted`.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from types import MappingProxyType
from typing import Any

from bson import Decimal128, ObjectId

from sandbox.shop_world import (
    CUSTOMERS,
    HOUR,
    HOURS,
    MINUTE,
    OPENING,
    ORDERS,
    REVIEWS,
    Dice,
    Document,
    Product,
    World,
)

LOYALTY_FROM = 12 * HOUR  # customers written from then on have `loyalty_points`
NEVER_SHOWN = "P9999"  # the product that no object ever holds
LATE, LATER = HOUR, 2 * HOUR - 10 * MINUTE  # how long after its `updated_at` a document shows
LAST_HOUR = 23 * HOUR
OFFSETS: Mapping[str, int] = MappingProxyType({"clock_ahead": HOUR, "clock_behind": -HOUR})
ORDERS_BY_HOUR = (6, 4, 3, 2, 2, 3, 5, 7, 9, 10, 10, 10, 11, 10, 9, 9, 10, 11, 12, 13, 12, 10, 8, 6)
KINDS = {"customers": 1, "orders": 2, "reviews": 3}

# which of the orders misbehave, in thousandths of their count
ORDER_ROLES: Mapping[int, str] = MappingProxyType(
    {
        80: "late", 120: "late_two_hours", 160: "rewritten_unchanged", 200: "deleted", 240: "empty_items",
        280: "same_updated_at", 285: "same_updated_at", 290: "same_updated_at", 330: "clock_ahead",
        370: "clock_behind", 410: "tie", 450: "product_never_shows", 490: "late", 530: "text_updated_at",
        570: "deleted", 610: "clock_ahead", 650: "clock_behind", 690: "late_two_hours", 730: "empty_items",
        770: "late", 810: "deleted",
    }
)  # fmt: skip
REVIEW_ROLES: Mapping[int, str] = MappingProxyType(
    {
        100: "no_updated_at", 200: "deleted", 300: "null_updated_at", 400: "text_updated_at", 450: "deleted",
        500: "junk_updated_at", 600: "number_updated_at", 700: "no_updated_at", 800: "deleted", 900: "deleted",
    }
)  # fmt: skip
ODD_TIMES: Mapping[str, Callable[[Any], Any]] = MappingProxyType(
    {
        "null_updated_at": lambda _: None,
        "text_updated_at": lambda moment: f"{moment:%Y-%m-%dT%H:%M:%SZ}",
        "junk_updated_at": lambda _: "yesterday, about noon",
        "number_updated_at": lambda moment: int(moment.timestamp() * 1000),
    }
)

FIRST_NAMES = ("Ada", "Bruno", "Chloé", "Dagny", "Emre", "Filippa", "Goran", "Hélène", "Ines", "Jörg", "Katya", "Liam")
LAST_NAMES = ("Abel", "Brandt", "Costa", "D'Angelo", "Eriksen", "Fuchs", "García", "Ó Briain", "Šimić", "van Dijk")
CITIES = (("Wien", "1010", "AT"), ("Lyon", "69001", "FR"), ("Porto", "4000-069", "PT"), ("Gent", "9000", "BE"))
TITLES = ("Fits well", "Too small", "Good value", "Colour is off", "Would buy again", "Hmm")
BODIES = (
    "Soft and warm.",
    "Runs small.\nTook one size up.",
    'My son calls it "the good one".',
    "",
    "👍 très bien",
    "ok; fine",
)


@dataclass(frozen=True)
class Write:
    """One document as it is written: inserted, or put in the place of the one with its `_id`.

    Attributes:
        at: seconds since the day began.
        collection: where it is written.
        document: all of it.
    """

    at: float
    collection: str
    document: Document


def writes(world: World) -> list[Write]:
    """Every write of the day, in order."""
    orders = list(_orders(world))
    made = [*_customers(world), *orders, *_reviews(world, orders)]
    return sorted((write for write in made if write.at < HOURS * HOUR), key=lambda write: write.at)


def _id(world: World, collection: str, number: int) -> ObjectId:
    return ObjectId(f"{int(world.start.timestamp()):08x}{KINDS[collection]:04x}{number:012x}")


def _place(collection: str, document: Document) -> str:
    return f"{collection}/{document['_id']}"


def _delete(write: Write, at: float, world: World) -> Write:
    moment = world.at(at)
    world.plant("deleted", _place(write.collection, write.document))
    return Write(at, write.collection, {**write.document, "updated_at": moment, "deleted_at": moment})


# -- customers


def _customers(world: World) -> Iterator[Write]:
    shown = world.customers_shown()
    for number, at in enumerate(shown):
        dice = world.dice("customers", number)
        first = Write(at, "customers", _customer(world, dice, number, at))
        history = [first]
        if number < len(CUSTOMER_ROLES):
            history += CUSTOMER_ROLES[number](world, first)
        elif number == len(shown) - 1:
            bare = {name: value for name, value in first.document.items() if name != "updated_at"}
            world.plant("no_updated_at", _place("customers", bare))
            history = [replace(first, document=bare)]  # nobody orders in its name
        elif dice.chance(0.4):
            history.append(_changed(world, first, at + dice.between(HOUR, 20 * HOUR), segment=dice.pick(SEGMENTS)))
        for write in history:
            points = {"loyalty_points": dice.between(0, 500)} if LOYALTY_FROM <= write.at < HOURS * HOUR else {}
            if points:
                world.plant("loyalty_points", _place("customers", write.document))
            yield replace(write, document={**write.document, **points})


SEGMENTS = ("new", "regular", "vip")


def _customer(world: World, dice: Dice, number: int, at: float) -> dict[str, Any]:
    given, family = dice.pick(FIRST_NAMES), dice.pick(LAST_NAMES)
    city, postcode, country = dice.pick(CITIES)
    street = f"{dice.pick(('Rue', 'Via', 'Am'))} {dice.pick(LAST_NAMES)} {dice.between(1, 99)}"
    moment = world.at(at)
    document = {
        "_id": _id(world, "customers", number),
        "email": f"customer{number:04d}@shop.example",
        "name": {"first": given, "last": family},
        "phone": f"+43 555 {dice.between(100_000, 999_999)}",
        "address": {"street": street, "city": city, "postcode": postcode, "country": country},
        "segment": "new",
        "marketing_consent": dice.chance(0.5),
        "created_at": moment,
        "updated_at": moment,
    }
    if dice.chance(0.5):
        document["deleted_at"] = None  # some services write it, others leave it out
    if number % 7 == 5:  # noqa: PLR2004 - one in seven
        del document["phone"]
        world.plant("missing_phone", _place("customers", document))
    if number % 11 == 7:  # noqa: PLR2004 - one in eleven
        document["address"] = None
    return document


def _changed(world: World, write: Write, at: float, *, stated: float | None = None, **changes: object) -> Write:
    """The document written again with changes, stating another time than the true one if asked to."""
    moment = world.at(at if stated is None else stated)
    return Write(at, write.collection, {**write.document, **changes, "updated_at": moment})


def _changed_often(world: World, first: Write) -> Iterator[Write]:
    world.plant("changed_often", _place("customers", first.document))
    write = first
    # the second of the two changes in hour 4 hides the first from every load
    for at, segment in ((3.2, "regular"), (4.1, "vip"), (4.6, "regular"), (9.3, "vip"), (17.5, "regular")):
        write = _changed(world, write, at * HOUR, segment=segment)
        yield write


def _rewritten_unchanged(world: World, first: Write) -> Iterator[Write]:
    world.plant("rewritten_unchanged", _place("customers", first.document))
    yield replace(first, at=first.at + 3 * HOUR)


def _removed(world: World, first: Write) -> Iterator[Write]:
    yield _delete(first, 10.4 * HOUR, world)


def _restored(world: World, first: Write) -> Iterator[Write]:
    deleted = _delete(first, 9.1 * HOUR, world)
    world.plant("restored", _place("customers", first.document))
    yield deleted
    yield _changed(world, deleted, 15.2 * HOUR, deleted_at=None)


def _tied(world: World, first: Write) -> Iterator[Write]:
    """Two versions that state the same time, the second an hour after the first."""
    world.plant("tie", _place("customers", first.document))
    yield _changed(world, first, 6.5 * HOUR, segment="regular")
    yield _changed(world, first, 7.3 * HOUR, stated=6.5 * HOUR, segment="vip")


def _shown_late(world: World, first: Write) -> Iterator[Write]:
    world.plant("late", _place("customers", first.document))
    yield _changed(world, first, 8.2 * HOUR, stated=8.2 * HOUR - LATE, segment="regular")
    yield _changed(world, first, 11.1 * HOUR, stated=11.1 * HOUR - LATER, segment="vip")


def _ahead(world: World, first: Write) -> Iterator[Write]:
    world.plant("clock_ahead", _place("customers", first.document))
    yield _changed(world, first, 13.4 * HOUR, stated=14.4 * HOUR, segment="regular")


def _behind(world: World, first: Write) -> Iterator[Write]:
    world.plant("clock_behind", _place("customers", first.document))
    yield _changed(world, first, 16.6 * HOUR, stated=15.6 * HOUR, segment="regular")


CUSTOMER_ROLES: Sequence[Callable[[World, Write], Iterator[Write]]] = (
    _changed_often, _rewritten_unchanged, _removed, _restored, _tied, _shown_late, _ahead, _behind,
)  # fmt: skip


# -- orders


def _orders(world: World) -> Iterator[Write]:
    products, shown = world.products(), world.customers_shown()[:-1]
    times = list(_order_times(ORDERS * world.scale))
    roles = {len(times) * thousandths // 1000: role for thousandths, role in ORDER_ROLES.items()}
    together = times[next(number for number, role in roles.items() if role == "same_updated_at")]
    # an order each for the last minutes before another product shows
    awaited = {bisect_left(times, product.shown * HOUR) - 1: product for product in products if product.shown}
    for number, at in enumerate(times):
        role = roles.get(number, "product_heals" if number in awaited else "")
        placed = together if role == "same_updated_at" else at
        on_sale = [product for product in products if product.shown * HOUR + OPENING <= placed]
        if role == "product_heals":
            on_sale = [awaited[number]]
        customer = int(world.dice("orders", number, "customer").share() * bisect_left(shown, placed))
        yield from _order(world, number, placed, customer, on_sale, role)
    # and some whose customer shows an hour later, or two
    first_later = bisect_left(shown, OPENING)
    for extra in range(4):
        customer = first_later + 1 + 3 * extra
        placed = shown[customer] - (1 + extra % 2) * HOUR
        on_sale = [product for product in products if not product.shown]
        yield from _order(world, len(times) + extra, placed, customer, on_sale, "orphan_heals")


def _order_times(count: int) -> Iterator[float]:
    """When each order is placed: in order, more of them when people are awake."""
    total = sum(ORDERS_BY_HOUR)
    ends = [end / total for end in accumulate(ORDERS_BY_HOUR)]
    for number in range(count):
        share = (number + 0.5) / count
        hour = bisect_left(ends, share)
        before = ends[hour - 1] if hour else 0.0
        at = (hour + (share - before) / (ends[hour] - before)) * HOUR
        yield max(at, OPENING + at / 2)  # of the first hour, only what comes after the opening


def _order(
    world: World,
    number: int,
    placed: float,
    customer: int,
    on_sale: Sequence[Product],
    role: str = "",
) -> Iterable[Write]:
    dice = world.dice("orders", number)
    basket = [] if role == "empty_items" else [_line(dice, on_sale) for _ in range(dice.between(1, 4))]
    items = [
        {
            "line": line,
            "product_id": product.id,
            "quantity": quantity,
            "unit_price": _money(product.cents, number),
            "discount": _money(discount, number),
        }
        for line, (product, quantity, discount) in enumerate(basket, 1)
    ]
    if role == "product_never_shows":
        items[0]["product_id"] = NEVER_SHOWN
    moment = world.at(placed + OFFSETS.get(role, 0))
    document = {
        "_id": _id(world, "orders", number),
        "customer_id": _id(world, "customers", customer),
        "status": "placed",
        "currency": "EUR",
        "ordered_at": moment,
        "items": items,
        "updated_at": moment,
        "deleted_at": None,
    }
    if role:
        world.plant(role, _place("orders", document))
    paid = sum(product.cents * quantity - discount for product, quantity, discount in basket)
    life = _life(world, dice, Write(placed, "orders", document), _money(dice.pick((paid, paid // 2)), number))
    return ORDER_PLAYS[role](world, list(life)) if role in ORDER_PLAYS else life


def _line(dice: Dice, on_sale: Sequence[Product]) -> tuple[Product, int, int]:
    """What is bought, how many of it, and the discount."""
    product, quantity = dice.pick(on_sale), dice.between(1, 3)
    return product, quantity, product.cents * quantity * dice.pick((0, 0, 0, 5, 10, 20)) // 100


def _money(cents: int, number: int) -> object:
    """The amount in one of the forms that the shop's services have written over time."""
    text = f"{cents // 100}.{cents % 100:02d}"
    whole = cents // 100 if cents % 100 == 0 else None
    forms: Mapping[int, object] = {6: text, 7: text, 8: whole, 9: cents / 100}
    form = forms.get(number % 10)
    return Decimal128(text) if form is None else form


def _life(world: World, dice: Dice, placed: Write, refund: object) -> Iterator[Write]:
    """From the order's placement to its end, as far as the day goes."""
    yield placed
    if dice.chance(0.08):
        yield _changed(world, placed, placed.at + dice.between(5, 90) * MINUTE, status="cancelled")
        return
    write, at = placed, placed.at
    steps = (("paid", 1, 50), ("shipped", 60, 240), ("delivered", 120, 480))
    for status, least, most in steps:
        at += dice.between(least, most) * MINUTE + dice.share() * MINUTE
        write = _changed(world, write, at, status=status)
        yield write
    if dice.chance(0.3):
        at += dice.between(20, 120) * MINUTE
        yield _changed(world, write, at, status="refunded", refund_amount=refund)


Life = Sequence[Write]


def _late(lag: int) -> Callable[[World, Life], Life]:
    return lambda _world, life: [replace(write, at=write.at + lag) for write in life]


def _clock(role: str) -> Callable[[World, Life], Life]:
    def play(world: World, life: Life) -> Life:
        # in the last hour, a clock that is ahead would put the document into the next day
        told = [write for write in life if write.at < LAST_HOUR]
        return [_changed(world, write, write.at, stated=write.at + OFFSETS[role]) for write in told]

    return play


def _tie(world: World, life: Life) -> Life:
    placed = life[0]
    next_hour = (placed.at // HOUR + 1) * HOUR
    return [placed, _changed(world, placed, next_hour + MINUTE, stated=placed.at, status="paid")]


def _again(_world: World, life: Life) -> Life:
    return [*life[:2], replace(life[1], at=life[1].at + 3 * HOUR)]


def _deleted(world: World, life: Life) -> Life:
    return [life[0], _delete(life[0], life[0].at + 2 * HOUR, world)]


def _with_text(_world: World, life: Life) -> Life:
    return [_odd(write, "text_updated_at") for write in life]


ORDER_PLAYS: Mapping[str, Callable[[World, Life], Life]] = {  # what a role does to the order's writes
    "late": _late(LATE),
    "late_two_hours": _late(LATER),
    "clock_ahead": _clock("clock_ahead"),
    "clock_behind": _clock("clock_behind"),
    "tie": _tie,
    "rewritten_unchanged": _again,
    "deleted": _deleted,
    "text_updated_at": _with_text,
}


def _odd(write: Write, kind: str) -> Write:
    """The write with something else than a date in `updated_at`."""
    if kind == "no_updated_at":
        return replace(write, document={name: value for name, value in write.document.items() if name != "updated_at"})
    return replace(write, document={**write.document, "updated_at": ODD_TIMES[kind](write.document["updated_at"])})


# -- reviews


def _reviews(world: World, orders: Sequence[Write]) -> Iterator[Write]:
    bought = [
        write
        for write in orders
        if write.document["status"] == "paid"
        and write.at < 16 * HOUR
        and write.document["items"]
        and NEVER_SHOWN not in {item["product_id"] for item in write.document["items"]}
    ]
    count = REVIEWS * world.scale
    roles = {count * thousandths // 1000: role for thousandths, role in REVIEW_ROLES.items()}
    for number in range(count):
        dice, role = world.dice("reviews", number), roles.get(number, "")
        order = bought[int(len(bought) * (number + dice.share()) / count)]
        at = order.at + dice.between(2 * HOUR, 7 * HOUR)
        write = Write(at, "reviews", _review(world, dice, number, order, at))
        if role and role != "deleted":
            world.plant(role, _place("reviews", write.document))
            yield _odd(write, role)
            continue
        yield write
        if role == "deleted":
            yield _delete(write, at + dice.between(10, 60) * MINUTE, world)
        elif dice.chance(0.25):
            yield _changed(world, write, at + dice.between(20, 150) * MINUTE, rating=dice.between(1, 5), body="Edited.")
    yield _before_midnight(world, count)


def _review(world: World, dice: Dice, number: int, order: Write, at: float) -> dict[str, Any]:
    moment = world.at(at)
    document = {
        "_id": _id(world, "reviews", number),
        "product_id": dice.pick(order.document["items"])["product_id"],
        "customer_id": order.document["customer_id"],
        "order_id": order.document["_id"],
        "rating": min(5, dice.between(1, 7)),
        "title": dice.pick(TITLES),
        "body": dice.pick(BODIES),
        "created_at": moment,
        "updated_at": moment,
    }
    if dice.chance(0.2):
        del document["order_id"]
    return document


def _before_midnight(world: World, number: int) -> Write:
    """A review that states a time of the day before, and shows in the first hour."""
    moment = world.at(-20 * MINUTE)
    document = {
        "_id": _id(world, "reviews", number),
        "product_id": world.products()[0].id,
        "customer_id": _id(world, "customers", CUSTOMERS // 4),
        "rating": 4,
        "title": "Late at night",
        "body": "Ordered before, and again.",
        "created_at": moment,
        "updated_at": moment,
    }
    world.plant("before_midnight", _place("reviews", document))
    return Write(OPENING + MINUTE, "reviews", document)
