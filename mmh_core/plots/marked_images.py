"""Images side by side that a person can zoom into, with the regions that are marked on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from mmh_core.plots import theme

#: Share of the width between two images.
_GAP = 0.03


@dataclass(frozen=True)
class ImagePanel:
    """An image with its name, the address of its file, and its size in pixels.

    `regions` are numbers with left, top, right and bottom, in shares of width and height.
    """

    name: str
    source: str
    width: int
    height: int
    regions: tuple[tuple[int, tuple[float, ...]], ...] = ()


def marked_images(panels: Sequence[ImagePanel]) -> go.Figure:
    """Draw images over axes from 0 to 1, top left first; images of one shape zoom together."""
    count = sum(len(panel.regions) for panel in panels)
    names = " and ".join(theme.escaped(panel.name) for panel in panels)
    figure = theme.base(f"{names}; marked regions: {count}.", height=380, legend=False)
    figure.update_layout(dragmode="select", margin={"l": 0, "r": 0, "t": 28, "b": 24})
    width = (1 + _GAP) / len(panels)
    shapes = {round(panel.height / panel.width, 3) for panel in panels}
    for i, panel in enumerate(panels):
        number = "" if i == 0 else str(i + 1)
        flat: dict[str, object] = {"visible": False}
        across = flat | {"domain": [i * width, (i + 1) * width - _GAP], "range": [0, 1]}
        down = flat | {"range": [1, 0], "anchor": f"x{number}"}
        if i and len(shapes) == 1:
            across, down = across | {"matches": "x"}, down | {"matches": "y"}
        else:
            down |= {"scaleanchor": f"x{number}", "scaleratio": panel.height / panel.width}
        figure.update_layout(
            {
                f"xaxis{number}": across | {"constrain": "domain", "anchor": f"y{number}"},
                f"yaxis{number}": down | {"constrain": "domain"},
            }
        )
        _draw(figure, panel, f"x{number}", f"y{number}")
    return figure


def _draw(figure: go.Figure, panel: ImagePanel, xaxis: str, yaxis: str) -> None:
    axes = {"xaxis": xaxis, "yaxis": yaxis, "hoverinfo": "skip"}
    across, down = 1 / panel.width, 1 / panel.height
    # Without smoothing: a small image keeps its pixels, as everywhere in the app.
    figure.add_trace(
        go.Image(
            source=panel.source,
            x0=across / 2,
            y0=down / 2,
            dx=across,
            dy=down,
            zsmooth=False,
            **axes,
        )
    )
    # An image has nothing to select; boxes are drawn only where something has.
    corners = {"x": [0, 1], "y": [0, 1], "mode": "markers", "marker": {"opacity": 0}}
    figure.add_trace(go.Scatter(**corners, **axes))
    figure.add_annotation(
        text=theme.escaped(panel.name),
        x=0,
        y=1,
        xref=f"{xaxis} domain",
        yref=f"{yaxis} domain",
        xanchor="left",
        yanchor="bottom",
        showarrow=False,
    )
    for number, (left, top, right, bottom) in panel.regions:
        place = {"x0": left, "y0": top, "x1": right, "y1": bottom, "xref": xaxis, "yref": yaxis}
        # White beneath the color: an outline stands out from any image.
        figure.add_shape(type="rect", line={"color": "white", "width": 4}, **place)
        figure.add_shape(type="rect", line={"color": theme.RING, "width": 2}, **place)
        figure.add_annotation(
            text=str(number),
            x=left,
            y=top,
            xref=xaxis,
            yref=yaxis,
            xanchor="left",
            yanchor="top",
            showarrow=False,
            bgcolor=theme.RING,
            font={"color": "#111111", "size": 12},
        )
