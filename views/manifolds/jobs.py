"""A training run while it waits and runs: progress, samples and curves so far."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from mmh_core.studies.manifolds.run import ManifoldRun
from views.manifolds import session as manifold_session
from views.widgets import job_panel, layout, words

if TYPE_CHECKING:
    import plotly.graph_objects as go

#: A run notes about 200 losses; the curve is drawn anew after so many.
_LOSSES_A_FIGURE = 40


def live(job: str) -> None:
    """Show the progress of a job again and again until it has ended, then the page once more."""
    job_panel.live(
        lambda: manifold_session.manifold_job(job),
        "Stop here and keep everything up to now",
        "mf_cancel",
        so_far=lambda run: _so_far(job, run),
        starting="starting",
    )


def _so_far(job: str, run: ManifoldRun) -> None:
    """Show the run as far as it is known."""
    snapshot = run.snapshots[-1] if run.snapshots else None
    image, curve = _figures(job, run)
    seen, learned = layout.side_by_side("live")
    with seen:
        sentence = (
            "The training points, before the first samples of the model."
            if snapshot is None
            else f"Samples after {snapshot.step:,} steps, colored by their model LID, which "
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
