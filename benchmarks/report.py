"""What was measured, as a table on the terminal and as Markdown.

What belongs here: rows, budgets and their rendering. What does not: measuring.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from platform import machine, python_version, system

from benchmarks.measure import Cost

PACKAGES = (
    "dagster",
    "dagster-dbt",
    "dagster-dlt",
    "dlt",
    "dbt-core",
    "dbt-duckdb",
    "duckdb",
    "pyiceberg",
    "pyarrow",
    "pandas",
)
HEAD = ("what", "rows", "CPU s", "wall s", "peak MB", "x floor")


@dataclass(frozen=True)
class Row:
    """One line of a table; `floor` is the line its ratio is taken to."""

    what: str
    cost: Cost
    rows: int = 0
    floor: Cost | None = None

    @property
    def ratio(self) -> float | None:
        """CPU to the floor's CPU."""
        return self.cost.cpu / self.floor.cpu if self.floor and self.floor.cpu else None

    def cells(self) -> tuple[str, ...]:
        """The line's texts, in the order of `HEAD`."""
        cost, ratio = self.cost, self.ratio
        seconds = (f"{value:.2f}" if value < 100 else f"{value:,.0f}" for value in (cost.cpu, cost.wall))  # noqa: PLR2004
        peak = f"{cost.peak_mb:,.0f}" if cost.peak_mb else ""
        return (
            self.what,
            f"{self.rows:,}" if self.rows else "",
            *seconds,
            peak,
            f"{ratio:.2f}" if ratio is not None else "",
        )


@dataclass(frozen=True)
class Section:
    """A table and what must be known to read it."""

    title: str
    note: str
    rows: Sequence[Row]


@dataclass(frozen=True)
class Budget:
    """A promise of the design with what was measured."""

    what: str
    measured: float
    limit: float
    unit: str = "x floor"

    @property
    def met(self) -> bool:
        """Whether the promise is kept."""
        return self.measured <= self.limit

    def cells(self) -> tuple[str, ...]:
        """The promise, the measurement and the verdict as texts."""
        number = "{:,.0f} {}" if self.unit == "MB" else "{:.2f} {}"
        return (
            self.what,
            number.format(self.limit, self.unit),
            number.format(self.measured, self.unit),
            "met" if self.met else "not met",
        )


def hardware() -> str:
    """Processor, cores and memory, as far as the system tells."""
    import os

    import psutil

    model = ""
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else ""
    memory = psutil.virtual_memory().total / 1e9
    return f"{model or machine()}, {os.cpu_count()} cores, {memory:.0f} GB, {system()}, Python {python_version()}"


def markdown(sections: Sequence[Section], budgets: Sequence[Budget], when: str, load: str) -> str:
    """The whole report."""
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    lines = [
        "# Benchmark",
        "",
        f"Written by `make bench`{f' on {when}' if when else ''}.",
        "",
        f"- {hardware()}",
        f"- {versions}",
    ]
    lines += [f"- {load}", ""]
    if budgets:
        lines += [
            "## Budgets",
            "",
            *_table(("budget", "limit", "measured", ""), [budget.cells() for budget in budgets]),
            "",
        ]
    for section in sections:
        lines += [f"## {section.title}", "", section.note, "", *_table(HEAD, [row.cells() for row in section.rows]), ""]
    return "\n".join(lines)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    rule = ["---", *(["---:"] * (len(head) - 1))]
    return ["| " + " | ".join(cells) + " |" for cells in (head, rule, *rows)]


def show(sections: Sequence[Section], budgets: Sequence[Budget]) -> None:
    """Print the report on the terminal."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    for section in sections:
        table = Table(*HEAD, title=section.title, title_justify="left")
        for column in table.columns[1:]:
            column.justify = "right"
        for row in section.rows:
            table.add_row(*row.cells())
        console.print(table)
    table = Table("budget", "limit", "measured", "", title="Budgets", title_justify="left")
    for budget in budgets:
        table.add_row(*budget.cells(), style="green" if budget.met else "bold red")
    console.print(table)
