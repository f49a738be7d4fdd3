"""The numbers of all mitigations as a table of differences to none, and as a frontier."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import streamlit as st

from mmh_core.counting import agreeing, plural
from mmh_core.memorization.hypothesis import shown_lid
from mmh_core.memorization.verdict import OUTCOME_ROWS
from mmh_core.plots import mitigation as plots
from mmh_core.studies.mitigation.outcome import GOOD
from mmh_core.studies.mitigation.robustness_rows import (
    NOT_RUN,
    RobustnessRow,
    robustness_words,
)
from mmh_core.studies.mitigation.run import MitigationRun, Treatment
from mmh_core.studies.mitigation.table import Compared, TreatmentRow, treatment_rows
from mmh_core.studies.mitigation.verdict import ReferenceRow, TreatmentResult
from views.images import image_html
from views.mitigation import phrases, state
from views.style import GROUND, HARM
from views.widgets import layout
from views.widgets.words import number, percent

_CHART = "mi_frontier"
#: Outcomes that are named beside the share that is solved; copies have a column of their own.
_OTHERS = tuple(kind for kind, row in OUTCOME_ROWS.items() if not row.good and kind != "copy")
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
.mi-table td:nth-child(2), .mi-table td:nth-child(3), .mi-table td:nth-child(7) {
  white-space: normal; min-width: 7rem;}
.mi-table td:nth-child(8) {white-space: normal; min-width: 13rem;}
.mi-scroll {overflow-x: auto;}
"""
_STYLE += f""".mi-table .mi-bad {{color: {HARM};}}
/* What a row is about stays in view while its figures are moved sideways. */
.mi-table :is(th, td):first-child {{position: sticky; left: 0; background: {GROUND};}}
</style>"""


def frontier(run: MitigationRun, chosen: Treatment | None) -> None:
    """Show copies against prompt alignment; clicking a mark chooses its mitigation."""
    rows = treatment_rows(run)
    layout.heading(
        "Copying against prompt alignment",
        "Lower: less similar to a training image. Further right: better alignment. A mitigation "
        "left of No mitigation lost alignment; a hollow mark only moved images below the "
        "copy threshold, with LID unchanged: not solved. Whiskers are 95 % intervals over the "
        "seeds.",
        help=f"{phrases.PASSES} {phrases.COPY_RATE} {phrases.ALIGNMENT}",
    )
    st.session_state["mi_rows"] = tuple(row.treatment for row in rows)
    layout.chart(plots.frontier(rows, chosen), _CHART, on_select=_take_mark)
    st.caption("Click a mark to see its images.")


def _take_mark() -> None:
    """Choose the mitigation whose mark was clicked."""
    event: Any = st.session_state.get(_CHART) or {}
    points = event.get("selection", {}).get("points", [])
    rows = st.session_state.get("mi_rows", ())
    for point in points:
        number_ = point.get("customdata")
        number_ = number_[0] if isinstance(number_, list) else number_
        if isinstance(number_, int | float) and 0 <= int(number_) < len(rows):
            state.choose_cell(rows[int(number_)])
            return


def section(results: Sequence[TreatmentResult], chosen: Treatment | None) -> None:
    """Show the table of differences to none."""
    layout.heading(
        "Results, as differences to no mitigation",
        "Large: the mean over the seeds; small: its difference to no mitigation with a 95 % "
        "interval in brackets. An interval that contains 0 shows no effect, and does not prove "
        "that there is none.",
        help=f"{phrases.PASSES} {phrases.INTERVAL} {phrases.COPY_RATE} {phrases.ALIGNMENT} "
        f"{phrases.SIMILARITY_TO_UNMITIGATED}",
    )
    heads = (
        "Mitigation",
        "Verdict",
        "Images solved",
        "Copy rate",
        "Alignment",
        "LID",
        "Reference prompts",
        "Robustness: copies that come back",
        "Similarity to nearest training image",
        "Time, NFE per image",
    )
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    body = "".join(_row(verdict, verdict.treatment == chosen) for verdict in results)
    image_html.show(
        # Focusable, so that it can be moved sideways by keys.
        f'{_STYLE}<div class="mi-scroll" tabindex="0" role="region" '
        f'aria-label="Table of mitigations"><table class="mi-table"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _row(verdict: TreatmentResult, chosen: bool) -> str:
    row = verdict.row
    name = f"{escape(row.label)}<small>{escape(phrases.strength(row.treatment))}</small>"
    if row.refused and not row.images:
        return f'<tr><td>{name}</td><td colspan="9" style="white-space: normal">' + (
            f"{escape(row.refused)}</td></tr>"
        )
    base = row.treatment.mitigation == "none"

    def figure(compared: Compared, digits: int, shown: Callable[[float], float] = float) -> str:
        below = "" if base else phrases.change(compared.difference, digits)
        return _two(number(shown(compared.mean.value), digits), below)

    cells = [
        name,
        "" if base else _verdict(verdict),
        "" if base else _solved(row),
        _two(percent(row.copied.mean.value), "" if base else _points(row.copied)),
        figure(row.alignment, 3),
        figure(row.lid, 1, shown_lid),
        "" if base else _references(verdict.references),
        _robustness(verdict.robustness),
        figure(row.similarity, 3),
        _two(phrases.seconds(row.seconds), f"{row.nfe:,.0f} NFE"),
    ]
    columns = "".join(f"<td>{cell}</td>" for cell in cells)
    return f"<tr{' class=chosen' if chosen else ''}>{columns}</tr>"


def _verdict(verdict: TreatmentResult) -> str:
    """Return whether a mitigation passes, and by which criteria it fails."""
    if verdict.passes:
        below = "" if verdict.judgement.passes_all else verdict.judgement.sentence
        return _two("passes", below)
    return _two("does not pass", verdict.judgement.sentence)


def _robustness(row: RobustnessRow | None) -> str:
    """Return the counts of what comes back each way, and whether that is robust."""
    if row is None:
        return _two(NOT_RUN, "")
    names = ("paraphrases", "other seeds", "re-trigger attack", "attack on reference prompts")
    lines = [f"{name}: {text}" for name, text in zip(names, robustness_words(row), strict=True)]
    state_ = {True: "robust", False: "not robust", None: "unknown"}[row.robust]
    below = "".join(f"<small>{escape(line)}</small>" for line in lines)
    return f"{state_}{below}"


def _solved(row: TreatmentRow) -> str:
    """Return the share of images that are solved, and below what else they are but copies."""
    others = [
        f"{percent(row.share(kind))} {OUTCOME_ROWS[kind].sentence}"
        for kind in _OTHERS
        if row.share(kind) > 0
    ]
    return _two(percent(row.share(*GOOD)), ", ".join(others))


def _references(references: ReferenceRow) -> str:
    """Return what happens to reference prompts, in red where they are harmed."""
    if references.effect == "not checked":
        return _two("not checked", "")
    copies = (
        f"{references.new_copies} of {plural(references.images, 'image')} "
        f"{agreeing(references.new_copies, 'is a new copy', 'are new copies')}"
        if references.new_copies
        else ""
    )
    change = phrases.change(references.alignment, 3)
    below = ", ".join(part for part in (copies, f"alignment {change}") if part)
    css_class = ' class="mi-bad"' if references.effect == "harmed" else ""
    return f"<span{css_class}>{escape(references.effect)}<small>{escape(below)}</small></span>"


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
