"""The looks of the KPI report: numbers, tiles, tables, charts, and the page around them.

What belongs here: turning answers into HTML. What does not: SQL, files, any domain. Charts are plain
Plotly.js figures, so the Python side of Plotly only supplies the script; every text that came from data is
escaped, in HTML and inside a chart. The page forbids itself the network by a content security policy: what
is not in the file is not shown.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

from lake.report.sections import Figure, Section

# A service keeps its colour in every chart; any other series takes the next one of the palette.
COLOURS = {"yellow": "#e0a100", "green": "#1f9d63", "fhvhv": "#3b6fd4", "fhv": "#9a5fc9"}
PALETTE = ("#3b6fd4", "#e07b39", "#1f9d9d", "#c75b96", "#7a8699", "#9a5fc9", "#b39b2f", "#4fa3e0")
MONEY = ("$", "\N{EURO SIGN}", "NT$")  # units that stand before their number, without cents
GAIN, LOSS = "#1f9d63", "#c94a43"
SHADES = ((0, "#eef3fc"), (1, "#2f62c8"))  # of a share, from 0 to 1
MOST_ROWS = 400  # of the table under a chart
NOTHING = "\N{EN DASH}"
_DOWNWARDS = {"autorange": "reversed", "ticksuffix": "  "}  # the first row on top


@dataclass(frozen=True)
class Answer:
    """What the tables said to a section: labelled rows, or the tables that are missing."""

    section: Section
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[Any, ...], ...] = ()
    missing: tuple[str, ...] = ()


def _label(column: str) -> tuple[str, str]:
    """`Revenue [$]` → (`Revenue`, `$`)."""
    match = re.fullmatch(r"(.*?)(?:\s*\[(.+)\])?", column, re.DOTALL)
    return (match[1], match[2] or "") if match else (column, "")


def show(value: Any, unit: str = "") -> str:
    """`value` for people, with thousand separators and its unit, not yet escaped.

    Args:
        value: what DuckDB returned.
        unit: the unit of its column, see `lake.report.sections`.

    Returns:
        Text; a dash for no value.
    """
    if value is None:
        return NOTHING
    if not isinstance(value, int | float | Decimal) or isinstance(value, bool):
        return str(value)
    if unit == "%":
        return f"{100 * value:,.2f} %"
    text = f"{abs(value):,.0f}" if unit in MONEY or value == int(value) else f"{abs(value):,.2f}"
    return f"{'-' if value < 0 else ''}{unit if unit in MONEY else ''}{text}"


def _tiles(answers: Sequence[Answer]) -> str:
    tiles = "".join(
        f'<div class="tile"><dt>{escape(name)}</dt><dd>{escape(show(value, unit))}</dd></div>'
        for answer in answers
        for row in answer.rows[:1]
        for (name, unit), value in zip(map(_label, answer.columns), row, strict=True)
    )
    return f'<dl class="tiles">{tiles}</dl>' if tiles else ""


def _table(answer: Answer) -> str:
    labels = [_label(column) for column in answer.columns]
    numeric = [any(isinstance(row[i], int | float | Decimal) for row in answer.rows) for i in range(len(labels))]

    def cell(value: Any, unit: str, number: bool) -> str:
        classes = ["n"] * number + ["bad"] * (unit == "expected 0" and value != 0)
        return f'<td class="{" ".join(classes)}">{escape(show(value, unit))}</td>'

    head = "".join(
        f'<th scope="col" class="{"n" * number}">{escape(name)} <small>{escape(unit)}</small></th>'
        for (name, unit), number in zip(labels, numeric, strict=True)
    )
    body = "".join(
        "<tr>" + "".join(cell(v, unit, n) for v, (_, unit), n in zip(row, labels, numeric, strict=True)) + "</tr>"
        for row in answer.rows[:MOST_ROWS]
    )
    left_out = len(answer.rows) - MOST_ROWS
    note = f"<p class='note'>The first {MOST_ROWS:,} of {len(answer.rows):,} rows.</p>" if left_out > 0 else ""
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{note}'


def _plain(value: Any) -> Any:
    """`value` as JSON for Plotly, which reads markup in texts: so they are escaped."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, date):
        return value.isoformat()
    return escape(value, quote=False) if isinstance(value, str) else value


def _colour(name: str, taken: dict[str, str]) -> str:
    return COLOURS.get(name) or taken.setdefault(name, PALETTE[len(taken) % len(PALETTE)])


def _axis(column: str, kind: str) -> dict[str, Any]:
    name, unit = _label(column)
    title = f"{name} ({unit})" if unit else name
    axis: dict[str, Any] = {
        "title": {"text": _plain(title), "standoff": 12},
        "automargin": True,
        "zeroline": False,
    }
    if kind == "value":
        axis |= {"rangemode": "tozero", "tickformat": ".1%" if unit == "%" else ",", "nticks": 6}
        axis |= {"tickprefix": unit} if unit in MONEY else {}
    return axis


def _categories(values: Sequence[Any]) -> dict[str, Any]:
    """An axis of names in the order of the rows; Plotly's own goes by series, of which one may lack a name."""
    return {"type": "category", "categoryorder": "array", "categoryarray": list(dict.fromkeys(values))}


def _heatmap(answer: Answer, layout: dict[str, Any]) -> dict[str, Any]:
    """A cell for each row of the answer, with its share in it; a pair that is not there stays empty."""
    across, down, shares = ([_plain(row[i]) for row in answer.rows] for i in (0, 1, 2))
    cells = {
        "type": "heatmap", "x": across, "y": down, "z": shares, "zmin": 0, "zmax": 1, "colorscale": SHADES,
        "showscale": False, "xgap": 2, "ygap": 2, "hoverongaps": False, "texttemplate": "%{z:.0%}",
        "hovertemplate": "%{y}, %{x}: %{z:.1%}<extra></extra>",
    }  # fmt: skip
    xaxis = _axis(answer.columns[0], "category") | _categories(across) | {"showgrid": False}
    yaxis = _axis(answer.columns[1], "category") | _categories(down) | _DOWNWARDS | {"showgrid": False}
    return {"data": [cells], "layout": layout | {"xaxis": xaxis, "yaxis": yaxis}}


def _waterfall(answer: Answer, layout: dict[str, Any]) -> dict[str, Any]:
    """A bar for each row: the first and the last stand on 0, those between begin where the one before ends."""
    steps, amounts = ([_plain(row[i]) for row in answer.rows] for i in (0, 1))
    unit = _label(answer.columns[1])[1]
    bars = {
        "type": "waterfall", "x": steps, "y": amounts,
        "measure": ["absolute", *["relative"] * (len(steps) - 2), "total"][: len(steps)],
        "text": [show(row[1], unit) for row in answer.rows], "textposition": "outside", "cliponaxis": False,
        "hovertemplate": "%{x}: %{text}<extra></extra>",
        "increasing": {"marker": {"color": GAIN}}, "decreasing": {"marker": {"color": LOSS}},
        "totals": {"marker": {"color": PALETTE[0]}}, "connector": {"line": {"color": PALETTE[4], "width": 1}},
    }  # fmt: skip
    xaxis = _axis(answer.columns[0], "category") | _categories(steps) | {"title": {"text": ""}}
    yaxis = _axis(answer.columns[1], "value")
    return {"data": [bars], "layout": layout | {"xaxis": xaxis, "yaxis": yaxis, "showlegend": False}}


def _chart(answer: Answer, taken: dict[str, str]) -> dict[str, Any]:
    """A Plotly.js figure: `data` and `layout`, without the colours of the page's theme."""
    figure, columns = answer.section.figure, answer.columns
    layout: dict[str, Any] = {
        "margin": {"l": 8, "r": 16, "t": 8, "b": 8},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "traceorder": "normal"},
        "hovermode": "x unified" if figure in ("line", "bars") else "closest",
        "barmode": "relative",  # stacked; what is below 0 goes downwards
        "bargap": 0.25,
    }
    if figure == "share":
        labels, values = ([_plain(row[i]) for row in answer.rows] for i in (0, 1))
        colours = [_colour(str(row[0]), taken) for row in answer.rows]
        pie = {
            "type": "pie", "labels": labels, "values": values, "marker": {"colors": colours},
            "hole": 0.58, "sort": False, "direction": "clockwise", "automargin": True,
            "textinfo": "label+percent", "textposition": "outside",
            "hovertemplate": "%{label}: %{value:,} (%{percent})<extra></extra>",
        }  # fmt: skip
        return {"data": [pie], "layout": layout | {"showlegend": False, "margin": dict.fromkeys("lrtb", 40)}}

    if figure == "heatmap":
        return _heatmap(answer, layout)

    if figure == "waterfall":
        return _waterfall(answer, layout)

    series = len(columns) > 2  # noqa: PLR2004 — category, series, value
    names = list(dict.fromkeys(str(row[1]) if series else _label(columns[-1])[0] for row in answer.rows))
    unit = _label(columns[-1])[1]
    before, number = (unit, ",.0f") if unit in MONEY else ("", ".2%" if unit == "%" else ",")
    along, across = ("y", "x") if figure == "hbars" else ("x", "y")
    data = []
    for name in names:
        rows = [row for row in answer.rows if not series or str(row[1]) == name]
        colour = _colour(name, taken) if series else PALETTE[0]
        trace: dict[str, Any] = {
            "name": _plain(name),
            along: [_plain(row[0]) for row in rows],
            across: [_plain(row[-1]) for row in rows],
            "hovertemplate": f"{before}%{{{across}:{number}}}" + ("" if series else "<extra></extra>"),
        }
        if figure == "line":
            mode = "lines" if len(rows) > 31 else "lines+markers"  # noqa: PLR2004 — a single day is seen too
            trace |= {"type": "scatter", "mode": mode, "line": {"color": colour, "width": 2.2}}
        else:
            trace |= {"type": "bar", "orientation": "h" if along == "y" else "v", "marker": {"color": colour}}
        data.append(trace)
    layout |= {f"{along}axis": _axis(columns[0], "category"), f"{across}axis": _axis(columns[-1], "value")}
    layout["showlegend"] = series
    if figure != "line":
        layout[f"{along}axis"] |= _categories([_plain(row[0]) for row in answer.rows])
    if figure == "hbars":  # names need no axis title
        layout["yaxis"] |= _DOWNWARDS | {"title": {"text": ""}}
    return {"data": data, "layout": layout}


def _card(answer: Answer, number: int) -> str:
    section = answer.section
    if not answer.rows:
        body = '<p class="empty">No rows.</p>'
    elif section.figure == "table":
        body = _table(answer)
    else:
        data = f"<details><summary>Data</summary>{_table(answer)}</details>"
        chart = f'<div class="chart" id="chart-{number}" role="img" aria-label="{escape(section.title)}"></div>'
        body = chart + data
    wide = " wide" if section.figure == "table" else ""
    return (
        f'<article class="card{wide}"><p class="kicker">{escape(section.title)}</p>'
        f"<h3>{escape(section.question)}</h3>{body}</article>"
    )


def page(answers: Sequence[Answer], source: Path) -> Iterator[str]:
    """The report's HTML, piece by piece.

    Args:
        answers: what the tables said, in the order of the sections.
        source: the published file, named in the header with its age.

    Yields:
        Text, escaped.
    """
    from plotly.offline import get_plotlyjs

    present = [answer for answer in answers if not answer.missing]
    absent = [f"{answer.section.title} ({', '.join(answer.missing)})" for answer in answers if answer.missing]
    charts: dict[str, dict[str, Any]] = {}
    taken: dict[str, str] = {}
    drawn: tuple[Figure, ...] = ("line", "bars", "hbars", "share", "heatmap", "waterfall")
    published = datetime.fromtimestamp(source.stat().st_mtime, UTC)

    yield _HEAD
    yield (
        f'<header><h1>Lakegraph KPI report</h1><p>Data published <time datetime="{published.isoformat()}">'
        f"{published:%d %B %Y, %H:%M} UTC</time> · {escape(source.name)}</p></header>\n<main>\n"
    )
    if not present:
        yield '<p class="empty">None of the tables of this report is published yet.</p>\n'
    for domain, group in groupby(sorted(present, key=lambda a: a.section.domain), key=lambda a: a.section.domain):
        members = list(group)
        yield f"<section><h2>{escape(domain)}</h2>\n"
        yield _tiles([answer for answer in members if answer.section.figure == "tiles"])
        yield '<div class="grid">\n'
        for answer in members:
            if answer.section.figure == "tiles":
                continue
            number = len(charts)
            if answer.rows and answer.section.figure in drawn:
                charts[f"chart-{number}"] = _chart(answer, taken)
            yield _card(answer, number) + "\n"
        yield "</div></section>\n"
    yield "</main>\n<footer>"
    if absent:
        yield f"<p>Left out because their tables do not exist yet: {escape('; '.join(absent))}.</p>"
    yield "<p>This file is complete: it loads nothing from the network.</p></footer>\n"
    yield f"<script>{get_plotlyjs()}</script>\n"
    figures = json.dumps(charts, ensure_ascii=True).replace("<", "\\u003c").replace("&", "\\u0026")
    yield f"<script>const figures = {figures};\n{_SCRIPT}</script>\n</body></html>\n"


_HEAD = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline';
 script-src 'unsafe-inline'; img-src data: blob:">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Lakegraph KPI report</title>
<style>
:root { --page: #f5f6f8; --card: #fff; --ink: #1c2430; --soft: #5c6878; --line: #e3e7ec;
  --accent: #2f62c8; --bad: #b3261e }
@media (prefers-color-scheme: dark) {
  :root { --page: #12161c; --card: #1b212a; --ink: #e8ecf1; --soft: #9aa7b6; --line: #2d3642;
    --accent: #7da6f5; --bad: #ff8a80 }
}
* { box-sizing: border-box }
body { margin: 0; background: var(--page); color: var(--ink); line-height: 1.5;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif }
header, main, footer { max-width: 1320px; margin: 0 auto; padding: 0 24px }
header { padding-top: 36px }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0; letter-spacing: -.015em }
header p, .note, footer { color: var(--soft); font-size: .9rem }
header p { margin: 6px 0 0 }
h2 { font-size: 1.2rem; margin: 32px 0 12px }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(170px, 1fr)); gap: 16px;
  margin: 0 0 16px }
.tile, .card { background: var(--card); border: 1px solid var(--line); border-radius: 10px }
.tile { padding: 16px 20px; border-top: 3px solid var(--accent) }
.tile dt { color: var(--soft); font-size: .85rem }
.tile dd { margin: 2px 0 0; font-size: clamp(1.2rem, 2vw, 1.7rem); font-weight: 650;
  font-variant-numeric: tabular-nums }
.grid { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 16px }
.card { padding: 18px 20px 14px; min-width: 0 }
.wide { grid-column: 1 / -1 }
.kicker { margin: 0; color: var(--accent); font-size: .75rem; font-weight: 650;
  letter-spacing: .05em; text-transform: uppercase }
h3 { margin: 2px 0 10px; font-size: 1.08rem; line-height: 1.3 }
.chart { height: 380px }
.empty { color: var(--soft); padding: 24px 0; text-align: center }
.scroll { overflow: auto; max-height: 480px }
table { border-collapse: collapse; width: 100%; font-size: .88rem; font-variant-numeric: tabular-nums }
th, td { padding: 7px 12px; border-bottom: 1px solid var(--line); text-align: left; white-space: nowrap }
th { position: sticky; top: 0; background: var(--card); color: var(--soft); font-weight: 600 }
th small { font-weight: 400 }
.n { text-align: right }
.bad { color: var(--bad); font-weight: 700 }
details { margin-top: 6px; font-size: .88rem }
summary { color: var(--soft); cursor: pointer }
footer { padding-top: 20px; padding-bottom: 40px }
footer p { margin: 4px 0 }
@media (max-width: 860px) {
  .grid { grid-template-columns: minmax(0, 1fr) }
  header, main, footer { padding-inline: 14px }
}
@media print { .card, .tile { break-inside: avoid } details { display: none } }
</style></head>
<body>
<noscript><p class="empty">The charts need JavaScript; their numbers are in the tables below.</p></noscript>
"""

_SCRIPT = """
const scheme = matchMedia("(prefers-color-scheme: dark)");
function draw() {
  const style = getComputedStyle(document.documentElement);
  const colour = name => style.getPropertyValue(name).trim();
  const axis = { gridcolor: colour("--line"), linecolor: colour("--line") };
  const template = { layout: {
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: colour("--ink") },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", xaxis: axis, yaxis: axis,
    hoverlabel: { bgcolor: colour("--card"), font: { color: colour("--ink") } },
  } };
  for (const [id, { data, layout }] of Object.entries(figures))
    Plotly.react(id, data, { ...layout, template }, { responsive: true, displayModeBar: false });
}
draw();
scheme.addEventListener("change", draw);
"""
