"""Rows on their way into a spreadsheet: no text of a source runs there as a formula."""

import pyarrow as pa

from lake.query import for_spreadsheets


def test_text_that_would_run_as_a_formula_is_marked_as_text() -> None:
    texts = ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\t=1", "\n=1", "＝1", "plain", "1-2", "", None, "'=1"]
    rows = pa.table(
        {
            "=name()": pa.array(texts),
            "large": pa.array(texts, pa.large_string()),
            "dictionary": pa.array(texts).dictionary_encode(),
            "number": pa.array(range(-6, 6)),
        }
    )
    safe = for_spreadsheets(rows)
    marked = [f"'{text}" for text in texts[:7] if text] + texts[7:]
    assert safe.column_names == ["'=name()", "large", "dictionary", "number"]
    assert [safe.column(name).to_pylist() for name in safe.column_names[:3]] == [marked] * 3
    assert safe.column("number").to_pylist() == list(range(-6, 6))


def test_nothing_is_nothing() -> None:
    assert for_spreadsheets(pa.table({"a": pa.array([], pa.string())})).num_rows == 0
