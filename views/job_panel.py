"""Draw where a job that draws pictures stands, with the button that stops it."""

from __future__ import annotations

import streamlit as st

from mmh_core import session
from mmh_core.store.job_record import JobRecord
from views.words import in_words

_STOPPING = "job_stopping"


def progress(record: JobRecord, help: str, key: str) -> None:
    """Draw a job's standing; `help` says what stopping keeps, `key` names the button."""
    with st.container(border=True):
        words, button = st.columns([5, 1], vertical_alignment="center")
        # Plain text: the label quotes the prompt.
        words.text(f"{record.label}: {_standing(record)}")
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


def _standing(record: JobRecord) -> str:
    """Return in words where a job stands."""
    if record.state == "queued":
        ahead = record.position or 1
        return f"waiting, {ahead} {'job' if ahead == 1 else 'jobs'} ahead"
    if st.session_state.get(_STOPPING) == record.id:
        step = f" ({record.message.lower()})" if record.message else ""
        return f"stopping after this step{step}"
    if not record.message:
        return "loading the model, at the first run after a start only"
    left = record.eta_seconds()
    time_left = "" if left is None else f", about {in_words(left)} left"
    return f"{record.message.lower()}{time_left}"
