"""Draw the figures of all treatments as a table of differences to none, and as a frontier."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import streamlit as st

from mmh_core.plots import mitigation as plots
from mmh_core.studies.mitigation_run import MitigationRun, Treatment
from mmh_core.studies.mitigation_table import Compared, TreatmentRow, treatment_rows
from views import layout
from views.images import show
from views.mitigation import phrases, state
from views.words import in_words, number, percent

_CHART = "mi_frontier"
_STYLE = """<style>
.mi-table {width: 100%; border-collapse: collapse; font-size: .875rem; line-height: 1.35;
  font-variant-numeric: tabular-nums;}
.mi-table th {text-align: left; font-weight: 600; vertical-align: bottom; opacity: .8;}
.mi-table th, .mi-table td {padding: .35rem .6rem .35rem 0;
  border-bottom: 1px solid rgba(128,140,146,.3);}
.mi-table td {vertical-align: top; white-space: nowrap;}
.mi-table td:first-child {white-space: normal; min-width: 9rem;}
.mi-table small {display: block; opacity: .75; font-size: .78rem;}
.mi-table tr.chosen td:first-child {font-weight: 600;}
.mi-scroll {overflow-x: auto;}
</style>"""


def frontier(run: MitigationRun, chosen: Treatment | None) -> None:
    """Draw copies against prompt alignment; clicking a mark chooses its treatment."""
    rows = treatment_rows(run)
    layout.heading(
        "Less copying, at what price for the prompt",
        "Down: less like a training picture. Right: fits the prompt better. A treatment left of "
        "No mitigation paid with the prompt; whiskers are 95 % intervals over the seeds and say "
        "nothing of other prompts.",
        help=f"{phrases.COPIES} {phrases.ALIGNMENT}",
    )
    st.session_state["mi_rows"] = tuple(row.treatment for row in rows)
    layout.chart(plots.frontier(rows, chosen), _CHART, on_select=_take_mark)
    st.caption("Click a mark to see its pictures.")


def _take_mark() -> None:
    """Choose the treatment whose mark was clicked."""
    event: Any = st.session_state.get(_CHART) or {}
    points = event.get("selection", {}).get("points", [])
    rows = st.session_state.get("mi_rows", ())
    for point in points:
        number_ = point.get("customdata")
        number_ = number_[0] if isinstance(number_, list) else number_
        if isinstance(number_, int | float) and 0 <= int(number_) < len(rows):
            state.choose_cell(rows[int(number_)])
            return


def section(rows: Sequence[TreatmentRow], chosen: Treatment | None, steps: int) -> None:
    """Draw the table of differences to none."""
    layout.heading(
        "In figures, as differences to no mitigation",
        "Big: the mean over the seeds; small: its difference to no mitigation with a 95 % "
        "interval. An interval that holds 0 shows no effect; that is not the same as none.",
        help=f"{phrases.INTERVAL} {phrases.COPIES} {phrases.ALIGNMENT} {phrases.MOVED}",
    )
    heads = (
        "Treatment",
        "Copies",
        "Similarity to the nearest",
        "Alignment",
        "LID",
        "Time, forwards per picture",
    )
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    body = "".join(_row(row, row.treatment == chosen) for row in rows)
    show.html(
        f'{_STYLE}<div class="mi-scroll"><table class="mi-table"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _row(row: TreatmentRow, chosen: bool) -> str:
    strength = phrases.strength(row.treatment)
    name = f"{escape(row.label)}<small>{escape(strength)}</small>"
    cells = [name]
    if row.refused and not row.pictures:
        return f'<tr><td>{name}</td><td colspan="5" style="white-space: normal">' + (
            f"{escape(row.refused)}</td></tr>"
        )
    base = row.treatment.mitigation == "none"
    copied = row.copied
    cells.append(
        _two(
            percent(copied.mean.value),
            "" if base else _points(copied),
        )
    )
    for figure, digits in ((row.similarity, 3), (row.alignment, 3), (row.lid, 1)):
        cells.append(
            _two(
                number(figure.mean.value, digits),
                "" if base else phrases.change(figure.difference, digits),
            )
        )
    cells.append(_two(in_words(row.seconds), f"{row.forwards:,.0f} forwards"))
    drawn = "".join(f"<td>{cell}</td>" for cell in cells)
    return f"<tr{' class=chosen' if chosen else ''}>{drawn}</tr>"


def _points(figure: Compared) -> str:
    """Return a difference of shares in percentage points."""
    change = figure.difference
    if change.value != change.value:
        return ""
    text = f"{100 * change.value:+.0f}"
    if change.low != change.low:
        return f"{text} points"
    return f"{text} [{100 * change.low:+.0f}, {100 * change.high:+.0f}] points"


def _two(value: str, below: str) -> str:
    return f"{escape(value)}<small>{escape(below)}</small>"
