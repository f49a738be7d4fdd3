"""Play training and denoising from precomputed frames: the browser asks nobody while it plays.

All frames travel with the figure, so they hold no more than what changes, rounded to what a screen
can show.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
import torch
from torch import Tensor

from mmh_core.counting import plural
from mmh_core.plots import stage, theme
from mmh_core.plots.image_grid import reduced, webp_address
from mmh_core.studies.images.run import ImageResult, most_severe_image
from mmh_core.studies.manifolds.run import ManifoldRun, Snapshot

_HEIGHT, _FILM_HEIGHT = 520, 330
#: Milliseconds: how long a frame stands, and how long points take on their way to the next.
_STANDS, _MOVES = 900, 600
#: White on it has a contrast above 4.5, and it stands out from a light and from a dark page.
_BUTTON = "#12788a"
#: The buttons stand this far above the figure, with the slider between: side by side the two would
#: not fit on a phone.
_ABOVE = 74
#: What a screen tells apart, as a share of the figure's extent.
_FINE = 1 / 2_000
#: More images side by side would be too small on a phone, and their file too large for a page.
_MOST_IMAGES, _SIDE = 4, 128
#: Room between two images, as a share of the width of one.
_GAP = 0.08


def training(run: ManifoldRun) -> go.Figure:
    """Draw the samples of every snapshot as frames, on the training points, colored by LID.

    Samples are generated from one fixed noise, so that each dot moves through the training. The
    figure stands at the last snapshot until it is played. Errors: ValueError without a snapshot.
    """
    if not run.snapshots:
        raise ValueError("A run without snapshots has nothing to play.")
    low, high = stage.frame(run)
    digits = _digits(max(b - a for a, b in zip(low[:2], high[:2], strict=True)))
    last = run.snapshots[-1]
    count = len(last.generated.points)
    figure = theme.base(
        f"Plays the training: {count} generated samples and {len(run.shown)} training points at "
        f"{plural(len(run.snapshots), 'training step')}, from {_state(run.snapshots[0])} to "
        f"{_state(last)}.",
        height=_HEIGHT,
    )
    figure.add_trace(stage.truth(run, 2))
    names = ("generated sample", "training point")
    shapes: tuple[dict[str, Any], ...] = (
        {"symbol": "circle", "size": 6.5},
        {"symbol": "x", "size": 11},
    )
    for name, shape, markers in zip(names, shapes, _markers(run, last, digits), strict=True):
        marker = {"opacity": 0.85, **shape, **markers["marker"], "coloraxis": "coloraxis"}
        marker["line"] = {"width": 0.7, "color": theme.OUTLINE}
        more = {"mode": "markers", "name": name, "showlegend": False, "hoverinfo": "skip"}
        figure.add_trace(go.Scatter(markers | {"marker": marker} | more))
    # Those on the color scale have no color to show in a legend.
    for name, shape in zip(names, shapes, strict=True):
        marker = {**shape, "color": theme.NEUTRAL}
        figure.add_trace(stage.legend_entry(name, marker, 2))
    figure.update_layout(coloraxis=theme.lid_colors(run))
    figure.frames = [
        go.Frame(name=str(s.step), data=_changes(run, s, digits), traces=[1, 2])
        for s in run.snapshots
    ]
    stage.plane_axes(figure, run, low, high)
    _controls(figure, [_state(s) for s in run.snapshots], moves=_MOVES)
    return figure


def denoising(images: Sequence[ImageResult]) -> go.Figure | None:
    """Draw the denoising trajectories of a run's first images side by side, as frames.

    At the right stands the training image that the most severe of them is compared with. The
    figure stands at the last step until it is played; None where no steps were kept.
    """
    shown = [image for image in images if len(image.frame_steps) == len(image.frames) > 1]
    shown = [i for i in shown if torch.equal(i.frame_steps, shown[0].frame_steps)][:_MOST_IMAGES]
    shown = [image for image in shown if image.frames.shape == shown[0].frames.shape]
    if not shown:
        return None
    near = most_severe_image(shown).evidence_neighbor
    names = [f"seed {image.seed}" for image in shown]
    still = [] if near is None else [near.image]
    if near is not None:
        names.append(f"training<br>image {theme.escaped(near.display_name, 20)}")
    steps = [int(step) for step in shown[0].frame_steps.tolist()]
    strips = [_strip([*(image.frames[i] for image in shown), *still]) for i in range(len(steps))]
    beside = "" if near is None else f", beside training image {near.display_name}"
    figure = theme.base(
        f"Plays the denoising: the predicted final image of {plural(len(shown), 'seed')} at "
        f"{plural(len(steps), 'step')} up to step {steps[-1]}{beside}.",
        height=_FILM_HEIGHT,
        legend=False,
    )
    figure.add_trace(go.Image(source=strips[-1][0], hoverinfo="skip"))
    _film_axes(figure, names, strips[-1][1], strips[-1][2])
    figure.frames = [
        go.Frame(name=str(step), data=[{"type": "image", "source": strip[0]}], traces=[0])
        for step, strip in zip(steps, strips, strict=True)
    ]
    _controls(figure, [f"step {step} of {steps[-1]}" for step in steps], moves=0)
    return figure


def _state(snapshot: Snapshot) -> str:
    """Return the training step, and how many samples are memorized then."""
    step = plural(snapshot.step, "step")
    if not snapshot.fits:
        return f"{step}: no good fit yet"
    count, many = int(snapshot.generated.memorized.sum()), len(snapshot.generated.verdict)
    return f"{step}: {count:,} of {many:,} memorized"


def _markers(run: ManifoldRun, snapshot: Snapshot, digits: int) -> list[dict[str, Any]]:
    """Return where the samples and the training points are at a snapshot, with their colors."""
    markers = []
    for estimates in (snapshot.generated, snapshot.trained):
        at = run.projected(estimates.points)
        x, y = ([round(value, digits) for value in at[:, i].tolist()] for i in (0, 1))
        lid = estimates.lid.tolist()
        color = [theme.NEUTRAL if math.isnan(value) else round(value, 2) for value in lid]
        markers.append({"x": x, "y": y, "marker": {"color": color}})
    return markers


def _changes(run: ManifoldRun, snapshot: Snapshot, digits: int) -> list[dict[str, Any]]:
    """Return what a snapshot changes: training points stay, only their color does not."""
    samples, trained = _markers(run, snapshot, digits)
    return [samples, {"marker": trained["marker"]}]


def _digits(extent: float) -> int:
    """Return the number of decimals that a figure of this extent can show."""
    return max(0, math.ceil(-math.log10(max(extent, 1e-9) * _FINE)))


def _strip(images: Sequence[Tensor]) -> tuple[str, list[float], tuple[int, int]]:
    """Return images side by side as one address, where each is centered, and height and width."""
    from PIL import Image

    height, width = (min(int(side), _SIDE) for side in images[0].shape[1:])
    gap = max(1, round(_GAP * width))
    total = len(images) * (width + gap) - gap
    strip = Image.new("RGBA", (total, height))
    for number, image in enumerate(images):
        pixels = reduced(image, _SIDE).permute(1, 2, 0).contiguous().numpy(force=True)
        tile = Image.fromarray(pixels)
        if tile.size != (width, height):
            tile = tile.resize((width, height))
        strip.paste(tile, (number * (width + gap), 0))
    centers = [number * (width + gap) + (width - 1) / 2 for number in range(len(images))]
    return webp_address(strip), centers, (height, total)


def _film_axes(
    figure: go.Figure, names: Sequence[str], centers: Sequence[float], size: tuple[int, int]
) -> None:
    """Leave of the axes the names of the images below them; pixels are squares."""
    height, width = size
    bare = {"visible": False, "constrain": "domain", "fixedrange": True}
    figure.update_xaxes(bare | {"range": [-0.5, width - 0.5], "constraintoward": "left"})
    figure.update_yaxes(
        bare | {"range": [height - 0.5, -0.5], "scaleanchor": "x", "constraintoward": "top"}
    )
    for name, center in zip(names, centers, strict=True):
        below = {"y": height - 0.5, "yanchor": "top", "yref": "y"}
        theme.label(figure, name, x=center, xanchor="center", **below)
    figure.update_layout(margin={"b": 44})


def _controls(figure: go.Figure, labels: Sequence[str], *, moves: int) -> None:
    """Give a figure a play button, a pause button and a slider over its frames.

    `labels` say what each frame is; `moves` is the time that points take to the next one, 0 for
    frames that are painted anew.
    """
    redraw = moves == 0

    def timing(stands: int, on_the_way: int) -> dict[str, Any]:
        return {
            "mode": "immediate",
            "frame": {"duration": stands, "redraw": redraw},
            "transition": {"duration": on_the_way, "easing": "cubic-in-out"},
        }

    def button(label: str, frames: list[None] | None, how: dict[str, Any]) -> dict[str, Any]:
        return {"label": label, "method": "animate", "args": [frames, how]}

    figure.update_layout(
        updatemenus=[
            {
                "type": "buttons",
                "direction": "right",
                "showactive": False,
                "x": 0,
                "xanchor": "left",
                "y": 1,
                "yanchor": "bottom",
                "pad": {"t": 0, "r": 0, "b": _ABOVE, "l": 0},
                "bordercolor": _BUTTON,
                "bgcolor": _BUTTON,
                "font": {"color": "#ffffff", "size": 15},
                "buttons": [
                    button("Play", None, timing(_STANDS, moves)),
                    button("Pause", [None], timing(0, 0)),
                ],
            }
        ],
        sliders=[
            {
                "active": len(labels) - 1,
                "x": 0,
                "xanchor": "left",
                "len": 1,
                "y": 1,
                "yanchor": "bottom",
                "pad": {"t": 0, "b": 4, "l": 0, "r": 0},
                "currentvalue": {"xanchor": "left", "offset": 8, "font": {"size": 15}},
                "transition": {"duration": 0},
                "bgcolor": theme.FAINT,
                "activebgcolor": theme.ACCENT,
                "bordercolor": theme.NEUTRAL,
                "tickcolor": theme.NEUTRAL,
                "ticklen": 0,
                "minorticklen": 0,
                "steps": [
                    {"label": label, "method": "animate", "args": [[frame.name], timing(0, 0)]}
                    for label, frame in zip(labels, figure.frames, strict=True)
                ],
            }
        ],
        margin={"t": _ABOVE + 40},
    )
