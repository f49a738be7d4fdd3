"""List the jobs of a page that left a result, and lead back to each."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import streamlit as st

from mmh_core.formats.times import local_minute
from mmh_core.store.job_record import JobRecord

_STATES = {"done": "finished", "cancelled": "stopped"}


def section(
    jobs: Sequence[JobRecord],
    current: str | None,
    noun: str,
    prefix: str,
    *,
    on_open: Callable[[str], None],
    on_back: Callable[[None], None],
) -> None:
    """Show the list of past jobs, which are called `noun`; `current` is the one on the page.

    `on_open` gets the id of the job that is chosen.
    """

    def take() -> None:
        if st.session_state[f"{prefix}past"] is not None:
            on_open(st.session_state[f"{prefix}past"])

    records = {record.id: record for record in jobs}
    with st.expander(f"Past {noun}s", icon=":material/history:"):
        if current is not None:
            st.button(
                "Back to the finished example",
                icon=":material/arrow_back:",
                type="tertiary",
                key=f"{prefix}back",
                on_click=on_back,
                args=(None,),
            )
        if not records:
            st.caption(f"Your {noun}s are kept here, also after a restart.")
            return
        st.session_state[f"{prefix}past"] = current if current in records else None
        # A select box shows its options as they are; labels of buttons would be set as Markdown.
        st.selectbox(
            f"Open a past {noun}",
            list(records),
            key=f"{prefix}past",
            index=None,
            placeholder=f"Choose a {noun}",
            format_func=lambda job: named(records[job]),
            on_change=take,
            label_visibility="collapsed",
        )


def named(record: JobRecord) -> str:
    """Return what a job did, how it ended, and when."""
    ended = local_minute(record.finished or record.created)
    return f"{record.label} ({_STATES.get(record.state, record.state)} {ended})"
