"""Draw a job of the image study while it waits and runs: place, progress, preview, cancel."""

from __future__ import annotations

import streamlit as st

from mmh_core.studies.images.run import ImageRun
from views import session
from views.images import cards, show
from views.images import session as image_session
from views.widgets import job_panel, layout

POLL_SECONDS = 1.0


def live(job: str) -> None:
    """Draw a job again and again until it has ended, then the page once more."""
    st.fragment(_panel, run_every=POLL_SECONDS)(job)


def _panel(job: str) -> None:
    with session.errors_as_messages():
        view = image_session.image_job(job)
        if not view.record.is_active:
            st.rerun()
        job_panel.progress(
            view.record, "Stop here and keep the images that are finished", "im_cancel"
        )
        if view.run is not None:
            _so_far(view.run)


def _so_far(run: ImageRun) -> None:
    """Draw the preview of the running step, and the images that are finished."""
    show.not_read(run)
    if len(run.preview):
        layout.heading(
            "Predicted image at the current step",
            "The model's prediction of the final image; it sharpens with every step and can "
            "still change.",
        )
        # Those of a prompt that are finished come first in its seeds.
        seeds = run.config.seeds[len(run.images) % len(run.config.seeds) :]
        figures = "".join(
            show.figure(image, f"Preview, seed {seed}", f"seed {seed}", most=show.CARD)
            for image, seed in zip(run.preview, seeds, strict=False)
        )
        show.html(f'<div class="im-grid wide">{figures}</div>')
    if run.images:
        layout.heading(
            "Finished images",
            "Copy search and LID follow, then the curves; cancelling keeps these.",
        )
        cards.so_far(run)
