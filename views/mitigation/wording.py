"""Draw what came of another wording: the prompt as it was against the one tried."""

from __future__ import annotations

import streamlit as st

from mmh_core.studies.mitigation.run import Cell, MitigationRun
from views.images import show
from views.images.compare import WAYS
from views.mitigation import jobs, pairs, phrases, state
from views.mitigation import session as mitigation_session
from views.mitigation.settings import MitigationSettings
from views.widgets import layout
from views.widgets.words import number, percent


def section(settings: MitigationSettings) -> None:
    """Draw what came of another wording."""
    job = settings.trial
    if job is None:
        return
    view = mitigation_session.mitigation_job(job)
    if view.record.is_active:
        jobs.small(lambda: mitigation_session.mitigation_job(job).record, "trial")
        return
    if view.record.error is not None:
        st.error(layout.plain(view.record.error), icon=":material/error:")
    found = view.run
    if found is None or len(found.cells) < 2:
        return
    before, after = found.cells[0], found.cells[1]
    layout.heading(
        "Reworded prompt",
        "Same seeds, same starting noise, no mitigation but the wording. If the copies "
        "disappear, that word triggered them; if they stay, other words do too.",
    )
    show.html(pairs.diff(found.config.prompts[0], found.config.prompts[1]))
    _outcome(found, before, after)
    st.button(
        "Copy this prompt to the form",
        key="mi_use_prompt",
        icon=":material/edit_note:",
        on_click=state.use_prompt,
        args=(found.config.prompts[1],),
    )


@st.fragment
def _outcome(run: MitigationRun, before: Cell, after: Cell) -> None:
    with st.container(horizontal=True):
        way = st.segmented_control(
            "View",
            list(WAYS),
            default="side by side",
            required=True,
            key="mi_way_trial",
            format_func=WAYS.__getitem__,
            label_visibility="collapsed",
        )
        seed = st.segmented_control(
            "Seed",
            list(range(len(before.kinds))),
            default=0,
            required=True,
            key="mi_seed_trial",
            format_func=lambda i: f"seed {run.config.seeds[i]}",
            label_visibility="collapsed",
        )
    chosen = int(seed or 0)
    left, right = layout.side_by_side("mi_trial", (3, 2))
    with left:
        names = ("original wording", "reworded")
        show.html(pairs.compared(before.images[chosen], after.images[chosen], str(way), names))
    with right:
        layout.facts(
            [
                (
                    "Verdict",
                    f"{phrases.kind(before, chosen)} → {phrases.kind(after, chosen)}",
                ),
                ("Copies", f"{percent(before.copied)} → {percent(after.copied)}"),
                (
                    "Similarity to nearest training image",
                    f"{number(float(before.similarity[chosen]), 3)} → "
                    f"{number(float(after.similarity[chosen]), 3)}",
                ),
                (
                    "LID",
                    f"{number(float(before.lid[chosen]), 1)} → "
                    f"{number(float(after.lid[chosen]), 1)}",
                ),
            ]
        )
