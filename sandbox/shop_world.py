"""What both halves of the generated shop share: the day, its dice, the products, and when each customer shows.

What belongs here: facts that documents and CSV rows must agree on, and the form in which both say what they hold.
What does not: the documents (`sandbox.shop_documents`), the CSV objects (`sandbox.shop_objects`) and playing them
(`sandbox.shop`).

Times are seconds since the day began until they are written down. Money is whole cents.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, TypeVar

T = TypeVar("T")
Document = Mapping[str, Any]

DAY = datetime(2023, 3, 31, tzinfo=UTC)
SEED = 20230331
HOURS = 24
MINUTE, HOUR = 60, 3_600

CUSTOMERS, PRODUCTS, ORDERS, REVIEWS, MOVEMENTS_PER_HOUR = 40, 30, 200, 60, 11
OPENING = 10 * MINUTE  # by then the first customers and products are there; nothing refers to them before
FIRST_SHARE = 0.6  # of the customers: there from the beginning; the others show from `LATER_FROM` on
LATER_FROM, LATER_UNTIL = 3 * HOUR, 22 * HOUR
PRODUCT_HOURS = (0, 3, 7, 12, 16)  # when products show for the first time; most in the first
FIRST_PRODUCTS = 26

GARMENTS = (  # name, category, cents
    ("Tee", "tops", 1_990),
    ("Oxford shirt", "tops", 4_500),
    ("Chinos", "trousers", 5_990),
    ("Jeans", "trousers", 7_950),
    ("Raincoat", "outerwear", 12_900),
    ("Wool coat", "outerwear", 21_900),
    ("Socks", "accessories", 690),
    ("Scarf", "accessories", 2_400),
    ("Trainers", "shoes", 8_995),
    ("Dress", "dresses", 6_490),
)
COLORS = ("black", "navy", "sand", "olive", "ecru", "rust")
SIZES = ("XS", "S", "M", "L", "XL")
MATERIALS = ("cotton", "linen", "wool", "polyester")


class Dice:
    """Chance that depends on the seed alone: of `Random`, only `random` is the same in every version of Python."""

    def __init__(self, *seed: object) -> None:
        self._random = Random("/".join(map(str, seed)))  # noqa: S311  # nosec B311

    def share(self) -> float:
        """A number from 0 up to 1."""
        return self._random.random()

    def between(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both included."""
        return low + int(self.share() * (high - low + 1))

    def pick(self, choices: Sequence[T]) -> T:
        """One of `choices`."""
        return choices[int(self.share() * len(choices))]

    def chance(self, probability: float) -> bool:
        """Whether it happens this time."""
        return self.share() < probability


@dataclass(frozen=True)
class Product:
    """One product as the shop knows it at first."""

    id: str
    name: str
    category: str
    size: str
    color: str
    cents: int
    shown: int  # the hour of the object that it is first in


@dataclass(frozen=True)
class World:
    """One day of the shop, before anything has happened.

    Attributes:
        start: the day's first moment.
        scale: multiplies how much there is of everything.
        seed: of all chance.
        planted: misbehaviour → what shows it, filled while the day is made.
    """

    start: datetime
    scale: int
    seed: int
    planted: dict[str, list[str]] = field(default_factory=dict)

    def dice(self, *about: object) -> Dice:
        """The dice for one thing, which fall the same whatever else is there."""
        return Dice(self.seed, f"{self.start:%Y%m%d}", *about)

    def at(self, seconds: float) -> datetime:
        """The moment so many seconds after the day began, to the millisecond, as BSON keeps it."""
        return self.start + timedelta(milliseconds=round(seconds * 1000))

    def plant(self, kind: str, *where: str) -> None:
        """Note that `where` shows the misbehaviour `kind`."""
        self.planted.setdefault(kind, []).extend(where)

    def products(self) -> list[Product]:
        """The products in the order in which they show."""
        first, dice = FIRST_PRODUCTS * self.scale, Dice(self.seed, "products")  # the same ones every day
        made = []
        for number in range(PRODUCTS * self.scale):
            name, category, cents = GARMENTS[number % len(GARMENTS)]
            shown = 0 if number < first else PRODUCT_HOURS[1 + (number - first) // self.scale]
            made.append(
                Product(
                    f"P{number + 1:04d}",
                    name,
                    category,
                    dice.pick(SIZES),
                    dice.pick(COLORS),
                    cents + 100 * dice.between(-3, 3),
                    shown,
                )
            )
        return made

    def customers_shown(self) -> list[float]:
        """When each customer is first written, in order of time."""
        count = CUSTOMERS * self.scale
        first = int(count * FIRST_SHARE)
        early = [OPENING * (number + 0.5) / first for number in range(first)]
        step = (LATER_UNTIL - LATER_FROM) / (count - first)
        return early + [LATER_FROM + step * (number + 0.5) for number in range(count - first)]
