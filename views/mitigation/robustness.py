"""The robustness of a comparison's mitigations: what it means, and a button that tries it."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from mmh_core.mitigations.retrigger import STEPS
from mmh_core.studies.mitigation.robustness import SEEDS
from mmh_core.studies.mitigation.robustness_rows import ROBUST
from mmh_core.studies.mitigation.run import MitigationRun
from mmh_core.studies.mitigation.verdict import TreatmentResult, nothing_to_solve
from views import session
from views.mitigation import session as mitigation_session
from views.mitigation import state
from views.widgets import layout
from views.widgets.words import duration_words, percent, plural


def section(run: MitigationRun, results: Sequence[TreatmentResult]) -> None:
    """Show how robustness was tried, or a button that tries it, with what that costs."""
    layout.heading(
        "Do the copies come back?",
        f"With each mitigation on: paraphrases of the prompt, {SEEDS} other seeds, and a "
        f"re-trigger attack of {STEPS} steps on the prompt embedding, aimed at the training "
        "image. Control: the attack on reference prompts, of which nothing is memorized. "
        f"Robust: at most {percent(ROBUST)} copies for paraphrases and for other seeds, and after "
        f"the attack at most {percent(ROBUST)} more than in the control.",
    )
    if run.robustness:
        texts = run.robustness[0].paraphrases
        if texts:
            st.caption(layout.plain(f"Paraphrases: {'; '.join(texts)}"))
        st.caption("The counts are in the table above.")
        return
    if nothing_to_solve(results):
        st.caption("No image is a copy without mitigation, so no copy can come back.")
        return
    if len(run.cells) < len(run.config.treatments):
        st.caption("This comparison was stopped; robustness needs a finished one.")
        return
    st.button(
        "Try whether copies come back",
        key="mi_robustness",
        icon=":material/replay:",
        on_click=_start,
        args=(run,),
    )
    st.caption(_cost(run))


def _start(run: MitigationRun) -> None:
    """Queue the robustness of a run, and show that job."""
    with session.errors_as_messages():
        state.show_job(mitigation_session.submit_robustness(run))


def _cost(run: MitigationRun) -> str:
    """Return one line on how much is generated and how long that takes."""
    count = plural(len(run.config.treatments), "mitigation")
    references = len(run.config.prompts) - 1
    control = (
        f"{plural(references, 'reference prompt')} as the control"
        if references
        else "no control, because there are no reference prompts"
    )
    seconds = mitigation_session.robustness_seconds(run)
    took = "an unknown time" if seconds is None else f"about {duration_words(seconds)}"
    return f"{count}, {control}: {took}, judging by this comparison. It can be cancelled."
