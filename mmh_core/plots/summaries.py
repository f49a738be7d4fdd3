"""Draw whole runs: how LID is distributed, how estimators compare, how runs compare."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import plotly.graph_objects as go
import torch
from torch import Tensor

from mmh_core.plots import panels, theme
from mmh_core.studies.manifolds.run import EstimatorRow, ManifoldRun, Snapshot

#: Legend entry, symbol and color of the two sides.
_SIDES = {
    "model": ("from the model", "circle", theme.ACCENT),
    "data": ("from the training points", "diamond", theme.SECOND),
}


def lid_histogram(run: ManifoldRun, snapshot: Snapshot) -> go.Figure:
    """Draw the distribution of model LID: samples as bars, training points as crosses.

    Shares of each kind in bins of half a dimension, wider where LID runs high; bars have the color
    that their LID has in the images. The axis ends at twice the LID of the color scale, the same
    for all snapshots of a run; its last bin holds whatever is above.
    """
    end = min(max(2 * theme.lid_top(run), 3), run.train.ambient_dim)
    width = next((w for w in (0.5, 1, 2, 5, 10, 20, 50) if end / w <= 24), 100)
    centers = [width * k for k in range(math.ceil(end / width) + 1)]
    samples = _shares(snapshot.generated.lid, centers, width)
    trained = _shares(snapshot.trained.lid, centers, width)
    taken = [i for i, share in enumerate(trained) if share]
    medians = [
        theme.lid_text(float(r.lid.nanmedian())) for r in (snapshot.generated, snapshot.trained)
    ]
    figure = theme.base(
        f"Distribution of model LID after {snapshot.step:,} steps: median {medians[0]} at "
        f"{len(snapshot.generated.lid)} samples, {medians[1]} at {len(snapshot.trained.lid)} "
        f"training points; {theme.lid_text(run.typical_lid)} is the median data LID.",
        height=300,
    )
    figure.add_trace(
        go.Bar(
            x=centers,
            y=samples,
            width=0.8 * width,
            marker={"color": centers, "coloraxis": "coloraxis", "line": {"width": 0}},
            hovertemplate="LID about %{x}: %{y:.1%} of the samples<extra></extra>",
            legendgroup="samples",
            showlegend=False,
        )
    )
    square = {"symbol": "square", "color": theme.NEUTRAL, "size": 8}
    entry = {"x": [None], "y": [None], "mode": "markers", "marker": square}
    figure.add_trace(go.Scatter(entry, name="generated samples", legendgroup="samples"))
    rim = {"width": 1, "color": "rgba(255,255,255,0.8)"}
    figure.add_trace(
        go.Scatter(
            x=[centers[i] for i in taken],
            y=[trained[i] for i in taken],
            mode="markers",
            name="training points",
            # The rim keeps crosses visible on bars of any color.
            marker={"symbol": "x", "size": 9, "color": theme.NEUTRAL, "line": rim},
            hovertemplate="LID about %{x}: %{y:.1%} of the training points<extra></extra>",
        )
    )
    theme.upright(figure, run.typical_lid, "median data LID")
    colors = theme.lid_colors(run) | {"showscale": False}
    figure.update_layout(coloraxis=colors, margin={"t": 34})
    figure.update_xaxes(_bin_axis(centers, closed=end == run.train.ambient_dim))
    most = max([*samples, *trained, 0.01])
    figure.update_yaxes(theme.axis("share of the points", range=[0, 1.1 * most], tickformat=".0%"))
    return figure


def _bin_axis(centers: list[float], *, closed: bool) -> dict[str, object]:
    """Return an axis of LID; unless `closed`, its last tick says that more may lie beyond it."""
    last, room = centers[-1], centers[1] - centers[0]
    step = next((s for s in (1, 2, 5, 10, 20, 50, 100) if last / s <= 8), 1_000)
    ticks = [tick for tick in range(0, math.ceil(last), step) if last - tick > step / 2]
    names = [*(str(tick) for tick in ticks), f"{last:g}" if closed else f"≥ {last:g}"]
    more: dict[str, Any] = {"range": [-room, last + room], "showgrid": False}
    return theme.axis("model LID", tickvals=[*ticks, last], ticktext=names, **more)


def _shares(lid: Tensor, centers: list[float], width: float) -> list[float]:
    """Return the share of all points in the bin around each center, the last one open above.

    An unknown LID is in no bin, but its point is one of all.
    """
    bins = ((lid[~lid.isnan()] - centers[0]) / width + 0.5).floor().long()
    counts = torch.bincount(bins.clamp(0, len(centers) - 1), minlength=len(centers))
    return [int(count) / max(1, len(lid)) for count in counts]


def estimator_errors(run: ManifoldRun) -> go.Figure:
    """Draw each estimator's mean absolute error, or its median LID where the truth is unknown.

    Two groups, best first: estimators that look at the model and those that look at its training
    points. The errors are against the true LID, so a model that has memorized is far from it by
    right: read the model's group at a run that fits. Medians come with bars from quartile to
    quartile.
    """
    dots = _dots(run)
    if not dots:
        return theme.empty("The estimators are compared after training.", height=300)
    truth_known = theme.truth_known(run)
    reference = (
        f"the true LID is unknown and {theme.lid_text(run.typical_lid)} is the median data LID."
    )
    best = min(dots, key=lambda dot: dot.value)
    figure = theme.base(
        f"Mean absolute error of {len(dots)} LID estimators against the true LID; "
        f"{best.row.label} has the smallest, {best.value:.2g}."
        if truth_known
        else f"Median LID by {len(dots)} estimators, with quartiles; {reference}",
        height=110 + 24 * len(dots),
    )
    for side, style in _SIDES.items():
        if members := [dot for dot in dots if dot.row.side == side]:
            figure.add_trace(_group(members, style, truth_known))
    for dot in dots:
        text = f"{dot.value:.2f}" if truth_known else theme.lid_text(dot.value)
        theme.label(figure, text, x=dot.high, y=dot.height, xshift=8)
    lowest = dots[-1].height
    bare: dict[str, Any] = {
        "showgrid": False,
        "ticks": "",
        "showline": False,
        "range": [lowest - 0.7, 0.7],
    }
    names = [_name(run, dot.row) for dot in dots]
    heights = [dot.height for dot in dots]
    figure.update_yaxes(theme.axis(tickvals=heights, ticktext=names, **bare))
    title = (
        "mean absolute error (dimensions)" if truth_known else "median LID, quartile to quartile"
    )
    typical = [] if truth_known or math.isnan(run.typical_lid) else [run.typical_lid]
    low = min([0.0, *(dot.low for dot in dots)])
    high = max([*typical, *(dot.high for dot in dots)])
    room = (high - low) or 1.0
    figure.update_xaxes(theme.axis(title, range=[low - 0.03 * room, high + 0.15 * room]))
    if not truth_known:
        theme.upright(figure, run.typical_lid, "median data LID")
        figure.update_layout(margin={"t": 34})
    return figure


@dataclass(frozen=True)
class _Dot:
    """One estimator's value, the ends of its bar, and its row on the chart from 0 down."""

    row: EstimatorRow
    value: float
    low: float
    high: float
    height: float


def _dots(run: ManifoldRun) -> list[_Dot]:
    """Return the dots from top to bottom: the model's side first, a gap, best or lowest first."""
    truth_known, dots = theme.truth_known(run), []
    for row in run.estimators:
        low, middle, high = (float(row.lid.float().nanquantile(q)) for q in (0.25, 0.5, 0.75))
        if truth_known:
            low = middle = high = row.mean_abs_error
        if math.isfinite(low + middle + high):
            dots.append(_Dot(row, middle, low, high, 0.0))
    dots.sort(key=lambda dot: (dot.row.side == "data", dot.value))
    gap = {"model": 0.0, "data": 0.6}
    return [replace(dot, height=-i - gap[dot.row.side]) for i, dot in enumerate(dots)]


def _name(run: ManifoldRun, row: EstimatorRow) -> str:
    return f"{row.label} · used by this app" if row.name == run.lid_estimator else row.label


def _group(dots: list[_Dot], style: tuple[str, str, str], truth_known: bool) -> go.Scatter:
    name, symbol, color = style
    bars = {
        "type": "data",
        "symmetric": False,
        "array": [dot.high - dot.value for dot in dots],
        "arrayminus": [dot.value - dot.low for dot in dots],
        "thickness": 1.5,
        "width": 0,
    }
    word = "mean absolute error" if truth_known else "median LID"
    return go.Scatter(
        x=[dot.value for dot in dots],
        y=[dot.height for dot in dots],
        mode="markers",
        name=name,
        marker={"symbol": symbol, "size": 10, "color": color},
        error_x=None if truth_known else bars,
        customdata=[[dot.row.label, dot.row.seconds] for dot in dots],
        hovertemplate=f"%{{customdata[0]}}: {word} %{{x:.3g}}<br>%{{customdata[1]:.2g}} s"
        "<extra></extra>",
    )


def digits_transition(runs: Sequence[ManifoldRun]) -> go.Figure:
    """Draw the passage from memorization to generalization over the number of training images.

    Each run at its last snapshot; above the median LID of the generated images, with the data's
    own dashed; below the share of them whose distance ratio is below 1 / 3 and the share that held
    out images reach by chance. Runs without a snapshot are left out.
    """
    ordered = sorted((run for run in runs if run.snapshots), key=lambda run: run.config.points)
    if not ordered:
        return theme.empty("No run has been opened yet.", height=360)
    sizes = [float(run.config.points) for run in ordered]
    lids = [float(run.snapshots[-1].generated.lid.nanmedian()) for run in ordered]
    low_ratio = [run.snapshots[-1].low_ratio_share for run in ordered]
    figure = theme.base(
        f"From {ordered[0].config.points:,} to {ordered[-1].config.points:,} training images the "
        f"median LID of generated images goes from {theme.lid_text(lids[0])} to "
        f"{theme.lid_text(lids[-1])} and the share with d1 / d2 below 1 / 3 from "
        f"{low_ratio[0]:.0%} to {low_ratio[-1]:.0%}.",
        height=360,
        legend=False,
    )
    figure.update_layout(margin={"r": 130, "t": 26})
    axis = theme.log_axis("training images", 0.9 * sizes[0], 1.1 * sizes[-1])
    headings = ("median LID of generated images", "share of generated images")
    lid, share = panels.stack(figure, headings, axis)
    hover = "%{x:,} training images: "
    typical = [run.typical_lid for run in ordered]
    fresh = [run.chance_memorized for run in ordered]
    panels.draw(
        figure,
        lid,
        [
            panels.Line("generated", sizes, lids, hover + "median LID %{y:.1f}"),
            panels.Line(
                "median data LID",
                sizes,
                typical,
                hover + "median data LID %{y:.1f}",
                reference=True,
            ),
        ],
    )
    panels.draw(
        figure,
        share,
        [
            panels.Line("d₁ / d₂ < ⅓", sizes, low_ratio, hover + "%{y:.0%} with d₁ / d₂ < ⅓"),
            panels.Line(
                "fresh data", sizes, fresh, hover + "%{y:.0%} of fresh data", reference=True
            ),
        ],
        percent=True,
    )
    return figure
