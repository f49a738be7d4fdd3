"""The figure of a run: a plane to select in, beside it a view to look at."""

from __future__ import annotations

import streamlit as st

from mmh_core.manifolds.catalogue import MANIFOLDS
from mmh_core.plots import manifold
from mmh_core.plots.points import Coloring
from mmh_core.studies.manifolds.run import ManifoldRun, Snapshot
from views.manifolds import points
from views.manifolds.settings import COLORS
from views.manifolds.state import key
from views.widgets import layout, words

_SCALE_NAMES = ("little noise", "medium", "much noise")


def section(run: ManifoldRun, snapshot: Snapshot) -> None:
    """Show the figure and what is beside and below it."""
    chosen = points.current(run, snapshot)
    charts(run, snapshot, chosen)
    points.selection(run, snapshot)
    points.detail(run, snapshot, chosen)


def charts(run: ManifoldRun, snapshot: Snapshot, chosen: int) -> None:
    """Show the selectable plane, and beside it the same in space or the score field."""
    left, right = layout.side_by_side("figure")
    with left:
        coloring = _coloring(run)
        figure = manifold.plane_figure(run, snapshot, coloring, chosen=chosen)
        layout.chart(figure, "mf_figure", on_select=points.take_selection)
    with right:
        if MANIFOLDS[run.config.manifold].plot == "plane" and len(snapshot.field):
            _field(run, snapshot)
        else:
            layout.heading("3-D view", "Drag to rotate; to choose a point, click in the plane.")
            layout.chart(manifold.space(run, snapshot, coloring, chosen=chosen), "mf_space")


def _coloring(run: ManifoldRun) -> Coloring:
    """Show the title of the figure and the choice of colors."""
    color = st.session_state[key("color")]
    layout.heading("Data and samples", _figure_words(run, color), help=words.LID)
    st.segmented_control(
        "Color by",
        list(COLORS),
        key=key("color"),
        format_func=lambda name: COLORS[name][0].upper() + COLORS[name][1:],
        required=True,
        label_visibility="collapsed",
    )
    return COLORS[color]


def _figure_words(run: ManifoldRun, color: str) -> str:
    sentence = {
        "learned": "Dots are generated samples, crosses training points. Violet (LID 0) is a "
        "point that the model can only reproduce; a low LID alone proves no copy.",
        "true": "The true LID of the data at each point, which a perfect model would have "
        "learned; it says nothing about this model.",
        "verdict": "Model LID against true LID as a verdict; it is about the model, and not "
        "about whether a copy does harm.",
    }[color]
    wide = run.train.ambient_dim > 3
    return f"{sentence} The plot has the two directions of largest variance." if wide else sentence


def _field(run: ManifoldRun, snapshot: Snapshot) -> None:
    deltas = run.field_log_delta.exp().tolist()
    layout.heading(
        "Denoiser vector field (score)",
        "Arrows lead from a noisy point to its denoised estimate. A point to which all arrows "
        "around it lead is memorized; the field is that of one noise scale.",
        help=words.DELTA,
    )
    index = st.segmented_control(
        "Noise scale",
        list(range(len(deltas))),
        default=1,
        required=True,
        key="mf_scale",
        format_func=lambda i: f"δ = {deltas[i]:.2g}, {_SCALE_NAMES[i]}",
        label_visibility="collapsed",
    )
    layout.chart(manifold.score_field(run, snapshot, index), "mf_field")
