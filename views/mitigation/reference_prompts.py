"""Draw what the treatments do to prompts that are not memorized, which must not move."""

from __future__ import annotations

import streamlit as st

from mmh_core.plots import mitigation as plots
from mmh_core.studies.mitigation.run import MitigationRun
from mmh_core.studies.mitigation.table import treatment_rows
from mmh_core.studies.mitigation.verdict import harm, verdicts
from views.images import show
from views.mitigation import grid, phrases
from views.widgets import layout
from views.widgets.words import plural


def section(run: MitigationRun) -> None:
    """Draw the change of alignment of reference prompts, and their images."""
    layout.heading(
        "Side effects on reference prompts",
        "The same mitigations on prompts that are not memorized: a good one leaves their "
        "alignment unchanged and makes no copies. The image itself may change.",
        help=f"{phrases.ALIGNMENT} {phrases.INTERVAL}",
    )
    others = range(1, len(run.config.prompts))
    if not others:
        st.info(
            "This comparison has no reference prompts: switch on “Check side effects on "
            "reference prompts” at left and compare again.",
            icon=":material/info:",
        )
        return
    drawn = [prompt for prompt in others if grid.cells_of(run, prompt)]
    layout.chart(plots.must_not_move(treatment_rows(run, drawn)), "mi_must_not_move")
    seeds = plural(len(run.config.seeds), "seed")
    st.caption(f"Over {plural(len(drawn), 'reference prompt')} with {seeds} each.")
    _harm(run)
    for prompt in drawn:
        st.text(run.config.prompts[prompt])
        bodies = "".join(
            f"<div>{grid.body(run, cell)}</div>" for cell in grid.cells_of(run, prompt)
        )
        show.html(f'{grid.STYLE}<div class="mi-cells">{bodies}</div>')


def _harm(run: MitigationRun) -> None:
    """Say in words which mitigations harm reference prompts, and how."""
    harmed = [
        f"- {layout.plain(phrases.treatment(one.treatment))}: {layout.plain(harm(one.references))}"
        for one in verdicts(run)
        if one.references.effect == "harmed"
    ]
    if harmed:
        st.error("\n".join(harmed), icon=":material/warning:")
