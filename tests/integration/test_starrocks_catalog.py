"""Serving Iceberg through a catalog of StarRocks, the mode `iceberg_catalog`: views over it, and materialised ones."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pymysql
import pytest
from iceberg_rest import WAREHOUSE, IcebergRest, client
from pydantic import SecretStr
from pyiceberg.table import Table

from infra_assets.starrocks import ddl, plan, probe, serve
from infra_assets.starrocks.client import (
    DeniedError,
    Session,
    StarRocks,
    StarRocksError,
    SyntaxRefusedError,
    UnknownObjectError,
    UnreachableError,
)
from infra_assets.starrocks.ddl import Catalog, Column, MaterialisedView, Source, View
from infra_assets.starrocks.plan import ForeignObjectError
from infra_assets.starrocks.probe import Figures
from lake.errors import LakeError, TransientError
from lake.settings import Settings
from sandbox.starrocks import StarRocksStandIn

SCHEMA = pa.schema(
    [
        pa.field("day", pa.date32(), nullable=False),
        ("orders", pa.int64()),
        ("net_revenue", pa.decimal128(18, 2)),
        ("basket", pa.float64()),
        ("channel", pa.string()),
        ("is_final", pa.bool_()),
        ("built_at", pa.timestamp("us", tz="UTC")),
        ("tags", pa.list_(pa.string())),
    ]
)
COLUMNS = tuple(
    Column.of(name, data_type, comment)
    for name, data_type, comment in (
        ("day", "date", "The day."), ("orders", "bigint", ""), ("net_revenue", "decimal(18, 2)", ""),
        ("channel", "string", ""), ("built_at", "timestamp", ""),
    )
)  # fmt: skip
GOLD = Source("gold", "orders", "lake")
SHOWN = Source("bi", "orders")
COPIED = Source("bi", "orders_copy")
VIEW = View("bi", "orders", COLUMNS, GOLD, "Orders by day.")
COPY = MaterialisedView("bi", "orders_copy", COLUMNS, GOLD, "day", "Orders by day, copied.")
TEN = Figures(10, Decimal("46.25"), Decimal("-1.00"), Decimal("10.25"), date(2023, 1, 1), date(2023, 1, 5))
TWELVE = Figures(12, Decimal("70.50"), Decimal("-1.00"), Decimal("12.75"), date(2023, 1, 1), date(2023, 1, 6))


def rows(start: int, stop: int) -> pa.Table:
    """Orders, one for each number."""
    built = datetime(2023, 4, 1, 10, tzinfo=UTC)
    numbers = range(start, stop)
    return pa.table(
        {
            "day": [date(2023, 1, 1) + timedelta(days=i // 2) for i in numbers],
            "orders": list(numbers),
            "net_revenue": [Decimal(i) * Decimal("1.25") - 1 for i in numbers],
            "basket": [i / 3 for i in numbers],
            "channel": ["wéb" if i % 2 == 0 else "app" for i in numbers],
            "is_final": [i % 2 == 0 for i in numbers],
            "built_at": [built + timedelta(hours=i) for i in numbers],
            "tags": [["a", "b"] for _ in numbers],
        },
        SCHEMA,
    )


@pytest.fixture
def service(tmp_path) -> Iterator[IcebergRest]:
    """A REST catalog with a table of ten orders."""
    with IcebergRest(tmp_path / "iceberg") as running:
        catalog = client(running)
        catalog.create_namespace("gold")
        catalog.create_table("gold.orders", SCHEMA).append(rows(0, 10))
        yield running


@pytest.fixture
def gold(service) -> Table:
    """The table, for writing."""
    return client(service).load_table("gold.orders")


@pytest.fixture
def state(tmp_path) -> Path:
    return tmp_path / "starrocks" / "catalog.json"


@pytest.fixture
def stand_in(state) -> Iterator[StarRocksStandIn]:
    with StarRocksStandIn(state) as running:
        yield running


@pytest.fixture
def session(stand_in) -> Iterator[Session]:
    with StarRocks.from_url(SecretStr(stand_in.endpoint)).session() as opened:
        yield opened


def lake(service: IcebergRest) -> Catalog:
    return Catalog("lake", service.url, WAREHOUSE, 'The "lake".')


def register(session: Session, *declared: ddl.Declared) -> list[str]:
    """Plan and apply, without refreshing; returns the actions."""
    decisions = []
    for one in declared:
        decisions.append(plan.plan(session, one))
        plan.apply(session, decisions[-1])
    return [decision.action for decision in decisions]


def configured(service: IcebergRest, tmp_path: Path) -> Settings:
    return Settings(
        home=tmp_path / "home",
        starrocks_catalog_uri=service.url,
        starrocks_catalog_properties={"iceberg.catalog.warehouse": WAREHOUSE},
    )


def ask(session: Session, source: Source) -> Figures:
    return probe.probe(session, source, measure="net_revenue", day="day").figures


# -- plan, apply, refresh, probe -----------------------------------------------------------------------------


def test_a_view_over_a_catalog_serves_what_iceberg_has(session, service, gold):
    declared = (lake(service), VIEW)
    assert register(session, *declared) == ["create", "create"]
    assert register(session, *declared) == ["unchanged", "unchanged"]
    assert ask(session, SHOWN) == ask(session, GOLD) == TEN
    assert probe.schema(COLUMNS, plan.read(session, VIEW).columns, same=None).passed
    gold.append(rows(10, 12))
    assert ask(session, SHOWN) == ask(session, GOLD) == TWELVE  # at once
    gold.delete("orders >= 10")
    assert ask(session, SHOWN) == TEN
    gold.overwrite(rows(0, 0))
    assert ask(session, SHOWN) == Figures(0)


def test_a_materialised_view_has_what_iceberg_had_when_it_was_refreshed(session, service, gold):
    assert register(session, lake(service), COPY) == ["create", "create"]
    assert ask(session, COPIED) == Figures(0)  # not before it is told to
    plan.refresh(session, COPY)
    assert register(session, lake(service), COPY) == ["unchanged", "unchanged"]
    assert ask(session, COPIED) == TEN
    gold.append(rows(10, 12))
    assert ask(session, COPIED) == TEN
    plan.refresh(session, COPY)
    assert ask(session, COPIED) == ask(session, GOLD) == TWELVE
    built = session.query("SELECT built_at, channel FROM bi.orders_copy ORDER BY built_at LIMIT 1")
    assert built == [(datetime(2023, 4, 1, 10), "wéb")]  # noqa: DTZ001 - DATETIME has no zone


@pytest.mark.parametrize("materialised_by", [None, "day"])
def test_a_pass_of_the_mode_iceberg_catalog(session, service, gold, tmp_path, materialised_by):
    """As the asset does it, from the settings: each pass serves the newest snapshot, copied or not."""
    settings = configured(service, tmp_path)
    table = serve.Table(
        "orders", COLUMNS, "Orders.", "iceberg_catalog", "net_revenue", "day", materialised_by=materialised_by
    )
    declared = serve.declare(table, settings, None)
    for action, figures in (("create", TEN), ("unchanged", TWELVE)):
        done = serve.serve(session, table, declared)
        assert [one.action for one in done.decisions] == [action] * len(declared.objects)
        assert done.probe.figures == figures
        assert len(done.preview) == serve.PREVIEW_ROWS
        assert done.schema.detail == "has columns too many: basket, is_final, tags"
        gold.append(rows(10, 12))


def test_a_materialised_view_may_name_its_columns_anew(session, service):
    register(session, lake(service))
    session.execute("CREATE DATABASE bi")
    head = "CREATE MATERIALIZED VIEW bi.by_channel (kind, n) DISTRIBUTED BY HASH(kind) REFRESH DEFERRED MANUAL"
    session.execute(f"{head} AS SELECT channel, count(*) FROM lake.gold.orders GROUP BY channel")
    session.execute("REFRESH MATERIALIZED VIEW bi.by_channel WITH SYNC MODE")
    assert session.query("SELECT kind, n FROM bi.by_channel ORDER BY kind") == [("app", 5), ("wéb", 5)]


def test_a_changed_contract_makes_views_anew_and_the_copy_empty(session, service):
    register(session, lake(service), VIEW, COPY)
    plan.refresh(session, COPY)
    fewer = tuple(replace(one, columns=COLUMNS[:3]) for one in (VIEW, COPY))
    assert plan.plan(session, fewer[1]).reasons == ("has columns too many: channel, built_at",)
    assert register(session, *fewer) == ["recreate", "recreate"]
    assert (ask(session, SHOWN), ask(session, COPIED)) == (TEN, Figures(0))
    for one in fewer:
        assert probe.schema(one.columns, plan.read(session, one).columns, same=None).passed
    assert register(session, replace(fewer[1], distributed_by="orders")) == ["recreate"]


def test_a_catalog_that_differs_is_left_to_a_person(session, service):
    register(session, lake(service), VIEW)
    for other in (replace(lake(service), warehouse="other"), replace(lake(service), comment="Another.")):
        with pytest.raises(LakeError, match="catalog lake differs from its declaration; ALTER CATALOG"):
            plan.plan(session, other)
    assert ask(session, SHOWN) == TEN


def test_foreign_objects_are_left_alone(session, service):
    session.execute(lake(service).create().replace(f" [lakegraph:{lake(service).hash}]", ""))
    session.execute("CREATE DATABASE bi")
    session.execute(COPY.create().replace(f" [lakegraph:{COPY.hash}]", ""))
    for declared in (lake(service), COPY):
        with pytest.raises(ForeignObjectError, match="was not made by lakegraph"):
            plan.plan(session, declared)


def test_a_view_and_a_materialised_one_of_ours_take_each_others_place(session, service):
    register(session, lake(service), COPY)
    plan.refresh(session, COPY)
    with pytest.raises(StarRocksError, match="is a materialized view, not a view"):
        session.execute("DROP VIEW bi.orders_copy")
    assert ask(session, COPIED) == TEN
    view = replace(VIEW, name=COPY.name)
    decision = plan.plan(session, view)
    assert (decision.reasons, decision.drift) == (("is a materialised view, not a view",), ())
    assert decision.statements()[1:] == (
        "DROP MATERIALIZED VIEW IF EXISTS `default_catalog`.`bi`.`orders_copy`",
        view.create(),
    )
    assert register(session, view) == ["recreate"]
    assert register(session, view) == ["unchanged"]
    assert ask(session, COPIED) == TEN
    assert plan.plan(session, COPY).reasons == ("is a view, not a materialised view",)
    assert register(session, COPY) == ["recreate"]
    assert ask(session, COPIED) == Figures(0)


@pytest.mark.parametrize("first", [None, "day"])
def test_a_table_that_gets_or_loses_its_copy_is_served_on(session, service, tmp_path, first):
    """Its mode is another in the YAML: as it was from files, from the catalog, and copied."""
    settings = configured(service, tmp_path)
    files = serve.Table("orders", COLUMNS, "Orders.", "file", "net_revenue", "day")
    from_catalog = replace(files, mode="iceberg_catalog")
    written = tmp_path / "files" / "part-0.parquet"
    written.parent.mkdir()
    pq.write_table(rows(0, 10), written)
    second = None if first else "day"
    for table in (files, *(replace(from_catalog, materialised_by=by) for by in (first, second)), files):
        done = serve.serve(session, table, serve.declare(table, settings, f"{written.parent.as_uri()}/"))
        assert done.probe.figures == TEN, table


def test_readers_never_see_a_new_copy_before_it_has_its_rows(session, service, tmp_path, monkeypatch):
    """When both are new, the view is made over a copy that was refreshed."""
    settings = configured(service, tmp_path)
    table = serve.Table("orders", COLUMNS, "Orders.", "iceberg_catalog", "net_revenue", "day", materialised_by="day")
    seen = []
    apply = plan.apply

    def looked_at(session: Session, decision: plan.Decision) -> None:
        apply(session, decision)
        if isinstance(decision.declared, View):
            seen.append(ask(session, SHOWN))

    monkeypatch.setattr(plan, "apply", looked_at)
    declared = serve.declare(table, settings, None)
    assert [(one.kind, getattr(one, "database", None)) for one in declared.objects] == [
        ("catalog", None), ("materialised view", "gold"), ("view", "bi")
    ]  # fmt: skip
    serve.serve(session, table, declared)
    assert seen == [TEN]
    assert session.query("SELECT TABLE_NAME FROM information_schema.views WHERE TABLE_SCHEMA = 'bi'") == [("orders",)]
    more = replace(table, comment="Other words.")  # the copy is made anew, the view stays
    assert serve.serve(session, more, serve.declare(more, settings, None)).probe.figures == TEN


@pytest.fixture
def sent(monkeypatch) -> dict[Session, list[str]]:
    """The statements that are sent, by session."""
    statements: dict[Session, list[str]] = defaultdict(list)
    query = Session.query

    def recorded(self: Session, sql: str, **named: Any) -> Any:
        statements[self].append(sql)
        return query(self, sql, **named)

    monkeypatch.setattr(Session, "query", recorded)
    return statements


def test_a_refresh_has_a_time_of_its_own(stand_in, service, sent, monkeypatch):
    patience = []
    connect = pymysql.connect

    def connected(**named: Any) -> Any:
        patience.append(named["read_timeout"])
        return connect(**named)

    monkeypatch.setattr(pymysql, "connect", connected)
    server = StarRocks.from_url(SecretStr(stand_in.endpoint), read_timeout=7)
    with server.session() as opened:
        register(opened, lake(service), COPY)
        plan.refresh(opened, COPY)
        assert ask(opened, COPIED) == TEN
    refreshing = [statements for statements in sent.values() if COPY.refresh() in statements]
    assert refreshing == [
        ["SET time_zone = 'UTC'", "SET query_timeout = 1800", "SET CATALOG default_catalog", COPY.refresh()]
    ]
    assert patience == [7 + 5, 1800 + 5]


@pytest.mark.parametrize("materialised_by", [None, "day"])
def test_starrocks_looks_at_the_catalogs_table_anew_before_anything_is_made_over_it(
    session, service, tmp_path, sent, materialised_by
):
    table = serve.Table("orders", COLUMNS, "Orders.", "iceberg_catalog", materialised_by=materialised_by)
    for _ in range(2):
        sent.clear()
        serve.serve(session, table, serve.declare(table, configured(service, tmp_path), None))
        statements = [one for session_ in sent.values() for one in session_]
        assert statements.count("REFRESH EXTERNAL TABLE `lakegraph`.`gold`.`orders`") == 1
        looked = statements.index("REFRESH EXTERNAL TABLE `lakegraph`.`gold`.`orders`")
        over = [n for n, one in enumerate(statements) if "FROM `lakegraph`.`gold`.`orders`" in one]
        assert all(looked < n for n in over)


@pytest.mark.parametrize(
    ("wanted", "detail"),
    [
        (("net_revenue", "string"), "has other types: net_revenue is decimal(18, 2), not varchar(65533)"),
        (("channel", "decimal(18, 2)"), "has other types: channel is varchar(1048576), not decimal(18, 2)"),
    ],
)
def test_a_catalogs_type_that_is_not_the_contracts_is_found_out(session, service, tmp_path, wanted, detail):
    columns = tuple(Column.of(*wanted) if one.name == wanted[0] else one for one in COLUMNS)
    table = serve.Table("slim", columns, "Orders.", "iceberg_catalog")
    client(service).create_table("gold.slim", pa.schema([SCHEMA.field(one.name) for one in columns])).append(
        rows(0, 3).select([one.name for one in columns])
    )
    found = serve.serve(session, table, serve.declare(table, configured(service, tmp_path), None)).schema
    assert (found.passed, found.detail) == (False, detail)
    right = replace(table, columns=COLUMNS)
    assert serve.serve(session, right, serve.declare(right, configured(service, tmp_path), None)).schema.passed


# -- what goes wrong -----------------------------------------------------------------------------------------


def asking(session: Session) -> tuple[Callable[[], object], ...]:
    """Everything that asks the service."""
    return (
        lambda: ask(session, GOLD),
        lambda: ask(session, SHOWN),
        lambda: plan.refresh(session, COPY),
        lambda: session.query("SHOW DATABASES FROM lake"),
        lambda: session.query("SHOW TABLES FROM lake.gold"),
        lambda: session.query("DESC lake.gold.orders"),
        lambda: register(session, replace(VIEW, name="more")),
    )


def test_a_service_that_is_down_is_unreachable_and_the_copy_serves_on(session, service, stand_in):
    register(session, lake(service), VIEW, COPY)
    plan.refresh(session, COPY)
    service.__exit__()
    for one in asking(session):
        with pytest.raises(UnreachableError, match="Error occurred while processing GET request") as raised:
            one()
        assert isinstance(raised.value, TransientError)
    assert ask(session, COPIED) == TEN
    assert register(session, lake(service), VIEW, COPY) == ["unchanged"] * 3
    with pytest.raises(UnreachableError, match="Failed to load rest catalog"):
        register(session, replace(lake(service), name="second"))


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (401, DeniedError, "Not authorized: "),
        (403, DeniedError, "Forbidden: "),
        (503, UnreachableError, "Service unavailable: "),
        (500, StarRocksError, "Unable to process: "),
    ],
)
def test_a_service_that_refuses(session, service, status, kind, words):
    register(session, lake(service), VIEW, COPY)
    service.status = status
    for one in asking(session):
        with pytest.raises(LakeError, match=words) as raised:
            one()
        assert type(raised.value) is kind
    service.status = None
    assert ask(session, SHOWN) == TEN


def test_what_is_not_there_is_told_apart(session, service, tmp_path):
    for sql in ("SELECT * FROM lake.gold.orders", "SET CATALOG lake", "SHOW TABLES FROM lake.gold", "USE lake.gold"):
        with pytest.raises(UnknownObjectError, match="Unknown catalog 'lake'"):
            session.query(sql)
    register(session, lake(service))
    with pytest.raises(UnknownObjectError, match="Unknown database 'silver'"):
        register(session, replace(VIEW, source=replace(GOLD, database="silver")))
    with pytest.raises(UnknownObjectError, match=r"Unknown table 'gold\.nothing'"):
        register(session, replace(COPY, source=replace(GOLD, name="nothing")))
    with pytest.raises(SyntaxRefusedError, match="nothing"):
        register(session, replace(VIEW, columns=(Column("nothing", "bigint"),)))
    assert session.query("SHOW TABLES FROM bi") == []
    for file in tmp_path.rglob("*.parquet"):
        file.unlink()
    with pytest.raises(StarRocksError, match="Failed to open input stream for file: "):
        ask(session, GOLD)


def test_no_materialised_view_over_files(session, service, tmp_path):
    register(session, lake(service))
    session.execute("CREATE DATABASE gold")
    session.execute(ddl.ExternalTable("gold", "orders", COLUMNS, f"file://{tmp_path}/").create())
    session.execute("CREATE DATABASE bi")
    session.execute(replace(VIEW, source=Source("gold", "orders")).create())
    for source in ("`gold`.`orders`", "`bi`.`orders`"):  # also behind a view
        statement = COPY.create().replace(GOLD.sql, source)
        with pytest.raises(SyntaxRefusedError, match="do not support the table type: FILE"):
            session.execute(statement)
    with pytest.raises(SyntaxRefusedError, match=r"Distribution column\(nothing\) doesn't exist"):
        session.execute(COPY.create().replace("HASH(`day`)", "HASH(`nothing`)"))
    with pytest.raises(StarRocksError, match="REFRESH DEFERRED MANUAL only"):
        session.execute(COPY.create().replace("REFRESH DEFERRED MANUAL\n", ""))
    with pytest.raises(SyntaxRefusedError, match="Can not refresh non materialized view: orders"):
        session.execute("REFRESH MATERIALIZED VIEW bi.orders WITH SYNC MODE")
    assert session.query("SHOW TABLES FROM bi") == [("orders",)]


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE IF EXISTS lake.gold.orders FORCE", "DROP VIEW lake.gold.orders", "DROP DATABASE lake.gold",
        "DROP MATERIALIZED VIEW lake.gold.orders", "CREATE DATABASE lake.silver", "CREATE TABLE lake.gold.t (a int)",
        "CREATE VIEW lake.gold.v AS SELECT 1 AS one",
    ],
)  # fmt: skip
def test_nothing_outside_starrocks_own_catalog_is_made_or_dropped(session, service, statement):
    register(session, lake(service), VIEW)
    with pytest.raises(StarRocksError, match=r"This connector doesn't support (dropp|creat)ing"):
        session.execute(statement)
    session.execute("SET CATALOG lake")
    with pytest.raises(StarRocksError, match=r"This connector doesn't support (dropp|creat)ing"):
        session.execute(statement.replace("lake.", ""))
    assert ask(session, SHOWN) == TEN


# -- statements ----------------------------------------------------------------------------------------------


def test_what_a_catalog_shows(session, service, stand_in):
    register(session, lake(service), VIEW)
    (_, mine) = session.query("SHOW CATALOGS")
    assert mine == ("lake", "Iceberg", f'The "lake". [lakegraph:{lake(service).hash}]')
    assert session.query("SHOW DATABASES FROM lake") == [("gold",), ("information_schema",)]
    assert session.query("SHOW TABLES FROM lake.gold") == [("orders",)]
    assert [row[:3] for row in session.query("DESC lake.gold.orders")] == [
        ("day", "date", "NO"), ("orders", "bigint(20)", "YES"), ("net_revenue", "decimal(18, 2)", "YES"),
        ("basket", "double", "YES"), ("channel", "varchar(1048576)", "YES"), ("is_final", "tinyint(1)", "YES"),
        ("built_at", "datetime", "YES"), ("tags", "array<varchar(1048576)>", "YES"),
    ]  # fmt: skip
    assert session.query("SELECT is_final, basket, tags FROM lake.gold.orders WHERE orders = 3") == [
        (0, 1.0, '["a", "b"]')
    ]
    session.execute("SET CATALOG lake")
    assert session.query("SHOW DATABASES") == [("gold",), ("information_schema",)]
    session.execute("USE gold")
    assert session.query("SELECT @@catalog, database()") == [("lake", "gold")]
    joined = "SELECT count(*) FROM orders o JOIN default_catalog.bi.orders b ON o.orders = b.orders"
    assert session.query(joined) == session.query("SELECT count(*) FROM gold.orders") == [(10,)]
    address = {"host": "127.0.0.1", "port": stand_in.port, "user": "root", "database": "lake.gold"}
    with pymysql.connect(**address) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT max(orders) FROM orders")
        assert cursor.fetchall() == ((9,),)


def test_a_catalog_is_kept_as_it_is_until_it_is_dropped(session, service):
    register(session, lake(service))
    session.execute(replace(lake(service), comment="Another.").create())  # IF NOT EXISTS
    assert register(session, lake(service)) == ["unchanged"]
    with pytest.raises(StarRocksError, match="Catalog 'lake' already exists"):
        session.execute(lake(service).create().replace(" IF NOT EXISTS", ""))
    with pytest.raises(StarRocksError, match="the stand-in has catalogs with"):
        session.execute(replace(lake(service), name="hive").create().replace('"rest"', '"hive"'))
    with pytest.raises(SyntaxRefusedError, match="Can't drop the default internal catalog"):
        session.execute("DROP CATALOG default_catalog")
    session.execute("DROP CATALOG lake")
    with pytest.raises(UnknownObjectError, match="Unknown catalog 'lake'"):
        session.execute("DROP CATALOG lake")
    session.execute("DROP CATALOG IF EXISTS `lake`")
    assert len(session.query("SHOW CATALOGS")) == 1
    assert client(service).list_tables("gold") == [("gold", "orders")]


def test_what_information_schema_says_of_a_materialised_view(session, service, stand_in):
    import sqlalchemy as sa

    register(session, lake(service), VIEW, COPY)
    told = "SELECT TABLE_NAME, REFRESH_TYPE, IS_ACTIVE, LAST_REFRESH_STATE FROM information_schema.materialized_views"
    assert session.query(told) == [("orders_copy", "ASYNC", "true", "")]
    plan.refresh(session, COPY)
    assert session.query(told) == [("orders_copy", "ASYNC", "true", "SUCCESS")]
    assert session.query("SELECT TABLE_NAME FROM information_schema.views") == [("orders",)]
    types = session.query("SELECT TABLE_NAME, TABLE_TYPE FROM information_schema.tables ORDER BY 1")
    assert types == [("orders", "VIEW"), ("orders_copy", "VIEW")]
    ((name, shown),) = session.query("SHOW CREATE MATERIALIZED VIEW bi.orders_copy")
    assert name == "orders_copy"
    assert COPY.hash in shown
    assert "`lake`.`gold`.`orders`" in shown
    engine = sa.create_engine(stand_in.endpoint.replace("mysql://", "starrocks://"))
    try:
        inspector = sa.inspect(engine)
        assert inspector.get_view_names(schema="bi") == ["orders"]
        assert inspector.get_materialized_view_names(schema="bi") == ["orders_copy"]
        with engine.connect() as connection:
            reflected = inspector.dialect.get_materialized_view(connection, "orders_copy", schema="bi")
            refresh = reflected.table_options["starrocks_refresh"]
            assert (refresh.moment, refresh.type) == ("DEFERRED", "MANUAL")
            query = sa.text("SELECT channel, sum(net_revenue) FROM bi.orders_copy GROUP BY channel")
            assert sorted(connection.execute(query).all()) == [("app", Decimal("26.25")), ("wéb", Decimal("20.00"))]
    finally:
        engine.dispose()


# -- the stand-in's life -------------------------------------------------------------------------------------


def test_a_restart_keeps_catalogs_views_and_copies(state, service, gold):
    for actions in (["create"] * 3, ["unchanged"] * 3):
        with (
            StarRocksStandIn(state) as running,
            StarRocks.from_url(SecretStr(running.endpoint)).session() as opened,
        ):
            assert register(opened, lake(service), VIEW, COPY) == actions
            if actions[0] == "create":
                plan.refresh(opened, COPY)
                plan.refresh(opened, COPY)
                gold.append(rows(10, 12))
            assert (ask(opened, SHOWN), ask(opened, COPIED)) == (TWELVE, TEN)
    assert len(list((state.parent / "materialised").iterdir())) == 1
    service.__exit__()
    with StarRocksStandIn(state) as running, StarRocks.from_url(SecretStr(running.endpoint)).session() as opened:
        assert ask(opened, COPIED) == TEN
        with pytest.raises(UnreachableError, match="Failed to load rest catalog"):
            ask(opened, SHOWN)
