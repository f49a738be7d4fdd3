"""Draw a comparison: what it is, its key figures and its sections."""

from __future__ import annotations

import math
from html import escape

import streamlit as st

from mmh_core.studies.mitigation_run import Cell, MitigationRun
from mmh_core.studies.mitigation_table import TreatmentRow, treatment_rows
from views import layout, words
from views.images import show
from views.mitigation import data, grid, normal, pairs, phrases, table, tokens, training
from views.mitigation.settings import TABS, Settings, same_request
from views.mitigation.state import choose_cell, key

# Four in a row, or two and two where there is less room: never three and one.
_STYLE = """<style>
.st-key-mi_figures {display: grid !important; gap: .75rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, max(170px, 22%)), 1fr));}
@media (max-width: 1150px) {.st-key-mi_figures {grid-template-columns: 1fr 1fr;}}
</style>"""


def result(run: MitigationRun, settings: Settings, *, precomputed: bool) -> None:
    """Draw a run that has ended, with everything that can be asked about it."""
    _headline(run, settings, precomputed=precomputed)
    rows = treatment_rows(run)
    if rows:
        _figures(rows)
    _sections(run, rows, settings)


def nothing() -> None:
    """Say what to do where there is no comparison to show."""
    st.info(
        "There is no comparison of this model yet. Write a prompt at left, switch on what to try, "
        "and press **Compare**: pictures appear while they are drawn, and you can stop at any "
        "time.",
        icon=":material/compare:",
    )


def _headline(run: MitigationRun, settings: Settings, *, precomputed: bool) -> None:
    config = run.config
    kind = "Finished example" if precomputed else "Your run"
    count = words.plural(len(grid.cells_of(run, 0)), "treatment")
    seeds = ", ".join(str(seed) for seed in config.seeds)
    sentence = (
        f"{kind}: {count} by {run.model}, seeds {seeds}, {config.steps} steps, guidance "
        f"{config.guidance:g}, {config.height} x {config.width}."
    )
    if config.model == settings.model and not same_request(settings.form, config):
        sentence += " The form at left differs: press Compare to run that."
    with st.container(gap="xsmall"):
        show.html(
            f'<p class="im-prompt" style="font-size: 1.25rem">{escape(config.prompts[0])}</p>'
        )
        st.caption(layout.plain(sentence))
    if run.state == "stopped":
        total = len(config.treatments) * len(config.prompts)
        st.info(
            f"Stopped before the end; {len(run.cells)} of {total} cells are kept.",
            icon=":material/stop_circle:",
        )


def best(rows: tuple[TreatmentRow, ...]) -> TreatmentRow | None:
    """Return the row with the fewest copies, among equals that with the best alignment."""
    tried = [r for r in rows if r.treatment.mitigation != "none" and r.pictures]
    tried = [r for r in tried if not math.isnan(r.copied.mean.value)]
    return min(
        tried,
        key=lambda r: (r.copied.mean.value, -r.alignment.mean.value),
        default=None,
    )


def _figures(rows: tuple[TreatmentRow, ...]) -> None:
    base, found = rows[0], best(rows)
    st.html(_STYLE)
    with st.container(key="mi_figures"):
        _figure(
            "Copies without",
            words.percent(base.copied.mean.value),
            words.plural(base.pictures, "picture"),
            phrases.COPIES,
        )
        if found is None:
            return
        _figure(
            "Copies with the best",
            words.percent(found.copied.mean.value),
            phrases.treatment(found.treatment),
            "The treatment with the fewest copies; among equals the one that fits the prompt "
            "best. Chosen on these very seeds, so expect a little less on others.",
        )
        kept = found.alignment.mean.value / base.alignment.mean.value
        _figure(
            "Alignment kept",
            words.percent(kept),
            "of that without",
            f"{phrases.ALIGNMENT}",
        )
        _figure(
            "LID",
            f"{words.number(base.lid.mean.value, 1)} → {words.number(found.lid.mean.value, 1)}",
            "directions, without and with",
            "In how many directions the picture can still change. It should rise where copying "
            "falls.",
        )


def _figure(label: str, value: str, beneath: str, help: str) -> None:
    st.metric(
        label,
        value,
        beneath,
        delta_color="off",
        delta_arrow="off",
        help=help,
        border=True,
        width="stretch",
    )


def _sections(run: MitigationRun, rows: tuple[TreatmentRow, ...], settings: Settings) -> None:
    """Draw the section that is open; the others cost nothing."""
    short = {label: name for name, label in TABS.items()}
    name = key("tab_label")
    st.session_state[name] = TABS[st.session_state[key("tab")]]
    tabs = st.tabs(list(TABS.values()), key=name, on_change=_take_tab)
    for tab, label in zip(tabs, TABS.values(), strict=True):
        if not tab.open:
            continue
        with tab:
            if short[label] == "data":
                data.section(run)
            elif short[label] == "training":
                training.section(run.model)
            elif not run.cells:
                st.info("This run was stopped before its first cell.")
            elif short[label] == "compare":
                _compare(run, rows, settings)
            elif short[label] == "grid":
                _grid(run, rows, settings)
            elif short[label] == "words":
                tokens.section(run, settings)
            else:
                normal.section(run)


def _take_tab() -> None:
    short = {label: name for name, label in TABS.items()}
    st.session_state[key("tab")] = short[st.session_state[key("tab_label")]]


def chosen_cell(run: MitigationRun, rows: tuple[TreatmentRow, ...], settings: Settings) -> Cell:
    """Return the cell to show in detail: the chosen one, else the best, else the last."""
    cells = grid.cells_of(run, 0)
    found = best(rows)
    for wanted in (settings.cell, None if found is None else found.treatment):
        for cell in cells:
            if cell.treatment == wanted:
                return cell
    return cells[-1]


def _compare(run: MitigationRun, rows: tuple[TreatmentRow, ...], settings: Settings) -> None:
    cell = chosen_cell(run, rows, settings)
    treatments = [one.treatment for one in grid.cells_of(run, 0)]
    layout.heading(
        "Before and after",
        "The same seed and the same starting noise on both sides, so every difference is the "
        "treatment's. One pair shows what can happen; the table below counts.",
    )
    st.session_state[key("pick")] = cell.treatment
    st.selectbox(
        "Treatment",
        treatments,
        key=key("pick"),
        format_func=phrases.treatment,
        on_change=_take_pick,
        label_visibility="collapsed",
    )
    pairs.section(run, grid.cells_of(run, 0)[0], cell, "compare")
    st.divider()
    table.frontier(run, cell.treatment)
    table.section(rows, cell.treatment, run.config.steps)


def _take_pick() -> None:
    choose_cell(st.session_state[key("pick")])


def _grid(run: MitigationRun, rows: tuple[TreatmentRow, ...], settings: Settings) -> None:
    cell = chosen_cell(run, rows, settings)
    grid.section(run, cell.treatment)
    st.divider()
    st.subheader(layout.plain(phrases.treatment(cell.treatment)), anchor=False)
    pairs.section(run, grid.cells_of(run, 0)[0], cell, "grid")
