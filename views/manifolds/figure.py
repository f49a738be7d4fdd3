"""Draw the figure of a run: a plane to select in, beside it a view to look at."""

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
    """Draw the figure and what is beside and below it."""
    chosen = points.current(run, snapshot)
    charts(run, snapshot, chosen)
    points.selection(run, snapshot)
    points.detail(run, snapshot, chosen)


def charts(run: ManifoldRun, snapshot: Snapshot, chosen: int) -> None:
    """Draw the selectable plane, and beside it the same in space or the score field."""
    left, right = layout.side_by_side("figure")
    with left:
        coloring = _coloring(run)
        figure = manifold.plane_figure(run, snapshot, coloring, chosen=chosen)
        layout.chart(figure, "mf_figure", on_select=points.take_selection)
    with right:
        if MANIFOLDS[run.config.manifold].plot == "plane" and len(snapshot.field):
            _field(run, snapshot)
        else:
            layout.heading(
                "The same in space", "Drag to turn it; to choose a point, click in the plane."
            )
            layout.chart(manifold.space(run, snapshot, coloring, chosen=chosen), "mf_space")


def _coloring(run: ManifoldRun) -> Coloring:
    """Draw the title of the figure and the choice of colors."""
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
    said = {
        "learned": "Dots are samples that the model drew, crosses its training points. Violet "
        "(LID 0) is a point that it can only repeat; a low LID alone proves no copy.",
        "true": "The dimension that the data really has at each point, which a perfect model "
        "would have learned; it says nothing about this one.",
        "verdict": "Learned against true dimension in a word; the verdict judges the model, and "
        "not whether the copy does harm.",
    }[color]
    wide = run.train.ambient_dim > 3
    return f"{said} Shown are the two widest directions only." if wide else said


def _field(run: ManifoldRun, snapshot: Snapshot) -> None:
    deltas = run.field_log_delta.exp().tolist()
    layout.heading(
        "Where denoising pulls",
        "Arrows lead from a noisy point to where the model takes it to be. Where all around end "
        "in one place, it is memorized; the view holds at one noise scale.",
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
