"""The audit of several uploaded images: a table, the details of one, and a file of all."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable

import pandas as pd
import streamlit as st

from mmh_core.counting import agreeing, plural
from mmh_core.formats.export import frame_csv
from mmh_core.formats.texts import short
from mmh_core.memorization.hypothesis import shown_lid
from mmh_core.memorization.verdict import verdict_words
from mmh_core.records import MMHError
from mmh_core.retrieval.image_content import NAMED
from mmh_core.studies.images.audit_batch import AuditBatch
from mmh_core.studies.images.run import ImageResult
from views import session
from views.images import detail, image_html, phrases, state
from views.images import session as image_session
from views.widgets import downloads, job_panel, layout

#: Images at once, the side of a thumbnail, and letters of a file's name.
MOST, _THUMB, _NAME = 200, 64, 80
_TABLE = "im_audits_table"
#: Returns what a result of a model is seen against.
ContextOf = Callable[[str, ImageResult], detail.ImageContext]


def section(model: str, context_of: ContextOf) -> None:
    """Show the upload of several images, and their audits."""
    files = st.file_uploader(
        "Images",
        key="im_files",
        accept_multiple_files=True,
        help=f"{NAMED}. What counts is the content, not the name; they are not kept.",
    )
    if len(files) > MOST:
        st.error(
            f"{len(files):,} images are more than {MOST} at once: take fewer, or audit a folder "
            "by the command line."
        )
        return
    if files and st.button(
        f"Audit {plural(len(files), 'image')}",
        key="im_audits_start",
        type="primary",
        icon=":material/image_search:",
    ):
        with session.errors_as_messages():
            named = [(short(file.name, _NAME, end=True), file.getvalue()) for file in files]
            st.session_state[state.key("audits")] = image_session.submit_audits(named, model)
            st.rerun()
    job = st.session_state[state.key("audits")]
    if job is None:
        st.caption("Each image is searched among all training images, and its LID is estimated.")
        return
    _audits(str(job), model, context_of)


def _audits(job: str, model: str, context_of: ContextOf) -> None:
    try:
        view = image_session.audits_job(job)
    except MMHError as error:
        st.error(layout.plain(str(error)), icon=":material/error:")
        return
    if view.record.is_active:
        job_panel.live(
            lambda: image_session.audits_job(job),
            "Stop here; finished audits are kept",
            "im_audits_cancel",
            so_far=_listed,
        )
        return
    if view.record.error is not None:
        st.error(layout.plain(view.record.error), icon=":material/error:")
    if view.run is None:
        st.info(
            "These audits are gone: the server was restarted, and uploaded images are not kept.",
            icon=":material/info:",
        )
        return
    _listed(view.run)
    _chosen(view.run, job, model, context_of)


def finding(batch: AuditBatch) -> str:
    """Return in a sentence how many of the images are copies, and what was left out."""
    counts = Counter(verdict_words(result.verdict) for result in batch.results)
    listed = ", ".join(f"{words} {count}" for words, count in counts.most_common())
    left = ""
    if batch.left_out:
        many = len(batch.left_out)
        left = f" {plural(many, 'file')} {agreeing(many, 'was', 'were')} left out."
    return f"{plural(len(batch.results), 'image')} audited: {listed or 'none'}.{left}"


def rows(batch: AuditBatch) -> pd.DataFrame:
    """Return one row per image that was audited, in the order of the files."""
    return pd.DataFrame(
        [
            {
                "file": name,
                "verdict": verdict_words(result.verdict),
                "nearest": phrases.nearest(result),
                "lid": math.nan if result.lid is None else shown_lid(result.lid.conditional),
                "lid_error": math.nan if result.lid is None else result.lid.conditional_error,
                "percentile": math.nan if result.lid is None else result.lid.percentile,
                "caption": result.prompt,
                "reason": result.reason,
            }
            for name, result in zip(batch.names, batch.results, strict=True)
        ]
    )


def _listed(batch: AuditBatch) -> None:
    """Show the finding and the table so far."""
    layout.finding(finding(batch))
    if batch.results:
        table = rows(batch)
        shown = pd.DataFrame(
            {
                " ": [image_html.data_uri(each.image, _THUMB) for each in batch.results],
                "File": table.file,
                "Verdict": table.verdict,
                "Nearest training image": table.nearest,
                "LID": [
                    "" if math.isnan(lid) else phrases.with_error(lid, error)
                    for lid, error in zip(table.lid, table.lid_error, strict=True)
                ],
            }
        )
        st.dataframe(
            shown,
            hide_index=True,
            row_height=_THUMB,
            column_config={" ": st.column_config.ImageColumn(width="small")},
            key=_TABLE,
        )
    for name, reason in batch.left_out:
        st.caption(layout.plain(f"Left out, {name}: {reason}"))


def _chosen(batch: AuditBatch, job: str, model: str, context_of: ContextOf) -> None:
    """Offer the table as a file, and show one image in detail."""
    if not batch.results:
        return
    digest = hashlib.sha256(job.encode()).hexdigest()[:8]
    downloads.offer("CSV", f"audits-{digest}.csv", frame_csv(rows(batch)), "im_audits_csv")
    place = st.selectbox(
        "Image in detail",
        range(len(batch.results)),
        format_func=lambda number: f"{number + 1}. {batch.names[number]}",
        key="im_audits_chosen",
    )
    result: ImageResult = batch.results[int(place)]
    detail.section(result, context_of(model, result), f"audits_{place}")
