"""Draw a job of the image study while it waits and runs: place, progress, preview, cancel."""

from __future__ import annotations

import streamlit as st

from mmh_core import image_session, session
from mmh_core.store.job_record import JobRecord
from mmh_core.studies.image_run import ImageRun
from views import layout
from views.images import cards, show
from views.words import in_words

POLL_SECONDS = 1.0
_STOPPING = "im_stopping"


def live(job: str) -> None:
    """Draw a job again and again until it has ended, then the page once more."""
    st.fragment(_panel, run_every=POLL_SECONDS)(job)


def _panel(job: str) -> None:
    with session.told():
        view = image_session.image_job(job)
        if not view.record.is_active:
            st.rerun()
        _progress(view.record)
        if view.run is not None:
            _so_far(view.run)


def _progress(record: JobRecord) -> None:
    with st.container(border=True):
        words, button = st.columns([5, 1], vertical_alignment="center")
        # Plain text: the label quotes the prompt.
        words.text(f"{record.label}: {_standing(record)}")
        button.button(
            "Cancel",
            key="im_cancel",
            icon=":material/stop:",
            width="stretch",
            help="Stop here and keep the pictures that are finished",
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
    if not record.message:
        return "loading the model, at the first run after a start only"
    left = record.eta_seconds()
    time_left = "" if left is None else f", about {in_words(left)} left"
    return f"{record.message.lower()}{time_left}"


def _so_far(run: ImageRun) -> None:
    """Draw the preview of the running step, and the pictures that are finished."""
    if len(run.preview):
        layout.heading(
            "What the running step aims at",
            "The picture that the model would end in from here; it sharpens with every step and "
            "can still change.",
        )
        figures = "".join(
            show.figure(picture, f"Preview, seed {seed}", f"seed {seed}", most=show.CARD)
            for picture, seed in zip(run.preview, run.config.seeds, strict=False)
        )
        show.html(f'<div class="im-grid wide">{figures}</div>')
    if run.pictures:
        layout.heading(
            "Finished so far",
            "Copies and LID follow in a moment, then the curves; cancelling keeps these.",
        )
        cards.so_far(run)
