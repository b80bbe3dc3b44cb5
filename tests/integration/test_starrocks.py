"""Registering exported files in StarRocks: the stand-in over the real protocol, asked by three kinds of clients."""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import duckdb
import httpx
import psutil
import pymysql
import pytest
from command import wait_for
from pydantic import SecretStr

from infra_assets.starrocks import ddl, plan, probe
from infra_assets.starrocks.client import (
    DeniedError,
    MissingPathError,
    Session,
    StarRocks,
    StarRocksError,
    SyntaxRefusedError,
    UnknownObjectError,
    UnreachableError,
)
from infra_assets.starrocks.ddl import Column, ExternalTable, Source, View
from infra_assets.starrocks.plan import ForeignObjectError
from infra_assets.starrocks.probe import Figures
from lake.errors import LakeError, NotConfiguredError, TransientError
from lake.settings import Settings
from orchestration import doctor
from sandbox import control
from sandbox.gcp import GcpStandIn
from sandbox.starrocks import StarRocksStandIn
from sandbox.starrocks_engine import VERSION

PASSWORD = "p@ss/wörd"  # noqa: S105 - of a stand-in
CONTRACT = (
    ("day", "date", "The day."), ("orders", "bigint", ""), ("net_revenue", "decimal(18, 2)", 'In "dollars".'),
    ("basket", "double", ""), ("channel", "string", ""), ("is_final", "boolean", ""), ("built_at", "timestamp", ""),
)  # fmt: skip
ROWS = """
SELECT DATE '2023-01-01' + (i // 2)::INTEGER AS "day", i AS orders, (i * 1.25 - 1)::DECIMAL(18, 2) AS net_revenue,
       i / 3.0::DOUBLE AS basket, CASE WHEN i % 2 = 0 THEN 'wéb' ELSE 'app' END AS channel, i % 2 = 0 AS is_final,
       TIMESTAMP '2023-04-01 10:00:00' + to_hours(i) AS built_at
FROM range({}) t(i)
"""


def export(folder: Path, rows: int = 10, sql: str = ROWS) -> str:
    """A snapshot in `folder`, as an export writes it; returns its URL."""
    folder.mkdir(parents=True, exist_ok=True)
    duckdb.connect().execute(f"COPY ({sql.format(rows)}) TO '{folder / 'part-0.parquet'}' (FORMAT parquet)")
    return f"file://{folder}/"


def figures(folder: Path) -> Figures:
    """What a manifest says of a snapshot: its own figures, asked of the files themselves."""
    sql = probe.figures_query(f"'{folder}/*.parquet'", "net_revenue", "day", quote=lambda name: f'"{name}"')
    return Figures(*duckdb.connect().execute(sql).fetchone())


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory) -> Iterator[StarRocksStandIn]:
    with StarRocksStandIn(tmp_path_factory.mktemp("starrocks") / "catalog.json") as running:
        yield running


@pytest.fixture(scope="module")
def guarded(tmp_path_factory) -> Iterator[StarRocksStandIn]:
    """One that asks for a password."""
    with StarRocksStandIn(tmp_path_factory.mktemp("guarded") / "catalog.json", {"bi": PASSWORD}) as running:
        yield running


@pytest.fixture
def session(stand_in) -> Iterator[Session]:
    """A session on a StarRocks that has nothing registered."""
    with StarRocks.from_url(SecretStr(stand_in.endpoint)).session() as opened:
        for (database,) in opened.query("SHOW DATABASES"):
            if database != "information_schema":
                opened.execute(f"DROP DATABASE `{database}`")
        yield opened


@pytest.fixture
def orders(tmp_path) -> ExternalTable:
    """A table over a snapshot of 10 rows."""
    path = export(tmp_path / "exports" / "orders" / "snapshot=1")
    return ExternalTable("gold", "orders", tuple(Column.of(*one) for one in CONTRACT), path, "Orders by day.")


def view(table: ExternalTable) -> View:
    return View("bi", table.name, table.columns, Source(table.database, table.name), table.comment)


def register(session: Session, *declared: ddl.Declared) -> list[str]:
    """Plan and apply; returns the actions."""
    decisions = []
    for one in declared:
        decisions.append(plan.plan(session, one))
        plan.apply(session, decisions[-1])
        plan.refresh(session, one)
    return [decision.action for decision in decisions]


ORDERS = Source("bi", "orders")


def ask(session: Session, source: Source = ORDERS) -> Figures:
    return probe.probe(session, source, measure="net_revenue", day="day").figures


def failed(wanted: Figures, found: Figures) -> list[str]:
    return [one.name for one in probe.compare(wanted, found) if not one.passed]


# -- plan, apply, refresh, probe -----------------------------------------------------------------------------


def test_a_snapshot_is_registered_once_and_serves_what_was_exported(session, orders, tmp_path):
    assert register(session, orders, view(orders)) == ["create", "create"]
    assert register(session, orders, view(orders)) == ["unchanged", "unchanged"]
    wanted = Figures(10, Decimal("46.25"), Decimal("-1.00"), Decimal("10.25"), date(2023, 1, 1), date(2023, 1, 5))
    assert ask(session) == ask(session, Source("gold", "orders")) == wanted
    assert failed(figures(tmp_path / "exports/orders/snapshot=1"), ask(session)) == []
    for declared in (orders, view(orders)):
        assert probe.schema(orders.columns, plan.read(session, declared).columns).passed


def test_a_new_snapshot_is_seen_through_the_view_that_stays(session, orders, tmp_path):
    register(session, orders, view(orders))
    newer = replace(orders, path=export(tmp_path / "exports/orders/snapshot=2", 12))
    decision = plan.plan(session, newer)
    assert (decision.action, decision.reasons) == ("recreate", (f"path changed: {orders.path} → {newer.path}",))
    assert register(session, newer, view(newer)) == ["recreate", "unchanged"]
    assert ask(session).rows == 12
    assert register(session, newer) == ["unchanged"]


def test_a_changed_contract_makes_table_and_view_anew(session, orders):
    register(session, orders, view(orders))
    fewer = replace(orders, columns=orders.columns[:3])
    assert plan.plan(session, fewer).reasons == ("has columns too many: basket, channel, is_final, built_at",)
    assert register(session, fewer, view(fewer)) == ["recreate", "recreate"]
    assert plan.plan(session, orders).reasons == ("lacks columns: basket, channel, is_final, built_at",)
    assert len(session.query("SELECT * FROM bi.orders LIMIT 1")[0]) == 3
    retyped = replace(fewer, columns=(*fewer.columns[:2], Column("net_revenue", "double")))
    assert plan.plan(session, retyped).reasons == ("has other types: net_revenue is decimal(18, 2), not double",)


def test_a_table_that_was_altered_behind_our_back_has_drifted(session, orders):
    drifted = replace(orders, columns=(*orders.columns[:-1], Column("more", "bigint")))
    statement = drifted.create().replace(drifted.hash, orders.hash)
    session.execute("CREATE DATABASE gold")
    session.execute(statement)
    finding = probe.schema(orders.columns, plan.read(session, orders).columns)
    assert (finding.passed, finding.detail) == (False, "lacks columns: built_at; has columns too many: more")
    assert plan.plan(session, orders).action == "recreate"
    assert session.query("SELECT count(*), count(more) FROM gold.orders") == [(10, 0)]  # what files lack is null


def test_a_foreign_table_or_view_is_refused_and_left_as_it_is(session, orders):
    session.execute("CREATE DATABASE gold")
    session.execute("CREATE DATABASE bi")
    theirs = orders.create().replace(f" [lakegraph:{orders.hash}]", "")
    session.execute(theirs)
    session.execute("CREATE VIEW bi.orders AS SELECT count(*) AS n FROM gold.orders")
    for declared in (replace(orders, columns=orders.columns[:1]), view(orders)):
        with pytest.raises(ForeignObjectError, match="was not made by lakegraph"):
            plan.plan(session, declared)
    assert session.query("SELECT n FROM bi.orders") == [(10,)]


def test_a_view_of_ours_gives_way_to_a_table_and_one_of_somebody_else_does_not(session, orders):
    register(session, orders)
    register(session, replace(view(orders), database="gold", name="shown"))
    table = replace(orders, name="shown", columns=orders.columns[:2])
    decision = plan.plan(session, table)
    assert (decision.action, decision.reasons) == ("recreate", ("is a view, not a table",))
    assert decision.statements()[1] == "DROP VIEW IF EXISTS `default_catalog`.`gold`.`shown`"
    assert register(session, table) == ["recreate"]
    assert register(session, table) == ["unchanged"]
    assert len(session.query("SELECT * FROM gold.shown LIMIT 1")[0]) == 2
    session.execute("CREATE VIEW gold.theirs AS SELECT 1 AS one")
    with pytest.raises(ForeignObjectError, match=r"view gold\.theirs is there and was not made by lakegraph"):
        register(session, replace(table, name="theirs"))
    assert session.query("SELECT one FROM gold.theirs") == [(1,)]


def test_what_cannot_be_seen_once_it_is_made_is_told(session, orders, monkeypatch):
    """Reading is replaced, for the stand-in has no privileges by which an object could be hidden."""
    decision = plan.plan(session, orders)
    monkeypatch.setattr(plan, "read", lambda _session, _declared: None)
    with pytest.raises(LakeError, match="is not as it was made: it is not there, or we may not see it; does another"):
        plan.apply(session, decision)


def test_who_comes_second_with_another_declaration_is_told(session, orders):
    late = plan.plan(session, orders)
    register(session, replace(orders, comment="Another process was faster."))
    with pytest.raises(LakeError, match=r"is not as it was made: its comment, .* does another process"):
        plan.apply(session, late)


def test_a_stale_table_is_found_by_its_rows_or_by_its_sum(session, orders, tmp_path):
    register(session, orders, view(orders))
    export(tmp_path / "next", 12)
    assert failed(figures(tmp_path / "next"), ask(session)) == ["rows", "measure", "date"]
    altered = ROWS.replace("1.25", "1.5")
    export(tmp_path / "altered", 10, altered)
    assert failed(figures(tmp_path / "altered"), ask(session)) == ["measure"]


def test_a_probe_tells_how_long_it_took(session, orders):
    register(session, orders)
    found = probe.probe(session, Source("gold", "orders"))
    assert found.figures == Figures(10)
    assert found.milliseconds > 0
    assert probe.latency(found, found.milliseconds).passed


# -- errors, told apart --------------------------------------------------------------------------------------


def test_a_missing_path_is_neither_a_missing_table_nor_an_empty_one(session, orders, tmp_path):
    register(session, orders)
    snapshot = tmp_path / "exports/orders/snapshot=1"
    (snapshot / "part-0.parquet").rename(snapshot / "_part-0.parquet")  # as a writer names what is not whole yet
    with pytest.raises(MissingPathError, match=r"finds no file .*: No file exists for FileTable: orders"):
        ask(session, Source("gold", "orders"))
    shutil.rmtree(snapshot)
    with pytest.raises(MissingPathError, match=f"doesn't get file with path: {orders.path}") as raised:
        ask(session, Source("gold", "orders"))
    assert not isinstance(raised.value, TransientError)
    with pytest.raises(UnknownObjectError, match=r"does not know .*gold\.nothing"):
        ask(session, Source("gold", "nothing"))
    with pytest.raises(UnknownObjectError, match="Unknown database 'silver'"):
        ask(session, Source("silver", "orders"))
    export(snapshot, 0)
    assert ask(session, Source("gold", "orders")) == Figures(0)


@pytest.mark.parametrize(
    "sql", ["SELEC 1", "SELECT FROM WHERE", "SELECT nothing FROM gold.orders", "SELECT sum(channel FROM gold.orders"]
)
def test_a_statement_that_is_none(session, orders, sql):
    register(session, orders)
    with pytest.raises(SyntaxRefusedError, match=r"StarRocks at 127.0.0.1:\d+ does not take the statement \(1064\)"):
        session.query(sql)
    assert session.query("SELECT 1") == [(1,)]


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('"parquet"', '"Parquet"', "not supported format: Parquet"),
        ("ENGINE=file\n", "", "ENGINE=file only"),
        ('"path"', '"paths"', "path is null"),
    ],
)
def test_the_stand_in_minds_what_starrocks_minds(session, orders, old, new, reason):
    session.execute("CREATE DATABASE gold")
    with pytest.raises(StarRocksError, match=reason):
        session.execute(orders.create().replace(old, new))
    assert session.query("SHOW TABLES FROM gold") == []


def test_if_not_exists_keeps_the_old_table_as_starrocks_does(session, orders):
    register(session, orders)
    session.execute(replace(orders, columns=orders.columns[:1]).create())
    assert plan.plan(session, orders).action == "unchanged"
    with pytest.raises(StarRocksError, match="Table 'orders' already exists"):
        session.execute(orders.create().replace(" IF NOT EXISTS", ""))


def test_nobody_answers():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        server = StarRocks("127.0.0.1", free.getsockname()[1], connect_timeout=1)
    with pytest.raises(UnreachableError, match=rf"StarRocks at {server.address} cannot be reached \(2003\)") as raised:
        server.query("SELECT 1")
    assert isinstance(raised.value, TransientError)


def test_somebody_answers_nothing_or_something_else():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = StarRocks("127.0.0.1", silent.getsockname()[1], read_timeout=0.1)
        with pytest.raises(UnreachableError, match="cannot be reached"):
            server.query("SELECT 1")

        def hang_up() -> None:
            for _ in range(2):  # the first is the one above
                silent.accept()[0].close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(UnreachableError, match="cannot be reached"):
            server.query("SELECT 1")
        thread.join()


def test_a_server_that_stops_in_the_middle(tmp_path, caplog):
    with ExitStack() as stack:
        running = stack.enter_context(StarRocksStandIn(tmp_path / "catalog.json"))
        server = StarRocks.from_url(SecretStr(running.endpoint))
        with server.session() as opened:
            assert opened.query("SELECT 1") == [(1,)]
            stack.close()
            for _ in range(2):  # first the connection is lost, then it is known to be
                with pytest.raises(UnreachableError, match="cannot be reached"):
                    opened.query("SELECT 1")
    assert [one for one in caplog.records if one.name == "asyncio"] == []
    with pytest.raises(UnreachableError):
        server.query("SELECT 1")


@pytest.mark.parametrize("user", ["bi:wrong", "bi:", "root:", "nobody:p%40ss"])
def test_a_wrong_user_or_password_is_denied(guarded, user):
    server = StarRocks.from_url(SecretStr(f"mysql://{user}@127.0.0.1:{guarded.port}"))
    with pytest.raises(DeniedError, match=r"denies access \(1045\): Access denied for user") as raised:
        server.query("SELECT 1")
    assert not isinstance(raised.value, TransientError)


def test_who_goes_on_after_being_denied_is_denied_again(guarded):
    """mysql-mimic itself would answer: a client that does not read the refusal sends its statement at once."""
    with socket.create_connection(("127.0.0.1", guarded.port), timeout=10) as raw:
        raw.recv(4096)
        capabilities = 0x200 | 0x8000 | 0x80000  # protocol 4.1, secure connection, the plugin is named
        login = (
            capabilities.to_bytes(4, "little") + (1 << 24).to_bytes(4, "little") + bytes([45]) + bytes(23)
            + b"bi\0" + bytes([20]) + bytes(20) + b"mysql_native_password\0"
        )  # fmt: skip
        raw.sendall(len(login).to_bytes(3, "little") + b"\1" + login)
        assert b"Access denied" in raw.recv(4096)
        statement = b"\3SELECT 41 + 1"
        raw.sendall(len(statement).to_bytes(3, "little") + b"\0" + statement)
        assert b"Access denied" in raw.recv(4096)


def test_the_right_password_is_taken_and_never_told(guarded):
    server = StarRocks.from_url(SecretStr(guarded.endpoint))
    assert server.query("SELECT current_version()") == [(VERSION,)]
    for sql, hide in ((f"SELEC '{PASSWORD}'", ()), ("SELEC 'hush'", (SecretStr("hush"),))):
        with pytest.raises(SyntaxRefusedError) as raised:
            server.query(sql, hide=hide)
        told = "".join(traceback.format_exception(raised.value)) + repr(server)
        assert "***" in str(raised.value)
        assert PASSWORD not in told.replace(sql, "")
        assert "hush" not in str(raised.value)


def test_expressions_without_a_table(session):
    session.execute("CREATE DATABASE gold")
    session.execute("USE gold")
    sql = "SELECT current_version(), version(), database(), 1 + 1 AS two, concat('a', 'b'), @@version_comment AS is_a"
    assert session.query(sql) == [(VERSION, "8.0.33", "gold", 2, "ab", "StarRocks stand-in")]
    for several in (
        "SELECT 1; SELECT 2",
        "SELECT current_version() AS v; DROP DATABASE gold",
        ";",
        "ANALYZE TABLE gold.t",
    ):
        with pytest.raises(StarRocksError):
            session.query(several)
    assert ("gold",) in session.query("SHOW DATABASES")


def test_sessions_are_alike_whatever_the_servers_or_the_users_defaults_are(stand_in):
    server = StarRocks.from_url(SecretStr(stand_in.endpoint), read_timeout=7)
    assert server.query("SELECT @@time_zone, @@query_timeout, @@autocommit, @@catalog") == [
        ("UTC", "7", 1, "default_catalog")
    ]
    with (
        pymysql.connect(host="127.0.0.1", port=stand_in.port, user="root") as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SELECT @@time_zone")
        assert cursor.fetchall() == (("Asia/Shanghai",),)


# -- clients of others ---------------------------------------------------------------------------------------


def test_pymysql(session, stand_in, orders):
    register(session, orders, view(orders))
    address = {"host": "127.0.0.1", "port": stand_in.port, "user": "root"}
    with pymysql.connect(**address, database="bi") as connection, connection.cursor() as cursor:
        cursor.execute("SELECT day, sum(net_revenue) FROM orders WHERE channel = %s GROUP BY day ORDER BY 1", ("app",))
        assert cursor.fetchall()[:2] == ((date(2023, 1, 1), Decimal("0.25")), (date(2023, 1, 2), Decimal("2.75")))
        assert [one[0] for one in cursor.description] == ["day", "sum(net_revenue)"]
        cursor.execute("SELECT * FROM default_catalog.gold.orders ORDER BY orders LIMIT 1")
        moment = datetime(2023, 4, 1, 10)  # noqa: DTZ001 - DATETIME has no zone
        assert cursor.fetchone() == (date(2023, 1, 1), 0, Decimal("-1.00"), 0.0, "wéb", 1, moment)
        cursor.execute(
            "WITH o AS (SELECT * FROM gold.orders) SELECT count(*) FROM o JOIN bi.orders b ON o.orders = b.orders"
        )
        assert cursor.fetchall() == ((10,),)
        cursor.execute("USE gold")
        cursor.execute("SELECT DISTINCT date_trunc('month', day) AS month FROM orders")
        assert cursor.fetchall()[0][0].month == 1
        with pytest.raises(pymysql.Error, match="not in the stand-in"):
            cursor.execute("INSERT INTO gold.orders (orders) VALUES (1)")
    with (
        pytest.raises(pymysql.Error, match="Unknown database"),
        pymysql.connect(**address, database="no") as connection,
    ):
        connection.query("SHOW TABLES")


@pytest.fixture
def mariadb(stand_in) -> Callable[[str], str]:
    """The command-line client: what it prints for statements, tab-separated."""
    program = shutil.which("mariadb") or shutil.which("mysql")
    if program is None:
        reason = "no MariaDB client: apt-get install mariadb-client"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    options = ("--no-defaults", "--protocol=tcp", "--host=127.0.0.1", f"--port={stand_in.port}", "--user=root")

    def run(statements: str) -> str:
        done = subprocess.run(
            [program, *options, "--default-character-set=utf8mb4"],
            input=statements, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        return done.stdout or done.stderr

    return run


def test_words_that_look_like_comments_and_sessions_elsewhere(session, orders):
    comment = "not /* a comment */ -- nor this; # nor that"
    register(session, replace(orders, comment=comment))
    assert plan.read(session, orders).comment.startswith(comment)
    session.execute("SET time_zone = 'Asia/Taipei'")
    assert session.query("SELECT @@time_zone") == [("Asia/Taipei",)]
    assert session.query("/* from a chart */ SELECT min(built_at) FROM gold.orders")[0][0].hour == 10


def test_the_mariadb_client(session, mariadb, orders):
    register(session, orders, view(orders))
    assert mariadb("SELECT current_version();").splitlines() == ["current_version()", VERSION]
    assert mariadb("SHOW DATABASES; USE bi; SHOW TABLES;").splitlines() == [
        "Database", "gold", "bi", "information_schema", "Tables_in_bi", "orders"
    ]  # fmt: skip
    assert mariadb("SELECT count(*) AS n, max(channel) AS c FROM bi.orders;") == "n\tc\n10\twéb\n"
    assert "net_revenue\tdecimal(18, 2)\tYES" in mariadb("DESC gold.orders;")
    shown = mariadb("SHOW CREATE TABLE gold.orders;")
    assert orders.path in shown
    assert orders.hash in shown
    assert "ERROR 5502 (HY000) at line 1: Getting analyzing error" in mariadb("SELECT * FROM gold.nothing;")


def test_sqlalchemys_dialect(session, stand_in, orders):
    import sqlalchemy as sa

    register(session, orders, view(orders))
    engine = sa.create_engine(stand_in.endpoint.replace("mysql://", "starrocks://"))
    try:
        inspector = sa.inspect(engine)
        assert inspector.get_schema_names() == ["gold", "bi", "information_schema"]
        assert (inspector.get_table_names(schema="gold"), inspector.get_view_names(schema="bi")) == (
            ["orders"],
            ["orders"],
        )
        assert inspector.get_table_comment("orders", schema="gold") == {
            "text": f"Orders by day. [lakegraph:{orders.hash}]"
        }
        columns = {one["name"]: one for one in inspector.get_columns("orders", schema="bi")}
        assert list(columns) == [name for name, *_ in CONTRACT]
        assert (columns["net_revenue"]["type"].precision, columns["net_revenue"]["comment"]) == (18, 'In "dollars".')
        table = sa.Table("orders", sa.MetaData(), schema="bi", autoload_with=engine)
        revenue = sa.func.sum(table.c.net_revenue)
        query = (
            sa.select(table.c.channel, revenue).where(table.c.orders >= 2).group_by(table.c.channel).order_by(revenue)
        )
        with engine.connect() as connection:
            assert connection.execute(query).all() == [("wéb", Decimal("21.00")), ("app", Decimal("26.00"))]
            assert connection.execute(sa.text("SELECT current_version()")).scalar() == VERSION
    finally:
        engine.dispose()


def test_clients_at_once_get_their_own_answers(session, stand_in, orders):
    register(session, orders, view(orders))
    server = StarRocks.from_url(SecretStr(stand_in.endpoint))

    def ask_for(number: int) -> list[tuple[int, ...]]:
        return server.query(f"SELECT orders, {number} FROM bi.orders WHERE orders = {number % 10}")

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask_for, range(24))) == [[(number % 10, number)] for number in range(24)]


# -- the stand-in's life -------------------------------------------------------------------------------------


def test_a_restart_keeps_what_was_registered(tmp_path, orders):
    state = tmp_path / "state" / "catalog.json"
    for actions in (["create", "create"], ["unchanged", "unchanged"]):
        with StarRocksStandIn(state) as running:
            server = StarRocks.from_url(SecretStr(running.endpoint))
            assert server.query("SELECT current_version()")[0][0].endswith("-standin")
            with server.session() as opened:
                assert register(opened, orders, view(orders)) == actions
                assert ask(opened).rows == 10
    assert json.loads(state.read_text()).keys() == {"gold", "bi"}
    assert [path.name for path in state.parent.iterdir()] == ["catalog.json"]


def test_exports_in_cloud_storage_are_read_from_the_sandboxs(tmp_path, orders):
    import gcsfs

    snapshot = tmp_path / "exports/orders/snapshot=1"
    with (
        GcpStandIn(tmp_path / "gcp") as cloud,
        StarRocksStandIn(tmp_path / "catalog.json", storage=cloud.url) as running,
        StarRocks.from_url(SecretStr(running.endpoint)).session() as opened,
    ):
        store = gcsfs.GCSFileSystem(project="p", token="anon", endpoint_url=cloud.url, skip_instance_cache=True)  # noqa: S106
        store.mkdir("lake")
        there = replace(orders, path="gs://lake/exports/orders/snapshot=1/")
        register(opened, there, view(there))
        with pytest.raises(MissingPathError, match="doesn't get file with path: gs://lake/exports/orders/snapshot=1/"):
            ask(opened)
        store.put_file(str(snapshot / "part-0.parquet"), "lake/exports/orders/snapshot=1/part-0.parquet")
        assert ask(opened) == ask(opened) == figures(snapshot)
        export(snapshot, 12)  # written anew under the same name
        store.put_file(str(snapshot / "part-0.parquet"), "lake/exports/orders/snapshot=1/part-0.parquet")
        store.put_file(str(snapshot / "part-0.parquet"), "lake/exports/orders/snapshot=1/deeper/part-1.parquet")
        assert ask(opened).rows == 24
    with StarRocksStandIn(tmp_path / "catalog.json") as alone, pytest.raises(StarRocksError, match="is not running"):
        StarRocks.from_url(SecretStr(alone.endpoint)).query("SELECT * FROM bi.orders")


def test_it_listens_on_loopback_only(stand_in):
    mine = [one for one in psutil.Process().net_connections("tcp") if one.status == psutil.CONN_LISTEN]
    ports = {one.laddr.port: one.laddr.ip for one in mine}
    assert ports[stand_in.port] == "127.0.0.1"
    assert set(ports.values()) == {"127.0.0.1"}
    assert httpx.get(f"{stand_in.url}/health").json()["pid"] == os.getpid()


def test_the_process_is_found_by_the_settings_and_keeps_its_tables(tmp_path, orders, monkeypatch):
    settings = Settings(home=tmp_path / "home")
    command = [sys.executable, "-m", "sandbox.starrocks", "--home", str(settings.home), "--token", "mine"]
    actions = []
    for _ in range(2):
        with subprocess.Popen(command, cwd=Path(control.__file__).parents[1], start_new_session=True) as process:
            try:
                wait_for(settings.endpoints_file.exists, "it says its addresses", 60)
                endpoints = json.loads(settings.endpoints_file.read_text())
                assert endpoints.keys() == {"starrocks", "starrocks_http"}
                answer = httpx.get(f"{endpoints['starrocks_http']}/health").json()
                assert answer == {"token": "mine", "pid": process.pid}
                with StarRocks.from_settings(settings).session() as opened:
                    actions += register(opened, orders)
                finding = next(one for one in doctor.examine(settings) if one.name == "starrocks")
                assert finding.ok
                assert finding.detail == f"{endpoints['starrocks'].removeprefix('mysql://root@')}, version {VERSION}"
                # The stand-in has one version, and no older one is at hand.
                monkeypatch.setattr(StarRocks, "query", lambda *_: [("3.1.1-0123abc",)])
                old = next(one for one in doctor.examine(settings) if one.name == "starrocks")
                monkeypatch.undo()
                assert (old.ok, old.needed) == (False, False)
                assert old.detail.endswith(", version 3.1.1-0123abc; 3.2 is the least that works")
            finally:
                process.terminate()
        assert not settings.endpoints_file.exists()
    assert actions == ["create", "unchanged"]
    with pytest.raises(NotConfiguredError):
        StarRocks.from_settings(settings)
    finding = next(one for one in doctor.examine(settings) if one.name == "starrocks")
    assert (finding.ok, finding.needed) == (False, False)
    assert "set LAKEGRAPH_STARROCKS" in finding.detail
