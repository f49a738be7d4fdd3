"""Generate the images of an item that has none, without leaving it, and say so in the log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import streamlit as st

from mmh_core.counting import plural
from mmh_core.formats.times import local_minute
from mmh_core.formats.untrusted import quoted
from mmh_core.records import MMHError
from mmh_core.store.remarks import generations, record_generation
from mmh_core.store.review_log import ReviewTarget, log_rows
from mmh_core.store.review_records import ReviewItem
from mmh_core.store.run_files import file_sha256
from mmh_core.store.sqlite_file import SqliteFile
from mmh_core.studies.images.run import ImageRun
from views import models as model_session
from views.images import phrases
from views.images import session as image_session
from views.review import reviewer, state
from views.review import session as review_session
from views.review.state import key
from views.widgets import job_panel, layout

_JOBS = key("generating")


def progress(position: int) -> bool:
    """Show the job that generates an item's images; return whether it is still at work."""
    job = st.session_state.get(_JOBS, {}).get((state.queue(), position))
    if job is None:
        return False
    try:
        view = image_session.image_job(job)
    except MMHError as error:
        st.warning(layout.plain(str(error)), icon=":material/warning:")
        return False
    if view.record.is_active:
        job_panel.live(
            lambda: image_session.image_job(job),
            "Stop here; finished images are kept",
            f"rv_stop_{position}",
        )
        return True
    if view.record.error is not None:
        st.error(layout.plain(view.record.error), icon=":material/error:")
    return False


def button(item: ReviewItem, position: int, *, refused: str, has_images: bool) -> None:
    """Show the button; where the images are there, it says so."""
    running = _is_running(position)
    refused = refused or reviewer.why_not()
    text = refused or "Generates and analyzes the images of this item, here"
    if has_images:
        text = "The images of this item are here"
    elif running:
        text = "They are being generated"
    st.button(
        "Generate now",
        key=f"rv_generate_{position}",
        icon=":material/brush:",
        help=text,
        disabled=bool(refused) or has_images or running,
        on_click=_submit,
        args=(item, position),
    )


def recorded(position: int) -> None:
    """Show what the log says of images that were generated for an item after it was sealed."""
    rows = log_rows(review_session.queues(), state.queue(), position)
    for row in generations(rows):
        when = local_minute(row.time)
        st.caption(
            layout.plain(
                f"Generated here by {row.reviewer}, {when}, after the item was sealed: "
                f"{row.notes}. Row {row.number} of the log names the run, {row.image[:12]}…"
            )
        )


def _recorder(
    file: SqliteFile, target: ReviewTarget, item: ReviewItem
) -> Callable[[ImageRun, Path], None]:
    """Return what records a run in the log; the worker calls it, whoever looks then.

    It refuses a run of other weights than the item's: it would be evidence on another model.
    """

    def record(run: ImageRun, path: Path) -> None:
        if item.model_sha256 not in ("", run.sha256):
            raise MMHError(
                f"The model {quoted(item.model)} has other weights here than those with which "
                "this item was measured, so its images are no evidence on the item: put the "
                "earlier weights back, or scan the prompt again into a new queue."
            )
        if run.images:
            words = f"{plural(len(run.images), 'image')} by {phrases.settings(run)}"
            record_generation(file, target, file_sha256(path), words)

    return record


def _is_running(position: int) -> bool:
    job = st.session_state.get(_JOBS, {}).get((state.queue(), position))
    if job is None:
        return False
    try:
        return image_session.image_job(job).record.is_active
    except MMHError:
        return False


def _submit(item: ReviewItem, position: int) -> None:
    """Queue the study of an item's prompt with its own seeds; for a callback."""
    try:
        config = model_session.default_settings(item.model)
        config = replace(
            config,
            prompts=(item.prompt,),
            seeds=item.seeds or config.seeds,
            curve=False,
            frames=0,
        )
        target = ReviewTarget(state.queue(), position, state.reviewer(), 0, reviewer.identified())
        job = image_session.submit_images(config, _recorder(review_session.queues(), target, item))
    except (MMHError, ValueError) as error:
        state.refuse(error)
        return
    held = dict(st.session_state.get(_JOBS, {}))
    st.session_state[_JOBS] = held | {(state.queue(), position): job}
