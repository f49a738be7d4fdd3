"""Draw the results of generated images: LID among reference prompts, curves, guidance, maps."""

from __future__ import annotations

import math
from collections.abc import Sequence

import plotly.graph_objects as go
import torch
from torch import Tensor

from mmh_core.memorization.verdict import IMAGE_ROWS
from mmh_core.plots import noise, theme
from mmh_core.studies.images.map import ImageMap
from mmh_core.studies.images.run import ImageResult
from mmh_core.subject.caption_kinds import kind_words
from mmh_core.subject.reference_prompts import ReferencePrompts

_HEIGHT = 300
#: The line of the image that a figure is about.
_STYLE: dict[str, object] = {"color": theme.ACCENT, "width": 2}
#: Of the reference prompts, the part that a band shows.
BAND = (0.05, 0.95)


def lid_curve(
    image: ImageResult, log_deltas: Tensor, log_delta: float, reference: ReferencePrompts | None
) -> go.Figure:
    """Draw an image's conditional LID over the noise scales (K,), with that of reference prompts.

    The band holds 90 % of the reference prompts' curves, the dashed line is their median; a
    diamond marks the LID that the verdict uses, at `log_delta`.
    """
    if len(image.curve) != len(log_deltas) or not len(log_deltas):
        return theme.empty("The curve was not estimated for this image.", height=_HEIGHT)
    x = theme.numbers(log_deltas.exp())
    lid = math.nan if image.lid is None else image.lid.conditional
    figure = theme.base(
        f"LID over the noise scale: {theme.lid_text(lid)} at δ = {math.exp(log_delta):.2g}"
        + ("." if reference is None else ", beside the band of reference prompts."),
        height=_HEIGHT,
    )
    tops = [*image.curve.tolist(), lid]
    if reference is not None and len(reference.curve):
        reference_x = theme.numbers(reference.log_deltas.exp())
        tops += _band(figure, reference_x, reference.curve, "reference prompts, 5 to 95 %")
    error = image.curve_error.nan_to_num(0.0)
    noise.ribbon(figure, x, image.curve + error, image.curve - error)
    name, hover = "this image (± 1 standard error)", "LID %{y:.1f} at δ = %{x:.2g}"
    noise.line(figure, x, image.curve, name, _STYLE, hover=hover, markers=True)
    noise.mark_chosen(figure, lid, (log_delta, log_delta), "plateau")
    finite = [value for value in tops if math.isfinite(value)] or [1.0]
    low, high = min(*finite, 0.0), max(*finite, 1.0)
    figure.update_xaxes(
        theme.log_axis("noise scale δ (units of the latents)", min(x) / 1.05, max(x) * 1.05)
    )
    figure.update_yaxes(theme.axis("LID", range=[low - 0.05 * high, 1.15 * high]))
    return figure


def guidance_norms(image: ImageResult, reference: ReferencePrompts | None) -> go.Figure:
    """Draw `|eps_c - eps_u|` of an image at every step, with the band of reference prompts."""
    norm = image.guidance_norm
    if not len(norm) or not bool(norm.isfinite().any()):
        return theme.empty("Without guidance there is no guidance norm.", height=_HEIGHT)
    steps = list(range(1, len(norm) + 1))
    figure = theme.base(
        f"Guidance norm over {len(steps)} steps: {float(norm[0]):.2g} at the first, "
        f"{float(norm.mean()):.2g} on average.",
        height=_HEIGHT,
    )
    tops = norm.tolist()
    if reference is not None and reference.guidance_norm.shape[1:] == norm.shape:
        tops += _band(figure, steps, reference.guidance_norm, "reference prompts, 5 to 95 %")
    hover = "%{y:.3g} at step %{x}"
    noise.line(figure, steps, norm, "this image", _STYLE, hover=hover, markers=True)
    high = max(value for value in tops if math.isfinite(value))
    figure.update_xaxes(theme.axis("step (noise first, image last)"))
    figure.update_yaxes(theme.axis("guidance norm", range=[0, 1.1 * (high or 1.0)]))
    return figure


def lid_histogram(images: Sequence[ImageResult], reference: ReferencePrompts | None) -> go.Figure:
    """Draw the LID of these images as marks above the distribution of the reference prompts."""
    read = [(image, image.lid.conditional) for image in images if image.lid is not None]
    read = [(image, lid) for image, lid in read if math.isfinite(lid)]
    if not read:
        return theme.empty("No LID was estimated yet.", height=_HEIGHT)
    median = torch.tensor([lid for _, lid in read]).median()
    beside = ""
    if reference is not None:
        middle = float(reference.conditional.nanmedian())
        beside = f", beside {len(reference.conditional)} reference images with median {middle:.1f}"
    figure = theme.base(
        f"LID of {len(read)} images: median {float(median):.1f}{beside}.", height=_HEIGHT
    )
    most = 1.0
    if reference is not None:
        most = _bars(figure, reference.conditional, [lid for _, lid in read])
    _marks(figure, read, 1.12 * most)
    figure.update_xaxes(theme.axis("LID"))
    title = "reference images" if reference is not None else ""
    figure.update_yaxes(
        theme.axis(title, range=[0, 1.6 * most], showticklabels=reference is not None)
    )
    return figure


def image_map(layout: ImageMap, images: Sequence[ImageResult]) -> go.Figure:
    """Draw training images and samples on a plane; `customdata` leads back to them.

    An id of a training image is its own number, one of a sample is -1 - its index. Training
    images are grey until they are selected, then they take the color of their kind.
    """
    figure = theme.base(
        f"Map of {len(layout.ids)} training images and {len(images)} generated ones; images with "
        "similar descriptors lie close together.",
        height=520,
    )
    styles = theme.styles(layout.kinds)
    # Images without a kind are no kind of their own.
    colors = {kind: styles[kind].color if kind else theme.ACCENT for kind in styles}
    for kind, color in colors.items():
        rows = [i for i, name in enumerate(layout.kinds) if name == kind]
        _cloud(figure, layout, rows, kind, color)
    for i, image in enumerate(images):
        style = IMAGE_ROWS[image.verdict]
        figure.add_trace(
            go.Scatter(
                x=[float(layout.samples[i, 0])],
                y=[float(layout.samples[i, 1])],
                mode="markers+text",
                text=[str(image.seed)],
                textposition="top center",
                textfont={"size": 12, "color": theme.RING},
                name="generated images, by seed",
                legendgroup="samples",
                showlegend=i == 0,
                customdata=[-1 - image.index],
                marker={
                    "symbol": style.symbol,
                    "size": 14,
                    "color": style.color,
                    "line": {"width": 1.5, "color": theme.RING},
                },
                hovertemplate=f"seed {image.seed}: {theme.escaped(image.verdict)}<extra></extra>",
            )
        )
    for kind, color in colors.items():
        # The clouds themselves are grey, and the legend must show what their color will be.
        marker = {"size": 9, "color": color}
        entry = {"x": [None], "y": [None], "mode": "markers", "marker": marker}
        figure.add_trace(
            go.Scatter(
                entry, name=theme.escaped(kind_words(kind)) or "training images", hoverinfo="skip"
            )
        )
    figure.update_layout(dragmode="lasso")
    hidden = {"showticklabels": False, "ticks": "", "showgrid": False}
    figure.update_xaxes(theme.axis("", **hidden))
    figure.update_yaxes(theme.axis("", **hidden, scaleanchor="x"))
    return figure


def _cloud(figure: go.Figure, layout: ImageMap, rows: list[int], kind: str, color: str) -> None:
    """Draw the training images of one kind."""
    figure.add_trace(
        go.Scatter(
            x=[float(layout.places[i, 0]) for i in rows],
            y=[float(layout.places[i, 1]) for i in rows],
            mode="markers",
            name=theme.escaped(kind_words(kind)) or "training images",
            showlegend=False,
            customdata=[layout.ids[i] for i in rows],
            text=[theme.escaped(layout.captions[i], 70) for i in rows],
            marker={"size": 4, "color": theme.NEUTRAL, "opacity": 0.55},
            selected={"marker": {"color": color, "opacity": 1, "size": 6}},
            unselected={"marker": {"opacity": 0.3}},
            hovertemplate="image %{customdata}: %{text}<extra></extra>",
        )
    )


def _bars(figure: go.Figure, reference: Tensor, lids: list[float]) -> float:
    """Draw the histogram of the reference prompts' LID, and return its highest bar."""
    values = reference[reference.isfinite()]
    high = max([float(values.max()), *lids])
    width = next((w for w in (0.5, 1, 2, 5, 10, 20, 50) if high / w <= 24), 100)
    counts = torch.bincount((values / width).floor().long().clamp_min(0))
    figure.add_trace(
        go.Bar(
            x=[width * (i + 0.5) for i in range(len(counts))],
            y=[int(count) for count in counts],
            width=0.9 * width,
            name=f"{len(values)} images of reference prompts",
            marker={"color": theme.FAINT, "line": {"width": 0}},
            hovertemplate="%{y} reference images with LID about %{x}<extra></extra>",
        )
    )
    return float(counts.max())


def _marks(figure: go.Figure, read: list[tuple[ImageResult, float]], height: float) -> None:
    """Draw one mark per image, with its standard error, in the style of its verdict."""
    for verdict in dict.fromkeys(image.verdict for image, _ in read):
        matching = [(image, lid) for image, lid in read if image.verdict == verdict]
        errors = [image.lid.conditional_error if image.lid else math.nan for image, _ in matching]
        style = IMAGE_ROWS[verdict]
        figure.add_trace(
            go.Scatter(
                x=[lid for _, lid in matching],
                # One above the other, so that their errors stay apart.
                y=[height * (1 + 0.09 * (image.index % 4)) for image, _ in matching],
                mode="markers",
                name=verdict,
                text=[f"seed {image.seed}" for image, _ in matching],
                error_x={"array": [0 if math.isnan(e) else e for e in errors], "width": 4},
                marker={"symbol": style.symbol, "size": 13, "color": style.color},
                hovertemplate="%{text}: LID %{x:.1f}<extra></extra>",
            )
        )


def _band(figure: go.Figure, x: Sequence[float], values: Tensor, name: str) -> list[float]:
    """Shade what most of the rows (N, K) fill, draw their median, and return the band's ends."""
    shares = torch.tensor([BAND[0], 0.5, BAND[1]])
    low, middle, high = values.float().nanquantile(shares, dim=0)
    noise.ribbon(figure, x, high, low, theme.BAND, name)
    style: dict[str, object] = {"color": theme.NEUTRAL, "dash": "dash", "width": 1.4}
    hover = "median of reference prompts %{y:.3g}"
    noise.line(figure, x, middle, "median of reference prompts", style, hover=hover)
    return [*low.tolist(), *high.tolist()]
