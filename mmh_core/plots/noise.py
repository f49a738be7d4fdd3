"""Draw over the noise scale: the axis that all estimators share, lines, band and plateau."""

from __future__ import annotations

import math
from collections.abc import Sequence

import plotly.graph_objects as go
from torch import Tensor

from mmh_core.plots import theme
from mmh_core.studies.manifolds.run import ManifoldRun, Snapshot


def scales(run: ManifoldRun) -> list[float]:
    """Return the noise scales (K,) of a run's curves in data units."""
    return theme.numbers(run.log_delta.exp())


def axis(run: ManifoldRun) -> dict[str, object]:
    """Return the axis of noise scales, logarithmic, with a little room at both ends."""
    low, *_, high = scales(run)
    return theme.log_axis("noise scale δ (data units)", low / 1.05, high * 1.05)


def line(
    figure: go.Figure,
    x: Sequence[float],
    values: Tensor,
    name: str,
    style: dict[str, object],
    *,
    hover: str = "",
    markers: bool = False,
) -> None:
    """Draw values (K,) over `x`, noise scales unless `hover` says else."""
    figure.add_trace(
        go.Scatter(
            x=list(x),
            y=theme.numbers(values),
            mode="lines+markers" if markers else "lines",
            name=name,
            line=style,
            marker={"size": 5},
            hovertemplate=f"{hover or f'{name}: %{{y:.3g}} at δ = %{{x:.3g}}'}<extra></extra>",
        )
    )


def ribbon(
    figure: go.Figure,
    x: Sequence[float],
    upper: Tensor,
    lower: Tensor,
    color: str = theme.ACCENT_FAINT,
    name: str = "",
) -> None:
    """Shade the area between two curves (K,); it has an entry in the legend if it has a name."""
    figure.add_trace(
        go.Scatter(
            x=[*x, *reversed(x)],
            y=[*theme.numbers(upper), *reversed(theme.numbers(lower))],
            mode="lines",
            fill="toself",
            fillcolor=color,
            line={"width": 0},
            name=name,
            showlegend=bool(name),
            hoverinfo="skip",
        )
    )


def mark_chosen(figure: go.Figure, lid: float, ends: tuple[float, float], status: str) -> None:
    """Draw the chosen plateau between two log deltas, or a diamond where it has no width.

    Its LID is written above. Nothing is drawn for an unknown LID.
    """
    if math.isnan(lid):
        return
    low, high = ends
    flat = high > low
    figure.add_trace(
        go.Scatter(
            x=[math.exp(low), math.exp(high)] if flat else [math.exp(low)],
            y=[lid, lid] if flat else [lid],
            mode="lines" if flat else "markers",
            line={"color": theme.RING, "width": 8},
            marker={"color": theme.RING, "size": 13, "symbol": "diamond"},
            opacity=0.6,
            name="chosen",
            showlegend=False,
            hoverinfo="skip",
        )
    )
    note = "" if status == "plateau" else f" ({status})"
    theme.label(
        figure,
        f"chosen: <b>LID {theme.lid_text(lid)}</b>{note}",
        # Annotations on a logarithmic axis are placed by the logarithm, traces are not.
        x=(low + high) / 2 / math.log(10),
        y=lid,
        xanchor="center",
        yanchor="bottom",
        yshift=5,
    )


def shade_band(figure: go.Figure, snapshot: Snapshot) -> None:
    """Shade the noise scales at which the model fits, or say that there are none."""
    figure.update_layout(margin={"t": 30})
    above: dict[str, object] = {"yref": "paper", "y": 1, "yanchor": "bottom"}
    if not snapshot.fits:
        text = "no trusted noise scales: the fit is too poor"
        theme.label(figure, text, xref="paper", x=0, **above)
        return
    figure.add_shape(
        type="rect",
        xref="x",
        yref="paper",
        # Shapes on a logarithmic axis are placed by the value, unlike annotations.
        x0=math.exp(snapshot.band_low),
        x1=math.exp(snapshot.band_high),
        y0=0,
        y1=1,
        layer="below",
        fillcolor=theme.BAND,
        line={"width": 0},
    )
    theme.label(figure, "trusted noise scales", x=snapshot.band_low / math.log(10), **above)
