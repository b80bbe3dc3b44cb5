"""What a bronze table is: its columns, their types, its partition, the rules a row must keep. Data, not code.

What belongs here: the frozen `TableSpec` and its mapping to Arrow types. What does not: how a source is read
(`dlt_sources`), and where the table sits in the graph (`orchestration/components`). A spec is written in YAML,
validated here, and usable from a notebook: `TableSpec.model_validate(yaml.safe_load(...))`.
"""

import hashlib
import re
from typing import TYPE_CHECKING, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

if TYPE_CHECKING:
    import pyarrow as pa

IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,127}")
DECIMAL = re.compile(r"decimal\((\d+),\s*(\d+)\)")
SCALARS = ("boolean", "long", "double", "string", "date", "timestamp", "timestamptz")
REJECTED_SUFFIX = "__rejected"

LoadMode = Literal["replace_partition", "replace", "append"]
Storage = Literal["warehouse", "lake"]
PartitionUnit = Literal["day", "month"]


class Column(BaseModel):
    """One declared column. `type` is an Iceberg name: long, double, string, boolean, date, timestamp(tz),
    decimal(p,s).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: str
    description: str = ""
    source: str | None = Field(None, description="The column's name in the source, where it differs.")
    required: bool = Field(False, description="A row in which it is null is rejected.")

    @field_validator("type")
    @classmethod
    def _known_type(cls, value: str) -> str:
        if value not in SCALARS and not DECIMAL.fullmatch(value):
            raise ValueError(f"unknown type {value!r}; one of {', '.join(SCALARS)}, decimal(p,s)")
        return value

    def arrow_type(self) -> "pa.DataType":
        """The Arrow type in which the column is loaded; timestamps are in microseconds."""
        import pyarrow as pa

        if match := DECIMAL.fullmatch(self.type):
            return pa.decimal128(int(match[1]), int(match[2]))
        return {
            "boolean": pa.bool_(),
            "long": pa.int64(),
            "double": pa.float64(),
            "string": pa.string(),
            "date": pa.date32(),
            "timestamp": pa.timestamp("us"),
            "timestamptz": pa.timestamp("us", "UTC"),
        }[self.type]


class TableSpec(BaseModel):
    """One bronze table: `bronze.<domain>_<name>`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    domain: str
    name: str
    description: str
    columns: dict[str, Column]
    mode: LoadMode = Field(
        "replace",
        description="What a load replaces: its partition, or the whole table. `append` replaces nothing: rows whose "
        "identity the table does not hold yet join it.",
    )
    partition_column: str | None = Field(
        None,
        description="Date column: which load a row came with, or (append) the day the source (S3: its object) changed.",
    )
    partition_by: PartitionUnit = Field(
        "day",
        description="For `append`: whether the partition is that day, or (few rows a day) the first of its month.",
    )
    identity: list[str] = Field(
        default_factory=list, description="For `append`: columns that together with the partition make a row the same."
    )
    key: list[str] = Field(
        default_factory=list,
        description="For `append`: columns that name a row of the source, whichever version of it; with them the table "
        "can be refreshed from the whole source.",
    )
    refresh_keeps: float = Field(
        0.5, description="A full refresh that brings a smaller share of the rows held (by key) is refused."
    )
    storage: Storage = Field(
        "warehouse", description="In the cloud: a BigQuery table, or Parquet in GCS under a BigLake table."
    )
    cluster_by: list[str] = Field(
        default_factory=list, description="In the cloud: up to four columns that a BigQuery table is sorted by."
    )
    unique: list[str] = Field(
        default_factory=list, description="Columns whose values must not occur twice in one load."
    )

    signature: list[str] = Field(
        default_factory=list, description="Columns by which a file is known to be this table's; one without is refused."
    )

    @field_validator("domain", "name")
    @classmethod
    def _identifier(cls, value: str) -> str:
        if not IDENTIFIER.fullmatch(value):
            raise ValueError(f"{value!r} is not an identifier ({IDENTIFIER.pattern})")
        return value

    @field_validator("refresh_keeps")
    @classmethod
    def _share(cls, value: float) -> float:
        if not 0 <= value <= 1:
            raise ValueError("is a share, from 0 to 1")
        return value

    @field_validator("columns")
    @classmethod
    def _column_names(cls, value: dict[str, Column]) -> dict[str, Column]:
        lowered = [name.lower() for name in value]
        if len(set(lowered)) < len(lowered):
            raise ValueError("two columns differ only in case")
        if bad := [name for name in value if not IDENTIFIER.fullmatch(name)]:
            raise ValueError(f"not identifiers: {', '.join(bad)}")
        return value

    @model_validator(mode="after")
    def _appended_by_identity(self) -> Self:
        if (self.mode == "append") != bool(self.identity):
            raise ValueError("mode: append and identity go together")
        if self.mode == "append" and not self.partition_column:
            raise ValueError("mode: append needs a partition_column: only partitions it touches are compared")
        if self.mode == "append" and self.storage == "lake":
            raise ValueError("mode: append needs storage: warehouse, for a partition in GCS is one object")
        if unknown := [name for name in self.identity if name not in self.columns]:
            raise ValueError(f"identity names unknown columns: {', '.join(unknown)}")
        if outside := [name for name in self.key if name not in self.identity]:
            raise ValueError(f"key names columns that are not of the identity: {', '.join(outside)}")
        return self

    @property
    def table(self) -> str:
        """The table's name inside its layer: `<domain>_<name>`."""
        return f"{self.domain}_{self.name}"

    @property
    def rejected_table(self) -> str:
        """Where rows that break a rule go."""
        return self.table + REJECTED_SUFFIX

    @property
    def identifier(self) -> str:
        """The table's full name: `bronze.<domain>_<name>`."""
        return f"bronze.{self.table}"

    def fingerprint(self) -> str:
        """A digest of what decides the stored bytes: names, types, rules. A load under another fingerprint is
        another load.
        """
        stored = self.model_dump_json(include={"columns", "mode", "partition_column", "unique"})
        return hashlib.sha256(stored.encode()).hexdigest()[:16]

    def match(self, name: str) -> str | None:
        """The declared column that the source's column `name` fills, compared without case; None if it is
        new.
        """
        wanted = name.lower()
        return next((c for c, col in self.columns.items() if wanted in {c.lower(), (col.source or c).lower()}), None)

    def arrow_schema(self) -> "pa.Schema":
        """The declared columns in order, without the partition column."""
        import pyarrow as pa

        return pa.schema([pa.field(name, column.arrow_type()) for name, column in self.columns.items()])
