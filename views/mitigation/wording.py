"""The result of another wording: the prompt as it was against the one tried."""

from __future__ import annotations

import streamlit as st

from mmh_core.memorization.hypothesis import shown_lid
from mmh_core.studies.mitigation.run import Cell, MitigationRun
from views.images import compare, image_html
from views.mitigation import pairs, phrases, state
from views.mitigation import session as mitigation_session
from views.mitigation.settings import MitigationSettings
from views.widgets import job_panel, layout
from views.widgets.words import number, percent


def section(settings: MitigationSettings) -> None:
    """Show the result of another wording."""
    job = settings.trial
    if job is None:
        return
    view = mitigation_session.mitigation_job(job)
    if view.record.is_active:
        job_panel.live(
            lambda: mitigation_session.mitigation_job(job), "Stop here", "mi_cancel_trial"
        )
        return
    if view.record.error is not None:
        st.error(layout.plain(view.record.error), icon=":material/error:")
    run = view.run
    if run is None or len(run.cells) < 2:
        return
    before, after = run.cells[0], run.cells[1]
    layout.heading(
        "Reworded prompt",
        "Same seeds, same starting noise, no mitigation but the wording. If the copies "
        "disappear, the changed words are needed for them; if they stay, the other words suffice.",
    )
    image_html.show(pairs.diff(run.config.prompts[0], run.config.prompts[1]))
    _outcome(run, before, after)
    st.button(
        "Copy this prompt to the form",
        key="mi_use_prompt",
        icon=":material/edit_note:",
        on_click=state.use_prompt,
        args=(run.config.prompts[1],),
    )


@st.fragment
def _outcome(run: MitigationRun, before: Cell, after: Cell) -> None:
    with st.container(horizontal=True):
        way = compare.choose_way("mi_way_trial")
        chosen = compare.choose_seed(run.config.seeds[: len(before.kinds)], "mi_seed_trial")
    left, right = layout.side_by_side("mi_trial", (3, 2))
    with left:
        image_html.show(
            pairs.compared(before, after, chosen, way, ("original wording", "reworded"))
        )
    with right:
        layout.facts(
            [
                (
                    "Copy search",
                    f"{phrases.kind(before, chosen)} → {phrases.kind(after, chosen)}",
                ),
                ("Copy rate", f"{percent(before.copied)} → {percent(after.copied)}"),
                (
                    "Similarity to nearest training image",
                    f"{number(float(before.similarity[chosen]), 3)} → "
                    f"{number(float(after.similarity[chosen]), 3)}",
                ),
                (
                    "LID",
                    f"{number(shown_lid(float(before.lid[chosen])), 1)} → "
                    f"{number(shown_lid(float(after.lid[chosen])), 1)}",
                ),
            ]
        )
