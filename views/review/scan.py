"""Draw the scan of a table of prompts: upload, problems, progress, and the queue of it."""

from __future__ import annotations

import time

import streamlit as st

from mmh_core import image_session, scan_session, session
from mmh_core.records import MMHError
from mmh_core.scan_session import MOST_ROWS, ScanAbout, ScanJob, UploadedTable
from mmh_core.studies.scan import ScanState
from views import layout, words
from views.review import state
from views.review.state import key
from views.words import in_words

POLL_SECONDS = 1.0
_MOST_PROBLEMS = 200
_STOPPING = "rv_stopping"


def section() -> None:
    """Draw the running scan, or the place to bring a table, and the scans that are kept."""
    job = st.session_state[key("job")]
    if job is not None:
        _job(job)
        st.divider()
    _upload()
    _kept()


def _job(job: str) -> None:
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
    with session.told():
        view = scan_session.scan_job(job)
        if not view.record.is_active:
            st.rerun()
        with st.container(border=True):
            said, button = st.columns([5, 1], vertical_alignment="center")
            said.text(f"{view.record.label}: {_standing(view)}")
            button.button(
                "Cancel",
                key="rv_cancel",
                icon=":material/stop:",
                width="stretch",
                help="Stop here; what has a result is kept, and the scan can go on later",
                disabled=st.session_state.get(_STOPPING) == job,
                on_click=_cancel,
                args=(job,),
            )
            st.progress(view.record.fraction)
        if view.state is not None:
            _figures(view.state)


def _standing(view: ScanJob) -> str:
    record = view.record
    if record.state == "queued":
        return f"waiting, {words.plural(record.position or 1, 'job')} ahead"
    if st.session_state.get(_STOPPING) == record.id:
        return "stopping after this batch"
    if not record.message:
        return "loading the model"
    left = record.eta_seconds()
    return record.message.lower() + ("" if left is None else f", about {in_words(left)} left")


def _cancel(job: str) -> None:
    st.session_state[_STOPPING] = job
    session.jobs().runner.cancel(job)


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
            "They are kept: go on below at any time.",
            icon=":material/stop_circle:",
        )
    _figures(found)
    about = next(
        (one for one, _ in scan_session.kept_scans(1_000) if one.id == view.record.result), None
    )
    if about is not None and found.done:
        _queue_buttons(about, found.flagged)
    _problems(found.problems, found.problem_count)


def _figures(found: ScanState) -> None:
    pace = "n/a" if found.seconds <= 0 else f"{found.scored / found.seconds:,.0f} per s"
    with st.container(horizontal=True, gap="small"):
        for label, value in (
            ("Prompts", f"{found.done:,} of {found.total:,}"),
            ("Flagged", f"{found.flagged:,}"),
            ("From earlier", f"{found.known:,}"),
            ("Early scan", pace),
        ):
            st.metric(label, value, border=True, width="stretch")


def _queue_buttons(about: ScanAbout, flagged: int) -> None:
    with st.container(horizontal=True, gap="small"):
        st.button(
            "Make a queue of the flagged",
            key="rv_queue_flagged",
            type="primary",
            icon=":material/playlist_add:",
            disabled=not flagged,
            on_click=_make,
            args=(about, True),
        )
        st.button(
            "Make a queue of all",
            key="rv_queue_all",
            icon=":material/playlist_add:",
            on_click=_make,
            args=(about, False),
        )


def _make(about: ScanAbout, flagged: bool) -> None:
    try:
        found = scan_session.queue_of_scan(about, flagged=flagged)
    except (MMHError, ValueError, OSError) as error:
        st.session_state[key("refused_scan")] = str(error)
        return
    state.open_queue(found.id)
    st.session_state[key("tab")] = "judge"


def _upload() -> None:
    refused = st.session_state.pop(key("refused_scan"), None)
    if refused is not None:
        st.error(layout.plain(refused), icon=":material/error:")
    layout.heading(
        "Scan a table of prompts",
        f"CSV or Parquet with a column prompt (label, id and tags are kept), or a text file with "
        f"one prompt a line; at most {MOST_ROWS:,} rows here, a million with ./mmh scan. Every "
        "prompt gets the early scan, which draws nothing; those above the threshold are drawn "
        "and studied in full.",
    )
    file = st.file_uploader("Table of prompts", type=["csv", "parquet", "txt"], key="rv_prompts")
    if file is None:
        st.caption("What counts is the content; the file is kept under its digest only.")
        return
    try:
        table = scan_session.keep_table(file.name, file.getvalue())
    except MMHError as error:
        st.error(layout.plain(str(error)), icon=":material/error:")
        return
    _found(table)
    if table.prompts:
        _start(table)
    _problems(table.problems, len(table.problems))


def _found(table: UploadedTable) -> None:
    said = [f"{words.plural(table.prompts, 'prompt')} can be scanned"]
    if table.duplicates:
        verb = "repeats" if table.duplicates == 1 else "repeat"
        said.append(f"{words.plural(table.duplicates, 'row')} {verb} an earlier prompt")
    if table.problems:
        said.append(f"{words.plural(len(table.problems), 'row')} left out, listed below")
    st.text("; ".join(said) + ".")


def _start(table: UploadedTable) -> None:
    ready = [choice for choice in image_session.choices() if choice.ready]
    labels = {choice.name: choice.label for choice in ready}
    left, middle, right = st.columns(3, vertical_alignment="bottom")
    with left:
        model = st.selectbox("Model", list(labels), key="rv_model", format_func=labels.__getitem__)
    with middle:
        share = st.select_slider(
            "Flag",
            [0.0, 0.005, 0.01, 0.02, 0.05, 0.1],
            value=0.01,
            key="rv_share",
            format_func=lambda share: f"top {share:.1%}" if share else "above all normal",
            help="The share of the model's normal prompts that would be flagged too: a lower one "
            "finds less and gives fewer false alarms.",
        )
    with right:
        study = st.checkbox(
            "Draw and study what is flagged",
            value=True,
            key="rv_study",
            help="Pictures, nearest training pictures and LID for each flagged prompt, some "
            "seconds each. Without it the queue has scores only.",
        )
    if not st.button("Scan", key="rv_scan", type="primary", icon=":material/radar:"):
        return
    try:
        job = scan_session.submit_scan(table, str(model), share=float(share), study=study)
    except (MMHError, ValueError) as error:
        st.error(layout.plain(str(error)), icon=":material/error:")
        return
    _follow(job)
    state.remember()
    st.rerun()


def _follow(job: str) -> None:
    st.session_state[key("job")] = job


def _kept() -> None:
    """Draw the scans of before, to go on with or to make a queue of."""
    kept = scan_session.kept_scans()
    if not kept:
        return
    with st.expander("Scans kept here", icon=":material/history:"):
        for about, done in kept:
            with st.container(horizontal=True, vertical_alignment="center", gap="small"):
                made = time.strftime("%Y-%m-%d %H:%M", time.localtime(about.created))
                st.text(f"{about.name[:60]}, {made}, {about.model}: {done:,} of {about.prompts:,}")
                st.button(
                    "Go on" if done < about.prompts else "Open",
                    key=f"rv_go_{about.id}",
                    icon=":material/play_arrow:",
                    on_click=_go_on,
                    args=(about,),
                )


def _go_on(about: ScanAbout) -> None:
    try:
        _follow(scan_session.go_on(about))
    except MMHError as error:
        st.session_state[key("refused_scan")] = str(error)


def _problems(problems: tuple[tuple[int, str], ...], count: int) -> None:
    if not problems:
        return
    with st.expander(f"{words.plural(count, 'row')} left out", expanded=True):
        # Plain text: messages quote what the table says.
        st.text("\n".join(f"row {row}: {said}" for row, said in problems[:_MOST_PROBLEMS]))
        if count > _MOST_PROBLEMS:
            st.caption(f"and {count - _MOST_PROBLEMS:,} more")
