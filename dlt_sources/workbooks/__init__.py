"""Workbooks (.xlsx) as people send them, read into rows, quarantine or a clear refusal.

What belongs here: the form of a report (`layout`), what a file must be before it is opened (`package`), cells
(`cells`), what a cell's text means (`values`), and a workbook as a whole (`reader`). What does not: where workbooks lie
(`dlt_sources.dropfolder`) and which reports there are (`dlt_sources.membership`, `dlt_sources/layouts`).

Every cell is read as text, by a library in Rust; what it means is decided in SQL over Arrow, so that no row is ever a
Python object.
"""
