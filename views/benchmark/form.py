"""The sidebar of the benchmark page, and find the result to show."""

from __future__ import annotations

import streamlit as st

from mmh_core.counting import plural
from mmh_core.formats.tables import SUFFIXES
from mmh_core.records import MMHError
from mmh_core.studies.detection.benchmark_run import BenchmarkRun
from views import models as model_session
from views.benchmark import session as benchmark_session
from views.benchmark import state
from views.widgets import job_panel, layout

_POLL_SECONDS = 2.0
_STOP = state.key("cancel")
#: Measured on two cores: a prompt with two seeds, all detectors.
_SECONDS_A_PROMPT = 6


def sidebar() -> None:
    """Show the upload of a table of one's own; the result that ships needs nothing."""
    st.markdown("**Your own labeled prompts**")
    st.caption(
        "A table (CSV, JSON, Parquet) with the columns prompt and label (memorized or reference), "
        "at least ten of each. Half of them calibrate, the other half is the test set."
    )
    table = st.file_uploader(
        "Table of labeled prompts",
        type=list(SUFFIXES),
        key=state.key("table"),
        label_visibility="collapsed",
    )
    if table is None:
        return
    model = _model()
    prompts, summary = benchmark_session.labelled(table.getvalue(), table.name)
    st.text(summary.sentence())
    needed = plural(len(prompts), "different prompt")
    if model == model_session.POCKET:
        minutes = max(1, round(len(prompts) * _SECONDS_A_PROMPT / 60))
        needed += f", roughly {minutes} min on two cores."
    else:
        needed += ". The model's calibration is kept, and scans of prompts use it."
    st.caption(needed)
    if st.button(
        "Run the benchmark",
        type="primary",
        icon=":material/play_arrow:",
        width="stretch",
        key=state.key("start"),
    ):
        job = benchmark_session.submit(prompts, model)
        st.session_state[state.key("job")] = job
        state.remember()
        st.rerun()


def _model() -> str:
    """Return the model to compare on; there is a choice only where several can be loaded."""
    ready = [choice for choice in model_session.choices() if choice.ready]
    if len(ready) == 1:
        return ready[0].name
    labels = {choice.name: choice.label for choice in ready}
    return st.selectbox(
        "Model", list(labels), format_func=lambda name: labels[name], key=state.key("model")
    )


def run_of_page(job: str | None) -> BenchmarkRun | None:
    """Return the result of a job, or the precomputed one; show the job while it runs."""
    if job is None:
        return benchmark_session.precomputed()
    try:
        view = benchmark_session.benchmark_job(job)
    except MMHError as error:
        st.error(
            f"{layout.plain(str(error))} Below is the precomputed result.",
            icon=":material/error:",
        )
        return benchmark_session.precomputed()
    if view.record.is_active:
        job_panel.live(
            lambda: benchmark_session.benchmark_job(job),
            "Nothing is kept of a comparison that is not finished.",
            _STOP,
            every=_POLL_SECONDS,
        )
    elif view.record.error is not None:
        st.error(layout.plain(view.record.error), icon=":material/error:")
    elif view.run is None:
        st.info("This comparison was stopped before it had a result.", icon=":material/info:")
    st.button(
        "Back to the precomputed result",
        icon=":material/arrow_back:",
        type="tertiary",
        key=state.key("back"),
        on_click=_back,
    )
    return view.run if view.run is not None else benchmark_session.precomputed()


def _back() -> None:
    st.session_state[state.key("job")] = None
