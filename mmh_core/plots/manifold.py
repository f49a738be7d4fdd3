"""Draw a manifold, its training points and what a model made of them."""

from __future__ import annotations

import math
from typing import Any

import plotly.graph_objects as go

from mmh_core.plots import stage, theme
from mmh_core.plots.points import (
    Coloring,
    Group,
    PointPlace,
    groups,
    hover_text,
    ids,
    legend,
    point_of,
)
from mmh_core.studies.manifolds.run import ManifoldRun, Snapshot

_HEIGHT = 460


def plane_figure(
    run: ManifoldRun,
    snapshot: Snapshot | None,
    color: Coloring = "model LID",
    *,
    chosen: int | None = None,
) -> go.Figure:
    """Draw the plane in which points can be selected; `customdata` of a point is its id, an int.

    Truth behind, generated samples as dots, training points as crosses, a ring around `chosen`.
    The plane is that of the first two axes of `run.projected` and keeps its range over all
    snapshots: samples that lie far off are outside the frame. Without a snapshot only the truth
    and the training points are drawn. Errors: ValueError for an unknown `color` or id.
    """
    figure = _points(run, snapshot, color, chosen, dimensions=2)
    stage.plane_axes(figure, run, *stage.frame(run))
    return figure


def space(
    run: ManifoldRun,
    snapshot: Snapshot | None,
    color: Coloring = "model LID",
    *,
    chosen: int | None = None,
) -> go.Figure:
    """Draw the same points as `image` in three dimensions, to look at from all sides.

    Training points are rings here: Plotly's crosses in space are letters that not every machine
    has. Points in space cannot be selected, so choosing happens in the plane. All axes share one
    unit. Errors: as for `image`.
    """
    figure = _points(run, snapshot, color, chosen, dimensions=3)
    stage.space_axes(figure, run, *stage.frame(run))
    return figure


def score_field(run: ManifoldRun, snapshot: Snapshot, scale_index: int) -> go.Figure:
    """Draw where denoising pulls each place of the plane: arrows along `x0_hat - x`.

    `scale_index` counts the noise scales `run.field_log_delta`. An arrow has the length of the
    pull where that is shorter than the grid's step, and that of the step where it is longer.
    Errors: ValueError for a run outside the plane or an index out of range.
    """
    scales = len(snapshot.field)
    if not scales:
        raise ValueError(
            f"Only a manifold in the plane has a score field; {run.config.manifold!r} has "
            f"{run.train.ambient_dim} coordinates."
        )
    if not 0 <= scale_index < scales:
        raise ValueError(f"scale_index must be from 0 to {scales - 1}, got {scale_index!r}.")
    delta = math.exp(float(run.field_log_delta[scale_index]))
    pull = snapshot.field[scale_index]
    figure = theme.base(
        f"Arrows show where denoising at noise scale {delta:.2g} moves each point of the plane "
        f"after {snapshot.step:,} steps; the median displacement is "
        f"{float(pull.norm(dim=-1).median()):.2g}.",
        height=_HEIGHT,
    )
    figure.add_trace(stage.truth(run, 2))
    x, y = stage.arrows(pull, run.field_extent)
    line = {"color": theme.ACCENT, "width": 1.2}
    name = f"displacement by the denoiser at δ = {delta:.2g}"
    figure.add_trace(go.Scatter(x=x, y=y, mode="lines", line=line, name=name, hoverinfo="skip"))
    (group,) = groups(run, None, "verdict")
    at = run.projected(run.train.points[run.shown])
    figure.add_trace(
        stage.markers(at, 2, marker=group.marker, name="training point", hoverinfo="skip")
    )
    low, high = run.field_extent.tolist()
    stage.plane_axes(figure, run, low, high)
    return figure


def _points(
    run: ManifoldRun,
    snapshot: Snapshot | None,
    color: Coloring,
    chosen: int | None,
    *,
    dimensions: stage.Dimensions,
) -> go.Figure:
    """Return truth, points, legend and ring, still without axes."""
    point_groups = list(groups(run, snapshot, color))
    figure = theme.base(_alt(run, snapshot, color), height=_HEIGHT)
    # Zoom and camera survive a change of snapshot or color.
    figure.update_layout(uirevision=str(run.config))
    figure.add_trace(stage.truth(run, dimensions))
    for group in point_groups:
        figure.add_trace(_trace(run, snapshot, group, dimensions))
    if any("coloraxis" in group.marker for group in point_groups):
        figure.update_layout(coloraxis=theme.lid_colors(run))
    for name, marker in legend(point_groups, dimensions).items():
        figure.add_trace(stage.legend_entry(name, marker, dimensions))
    if chosen is not None:
        point = point_of(run, snapshot, chosen)
        at = run.projected(point.points(run, snapshot)[point.index, None])
        figure.add_trace(stage.ring(at, dimensions))
    return figure


def _trace(
    run: ManifoldRun, snapshot: Snapshot | None, group: Group, dimensions: stage.Dimensions
) -> Any:
    """Return one group of points, each with its id and what is said about it."""
    places = [PointPlace(group.kind, row) for row in group.rows.tolist()]
    points = PointPlace(group.kind, 0).points(run, snapshot)
    marker, more = group.style(dimensions), {}
    if dimensions == 2:
        marker = {"opacity": 0.85, **marker}
        # The ring shows what is chosen, so the other points need not fade.
        more = {"unselected": {"marker": {"opacity": marker["opacity"]}}}
    return stage.markers(
        run.projected(points[group.rows]),
        dimensions,
        name=group.name,
        legendgroup=group.name,
        showlegend=False,
        marker=marker,
        customdata=ids(run, group),
        hovertext=[hover_text(run, snapshot, point) for point in places],
        hoverinfo="text",
        **more,
    )


def _alt(run: ManifoldRun, snapshot: Snapshot | None, color: Coloring) -> str:
    """Say in one sentence what an image shows."""
    if snapshot is None:
        return f"{len(run.shown)} training points before training, with the true manifold."
    samples, trained = snapshot.generated, snapshot.trained
    text = theme.lid_text
    descriptions = {
        "model LID": f"model LID: median {text(float(samples.lid.nanmedian()))} at the "
        f"samples and {text(float(trained.lid.nanmedian()))} at the training points",
        "true LID": f"{theme.data_lid_name(run)}: median "
        f"{text(float(trained.data_lid.nanmedian()))} at the training points",
        "verdict": f"verdict: {float(samples.memorized.float().mean()):.0%} of the samples and "
        f"{float(trained.memorized.float().mean()):.0%} of the training points are memorized",
    }[color]
    return (
        f"{len(samples.points)} generated samples and {len(trained.points)} training points after "
        f"{snapshot.step:,} training steps, colored by {descriptions}."
    )
