"""Draw what is needed to check and repeat a comparison: link, command, downloads."""

from __future__ import annotations

import streamlit as st

from mmh_core.formats.export import frame_csv
from mmh_core.report.command import mitigation_command
from mmh_core.report.folder import zipped
from mmh_core.report.mitigations import (
    mitigation_files,
    mitigation_report,
)
from mmh_core.studies.mitigation.run import MitigationRun
from views.mitigation import state
from views.widgets import downloads, layout


def section(run: MitigationRun) -> None:
    """Draw the link, the command and the downloads."""
    name = f"{run.model.replace('/', '-')}-mitigation-seed-{run.config.seeds[0]}"
    layout.heading(
        "Link to this page",
        "It carries every choice on this page; a link to your own run needs this app's data.",
    )
    st.code(state.address(), language=None, wrap_lines=True)
    layout.heading(
        "Command to repeat this comparison",
        "It writes the images, figures and report of this comparison; on another machine the "
        "last digits can differ.",
    )
    command = mitigation_command(run.config)
    st.code(command, language=None, wrap_lines=True)
    layout.heading("Download", "Figures and images as files.")
    with st.container(horizontal=True):
        downloads.offer(
            "Table (CSV)",
            f"{name}.csv",
            lambda: frame_csv(run.frame()),
            "mi_csv",
            help="One row per image: mitigation, prompt in force, copies, alignment, LID",
        )
        downloads.offer(
            "Report (HTML)",
            f"{name}.html",
            lambda: mitigation_report(run, command).encode(errors="replace"),
            "mi_html",
            help="One page, readable without a network",
        )
        downloads.offer(
            "Everything (zip)",
            f"{name}.zip",
            lambda: zipped(mitigation_files(run, command)),
            "mi_zip",
            help="All images as PNG, all figures as JSON, the table and the page",
        )
