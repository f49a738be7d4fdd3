"""The audit of an uploaded image: its LID, neighbors and region map."""

from __future__ import annotations

import hashlib
import math

import streamlit as st
import torch

from mmh_core.formats.embedded_prompts import prompts_in
from mmh_core.records import MMHError
from mmh_core.report.image_files import ImageMetadata, read_image_metadata, settings_of
from mmh_core.retrieval.image_content import NAMED
from mmh_core.studies.images.lid import LOG_DELTAS
from mmh_core.studies.images.run import ImageConfig, ImageResult
from views import models as model_session
from views import subjects
from views.images import audit_batch, detail, state
from views.images import session as image_session
from views.images.settings import SCHEDULERS
from views.widgets import job_panel, layout

#: The jobs of this session's single images, by image, caption and model.
_JOBS = "im_audit_jobs"
SENTENCE = (
    "Upload any image: it is compared with all training images, and its LID under the model is "
    "estimated. It is cropped to the model's size first; where no match is found, that does "
    "not prove that the image is new."
)


def section(model: str) -> None:
    """Show the upload of an image, and its audit; or of several, and theirs."""
    # The link may name audits of several; the choice is not kept while another tab is open.
    st.session_state.setdefault("im_several", st.session_state[state.key("audits")] is not None)
    if st.toggle("Several images", key="im_several", help="A table of all, and one in detail."):
        if _ready(model):
            audit_batch.section(model, _context)
        return
    file = st.file_uploader(
        "Image",
        key="im_file",
        help=f"{NAMED}. What counts is the content, not the name; it is not kept.",
    )
    caption = st.text_input(
        "Caption (optional)",
        key="im_caption",
        help="The prompt that the image belongs to. With it the LID is that of the model given "
        "the caption, and there is a region map.",
    )
    if file is None:
        _earlier(model)
        return
    data = file.getvalue()
    try:
        about = read_image_metadata(data)
    except MMHError as error:
        st.warning(layout.plain(str(error)), icon=":material/warning:")
        about = None
    if about is not None:
        _ours(about)
    else:
        _foreign(data)
    if not _ready(model):
        return
    try:
        job = _job_of(data, caption, model)
    except (MMHError, ValueError) as error:
        st.error(layout.plain(str(error)), icon=":material/error:")
        return
    # In the link as well, so that the audit is found again after a reload.
    st.session_state[state.key("audit")] = job
    _audit(job, model)


def _earlier(model: str) -> None:
    """Show the audit that the link names; the image itself was not kept."""
    job = st.session_state[state.key("audit")]
    if job is None:
        st.caption("No image uploaded yet.")
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(
            "The audit below is of an image that was uploaded before; its file is not kept."
        )
        st.button("Close it", key="im_audit_close", icon=":material/close:", on_click=_close)
    _audit(job, model)


def _close() -> None:
    st.session_state[state.key("audit")] = None


def _audit(job: str, model: str) -> None:
    """Show an audit: its progress, its result, or why there is none."""
    try:
        view = image_session.audit_job(job)
    except MMHError as error:
        st.error(layout.plain(str(error)), icon=":material/error:")
        return
    record, result = view.record, view.run
    if record.is_active:
        job_panel.live(
            lambda: image_session.audit_job(job), "Stop this audit", "im_audit_cancel", every=0.5
        )
    elif record.state == "done" and result is not None:
        detail.section(result, _context(model, result), "audit")
    elif record.state in ("done", "interrupted"):
        st.info(
            "The server that made this audit was restarted, and neither uploaded images nor "
            "their audits are kept: upload the image again.",
            icon=":material/info:",
        )
    else:
        reason = record.error or "This audit was stopped."
        st.info(layout.plain(reason), icon=":material/stop_circle:")
        st.button(
            "Repeat the audit", key="im_audit_again", icon=":material/replay:", on_click=_forget
        )


def _job_of(data: bytes, caption: str, model: str) -> str:
    """Return the job that reads this image with this caption, submitted when it is new."""
    request = (hashlib.sha256(data).hexdigest(), caption, model, image_session.chosen_index())
    jobs = st.session_state.setdefault(_JOBS, {})
    # A server remembers its latest jobs only.
    if request not in jobs or not _remembered(jobs[request]):
        jobs[request] = image_session.submit_audit(data, caption, model)
    return str(jobs[request])


def _remembered(job: str) -> bool:
    view = image_session.audit_job(job)
    return view.record.state != "done" or view.run is not None


def _forget() -> None:
    st.session_state[_JOBS] = {}


def _ready(model: str) -> bool:
    """Return whether the model can be loaded, and show what is missing where not."""
    choice = next(candidate for candidate in model_session.choices() if candidate.name == model)
    if not choice.ready:
        st.warning(layout.plain(choice.why), icon=":material/download:")
    return choice.ready


def _ours(about: ImageMetadata) -> None:
    """Show the settings that an image carries, with the way to restore them."""
    with st.container(border=True):
        st.markdown("**This image was generated here and carries its settings**")
        st.text(about.prompt)
        config = settings_of(about)
        st.caption(
            "It is judged by this prompt and, where this model generated it, among reference "
            "prompts at the same sampling. A caption above replaces the prompt."
        )
        layout.facts(
            [
                ("Model", about.model),
                ("Seed", str(about.seed)),
                ("Steps, guidance", f"{about.steps}, {about.guidance:g}"),
                (
                    "Scheduler, size",
                    f"{SCHEDULERS[config.sampling.scheduler]}, {about.height} x {about.width}",
                ),
            ]
        )
        with st.container(horizontal=True):
            st.button(
                "Restore settings",
                key="im_restore",
                icon=":material/settings_backup_restore:",
                type="primary",
                on_click=_restore,
                args=(config,),
                help="Copies prompt, seed and settings to the form",
            )


def _restore(config: ImageConfig) -> None:
    """Put the settings of an image into the form, and say so: the form is out of sight."""
    state.use_config(config)
    st.toast(
        "Settings restored into the form at left: press Generate.",
        icon=":material/settings_backup_restore:",
    )


def _foreign(data: bytes) -> None:
    """Offer the prompts that other programs wrote into an image, as plain text."""
    for number, prompt in enumerate(prompts_in(data)):
        with st.container(border=True):
            st.markdown(f"**This image carries a prompt of {prompt.program}**")
            st.text(prompt.prompt)
            st.button(
                "Use as caption",
                key=f"im_take_foreign_{number}",
                icon=":material/short_text:",
                on_click=_take_caption,
                args=(prompt.prompt,),
            )


def _take_caption(prompt: str) -> None:
    st.session_state["im_caption"] = prompt


def _context(model: str, result: ImageResult) -> detail.ImageContext:
    training, lid = subjects.training_set(model, image_session.chosen_index()), result.lid
    scale = LOG_DELTAS[0] if lid is None else lid.log_delta
    # Without a percentile the reference prompts are those of other weights.
    usable = lid is not None and not math.isnan(lid.percentile)
    reference = subjects.reference_prompts(model) if usable else None
    return detail.ImageContext(
        torch.tensor(LOG_DELTAS), scale, reference, 0 if training is None else len(training.index)
    )
