"""Export of a case as report, tables and zip, the integrity of its log, and import of a case."""

from __future__ import annotations

import re

import streamlit as st

from mmh_core.counting import agreeing, plural
from mmh_core.installation import PROGRAM
from mmh_core.records import MMHError
from mmh_core.store.case_tables import queue_csv
from mmh_core.store.log_chain import verify
from mmh_core.store.review_records import QueueRecord
from views.review import session as review_session
from views.review import state
from views.review.state import key
from views.widgets import downloads, layout

#: Of an uploaded case: some hundred full studies.
MOST_MEGABYTES = 200


def section(queues: list[QueueRecord]) -> None:
    """Show the exports, the integrity of the log, and the import of a case."""
    queue = next(
        (candidate for candidate in queues if candidate.id == st.session_state[key("queue")]), None
    )
    if queue is not None:
        left, right = layout.side_by_side("rv_hand")
        with left:
            _files(queue)
        with right:
            _chain(queue)
        st.divider()
    _import()


def _files(queue: QueueRecord) -> None:
    layout.part(
        "Export",
        "Each click on Prepare files writes them anew from the current records. Formulas in the "
        "CSV are neutralized; the Parquet file has all texts unchanged.",
    )
    if st.button("Prepare files", key="rv_prepare", icon=":material/inventory_2:"):
        with st.spinner("Writing the files"):
            _prepare(queue)
    made = st.session_state.get(key("files"))
    if made is None or made[0] != queue.id:
        return
    for name, data in made[1].items():
        downloads.offer(name, name, data, f"rv_download_{name.rsplit('.', 1)[1]}")
    for sentence in made[2]:
        st.caption(sentence)


def _prepare(queue: QueueRecord) -> None:
    """Make all files and keep them for this session."""
    stem = re.sub(r"[^A-Za-z0-9]+", "-", queue.name).strip("-").lower()[:60] or "queue"
    case, missing = review_session.case_bytes(queue.id)
    files = {
        f"{stem}.html": review_session.report_page(queue.id).encode(),
        f"{stem}.csv": queue_csv(review_session.queues(), queue.id),
        f"{stem}.parquet": review_session.parquet_bytes(queue.id),
        f"{stem}.zip": case,
    }
    sentences = ["The zip is the whole case, which another installation can import and verify."]
    if missing:
        are = agreeing(len(missing), "is", "are")
        sentences.append(
            f"The whole {plural(len(missing), 'run')} behind items (images, curves) {are} not on "
            "this server: the zip has their thumbnails and numbers."
        )
    st.session_state[key("files")] = (queue.id, files, sentences)


def _chain(queue: QueueRecord) -> None:
    layout.part(
        "Audit-log integrity",
        "Each row holds the hash of the row before and of all items. That alone does not "
        "reveal a log that was truncated or replaced by somebody who can write to the file: "
        "keep the seal, the hash of the last row, elsewhere, and enter it here later.",
    )
    kept = st.text_input(
        "Seal to verify",
        key="rv_kept_seal",
        max_chars=100,
        placeholder="64 letters and digits; may be left empty",
    )
    if st.button("Verify the log", key="rv_verify", icon=":material/verified:"):
        _verify(queue, (kept or "").strip() or None)
    layout.facts(
        [
            ("Rows of the log", f"{queue.rows:,}"),
            ("Items", f"{queue.items:,}"),
            ("Seal: head hash of the log (SHA-256)", ""),
        ]
    )
    st.code(queue.seal, language=None, wrap_lines=True)


def _verify(queue: QueueRecord, kept: str | None) -> None:
    """Show the result of verifying the log."""
    try:
        report = verify(review_session.queues(), queue.id, kept=kept)
    except MMHError as error:
        st.error(layout.plain(str(error)), icon=":material/error:")
        return
    for warning in report.warnings:
        st.warning(layout.plain(warning), icon=":material/schedule:")
    if report.whole:
        st.success(layout.plain(report.message), icon=":material/verified:")
    else:
        st.error(layout.plain(report.message), icon=":material/gpp_bad:")


def _import() -> None:
    layout.part(
        "Import a case",
        "The zip file that Prepare files wrote in another installation. It is verified before "
        "anything is imported: sizes, digests and the hash chain of judgements. Import a larger "
        f"one by `{PROGRAM} review import`.",
    )
    file = st.file_uploader(
        "Case file", type=["zip"], key="rv_case", max_upload_size=MOST_MEGABYTES
    )
    refused = st.session_state.pop(key("refused_case"), None)
    if refused is not None:
        st.error(layout.plain(refused), icon=":material/error:")
    if file is not None:
        st.button(
            "Import", key="rv_import", type="primary", icon=":material/upload:", on_click=_take
        )


def _take() -> None:
    """Import the uploaded case and open it; in a callback, before the sidebar is drawn."""
    try:
        imported = review_session.import_bytes(st.session_state["rv_case"].getvalue())
    except MMHError as error:
        st.session_state[key("refused_case")] = str(error)
        return
    state.open_queue(imported.id)
    st.session_state[key("tab")] = "judge"
    st.session_state[key("import_message")] = (
        f"Imported {imported.name}: {imported.items:,} items."
    )
