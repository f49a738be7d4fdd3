"""A scan while it waits and runs, and what it found, with the ways to a queue."""

from __future__ import annotations

import streamlit as st

from mmh_core.counting import agreeing
from mmh_core.records import MMHError
from mmh_core.store.kept_scans import ScanAbout
from mmh_core.studies.review.scan import ScanState
from views.kept_runs import JobView
from views.review import scan_session, state
from views.review.scan_session import UploadedTable
from views.review.state import key
from views.widgets import job_panel, layout, words


def section(job: str) -> None:
    """Show a job: live while it runs, then what it found."""
    try:
        view = scan_session.scan_job(job)
    except MMHError as error:
        st.error(layout.plain(str(error)), icon=":material/error:")
        return
    if view.record.is_active:
        job_panel.live(
            lambda: scan_session.scan_job(job),
            "Stop here; finished results are kept, and the scan can be resumed later",
            "rv_cancel",
            so_far=_figures,
        )
        return
    if view.record.error is not None:
        st.error(layout.plain(view.record.error), icon=":material/error:")
    _ended(view)


def _ended(view: JobView[ScanState]) -> None:
    """Show the results of a scan, with the ways to a queue."""
    scan = view.run
    if scan is None:
        st.info("This scan ended before its first prompt.")
        return
    if view.record.state == "done":
        st.success(
            f"Scanned {scan.done:,} prompts: {scan.flagged:,} are flagged.",
            icon=":material/task_alt:",
        )
    else:
        st.info(
            f"Stopped at {scan.done:,} of {scan.total:,} prompts, {scan.flagged:,} flagged. "
            "They are kept: resume the scan below at any time.",
            icon=":material/stop_circle:",
        )
    _figures(scan)
    for sentence in scan.truncations():
        st.warning(sentence, icon=":material/hearing_disabled:")
    if scan.detection_rate:
        st.caption(scan.detection_rate)
    about = next(
        (past for past, _ in scan_session.kept_scans(1_000) if past.id == view.record.result), None
    )
    if about is not None and scan.done:
        _queue_buttons(about, scan.flagged)
    problems(scan.problems, scan.problem_count)


def _figures(scan: ScanState) -> None:
    pace = "n/a" if scan.seconds <= 0 else f"{scan.scored / scan.seconds:,.0f} per s"
    with st.container(horizontal=True, gap="small"):
        for label, value in (
            ("Prompts", f"{scan.done:,} of {scan.total:,}"),
            ("Flagged", f"{scan.flagged:,}"),
            ("Reused from cache", f"{scan.known:,}"),
            ("Speed", pace),
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
        queue = scan_session.queue_of_scan(about, flagged=flagged)
    except (MMHError, ValueError) as error:
        st.session_state[key("refused_scan")] = str(error)
        return
    state.open_queue(queue.id)
    st.session_state[key("tab")] = "judge"


_MOST_PROBLEMS = 200


def table_words(table: UploadedTable) -> None:
    """Show how many rows of a table are used, repeat others or are left out, and its columns."""
    st.text(f"{table.summary.sentence()} {table.summary.columns()}")


def row_preview(table: UploadedTable) -> None:
    """Show what becomes of each row, before anything is scanned."""
    rows = scan_session.preview(table)
    shown = "" if len(rows) >= table.summary.rows else f", the first {len(rows):,}"
    with st.expander(f"Import preview, row by row{shown}", icon=":material/table_rows:"):
        st.dataframe(
            rows,
            key="rv_preview",
            hide_index=True,
            height=min(400, 38 + 35 * len(rows)),
            column_config={"ID": st.column_config.TextColumn("ID", pinned=True)},
            alt="Rows of the table with their id, what becomes of them, and every column",
        )
        st.caption(
            "Items keep this order and every column. A row that repeats a prompt is scanned once "
            "and stays linked: the item of the first row names it."
        )


def left_out_rows(table: UploadedTable) -> None:
    """List the rows that were left out, and those that repeat an earlier one."""
    summary = table.summary
    problems(
        tuple((problem.row, problem.message) for problem in summary.problems), summary.left_out
    )
    if summary.repeated:
        verb = agreeing(summary.repeated, "repeats", "repeat")
        with st.expander(f"{words.plural(summary.repeated, 'row')} {verb} an earlier one"):
            st.text("\n".join(summary.repeated_lines()[:_MOST_PROBLEMS]))
            if summary.repeated > _MOST_PROBLEMS:
                st.caption(f"and {summary.repeated - _MOST_PROBLEMS:,} more")


def problems(rows: tuple[tuple[int, str], ...], count: int) -> None:
    """List rows that were left out, of `count` in all, with the reason."""
    if not rows:
        return
    with st.expander(f"{words.plural(count, 'row')} left out", expanded=True):
        # Plain text: messages quote what the table says.
        st.text("\n".join(message for _, message in rows[:_MOST_PROBLEMS]))
        if count > _MOST_PROBLEMS:
            st.caption(f"and {count - _MOST_PROBLEMS:,} more")
