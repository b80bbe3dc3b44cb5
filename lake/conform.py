"""How a file's columns become a table's columns: which fit as they are, which are cast, which are new.

What belongs here: the decision (`plan`) and the cast (`conform`), both pure. What does not: reading files.
Sources change types from one month to the next without notice; what can be cast without loss is cast,
anything else stops the load.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lake.errors import LakeError
from lake.iceberg import iceberg_type
from lake.spec import TableSpec

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class ColumnPlan:
    """One column of a file: its name there, its name and type in the table, and whether it must be rewritten
    to fit.
    """

    source: str
    name: str
    have: "pa.DataType"
    want: "pa.DataType"
    rewrite: bool


@dataclass(frozen=True)
class Plan:
    """What to do with a file's columns."""

    columns: tuple[ColumnPlan, ...]
    new: tuple[str, ...]
    missing: tuple[str, ...]
    untyped: tuple[str, ...]

    @property
    def as_is(self) -> bool:
        """Whether the file can be registered without being rewritten."""
        return not self.untyped and not any(c.rewrite for c in self.columns)

    @property
    def casts(self) -> tuple[str, ...]:
        """A line for each column that is cast."""
        return tuple(f"{c.source}: {c.have} → {c.want}" for c in self.columns if c.rewrite)


def _registers(have: "pa.DataType", want: "pa.DataType") -> bool:
    """Whether a Parquet column of type `have` may stand in a table column of type `want` as it is (legal
    promotions).
    """
    import pyarrow.types as pt

    text = (pt.is_string(have) or pt.is_large_string(have)) and pt.is_string(want)
    integers = pt.is_signed_integer(have) and pt.is_int64(want)
    floats = pt.is_floating(have) and not pt.is_float16(have) and pt.is_float64(want)
    return bool(have == want or text or integers or floats)


def _castable(have: "pa.DataType", want: "pa.DataType") -> bool:
    """Whether a cast is ever lossless: numbers to numbers, timestamps to timestamps, nulls to anything. Text
    is never guessed.
    """
    import pyarrow.types as pt

    def number(kind: "pa.DataType") -> bool:
        return bool(pt.is_integer(kind) or pt.is_floating(kind) or pt.is_decimal(kind))

    same_clock = pt.is_timestamp(have) and pt.is_timestamp(want) and bool(have.tz) == bool(want.tz)
    return bool(
        pt.is_null(have) or (number(have) and number(want)) or same_clock or (pt.is_date(have) and pt.is_date(want))
    )


def plan(spec: TableSpec, schema: "pa.Schema", known: Mapping[str, "pa.DataType"], source_object: str) -> Plan:
    """Match a file's schema to a table.

    Args:
        spec: the table's declaration.
        schema: the file's columns.
        known: columns that the table has gained beyond its declaration, with their types.
        source_object: the file's name, for messages.

    Raises:
        LakeError: a column has a type that no lossless cast reaches; two columns are one without case; a
            required column, one of the signature, or every declared one is missing.
    """
    import pyarrow.types as pt

    lowered = {name.lower(): (name, kind) for name, kind in known.items()}
    columns, new, untyped = [], [], []
    taken: dict[str, str] = {}  # name in lower case → the file's column
    for field in schema:
        declared = spec.match(field.name)
        if declared:
            name, want = declared, spec.columns[declared].arrow_type()
        elif field.name.lower() in lowered:
            name, want = lowered[field.name.lower()]
        elif pt.is_null(field.type):
            untyped.append(field.name)
            continue
        else:
            name, want = field.name, _storable(field, source_object)
            new.append(name)
        if name.lower() in taken:
            raise LakeError(
                f"{source_object}: columns {taken[name.lower()]} and {field.name} are both {spec.identifier}.{name}"
            )
        if name.lower() == (spec.partition_column or "").lower():
            raise LakeError(
                f"{source_object}: column {field.name} has the name of the partition column of {spec.identifier}"
            )
        taken[name.lower()] = field.name
        if not _registers(field.type, want) and not _castable(field.type, want):
            raise LakeError(f"{source_object}: column {field.name} is {field.type}, {spec.identifier} declares {want}")
        renamed = field.name.lower() != name.lower()
        columns.append(ColumnPlan(field.name, name, field.type, want, renamed or not _registers(field.type, want)))
    missing = tuple(name for name in spec.columns if name.lower() not in taken)
    _check_missing(spec, missing, schema, source_object)
    return Plan(tuple(columns), tuple(new), missing, tuple(untyped))


def _check_missing(spec: TableSpec, missing: Sequence[str], schema: "pa.Schema", source_object: str) -> None:
    """Refuse a file that lacks what makes it this table's."""
    if absent := [name for name in spec.signature if name in missing]:
        raise LakeError(
            f"{source_object}: is not a file of {spec.identifier}: it has no column {absent[0]}; "
            f"found {', '.join(schema.names)}"
        )
    if len(missing) == len(spec.columns):
        raise LakeError(
            f"{source_object}: has none of the columns of {spec.identifier}; found {', '.join(schema.names)}"
        )
    if required := [name for name in missing if spec.columns[name].required]:
        raise LakeError(f"{source_object}: column {required[0]} of {spec.identifier} is missing")


def _storable(field: "pa.Field", source_object: str) -> "pa.DataType":
    """The type in which a new column enters the table; an error that names it if there is none."""
    want = _widened(field.type)
    try:
        iceberg_type(want)
    except LakeError as error:
        raise LakeError(f"{source_object}: column {field.name}: {error}") from None
    return want


def _widened(kind: "pa.DataType") -> "pa.DataType":
    """The type in which a new column enters the table: sources drift between widths, so the widest."""
    import pyarrow as pa
    import pyarrow.types as pt

    if pt.is_integer(kind):
        return pa.int64()
    if pt.is_floating(kind):
        return pa.float64()
    if pt.is_timestamp(kind):
        return pa.timestamp("us", kind.tz)
    return pa.string() if pt.is_large_string(kind) else kind


def conform(batch: "pa.Table", plan: Plan, source_object: str) -> "pa.Table":
    """`batch` with the plan's names and types.

    Raises:
        LakeError: a value would change in the cast (a fraction in a column of whole numbers, say).
    """
    import pyarrow as pa

    arrays = []
    for column in plan.columns:
        array = batch.column(column.source)
        try:
            arrays.append(array.cast(column.want, safe=True))
        except pa.ArrowInvalid as error:
            reason = str(error).splitlines()[0]
            raise LakeError(f"{source_object}: column {column.source} cannot become {column.want}: {reason}") from error
    return pa.table(arrays, schema=pa.schema([pa.field(c.name, c.want) for c in plan.columns]))
