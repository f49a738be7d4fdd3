"""Stack small panels over one shared axis, with lines that are labelled at their ends."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from mmh_core.plots import theme

#: Colors, dashes and markers of the lines of one panel, in order: no line is told by color alone.
_STYLES = (
    (theme.ACCENT, "solid", "circle"),
    (theme.SECOND, "solid", "diamond"),
    ("#8a7a3c", "solid", "square"),
    (theme.TRUTH_LINE, "solid", "triangle-up"),
)
_REFERENCE = (theme.NEUTRAL, "dash", "circle")
_LABEL_HEIGHT = 14.0
#: What the x axis with its title takes of the height, in pixels, and a gap as a share of the rest.
_AXIS_HEIGHT, _GAP = 50.0, 0.11


@dataclass(frozen=True)
class Line:
    """One line of a panel; `hover` is a Plotly template for one of its points.

    A `reference` is what the other lines are to be compared with: grey and dashed.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    hover: str
    markers: bool = True
    reference: bool = False


@dataclass(frozen=True)
class Panel:
    """The position of one panel: its number, the part of the figure's height, its pixels."""

    number: int
    low: float
    high: float
    pixels: float

    @property
    def axis(self) -> str:
        """Return the name of the panel's y axis as traces and annotations say it."""
        return "y" if self.number == 1 else f"y{self.number}"


def stack(figure: go.Figure, headings: Sequence[str], x_axis: dict[str, object]) -> list[Panel]:
    """Give a figure one panel per heading, from top to bottom, over one x axis at the bottom.

    The figure's height and margins must be set: names keep their distance in pixels.
    """
    count = len(headings)
    share = (1 - _GAP * (count - 1)) / count
    inner = figure.layout.height - figure.layout.margin.t - _AXIS_HEIGHT
    made = []
    for i, heading in enumerate(headings):
        high = 1 - i * (share + _GAP)
        panel = Panel(i + 1, max(0.0, high - share), high, share * inner)
        anchor = {"xref": "paper", "x": 0, "yref": "paper", "y": high, "yanchor": "bottom"}
        theme.label(figure, f"<b>{heading}</b>", yshift=3, **anchor)
        made.append(panel)
    figure.update_layout(xaxis={**x_axis, "anchor": made[-1].axis})
    return made


def draw(
    figure: go.Figure,
    panel: Panel,
    lines: Sequence[Line],
    *,
    percent: bool = False,
    from_zero: bool = True,
) -> None:
    """Draw lines into a panel, each named at its right end.

    Names of lines that end close to one another move apart.
    """
    ends = _extent(lines, least=0.1 if percent else 1.0, from_zero=from_zero)
    style = theme.axis(range=list(ends), domain=[panel.low, panel.high], anchor="x", nticks=4)
    if percent:
        style["tickformat"] = ".0%"
    figure.update_layout({f"yaxis{panel.number}": style})
    styles = iter(_STYLES)
    for line in lines:
        color, dash, symbol = _REFERENCE if line.reference else next(styles)
        figure.add_trace(
            go.Scatter(
                x=list(line.x),
                y=list(line.y),
                yaxis=panel.axis,
                mode="lines+markers" if line.markers and not line.reference else "lines",
                name=line.name,
                line={"color": color, "dash": dash, "width": 1.4 if line.reference else 1.8},
                marker={"symbol": symbol, "size": 6},
                hovertemplate=f"{line.hover}<extra></extra>",
            )
        )
    _name_ends(figure, panel, lines, ends)


def level(figure: go.Figure, value: float, name: str, hover: str) -> Line:
    """Return a reference line at one value across the whole x axis."""
    low, high = figure.layout.xaxis.range
    across = [10**low, 10**high] if figure.layout.xaxis.type == "log" else [low, high]
    return Line(name, across, [value, value], hover, reference=True)


def spread(places: Sequence[float], gap: float, high: float) -> list[float]:
    """Return places moved apart to at least `gap`, in their order, none above `high`.

    The upper ones move up while there is room, then the lower ones move down.
    """
    order = sorted(range(len(places)), key=lambda i: places[i])
    moved = list(places)
    for below, above in itertools.pairwise(order):
        moved[above] = max(moved[above], moved[below] + gap)
    ceiling = high
    for i in reversed(order):
        moved[i] = min(moved[i], ceiling)
        ceiling = moved[i] - gap
    return moved


def _extent(lines: Sequence[Line], *, least: float, from_zero: bool) -> tuple[float, float]:
    """Return the ends of the y axis: all values and some room, at least `least` of 0 and above."""
    values = [y for line in lines for y in line.y if math.isfinite(y)]
    low, high = (min(values), max(values)) if values else (0.0, 0.0)
    if from_zero:
        low, high = min(low, 0.0), max(high, least)
    room = 0.08 * ((high - low) or 1.0)
    return low - room, high + room


def _name_ends(
    figure: go.Figure, panel: Panel, lines: Sequence[Line], ends: tuple[float, float]
) -> None:
    """Write each line's name at the right edge, as high as the line ends, moved where names touch.

    At the edge rather than at the end itself: while a run grows, its lines stop on the way.
    """
    named = [line for line in lines if line.name and line.y and math.isfinite(line.y[-1])]
    unit = panel.pixels / (ends[1] - ends[0])
    heights = [(line.y[-1] - ends[0]) * unit for line in named]
    for line, at, to in zip(
        named, heights, spread(heights, _LABEL_HEIGHT, panel.pixels), strict=True
    ):
        anchor = {"xref": "paper", "x": 1, "yref": panel.axis, "y": line.y[-1]}
        theme.label(figure, line.name, xshift=6, yshift=round(to - at, 1), **anchor)
