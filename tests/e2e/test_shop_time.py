"""The shop, exactly once: whatever happens to hours, sources and processes, each row is there once, as after one clean pass.

MongoDB holds the newest version of a document only, so what a pass finds depends on when it looks. Most homes here look
when the day is over; the two of `played` look after the same hours of it.
"""

import csv
import gzip
import io
import re
import shutil
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import lakes
import pytest
from command import Done, wait_for
from homes import Home, serving, write_sources
from lakes import state
from loaders import (
    TABLES,
    Worker,
    as_dicts,
    as_row,
    bronze,
    hours,
    load_hours,
    rejected,
    transform_hours,
    window,
    workers,
)

from lake.audit import audit
from lake.duck import quote
from lake.settings import Settings
from orchestration.components import bronze_table
from orchestration.partitions import OVERLAP
from sandbox import shop
from sandbox.mongodb import MongoStandIn
from sandbox.s3 import S3StandIn
from sandbox.users import USERS

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("e2e-heavy")]

KEYS = {"orders": "id", "customers": "id", "reviews": "id", "products": "product_id", "stock_movements": "movement_id"}
MONGO = ("orders", "customers", "reviews")
LAST = shop.HOURS - 1
BRONZE = ("--select", "bronze/shop/*", "--from", hours(0)[0], "--to", hours(LAST)[0])
# Silver and gold go by the days that an hour's changes may lie on. Those of the first hour are all there are.
EVERY_DAY = hours(0)
TRANSFORM = ("--select", "silver/shop/* gold/shop/*", "--no-publish", "--partition", *EVERY_DAY)
BRONZE_KILLS = 14
Content = dict[str, Any]


# -- sources and homes -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sources:
    """The shop's two systems, and the day that is played into them."""

    mongodb: MongoStandIn
    s3: S3StandIn
    day: shop.Day
    delayed: frozenset[str]

    def play(self, first: int, last: int) -> None:
        shop.play(self.mongodb.url, self.s3.url, range(first, last + 1), self.day)

    @property
    def variables(self) -> dict[str, str]:
        return {"shop_mongodb": self.mongodb.url, "shop_s3": self.s3.url.replace("://", "://AKIDEXAMPLE:s3cr3t@")}


class ShopHome(Home):
    """A home that reads the shop's sources."""

    def __init__(self, path: Any, sources: Sources, users_api: str = "") -> None:
        given = {f"LAKEGRAPH_{name.upper()}": value for name, value in sources.variables.items()}
        super().__init__(path, "", users_api, given)
        self.lake: Settings = lakes.settings(path, "", **sources.variables)

    def succeed(self, *arguments: str) -> None:
        """Materialize, which must succeed."""
        done = self.start("materialize", *arguments).wait()
        assert done.code == 0, done.err[-2000:]

    def forget(self) -> None:
        """Take away the working folders: what is to be kept is in the tables."""
        for folder in (self.lake.dlt_home, self.lake.dbt_target):
            shutil.rmtree(folder, ignore_errors=True)

    def bronze(self) -> Content:
        return {f"{table}{part.__name__}": part(self.lake, table) for table in TABLES for part in (bronze, rejected)}

    def transformed(self) -> Content:
        """All rows of silver and gold."""
        with duckdb.connect(str(self.settings.duckdb_path), read_only=True) as connection:
            names = connection.execute(
                "SELECT table_schema, table_name FROM information_schema.tables"
                " WHERE table_schema IN ('silver', 'gold') AND table_name LIKE 'shop_%'"
            ).fetchall()
            return {
                f"{schema}.{name}": connection.execute(f"SELECT * FROM {schema}.{quote(name)} ORDER BY ALL").fetchall()
                for schema, name in names
            }

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(self.settings.duckdb_path), read_only=True) as connection:
            return connection.execute(sql).fetchall()


def same(found: Content, wanted: Content) -> None:
    """Both hold the same rows in the same tables."""
    assert found.keys() == wanted.keys()
    assert {name: Counter(found[name]) - Counter(wanted[name]) for name in wanted if found[name] != wanted[name]} == {}
    assert found == wanted


def exact(home: ShopHome) -> None:
    """Every row of bronze is there once and accounted for, and silver accounts for each of them."""
    accounts = {row[0] for row in home.rows("SELECT table_name FROM information_schema.tables") if "__acc" in row[0]}
    assert accounts == {f"shop_{table}__accounting" for table in (*TABLES, "order_items")}
    for table in TABLES:
        rows, turned_away = bronze(home.lake, table), rejected(home.lake, table)
        identities = Counter(tuple(row[name] for name in identity(table)) for row in as_dicts(home.lake, table))
        assert [one for one, times in (identities + turned_away).items() if times > 1] == []
        (finding,) = audit(lakes.declared(table, "shop")[0], [], home.lake)
        assert (finding.unaccounted, finding.rows_stored) == (0, rows.total())
        assert finding.rows_rejected == turned_away.total()
        counted = f"SELECT sum(bronze_rows), max(abs(unaccounted_rows)) FROM silver.shop_{table}__accounting"
        assert home.rows(counted) == [(rows.total(), 0)]
    assert home.rows("SELECT max(abs(unaccounted_rows)) FROM silver.shop_order_items__accounting") == [(0,)]


def identity(table: str) -> list[str]:
    spec, _ = lakes.declared(table, "shop")
    return [*spec.identity, str(spec.partition_column)]


@pytest.fixture(scope="module")
def sources() -> Iterator[Sources]:
    """Both systems, empty. Two of the orders whose clock is off show an hour later than they would."""
    day = shop.day()
    late = frozenset({day.planted["clock_behind"][0], day.planted["clock_ahead"][1]})
    assert all(place.startswith("orders/") for place in late)
    ids = frozenset(place.partition("/")[2] for place in late)
    writes: dict[int, list[shop.Write]] = defaultdict(list)
    for number, drop in enumerate(day.drops):
        for write in drop.writes:
            writes[number + (str(write.document["_id"]) in ids)].append(write)
    assert max(writes) == LAST
    drops = tuple(replace(drop, writes=tuple(writes[number])) for number, drop in enumerate(day.drops))
    with MongoStandIn() as mongodb, S3StandIn() as s3:
        yield Sources(mongodb, s3, replace(day, drops=drops), ids)


@pytest.fixture(scope="module")
def pair() -> Iterator[list[Worker]]:
    """Two processes for the module's homes."""
    with workers(2) as running:
        yield running


# -- hours as they come ----------------------------------------------------------------------------------------------

# What is played, and then loaded, in turn: an hour alone where an object is replaced or a clock is off.
STEPS = ((0, 8), (9, 12), (13, 13), (14, LAST))


@dataclass(frozen=True)
class Played:
    """Two homes that looked after the same hours: once each, and again and again, several at once.

    Attributes:
        clean: the one.
        disturbed: the other.
        seen: after each step, of the documents whose clock is off, what bronze of the latter held: id and time.
    """

    clean: ShopHome
    disturbed: ShopHome
    seen: Sequence[Counter[tuple[str, datetime]]]


def off(sources: Sources) -> set[str]:
    """The ids of the documents whose clock is off."""
    planted = sources.day.planted
    return {place.partition("/")[2] for place in (*planted["clock_ahead"], *planted["clock_behind"])}


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory, sources: Sources, pair: list[Worker]) -> Played:
    base = tmp_path_factory.mktemp("played")
    clean, disturbed = (ShopHome(base / name, sources) for name in ("clean", "disturbed"))
    wrong, seen = off(sources), []
    for first, last in STEPS:
        sources.play(first, last)
        for table in TABLES:
            at_once(pair, disturbed, table, (first, last), (max(first - 1, 0), last))
            pair[0].do(load_hours, clean.lake, table, hours(first, last))
        shutil.rmtree(disturbed.lake.dlt_home)
        rows = (row for table in ("orders", "customers") for row in as_dicts(disturbed.lake, table))
        seen.append(Counter((row["id"], row["updated_at"]) for row in rows if row["id"] in wrong))
    for home in (clean, disturbed):
        pair[0].do(transform_hours, home.lake, EVERY_DAY)
    return Played(clean, disturbed, seen)


def at_once(pair: Sequence[Worker], home: ShopHome, table: str, *spans: tuple[int, int]) -> None:
    """Each process loads one of the spans of hours."""
    for worker, span in zip(pair, spans, strict=True):
        worker.begin(load_hours, home.lake, table, hours(*span))
    for worker in pair:
        worker.end()


def test_hours_loaded_twice_and_two_at_once_give_what_each_gives_once(played: Played) -> None:
    same(played.disturbed.bronze(), played.clean.bronze())
    same(played.disturbed.transformed(), played.clean.transformed())
    exact(played.disturbed)
    exact(played.clean)


def dated(time: object) -> datetime | None:
    """The time of a version, be it a date or a text; None if it has none: such a document is in quarantine."""
    if isinstance(time, str):
        try:
            time = datetime.fromisoformat(time)
        except ValueError:
            return None
    return time.replace(tzinfo=None) if isinstance(time, datetime) else None


def test_every_version_that_was_there_at_the_end_of_a_step_is_kept(played: Played, sources: Sources) -> None:
    """Counted in what was played, without any code of the pipeline's."""
    for collection in MONGO:
        wanted: set[tuple[str, datetime]] = set()
        for _, last in STEPS:
            documents = sources.day.state(last + 1).documents[collection].values()
            times = {str(one["_id"]): dated(one.get("updated_at")) for one in documents}
            wanted |= {(key, time) for key, time in times.items() if time}
        found = {(row["id"], row["updated_at"]) for row in as_dicts(played.disturbed.lake, collection)}
        assert found == wanted


def test_a_clock_that_is_an_hour_off(played: Played, sources: Sources) -> None:
    """Each version comes once, with the load that asks for the time it states: one that is behind and shows an hour late
    by the overlap, one that is ahead with the next load.
    """
    wanted: set[tuple[str, datetime]] = set()
    overlapped, waited = set(), set()
    for (first, last), seen in zip(STEPS, played.seen, strict=True):
        asked = window(hours(first, last))
        state = sources.day.state(last + 1).documents
        documents = [one for name in ("orders", "customers") for one in state[name].values()]
        for key, at in ((str(one["_id"]), one["updated_at"]) for one in documents if str(one["_id"]) in off(sources)):
            version = (key, at.replace(tzinfo=None))
            if asked.since and asked.since <= at < asked.since + OVERLAP and version not in wanted:
                overlapped.add(key)
            if at >= asked.end:
                waited.add(key)
            elif asked.holds(at):
                wanted.add(version)
        assert seen == Counter(wanted)
    assert {key for key, _ in wanted} == off(sources)
    assert overlapped & sources.delayed
    assert waited


def _csv(body: bytes, key: str) -> set[tuple[str, ...]]:
    text = (gzip.decompress(body) if key.endswith(".gz") else body).decode("utf-8-sig")
    return {tuple(row.values()) for row in csv.DictReader(io.StringIO(text))}


def test_an_object_replaced_under_its_name(played: Played, sources: Sources) -> None:
    """What it held before stays known, what it holds now is known too, and what is in both is there once."""
    (key,) = sources.day.planted["rewritten_in_place"]
    before, after = (put for drop in sources.day.drops for put in drop.puts if put.key == key)
    assert after.modified - before.modified > timedelta(hours=2)
    old, new = _csv(before.body, key), _csv(after.body, key)
    assert old & new
    assert old - new
    assert new - old
    for home in (played.clean, played.disturbed):
        rows = [row for row in as_dicts(home.lake, "stock_movements") if row["source_object"].endswith(key)]
        assert len(rows) == len(old | new)
        found = Counter((row["movement_id"], str(row["quantity"])) for row in rows)
        assert found == Counter({(row[0], row[4]): 1 for row in old | new})
        corrected = {row[0]: int(row[4]) for row in new - old}
        listed = ", ".join(f"'{movement}'" for movement in corrected)
        silver = f"SELECT movement_id, quantity FROM silver.shop_stock_movements WHERE movement_id IN ({listed})"
        assert dict(home.rows(silver)) == corrected


# -- the day when it is over -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory, sources: Sources, pair: list[Worker], played: Played) -> ShopHome:
    """One pass, when all has been played."""
    home = ShopHome(tmp_path_factory.mktemp("clean") / "home", sources)
    for table in TABLES:
        pair[0].do(load_hours, home.lake, table, hours(0, LAST))
    pair[0].do(transform_hours, home.lake, EVERY_DAY)
    return home


def test_the_clean_pass_is_not_empty(clean: ShopHome) -> None:
    exact(clean)
    empty = {name for name, rows in {**clean.bronze(), **clean.transformed()}.items() if not rows}
    whole = ("customers", "products", "reviews", "stock_movements")
    assert empty == {"ordersrejected", *(f"silver.shop_{table}__rejected" for table in whole)}


@pytest.fixture(scope="module")
def jumbled(tmp_path_factory: pytest.TempPathFactory, sources: Sources, pair: list[Worker], played: Played) -> ShopHome:
    """Hours in reverse by two processes, so that each is loaded twice and always two at once; silver and gold half-way;
    and nothing left but tables, in between and before the end.
    """
    home = ShopHome(tmp_path_factory.mktemp("jumbled") / "home", sources)

    def hours_at_once(*spans: tuple[int, int]) -> None:
        for table in TABLES:
            at_once(pair, home, table, *spans)

    hours_at_once((15, LAST), (15, LAST))  # the very same, where there is no table yet
    for hour in (14, 13):
        hours_at_once((hour, hour), (hour - 1, hour - 1))
    home.forget()
    pair[0].do(transform_hours, home.lake, hours(12, LAST))
    home.forget()
    for hour in (11, 10):
        hours_at_once((hour, hour), (hour - 1, hour - 1))
    hours_at_once((0, 8), (0, 3))
    home.forget()
    pair[0].do(transform_hours, home.lake, EVERY_DAY)
    return home


def test_hours_in_reverse_twice_and_at_once(jumbled: ShopHome, clean: ShopHome) -> None:
    same(jumbled.bronze(), clean.bronze())
    same(jumbled.transformed(), clean.transformed())
    exact(jumbled)


def test_an_hour_that_is_loaded_again_changes_nothing(jumbled: ShopHome, pair: list[Worker]) -> None:
    before = state(jumbled.lake)
    for table in TABLES:
        account = pair[0].do(load_hours, jumbled.lake, table, hours(16))
        assert account.rows_known == account.rows_read > 0
    assert state(jumbled.lake) == before


# -- kill -9 ---------------------------------------------------------------------------------------------------------


@dataclass
class Killed:
    """A home whose loads and transformations were killed.

    Attributes:
        home: it.
        loads: for each load that was killed, what could be seen of it.
        runs: the moments at which transformations were killed.
    """

    home: ShopHome
    loads: list[str]
    runs: list[str]


class Load:
    """A load of one hour in a process of its own."""

    def __init__(self, home: ShopHome, table: str, hour: int) -> None:
        self._folder, self._left = home.lake.dlt_home, set(home.lake.dlt_home.glob("*"))
        self.worker = Worker()
        self.began = time.perf_counter()
        self.worker.begin(load_hours, home.lake, table, hours(hour))

    def _delivered(self) -> bool:
        return any(path.parents[1] not in self._left for path in self._folder.glob("*/delivered/*"))

    def until(self, phase: str) -> float:
        """Waits until the phase begins, or the load has ended; gives the seconds from the load's beginning."""
        if phase == "load":
            wait_for(lambda: self._delivered() or self.worker.ends_within(0), "it delivers", poll=0.001)
        return time.perf_counter() - self.began


def _durations(home: ShopHome) -> dict[tuple[str, bool], float]:
    """Seconds that a load's phases take, of a MongoDB table and of another: all until rows are delivered, and the rest."""
    found = {}
    for table in ("orders", "stock_movements"):
        load = Load(home, table, 11)
        delivered = load.until("load")
        load.worker.end()
        load.worker.kill()
        found["extract", table in MONGO] = delivered
        found["load", table in MONGO] = time.perf_counter() - load.began - delivered
    return found


def _kill_loads(home: ShopHome, clean: ShopHome, seconds: Mapping[tuple[str, bool], float]) -> Iterator[str]:
    """Kill loads at moments spread over each of their phases; gives what each had come to: "nothing" that can be seen, or
    all of it.
    """
    wanted = {table: as_dicts(clean.lake, table) for table in TABLES}
    ahead = iter([(table, hour) for hour in range(2, shop.HOURS, 3) for table in TABLES])
    for number in range(BRONZE_KILLS):
        phase, share = ("extract", "load")[number % 2], (number // 2 + 0.5) / (BRONZE_KILLS / 2)
        ended = True
        while ended:
            table, hour = next(ahead)
            before = bronze(home.lake, table)
            load = Load(home, table, hour)
            load.until(phase)
            ended = load.worker.ends_within(share * seconds[phase, table in MONGO])
            load.worker.kill()
            share /= 2  # if it was over before its time, this moment is still to come
            now = bronze(home.lake, table)
            whole = Counter(as_row(row) for row in wanted[table] if _asked_for(row, table, hour))
            assert now in (before, before | whole), f"{table} {hour}: neither what there was nor all of the hour"
            (finding,) = audit(lakes.declared(table, "shop")[0], [], home.lake)
            assert finding.unaccounted == 0
        yield "nothing" if now == before else "all"


def _asked_for(row: Mapping[str, Any], table: str, hour: int) -> bool:
    """Whether a load of the hour asks for it."""
    at: datetime = row["updated_at" if table in MONGO else "object_modified_at"]
    return window(hours(hour)).holds(at.replace(tzinfo=UTC))


class Run:
    """A transformation under way, seen from outside."""

    def __init__(self, home: ShopHome) -> None:
        self.home, self._log, self._left = home, len(home.log()), set(home.lake.dbt_target.glob("*"))
        self.command = home.start("materialize", *TRANSFORM)

    def said(self, text: str) -> bool:
        return text in self.home.log()[self._log :]

    def models(self) -> int:
        """How many of them dbt has built."""
        logs = (folder / "dbt.log" for folder in set(self.home.lake.dbt_target.glob("*")) - self._left)
        return sum(log.read_text(errors="replace").count(" OK ") for log in logs if log.exists())


MOMENTS: Mapping[str, Callable[[Run], Any]] = {
    "dbt is being started": lambda run: run.said("Running dbt command"),
    "a first model is built": lambda run: run.models() >= 1,
    "the newest versions are being found": lambda run: run.models() >= 7,
    "half is built": lambda run: run.models() >= 15,
    "gold is being built": lambda run: run.models() >= 31,
    "dbt has ended": lambda run: run.said("Finished dbt command"),
}


def _kill_transformations(home: ShopHome) -> Iterator[str]:
    """Kill a run at each of the moments; gives those that came while it ran."""
    for name, reached in MOMENTS.items():
        run = Run(home)
        try:
            wait_for(lambda run=run, reached=reached: reached(run) or run.command.ended, name, poll=0.005)
            alive = not run.command.ended
        finally:
            run.command.kill()
        assert alive, f"ended before {name}: {run.command.printed('.err')[-2000:]}"
        yield name


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory, sources: Sources, pair: list[Worker], clean: ShopHome) -> Killed:
    base = tmp_path_factory.mktemp("killed")
    home, undisturbed = (ShopHome(base / name, sources) for name in ("home", "undisturbed"))
    loads = list(_kill_loads(home, clean, _durations(undisturbed)))
    for table in TABLES:
        pair[0].do(load_hours, home.lake, table, hours(4, 12))
    runs = list(_kill_transformations(home))
    home.forget()
    home.succeed(*BRONZE)
    home.succeed(*TRANSFORM)
    return Killed(home, loads, runs)


def test_twenty_kills_lose_nothing_and_bring_nothing_twice(killed: Killed, clean: ShopHome) -> None:
    assert len(killed.loads) + len(killed.runs) == 20
    assert "nothing" in killed.loads
    same(killed.home.bronze(), clean.bronze())
    same(killed.home.transformed(), clean.transformed())
    exact(killed.home)


# -- a source that is down -------------------------------------------------------------------------------------------

SECRETS = ("reader", "hunter2", "AKIDEXAMPLE", "s3cr3t")
OF_SHOP = ("bronze/shop/orders", "bronze/shop/products")
FOREVER = 1_000_000


@contextmanager
def _refusing(sources: Sources) -> Iterator[tuple[str, str]]:
    sources.s3.faults.fail(".", 503, times=FOREVER)
    with sources.mongodb.refusing():
        yield (
            r"shop\.orders: .*Connection refused after 2 attempts",
            r"s3://shop/products/: HTTP 503 .*after 2 attempts",
        )


@contextmanager
def _hanging(sources: Sources) -> Iterator[tuple[str, str]]:
    sources.s3.faults.delay(".", 1.0, times=FOREVER)
    with sources.mongodb.hanging():
        yield (
            r"shop\.orders: .*timed out after 2 attempts",
            r"s3://shop/products/: no answer within 0.3 s after 2 attempts",
        )


def _impatient() -> None:
    """In the command's process: a step is tried again as often as ever, but at once."""
    bronze_table.RETRY = bronze_table.RETRY._replace(delay=0.02)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory, sources: Sources, clean: ShopHome) -> Iterator[ShopHome]:
    """A home that also has another domain's sources, which are well."""
    base = tmp_path_factory.mktemp("other")
    files = write_sources(base / "tlc", ("2023-03",), {"green": 200})
    with serving(files) as server:
        home = ShopHome(base / "home", sources, server.users_api)
        home.tlc_base = str(files)
        yield home


@contextmanager
def _ill(home: ShopHome, sources: Sources) -> Iterator[None]:
    """The home's variables name passwords, and it does not wait long."""
    well, url = home.more, sources.mongodb.url.replace("://", "://reader:hunter2@")
    waits = {f"LAKEGRAPH_SHOP_{phase}_TIMEOUT_SECONDS": "0.3" for phase in ("CONNECT", "READ")}
    home.more = {**well, "LAKEGRAPH_SHOP_MONGODB": url, **waits}
    try:
        yield
    finally:
        home.more = well
        sources.s3.faults.clear()


def failed(home: ShopHome, sources: Sources, reasons: tuple[str, str], command: Sequence[str]) -> Done:
    """The command must fail with one of the reasons, after trying again for both; nothing of the shop has changed."""

    def of_shop() -> Any:
        return {name: table for name, table in state(home.lake).items() if "shop" in name}

    before = of_shop()
    done = home.start(*command, first=_impatient).wait()
    hosts = (sources.mongodb.url.split("/")[2], sources.s3.url)
    causes = [
        re.compile(f"{asset}: {re.escape(host)}: {reason}")
        for asset, host, reason in zip(OF_SHOP, hosts, reasons, strict=True)
    ]
    assert done.code == 1
    assert any(cause.fullmatch(done.first.removeprefix("error: ")) for cause in causes), done.first
    for cause in causes:
        again = [line for line in done.out.splitlines() if cause.fullmatch(line.removesuffix("; trying again"))]
        assert len(again) == bronze_table.RETRY.max_retries, done.out
    assert [secret for secret in SECRETS if secret in done.out + done.err + home.log()] == []
    assert of_shop() == before
    return done


def test_sources_that_refuse_fail_their_own_steps_until_they_are_back(
    other: ShopHome, sources: Sources, clean: ShopHome
) -> None:
    selected = f"{' '.join(OF_SHOP)} bronze/mobility/users"
    command = ("materialize", "--select", selected, "--no-publish", "--partition", *hours(9))
    with _ill(other, sources), _refusing(sources) as reasons:
        done = failed(other, sources, reasons, command)
    assert "materialized bronze/mobility/users" in done.out
    assert lakes.rows(other.lake, "mobility_users").num_rows == len(USERS)
    other.succeed(*command[1:])
    for table in ("orders", "products"):
        wanted = Counter(as_row(row) for row in as_dicts(clean.lake, table) if _asked_for(row, table, 9))
        assert bronze(other.lake, table) == wanted


def test_a_parent_is_built_without_the_tables_that_name_it(other: ShopHome) -> None:
    """The fault: the tests of tables that are not there, which relate them to this one, were run and failed."""
    selected = "bronze/shop/customers silver/shop/customers__versions silver/shop/customers_history"
    other.succeed("--select", selected, "--no-publish", "--partition", *hours(9))
    assert other.rows("SELECT count(*) > 0 FROM silver.shop_customers_history") == [(True,)]


def test_sources_that_hang_stop_no_run_but_their_own(other: ShopHome, sources: Sources) -> None:
    """Months are another run than hours. What came by them is published, for the hours have left no half of a run."""
    selected = f"{' '.join(OF_SHOP)} bronze/mobility/green_trips"
    with _ill(other, sources), _hanging(sources) as reasons:
        done = failed(
            other, sources, reasons, ("materialize", "--select", selected, "--from", "2023-03", "--to", "2023-03")
        )
    assert "materialized bronze/mobility/green_trips" in done.out
    assert lakes.by_month(other.lake) == {"2023-03": 200}
    assert "left out" not in done.out
    with duckdb.connect(str(other.settings.published_path), read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM bronze.mobility_green_trips").fetchall() == [(200,)]
