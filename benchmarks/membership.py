"""What is measured of workbooks: a big one into bronze, and the ways that others read it.

What belongs here: the work; each function runs in a process of its own: `python -m benchmarks.membership NAME
'{arguments}'`. What does not: choosing, repeating and judging (`benchmarks.bench`).
"""

import json
import sys
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.contenders import ROOT, Said, measured

DEFS = ROOT / "orchestration" / "defs" / "membership"
SMALL_DAY, DAY = date(2023, 3, 29), date(2023, 3, 30)
SMALL_ROWS = 100


def write(folder: str, rows: int) -> Said:
    """A workbook of so many top-ups in ten columns, and a small one for the day before."""
    from sandbox.membership_workbooks import big_workbook

    said: Said = {"rows": rows}
    Path(folder).mkdir(parents=True, exist_ok=True)
    with measured(said):
        big_workbook(_file(folder, SMALL_DAY), SMALL_ROWS)
        said["bytes"] = big_workbook(_file(folder, DAY), rows).stat().st_size
    return said


def _file(folder: str, day: date) -> Path:
    return Path(folder) / f"top_up_{day}.xlsx"


def lakegraph_load(home: str, folder: str) -> Said:
    """Our load of the day, as the asset calls it, after one of the day before."""
    import yaml

    from dlt_sources import membership
    from lake.load import load
    from lake.settings import Settings
    from lake.spec import TableSpec

    declared = yaml.safe_load((DEFS / "top_up" / "defs.yaml").read_text(encoding="utf-8"))["attributes"]
    spec, source = TableSpec.model_validate(declared["table"]), partial(membership.report, **declared["params"])
    settings = Settings(home=Path(home), membership_folder=folder)
    load(spec, source, settings, partition=SMALL_DAY)
    said: Said = {}
    with measured(said):
        account = load(spec, source, settings, partition=DAY).account
    return {**said, "rows": account.rows_loaded}


def fastexcel_text(folder: str) -> Said:
    """Every cell as text in Arrow, with the parser that ours uses: the floor."""
    return _read(folder, _fastexcel)


def openpyxl_rows(folder: str) -> Said:
    """Every row as a tuple, with openpyxl's quick reader."""
    return _read(folder, _openpyxl)


def pandas_frame(folder: str) -> Said:
    """A frame, with pandas and openpyxl, its default; nothing is checked or cast."""
    return _read(folder, _pandas)


def _read(folder: str, how: Any) -> Said:
    how(_file(folder, SMALL_DAY))
    said: Said = {}
    with measured(said):
        said["rows"] = how(_file(folder, DAY))
    return said


def _fastexcel(path: Path) -> int:
    import fastexcel

    book = fastexcel.read_excel(str(path))
    rows: int = book.load_sheet(0, header_row=None, dtypes="string").to_arrow().num_rows
    return rows


def _openpyxl(path: Path) -> int:
    import openpyxl

    book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    return sum(1 for _ in book.worksheets[0].iter_rows(values_only=True))


def _pandas(path: Path) -> int:
    import pandas as pd

    return len(pd.read_excel(path, header=None))


CONTENDERS: dict[str, Callable[..., Said]] = {
    function.__name__: function for function in (write, lakegraph_load, fastexcel_text, openpyxl_rows, pandas_frame)
}

if __name__ == "__main__":
    print(json.dumps(CONTENDERS[sys.argv[1]](**json.loads(sys.argv[2])), default=str))
