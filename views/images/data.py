"""Draw what is needed to check and repeat a run: link, settings, downloads."""

from __future__ import annotations

import json
from dataclasses import asdict

import streamlit as st

from mmh_core.export import frame_csv
from mmh_core.studies.image_run import ImageRun
from views import layout
from views.images import state


def section(run: ImageRun) -> None:
    """Draw the link and the downloads."""
    name = f"{run.model.replace('/', '-')}-seed-{run.config.seeds[0]}"
    layout.heading(
        "Link to what you see",
        "It carries every choice on this page; a link to your own run needs this app's data.",
    )
    st.code(state.address(), language=None, wrap_lines=True)
    layout.heading("Take it with you", "Figures and settings as files.")
    with st.container(horizontal=True):
        st.download_button(
            "Figures (CSV)",
            lambda: frame_csv(run.frame()).encode(),
            file_name=f"{name}.csv",
            mime="text/csv",
            icon=":material/download:",
            key="im_csv",
            on_click="ignore",
            help="One row per picture: settings, LID, copies, verdict",
        )
        st.download_button(
            "Settings (JSON)",
            json.dumps(asdict(run.config), indent=2).encode(),
            file_name=f"{name}.json",
            mime="application/json",
            icon=":material/download:",
            key="im_json",
            on_click="ignore",
        )
