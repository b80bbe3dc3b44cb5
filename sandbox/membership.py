"""Four weeks of a live-streaming platform's membership: who was active, who topped up, and what channels settled.

What belongs here: what is true, as rows of the four reports. What does not: the workbooks in which people send it
(`sandbox.membership_workbooks`), and any rule about which cell means what: that is the pipeline's to find out, and
sharing a rule with it would let both be wrong together.

Same arguments give the same world. For each day and channel, `net_amount` is what succeeded less `platform_fee` and
`tax`, to the cent; what failed or was refunded never counts. Who tops up is active on that day, and sees the page.
Times are kept in UTC, days are local.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from functools import cached_property, lru_cache
from types import MappingProxyType
from typing import Literal, get_args
from zoneinfo import ZoneInfo

from sandbox.shop_world import Dice

Report = Literal["top_up", "pre_deduction", "post_deduction", "op_stats"]

REPORTS: tuple[Report, ...] = get_args(Report)
SEED = 20230304
ZONE = ZoneInfo("Asia/Taipei")
FIRST_DAY, LAST_DAY = date(2023, 3, 4), date(2023, 3, 31)
DAYS = tuple(FIRST_DAY + timedelta(days=number) for number in range((LAST_DAY - FIRST_DAY).days + 1))
LEVELS = ("basic", "silver", "gold", "diamond")

USERS, EARLY_USERS = 80, 36  # the early ones show in the first days, the others one after another
EARLY_JOINS = (0, 0, 0, 0, 0, 1, 1, 2, 3, 5)  # numbers of days
LAST_JOIN = 26  # number of the day on which the last of them shows
TOP_UPS = (36, 44)  # a day
SUCCEEDED, FAILED = 0.80, 0.12  # of all; the others are refunded
OWN_AMOUNT = 0.2  # of all: no package, but what the user entered
NEVER_BUYS = 7  # of so many users one never tops up
BUYS_TODAY = 0.7  # of those who are there and ever buy
VAT = Decimal("0.05")  # of the fee
CENT = Decimal("0.01")
DAY_SECONDS, HOUR_SECONDS = 86_400, 3_600

PACKAGES = ((30, 99), (90, 300), (150, 500), (300, 1_020), (490, 1_700), (990, 3_500), (1_490, 5_400), (2_990, 11_000))
HOURS = (6, 4, 2, 1, 1, 1, 2, 3, 4, 4, 5, 6, 8, 6, 5, 5, 5, 6, 8, 10, 13, 15, 14, 11)  # top-ups by local hour
EDGES = (
    0,
    21_599,
    21_600,
    43_199,
    43_200,
    64_799,
    64_800,
    86_399,
)  # second of the day: where segments of it begin, end
OFF: Mapping[tuple[int, str], Decimal] = MappingProxyType(  # day of March, channel → what is deducted too much
    {
        (7, "gplay"): Decimal("112.50"),
        (13, "appstore"): Decimal("-260.00"),
        (16, "cvs"): Decimal("30.00"),
        (19, "web"): Decimal("45.25"),
        (24, "carrier"): Decimal("80.00"),
        (29, "appstore"): Decimal("180.00"),
        (30, "web"): Decimal("-64.50"),
        (31, "gplay"): Decimal("95.50"),
    }
)
TIE = 30  # day of March on which one user pays twice in the same second
SURNAMES = ("小美", "阿明", "雅婷", "志豪", "Mei", "Leo", "佩珊", "建宏", "Nana", "Kenji")
NICKNAMES: Mapping[int, str | None] = MappingProxyType(  # number of the user → what else a name may be
    {
        3: None,
        7: "=SUM(A1:A9)",
        12: "+886 阿豪",
        15: "@nana",
        20: "Ann 🎤",
        25: 'O\'Neil "Bob"',
        28: "00712",
        33: "<3 小愛&",
        41: None,
    }
)


@dataclass(frozen=True)
class Channel:
    """A way by which users pay.

    Attributes:
        code: as every report has it.
        name: in Chinese.
        type: app_store, web, carrier or bank.
        rate: the share that it deducts by contract.
        weight: of a hundred top-ups, about how many.
        methods: payment methods that it takes.
    """

    code: str
    name: str
    type: str
    rate: Decimal
    weight: int
    methods: tuple[str, ...]


CHANNELS = (
    Channel("appstore", "蘋果應用商店", "app_store", Decimal("0.30"), 34, ("apple_pay",)),
    Channel("gplay", "Google 應用商店", "app_store", Decimal("0.15"), 28, ("google_pay",)),
    Channel("web", "官網儲值", "web", Decimal("0.028"), 20, ("credit_card", "credit_card", "bank_transfer")),
    Channel("cvs", "超商代碼", "web", Decimal("0.06"), 11, ("convenience_store",)),
    Channel("carrier", "電信帳單", "carrier", Decimal("0.35"), 5, ("credit_card", "google_pay")),
    Channel("bank", "銀行轉帳", "bank", Decimal("0.01"), 2, ("bank_transfer",)),
)


@dataclass(frozen=True)
class User:
    """A member.

    Attributes:
        user_id: digits.
        nickname: as the app shows it; None: none was given.
        registered_on: the local day.
        levels: number of a day → rank of the level from then on.
        active: numbers of the days on which the user is there.
        buys: whether the user ever tops up.
    """

    user_id: str
    nickname: str | None
    registered_on: date
    levels: Mapping[int, int]
    active: tuple[int, ...]
    buys: bool

    def level(self, day: int) -> str:
        """The level on the day of that number."""
        return LEVELS[self.levels[max(number for number in self.levels if number <= day)]]


@dataclass(frozen=True)
class TopUp:
    """A row of the report `top_up`."""

    top_up_id: str
    user_id: str
    nickname: str | None
    channel_code: str
    paid_at: datetime  # UTC
    amount: Decimal
    currency: str
    diamonds: int
    payment_method: str
    status: str  # succeeded, failed or refunded

    @property
    def local(self) -> datetime:
        """When it was paid by the clock on the wall, without a zone."""
        return self.paid_at.astimezone(ZONE).replace(tzinfo=None)


@dataclass(frozen=True)
class PreDeduction:
    """A row of the report `pre_deduction`."""

    settlement_date: date
    channel_code: str
    channel_name: str
    channel_type: str
    top_up_count: int
    gross_amount: Decimal


@dataclass(frozen=True)
class PostDeduction:
    """A row of the report `post_deduction`."""

    settlement_date: date
    channel_code: str
    deduction_rate: Decimal
    platform_fee: Decimal
    tax: Decimal
    net_amount: Decimal


@dataclass(frozen=True)
class OpStats:
    """A row of the report `op_stats`."""

    activity_date: date
    user_id: str
    nickname: str | None
    registered_on: date
    membership_level: str
    logins: int
    watch_minutes: Decimal
    gifts_sent: int
    topup_page_views: int


Row = TopUp | PreDeduction | PostDeduction | OpStats


@dataclass(frozen=True)
class World:
    """Everything that is true.

    Attributes:
        users: all of them, by when they show.
        channels: all of them.
        top_ups: by day, then by time.
        pre_deductions: by day, then by channel; a channel without a top-up has a row of zeros.
        post_deductions: likewise.
        op_stats: a row for each day and user who is there.
        off: day and channel of each settlement whose deductions are not what the contract says.
    """

    users: tuple[User, ...]
    channels: tuple[Channel, ...]
    top_ups: tuple[TopUp, ...]
    pre_deductions: tuple[PreDeduction, ...]
    post_deductions: tuple[PostDeduction, ...]
    op_stats: tuple[OpStats, ...]
    off: frozenset[tuple[date, str]]

    @cached_property
    def _by_day(self) -> Mapping[tuple[Report, date], list[Row]]:
        found: dict[tuple[Report, date], list[Row]] = {(report, day): [] for report in REPORTS for day in DAYS}
        for top_up in self.top_ups:
            found["top_up", top_up.local.date()].append(top_up)
        for pre in self.pre_deductions:
            found["pre_deduction", pre.settlement_date].append(pre)
        for post in self.post_deductions:
            found["post_deduction", post.settlement_date].append(post)
        for activity in self.op_stats:
            found["op_stats", activity.activity_date].append(activity)
        return found

    def rows(self, report: Report, day: date) -> Sequence[Row]:
        """The rows of a report for one of the `DAYS`."""
        return self._by_day[report, day]


@lru_cache(maxsize=2)
def world(seed: int = SEED) -> World:
    """The four weeks.

    Args:
        seed: of all chance.
    """
    users = tuple(_user(seed, number) for number in range(1, USERS + 1))
    top_ups = tuple(top_up for number in range(len(DAYS)) for top_up in _top_ups(seed, number, users))
    settled = [_settled(day, channel, top_ups) for day in DAYS for channel in CHANNELS]
    return World(
        users,
        CHANNELS,
        top_ups,
        tuple(pre for pre, _ in settled),
        tuple(post for _, post in settled),
        tuple(_activity(seed, users, top_ups)),
        frozenset((FIRST_DAY.replace(day=day), channel) for day, channel in OFF),
    )


# -- users and what they do


def _user(seed: int, number: int) -> User:
    dice = Dice(seed, "user", number)
    early = number <= EARLY_USERS
    joined = dice.pick(EARLY_JOINS) if early else 2 + (LAST_JOIN - 2) * (number - EARLY_USERS) // (USERS - EARLY_USERS)
    registered = DAYS[joined] - timedelta(days=dice.between(20, 700) if early else 0)
    nickname = NICKNAMES.get(number, f"{SURNAMES[number % len(SURNAMES)]}{number:02d}")
    levels = _levels(dice, number, joined)
    return User(
        f"{100_000 + 37 * number}",
        nickname,
        registered,
        levels,
        _active(dice, number, joined),
        number % NEVER_BUYS != 0,
    )


def _levels(dice: Dice, number: int, joined: int) -> Mapping[int, int]:
    """Four of ten users stay at one level; the others go up, down, or up and down again."""
    first = dice.pick((0, 0, 0, 1, 1, 2))
    change, back = joined + dice.between(5, 9), joined + dice.between(13, 17)
    if number % 5 == 0:
        return {joined: first, change: first + 1}
    if number % 5 == 1:
        return {joined: first + 1, change: first}
    if number % 5 == 2:  # noqa: PLR2004 - another fifth
        return {joined: first, change: first + 1, back: first}
    return {joined: first}


def _active(dice: Dice, number: int, joined: int) -> tuple[int, ...]:
    """Of eight users, two leave, one of them to come back; each is there on the day of joining."""
    often = 0.55 + 0.4 * dice.share()
    leaves = joined + dice.between(4, 9) if number % 4 == 0 else len(DAYS)
    returns = leaves + dice.between(10, 14) if number % 8 == 0 else len(DAYS)
    there = (day for day in range(joined, len(DAYS)) if dice.chance(often) or day in {joined, returns})
    return tuple(day for day in there if day < leaves or day >= returns)


def _activity(seed: int, users: Sequence[User], top_ups: Sequence[TopUp]) -> Iterator[OpStats]:
    tried: dict[tuple[date, str], int] = {}
    for top_up in top_ups:
        key = top_up.local.date(), top_up.user_id
        tried[key] = tried.get(key, 0) + 1
    for number, day in enumerate(DAYS):
        for user in (user for user in users if number in user.active):
            dice = Dice(seed, "activity", day, user.user_id)
            tries = tried.get((day, user.user_id), 0)
            curious = dice.between(1, 3) if dice.chance(0.4) else 0
            yield OpStats(
                day,
                user.user_id,
                user.nickname,
                user.registered_on,
                user.level(number),
                dice.between(1, 6),
                Decimal(dice.between(20, 12_000)).scaleb(-1),
                dice.between(0, 40) if dice.chance(0.5) else 0,
                tries + curious,
            )


# -- top-ups


def _top_ups(seed: int, number: int, users: Sequence[User]) -> Iterator[TopUp]:
    day, dice = DAYS[number], Dice(seed, "top-ups", DAYS[number])
    there = [user for user in users if user.buys and number in user.active]
    buyers = [user for user in there if dice.chance(BUYS_TODAY)] or there
    times = sorted([EDGES[number % len(EDGES)], *_times(dice, dice.between(*TOP_UPS) - 1)])
    made = [_top_up(seed, day, nth, second, dice.pick(buyers)) for nth, second in enumerate(times, 1)]
    if day.day == TIE:
        nth = next(nth for nth, one in enumerate(made) if one.status == "succeeded" and 0 < nth < len(made) - 1)
        one, after = made[nth], made[nth + 1]
        twin = {"user_id": one.user_id, "nickname": one.nickname, "paid_at": one.paid_at, "status": "succeeded"}
        made[nth + 1] = TopUp(**{**vars(after), **twin})
    return iter(made)


def _times(dice: Dice, count: int) -> Iterator[int]:
    """Seconds of the day by each hour's share; one just after midnight, one just before; half on the full minute."""
    slots = [hour for hour, weight in enumerate(HOURS) for _ in range(weight)]
    yield dice.between(1, 9) * 60
    yield DAY_SECONDS - dice.between(1, 9) * 60
    for _ in range(count - 2):
        second = dice.pick(slots) * HOUR_SECONDS + dice.between(0, HOUR_SECONDS - 1)
        yield second - second % 60 if dice.chance(0.5) else second


def _top_up(seed: int, day: date, nth: int, second: int, user: User) -> TopUp:
    dice = Dice(seed, "top-up", day, nth)
    channel = dice.pick([channel for channel in CHANNELS for _ in range(channel.weight)])
    price, diamonds = dice.pick(PACKAGES)
    amount = Decimal(price).quantize(CENT)
    if dice.chance(OWN_AMOUNT):
        amount = Decimal(dice.between(3_000, 400_000)).scaleb(-2)
        diamonds = int(amount * 3)
    share = dice.share()
    status = "succeeded" if share < SUCCEEDED else "failed" if share < SUCCEEDED + FAILED else "refunded"
    midnight = datetime(day.year, day.month, day.day, tzinfo=ZONE)
    return TopUp(
        f"T{day:%Y%m%d}-{nth:04d}",
        user.user_id,
        user.nickname,
        channel.code,
        (midnight + timedelta(seconds=second)).astimezone(UTC),
        amount,
        "TWD",
        diamonds,
        dice.pick(channel.methods),
        status,
    )


# -- settlements


def _settled(day: date, channel: Channel, top_ups: Sequence[TopUp]) -> tuple[PreDeduction, PostDeduction]:
    paid = [
        one.amount
        for one in top_ups
        if one.channel_code == channel.code and one.status == "succeeded" and one.local.date() == day
    ]
    gross = sum(paid, Decimal(0)).quantize(CENT)
    deductions = _cents(gross * channel.rate) + OFF.get((day.day, channel.code), Decimal(0))
    tax = _cents(deductions * VAT / (1 + VAT))
    fee = deductions - tax
    pre = PreDeduction(day, channel.code, channel.name, channel.type, len(paid), gross)
    return pre, PostDeduction(day, channel.code, channel.rate, fee, tax, gross - fee - tax)


def _cents(amount: Decimal) -> Decimal:
    return amount.quantize(CENT, ROUND_HALF_UP)
