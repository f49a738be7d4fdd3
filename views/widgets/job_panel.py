"""Draw where a job stands, with the button that stops it."""

from __future__ import annotations

import time

import streamlit as st

from mmh_core.store.job_record import JobRecord
from views import session
from views.widgets.words import in_words

_STOPPING = "job_stopping"
_LOADING = "loading the model, at the first run after a start only"


def live(job: str, help: str, key: str, *, every: float = 1.0) -> None:
    """Draw a job's standing every so many seconds until it has ended, then the page once more."""
    st.fragment(_live, run_every=every)(job, help, key)


def _live(job: str, help: str, key: str) -> None:
    with session.errors_as_messages():
        record = session.jobs().runner.record(job)
        if not record.is_active:
            st.rerun()
        progress(record, help, key)


def progress(record: JobRecord, help: str, key: str, *, starting: str = _LOADING) -> None:
    """Draw a job's standing; `help` says what stopping keeps, `key` names the button.

    `starting` stands there until the job has said something.
    """
    with st.container(border=True):
        words, button = st.columns([5, 1], vertical_alignment="center")
        # Plain text: the label quotes the prompt.
        words.text(f"{record.label}: {_standing(record, starting)}")
        button.button(
            "Cancel",
            key=key,
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


def _standing(record: JobRecord, starting: str) -> str:
    """Return in words where a job stands."""
    if record.state == "queued":
        ahead = record.position or 1
        return f"waiting, {ahead} {'job' if ahead == 1 else 'jobs'} ahead"
    if st.session_state.get(_STOPPING) == record.id:
        step = f" ({record.message.lower()})" if record.message else ""
        return f"stopping after this step{step}"
    if not record.message:
        return starting
    return f"{record.message.lower()}{_left(record)}"


def _left(record: JobRecord) -> str:
    """Return in words how long a job will still take: falling, and honest where it falls short."""
    left = session.jobs().runner.time_left(record.id)
    if left is None or record.started is None:
        return ""
    now = time.time()
    seconds, elapsed = left.now(now), now - record.started
    if seconds < 0.5 < now - left.at:
        return f", longer than expected, {in_words(elapsed)} so far"
    slower = ", slower than before" if left.slower else ""
    return f", about {in_words(seconds)} left{slower}"
