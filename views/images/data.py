"""Draw what is needed to check and repeat a run: command, link, downloads."""

from __future__ import annotations

import streamlit as st

from mmh_core.formats.export import frame_csv
from mmh_core.report import image_command, image_report, run_zip
from mmh_core.studies.images.run import ImageRun
from views import models as model_session
from views.images import state
from views.widgets import downloads, layout


def section(run: ImageRun) -> None:
    """Draw the command line, the link and the downloads."""
    searched = model_session.searched_folder()
    own = run.config.model == model_session.POCKET
    more = () if own or searched is None else searched.arguments()
    command = image_command(run.config, more)
    layout.heading(
        "Command to repeat this run",
        "The same command gives the same images and figures on one machine; another processor "
        "may differ in the last digits.",
    )
    st.code(command, language="bash", wrap_lines=True)
    layout.heading(
        "Link to this page",
        "It carries every choice on this page; a link to your own run needs this app's data.",
    )
    st.code(state.address(), language=None, wrap_lines=True)
    layout.heading(
        "Download",
        "The report is one page that opens anywhere without a network; each PNG carries its "
        "settings.",
    )
    _downloads(run, command)


def _downloads(run: ImageRun, command: str) -> None:
    # Named after model and seed alone: a prompt may hold what no file name should.
    name = f"{run.model.replace('/', '-')}-seed-{run.config.seeds[0]}"
    with st.container(horizontal=True):
        downloads.offer(
            "Report (HTML)",
            f"{name}.html",
            lambda: image_report(run, command).encode(),
            "im_report",
            help="Images, neighbors, curves and verdicts on one page",
        )
        downloads.offer(
            "Whole run (zip)",
            f"{name}.zip",
            lambda: run_zip(run, command),
            "im_zip",
            help="All images as PNG, the figures as JSON and CSV, the report",
        )
        downloads.offer(
            "Table (CSV)",
            f"{name}.csv",
            lambda: frame_csv(run.frame()),
            "im_csv",
            help="One row per image: settings, LID, copies, verdict",
        )
