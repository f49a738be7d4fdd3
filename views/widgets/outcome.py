"""The outcome of a job: its progress, its result, or why there is none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

import streamlit as st

from mmh_core.records import MMHError
from mmh_core.store.job_record import JobRecord
from views.widgets import layout

RunT_co = TypeVar("RunT_co", covariant=True)
RunT = TypeVar("RunT")


class StudyJob(Protocol[RunT_co]):
    """The record of a job, and its run as far as it is known."""

    @property
    def record(self) -> JobRecord:
        """Return the record with the job's status."""

    @property
    def run(self) -> RunT_co | None:
        """Return the result so far, None before there is any."""


def draw(
    job: str,
    find: Callable[[str], StudyJob[RunT]],
    *,
    noun: str,
    live: Callable[[str], None],
    result: Callable[[RunT], None],
    example: Callable[[], None],
) -> None:
    """Draw a job of this server, called `noun`: live while it runs, as a result afterwards.

    Without a result the example stands there, below the reason.
    """
    try:
        view = find(job)
    except MMHError as error:
        st.error(f"{layout.plain(str(error))} Below is the example.", icon=":material/error:")
        example()
        return
    if view.record.is_active:
        live(job)
        return
    if view.record.error is not None:
        st.error(layout.plain(view.record.error), icon=":material/error:")
    if view.run is not None:
        result(view.run)
    elif view.record.state == "cancelled":
        st.info(f"This {noun} was cancelled while it was queued; it has no results.")
    else:
        example()
