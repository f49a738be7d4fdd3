"""Draw a job while it waits and runs, and stop asking about it when it has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from mmh_core.studies.manifolds.run import ManifoldRun
from views import session
from views.widgets import job_panel, layout, words

if TYPE_CHECKING:
    import plotly.graph_objects as go

POLL_SECONDS = 1.0
#: A run notes about 200 losses; the curve is drawn anew after so many.
_LOSSES_A_FIGURE = 40


def live(job: str) -> None:
    """Draw the progress of a job again and again until it has ended, then the page once more."""
    st.fragment(_panel, run_every=POLL_SECONDS)(job)


def _panel(job: str) -> None:
    with session.errors_as_messages():
        view = session.job_view(job)
        if not view.record.is_active:
            st.rerun()
        job_panel.progress(
            view.record,
            "Stop here and keep everything up to now",
            "mf_cancel",
            starting="starting",
        )
        if view.run is not None:
            _so_far(job, view.run)


def _so_far(job: str, run: ManifoldRun) -> None:
    """Draw the run as far as it is known."""
    snapshot = run.snapshots[-1] if run.snapshots else None
    image, curve = _figures(job, run)
    seen, learned = layout.side_by_side("live")
    with seen:
        sentence = (
            "The training points, before the first samples of the model."
            if snapshot is None
            else f"Samples after {snapshot.step:,} steps, colored by their learned LID, which "
            "is estimated a dozen times in a run."
        )
        layout.heading("Data and samples", sentence, help=words.LID)
        layout.chart(image, "mf_live_image")
    with learned:
        layout.heading(
            "Training so far",
            "The loss should level off; once LID falls below the truth, copying has begun.",
        )
        if curve is not None:
            layout.chart(curve, "mf_live_training")


def _figures(job: str, run: ManifoldRun) -> tuple[go.Figure, go.Figure | None]:
    """Return the image and the training curves, made anew a few times in a run.

    Training shares this process, so that figures made at every poll would slow it down.
    """
    from mmh_core.plots import curves, manifold

    made = (job, len(run.snapshots), len(run.losses) // _LOSSES_A_FIGURE)
    if st.session_state.get("mf_live_made") != made:
        snapshot = run.snapshots[-1] if run.snapshots else None
        curve = curves.training(run, snapshot) if len(run.losses) > 1 else None
        st.session_state["mf_live_figures"] = manifold.plane_figure(run, snapshot), curve
        st.session_state["mf_live_made"] = made
    figures: tuple[go.Figure, go.Figure | None] = st.session_state["mf_live_figures"]
    return figures
