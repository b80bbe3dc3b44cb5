"""What a workbook's file must be before a parser sees it: a whole .xlsx of bearable size that is no zip bomb.

What belongs here: limits, the outer form, and what the parts of the file tell of cells that the parser does not: merged
ranges, values that it has none for, how far a sheet reaches, which calendar its dates count by. What does not: the
cells' content.

Nothing is believed that costs memory if it is a lie. The directory of the zip must fit the file (members that overlap
are the trick of the worst bombs: https://www.bamsoftware.com/hacks/zipbomb/), then each member is unpacked once in
pieces, against the size that the directory gives it. A sheet with one cell at each end is small as a file, and a table
of 17 billion cells to a parser; so is one long text that a million cells share: both are counted on the way. A cell is
looked for as nearly everybody writes it, and where anything in a piece looks otherwise, with care.
"""

import posixpath
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO
from xml.etree import ElementTree as ET

from lake.errors import LakeError

MB = 1 << 20
CHUNK = 4 * MB
OVERLAP = 4096  # bytes of a chunk that the next one sees again, for a cell may lie across
MAGIC, EMPTY_ZIP = b"PK\x03\x04", b"PK\x05\x06"
COMPOUND = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"  # OLE: .xls, and .xlsx with a password
ENCRYPTED = "EncryptedPackage".encode("utf-16-le")
SMALL = 16 * MB  # unpacked; what compresses well and stays small is no bomb
LOCAL_HEADER = 30
ZIP_END = 22 + 0xFFFF  # its last record, and the longest comment behind it
ZIP_ENCRYPTED, ZIP_UTF_8 = 0x1, 0x800
_P = rb"(?:[^\s<>/:]+:)?"  # a prefix of names
_QUICK = {  # as nearly everybody writes a cell, by the digits that a row's number has at most
    digits: re.compile(rb'<c r="([A-Z]{1,3})(?=\d{1,%d}")' % digits) for digits in range(1, 8)
}
# `in` takes three times as long for two letters
_FORMULAS, _PREFIXED_FORMULAS, _PREFIXED = re.compile(rb"<f"), re.compile(rb":f"), re.compile(rb":c")
_QUICK_ROW = re.compile(rb'<row r="(\d{1,7})"')
_TAG = re.compile(rb"<" + _P + rb"c(?=[\s/>])[^>]*>")
_ADDRESS = re.compile(rb"""\sr=["']([A-Z]{1,3})([1-9]\d{0,6})["']""")
_OPEN = rb"<" + _P + rb"""c\s(?:[^>]*?\s)?r=["']([A-Z]{1,3})(\d{1,7})["']([^>]*)(?<!/)>\s*"""
_CELL = re.compile(_OPEN)
_LONG_CELL = re.compile(rb"<" + _P + rb"c\s[^>]{200}")
_FORMULA = rb"<" + _P + rb"f(?:\s[^>]*)?(?:/>|(?<!/)>[^<]*</" + _P + rb"f>)\s*"
_VALUE = re.compile(rb"(?:" + _FORMULA + rb")?<" + _P + rb"(?:v(?:\s[^>]*)?>[^<]|is[\s/>]|(v)[\s/>])")
_EMPTY_FORMULA = re.compile(_OPEN + _FORMULA + rb"(<" + _P + rb"v\s*(?:/>|>\s*</" + _P + rb"v>)\s*)?</" + _P + rb"c>")
_BAD_INDEX = re.compile(rb't="s"><v>(?!\s*\d{1,9}\s*</)')
_LONG = re.compile(rb"v>-?\d{16}")
_LONG_NUMBER = re.compile(_OPEN + rb"<" + _P + rb"v>(-?\d{16,})</")
_IS_TEXT = re.compile(rb"""\st=["'](?!n["'])""")
_IS_STRING = re.compile(rb"""\st=["']str["']""")
_ERRORS = (b't="e"', b"t='e'")
_ERROR_TEXT = re.compile(rb"<" + _P + rb"v>(#[^<]{1,20})</")
_MERGE = re.compile(rb"<" + _P + rb"""mergeCell\s[^>]*ref=["']([A-Z]{1,3})(\d{1,7}):([A-Z]{1,3})(\d{1,7})["']""")
_STRING_END = re.compile(rb"</" + _P + rb"si\s*>|<" + _P + rb"si\s*/>")
_SHARED = re.compile(rb"""\st=["']s["'][^>]*(?<!/)>\s*<""" + _P + rb"v>\s*(\d{1,9})")
_UTF_16 = (b"\xff\xfe", b"\xfe\xff", b"<\0", b"\0<")
NOT_CALCULATED = "#NOT CALCULATED"  # a formula that no program has worked out
LAST_ROW, LAST_COLUMN = 1_048_576, 16_384  # of Excel
_MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_STRICT = "{http://purl.oclc.org/ooxml/spreadsheetml/main}"
_ID = re.compile(r"\{.*\}id")
_OTHER_SHEETS = ("/chartsheet", "/dialogsheet", "/xlMacrosheet", "/xlIntlMacrosheet")  # hold no rows


@dataclass(frozen=True)
class Limits:
    """What a workbook may be at most. Bytes, unless said."""

    file: int = 64 * MB
    members: int = 2_000  # number
    unpacked: int = 512 * MB
    ratio: float = 200.0  # unpacked to packed
    cells: int = 20_000_000  # number, of all sheets, each from its first cell to its last; and of texts that are shared
    text: int = 256 * MB  # of all cells, each with its own copy of a shared text
    merges: int = 100_000  # number, of one sheet
    errors: int = 500_000  # number, of one sheet: cells that the parser gives no value for


class RefusedError(LakeError):
    """A workbook that is not read, as a whole.

    Attributes:
        reason: in snake_case, for the quarantine.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass
class SheetFacts:
    """What a sheet's part tells. Rows and columns count from 0.

    Attributes:
        first_column: of the cells with a value; None if there is none.
        last_column: of all cells.
        last_row: of all cells, or as the rows say where `is_exact` is not set; then cells may be further down, but not
            in a row whose number is longer.
        is_exact: see there.
        tags: cells, about.
        has_rows: whether there is a place for rows in it, be it an empty one.
        errors: (row, column) → the error that a formula left there, as in `#DIV/0!`.
        exact: (row, column) → whole numbers of more digits than the parser keeps.
        merges: (first row, first column, last row, last column) of each merged range.
    """

    first_column: int | None = None
    last_column: int = 0
    last_row: int = 0
    is_exact: bool = True
    tags: int = 0
    has_rows: bool = False
    errors: dict[tuple[int, int], str] = field(default_factory=dict)
    exact: dict[tuple[int, int], str] = field(default_factory=dict)
    merges: list[tuple[int, int, int, int]] = field(default_factory=list)


@dataclass(frozen=True)
class Package:
    """A workbook's file that has passed.

    Attributes:
        path: where it is.
        sheets: facts of each worksheet, by its name.
        hidden: names of the sheets that are not shown.
        is_1904: whether its dates count from 1904.
    """

    path: Path
    sheets: Mapping[str, SheetFacts]
    hidden: frozenset[str]
    is_1904: bool


def inspect(path: Path, limits: Limits) -> Package:
    """Look at a workbook's file as a whole.

    Args:
        path: the file.
        limits: what it may be.

    Raises:
        RefusedError: it is empty, no .xlsx, encrypted, damaged, or beyond the limits. The message goes on after the
            file's name.
    """
    size = path.stat().st_size
    if size == 0:
        raise RefusedError("empty_file", "the file is empty (0 bytes)")
    if size > limits.file:
        raise RefusedError("too_large", f"{size:,} bytes are more than the {limits.file:,} that a workbook may have")
    _check_form(path)
    try:
        with path.open("rb") as stream, zipfile.ZipFile(stream) as archive:
            _check_directory(archive, size, limits)
            _check_end(stream, size)
            sheets, is_1904 = _contents(archive)
            facts = _facts(stream, archive, [part for _, part in sheets.values()], limits)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError, RuntimeError, ValueError) as error:
        raise RefusedError("corrupt_workbook", f"the workbook is damaged: {error}") from error
    shown = {name: facts[part] for name, (_, part) in sheets.items()}
    return Package(path, shown, frozenset(name for name, (is_hidden, _) in sheets.items() if is_hidden), is_1904)


def _check_form(path: Path) -> None:
    with path.open("rb") as stream:
        head = stream.read(512)
        if head.startswith(COMPOUND):
            if ENCRYPTED in head + stream.read():
                raise RefusedError("encrypted_workbook", "has a password: save it without one")
            raise RefusedError("old_workbook", "is a workbook of Excel 97 (.xls): save it as .xlsx")
    if head.startswith(EMPTY_ZIP):
        raise RefusedError("corrupt_workbook", "the workbook is damaged: an archive without members")
    if not head.startswith(MAGIC):
        what = " ".join(head[:40].decode("utf-8", "replace").split())
        raise RefusedError("not_a_workbook", f"is not an .xlsx workbook: it begins with {what!r}")


def _check_directory(archive: zipfile.ZipFile, size: int, limits: Limits) -> None:
    members = archive.infolist()
    if len(members) > limits.members:
        raise RefusedError("too_many_members", f"{len(members):,} parts are more than the {limits.members:,} allowed")
    unpacked = sum(member.file_size for member in members)
    if unpacked > limits.unpacked:
        raise RefusedError("zip_bomb", f"would unpack to {unpacked:,} bytes; {limits.unpacked:,} are allowed")
    if unpacked > SMALL and unpacked > limits.ratio * size:
        raise RefusedError("zip_bomb", f"would unpack to {unpacked / size:,.0f} times its size")
    if any(member.flag_bits & ZIP_ENCRYPTED for member in members):
        raise RefusedError("encrypted_workbook", "its parts have a password: save it without one")
    if len({member.filename.lower().replace("\\", "/") for member in members}) < len(members):
        raise RefusedError("corrupt_workbook", "the workbook is damaged: two parts have one name")
    end = 0
    for member in sorted(members, key=lambda one: one.header_offset):
        if member.header_offset < end:
            raise RefusedError("zip_bomb", "its parts overlap")
        name = member.orig_filename.encode("utf-8" if member.flag_bits & ZIP_UTF_8 else "cp437")
        end = member.header_offset + LOCAL_HEADER + len(name) + member.compress_size
    if end > size:
        raise RefusedError("corrupt_workbook", "the workbook is damaged: parts of it are missing")


def _check_end(stream: IO[bytes], size: int) -> None:
    """With two ends, what we see and what the parser sees need not be the same."""
    stream.seek(max(0, size - ZIP_END))
    if stream.read().count(EMPTY_ZIP) != 1:
        raise RefusedError("corrupt_workbook", "the workbook is damaged: the archive ends twice")


def _contents(archive: zipfile.ZipFile) -> tuple[dict[str, tuple[bool, str]], bool]:
    """The worksheets: name → whether it is hidden, and the member; and whether dates count from 1904."""
    try:
        root = _xml(archive, "_rels/.rels")
        main = next(one.get("Target", "") for one in root if one.get("Type", "").endswith("/officeDocument"))
        main = main.lstrip("/")
        book, folder = _xml(archive, main), posixpath.dirname(main)
        relations = _xml(archive, f"{folder}/_rels/{posixpath.basename(main)}.rels")
    except StopIteration:
        raise RefusedError("not_a_workbook", "is an archive, but no .xlsx workbook") from None
    except (LookupError, ET.ParseError) as error:
        raise RefusedError("corrupt_workbook", f"the workbook is damaged: its table of contents: {error}") from error
    parts = {one.get("Id"): (one.get("Type", ""), one.get("Target", "")) for one in relations}
    namespace = _STRICT if book.tag.startswith(_STRICT) else _MAIN
    if book.tag != f"{namespace}workbook":
        raise RefusedError("not_a_workbook", "is a document of another program of Office")
    if len(parts) < len(relations):
        raise RefusedError("corrupt_workbook", "the workbook is damaged: two of its parts have one number")
    sheets: dict[str, tuple[bool, str]] = {}
    for sheet in book.iter(f"{namespace}sheet"):
        name = sheet.get("name", "")
        relation = next((value for key, value in sheet.attrib.items() if _ID.fullmatch(key)), None)
        kind, target = parts.get(relation, ("", ""))
        part = posixpath.normpath(posixpath.join("/" + folder, target)).lstrip("/")
        if kind.endswith(_OTHER_SHEETS):
            continue
        if not kind.endswith("/worksheet") or part not in archive.NameToInfo:
            raise RefusedError("corrupt_workbook", f"the workbook is damaged: the cells of sheet {name!r} are missing")
        if name in sheets:
            raise RefusedError("corrupt_workbook", f"the workbook is damaged: two sheets have the name {name!r}")
        sheets[name] = sheet.get("state", "visible") != "visible", part
    properties = book.find(f"{namespace}workbookPr")
    is_1904 = properties is not None and properties.get("date1904", "0").lower() in {"1", "true"}
    return sheets, is_1904


def _xml(archive: zipfile.ZipFile, name: str) -> ET.Element:
    with archive.open(name) as part:
        content = part.read(MB + 1)
    if len(content) > MB or b"<!DOCTYPE" in content or content.startswith(_UTF_16):
        raise RefusedError("corrupt_workbook", f"the workbook is damaged: {name} is no table of contents")
    return ET.fromstring(content)  # noqa: S314 - without a DOCTYPE there are no entities


def _facts(stream: IO[bytes], archive: zipfile.ZipFile, sheets: list[str], limits: Limits) -> dict[str, SheetFacts]:
    """What the sheets' parts tell; everything else is unpacked as well, to see that it is whole."""
    facts: dict[str, SheetFacts] = {}
    longest = 0
    for member in archive.infolist():
        if member.filename in sheets:
            try:
                facts[member.filename] = _walk(stream, member, limits)
            except RefusedError:
                _check_whole(stream, member)  # what is damaged may look like anything
                raise
        elif "sharedstrings" in member.filename.lower():
            longest = max(longest, _longest_string(stream, member, limits))
        else:
            _check_whole(stream, member)
    cells = 0
    for name in sheets:  # one part may be several sheets
        one = facts[name]
        if not one.is_exact and cells + 10 ** len(str(one.last_row + 1)) * (one.last_column + 1) > limits.cells:
            one.last_row = (
                max(int(row) for piece in _pieces(stream, archive.NameToInfo[name]) for row in _rows(piece)) - 1
            )
        cells += (one.last_row + 1) * (one.last_column + 1)
        if cells > limits.cells:
            raise RefusedError("too_many_cells", f"its sheets span {cells:,} cells; {limits.cells:,} are allowed")
    if longest * sum(facts[name].tags for name in sheets) > limits.text:
        _check_text(stream, archive, sheets, limits)
    return facts


def _check_whole(stream: IO[bytes], member: zipfile.ZipInfo) -> None:
    for _ in _unpacked(stream, member):
        pass


def _rows(piece: bytes) -> Iterator[bytes]:
    yield b"1"
    yield from (cell[2] for cell in _cells(_CELL, piece))


def _longest_string(stream: IO[bytes], member: zipfile.ZipInfo, limits: Limits) -> int:
    """Bytes of the longest of the texts that cells share, with its tags."""
    count, longest, before = 0, 0, b""
    for piece in _unpacked(stream, member):
        *whole, before = _STRING_END.split(before + piece)
        count += len(whole)
        longest = max([longest, *map(len, whole)])
        if count > limits.cells or len(before) > CHUNK:
            raise RefusedError("too_much_text", "the texts that its cells share are too many, or too long")
    return longest


def _check_text(stream: IO[bytes], archive: zipfile.ZipFile, sheets: list[str], limits: Limits) -> None:
    """How much text all cells have, each with its own copy."""
    import numpy as np

    lengths: list[int] = []
    for member in archive.infolist():
        if "sharedstrings" in member.filename.lower():
            before = b""
            for piece in _unpacked(stream, member):
                *whole, before = _STRING_END.split(before + piece)
                lengths += map(len, whole)
    of = np.array([*lengths, 0])
    text = 0
    for name in sheets:
        for piece in _pieces(stream, archive.NameToInfo[name]):
            shared = np.array(_SHARED.findall(piece), dtype=np.int64)
            text += int(of[np.minimum(shared, len(lengths))].sum())
            if text > limits.text:
                raise RefusedError("too_much_text", f"its cells hold over {limits.text:,} bytes of text")


def _walk(stream: IO[bytes], member: zipfile.ZipInfo, limits: Limits) -> SheetFacts:
    """A sheet's cells, looked at in pieces."""
    facts = SheetFacts()
    columns: set[bytes] = set()
    for piece in _pieces(stream, member):
        _look(piece, facts, columns, limits)
    if not facts.has_rows:
        raise RefusedError("corrupt_workbook", f"the workbook is damaged: its part {member.filename} is no sheet")
    facts.last_column = max(map(column_number, columns), default=0)
    if facts.last_row >= LAST_ROW or facts.last_column >= LAST_COLUMN:
        raise RefusedError(
            "corrupt_workbook", "the workbook is damaged: it has cells beyond a sheet's last row or column"
        )
    return facts


def _pieces(stream: IO[bytes], member: zipfile.ZipInfo) -> Iterator[bytes]:
    """A sheet's part in pieces that end with a tag; each begins with the end of the one before."""
    before = b""
    for piece in _unpacked(stream, member):
        chunk = before + piece
        if not before and chunk.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] != b"<":
            raise RefusedError("corrupt_workbook", f"its part {member.filename} is no XML in UTF-8: save it with Excel")
        if b"\0" in chunk or (b"!" in chunk and b"<!" in chunk):  # what a comment, say, hides from the parser, we see
            raise RefusedError("corrupt_workbook", f"its part {member.filename} is no XML as Excel writes it")
        end = chunk.rfind(b">") + 1
        if len(chunk) - end > MB:
            raise RefusedError("corrupt_workbook", f"its part {member.filename} has a text of over {MB:,} bytes")
        yield chunk[:end]
        before = chunk[max(0, end - OVERLAP) :]


def _unpacked(stream: IO[bytes], member: zipfile.ZipInfo) -> Iterator[bytes]:
    """A member's content in pieces. `zipfile` would stop at the size that the directory gives; a parser does not."""
    if member.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise RefusedError("corrupt_workbook", f"its part {member.filename} is packed in no way that .xlsx knows")
    stream.seek(member.header_offset)
    header = stream.read(LOCAL_HEADER)
    if not header.startswith(MAGIC) or len(header) < LOCAL_HEADER:
        raise RefusedError("corrupt_workbook", f"the workbook is damaged: {member.filename} is not where it should be")
    stream.seek(int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little"), 1)
    packed, unpacked, checksum = member.compress_size, 0, 0
    inflate = zlib.decompressobj(-zlib.MAX_WBITS) if member.compress_type == zipfile.ZIP_DEFLATED else None
    while packed and not (inflate and inflate.eof):
        block = stream.read(min(packed, CHUNK // 4))
        if not block:
            break
        packed -= len(block)
        while block:
            piece = inflate.decompress(block, CHUNK) if inflate else block
            block = inflate.unconsumed_tail if inflate else b""
            unpacked += len(piece)
            if unpacked > member.file_size:
                raise RefusedError("zip_bomb", f"its part {member.filename} is larger than the file says")
            checksum = zlib.crc32(piece, checksum)
            if piece:
                yield piece
    if unpacked != member.file_size or checksum != member.CRC:
        raise RefusedError("corrupt_workbook", f"the workbook is damaged in its part {member.filename}")


def _look(chunk: bytes, facts: SheetFacts, columns: set[bytes], limits: Limits) -> None:
    """What is seen twice, as it lies in two pieces, is the same thing twice."""
    facts.has_rows = facts.has_rows or b"sheetData" in chunk
    _reach(chunk, facts, columns)
    if any(mark in chunk for mark in _ERRORS):
        _find_errors(chunk, facts)
    if _FORMULAS.search(chunk) or _PREFIXED_FORMULAS.search(chunk):
        _find_formulas(chunk, facts)
    if _BAD_INDEX.search(chunk):  # the first text, to the parser
        raise RefusedError("corrupt_workbook", "the workbook is damaged: a cell shares a text that has no number")
    if _LONG.search(chunk):
        _find_long_numbers(chunk, facts)
    if len(facts.errors) + len(facts.exact) > limits.errors:
        raise RefusedError("too_many_errors", f"a sheet of it has errors in over {limits.errors:,} cells")
    for first, top, last, bottom in _MERGE.findall(chunk) if b"mergeCell" in chunk else ():
        facts.merges.append((int(top) - 1, column_number(first), int(bottom) - 1, column_number(last)))
    if len(facts.merges) > limits.merges:
        raise RefusedError("too_many_cells", f"a sheet of it has over {limits.merges:,} merged ranges")


def _find_errors(chunk: bytes, facts: SheetFacts) -> None:
    for cell in _cells(_CELL, chunk):
        if any(mark in cell[3] for mark in _ERRORS):
            text = _ERROR_TEXT.search(chunk, cell.end(), cell.end() + OVERLAP // 2)
            place = _place(cell)
            facts.errors[place] = text[1].decode("ascii", "replace") if text else facts.errors.get(place, "#ERROR")


def _find_formulas(chunk: bytes, facts: SheetFacts) -> None:
    for cell in _cells(_EMPTY_FORMULA, chunk):
        if not (cell[4] and _IS_STRING.search(cell[3])):  # a text may be empty
            facts.errors[_place(cell)] = NOT_CALCULATED


def _find_long_numbers(chunk: bytes, facts: SheetFacts) -> None:
    for cell in _cells(_LONG_NUMBER, chunk):
        if not _IS_TEXT.search(cell[3]):
            facts.exact[_place(cell)] = cell[4].decode()


def _cells(pattern: re.Pattern[bytes], chunk: bytes) -> Iterator[re.Match[bytes]]:
    """The cells that `pattern` finds. It would take long over a tag that nobody writes."""
    if _LONG_CELL.search(chunk):
        raise RefusedError("corrupt_workbook", "the workbook is damaged: a cell's tag has over 200 bytes")
    return pattern.finditer(chunk)


def _place(cell: re.Match[bytes]) -> tuple[int, int]:
    return int(cell[2]) - 1, column_number(cell[1])


def _reach(chunk: bytes, facts: SheetFacts, columns: set[bytes]) -> None:
    """How far the sheet reaches, as far as this piece tells."""
    row = max(map(int, _QUICK_ROW.findall(chunk)), default=0)
    last = max(facts.last_row, row - 1)
    found = _QUICK[len(str(last + 1))].findall(chunk)
    facts.tags += len(found)
    others = chunk.count(b"<c") - len(found)
    if others in {0, chunk.count(b"<col") if others else 0} and not _PREFIXED.search(chunk):
        facts.last_row, facts.is_exact = last, facts.is_exact and not found
        names = {*found}
    else:
        names = _reach_with_care(chunk, facts)
    columns.update(names)
    first = min(map(column_number, names), default=None)
    if first is not None and (facts.first_column is None or first < facts.first_column):
        known = [] if facts.first_column is None else [facts.first_column]
        facts.first_column = min([*known, *_valued_columns(chunk, first)], default=None)


def _valued_columns(chunk: bytes, first: int) -> set[int]:
    """Columns in which the parser sees a value, of which none is before `first`: its table begins with the first."""
    found: set[int] = set()
    for cell in _cells(_CELL, chunk):
        column = column_number(cell[1])
        value = None if column in found else _VALUE.match(chunk, cell.end())
        if value and (not value[1] or _IS_STRING.search(cell[3])):
            found.add(column)
            if column == first:
                break
    return found


def _reach_with_care(chunk: bytes, facts: SheetFacts) -> set[bytes]:
    """The columns of the cells in a piece in which some cell is not written as usual."""
    names = set()
    for tag in _TAG.findall(chunk):
        address = _ADDRESS.search(tag)
        if address is None or tag.count(b"r=") > 1:
            # nobody could say how far the sheet reaches before a parser has made a table of it
            raise RefusedError("cells_without_address", "has cells that do not say where they are: save it with Excel")
        names.add(address[1])
        facts.last_row = max(facts.last_row, int(address[2]) - 1)
        facts.tags += 1
    return names


def column_number(name: bytes) -> int:
    """`A` is 0, `B` is 1, `AA` is 26."""
    number = 0
    for letter in name:
        number = number * 26 + letter - ord("A") + 1
    return number - 1


def column_name(number: int) -> str:
    """0 is `A`, 1 is `B`, 26 is `AA`."""
    name = ""
    while number >= 0:
        number, letter = divmod(number, 26)
        name, number = chr(ord("A") + letter) + name, number - 1
    return name
