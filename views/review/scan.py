"""The scan of a table of prompts: the running one, the upload, and those of before."""

from __future__ import annotations

import streamlit as st

from mmh_core.formats.tables import SUFFIXES
from mmh_core.formats.times import local_minute
from mmh_core.installation import PROGRAM
from mmh_core.records import MMHError
from mmh_core.store.kept_scans import ScanAbout
from views import models as model_session
from views.review import scan_job, scan_session, state
from views.review.scan_session import MOST_ROWS, UploadedTable
from views.review.state import key
from views.widgets import layout


def section() -> None:
    """Show the running scan, the upload of a table, and the past scans."""
    job = st.session_state[key("job")]
    if job is not None:
        scan_job.section(job)
        st.divider()
    _upload()
    _kept()


def _upload() -> None:
    refused = st.session_state.pop(key("refused_scan"), None)
    if refused is not None:
        st.error(layout.plain(refused), icon=":material/error:")
    layout.part(
        "Scan a table of prompts",
        "The early scan scores every prompt by a few network evaluations, without an image; only "
        "flagged prompts are generated and compared with the training images.",
        help="CSV, TSV, JSON, JSON lines or Parquet with a column prompt, caption or text (all "
        "others are kept), or a text file with one prompt a line. At most "
        f"{MOST_ROWS:,} rows here; {PROGRAM} scan takes a million.",
    )
    file = st.file_uploader("Table of prompts", type=list(SUFFIXES), key="rv_prompts")
    uploaded = None if file is None else (file.name, file.getvalue())
    try:
        table = _table(uploaded, str(st.session_state.get(key("column")) or ""))
    except MMHError as error:
        st.error(layout.plain(str(error)), icon=":material/error:")
        _choose_column(uploaded)
        return
    if table is None:
        return
    if table.column:
        _choose_column(uploaded)
    scan_job.table_words(table)
    scan_job.row_preview(table)
    if table.summary.prompts:
        _start(table)
    scan_job.left_out_rows(table)


def _choose_column(uploaded: tuple[str, bytes] | None) -> None:
    """Show the columns of a table that leaves open which has the prompts."""
    names = () if uploaded is None else scan_session.column_names(*uploaded)
    if names:
        st.selectbox(
            "Prompt column",
            names,
            index=None,
            key=key("column"),
            placeholder="Choose a column",
        )


def _table(uploaded: tuple[str, bytes] | None, column: str) -> UploadedTable | None:
    """Return the uploaded table, the example where it was asked for, None without any."""
    if uploaded is not None:
        st.session_state[key("example")] = False
        chosen = column if column and column in scan_session.column_names(*uploaded) else ""
        return scan_session.keep_table(*uploaded, chosen)
    if st.session_state.get(key("example")):
        return scan_session.keep_table(*scan_session.example_table())
    st.button(
        "Use the example table",
        key="rv_take_example",
        icon=":material/table_view:",
        help="A table of training prompts of the shipped model and similar ones, some of them "
        "memorized",
        on_click=_take_example,
    )
    return None


def _take_example() -> None:
    st.session_state[key("example")] = True


def _start(table: UploadedTable) -> None:
    ready = [choice for choice in model_session.choices() if choice.ready]
    labels = {choice.name: choice.label for choice in ready}
    left, right = st.columns(2)
    with left:
        model = st.selectbox("Model", list(labels), key="rv_model", format_func=labels.__getitem__)
    with right:
        fpr = st.select_slider(
            "False-positive rate on reference prompts",
            [0.0, 0.005, 0.01, 0.02, 0.05, 0.1],
            value=0.01,
            key="rv_share",
            format_func=_percent,
            help="The share of reference prompts that is flagged: at a lower one the scan detects "
            "less and gives fewer false positives.",
        )
    study = st.checkbox(
        "Generate and analyze flagged prompts",
        value=True,
        key="rv_study",
        help="Images, nearest training images and LID for each flagged prompt. Without it the "
        "queue has scores only.",
    )
    st.caption(
        f"{scan_session.detection_rate_sentence(str(model), float(fpr))} "
        "With the shipped model the scan scores tens of prompts a second on two processor "
        "cores; each one that is flagged takes about 10 s more. You can use other pages "
        "meanwhile."
    )
    if not st.button("Scan", key="rv_scan", type="primary", icon=":material/radar:"):
        return
    try:
        job = scan_session.submit_scan(table, str(model), fpr=float(fpr), analyze_flagged=study)
    except (MMHError, ValueError) as error:
        st.error(layout.plain(str(error)), icon=":material/error:")
        return
    _follow(job)
    state.remember()
    st.rerun()


def _percent(fpr: float) -> str:
    return f"{100 * fpr:g} %"


def _follow(job: str) -> None:
    st.session_state[key("job")] = job


def _kept() -> None:
    """Show the past scans, to resume or to make a queue of."""
    kept = scan_session.kept_scans()
    if not kept:
        return
    with st.expander("Past scans", icon=":material/history:"):
        for about, done in kept:
            with st.container(horizontal=True, vertical_alignment="center", gap="small"):
                made = local_minute(about.created)
                st.text(f"{about.name[:60]}, {made}, {about.model}: {done:,} of {about.prompts:,}")
                st.button(
                    "Resume" if done < about.prompts else "Open",
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
