"""Changed rows of a relational database, from SQLite and from a real PostgreSQL, into bronze: what arrives, what is
rejected, what each fault becomes. Oracle has no server here: only that its driver is asked, and how it says no.
"""

import datetime as dt
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from sqlalchemy import Engine, NullPool, create_engine, text
from sqlalchemy.exc import DBAPIError

from dlt_sources import sql_tables
from dlt_sources.sql_tables import Database, changed_rows
from lake.accounting import LoadResult
from lake.audit import audit
from lake.catalog import open_catalog
from lake.errors import LakeError, TransientError
from lake.load import OVERLAP, Window, load
from lake.settings import Settings
from lake.spec import TableSpec
from lake.store import open_store

UTC = dt.UTC
D29, D30, D31 = (dt.datetime(2023, 3, day, tzinfo=UTC) for day in (29, 30, 31))
DAY = dt.timedelta(days=1)
FIRST = Window("2023-03-29", None, D30)
COLUMNS: dict[str, Any] = {
    "id": {"type": "long", "required": True},
    "name": {"type": "string"},
    "price": {"type": "decimal(18,4)"},
    "is_active": {"type": "boolean"},
    "terms": {"type": "string"},
    "starts_on": {"type": "date"},
    "updated_at": {"type": "timestamp", "required": True},
}
SPEC = TableSpec.model_validate(
    {
        "domain": "sales",
        "name": "things",
        "description": "Things.",
        "mode": "append",
        "partition_column": "source_month",
        "partition_by": "month",
        "identity": ["id", "updated_at"],
        "key": ["id"],
        "columns": COLUMNS,
    }
)
SECRET = "s3cr3t-p@ss"  # noqa: S105 - of the tests alone


@dataclass(frozen=True)
class Source:
    """A database with a table `things`, which its owner writes and a load reads."""

    url: str
    engine: Engine
    settings: Settings

    @property
    def is_postgresql(self) -> bool:
        return self.engine.dialect.name == "postgresql"

    def do(self, *statements: str, **values: Any) -> None:
        with self.engine.begin() as connection:
            for statement in statements:
                connection.execute(text(statement), values)

    @property
    def zone(self) -> str:
        """What a time of UTC is written with; the server's own zone is another."""
        return "+00" if self.is_postgresql else ""

    def create(self, key: str = "PRIMARY KEY", price: str = "DECIMAL(18,4)", moment: str = "") -> None:
        moment = moment or ("TIMESTAMP WITH TIME ZONE" if self.is_postgresql else "TIMESTAMP")
        self.do(
            f"CREATE TABLE things (id BIGINT {key}, name TEXT, price {price}, is_active BOOLEAN, terms TEXT, "
            f"starts_on DATE, updated_at {moment})"
        )

    def put(self, number: int, at: dt.datetime | str | None, name: str | None = "a", price: Any = "1.5") -> None:
        moment = f"{at:%Y-%m-%d %H:%M:%S.%f}" if isinstance(at, dt.datetime) else at
        moment = moment and moment + self.zone
        self.do(
            "INSERT INTO things (id, name, price, updated_at) VALUES (:id, :name, "
            + (":price" if not self.is_postgresql else "CAST(CAST(:price AS TEXT) AS NUMERIC)")
            + (", CAST(CAST(:at AS TEXT) AS TIMESTAMPTZ))" if self.is_postgresql else ", :at)"),
            id=number,
            name=name,
            price=price,
            at=moment,
        )

    def database(self, **other: Any) -> Database:
        return Database(
            **{
                "address": self.url,
                "schema": None,
                "connect_seconds": 5,
                "statement_seconds": 30,
                "attempts": 2,
                **other,
            }
        )

    def load(
        self, window: Window = FIRST, *, spec: TableSpec = SPEC, chunk_rows: int = 1000, **other: Any
    ) -> LoadResult:
        factory = partial(changed_rows, database=self.database(**other), table="things", chunk_rows=chunk_rows)
        return load(spec, factory, self.settings, window=window, run_id="test")

    def rows(self) -> list[dict[str, Any]]:
        table: pa.Table = open_catalog(self.settings).load_table("bronze.sales_things").scan().to_arrow()
        return sorted(table.to_pylist(), key=lambda row: (row["id"], row["updated_at"]))

    def rejected(self) -> list[tuple[str, str]]:
        table: pa.Table = open_catalog(self.settings).load_table("bronze.sales_things__rejected").scan().to_arrow()
        return sorted((row["reject_reason"], row["raw_row"]) for row in table.to_pylist())

    def unaccounted(self) -> int:
        (finding,) = audit(SPEC, [], self.settings)
        return finding.unaccounted


def window(day: dt.datetime, days: int = 1) -> Window:
    return Window(f"{day:%Y-%m-%d}", day - OVERLAP, day + days * DAY)


def refresh() -> Window:
    return Window.everything(dt.datetime.now(UTC))


@pytest.fixture(params=["sqlite", "postgresql"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Source]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/things.db"
    else:
        url = request.getfixturevalue("postgres_database")
    engine = create_engine(url, poolclass=NullPool)
    yield Source(url, engine, Settings(home=tmp_path / "home"))
    engine.dispose()


@pytest.fixture
def postgresql(postgres_database: str, tmp_path: Path) -> Iterator[Source]:
    engine = create_engine(postgres_database, poolclass=NullPool)
    yield Source(postgres_database, engine, Settings(home=tmp_path / "home"))
    engine.dispose()


@pytest.fixture
def sqlite_source(tmp_path: Path) -> Iterator[Source]:
    url = f"sqlite:///{tmp_path}/things.db"
    engine = create_engine(url, poolclass=NullPool)
    yield Source(url, engine, Settings(home=tmp_path / "home"))
    engine.dispose()


# -- what arrives ------------------------------------------------------------------------------------------------------


def test_every_type_arrives_as_it_is(source: Source) -> None:
    source.create()
    clob = "条款\n\"quoted\", 'single' \\ and a tab\t" * 600  # 20 kB
    source.do(
        "INSERT INTO things VALUES (9007199254740993, 'Ünïcode', 12345678901.2345, true, :clob, '2023-02-28', "
        f"'2023-03-29 23:59:59.999999{source.zone}')",
        f"INSERT INTO things VALUES (2, null, null, null, null, null, '2023-03-29 00:00:00{source.zone}')",
        f"INSERT INTO things VALUES (3, '', -0.0001, false, '', '1900-01-01', '2021-01-01 00:00:00{source.zone}')",
        clob=clob,
    )
    result = source.load()
    two, three, one = source.rows()
    assert (one["id"], one["name"], one["price"]) == (9007199254740993, "Ünïcode", Decimal("12345678901.2345"))
    assert (one["is_active"], one["terms"], one["starts_on"]) == (True, clob, dt.date(2023, 2, 28))
    assert one["updated_at"] == D29.replace(tzinfo=None) + DAY - dt.timedelta(microseconds=1)
    assert [two[name] for name in ("name", "price", "is_active", "terms", "starts_on")] == [None] * 5
    assert (three["name"], three["price"], three["is_active"], three["terms"]) == ("", Decimal("-0.0001"), False, "")
    assert {row["source_month"] for row in (one, two)} == {dt.date(2023, 3, 1)}
    assert three["source_month"] == dt.date(2021, 1, 1)
    assert (result.account.rows_read, result.account.rows_loaded, source.unaccounted()) == (3, 3, 0)


def test_a_decimal_has_all_its_digits(postgresql: Source) -> None:
    """A double has 16 digits, and so has a DECIMAL of SQLite."""
    postgresql.create()
    postgresql.put(1, D29, price="12345678901234.5678")
    postgresql.put(2, D29, price="-99999999999999.9999")
    postgresql.load()
    assert [row["price"] for row in postgresql.rows()] == [
        Decimal("12345678901234.5678"),
        Decimal("-99999999999999.9999"),
    ]


def test_a_window_brings_what_changed_in_it_and_each_version_once(source: Source) -> None:
    source.create()
    second = dt.timedelta(microseconds=1)
    source.put(1, D30 - second)
    source.put(2, D30)
    source.put(3, D31 - second)
    source.put(4, D31)
    assert source.load().account.rows_loaded == 1
    result = source.load(window(D30), chunk_rows=1)  # looks back two hours
    assert (result.account.rows_read, result.account.rows_loaded, result.account.rows_known) == (3, 2, 1)
    source.do(f"UPDATE things SET name = 'b', updated_at = '2023-03-31 00:00:00.5{source.zone}' WHERE id = 1")
    source.load(window(D31))
    assert not source.load(window(D31)).changed
    assert not source.load(Window("all", None, D31 + DAY)).changed
    assert [(row["id"], row["name"]) for row in source.rows()] == [(1, "a"), (1, "b"), (2, "a"), (3, "a"), (4, "a")]
    assert source.unaccounted() == 0


def test_what_no_window_would_bring_is_rejected_until_it_is_mended(source: Source) -> None:
    source.create()
    source.put(1, None)
    source.put(2, dt.datetime(2199, 1, 1, tzinfo=UTC))
    source.put(3, D29)
    for day in (FIRST, window(D30), window(D30)):
        source.load(day)
    assert [reason for reason, _ in source.rejected()] == ["future_updated_at", "missing_updated_at"]
    source.do(f"UPDATE things SET updated_at = '2023-03-31 05:00:00{source.zone}' WHERE id < 3")
    source.load(window(D31))
    assert [row["id"] for row in source.rows()] == [1, 2, 3]
    assert source.unaccounted() == 0


def test_a_key_that_rows_share_is_quarantined_with_all_of_them(source: Source) -> None:
    source.create(key="")
    source.put(1, D29, name="one")
    source.put(1, D29, name="other")  # which of them counts?
    source.put(2, D29)
    source.put(2, D30)  # of another day, so that no load would see both
    source.put(3, D29)
    assert source.load().account.rows_loaded == 1
    source.load(window(D30))
    assert [row["id"] for row in source.rows()] == [3]
    assert [reason for reason, _ in source.rejected()] == ["duplicate_id"] * 4
    assert source.unaccounted() == 0


def test_a_row_that_does_not_fit_is_quarantined_alone(source: Source) -> None:
    """SQLite takes any text for a number, PostgreSQL an `infinity` for a time."""
    source.create(price="DECIMAL(18,4)" if not source.is_postgresql else "TEXT")
    source.put(1, D29)
    if source.is_postgresql:
        source.do(
            "INSERT INTO things (id, price, updated_at) VALUES (2, 'much', '2023-03-29'), (3, '1', 'infinity'), "
            "(4, '1.23456', '2023-03-29'), (5, '1', '4713-01-01 BC')"
        )
        reasons = ["future_updated_at", "invalid_price", "invalid_price", "invalid_updated_at"]
    else:
        source.do(
            "INSERT INTO things (id, price, updated_at) VALUES (2, 'much', '2023-03-29'), (4, '1.23456', '2023-03-29')"
        )
        reasons = ["invalid_price", "invalid_price"]
    source.load()
    assert [row["id"] for row in source.rows()] == [1]
    assert [reason for reason, _ in source.rejected()] == reasons


def test_a_new_column_joins_and_is_told(source: Source) -> None:
    source.create()
    source.do("ALTER TABLE things ADD COLUMN colour TEXT")
    source.put(1, D29)
    source.do("UPDATE things SET colour = 'rust'")
    assert source.load().new_columns == ("colour",)
    assert source.rows()[0]["colour"] == "rust"


def test_an_empty_table_is_an_empty_table(source: Source) -> None:
    source.create()
    account = source.load().account
    assert (account.rows_read, account.rows_loaded, account.source_object) == (0, 0, "sql:things")
    assert source.rows() == []


def test_a_view_is_read_as_a_table(source: Source) -> None:
    source.create()
    source.put(1, D29)
    source.do("ALTER TABLE things RENAME TO base", "CREATE VIEW things AS SELECT * FROM base")
    source.load()
    assert [row["id"] for row in source.rows()] == [1]


# -- reading, and nothing else -----------------------------------------------------------------------------------------


def test_the_reader_cannot_write(source: Source) -> None:
    source.create()
    engine = sql_tables._engine(source.database())
    engine = engine.execution_options(stream_results=False)  # a cursor of PostgreSQL takes nothing but a query
    with engine.connect() as connection, pytest.raises(DBAPIError, match=r"read-?only"):
        connection.execute(text("INSERT INTO things (id) VALUES (1)"))
    engine.dispose()


def test_a_file_that_is_missing_is_not_made(sqlite_source: Source, tmp_path: Path) -> None:
    with pytest.raises(LakeError, match=r"sqlite:////.*/things\.db: there is no such file") as raised:
        sqlite_source.load()
    assert not isinstance(raised.value, TransientError)  # to try again would not help
    assert not (tmp_path / "things.db").exists()


def test_a_load_sees_one_state_of_the_table(postgresql: Source) -> None:
    """A row that changes while others are read is seen as it was, and comes again with its new time."""
    postgresql.create()
    for number in range(4):
        postgresql.put(number, D29)
    changed = threading.Event()
    real = sql_tables.split

    def meanwhile(*args: Any, **kwargs: Any) -> Any:
        if not changed.is_set():
            changed.set()
            postgresql.do(
                "UPDATE things SET name = 'later', updated_at = '2023-03-30 01:00:00+00'",
                "DELETE FROM things WHERE id = 3",
            )
        return real(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sql_tables, "split", meanwhile)
        assert postgresql.load(chunk_rows=1).account.rows_loaded == 4
    postgresql.load(window(D30))
    assert [(row["id"], row["name"]) for row in postgresql.rows()] == [
        (0, "a"), (0, "later"), (1, "a"), (1, "later"), (2, "a"), (2, "later"), (3, "a"),
    ]  # fmt: skip


# -- down and bad ------------------------------------------------------------------------------------------------------


def fails(source: Source, match: str, kind: type[LakeError] = LakeError, day: Window = FIRST, **other: Any) -> str:
    """The load fails in one line that keeps the password to itself, and leaves the table as it was."""
    before = open_store(source.settings).stored_rows(SPEC)
    with pytest.raises(kind, match=match) as caught:
        source.load(day, **other)
    sentence = str(caught.value)
    assert type(caught.value) is kind, sentence
    assert "\n" not in sentence
    assert SECRET not in sentence
    assert "sql:things" in sentence
    assert open_store(source.settings).stored_rows(SPEC) == before
    return sentence


@pytest.mark.parametrize("dialect", ["postgresql", "oracle+oracledb"])
def test_a_database_that_is_away_is_tried_again(tmp_path: Path, dialect: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens
        port = taken.getsockname()[1]
        url = f"{dialect}://someone:s3cr3t-p%40ss@127.0.0.1:{port}/sales"
        source = Source(url, create_engine("sqlite://"), Settings(home=tmp_path))
        assert f"127.0.0.1:{port}" in fails(source, "nothing was loaded", TransientError)


def test_a_database_that_is_away_is_asked_as_often_as_set(tmp_path: Path) -> None:
    asked: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def turn_away() -> None:
            with suppress(OSError):  # closed: the test is over
                while True:
                    connection, _ = server.accept()
                    asked.append(1)
                    connection.close()

        threading.Thread(target=turn_away, daemon=True).start()
        url = f"postgresql://someone:x@127.0.0.1:{server.getsockname()[1]}/sales?sslmode=disable"
        fails(Source(url, create_engine("sqlite://"), Settings(home=tmp_path)), "closed", TransientError, attempts=3)
    assert len(asked) == 3


def test_wrong_credentials_are_said_and_not_repeated(postgresql: Source) -> None:
    postgresql.create()
    url = postgresql.engine.url.set(username="nobody_of_that_name", password=SECRET)
    address = url.render_as_string(hide_password=False)
    fails(postgresql, "access denied", address=address)


def test_a_table_that_may_not_be_read(postgresql: Source) -> None:
    postgresql.create()
    role = f"reader_{postgresql.engine.url.database}"
    postgresql.do(f"CREATE ROLE {role} LOGIN PASSWORD '{SECRET}'")
    address = postgresql.engine.url.set(username=role, password=SECRET).render_as_string(hide_password=False)
    fails(postgresql, "permission denied", address=address)
    postgresql.do(f"DROP ROLE {role}")


def test_a_statement_that_takes_too_long_is_ended(postgresql: Source) -> None:
    postgresql.create()
    postgresql.put(1, D29)
    postgresql.do(
        "ALTER TABLE things RENAME TO base",
        "CREATE VIEW things AS SELECT base.* FROM base, (SELECT pg_sleep(30)) AS slow",
    )
    fails(postgresql, "raise LAKEGRAPH_X, or index", statement_seconds=0.2, statement_setting="LAKEGRAPH_X")


def test_a_connection_that_is_cut_half_way_leaves_nothing(postgresql: Source) -> None:
    postgresql.create()
    for number in range(4):
        postgresql.put(number, D29)
    real = sql_tables.split

    def cut(*args: Any, **kwargs: Any) -> Any:
        postgresql.do(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()"
        )
        return real(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sql_tables, "split", cut)
        fails(postgresql, "nothing was loaded", TransientError, chunk_rows=1)
    assert postgresql.load().account.rows_loaded == 4


def test_a_file_that_is_no_database(sqlite_source: Source, tmp_path: Path) -> None:
    (tmp_path / "things.db").write_bytes(b"PK\x03\x04 no database, but long enough to look like one" * 40)
    fails(sqlite_source, "file is not a database")


def test_a_table_that_is_gone(source: Source) -> None:
    source.create()
    source.put(1, D29)
    source.load()
    source.do("DROP TABLE things")
    fails(source, "there is no such table or view")


@pytest.mark.parametrize("column", ["name", "updated_at"])
def test_a_column_that_is_gone_stops_the_load(source: Source, column: str) -> None:
    """Also one that may be empty: to fill it with nulls would look like data."""
    source.create()
    source.put(1, D29)
    source.load()
    source.do(f"ALTER TABLE things DROP COLUMN {column}")
    assert "gone at the source" in fails(source, f"column {column} of bronze.sales_things", day=window(D30))


def test_a_time_of_change_that_is_none_any_more(source: Source) -> None:
    source.create(moment="TEXT")
    fails(source, "column updated_at is TEXT at the source, not a timestamp")


def test_a_retyped_column_is_cast_row_by_row(postgresql: Source) -> None:
    postgresql.create()
    postgresql.put(1, D29, price="1.2500")
    postgresql.load()
    postgresql.do("ALTER TABLE things ALTER COLUMN price TYPE TEXT")
    postgresql.do(
        "INSERT INTO things (id, price, updated_at) VALUES (2, '7', '2023-03-30+00'), (3, 'n/a', '2023-03-30+00')"
    )
    postgresql.load(window(D30))
    assert [(row["id"], row["price"]) for row in postgresql.rows()] == [(1, Decimal("1.25")), (2, Decimal(7))]
    assert [reason for reason, _ in postgresql.rejected()] == ["invalid_price"]


def test_a_clock_that_goes_back_is_refused_and_a_refresh_mends_it(source: Source) -> None:
    source.create()
    source.put(1, D29)
    source.put(2, D31 + dt.timedelta(hours=12))
    source.load(Window("2023-03-31", None, D31 + DAY))
    source.do("DELETE FROM things WHERE id = 2")
    source.put(2, D29, name="restored")
    sentence = fails(source, "its clock has gone back", day=window(D31))
    assert "newest updated_at is 2023-03-29 00:00:00" in sentence
    assert "2023-03-31 12:00:00" in sentence
    source.load(refresh())
    assert [(row["id"], row["name"]) for row in source.rows()] == [(1, "a"), (2, "restored")]
    source.load(window(D31))


def test_a_clock_that_shows_an_older_time_than_what_is_loaded_is_refused(source: Source) -> None:
    """Nobody can set the server's clock here: bronze is made to hold a change of this evening instead."""
    source.create()
    later = dt.datetime.now(UTC) + dt.timedelta(hours=12)
    source.put(1, later)
    source.load(Window("later", None, later + DAY))
    source.put(2, D29)
    assert "its clock is" in fails(source, "its clock has gone back", day=window(D30))


def test_a_table_that_was_emptied_is_refused(source: Source) -> None:
    source.create()
    source.put(1, D29)
    source.load()
    source.do("DELETE FROM things")
    fails(source, "holds no updated_at any more", day=window(D30))


def test_a_shared_key_that_is_mended_comes_with_its_new_time(source: Source) -> None:
    source.create(key="")
    source.put(1, D29, name="one")
    source.put(1, D29, name="other")
    source.load()
    source.do(
        "DELETE FROM things WHERE name = 'other'", f"UPDATE things SET updated_at = '2023-03-30 05:00:00{source.zone}'"
    )
    source.load(window(D30))
    assert [(row["id"], row["name"]) for row in source.rows()] == [(1, "one")]


def test_a_clock_that_is_a_little_off_is_no_matter(source: Source) -> None:
    """Within the overlap of two loads nothing is lost."""
    source.create()
    source.put(1, D31)
    source.load(Window("2023-03-31", None, D31 + DAY))
    source.do("DELETE FROM things")
    source.put(2, D31 - OVERLAP)
    assert source.load(window(D31)).account.rows_loaded == 1


@pytest.mark.parametrize(
    ("url", "match"),
    [
        ("://", "not an SQLAlchemy URL"),
        ("postgresql://u:p@ss:w@rd@h:port/x", "not an SQLAlchemy URL"),
        ("informix://u:secret@h/x", "SQLAlchemy knows no dialect"),
        ("mysql+aiomysql://u:secret@h/x", "driver aiomysql is not installed"),
    ],
)
def test_an_address_that_is_none(tmp_path: Path, url: str, match: str) -> None:
    source = Source(url, create_engine("sqlite://"), Settings(home=tmp_path))
    with pytest.raises(LakeError, match=match) as caught:
        source.load()
    assert "secret" not in str(caught.value)


# -- the whole source anew ---------------------------------------------------------------------------------------------


def test_a_refresh_takes_the_place_of_all(source: Source) -> None:
    source.create()
    for number in range(6):
        source.put(number, D29 if number else None)
    source.load()
    source.do("DELETE FROM things WHERE id IN (0, 1)", "UPDATE things SET name = 'unmarked' WHERE id = 2")
    account = source.load(refresh()).account
    assert (account.rows_read, account.rows_loaded, account.partition) == (4, 4, "full refresh")
    assert [(row["id"], row["name"]) for row in source.rows()] == [(2, "unmarked"), (3, "a"), (4, "a"), (5, "a")]
    assert source.rejected() == []
    assert source.unaccounted() == 0
    result = source.load()  # the day's own rows are known
    assert (result.changed, result.account.rows_known, source.unaccounted()) == (False, 4, 0)
    source.put(7, D30)
    source.load(window(D30))
    assert (len(source.rows()), source.unaccounted()) == (5, 0)


def test_a_refresh_that_brings_less_than_half_is_refused(source: Source) -> None:
    source.create()
    for number in range(10):
        source.put(number, D29)
    source.load()
    source.do(
        f"UPDATE things SET name = 'b', updated_at = '2023-03-30 05:00:00{source.zone}'"
    )  # ten more versions of the ten
    source.load(window(D30))
    source.do("DELETE FROM things WHERE id >= 4")
    sentence = fails(source, "a full refresh would leave", day=refresh())
    assert "4 valid rows of the 4 read where bronze.sales_things holds 10" in sentence
    assert "50%" in sentence
    lower = SPEC.model_copy(update={"refresh_keeps": 0.4})
    assert source.load(refresh(), spec=lower).account.rows_loaded == 4
    assert [row["id"] for row in source.rows()] == [0, 1, 2, 3]


def test_a_refresh_of_rows_that_are_all_bad_is_refused(source: Source) -> None:
    source.create()
    source.put(1, D29)
    source.load()
    source.do("UPDATE things SET updated_at = null")
    fails(source, "a full refresh would leave 0 valid rows of the 1 read", day=refresh())


def test_a_refresh_of_rows_that_are_mostly_bad_is_refused(source: Source) -> None:
    source.create()
    for number in range(10):
        source.put(number, D29)
    source.load()
    source.do("UPDATE things SET updated_at = null WHERE id > 3")
    fails(source, "leave 4 valid rows of the 10 read where bronze.sales_things holds 10", day=refresh())


def test_a_table_without_a_key_cannot_be_refreshed(source: Source) -> None:
    with pytest.raises(LakeError, match="has no key"):
        source.load(refresh(), spec=SPEC.model_copy(update={"key": []}))


def test_a_locked_file_is_waited_for_and_told(sqlite_source: Source, tmp_path: Path) -> None:
    sqlite_source.create()
    writer = sqlite3.connect(tmp_path / "things.db", isolation_level=None)
    writer.execute("BEGIN EXCLUSIVE")
    fails(sqlite_source, "database is locked", TransientError, connect_seconds=0.1)
    writer.execute("ROLLBACK")
    writer.close()
    assert sqlite_source.load().account.rows_read == 0


def test_nothing_secret_is_in_what_is_shown() -> None:
    database = Database("postgresql://user:hidden@host:5432/sales", "s", 1, 1, 1)
    shown: Mapping[str, str] = {"repr": repr(database), "place": database.place}
    assert shown == {"repr": "Database(postgresql://host:5432/sales)", "place": "postgresql://host:5432/sales"}


# -- death -------------------------------------------------------------------------------------------------------------

DIES = """
import os, signal, sys
import test_sql_tables as tests
from importlib import import_module
from sqlalchemy import create_engine

url, home, module, name, at, refresh = sys.argv[1:]
place = import_module(module)
real, calls = getattr(place, name), []

def die(*args, **kwargs):
    calls.append(1)
    if len(calls) == int(at):
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*args, **kwargs)

setattr(place, name, die)
source = tests.Source(url, create_engine(url), tests.Settings(home=home))
source.load(tests.refresh() if refresh == "yes" else tests.window(tests.D30), chunk_rows=2)
"""


@pytest.mark.parametrize(
    ("module", "name", "at"),
    [
        ("dlt_sources.sql_tables", "split", 2),  # while rows are read
        ("lake.append", "append", 2),  # the quarantine is committed, the rows are not
        ("lake.iceberg_store", "Commit", 1),  # all is committed, and nobody was told
    ],
)
@pytest.mark.parametrize("anew", ["no", "yes"])
def test_a_load_that_is_killed_is_run_again(
    sqlite_source: Source, tmp_path: Path, module: str, name: str, at: int, anew: str
) -> None:
    source = sqlite_source
    source.create(key="")
    for number in range(6):
        source.put(number, D29)
    source.put(7, None)
    source.load()
    source.do("DELETE FROM things WHERE id = 0")
    for number in (8, 9):
        source.put(number, D30)
    source.put(9, D30)
    arguments = [source.url, str(source.settings.home), module, name, str(at), anew]
    paths = os.pathsep.join(
        [str(Path(__file__).parent), str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]
    )
    done = subprocess.run(
        [sys.executable, "-c", DIES, *arguments],
        env={**os.environ, "PYTHONPATH": paths},
        check=False,
        capture_output=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    source.load(refresh() if anew == "yes" else window(D30), chunk_rows=2)
    assert [row["id"] for row in source.rows()] == [*([] if anew == "yes" else [0]), 1, 2, 3, 4, 5, 8]
    reasons = [reason for reason, _ in source.rejected()]
    assert reasons == ["duplicate_id", "missing_updated_at"]  # the two rows of the key are equal: one of them is known
    assert source.unaccounted() == 0
