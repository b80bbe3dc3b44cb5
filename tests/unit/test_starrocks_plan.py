"""What to do about an object in StarRocks, what an error of its is, and when figures agree: pure decisions."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import pymysql
import pytest
from pydantic import SecretStr, ValidationError

from infra_assets.starrocks import plan, probe
from infra_assets.starrocks.client import (
    DeniedError,
    MissingPathError,
    StarRocks,
    StarRocksError,
    SyntaxRefusedError,
    UnknownObjectError,
    UnreachableError,
    is_too_old,
    kind_of,
)
from infra_assets.starrocks.ddl import Catalog, Column, ExternalTable, MaterialisedView, Source, View, literal, marked
from infra_assets.starrocks.plan import Decision, ForeignObjectError, State, decide
from infra_assets.starrocks.probe import Figures, Probe
from lake.errors import LakeError, NotConfiguredError, TransientError
from lake.settings import Settings

COLUMNS = (Column("day", "date"), Column("revenue", "decimal(18, 2)"), Column("text", "varchar(65533)"))
# as a StarRocks of release 3 tells them
TOLD = (Column("day", "date"), Column("revenue", "decimal64(18, 2)"), Column("text", "varchar(65533)"))
TABLE = ExternalTable("gold", "orders", COLUMNS, "gs://lake/exports/orders/snapshot=7/", "Orders.")
VIEW = View("bi", "orders", COLUMNS, Source("gold", "orders"))
CATALOG = Catalog("lake", "https://catalog.example")
COPY = MaterialisedView("bi", "orders", COLUMNS, Source("gold", "orders", "lake"), "day")


def state(declared, columns=TOLD, path=None) -> State:
    """How an object stands that was made from this declaration."""
    own_path = declared.path if isinstance(declared, ExternalTable) else None
    return State(marked("", declared.hash), columns, path or own_path)


# -- decisions -----------------------------------------------------------------------------------------------


def test_what_is_not_there_is_created_in_a_database_that_is():
    decision = decide(TABLE, None)
    assert (decision.action, decision.reasons) == ("create", ())
    assert decision.statements() == ("CREATE DATABASE IF NOT EXISTS `gold`", TABLE.create())
    assert decide(CATALOG, None).statements() == (CATALOG.create(),)


@pytest.mark.parametrize("declared", [TABLE, VIEW, COPY])
def test_what_is_as_declared_is_left_alone(declared):
    assert decide(declared, state(declared)) == Decision("unchanged", declared)
    assert decide(declared, state(declared)).statements() == ()
    assert decide(CATALOG, State(marked("", CATALOG.hash))).action == "unchanged"


def test_a_new_snapshot_changes_the_path_alone():
    older = replace(TABLE, path="gs://lake/exports/orders/snapshot=6/")
    decision = decide(TABLE, state(older))
    assert decision.action == "recreate"
    assert decision.reasons == (
        "path changed: gs://lake/exports/orders/snapshot=6/ → gs://lake/exports/orders/snapshot=7/",
    )
    assert decision.statements() == (
        "CREATE DATABASE IF NOT EXISTS `gold`",
        "DROP TABLE IF EXISTS `default_catalog`.`gold`.`orders`",
        TABLE.create(),
    )


def test_columns_differ_both_ways_and_by_type():
    columns = (Column("DAY", "datetime"), Column("revenue", "decimal(18, 2)"), Column("old", "bigint(20)"))
    decision = decide(TABLE, state(TABLE, columns))  # the hash is right: somebody altered it
    assert decision.action == "recreate"
    assert decision.reasons == (
        "lacks columns: text",
        "has columns too many: old",
        "has other types: day is datetime, not date",
    )


def test_the_order_and_the_case_of_columns_do_not_matter():
    columns = tuple(replace(column, name=column.name.upper()) for column in TOLD[::-1])
    assert decide(TABLE, state(TABLE, columns)).action == "unchanged"


def test_types_of_a_view_are_its_sources():
    columns = (TOLD[0], TOLD[1], Column("text", "varchar(1073741824)"))  # what a catalog's STRING is
    assert decide(VIEW, state(VIEW, columns)).action == "unchanged"
    assert decide(VIEW, state(VIEW, columns[:2])).reasons == ("lacks columns: text",)


def test_a_change_that_no_column_shows_is_told_by_the_hash():
    older = replace(TABLE, comment="Other words.")
    (reason,) = decide(TABLE, state(older)).reasons
    assert reason == f"its comment, properties or source changed (hash {older.hash} → {TABLE.hash})"
    moved = replace(VIEW, source=Source("gold", "others"))
    assert decide(moved, state(VIEW)).statements() == ("CREATE DATABASE IF NOT EXISTS `bi`", moved.create())


@pytest.mark.parametrize("declared", [TABLE, VIEW, COPY, CATALOG])
def test_what_somebody_else_made_is_not_touched(declared):
    with pytest.raises(ForeignObjectError, match=r"was not made by lakegraph .* choose another name"):
        decide(declared, State("My own table", TOLD))


def test_a_catalog_that_differs_is_left_to_a_person():
    with pytest.raises(LakeError, match="catalog lake differs from its declaration") as raised:
        decide(CATALOG, State(marked("", "0" * 12)))
    assert not isinstance(raised.value, ForeignObjectError)


def test_secrets_are_in_what_is_sent_and_not_in_what_is_shown():
    secret = replace(TABLE, path="s3://lake/exports/orders/", properties={"aws.s3.secret_key": SecretStr("hush")})
    decision = decide(secret, None)
    assert "hush" not in f"{decision}{decision.statements()}"
    assert "hush" in decision.statements(reveal=True)[-1]


# -- errors --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "message", "kind"),
    [
        (2003, "Can't connect to MySQL server on 'sr' ([Errno 111] Connection refused)", UnreachableError),
        (2013, "Lost connection to MySQL server during query", UnreachableError),
        (1064, "There is no alive backend", UnreachableError),
        (1064, "Compute node not found. Check if any compute node is down.", UnreachableError),
        (1045, "Access denied for user 'bi' (using password: YES)", DeniedError),
        (5203, "Access denied; you need (at least one of) the SELECT privilege(s) on TABLE t", DeniedError),
        (1064, "doesn't get file with path: gs://lake/exports/orders/", MissingPathError),
        (1064, "No file exists for FileTable: orders", MissingPathError),
        (1064, "Failed to get remote files, msg: 403 Access Denied", DeniedError),
        (1064, "Failed to get remote files, msg: Forbidden: storage.objects.list", DeniedError),
        (1064, "Failed to get remote files, msg: connect to storage:443 failed: Connection refused", UnreachableError),
        (1064, "Failed to get remote files, msg: Connect timed out", UnreachableError),
        (1064, "Failed to get remote files, msg: no such path", MissingPathError),
        (1064, "Getting syntax error at line 1, column 0. Detail message: Unexpected input 'SELEC'.", SyntaxRefusedError),
        (1064, "Getting analyzing error. Detail message: Column 'a' cannot be resolved.", SyntaxRefusedError),
        (1064, "Getting analyzing error. Detail message: Unknown table 'gold.t'.", UnknownObjectError),
        (5502, "Getting analyzing error. Detail message: Unknown table 'gold.t'.", UnknownObjectError),
        (5501, "Unknown database 'gold'", UnknownObjectError),
        (1064, "Memory of process exceed limit", StarRocksError),
        (5078, "Unknown catalog 'lake'", UnknownObjectError),
        (1064, "Error occurred while processing GET request", UnreachableError),
        (
            1064,
            "Failed to get database using REST Catalog exception:Error occurred while processing GET request",
            UnreachableError,
        ),
        (1064, "Failed to init connector [type: iceberg, name: lake]. msg: Failed to load rest catalog", UnreachableError),
        (1064, "Failed to load rest catalog, exception: Not authorized: no such token", DeniedError),
        (1064, "Failed to list tables using REST Catalog, exception:Forbidden: namespace gold", DeniedError),
        (1064, "Failed to load table using REST Catalog, exception: Service unavailable: later", UnreachableError),
        (1064, "Failed to load table using REST Catalog, exception: Unable to process: no", StarRocksError),
        (None, "", StarRocksError),
    ],
)  # fmt: skip
def test_errors_are_told_apart(code, message, kind):
    assert kind_of(code, message) is kind
    assert issubclass(kind, TransientError) is (kind is UnreachableError)


PEM = "-----BEGIN {0}-----\nMIIEvg\nIBADAN\n-----END {0}-----\n".format("PRIVATE KEY")


@pytest.mark.parametrize("secret", ["hush", 'a"b', "back\\slash", "two  blanks", PEM])
def test_an_error_repeats_no_secret_however_it_is_written(secret):
    server = StarRocks("sr", password=SecretStr(secret))
    said = f"Unexpected\n  input {literal(secret)}, or {secret}."
    for known, hide in ((server, ()), (StarRocks("sr"), (SecretStr(secret),))):
        with pytest.raises(StarRocksError) as raised, known.translated(hide):
            raise pymysql.ProgrammingError(1064, said)
        assert str(raised.value) == (
            'StarRocks at sr:9030 refuses (1064): Unexpected input "***", or ***' + (" ." if secret == PEM else ".")
        )


# -- the address ---------------------------------------------------------------------------------------------


def test_an_address_and_what_it_says():
    server = StarRocks.from_url(SecretStr("mysql://bi:p%40ss%2Fword@sr.example:9031?tls=true"), read_timeout=3)
    assert (server.host, server.port, server.user, server.tls) == ("sr.example", 9031, "bi", True)
    assert server.password.get_secret_value() == "p@ss/word"
    assert (server.connect_timeout, server.read_timeout) == (10.0, 3)
    assert "p@ss" not in repr(server)
    assert StarRocks.from_url(SecretStr("mysql://root@sr")) == StarRocks("sr")


@pytest.mark.parametrize(
    "url",
    [
        "", "hush", "sr.example:9030", "http://bi:hush@sr", "mysql://bi:hush@", "mysql://sr.example",
        "mysql://bi:hush@sr:ninety", "mysql://bi:hu/sh@sr:9030", "mysql://bi:hush@sr/gold", "mysql://bi:hush@sr?ssl=1",
        "mysql://bi:hush@sr?tls=maybe", "mysql://bi:hush@sr:99999",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused_without_repeating_it(url):
    with pytest.raises(LakeError, match=r"^LAKEGRAPH_STARROCKS: must be mysql://user:password@host:9030") as raised:
        StarRocks.from_url(SecretStr(url))
    assert not isinstance(raised.value, NotConfiguredError)
    assert raised.value.__suppress_context__ or raised.value.__context__ is None
    assert "hush" not in str(raised.value)


def test_not_configured_is_not_an_error_of_starrocks(tmp_path):
    with pytest.raises(NotConfiguredError, match=r"sandbox is not running .* set LAKEGRAPH_STARROCKS"):
        StarRocks.from_settings(Settings(home=tmp_path))
    with pytest.raises(NotConfiguredError, match="set LAKEGRAPH_STARROCKS"):
        StarRocks.from_settings(Settings(home=tmp_path, sources="live"))
    with pytest.raises(LakeError) as raised:
        StarRocks.from_settings(Settings(home=tmp_path, starrocks="sr.example"))
    assert not isinstance(raised.value, NotConfiguredError)
    timeouts = {"starrocks_read_timeout_seconds": 7, "starrocks_refresh_timeout_seconds": 90}
    named = Settings(home=tmp_path, starrocks="mysql://bi:hush@sr", **timeouts)
    assert StarRocks.from_settings(named) == StarRocks(
        "sr", user="bi", password=SecretStr("hush"), read_timeout=7, refresh_timeout=90
    )
    assert "hush" not in repr(named)


@pytest.mark.parametrize("database", ["bi", "BI"])
def test_tables_are_not_where_their_views_are(tmp_path, database):
    with pytest.raises(ValidationError, match="is bi, where readers look: a table and its view would have one name"):
        Settings(home=tmp_path, starrocks_database=database)


@pytest.mark.parametrize(
    ("version", "too_old"),
    [("3.1.1-0123abc", True), ("2.5.22", True), ("3.2.0", False), ("3.10.1-x", False), ("4.1.7-standin", False), ("main-0123abc", False)],
)  # fmt: skip
def test_releases_that_keep_a_views_old_comment_are_known(version, too_old):
    assert is_too_old(version) is too_old


def test_the_running_sandbox_is_found(tmp_path):
    settings = Settings(home=tmp_path)
    settings.endpoints_file.parent.mkdir()
    settings.endpoints_file.write_text('{"starrocks": "mysql://root@127.0.0.1:1"}')
    assert StarRocks.from_settings(settings) == StarRocks("127.0.0.1", 1)


# -- figures -------------------------------------------------------------------------------------------------

FIGURES = Figures(3, Decimal("10.50"), Decimal(-1), Decimal("9.00"), date(2023, 1, 1), date(2023, 3, 31))


def failed(wanted: Figures, found: Figures) -> dict[str, str]:
    return {one.name: one.detail for one in probe.compare(wanted, found) if not one.passed}


def test_equal_figures_agree_however_they_are_written():
    assert [one.name for one in probe.compare(FIGURES, FIGURES)] == ["rows", "measure", "date"]
    assert failed(FIGURES, replace(FIGURES, total=Decimal("10.5"), least=-1)) == {}
    assert failed(FIGURES, replace(FIGURES, first=datetime(2023, 1, 1, tzinfo=UTC))) == {}
    assert failed(Figures(0), Figures(0)) == {}
    assert failed(replace(FIGURES, total=0.1 + 0.2), replace(FIGURES, total=0.3)) == {}
    assert failed(replace(FIGURES, total=float("nan")), replace(FIGURES, total=float("nan"))) == {}


@pytest.mark.parametrize(
    ("change", "name", "detail"),
    [
        ({"rows": 2}, "rows", "2, not 3"),
        ({"total": Decimal("10.51")}, "measure", "10.51, -1, 9.00, not 10.50, -1, 9.00"),
        ({"least": None}, "measure", "10.50, None, 9.00, not 10.50, -1, 9.00"),
        ({"greatest": 9.01}, "measure", "10.50, -1, 9.01, not 10.50, -1, 9.00"),
        ({"last": date(2023, 3, 30)}, "date", "2023-01-01, 2023-03-30, not 2023-01-01, 2023-03-31"),
        ({"total": None}, "measure", "None, -1, 9.00, not 10.50, -1, 9.00"),
        ({"first": None}, "date", "None, 2023-03-31, not 2023-01-01, 2023-03-31"),
        ({"first": datetime(2023, 1, 1, tzinfo=timezone(timedelta(hours=8)))}, "date",
         "2023-01-01 00:00:00+08:00, 2023-03-31, not 2023-01-01, 2023-03-31"),
        ({"total": float("nan")}, "measure", "nan, -1, 9.00, not 10.50, -1, 9.00"),
    ],
)  # fmt: skip
def test_each_difference_has_a_name(change, name, detail):
    assert failed(FIGURES, replace(FIGURES, **change)) == {name: detail}


def test_nothing_is_no_number():
    assert not probe.same(0.0, None)
    assert not probe.same(None, 0)
    assert probe.same(None, None)


def test_latency_and_schema():
    assert probe.latency(Probe(FIGURES, 80.4), 100) == probe.Finding("latency", True, "80 ms of 100 ms")
    assert not probe.latency(Probe(FIGURES, 100.1), 100).passed
    assert probe.schema(COLUMNS, TOLD) == probe.Finding("schema", True, "3 columns as declared")
    drifted = probe.schema(COLUMNS, (*TOLD[:2], Column("more", "int")))
    assert drifted == probe.Finding("schema", False, "lacks columns: text; has columns too many: more")
    assert plan.drift(COLUMNS, COLUMNS) == ()


def test_the_query_for_figures():
    assert probe.figures_query("`gold`.`t`", "net", "day") == (
        "SELECT count(*), sum(`net`), min(`net`), max(`net`), min(`day`), max(`day`)\nFROM `gold`.`t`"
    )
    assert probe.figures_query("t") == "SELECT count(*), NULL, NULL, NULL, NULL, NULL\nFROM t"
