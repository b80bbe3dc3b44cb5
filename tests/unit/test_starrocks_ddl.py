"""StarRocks' statements: exact where a reader compares them, and the same names and words back from a parser."""

import re
from dataclasses import replace

import pytest
import sqlglot
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from sqlglot import exp

from infra_assets.starrocks import ddl, serve
from infra_assets.starrocks.ddl import (
    Catalog,
    Column,
    DeclarationError,
    ExternalTable,
    MaterialisedView,
    Source,
    View,
    starrocks_type,
)

COLUMNS = (
    Column.of("day", "date", "The day."),
    Column.of("net_revenue", "decimal(18, 2)"),
    Column.of("say", "string", 'a "quote", a \\ and\na line'),
)
TABLE = ExternalTable("gold", "shop_orders_daily", COLUMNS, "gs://lake/exports/orders/snapshot=7/", "Orders by day.")
HASH = r"[0-9a-f]{12}"


def hidden(text: str) -> str:
    return re.sub(rf"lakegraph:{HASH}", "lakegraph:…", text)


def refused(call, *arguments, **named) -> str:
    with pytest.raises(DeclarationError) as raised:
        call(*arguments, **named)
    assert "\n" not in str(raised.value)
    return str(raised.value)


# -- statements ----------------------------------------------------------------------------------------------


def test_a_table_of_files():
    assert (
        hidden(TABLE.create())
        == r"""CREATE EXTERNAL TABLE IF NOT EXISTS `gold`.`shop_orders_daily` (
  `day` date NULL COMMENT "The day.",
  `net_revenue` decimal(18, 2) NULL,
  `say` varchar(65533) NULL COMMENT "a \"quote\", a \\ and\na line"
)
ENGINE=file
COMMENT "Orders by day. [lakegraph:…]"
PROPERTIES (
  "path" = "gs://lake/exports/orders/snapshot=7/",
  "format" = "parquet",
  "enable_recursive_listing" = "true",
  "gcp.gcs.use_compute_engine_service_account" = "true"
)"""
    )
    assert TABLE.refresh() == "REFRESH EXTERNAL TABLE `gold`.`shop_orders_daily`"
    assert ddl.create_database("gold") == "CREATE DATABASE IF NOT EXISTS `gold`"


def test_a_secret_is_written_only_when_it_is_sent():
    properties = {"aws.s3.secret_key": SecretStr('hush"'), "aws.s3.access_key": SecretStr("id"), "aws.s3.region": "eu"}
    table = replace(TABLE, path="s3://lake/exports/orders/", properties=properties)
    shown, sent = table.create(), table.create(reveal=True)
    assert shown.endswith(
        '"enable_recursive_listing" = "true",\n'
        '  "aws.s3.access_key" = "***",\n  "aws.s3.region" = "eu",\n  "aws.s3.secret_key" = "***"\n)'
    )
    assert '"aws.s3.secret_key" = "hush\\""' in sent
    assert "hush" not in repr(table)
    assert [one.get_secret_value() for one in ddl.secrets_of(properties)] == ['hush"', "id"]
    assert "give it as one" in refused(replace, table, properties={"aws.s3.secret_key": "hush"})
    assert "hush" not in refused(replace, table, properties={"aws.s3.secret_key": "hush"})
    assert replace(TABLE, properties={"gcp.gcs.service_account_email": "a@b"}).create().count("gcp.gcs.") == 1


@pytest.mark.parametrize(
    "key",
    [
        "aws.s3.secret_key", "azure.adls2.shared_key", "azure.blob.shared_key", "azure.blob.sas_token",
        "iceberg.catalog.header.Authorization", "iceberg.catalog.token", "gcp.gcs.service_account_private_key",
        "what.a.later.release.calls.it",
    ],
)  # fmt: skip
def test_a_property_is_a_secret_unless_its_key_says_that_it_is_none(key):
    secret = serve.properties({key: "hush"})
    shown = replace(TABLE, properties=secret).create() + Catalog("lake", "https://x", properties=secret).create()
    assert (shown.count(f'"{key}" = "***"'), shown.count("hush")) == (2, 0)
    assert replace(TABLE, properties=serve.properties({key: "other"})).hash == replace(TABLE, properties=secret).hash
    assert "give it as one" in refused(replace, TABLE, properties={key: "hush"})


@pytest.mark.parametrize(
    "key",
    [
        "aws.s3.endpoint", "aws.s3.region", "aws.s3.use_instance_profile", "aws.s3.enable_ssl", "azure.blob.container",
        "aws.s3.enable_path_style_access", "azure.adls2.storage_account", "gcp.gcs.service_account_email",
        "iceberg.catalog.security", "iceberg.catalog.oauth2.server-uri",
    ],
)  # fmt: skip
def test_where_and_how_the_store_is_reached_is_shown(key):
    assert f'"{key}" = "plain"' in replace(TABLE, properties=serve.properties({key: "plain"})).create()


def test_a_catalog():
    properties = {"iceberg.catalog.oauth2.credential": SecretStr("id:hush")}
    catalog = Catalog("lake", "https://catalog.example/iceberg", "main", "The lake.", properties)
    assert (
        hidden(catalog.create())
        == """CREATE EXTERNAL CATALOG IF NOT EXISTS `lake`
COMMENT "The lake. [lakegraph:…]"
PROPERTIES (
  "type" = "iceberg",
  "iceberg.catalog.type" = "rest",
  "iceberg.catalog.uri" = "https://catalog.example/iceberg",
  "iceberg.catalog.warehouse" = "main",
  "iceberg_table_cache_ttl_sec" = "0",
  "iceberg.catalog.oauth2.credential" = "***"
)"""
    )
    assert '"id:hush"' in catalog.create(reveal=True)
    assert "StarRocks' own" in refused(Catalog, "default_catalog", "https://x")


def test_a_view_stays_while_its_table_is_made_anew():
    view = View("bi", "orders", COLUMNS[:2], Source("gold", "shop_orders_daily"), "Orders.")
    assert (
        hidden(view.create())
        == """CREATE OR REPLACE VIEW `bi`.`orders` (
  `day` COMMENT "The day.",
  `net_revenue`
)
COMMENT "Orders. [lakegraph:…]"
AS
SELECT `day`, `net_revenue`
FROM `default_catalog`.`gold`.`shop_orders_daily`"""
    )
    assert ddl.replace(view) == (view.create(),)
    assert ddl.replace(TABLE) == (
        "DROP TABLE IF EXISTS `default_catalog`.`gold`.`shop_orders_daily`",
        TABLE.create(),
    )


def test_a_materialised_view():
    view = MaterialisedView("bi", "orders", COLUMNS[:2], Source("gold", "orders", "lake"), "day", "Orders.")
    assert (
        hidden(view.create())
        == """CREATE MATERIALIZED VIEW IF NOT EXISTS `bi`.`orders`
COMMENT "Orders. [lakegraph:…]"
DISTRIBUTED BY HASH(`day`)
REFRESH DEFERRED MANUAL
AS
SELECT `day`, `net_revenue`
FROM `lake`.`gold`.`orders`"""
    )
    assert view.refresh() == "REFRESH MATERIALIZED VIEW `bi`.`orders` WITH SYNC MODE"
    assert ddl.replace(view)[0] == "DROP MATERIALIZED VIEW IF EXISTS `default_catalog`.`bi`.`orders`"
    assert "over a table of files" in refused(replace, view, source=Source("gold", "orders"))
    assert "no column 'nothing'" in refused(replace, view, distributed_by="nothing")


def test_nothing_is_dropped_outside_of_starrocks_own_catalog_nor_by_force():
    assert "nothing outside default_catalog is ever dropped" in refused(ddl.drop, "table", "gold", "t", "lake")
    assert ddl.drop("table", "gold", "t") == "DROP TABLE IF EXISTS `default_catalog`.`gold`.`t`"
    kinds = (ExternalTable.kind, View.kind, MaterialisedView.kind)
    dropping = [*ddl.replace(TABLE), *(ddl.drop(kind, "bi", "t") for kind in kinds)]
    assert all("`default_catalog`." in statement for statement in dropping if statement.startswith("DROP"))
    assert not [statement for statement in dropping if "FORCE" in statement.upper()]


# -- names and words -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "1a", "_a", "a-b", "a b", "a`b", "a.b", "ä", "a" * 65, "a\n"])
def test_names_that_starrocks_does_not_take(name):
    assert "must be 1 to 64 letters" in refused(replace, TABLE, name=name)
    assert "must be 1 to 64 letters" in refused(replace, TABLE, database=name)
    assert "must be 1 to 64 letters" in refused(ddl.create_database, name)
    assert "must be 1 to 64 letters" in refused(ddl.drop, "table", "gold", name)
    assert "must be 1 to 64 letters" in refused(Catalog, name, "https://x")
    assert "must be 1 to 64 letters" in refused(View, "bi", "v", COLUMNS, Source("gold", name))


@pytest.mark.parametrize("name", ["", " a", "a ", "a`b", "a``b", "a=b", "a<b", "a*", "a!", "a\x00", "a\nb", "a" * 1025])
def test_column_names_that_starrocks_does_not_take(name):
    assert "back-tick" in refused(replace, TABLE, columns=(Column(name, "bigint"),))


def test_columns_are_there_and_differ_in_more_than_case():
    assert "none twice" in refused(replace, TABLE, columns=())
    assert "none twice" in refused(replace, TABLE, columns=(Column("a", "bigint"), Column("A", "bigint")))
    assert "no type of StarRocks" in refused(replace, TABLE, columns=(Column("a", 'bigint) COMMENT "x'),))


words = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=80)
names = st.from_regex(ddl.NAME, fullmatch=True)
columns = st.lists(
    st.builds(
        Column,
        st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zs", "Zl", "Zp"], exclude_characters="`=<>!*"), min_size=1),
        st.sampled_from(sorted({*ddl.TYPES.values(), "decimal(18, 2)"})),
        words,
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda column: column.name.lower(),
).map(tuple)  # fmt: skip


def parsed(statement: str) -> exp.Create:
    (found,) = sqlglot.parse(statement, read="starrocks")
    assert isinstance(found, exp.Create), statement
    return found


@given(names, names, columns, words, st.dictionaries(st.just("aws.s3.region"), words))
def test_a_table_says_to_a_parser_what_was_declared(database, name, declared, comment, properties):
    table = ExternalTable(database, name, declared, "s3://lake/exports/t/", comment, properties)
    create = parsed(table.create())
    assert (create.this.this.db, create.this.this.name) == (database, name)
    found = [
        Column(one.name, one.args["kind"].sql("starrocks").lower(), next((c.this.name for c in one.find_all(exp.CommentColumnConstraint)), ""))
        for one in create.this.expressions
    ]  # fmt: skip
    assert tuple(found) == declared
    given_properties = {p.name: p.args["value"].name for p in create.find_all(exp.Property) if type(p) is exp.Property}
    assert given_properties == {
        "path": "s3://lake/exports/t/", "format": "parquet", "enable_recursive_listing": "true", **properties
    }  # fmt: skip
    found_comment = create.find(exp.SchemaCommentProperty).name
    assert found_comment == f"{comment} [lakegraph:{table.hash}]".lstrip()
    assert ddl.hash_of(found_comment) == table.hash


@given(names, names, columns, words)
def test_a_view_says_to_a_parser_what_was_declared(database, name, declared, comment):
    view = View(database, name, declared, Source("gold", name), comment)
    create = parsed(view.create())
    assert (create.this.this.db, create.this.this.name) == (database, name)
    assert [one.name for one in create.expression.selects] == [column.name for column in declared]
    (source,) = create.expression.find_all(exp.Table)
    assert (source.catalog, source.db, source.name) == ("default_catalog", "gold", name)
    assert ddl.hash_of(create.find(exp.SchemaCommentProperty).name) == view.hash


@given(words)
def test_no_word_ends_the_string_it_is_in(text):
    (found,) = sqlglot.parse(f"SELECT {ddl.literal(text)}, 1", read="starrocks")
    one, other = found.selects
    assert (one.name, other.name) == (text, "1")
    # as StarRocks' own parser reads it: first doubled quotes, then backslashes
    inner = ddl.literal(text)[1:-1]
    assert not re.search(r'(?<!\\)(\\\\)*"', inner)
    assert '""' not in inner
    unescaped = re.sub(r"\\(.)", lambda m: {"n": "\n", "t": "\t", "r": "\r"}.get(m[1], m[1]), inner, flags=re.DOTALL)
    assert unescaped == text


def test_nul_is_refused():
    assert "NUL" in refused(replace, TABLE, comment="a\x00b")


# -- the hash ------------------------------------------------------------------------------------------------


def test_the_hash_follows_all_that_matters_and_nothing_else():
    other = (
        replace(TABLE, path="gs://lake/exports/orders/snapshot=8/"),
        replace(TABLE, comment="Others."),
        replace(TABLE, columns=COLUMNS[:2]),
        replace(TABLE, columns=COLUMNS[::-1]),
        replace(TABLE, columns=(*COLUMNS[:2], replace(COLUMNS[2], type="bigint"))),
        replace(TABLE, columns=(*COLUMNS[:2], replace(COLUMNS[2], comment="other"))),
        replace(TABLE, properties={"gcp.gcs.service_account_email": "a@b"}),
        replace(TABLE, properties={"gcp.gcs.service_account_private_key": SecretStr("one")}),
    )
    assert len({TABLE.hash, *(one.hash for one in other)}) == len(other) + 1
    assert re.fullmatch(HASH, TABLE.hash)
    assert replace(TABLE, database="elsewhere").hash == TABLE.hash
    # a weak secret could be guessed from a hash that anybody may read
    turned = replace(TABLE, properties={"gcp.gcs.service_account_private_key": SecretStr("two")})
    assert turned.hash == other[-1].hash


def test_the_hash_does_not_change_from_release_to_release():
    assert TABLE.hash == "8c68e7bcad88"
    view = View("bi", "orders", COLUMNS, Source("gold", "shop_orders_daily"))
    assert view.hash == "a3f6e185918b"


def test_a_comment_carries_its_hash_however_long_it_is():
    long = replace(TABLE, comment="x" * 5000)
    (comment,) = re.findall(r'^COMMENT "(.*)"$', long.create(), re.MULTILINE)
    assert len(comment) == ddl.COMMENT_LENGTH
    assert comment.endswith(f"x… [lakegraph:{long.hash}]")
    assert ddl.hash_of(comment) == long.hash


@pytest.mark.parametrize(
    "comment", ["", "FILE", "[lakegraph:12]", "[lakegraph:123456789ABC]", "lakegraph:123456789abc"]
)
def test_other_comments_carry_none(comment):
    assert ddl.hash_of(comment) is None


def test_a_comment_that_speaks_of_a_hash_is_no_trap():
    assert ddl.hash_of("was [lakegraph:000000000000], is [lakegraph:123456789abc]") == "123456789abc"


# -- types ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ("date", "date"),
        ("DATE", "date"),
        ("bigint", "bigint"),
        ("int64", "bigint"),
        ("integer", "bigint"),
        ("decimal(18, 2)", "decimal(18, 2)"),
        ("DECIMAL(18,2)", "decimal(18, 2)"),
        ("numeric( 38 , 9 )", "decimal(38, 9)"),
        ("decimal(10)", "decimal(10, 0)"),
        ("numeric", "decimal(38, 9)"),
        ("string", "varchar(65533)"),
        ("varchar", "varchar(65533)"),
        ("varchar(20)", "varchar(65533)"),
        ("double", "double"),
        ("float64", "double"),
        ("double  precision", "double"),
        ("boolean", "boolean"),
        ("bool", "boolean"),
        ("timestamp", "datetime"),
        ("datetime", "datetime"),
        ("timestamp with time zone", "datetime"),
    ],
)
def test_types_of_the_contracts(declared, expected):
    assert starrocks_type(declared) == expected
    assert Column.of("a", declared).type == expected


@pytest.mark.parametrize(
    ("declared", "reason"),
    [
        ("time", "cannot read TIME"),
        ("blob", "fixed-length bytes"),
        ("bytes", "fixed-length bytes"),
        ("uuid", "fixed-length bytes"),
        ("fixed(16)", "fixed-length bytes"),
        ("hugeint", "128 bits"),
        ("bignumeric", "at most 38 digits"),
        ("decimal(39, 2)", "1 to 38 digits"),
        ("decimal(0)", "1 to 38 digits"),
        ("decimal(4, 5)", "no more of them decimals"),
        ("struct<a int>", "no type of StarRocks"),
        ("bigint[]", "no type of StarRocks"),
        ("", "no type of StarRocks"),
    ],
)
def test_types_that_starrocks_cannot_read(declared, reason):
    assert reason in refused(starrocks_type, declared)
    assert refused(Column.of, "spare", declared).startswith("column 'spare': ")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("bigint(20)", "bigint", True),
        ("int(11)", "int", True),
        ("tinyint(1)", "boolean", True),
        ("tinyint(4)", "boolean", False),
        ("decimal64(18,2)", "decimal(18, 2)", True),
        ("decimal128(38, 9)", "decimal(38, 9)", True),
        ("decimal(18, 2)", "decimal(18, 3)", False),
        ("varchar(65533)", "string", True),
        ("varchar(10)", "varchar(65533)", False),
        ("datetime", "date", False),
        ("bigint(20) unsigned", "bigint", False),
    ],
)
def test_spellings_of_information_schema(one, other, same):
    assert ddl.same_type(one, other) is ddl.same_type(other, one) is same


@pytest.mark.parametrize(
    ("found", "declared", "same"),
    [
        ("varchar(1048576)", "string", True),
        ("varchar(1073741824)", "varchar", True),
        ("int", "integer", True),
        ("bigint(20)", "bigint", True),
        ("DECIMAL64(18,2)", "decimal(18, 2)", True),
        ("varchar(1048576)", "decimal(18, 2)", False),
        ("decimal(18, 3)", "decimal(18, 2)", False),
        ("double", "bigint", False),
        ("tinyint(1)", "bigint", False),
    ],
)
def test_spellings_of_another_catalog(found, declared, same):
    assert ddl.same_family(found, starrocks_type(declared)) is same


# -- paths and formats ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "gs://lake/exports/orders/snapshot=7/",
        "s3://lake/exports/orders/",
        "file:///home/me/data/exports/orders/snapshot=7/",
        "file:///home/me/my%20data/orders/",
    ],
)
def test_paths_that_are_taken(path):
    assert f'"path" = "{path}"' in replace(TABLE, path=path).create()


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("", "must begin with"),
        ("/exports/orders/", "must begin with"),
        ("https://lake/exports/", "must begin with"),
        ("GS://lake/exports/", "must begin with"),
        ("gs:///exports/orders/", "a bucket"),
        ("file://host/exports/", "no host"),
        ("gs://lake/exports/orders", "ending in /"),
        ("gs://lake/exports/*/", "wildcards"),
        ("gs://lake/exports/a b/", "blanks"),
        ("gs://lake/exports/orders/?x=/", "wildcards"),
        ("gs://lake/", "lead to a folder"),
        ("gs://lake/exports/../bronze/", "without . and .."),
        ("gs://lake/bronze/trips/data/", "Iceberg"),
        ("gs://lake/bronze/trips/data/month=2023-01/", "Iceberg"),
        ("file:///lake/bronze/trips/metadata/", "Iceberg"),
        ("file:///lake/bronze/trips/d%61ta/", "Iceberg"),
    ],
)
def test_paths_that_are_not(path, reason):
    assert reason in refused(replace, TABLE, path=path)


@pytest.mark.parametrize("key", ["path", "format", "enable_recursive_listing"])
def test_properties_do_not_undo_the_declaration(key):
    assert "set by the declaration itself" in refused(replace, TABLE, properties={key: "csv"})
