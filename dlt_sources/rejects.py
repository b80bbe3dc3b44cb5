"""Rejected rows on their way through dlt.

What belongs here: handing the rows that a source rejects to the table beside its own. What does not: which rows those
are (`lake.quarantine`).
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa


def with_rejected(name: str, tables: Sequence["pa.Table"]) -> Iterator[Any]:
    """The rejected rows as dlt items for the table `name`; nothing if there are none."""
    import dlt
    import pyarrow as pa

    rejected = pa.concat_tables(tables)
    if rejected.num_rows:
        # no columns: the hints for those of the table beside it are not for these
        yield dlt.mark.with_hints(rejected, dlt.mark.make_hints(table_name=name, columns={}), create_table_variant=True)
