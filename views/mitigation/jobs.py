"""Draw a job of the mitigation page while it waits and runs: place, progress, cells so far."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from mmh_core.store.job_record import JobRecord
from mmh_core.studies.mitigation.run import MitigationRun
from views import session
from views.images import show
from views.mitigation import grid
from views.mitigation import session as mitigation_session
from views.widgets import job_panel, layout

POLL_SECONDS = 1.0


def live(job: str) -> None:
    """Draw a comparison again and again until it has ended, then the page once more."""
    st.fragment(_panel, run_every=POLL_SECONDS)(job)


def _panel(job: str) -> None:
    with session.errors_as_messages():
        view = mitigation_session.mitigation_job(job)
        if not view.record.is_active:
            st.rerun()
        job_panel.progress(
            view.record, "Stop here and keep the cells that are finished", "mi_cancel_run"
        )
        if view.run is not None:
            _so_far(view.run)


def small(record: Callable[[], JobRecord], name: str) -> None:
    """Draw the progress of a short job inside a section until it has ended."""

    def panel() -> None:
        with session.errors_as_messages():
            found = record()
            if not found.is_active:
                st.rerun()
            job_panel.progress(found, "Stop here", f"mi_cancel_{name}")

    st.fragment(panel, run_every=POLL_SECONDS)()


def _so_far(run: MitigationRun) -> None:
    """Draw the preview of the running step, and the cells that are finished."""
    if len(run.preview):
        layout.heading(
            "Predicted image at the current step",
            "Predictions of the final images under this mitigation; they sharpen with every "
            "step and can still change.",
        )
        figures = "".join(
            show.figure(image, f"Preview, seed {seed}", f"seed {seed}", most=show.CARD)
            for image, seed in zip(run.preview, run.config.seeds, strict=False)
        )
        show.html(f'<div class="im-grid">{figures}</div>')
    if run.cells:
        layout.heading(
            "Finished images",
            "One card for each mitigation, all from the same starting noise; cancelling keeps "
            "them. Few seeds show what can happen, not how often.",
        )
        grid.so_far(run)
