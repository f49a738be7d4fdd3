"""Draw a scan while it waits and runs, and what it found, with the ways to a queue."""

from __future__ import annotations

import streamlit as st

from mmh_core.records import MMHError
from mmh_core.store.kept_scans import ScanAbout
from mmh_core.studies.review.scan import ScanState
from views import session
from views.review import scan_session, state
from views.review.scan_session import ScanJob
from views.review.scan_table import problems
from views.review.state import key
from views.widgets import job_panel, layout

POLL_SECONDS = 1.0


def section(job: str) -> None:
    """Draw a job: live while it runs, then what it found."""
    try:
        view = scan_session.scan_job(job)
    except MMHError as error:
        st.error(layout.plain(str(error)), icon=":material/error:")
        return
    if view.record.is_active:
        st.fragment(_live, run_every=POLL_SECONDS)(job)
        return
    if view.record.error is not None:
        st.error(layout.plain(view.record.error), icon=":material/error:")
    _ended(view)


def _live(job: str) -> None:
    """Draw a job again and again until it has ended, then the page once more."""
    with session.errors_as_messages():
        view = scan_session.scan_job(job)
        if not view.record.is_active:
            st.rerun()
        job_panel.progress(
            view.record,
            "Stop here; finished results are kept, and the scan can be resumed later",
            "rv_cancel",
        )
        if view.state is not None:
            _figures(view.state)


def _ended(view: ScanJob) -> None:
    """Draw what a scan found, with the ways on."""
    found = view.state
    if found is None:
        st.info("This scan ended before its first prompt.")
        return
    if view.record.state == "done":
        st.success(
            f"Scanned {found.done:,} prompts: {found.flagged:,} are flagged.",
            icon=":material/task_alt:",
        )
    else:
        st.info(
            f"Stopped at {found.done:,} of {found.total:,} prompts, {found.flagged:,} flagged. "
            "They are kept: resume the scan below at any time.",
            icon=":material/stop_circle:",
        )
    _figures(found)
    for sentence in found.not_read():
        st.warning(sentence, icon=":material/hearing_disabled:")
    if found.reach:
        st.caption(found.reach)
    about = next(
        (one for one, _ in scan_session.kept_scans(1_000) if one.id == view.record.result), None
    )
    if about is not None and found.done:
        _queue_buttons(about, found.flagged)
    problems(found.problems, found.problem_count)


def _figures(found: ScanState) -> None:
    pace = "n/a" if found.seconds <= 0 else f"{found.scored / found.seconds:,.0f} per s"
    with st.container(horizontal=True, gap="small"):
        for label, value in (
            ("Prompts", f"{found.done:,} of {found.total:,}"),
            ("Flagged", f"{found.flagged:,}"),
            ("Reused from cache", f"{found.known:,}"),
            ("Early scan (AUC)", pace),
        ):
            st.metric(label, value, border=True, width="stretch")


def _queue_buttons(about: ScanAbout, flagged: int) -> None:
    with st.container(horizontal=True, gap="small"):
        st.button(
            "Create a queue of flagged prompts",
            key="rv_queue_flagged",
            type="primary",
            icon=":material/playlist_add:",
            disabled=not flagged,
            on_click=_make,
            args=(about, True),
        )
        st.button(
            "Create a queue of all prompts",
            key="rv_queue_all",
            icon=":material/playlist_add:",
            on_click=_make,
            args=(about, False),
        )


def _make(about: ScanAbout, flagged: bool) -> None:
    try:
        found = scan_session.queue_of_scan(about, flagged=flagged)
    except (MMHError, ValueError) as error:
        st.session_state[key("refused_scan")] = str(error)
        return
    state.open_queue(found.id)
    st.session_state[key("tab")] = "judge"
