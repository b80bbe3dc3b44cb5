"""CSV files with a header line, read in batches as text, with what is wrong in them set aside.

What belongs here: the outer form (gzip, byte order mark, quoted newlines, the header repeated inside, rows with a wrong
number of fields). What does not: what the columns mean, and where the file came from.

A row's ordinal is its place in the file: the header line is 0, repeated header lines count, empty lines do not.
"""

import codecs
import gzip
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from dlt_sources.files import Fetched
from lake.errors import LakeError
from lake.quarantine import rejected_schema

if TYPE_CHECKING:
    import pyarrow as pa

BLOCK = 1 << 23  # a batch is about as long; no row may be longer
HEAD = 1 << 16
GZIP_MAGIC = b"\x1f\x8b"
WEB_PAGE = (b"<!doctype", b"<html", b"<?xml", b"<error")
BOM = "\ufeff"


@dataclass(frozen=True)
class CsvBatch:
    """Rows of a file that stand one after the other.

    Attributes:
        rows: those with as many fields as the header, all columns as text.
        ordinals: of `rows`.
        ragged: the others, as rejected rows.
    """

    rows: "pa.Table"
    ordinals: "pa.Array"
    ragged: "pa.Table"

    @property
    def rows_read(self) -> int:
        """Rows of both kinds."""
        return int(self.rows.num_rows + self.ragged.num_rows)


def read_csv(file: Fetched, run_id: str) -> Iterator[CsvBatch]:
    """The rows of a CSV file, gzipped or not; at least one batch, so that its columns are known.

    Args:
        file: the file.
        run_id: for the rejected rows.

    Raises:
        LakeError: the file is empty, a web page, a truncated or damaged gzip file, not text in UTF-8, or its header
            names a column twice.
    """
    import pyarrow as pa
    from pyarrow import csv

    names, has_rows = _header(file)
    ragged = _Ragged(file.url, run_id)
    empty = pa.schema([(name, pa.string()) for name in names]).empty_table()
    if not has_rows:
        yield CsvBatch(empty, pa.array([], pa.int64()), ragged.take())
        return
    following, yielded = 1, False
    try:
        with pa.input_stream(str(file.path), compression="gzip" if _is_gzip(file) else None) as stream:
            reader = csv.open_csv(
                stream,
                read_options=csv.ReadOptions(use_threads=False, block_size=BLOCK),  # ordinals need one thread
                parse_options=csv.ParseOptions(newlines_in_values=True, invalid_row_handler=ragged.keep),
                convert_options=csv.ConvertOptions(
                    column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
                ),
            )
            if reader.schema.names != names:
                raise LakeError(f"{file.url}: cannot be read as CSV: its header is not one line")
            for batch in reader:
                rows = pa.Table.from_batches([batch])
                ordinals = pa.array(islice(ragged.others(following), rows.num_rows), pa.int64())
                following = ordinals[-1].as_py() + 1 if rows.num_rows else following
                data, yielded = _data(rows, names), True
                yield CsvBatch(rows.filter(data), ordinals.filter(data), ragged.take())
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise LakeError(f"{file.url}: cannot be read as CSV: {str(error).splitlines()[0]}") from error
    except OSError as error:
        raise LakeError(f"{file.url}: the gzip file is damaged: {str(error).splitlines()[0]}") from error
    if not yielded or ragged.pending:
        yield CsvBatch(empty, pa.array([], pa.int64()), ragged.take())


class EmptyFileError(LakeError):
    """A file without so much as a header."""


class _Ragged:
    """The rows with a wrong number of fields, as the parser finds them."""

    def __init__(self, url: str, run_id: str) -> None:
        self._url, self._run_id = url, run_id
        self._ordinals: set[int] = set()
        self._rows: list[dict[str, Any]] = []

    def keep(self, row: Any) -> str:
        """What pyarrow calls for each of them."""
        ordinal = row.number - 1  # pyarrow's header is row 1
        self._ordinals.add(ordinal)
        self._rows.append(
            {
                "reject_reason": f"ragged_row: {row.actual_columns} fields, {row.expected_columns} expected",
                "source_object": self._url,
                "row_ordinal": ordinal,
                "run_id": self._run_id,
                "raw_row": json.dumps(row.text, ensure_ascii=False),
            }
        )
        return "skip"

    def others(self, first: int) -> Iterator[int]:
        """Ordinals from `first` on that none of them has."""
        ordinal = first
        while True:
            if ordinal not in self._ordinals:
                yield ordinal
            ordinal += 1

    @property
    def pending(self) -> bool:
        """Whether any was found since the last time that they were taken."""
        return bool(self._rows)

    def take(self) -> "pa.Table":
        """Those found since the last time, as rejected rows."""
        import pyarrow as pa

        rows, self._rows = self._rows, []
        return pa.Table.from_pylist(rows, schema=rejected_schema())


def _is_gzip(file: Fetched) -> bool:
    """By its first bytes; a name says less, for some servers and tools unpack on the way."""
    with file.path.open("rb") as stream:
        return stream.read(len(GZIP_MAGIC)) == GZIP_MAGIC


def _header(file: Fetched) -> tuple[list[str], bool]:
    """The names in the header line, and whether anything follows it."""
    import pyarrow as pa
    from pyarrow import csv

    if file.bytes == 0:
        raise EmptyFileError(f"{file.url}: the file is empty (0 bytes)")
    head = _head(file)
    if not head:
        raise EmptyFileError(f"{file.url}: there is nothing in the gzip file")
    head = head.removeprefix(codecs.BOM_UTF8).lstrip()
    if head.lower().startswith(WEB_PAGE):
        raise LakeError(f"{file.url}: is a web page, not a CSV file")
    line = next(iter(head.splitlines()), b"")
    more = len(head) > HEAD // 2  # then the file may go on after it
    if more and line == head:
        raise LakeError(f"{file.url}: cannot be read as CSV: no line ends within the first {len(head):,} bytes")
    try:
        names = csv.read_csv(pa.py_buffer(line + b"\n")).column_names
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise LakeError(f"{file.url}: cannot be read as CSV: {str(error).splitlines()[0]}") from error
    lowered = [name.lower() for name in names]
    if twice := next((name for name in names if lowered.count(name.lower()) > 1), None):
        raise LakeError(f"{file.url}: the header names the column {twice!r} twice")
    return names, more or bool(head[len(line) :].strip())


def _head(file: Fetched) -> bytes:
    opened = gzip.open if _is_gzip(file) else open
    try:
        with opened(file.path, "rb") as stream:
            return bytes(stream.read(HEAD))
    except (OSError, EOFError, zlib.error) as error:
        raise LakeError(f"{file.url}: the gzip file is damaged: {str(error).splitlines()[0]}") from error


def _data(rows: "pa.Table", names: list[str]) -> "pa.Array":
    """Which of `rows` are no header lines. Where files were joined, a header may bring its byte order mark along."""
    import pyarrow.compute as pc

    header = pc.equal(pc.utf8_ltrim(rows[names[0]], BOM), names[0])
    if pc.any(header).as_py():
        for name in names[1:]:
            header = pc.and_(header, pc.equal(rows[name], name))
    return pc.invert(header).combine_chunks()
