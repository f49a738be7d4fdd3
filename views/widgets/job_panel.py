"""The progress of a job, with the button that stops it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import streamlit as st

from mmh_core.counting import plural
from mmh_core.store.job_record import JobRecord
from views import session
from views.kept_runs import JobView
from views.widgets.words import duration_words

RunT = TypeVar("RunT")
_STOPPING = "job_stopping"
_LOADING = "loading the model, at the first run after a start only"


def live(
    find: Callable[[], JobView[RunT]],
    help: str,
    key: str,
    *,
    so_far: Callable[[RunT], None] | None = None,
    every: float = 1.0,
    starting: str = _LOADING,
) -> None:
    """Show a job's progress every so many seconds until it has ended, then the page once more.

    `so_far` shows its run as far as it is known.
    """

    def panel() -> None:
        with session.errors_as_messages():
            view = find()
            if not view.record.is_active:
                st.rerun()
            progress(view.record, help, key, starting=starting)
            if so_far is not None and view.run is not None:
                so_far(view.run)

    st.fragment(panel, run_every=every)()


def progress(record: JobRecord, help: str, key: str, *, starting: str = _LOADING) -> None:
    """Show a job's progress; `help` says what stopping keeps, `key` names the button.

    `starting` stands there until the job has said something.
    """
    with st.container(border=True):
        words, button = st.columns([5, 1], vertical_alignment="center")
        # Plain text: the label quotes the prompt.
        words.text(f"{record.label}: {_status(record, starting)}")
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


def _status(record: JobRecord, starting: str) -> str:
    """Return in words what a job is doing."""
    if record.state == "queued":
        ahead = record.position or 1
        return f"waiting, {plural(ahead, 'job')} ahead"
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
        return f", longer than expected, {duration_words(elapsed)} so far"
    slower = ", slower than before" if left.slower else ""
    return f", about {duration_words(seconds)} left{slower}"
