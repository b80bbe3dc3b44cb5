"""A report family's layout: how its workbooks are named, what their headers and words mean. Data, not code.

What belongs here: the frozen `Layout`, written in YAML, and its questions about names and headers, which are pure. What
does not: cells and their types; those are the table's declaration's (`lake.spec`).
"""

import hashlib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from lake.errors import LakeError

HEADER_ROWS = 40  # a header further down is none
NAME = 100  # characters of a header that the layout does not know
_BRACKETS = re.compile(r"[(\[{<【].*?[)\]}>】]")  # units and remarks, after folding: 金額 (NT$)
_NOISE = re.compile(r"[\W_]+")


def folded(text: str) -> str:
    """`text` with full-width letters and digits as plain ones, without spaces around it (Unicode's NFKC)."""
    return unicodedata.normalize("NFKC", text).strip()


def header_key(text: str) -> str:
    """What two spellings of one header have in common: letters and digits, folded, in lower case, without what is in
    brackets.
    """
    plain = folded(text).casefold()
    return _NOISE.sub("", _BRACKETS.sub("", plain)) or _NOISE.sub("", plain)


class LayoutColumn(BaseModel):
    """How a column of the table is written in workbooks."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    headers: list[str] = Field(min_length=1, description="Its headers, in any language; spelling is compared loosely.")
    words: dict[str, list[str]] = Field(
        default_factory=dict, description="Its words: as the table has them → as workbooks write them."
    )
    code: bool = Field(False, description="An identifier: full-width characters are read as plain ones.")


class Layout(BaseModel):
    """One report family."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    report: str = Field(description="The family's name: that of its bronze table.")
    names: list[str] = Field(
        min_length=1, description="Regular expressions that a file's name begins with; `day` is a group of them."
    )
    sheets: list[str] = Field(description="Patterns of sheet names; such a sheet must have the header, or be empty.")
    columns: dict[str, LayoutColumn]
    totals: list[str] = Field(
        default_factory=list, description="What a row of totals begins with, or has for a required identifier."
    )
    currencies: list[str] = Field(
        default_factory=list, description="What stands before or after a number, in the one currency of the report."
    )
    empty: list[str] = Field(default_factory=list, description="What is written into a cell that has no value.")
    minguo: bool = Field(False, description="Whether a year of three digits is one of the Republic of China.")
    zone: str | None = Field(None, description="Time zone of its times; unset, the domain's.")

    @field_validator("names")
    @classmethod
    def _has_day(cls, value: list[str]) -> list[str]:
        for pattern in value:
            if "day" not in re.compile(pattern).groupindex:
                raise ValueError(f"{pattern!r} has no group `day`")
        return value

    @model_validator(mode="after")
    def _headers_differ(self) -> Self:
        keys = [key for name in self.columns for key in {header_key(h) for h in self.columns[name].headers}]
        if twice := sorted({key for key in keys if keys.count(key) > 1}):
            raise ValueError(f"two columns have the header {twice[0]}")
        return self

    @property
    def fingerprint(self) -> str:
        """A digest of the layout: rows that were read by another may be other rows."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]

    @cached_property
    def _names(self) -> list[re.Pattern[str]]:
        return [re.compile(pattern, re.IGNORECASE) for pattern in self.names]

    def day_of(self, name: str) -> date | None:
        """The day that a file of this name reports; None if it is not one of this family, or names no day."""
        plain = folded(name)
        for pattern in self._names:
            if match := pattern.match(plain):
                digits = re.sub(r"\D", "", match["day"])
                try:
                    return date(int(digits[:4]), int(digits[4:6]), int(digits[6:8]))
                except ValueError:  # the 31st of February
                    return None
        return None

    def is_data_sheet(self, name: str) -> bool:
        """Whether a sheet of this name must hold rows."""
        return any(fnmatchcase(folded(name).casefold(), folded(pattern).casefold()) for pattern in self.sheets)

    @cached_property
    def _headers(self) -> Mapping[str, str]:
        return {header_key(header): name for name, column in self.columns.items() for header in column.headers}

    def header(self, cells: Sequence[str | None]) -> "Header":
        """What a row means if it is taken for the header."""
        columns: dict[str, int] = {}
        twice, others = [], {}
        for position, text in enumerate(cells):
            if not text or not text.strip():
                continue
            name = self._headers.get(header_key(text))
            if name is None:
                others[position] = " ".join(folded(text).split())[:NAME]
            elif name in columns:
                twice.append(name)
            else:
                columns[name] = position
        return Header(columns, others, tuple(twice))


@dataclass(frozen=True)
class Header:
    """A header row.

    Attributes:
        columns: the table's column → where it is.
        others: where a header is that the layout does not know → its text.
        twice: columns that two headers mean.
    """

    columns: Mapping[str, int]
    others: Mapping[int, str]
    twice: tuple[str, ...] = ()


def find_header(rows: Sequence[Sequence[str | None]], layout: Layout, required: Sequence[str]) -> tuple[int, Header]:
    """The header among the first rows of a sheet: the first that has every required column.

    Args:
        rows: the cells of the sheet's first `HEADER_ROWS` rows.
        layout: of the report.
        required: columns without which a row is no header.

    Returns:
        The row's index, and what it means.

    Raises:
        LakeError: there is none; says which columns the likeliest row lacks. Or two headers mean one column.
    """
    candidates = [layout.header(cells) for cells in rows]
    best = max(range(len(rows)), key=lambda row: len(candidates[row].columns), default=None)
    if best is None or len(candidates[best].columns) < 2:  # noqa: PLR2004 - one word may be in any title
        raise LakeError("no row is its header")
    for row, header in enumerate(candidates):
        if header.columns.keys() >= {*required}:
            if header.twice:
                raise LakeError(f"row {row + 1}: two columns are {header.twice[0]}")
            return row, header
    lacks = ", ".join(name for name in required if name not in candidates[best].columns)
    raise LakeError(f"row {best + 1}, the likeliest header, has no column for {lacks}")


def read_layout(path: Path) -> Layout:
    """The layout that a YAML file declares.

    Raises:
        LakeError: it declares none; names the file and what is wrong.
    """
    import yaml
    from pydantic import ValidationError

    try:
        return Layout.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        raise LakeError(f"{path.name}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
