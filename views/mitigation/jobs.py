"""Draw a job of the mitigation page while it waits and runs: place, progress, cells so far."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from mmh_core import mitigation_session, session
from mmh_core.store.job_record import JobRecord
from mmh_core.studies.mitigation_run import MitigationRun
from views import layout
from views.images import show
from views.mitigation import grid
from views.words import in_words

POLL_SECONDS = 1.0
_STOPPING = "mi_stopping"


def live(job: str) -> None:
    """Draw a comparison again and again until it has ended, then the page once more."""
    st.fragment(_panel, run_every=POLL_SECONDS)(job)


def _panel(job: str) -> None:
    with session.told():
        view = mitigation_session.mitigation_job(job)
        if not view.record.is_active:
            st.rerun()
        progress(view.record, "Stop here and keep the cells that are finished")
        if view.run is not None:
            _so_far(view.run)


def small(record: Callable[[], JobRecord], name: str) -> None:
    """Draw the progress of a short job inside a section until it has ended."""

    def panel() -> None:
        with session.told():
            found = record()
            if not found.is_active:
                st.rerun()
            progress(found, "Stop here", name)

    st.fragment(panel, run_every=POLL_SECONDS)()


def progress(record: JobRecord, help: str, name: str = "run") -> None:
    """Draw where a job stands, with the button that stops it."""
    with st.container(border=True):
        words, button = st.columns([5, 1], vertical_alignment="center")
        # Plain text: the label quotes the prompt.
        words.text(f"{record.label}: {_standing(record)}")
        button.button(
            "Cancel",
            key=f"mi_cancel_{name}",
            icon=":material/stop:",
            width="stretch",
            help=help,
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


def _so_far(run: MitigationRun) -> None:
    """Draw the preview of the running step, and the cells that are finished."""
    if len(run.preview):
        layout.heading(
            "What the running step aims at",
            "The pictures that this treatment would end in from here; they sharpen with every "
            "step and can still change.",
        )
        figures = "".join(
            show.figure(picture, f"Preview, seed {seed}", f"seed {seed}", most=show.CARD)
            for picture, seed in zip(run.preview, run.config.seeds, strict=False)
        )
        show.html(f'<div class="im-grid">{figures}</div>')
    if run.cells:
        layout.heading(
            "Finished so far",
            "One card for each treatment, all from the same starting noise; cancelling keeps "
            "them. Few seeds show what can happen, not how often.",
        )
        grid.so_far(run)
