"""What the text of a cell means, in SQL: numbers, dates and words as people write them → as the table has them.

What belongs here: one expression for each type. What does not: whether a row may lack a value, and what becomes of text
that means nothing: it comes back behind a `?`, and `lake.quarantine` finds that it is not of the column's type.

- Numbers: full-width digits, thousands separators in their places, the layout's currency before or after, `%` (of 1),
  minus as a sign or as parentheses; rounded to nine decimals, half away from zero, for `=A1*0.3` leaves more.
- Times: of the report's zone, given in UTC. Serial numbers of days, in the calendar of the workbook (1900, or Excel's
  for the Mac, 1904), of five digits: 2023 is a year. Text in the order year, month, day, the year in full, and Minguo
  years where the layout says so. ISO's form with an offset is a time of its own. Other centuries are mistakes.
"""

import re
import unicodedata
from collections.abc import Sequence

from dlt_sources.workbooks.layout import Layout, LayoutColumn, folded
from lake.duck import literal, quote
from lake.spec import DECIMAL, Column, TableSpec

IS_1904 = "is_1904"  # a column beside those of the table
EXACT = "DECIMAL(28,9)"
_WIDE = "".join(chr(code) for code in range(0xFF01, 0xFF5F)) + "\u3000\u00a0\u2009\u202f￥\u2212\u2013"
_PLAIN = "".join(unicodedata.normalize("NFKC", one) for one in _WIDE[:94]) + "    ¥--"
_LITERALS = f"{literal(_WIDE)}, {literal(_PLAIN)}"
_USUAL_NUMBER = r"-?\d{1,15}(\.\d+)?"
_NUMBER = r"[-+]?((\d{1,3}(,\d{3})+|\d+)(\.\d*)?|\.\d+)([eE][-+]?\d{1,2})?"
_DATES = ("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d")
_TIMES = ("", " %H:%M:%S", " %H:%M", " %H:%M:%S.%g", " %I:%M:%S %p", " %I:%M %p")
FORMATS = tuple(day + time for day in _DATES for time in _TIMES)
_USUAL_TIME = r"\d{4}[-/]\d{1,2}[-/]\d{1,2}( \d{1,2}:\d{2}(:\d{2}(\.\d{1,6})?)?)?"
_SERIAL = r"\d{5}(\.\d+)?"
_WITH_DAY = r"(\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{8})( .*)?"
_WITH_OFFSET = r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[-+]\d{2}(:\d{2})?)"
_ORDER = (
    (r"(\d)T(\d)", r"\1 \2"),
    (r"\s*[年月]\s*", "/"),
    (r"\s*[日號]\s*", " "),
    (r"(上午|早上|凌晨)\s*", "AM "),
    (r"下午\s*|晚上\s*(0?[1-9]|1[01]):", r"PM \1:"),  # 12 in the evening is no noon
    (r"PM :", "PM "),
    (r"(?i)\b([AP]M)\s*(\d{1,2}:\d{2}(:\d{2})?)", r"\2 \1"),
    (r"\s+", " "),
)
MS_A_DAY = 86_400_000
FIRST_DAY_1904 = 1462  # the serial of 1904-01-01 in the calendar of 1900
FIRST, END = "1900-01-01", "2200-01-01"


def query(spec: TableSpec, layout: Layout, zone: str, relation: str) -> str:
    """SQL for the layout's columns of `relation`, which holds the cells' text and `IS_1904`: text of their types.

    Each step names what the next one uses several times: an expression that repeats another one in full would be worked
    out as often.

    Args:
        spec: the table's declaration.
        layout: of the report.
        zone: IANA name of the time zone of its times, if the layout has none.
        relation: what to select from.
    """
    columns = {name: spec.columns[name] for name in layout.columns}
    moments = [name for name, column in columns.items() if column.type in {"date", "timestamp"}]
    numbers = [name for name, column in columns.items() if _is_number(column)]
    cleaned = [f"{_cleaned(name, column, layout)} AS {quote(name)}" for name, column in columns.items()]
    first = [f"{_counted_or_usual(name)} AS {_found(name)}" for name in moments]
    first += [f"{_bare(name, layout)} AS {_found(name)}" for name in numbers]
    second = [f"{_ordered(name)} AS {_other(name)}" for name in moments]
    second += [f"{_exact(name)} AS {_other(name)}" for name in numbers]
    third = [f"{_moment(name, layout)} AS {_moment_name(name)}" for name in moments]
    last = []
    for name, column in columns.items():
        if name in moments:
            sql = _day(name) if column.type == "date" else _time(name, layout.zone or zone)
        elif name in numbers:
            sql = _number(name, column)
        else:
            sql = _word(quote(name), layout.columns[name]) if layout.columns[name].words else quote(name)
        last.append(f"{sql} AS {quote(name)}")
    return f"""
        WITH cleaned AS MATERIALIZED (SELECT {IS_1904}, {", ".join(cleaned)} FROM {relation}),
        first AS MATERIALIZED (SELECT {", ".join(["*", *first])} FROM cleaned),
        second AS MATERIALIZED (SELECT {", ".join(["*", *second])} FROM first),
        third AS MATERIALIZED (SELECT {", ".join(["*", *third])} FROM second)
        SELECT {", ".join(last)} FROM third
        """  # noqa: S608 - declared names, escaped literals


def _is_number(column: Column) -> bool:
    return column.type in {"long", "double"} or bool(DECIMAL.fullmatch(column.type))


def _found(name: str) -> str:
    return quote(f"{name} found")  # no column of a table has a space


def _other(name: str) -> str:
    return quote(f"{name} other")


def _plain(text: str) -> str:
    """Full-width letters and digits as plain ones. Looking for one is ten times as fast as replacing none."""
    return f"CASE WHEN regexp_matches({text}, '[{_WIDE}]') THEN translate({text}, {_LITERALS}) ELSE {text} END"


def _cleaned(name: str, column: Column, layout: Layout) -> str:
    text = quote(name)
    if column.type != "string" or layout.columns[name].code:
        text = _plain(text)
    trimmed = f"nullif(trim({text}, ' \u3000\u00a0\t\r\n'), '')"
    for word in layout.empty:
        trimmed = f"nullif({trimmed}, {literal(word)})"
    return trimmed


def _word(text: str, how: LayoutColumn) -> str:
    """The table's word for the workbook's; one that the layout does not know stays."""
    cases = " ".join(
        f"WHEN {literal(folded(written).lower())} THEN {literal(word)}"
        for word, spellings in how.words.items()
        for written in dict.fromkeys([word, *spellings])
    )
    return f"CASE lower(trim({_plain(text)})) {cases} ELSE {text} END"


# -- numbers: first what is left without signs, then what that is ---------------------------------------------


def _bare(name: str, layout: Layout) -> str:
    """What is no plain number, without parentheses and currency; null for a plain one."""
    text = quote(name)
    money = "|".join(re.escape(folded(one)) for one in layout.currencies) or "[^\\s\\S]"
    affixes = rf"^([-+]?)\s*(?:{money})\s*([-+]?)|\s*(?:{money}|%)$"
    inside = rf"CASE WHEN regexp_full_match({text}, '\([^-+()]*\)') THEN {text}[2:-2] ELSE {text} END"
    core = f"regexp_replace(trim({inside}), {literal(affixes)}, '\\1\\2', 'gi')"
    return f"CASE WHEN NOT regexp_full_match({text}, {literal(_USUAL_NUMBER)}) THEN {core} END"


def _exact(name: str) -> str:
    core = _found(name)
    return f"CASE WHEN regexp_full_match({core}, '{_NUMBER}') THEN TRY_CAST(replace({core}, ',', '') AS {EXACT}) END"


def _number(name: str, column: Column) -> str:
    text, core, exact = quote(name), _found(name), _other(name)
    is_share = f"regexp_matches({text}, '%\\)?$')"
    share = f"CASE WHEN {is_share} THEN CAST({exact} * 0.01::DECIMAL(2,2) AS {EXACT}) ELSE {exact} END"
    signed = f"CASE WHEN starts_with({text}, '(') THEN -({share}) ELSE ({share}) END"
    value = f"CASE WHEN {core} IS NULL THEN TRY_CAST({text} AS {EXACT}) ELSE {signed} END"
    if column.type == "long":  # a large one with a fraction would pass for whole as a double
        value = f"CASE WHEN {value} = trunc({value}) THEN {value} END"
    return f"coalesce(CAST({value} AS VARCHAR), '?' || {text})"


# -- times: first those that are counted or usual, then the others in the usual order ----------------------------


def _counted_or_usual(name: str) -> str:
    text = quote(name)
    number = f"TRY_CAST({text} AS DOUBLE)"
    serial = f"{number} + CASE WHEN {IS_1904} THEN {FIRST_DAY_1904} ELSE 0 END"
    counted = f"TIMESTAMP '1899-12-30' + to_microseconds(CAST(round(({serial}) * {MS_A_DAY}) AS BIGINT) * 1000)"
    usual = f"CASE WHEN regexp_full_match({text}, '{_USUAL_TIME}') THEN TRY_CAST({text} AS TIMESTAMP) END"
    return f"CASE WHEN regexp_full_match({text}, '{_SERIAL}') THEN {counted} ELSE {usual} END"


def _ordered(name: str) -> str:
    """`2023年3月29日 下午3:04` as `2023/3/29 3:04 PM`; null where the time is found already."""
    plain = quote(name)
    for pattern, by in _ORDER:
        plain = f"regexp_replace({plain}, {literal(pattern)}, {literal(by)}, 'g')"
    return f"CASE WHEN {_found(name)} IS NULL THEN trim({plain}) END"


def _moment(name: str, layout: Layout) -> str:
    text = _other(name)
    if layout.minguo:
        common = f"CAST(TRY_CAST(regexp_extract({text}, '\\d{{3}}') AS INTEGER) + 1911 AS VARCHAR)"
        rest = f"regexp_extract({text}, '\\d{{3}}([-/.].*)', 1)"
        is_minguo = f"regexp_full_match({text}, '(民國)?\\s*\\d{{3}}[-/.].*')"
        text = f"CASE WHEN {is_minguo} THEN {common} || {rest} ELSE {text} END"
    moment = f"CASE WHEN regexp_full_match({text}, '{_WITH_DAY}') THEN try_strptime({text}, {_list(FORMATS)}) END"
    return f"coalesce({_found(name)}, {moment})"


def _day(name: str) -> str:
    """A day in ISO's form; behind a `?` what is none, or a time on it."""
    moment = _moment_name(name)
    is_day = f"date_trunc('day', {moment}) = {moment} AND {_is_likely(moment)}"
    return f"CASE WHEN {is_day} THEN strftime({moment}, '%Y-%m-%d') ELSE '?' || {quote(name)} END"


def _time(name: str, zone: str) -> str:
    """A time in UTC in ISO's form; behind a `?` what is none."""
    moment, text = _moment_name(name), quote(name)
    utc = f"({moment} AT TIME ZONE {literal(zone)}) AT TIME ZONE 'UTC'"
    form = "'%Y-%m-%dT%H:%M:%S.%fZ'"
    other = f"TRY_CAST({text} AS TIMESTAMPTZ) AT TIME ZONE 'UTC'"
    is_other = f"{moment} IS NULL AND regexp_full_match({text}, '{_WITH_OFFSET}') AND {_is_likely(other)}"
    return (
        f"CASE WHEN {_is_likely(moment)} THEN strftime({utc}, {form}) "
        f"WHEN {is_other} THEN strftime({other}, {form}) ELSE '?' || {text} END"
    )


def _is_likely(moment: str) -> str:
    return f"({moment} >= TIMESTAMP '{FIRST}' AND {moment} < TIMESTAMP '{END}')"


def _moment_name(name: str) -> str:
    return quote(f"{name} moment")


def _list(formats: Sequence[str]) -> str:
    return f"[{', '.join(map(literal, formats))}]"
