"""What the KPI report asks of the published tables: one frozen entry a question.

What belongs here: `Section`, and how its SQL names tables; the questions of a domain lie in its own file
(`lake.report.mobility`, `lake.report.shop`, …). What does not: drawing (`lake.report.page`) and reading
(`lake.report`), which know no table and no domain; and no arithmetic in Python, because a number that is computed
in SQL can be checked in SQL.

In `sql`, `{schema.table}` names a table; `*` stands for any run of characters, and `{schema.a_*_b: column,
…}` is the union of these columns of every table that matches. The result's columns are the labels, with
their unit in brackets: `Revenue [$]`. Units: `$`, `€` and `NT$` (without cents), `%` (of 1), `expected 0`
(anything else is shown as an alarm), or any word.
"""

from dataclasses import dataclass
from typing import Literal

Figure = Literal["tiles", "line", "bars", "hbars", "share", "heatmap", "waterfall", "table"]


@dataclass(frozen=True)
class Section:
    """One question and its answer.

    Attributes:
        domain: the domain under whose heading it is shown.
        title: its short name, also used when its tables are missing.
        question: what the figure answers, its heading.
        sql: one SELECT. `tiles` reads one row, `table` any; a chart reads (category, value) or
            (category, series, value), a `heatmap` (column, row, share), a `waterfall`
            (step, amount): what there was, what came and went, and what there is.
        figure: how it is drawn; `bars` and `hbars` stack their series.
    """

    domain: str
    title: str
    question: str
    sql: str
    figure: Figure
