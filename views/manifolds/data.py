"""Draw what is needed to check and repeat a run: config, command, link, downloads."""

from __future__ import annotations

import json
from dataclasses import asdict

import streamlit as st

from mmh_core.formats.export import frame_csv
from mmh_core.studies.manifolds.run import ManifoldRun, Snapshot
from views import session
from views.manifolds.settings import command
from views.widgets import downloads, layout


def section(run: ManifoldRun, snapshot: Snapshot) -> None:
    """Draw the downloads, the command line and the link."""
    name = f"{run.config.manifold}-seed-{run.config.seed}"
    layout.heading(
        "Command to repeat this run",
        "The same command gives the same numbers on one machine; another processor may differ in "
        "the last digits.",
    )
    st.code(command(run.config), language="bash", wrap_lines=True)
    layout.heading(
        "Link to this page",
        "It carries every choice on this page; a link to your own run needs this app's data.",
    )
    st.code(_link(), language=None, wrap_lines=True)
    layout.heading("Download", "Points, run and settings as files.")
    with st.container(horizontal=True):
        downloads.offer(
            "Points (CSV)",
            f"{name}-step-{snapshot.step}.csv",
            lambda: _points(run, snapshot),
            "mf_csv",
            help="Training points and samples of this training step, with LID and verdict",
        )
        downloads.offer(
            "Whole run (safetensors)",
            f"{name}.safetensors",
            lambda: session.run_bytes(run),
            "mf_run",
            help="Everything on this page, to open in Python with mmh_core.store.archive",
        )
        downloads.offer(
            "Settings (JSON)",
            f"{name}.json",
            json.dumps(asdict(run.config), indent=2).encode(),
            "mf_json",
        )


def _points(run: ManifoldRun, snapshot: Snapshot) -> bytes:
    import pandas as pd

    parts = []
    for kind, estimates in (
        ("training point", snapshot.trained),
        ("generated sample", snapshot.generated),
    ):
        table = estimates.frame()
        table.insert(0, "kind", kind)
        parts.append(table)
    table = pd.concat(parts, ignore_index=True)
    table.insert(0, "point", list(range(len(table))))
    table.insert(1, "manifold", run.config.manifold)
    table.insert(2, "step", snapshot.step)
    return frame_csv(table)


def _link() -> str:
    from urllib.parse import urlencode

    from views.manifolds.state import link

    address = (st.context.url or "http://127.0.0.1:8501/manifolds").split("?")[0].rstrip("/")
    address = address if address.endswith("/manifolds") else f"{address}/manifolds"
    return f"{address}?{urlencode(link())}"
