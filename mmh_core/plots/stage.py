"""The ground that images stand on, in the plane or in space: axes, truth, ring and arrows."""

from __future__ import annotations

import math
from typing import Any, Literal

import plotly.graph_objects as go
import torch
from torch import Tensor

from mmh_core.plots import theme
from mmh_core.studies.manifolds.run import ManifoldRun

Dimensions = Literal[2, 3]

#: The frame goes this far beyond the data, as a share of its extent.
_MARGIN = 0.12
#: Dots of the true manifold in the plane and in space, where surfaces need more.
_TRUTH_DOTS = {2: 500, 3: 1_500}
#: Length of an arrow's head as a share of the arrow, and half its opening in radians.
_HEAD, _OPENING = 0.35, 0.5


def markers(at: Tensor, dimensions: Dimensions, **trace: Any) -> Any:
    """Return a trace of markers at projected points (n, 3), in the plane or in space."""
    sides = {side: theme.numbers(at[:, i]) for i, side in enumerate("xyz"[:dimensions])}
    kind = go.Scatter if dimensions == 2 else go.Scatter3d
    return kind(mode="markers", **sides, **trace)


def truth(run: ManifoldRun, dimensions: Dimensions) -> Any:
    """Return the true manifold as small light-blue dots that say nothing when hovered over.

    Some hundred of them, evenly taken: a browser draws each by itself, and more show no more.
    """
    every = max(1, len(run.truth.points) // _TRUTH_DOTS[dimensions])
    flat = {"size": 2.5, "color": theme.TRUTH}
    return markers(
        run.projected(run.truth.points[::every]),
        dimensions,
        name="true manifold" if theme.truth_known(run) else "all known images",
        marker=flat if dimensions == 2 else {"size": 1.5, "color": theme.SOLID_TRUTH},
        hoverinfo="skip",
        # A selection is about points; what lies behind them must not fade with the others.
        **({"unselected": {"marker": {"opacity": 1}}} if dimensions == 2 else {}),
    )


def legend_entry(name: str, marker: dict[str, Any], dimensions: Dimensions) -> Any:
    """Return a trace that stands in the legend for all traces of its group and draws nothing."""
    nowhere = torch.empty(0, 3)
    entry = markers(nowhere, dimensions, name=name, legendgroup=name, marker=marker)
    return entry.update({side: [None] for side in "xyz"[:dimensions]})


def ring(at: Tensor, dimensions: Dimensions) -> Any:
    """Return a ring around the chosen point (1, 3)."""
    line = {"width": 3, "color": theme.RING}
    marker = {"symbol": "circle-open", "size": 18 if dimensions == 2 else 11, "line": line}
    return markers(
        at,
        dimensions,
        name="chosen",
        showlegend=False,
        marker={**marker, "color": theme.RING},
        hoverinfo="skip",
    )


def frame(run: ManifoldRun) -> tuple[list[float], list[float]]:
    """Return the corners of the data and the truth with a margin: the same for all snapshots."""
    both = run.projected(torch.cat([run.train.points, run.truth.points]))
    low, high = both.amin(0), both.amax(0)
    margin = _MARGIN * (high - low)
    return (low - margin).tolist(), (high + margin).tolist()


def plane_axes(figure: go.Figure, run: ManifoldRun, low: list[float], high: list[float]) -> None:
    """Give the plane thin axes that share one unit."""
    names = _axis_names(run)
    figure.update_xaxes(theme.axis(names[0], range=[low[0], high[0]], showgrid=False))
    vertical: dict[str, object] = {"scaleanchor": "x", "scaleratio": 1, "showgrid": False}
    figure.update_yaxes(theme.axis(names[1], range=[low[1], high[1]], **vertical))


def space_axes(figure: go.Figure, run: ManifoldRun, low: list[float], high: list[float]) -> None:
    """Give space bare axes that share one unit, and look at it from the front and above."""
    scene: dict[str, Any] = {"aspectmode": "data", "bgcolor": "rgba(0,0,0,0)"}
    for i, (side, name) in enumerate(zip("xyz", _axis_names(run), strict=True)):
        flat = high[i] - low[i] < 1e-6
        scene[f"{side}axis"] = {
            "title": {"text": name},
            "range": [-0.5, 0.5] if flat else [low[i], high[i]],
            "visible": not flat,
            "showbackground": False,
            "gridcolor": theme.SOLID_GRID,
            "linecolor": theme.SOLID_GRID,
            "zeroline": False,
            "showspikes": False,
            "nticks": 4,
        }
    eye, center = {"x": 0.95, "y": -1.8, "z": 1.15}, {"x": 0, "y": 0, "z": -0.18}
    figure.update_layout(scene={**scene, "camera": {"eye": eye, "center": center}})


def arrows(pull: Tensor, extent: Tensor) -> tuple[list[float | None], list[float | None]]:
    """Return x and y of the strokes that draw a field (G, G, 2) over `extent` (2, 2) as arrows.

    Rows of the field go along y, columns along x. Each arrow is one stroke, ended by None: tail,
    tip, one side of the head, tip, the other side. No arrow is longer than a step of the grid.
    """
    low, high = extent
    side = len(pull)
    across, up = (torch.linspace(float(low[i]), float(high[i]), side) for i in (0, 1))
    tail = torch.stack(torch.meshgrid(across, up, indexing="xy"), dim=-1).reshape(-1, 2)
    step = float(((high - low) / (side - 1)).min())
    vector = pull.reshape(-1, 2)
    length = vector.norm(dim=1, keepdim=True).clamp(min=1e-12)
    vector = vector * (step / length).clamp(max=1.0)
    tip = tail + vector
    left, right = (
        tip + _HEAD * vector @ _rotation(math.pi + turn) for turn in (_OPENING, -_OPENING)
    )
    ended = torch.full_like(tip, math.nan)
    strokes = torch.stack([tail, tip, left, tip, right, ended], dim=1).reshape(-1, 2)
    x, y = ([None if math.isnan(v) else v for v in theme.numbers(s)] for s in strokes.T)
    return x, y


def _rotation(angle: float) -> Tensor:
    """Return the matrix that turns row vectors by `angle`, counterclockwise."""
    sin, cos = math.sin(angle), math.cos(angle)
    return torch.tensor([[cos, sin], [-sin, cos]])


def _axis_names(run: ManifoldRun) -> tuple[str, str, str]:
    if run.train.ambient_dim <= 3:
        return ("x₁", "x₂", "x₃")
    return ("main axis 1", "main axis 2", "main axis 3")
