"""Draw a job while it waits and runs, and stop asking about it when it has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from mmh_core import session
from mmh_core.store.job_record import JobRecord
from mmh_core.studies.manifold_run import ManifoldRun
from views import layout, words
from views.words import in_words

if TYPE_CHECKING:
    import plotly.graph_objects as go

POLL_SECONDS = 1.0
#: A run notes about 200 losses; the curve is drawn anew after so many.
_LOSSES_A_FIGURE = 40
_STOPPING = "mf_stopping"


def live(job: str) -> None:
    """Draw the progress of a job again and again until it has ended, then the page once more."""
    st.fragment(_panel, run_every=POLL_SECONDS)(job)


def _panel(job: str) -> None:
    with session.told():
        view = session.job_view(job)
        if not view.record.is_active:
            st.rerun()
        _progress(view.record)
        if view.run is not None:
            _so_far(job, view.run)


def _progress(record: JobRecord) -> None:
    with st.container(border=True):
        words, button = st.columns([5, 1], vertical_alignment="center")
        words.text(f"{record.label}: {_standing(record)}")
        button.button(
            "Cancel",
            key="mf_cancel",
            icon=":material/stop:",
            width="stretch",
            help="Stop here and keep everything up to now",
            disabled=st.session_state.get(_STOPPING) == record.id,
            on_click=_cancel,
            args=(record.id,),
        )
        st.progress(record.fraction)


def _cancel(job: str) -> None:
    st.session_state[_STOPPING] = job
    session.jobs().runner.cancel(job)


def _standing(record: JobRecord) -> str:
    """Return in words where a job stands."""
    if record.state == "queued":
        ahead = record.position or 1
        return f"waiting, {ahead} {'job' if ahead == 1 else 'jobs'} ahead"
    if st.session_state.get(_STOPPING) == record.id:
        return f"stopping after this step ({record.message.lower()})"
    left = record.eta_seconds()
    time_left = "" if left is None else f", about {in_words(left)} left"
    return f"{(record.message or 'starting').lower()}{time_left}"


def _so_far(job: str, run: ManifoldRun) -> None:
    """Draw the run as far as it is known."""
    snapshot = run.snapshots[-1] if run.snapshots else None
    picture, curve = _figures(job, run)
    seen, learned = layout.side_by_side("live")
    with seen:
        sentence = (
            "The training points, before the model has drawn its first samples."
            if snapshot is None
            else f"Samples after {snapshot.step:,} steps, colored by the dimension (LID) that the "
            "model gives them, which is read a dozen times in a run."
        )
        layout.heading("Data and samples", sentence, help=words.LID)
        layout.chart(picture, "mf_live_picture")
    with learned:
        layout.heading(
            "Training so far",
            "The loss should level off; once LID falls below the truth, copying has begun.",
        )
        if curve is not None:
            layout.chart(curve, "mf_live_training")


def _figures(job: str, run: ManifoldRun) -> tuple[go.Figure, go.Figure | None]:
    """Return the picture and the training curves, made anew a few times in a run.

    Training shares this process, so that figures made at every poll would slow it down.
    """
    from mmh_core.plots import curves, manifold

    made = (job, len(run.snapshots), len(run.losses) // _LOSSES_A_FIGURE)
    if st.session_state.get("mf_live_made") != made:
        snapshot = run.snapshots[-1] if run.snapshots else None
        curve = curves.training(run, snapshot) if len(run.losses) > 1 else None
        st.session_state["mf_live_figures"] = manifold.picture(run, snapshot), curve
        st.session_state["mf_live_made"] = made
    figures: tuple[go.Figure, go.Figure | None] = st.session_state["mf_live_figures"]
    return figures
