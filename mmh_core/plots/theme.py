"""What all figures share: the LID scale, the styles of verdicts, a base that fits any theme.

Figures are drawn on whatever is behind them, light or dark: backgrounds are transparent, text
takes the color of the surrounding theme, and lines are mid-greys that stand out from both. The LID
scale rises in lightness with any color vision (checked with the matrices of Machado et al. 2009),
and no verdict is told by color alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

import plotly.graph_objects as go
from torch import Tensor

from mmh_core.statistics.intervals import Interval
from mmh_core.studies.manifolds.run import ManifoldRun

#: From violet (0, memorized) to yellow-green (as free as the data), lightness rising evenly.
LID_SCALE = ("#6c3fc8", "#3874cd", "#0b97bc", "#27b2aa", "#5dc988", "#b7d341")

NEUTRAL = "rgba(128,140,146,0.95)"
FAINT = "rgba(128,140,146,0.55)"
GRID = "rgba(128,140,146,0.22)"
BAND = "rgba(128,140,146,0.13)"
#: Around points, whose own color may be near that of the page: a contrast above 3 on both.
OUTLINE = "rgba(118,128,134,0.9)"
TRUTH = "rgba(110,180,235,0.5)"
#: In space WebGL blends what is translucent with white, so colors there are opaque.
SOLID_TRUTH, SOLID_GRID = "#8dbfe8", "#8b979d"
#: One accent for the curve or mark that a figure is about; a contrast above 3 on light and dark.
ACCENT, ACCENT_FAINT = "#0b8fb3", "rgba(11,143,179,0.2)"
#: The color of a second curve, and of the truth as a line.
SECOND, TRUTH_LINE = "#b3569b", "#4897d6"
#: Colors and symbols of kinds in turn: no kind is told by color alone, with any color vision.
_COLORS = ("#d55e00", "#c08400", "#9486e0", "#2b8f86", "#4897d6", "#b3569b", "#8a7a3c", "#87939a")
_SYMBOLS = ("star", "diamond", "square", "triangle-up", "circle", "circle-open", "cross", "x",
            "triangle-down", "pentagon", "diamond-open")  # fmt: skip
#: The ring around a chosen point: no color of the LID scale or of a verdict.
RING = "#e0457b"


def alt_text(figure: go.Figure) -> str:
    """Return the sentence that says what a figure of this package shows."""
    return str(figure.layout.meta["alt"])


def base(alt: str, *, height: int, legend: bool = True) -> go.Figure:
    """Return an empty figure with everything that figures have in common.

    An empty template instead of the session's default one: a figure must look the same wherever it
    is made, and Streamlit fills in its theme's fonts by itself.
    """
    figure = go.Figure(layout={"template": go.layout.Template(), "meta": {"alt": alt}})
    figure.update_layout(
        height=height,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        margin={"l": 8, "r": 16, "t": 24, "b": 8},
        showlegend=legend,
        legend={
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "y": 0,
            "yanchor": "bottom",
            "yref": "container",
            "bgcolor": "rgba(0,0,0,0)",
            "itemsizing": "constant",
        },
        hovermode="closest",
    )
    return figure


def axis(title: str = "", **more: object) -> dict[str, object]:
    """Return the style of one flat axis: a thin line, few ticks, a faint grid, no zero line."""
    style: dict[str, object] = {
        "title": {"text": title, "standoff": 14},
        "showgrid": True,
        "gridcolor": GRID,
        "gridwidth": 1,
        "zeroline": False,
        "showline": True,
        "linecolor": FAINT,
        "linewidth": 1,
        "ticks": "outside",
        "ticklen": 4,
        "tickcolor": FAINT,
        "nticks": 6,
        "automargin": True,
    }
    return style | more


def log_axis(title: str, low: float, high: float) -> dict[str, object]:
    """Return a logarithmic axis: ticks at 1, 2 and 5 times powers of 10, or at powers alone."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    many = last - first > 3
    ticks = [
        factor * 10.0**power
        for power in range(first, last + 1)
        for factor in ((1,) if many else (1, 2, 5))
        if low * 0.999 <= factor * 10.0**power <= high * 1.001
    ]
    if len(ticks) < 2:
        ticks = [low, high]
    return axis(
        title,
        type="log",
        range=[math.log10(low), math.log10(high)],
        tickvals=ticks,
        ticktext=[f"{tick:,.3f}".rstrip("0").rstrip(".") for tick in ticks],
    )


def data_lid_name(run: ManifoldRun) -> str:
    """Name the data's LID for what it is: the truth, or an estimate among all known images."""
    return "true LID" if truth_known(run) else "data LID (estimated)"


def truth_known(run: ManifoldRun) -> bool:
    """Return whether the data's LID is known rather than estimated."""
    return not bool(run.truth.lid.isnan().all())


def lid_top(run: ManifoldRun) -> int:
    """Return the LID at the upper end of the run's color scale, at least 1.

    The largest true LID, or the typical one where the truth is unknown: it depends on the data
    alone, so that a color means the same LID at every snapshot.
    """
    finite = run.truth.lid[~run.truth.lid.isnan()]
    top = float(finite.max()) if len(finite) else run.typical_lid
    return max(1, math.ceil(top - 1e-3)) if math.isfinite(top) else 1


def lid_colors(run: ManifoldRun) -> dict[str, object]:
    """Return the color axis of LID with its colorbar: fixed for a run, whole numbers as ticks."""
    top = lid_top(run)
    step = next(s for s in (1, 2, 5, 10, 20, 50, 100, 1_000) if top / s <= 6 or s == 1_000)
    ticks = [tick for tick in range(0, top, step) if top - tick > step / 2]
    return {
        "cmin": 0,
        "cmax": top,
        "colorscale": [[i / (len(LID_SCALE) - 1), color] for i, color in enumerate(LID_SCALE)],
        "colorbar": {
            "title": {"text": "LID", "side": "top"},
            "tickvals": [*ticks, top],
            "ticktext": [*(str(tick) for tick in ticks), f"≥ {top}"],
            "thickness": 12,
            "len": 0.75,
            "outlinewidth": 0,
            "ticks": "",
        },
    }


def escaped(text: str, most: int = 200) -> str:
    """Return a text that somebody typed, escaped so that Plotly shows it as typed, not as markup.

    Plotly obeys some HTML tags and `%{...}` in labels, and of the named entities knows few: not
    the one for a quotation mark, which is left as it is. More than `most` characters are cut.
    """
    short = text if len(text) <= most else f"{text[: most - 3]}..."
    return escape(short, quote=False).replace("%{", "%&#123;")


def label_in_lines(text: str) -> str:
    """Return the label of a row, what is in brackets below it: a narrow chart keeps its width."""
    return escaped(text).replace(" (", "<br>(", 1)


@dataclass(frozen=True)
class Style:
    """The color and the symbol of a kind in a figure."""

    color: str
    symbol: str


def styles(kinds: Iterable[str]) -> dict[str, Style]:
    """Return the style of each kind, in the order in which they come first."""
    return {
        kind: Style(_COLORS[number % len(_COLORS)], _SYMBOLS[number % len(_SYMBOLS)])
        for number, kind in enumerate(dict.fromkeys(kinds))
    }


def label(figure: go.Figure, text: str, **placement: object) -> None:
    """Write a short text into a figure, in the theme's own color."""
    style: dict[str, object] = {
        "text": text,
        "showarrow": False,
        "xanchor": "left",
        "font": {"size": 12},
    }
    figure.add_annotation(style | placement)


def upright(figure: go.Figure, x: float, name: str = "") -> None:
    """Draw a dashed line at `x` from bottom to top and write its name, if any, above it."""
    if math.isnan(x):
        return
    line = {"color": NEUTRAL, "dash": "dash", "width": 1.3}
    figure.add_shape(type="line", xref="x", yref="paper", x0=x, x1=x, y0=0, y1=1, line=line)
    if name:
        label(figure, name, x=x, y=1, yref="paper", yanchor="bottom", xanchor="center")


def diagonal(figure: go.Figure, end: float = 1.0) -> None:
    """Draw the dashed line of equal coordinates from 0 to `end`."""
    line = {"color": NEUTRAL, "dash": "dash", "width": 1}
    figure.add_shape(type="line", x0=0, y0=0, x1=end, y1=end, line=line)


def chosen_step(figure: go.Figure, step: float) -> None:
    """Draw a dotted line from bottom to top at the training step that is chosen."""
    line = {"color": RING, "width": 1.5, "dash": "dot"}
    figure.add_shape(type="line", x0=step, x1=step, y0=0, y1=1, yref="paper", line=line)


def whiskers(figures: Sequence[Interval], color: str, width: float = 1.2) -> dict[str, object]:
    """Return the bars from the lower to the upper end of each figure, none where it is unknown."""

    def lengths(sign: int) -> list[float]:
        ends = ((f.high if sign > 0 else f.low, f.value) for f in figures)
        return [sign * (end - value) if math.isfinite(end) else 0.0 for end, value in ends]

    return {
        "type": "data",
        "symmetric": False,
        "array": lengths(1),
        "arrayminus": lengths(-1),
        "color": color,
        "thickness": width,
        "width": 3,
    }


def empty(text: str, *, height: int) -> go.Figure:
    """Return a figure that only says why there is nothing to draw."""
    figure = base(text, height=height, legend=False)
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    label(figure, text, xref="paper", yref="paper", x=0.5, y=0.5, xanchor="center")
    return figure


def numbers(values: Tensor) -> list[float]:
    """Return a tensor of one dimension as a list, as which figures are written and compared."""
    return [float(value) for value in values.tolist()]


def whole_ticks(most: float) -> dict[str, object]:
    """Return ticks at whole numbers for an axis of LID that ends at `most`, where they fit."""
    return {"dtick": 1} if most <= 6 else {}


def lid_text(value: float) -> str:
    """Return a LID as text: one decimal at most, "unknown" for NaN."""
    if math.isnan(value):
        return "unknown"
    # + 0.0 turns -0.0, a rounded small negative number, into 0.
    return f"{round(value, 1) + 0.0:.1f}".removesuffix(".0")
