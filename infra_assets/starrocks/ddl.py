"""StarRocks' statements, built from declarations: external tables, catalogs, views, materialised views.

What belongs here: the declarations as frozen dataclasses, what StarRocks allows in them, and the text of the
statements. What does not: whether one is needed (`plan`), and sending it (`client`). Nothing here does I/O.

Each declaration has a hash of all that matters in it, carried at the end of the object's comment: StarRocks'
`IF NOT EXISTS` keeps an old object without a word, so what is there is told from what is wanted by its hash.

StarRocks' parser differs from MySQL's: it drops every back-tick of a quoted name, so that one cannot be
escaped, and it wants a table's COMMENT before its PROPERTIES.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, Self
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from lake.errors import LakeError

OWN_CATALOG = "default_catalog"  # the only one whose objects are ever dropped
FORMAT = "parquet"  # lower case: StarRocks looks it up as it is written
STRING = "varchar(65533)"  # what StarRocks makes of STRING
MAX_DECIMAL = 38
COMMENT_LENGTH = 1024
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
COLUMN_NAME = re.compile(r"[^\x00-\x1f\x7f`=<>!*]{1,1024}")
TYPE = re.compile(r"([a-z][a-z0-9_ ]*?)\s*(?:\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\))?")
MARK = re.compile(r"\[lakegraph:([0-9a-f]{12})\]")
# Properties whose values anybody may read; all others are secrets, for StarRocks has more of those than a list would.
OPEN_KEY = re.compile(
    r"(?:.+\.)?(?:type|uri|server-uri|warehouse|security|endpoint|region|storage_account|container|"
    r"service_account_email|(?:use|enable)_\w+)|\w+_(?:enable|ttl_sec)",
)
HIDDEN = "***"
SCHEMES = ("gs", "s3", "file")
ICEBERG_FOLDERS = ("data", "metadata")
GCS_KEYS = "gcp.gcs."
GCS_OWN_ACCOUNT = "gcp.gcs.use_compute_engine_service_account"
TABLE_KEYS = ("path", "format", "enable_recursive_listing")
ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})

Properties = Mapping[str, str | SecretStr]

# Whole numbers are all BIGINT: BigQuery's have 64 bits whatever they are called, and StarRocks would cut them without
# a word; files with 32 bits are widened.
TYPES: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("bigint", "int64", "long", "integer", "int", "int32", "smallint", "tinyint"), "bigint"),
        **dict.fromkeys(("string", "varchar", "text", "char"), STRING),
        **dict.fromkeys(("double", "float64", "float8", "double precision"), "double"),
        **dict.fromkeys(("real", "float", "float4", "float32"), "float"),
        **dict.fromkeys(("boolean", "bool"), "boolean"),
        **dict.fromkeys(("timestamp", "datetime", "timestamptz", "timestamp with time zone"), "datetime"),
        "date": "date",
    }
)
DECIMALS = ("decimal", "numeric")
NO_PRECISION = "decimal(38, 9)"  # BigQuery's NUMERIC; contracts on DuckDB say theirs
REFUSED: Mapping[str, str] = MappingProxyType(
    {
        "time": "StarRocks cannot read TIME from files; make it text or seconds",
        "hugeint": f"a decimal has at most {MAX_DECIMAL} digits, and no column of files has 128 bits; cast it",
        **dict.fromkeys(("bignumeric", "bigdecimal"), f"a decimal has at most {MAX_DECIMAL} digits; cast it"),
        **dict.fromkeys(
            ("blob", "bytes", "binary", "varbinary", "bytea", "uuid", "fixed"),
            "StarRocks cannot read fixed-length bytes from files, and no chart shows others; make it text",
        ),
    }
)


class DeclarationError(LakeError):
    """A declaration that StarRocks would refuse, or would take for something else."""


def starrocks_type(data_type: str) -> str:
    """StarRocks' type for a column of Parquet that our contracts call `data_type`.

    Args:
        data_type: as in dbt's `data_type`, of DuckDB or BigQuery: `decimal(18, 2)`, `int64`, …

    Raises:
        DeclarationError: there is none; says why.
    """
    text = " ".join(data_type.lower().split())
    match = TYPE.fullmatch(text)
    name = match[1] if match else text
    if name in REFUSED:
        raise DeclarationError(f"{data_type}: {REFUSED[name]}")
    if match and name in DECIMALS:
        return _decimal(data_type, match[2], match[3])
    if match is None or name not in TYPES:
        raise DeclarationError(f"{data_type}: no type of StarRocks is declared for it")
    return TYPES[name]


def _decimal(data_type: str, precision: str | None, scale: str | None) -> str:
    if precision is None:
        return NO_PRECISION
    digits, decimals = int(precision), int(scale or 0)
    if not 1 <= digits <= MAX_DECIMAL or decimals > digits:
        raise DeclarationError(f"{data_type}: a decimal has 1 to {MAX_DECIMAL} digits, and no more of them decimals")
    return f"decimal({digits}, {decimals})"


def same_type(one: str, other: str) -> bool:
    """Whether two spellings are one type: `information_schema` has widths and storage sizes of its own."""
    return _plain_type(one) == _plain_type(other)


def _plain_type(text: str) -> str:
    plain = re.sub(r"\s+", "", text.lower())
    plain = re.sub(r"^(?:decimal|decimalv2|numeric)(?:32|64|128|256)?(?=\(|$)", "decimal", plain)
    if plain in {"tinyint(1)", "bool"}:  # what it calls BOOLEAN
        return "boolean"
    if plain in {"string", "varchar"}:
        return STRING
    return re.sub(r"^(tinyint|smallint|int|bigint|largeint)\(\d+\)$", r"\1", plain)


def same_family(one: str, other: str) -> bool:
    """As `same_type`, for a column of another catalog: texts have other lengths there, and whole numbers may be
    shorter, all of which our contracts call BIGINT.
    """
    return _family(one) == _family(other)


def _family(text: str) -> str:
    plain = _plain_type(text)
    if re.fullmatch(r"(?:var)?char\(\d+\)", plain):
        return STRING
    return "bigint" if plain in {"tinyint", "smallint", "int"} else plain


def identifier(name: str, what: str = "name") -> str:
    """`name` in back-ticks, for a database, table, view or catalog.

    Raises:
        DeclarationError: StarRocks does not allow it: 1 to 64 letters, digits and underscores, a letter first.
    """
    if not NAME.fullmatch(name):
        raise DeclarationError(
            f"{what} {name!r}: must be 1 to 64 letters, digits and underscores, and begin with a letter"
        )
    return f"`{name}`"


def column_identifier(name: str) -> str:
    """`name` in back-ticks, for a column.

    Raises:
        DeclarationError: StarRocks does not allow it. A back-tick is refused too: its parser drops each one, also
            one that is doubled, and would make a column of another name.
    """
    if not COLUMN_NAME.fullmatch(name) or name.strip() != name:
        raise DeclarationError(
            f"column {name!r}: must be 1 to 1024 characters, none of them a back-tick, a control character or one of "
            "=<>!*, and no blank at either end"
        )
    return f"`{name}`"


def literal(text: str) -> str:
    """`text` as a string in double quotes.

    Raises:
        DeclarationError: it holds a character that no comment or property needs: NUL.
    """
    if "\x00" in text:
        raise DeclarationError("a string with a NUL character cannot be written")
    return f'"{escaped(text)}"'


def escaped(text: str) -> str:
    """`text` as it stands between the quotes."""
    return text.translate(ESCAPES)


def qualified(*names: str) -> str:
    """Names in back-ticks, with dots between them."""
    return ".".join(identifier(name) for name in names)


def check_path(path: str) -> str:
    """`path` as given, if a table of files may be over it.

    Raises:
        DeclarationError: it is no folder (`…/`) on gs://, s3:// or file://, it holds wildcards, or it is the folder of
            an Iceberg table, where files of old snapshots lie beside those of the current one.
    """
    parts = urlsplit(path)
    if not path.startswith(tuple(f"{scheme}://" for scheme in SCHEMES)):
        raise DeclarationError(f"path {path!r}: must begin with {', '.join(f'{s}://' for s in SCHEMES)}")
    if (parts.scheme == "file") != (not parts.netloc):
        raise DeclarationError(f"path {path!r}: must name {'no host' if parts.scheme == 'file' else 'a bucket'}")
    if not path.endswith("/") or re.search(r"[*?#\[\]{}\s\x00]", path):
        raise DeclarationError(f"path {path!r}: must be a folder, ending in /, without wildcards and blanks")
    folders = [folder for folder in unquote(parts.path).split("/") if folder]
    if not folders or {".", ".."} & set(folders):
        raise DeclarationError(f"path {path!r}: must lead to a folder, without . and ..")
    named = [folder for folder in folders if "=" not in folder]  # partitions of an Iceberg table are below data/
    if named and named[-1] in ICEBERG_FOLDERS:
        raise DeclarationError(
            f"path {path!r}: looks like an Iceberg table's {named[-1]}/, which holds files of old snapshots too; "
            "export the table, or use a catalog"
        )
    return path


@dataclass(frozen=True)
class Column:
    """A column: its name as in the files, matched without case; StarRocks' type; a comment."""

    name: str
    type: str
    comment: str = ""

    @classmethod
    def of(cls, name: str, data_type: str, comment: str = "") -> Self:
        """The column that a contract of ours declares; `data_type` as in `starrocks_type`."""
        try:
            return cls(name, starrocks_type(data_type), comment)
        except DeclarationError as error:
            raise DeclarationError(f"column {name!r}: {error}") from None


@dataclass(frozen=True)
class _Declared:
    """What every declaration has: a kind, its hash, and a comment that carries it."""

    kind: ClassVar[str]

    def __post_init__(self) -> None:
        self.create()  # what it refuses, refuse now

    def _content(self) -> Mapping[str, Any]:
        """All that matters; a secret matters by its key alone, for a hash of a weak one would give it away."""
        raise NotImplementedError

    def create(self, *, reveal: bool = False) -> str:
        """The statement that makes it.

        Args:
            reveal: write secrets out; else they are shown as ***.
        """
        raise NotImplementedError

    @property
    def hash(self) -> str:
        """Twelve hex digits that change with anything that matters."""
        text = json.dumps({"kind": self.kind, **self._content()}, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def _comment(self, text: str) -> str:
        return literal(marked(text, self.hash))


def marked(comment: str, digest: str) -> str:
    """`comment`, shortened if it is long, with the hash at its end."""
    mark = f"[lakegraph:{digest}]"
    room = COMMENT_LENGTH - len(mark) - 1
    text = comment if len(comment) <= room else f"{comment[: room - 1]}…"
    return f"{text} {mark}".lstrip()


def hash_of(comment: str) -> str | None:
    """The hash that a comment carries; None: the object is not ours."""
    found = MARK.findall(comment)
    return found[-1] if found else None


def secrets_of(properties: Properties) -> tuple[SecretStr, ...]:
    """The secrets among the values."""
    return tuple(value for value in properties.values() if isinstance(value, SecretStr))


def _checked(properties: Properties, taken: Sequence[str]) -> Properties:
    for key, value in properties.items():
        if key in taken:
            raise DeclarationError(f"property {key!r} is set by the declaration itself")
        if isinstance(value, str) and not OPEN_KEY.fullmatch(key):
            raise DeclarationError(f"property {key!r} may hold a secret: give it as one, or it ends up in logs")
    return properties


def _shown(value: str | SecretStr, *, reveal: bool) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value() if reveal else HIDDEN
    return value


def _hashed(properties: Properties) -> Mapping[str, str]:
    return {key: _shown(value, reveal=False) for key, value in properties.items()}


def _property_list(properties: Properties, *, reveal: bool) -> str:
    lines = ",\n".join(
        f"  {literal(key)} = {literal(_shown(value, reveal=reveal))}" for key, value in properties.items()
    )
    return f"PROPERTIES (\n{lines}\n)"


def _unique(columns: Sequence[Column], owner: str) -> Sequence[Column]:
    names = [column.name.lower() for column in columns]
    if not names or len(set(names)) != len(names):
        raise DeclarationError(f"{owner}: must have columns, and none twice; case does not tell them apart")
    return columns


@dataclass(frozen=True)
class ExternalTable(_Declared):
    """A table over the Parquet files below a folder: mode `file`.

    Attributes:
        database: of `default_catalog`; StarRocks allows tables of files nowhere else.
        name: the table.
        columns: all of them may be null: StarRocks reads one that a file lacks as null, and can fill no other.
        path: see `check_path`; files in folders below are read too.
        comment: what the table is, in a sentence.
        properties: access to the store, if it is not the machine's own account; secrets as `SecretStr`.
    """

    kind: ClassVar[str] = "table"

    database: str
    name: str
    columns: tuple[Column, ...]
    path: str
    comment: str = ""
    properties: Properties = field(default_factory=dict)

    def _content(self) -> Mapping[str, Any]:
        return {
            "columns": [[column.name, column.type, column.comment] for column in self.columns],
            "comment": self.comment,
            "properties": _hashed(self._all_properties()),
        }

    def _all_properties(self) -> Properties:
        properties = _checked(self.properties, TABLE_KEYS)
        path = check_path(self.path)
        access: dict[str, str | SecretStr] = {}
        if path.startswith("gs://") and not any(key.startswith(GCS_KEYS) for key in properties):
            access[GCS_OWN_ACCOUNT] = "true"
        values = (path, FORMAT, "true")
        return {**dict(zip(TABLE_KEYS, values, strict=True)), **access, **dict(sorted(properties.items()))}

    def create(self, *, reveal: bool = False) -> str:
        """`CREATE EXTERNAL TABLE IF NOT EXISTS …`."""
        owner = qualified(self.database, self.name)
        columns = ",\n".join(_column(column) for column in _unique(self.columns, owner))
        return (
            f"CREATE EXTERNAL TABLE IF NOT EXISTS {owner} (\n{columns}\n)\n"
            f"ENGINE=file\nCOMMENT {self._comment(self.comment)}\n"
            f"{_property_list(self._all_properties(), reveal=reveal)}"
        )

    def refresh(self) -> str:
        """`REFRESH EXTERNAL TABLE …`: forget what is cached of the files."""
        return f"REFRESH EXTERNAL TABLE {qualified(self.database, self.name)}"


def _column(column: Column) -> str:
    if not re.fullmatch(r"[a-z]+(\(\d+(, ?\d+)?\))?", column.type):
        raise DeclarationError(f"column {column.name!r}: {column.type!r} is no type of StarRocks")
    comment = f" COMMENT {literal(column.comment)}" if column.comment else ""
    return f"  {column_identifier(column.name)} {column.type} NULL{comment}"


@dataclass(frozen=True)
class Catalog(_Declared):
    """An external catalog of Iceberg tables behind a REST service: mode `iceberg_catalog`.

    Attributes:
        name: the catalog.
        uri: of the REST service.
        warehouse: what the service calls the warehouse; None: its default.
        comment: what it is, in a sentence.
        properties: access to service and store; secrets as `SecretStr`.
    """

    kind: ClassVar[str] = "catalog"

    name: str
    uri: str
    warehouse: str | None = None
    comment: str = ""
    properties: Properties = field(default_factory=dict)

    def _content(self) -> Mapping[str, Any]:
        return {"comment": self.comment, "properties": _hashed(self._all_properties())}

    def _all_properties(self) -> Properties:
        fixed = {
            "type": "iceberg",
            "iceberg.catalog.type": "rest",
            "iceberg.catalog.uri": self.uri,
            **({"iceberg.catalog.warehouse": self.warehouse} if self.warehouse else {}),
            "iceberg_table_cache_ttl_sec": "0",  # else a new snapshot is seen when the cache's time is over
        }
        return {**fixed, **dict(sorted(_checked(self.properties, tuple(fixed)).items()))}

    def create(self, *, reveal: bool = False) -> str:
        """`CREATE EXTERNAL CATALOG IF NOT EXISTS …`."""
        if self.name.lower() == OWN_CATALOG:
            raise DeclarationError(f"catalog {self.name!r}: is StarRocks' own")
        return (
            f"CREATE EXTERNAL CATALOG IF NOT EXISTS {identifier(self.name, 'catalog')}\n"
            f"COMMENT {self._comment(self.comment)}\n{_property_list(self._all_properties(), reveal=reveal)}"
        )


@dataclass(frozen=True)
class Source:
    """What a view is over: a table or view of a catalog."""

    database: str
    name: str
    catalog: str = OWN_CATALOG

    @property
    def sql(self) -> str:
        """It as SQL names it."""
        return qualified(self.catalog, self.database, self.name)

    def refresh(self) -> str:
        """`REFRESH EXTERNAL TABLE …`: forget what is known of its snapshot and its columns."""
        return f"REFRESH EXTERNAL TABLE {self.sql}"


@dataclass(frozen=True)
class View(_Declared):
    """A name for readers that stays while what is behind it is made anew.

    Attributes:
        database: where readers look: `bi`.
        name: the view.
        columns: what it shows of its source, in this order; their types are the source's.
        source: the table that it is over.
        comment: what it is, in a sentence.
    """

    kind: ClassVar[str] = "view"

    database: str
    name: str
    columns: tuple[Column, ...]
    source: Source
    comment: str = ""

    def _content(self) -> Mapping[str, Any]:
        columns = [[column.name, column.comment] for column in self.columns]
        return {"columns": columns, "source": self.source.sql, "comment": self.comment}

    def create(self, *, reveal: bool = False) -> str:  # noqa: ARG002 - there is nothing to reveal
        """`CREATE OR REPLACE VIEW …`."""
        owner = qualified(self.database, self.name)
        columns = _unique(self.columns, owner)
        heads = ",\n".join(
            f"  {column_identifier(c.name)}{f' COMMENT {literal(c.comment)}' if c.comment else ''}" for c in columns
        )
        return (
            f"CREATE OR REPLACE VIEW {owner} (\n{heads}\n)\nCOMMENT {self._comment(self.comment)}\nAS\n"
            f"{_select(columns, self.source)}"
        )


def _select(columns: Sequence[Column], source: Source) -> str:
    return f"SELECT {', '.join(column_identifier(column.name) for column in columns)}\nFROM {source.sql}"


@dataclass(frozen=True)
class MaterialisedView(_Declared):
    """A copy of a catalog's table in StarRocks' own storage, made anew when told to.

    Attributes:
        database: of `default_catalog`.
        name: the materialised view.
        columns: see `View`.
        source: the table that it copies; not one of files, over which StarRocks allows none.
        distributed_by: the column by which its rows are spread over the machines.
        comment: what it is, in a sentence.
    """

    kind: ClassVar[str] = "materialised view"

    database: str
    name: str
    columns: tuple[Column, ...]
    source: Source
    distributed_by: str
    comment: str = ""

    def _content(self) -> Mapping[str, Any]:
        columns = [[column.name, column.comment] for column in self.columns]
        source, spread = self.source.sql, self.distributed_by
        return {"columns": columns, "source": source, "spread": spread, "comment": self.comment}

    def create(self, *, reveal: bool = False) -> str:  # noqa: ARG002 - there is nothing to reveal
        """`CREATE MATERIALIZED VIEW IF NOT EXISTS …`."""
        owner = qualified(self.database, self.name)
        if self.source.catalog == OWN_CATALOG:
            raise DeclarationError(f"{owner}: StarRocks allows no materialised view over a table of files")
        columns = _unique(self.columns, owner)
        if self.distributed_by not in [column.name for column in columns]:
            raise DeclarationError(f"{owner}: has no column {self.distributed_by!r} to be distributed by")
        return (
            f"CREATE MATERIALIZED VIEW IF NOT EXISTS {owner}\nCOMMENT {self._comment(self.comment)}\n"
            f"DISTRIBUTED BY HASH({column_identifier(self.distributed_by)})\nREFRESH DEFERRED MANUAL\nAS\n"
            f"{_select(columns, self.source)}"
        )

    def refresh(self) -> str:
        """`REFRESH MATERIALIZED VIEW … WITH SYNC MODE`: returns when the copy is made."""
        return f"REFRESH MATERIALIZED VIEW {qualified(self.database, self.name)} WITH SYNC MODE"


Declared = ExternalTable | Catalog | View | MaterialisedView


def create_database(name: str) -> str:
    """`CREATE DATABASE IF NOT EXISTS …`."""
    return f"CREATE DATABASE IF NOT EXISTS {identifier(name, 'database')}"


def drop(kind: str, database: str, name: str, catalog: str = OWN_CATALOG) -> str:
    """`DROP … IF EXISTS …` of an object of this kind, without FORCE: StarRocks keeps a table in its bin for a day.

    Raises:
        DeclarationError: the catalog is not StarRocks' own: there the files would go with the table.
    """
    if catalog != OWN_CATALOG:
        raise DeclarationError(
            f"{catalog}.{database}.{name}: nothing outside {OWN_CATALOG} is ever dropped: its files would go with it"
        )
    return f"DROP {_DROPPED[kind]} IF EXISTS {qualified(catalog, database, name)}"


_DROPPED: Mapping[str, str] = MappingProxyType(
    {ExternalTable.kind: "TABLE", View.kind: "VIEW", MaterialisedView.kind: "MATERIALIZED VIEW"}
)


def replace(
    declared: ExternalTable | View | MaterialisedView, there: str | None = None, *, reveal: bool = False
) -> tuple[str, ...]:
    """The statements that put it in the place of an older one of ours; a view takes that of a view without a drop.

    Args:
        declared: what is wanted.
        there: the kind of the older one; None: the same.
        reveal: write secrets out.
    """
    there = there or declared.kind
    dropped = () if there == declared.kind == View.kind else (drop(there, declared.database, declared.name),)
    return (*dropped, declared.create(reveal=reveal))
