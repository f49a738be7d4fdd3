"""Draw a comparison of mitigations: copies against prompt, and what moved."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from mmh_core.memorization.verdict import HARM_COLOR
from mmh_core.mitigations.catalogue import mitigation_words
from mmh_core.plots import theme
from mmh_core.plots.label_positions import Span, label_positions
from mmh_core.statistics.intervals import Interval, axis_ends
from mmh_core.studies.mitigation.outcome import NEW_COPY, NOT_SOLVED
from mmh_core.studies.mitigation.run import Treatment
from mmh_core.studies.mitigation.table import Compared, TreatmentRow

_HEIGHT = 430
#: The size of the plane in pixels that labels are laid out for; a wider window only spreads them.
_PLANE = (490.0, 330.0)


@dataclass(frozen=True)
class Family:
    """The style of the mitigations that act on one part of sampling."""

    label: str
    color: str
    symbol: str


_BASELINE = Family("baselines", theme.NEUTRAL, "cross")
_PROMPT = Family("in the prompt", "#d55e00", "diamond")
_EMBEDDING = Family("in the prompt embedding", "#9486e0", "square")
_GUIDANCE = Family("in the guidance", theme.ACCENT, "circle")
_NOISE = Family("in the starting noise", "#b8860b", "triangle-up")
_ATTENTION = Family("in the attention", "#b3569b", "triangle-down")
_AUTOMATIC = Family("automatic", "#2b8f86", "star")
FAMILIES = {
    "none": _BASELINE,
    "random_tokens": _BASELINE,
    "rewrite": _PROMPT,
    "embedding_optimization": _EMBEDDING,
    "raise_lid": _EMBEDDING,
    "padding_fix": _EMBEDDING,
    "static_guidance": _GUIDANCE,
    "opposite_guidance": _GUIDANCE,
    "dynamic_guidance": _GUIDANCE,
    "sparse_repellency": _GUIDANCE,
    "anti_memorization_guidance": _GUIDANCE,
    "noise_adjustment": _NOISE,
    "noise_optimization": _NOISE,
    "attention_masking": _ATTENTION,
    "attention_attenuation": _ATTENTION,
    "automatic_chain": _AUTOMATIC,
}


def frontier(rows: Sequence[TreatmentRow], chosen: Treatment | None = None) -> go.Figure:
    """Draw the similarity to the nearest training image over the alignment with the prompt.

    Down and right is better. Whiskers are the intervals of the means; every mitigation is named,
    `chosen` has a ring, and `customdata` holds its number in `rows`. Where images only moved off
    the threshold the mark is hollow and gray: their lower similarity is no success.
    """
    plotted = [(i, row) for i, row in enumerate(rows) if _known(row)]
    if not plotted:
        return theme.empty(
            "No data: without training images there is no copy search.",
            height=_HEIGHT,
        )
    figure = theme.base(
        f"{len(plotted)} mitigations by alignment with the prompt and similarity to the nearest "
        "training image; down and right is better.",
        height=_HEIGHT,
    )
    xs = list(axis_ends([row.alignment.mean for _, row in plotted], 0.12))
    ys = list(axis_ends([row.similarity.mean for _, row in plotted], 0.12))
    names = [short_name(row) for _, row in plotted]
    crosses = [
        (_pixels(row.alignment.mean, xs, _PLANE[0]), _pixels(row.similarity.mean, ys, _PLANE[1]))
        for _, row in plotted
    ]
    places = label_positions(crosses, names, _PLANE[0])
    _dotted_none(figure, rows, xs)
    families = list(dict.fromkeys(FAMILIES[row.treatment.mitigation] for _, row in plotted))
    for family in families:
        members = [
            (i, row, name, position)
            for (i, row), name, position in zip(plotted, names, places, strict=True)
            if FAMILIES[row.treatment.mitigation] == family
        ]
        figure.add_trace(_marks(family, members))
    _ring(figure, [row for _, row in plotted if row.treatment == chosen])
    figure.update_xaxes(theme.axis("alignment with the prompt (right is better)", range=xs))
    figure.update_yaxes(
        theme.axis("similarity to nearest training image (down is better)", range=ys)
    )
    return figure


def must_not_move(rows: Sequence[TreatmentRow]) -> go.Figure:
    """Draw, for reference prompts, how much each mitigation changes alignment.

    A dot per mitigation with its interval over images; 0 is the unmitigated image. A red cross
    is one under which an image becomes a copy.
    """
    measured = [row for row in rows if not math.isnan(row.alignment.difference.value)]
    measured = [row for row in measured if row.treatment.mitigation != "none"]
    if not measured:
        return theme.empty("No reference prompts were generated.", height=160)
    figure = theme.base(
        f"Change of alignment of reference prompts under {len(measured)} mitigations; 0 is "
        "unchanged.",
        height=80 + 26 * len(measured),
        legend=False,
    )
    figure.add_shape(
        type="line", x0=0, x1=0, y0=0, y1=1, yref="paper", line={"color": theme.NEUTRAL}
    )
    for row in reversed(measured):
        family, change = FAMILIES[row.treatment.mitigation], row.alignment.difference
        new = sum(outcome.reason == NEW_COPY for outcome in row.outcomes)
        copies = f"<br>{new} of {len(row.outcomes)} images become copies" if new else ""
        figure.add_trace(
            go.Scatter(
                x=[change.value],
                y=[short_name(row)],
                mode="markers",
                marker={
                    "color": HARM_COLOR if new else family.color,
                    "symbol": "x" if new else family.symbol,
                    "size": 9,
                },
                error_x=theme.whiskers([change], family.color, 1),
                hovertemplate=f"{theme.escaped(row.label)}: %{{x:+.3f}}{copies}<extra></extra>",
            )
        )
    figure.update_xaxes(theme.axis("change of alignment with the prompt"))
    names = [short_name(row) for row in reversed(measured)]
    figure.update_yaxes(theme.axis(showgrid=False, tickvals=names, ticks=""))
    return figure


def short_name(row: TreatmentRow) -> str:
    """Return a mitigation's name with its strength, the latter left out for `none`."""
    if row.treatment.mitigation == "none":
        return row.label
    name = mitigation_words(row.treatment.mitigation, row.treatment.strength)
    # One pair of brackets for the paper's short name and the strength.
    return name.replace(", variant", "").replace(") (", ", ")


def _known(row: TreatmentRow) -> bool:
    return math.isfinite(row.alignment.mean.value) and math.isfinite(row.similarity.mean.value)


def _marks(family: Family, points: Sequence[tuple[int, TreatmentRow, str, str]]) -> go.Scatter:
    def figure_text(figure: Compared) -> str:
        return f"{figure.mean.value:.3f}"

    not_solved = [row.share("not solved") > 0 for _, row, _, _ in points]
    hover = [
        f"{theme.escaped(name)}{_not_solved(row)}<br>similarity {figure_text(row.similarity)}"
        f", alignment {figure_text(row.alignment)}"
        f"<br>copies {row.copied.mean.value:.0%}, LID {row.lid.mean.value:.1f}"
        for _, row, name, _ in points
    ]
    return go.Scatter(
        x=[row.alignment.mean.value for _, row, _, _ in points],
        y=[row.similarity.mean.value for _, row, _, _ in points],
        mode="markers+text",
        name=family.label,
        text=[theme.escaped(name) for _, _, name, _ in points],
        textposition=[position for _, _, _, position in points],
        textfont={"size": 11},
        marker={
            "color": [theme.NEUTRAL if flag else family.color for flag in not_solved],
            "symbol": [_hollow(family.symbol) if flag else family.symbol for flag in not_solved],
            "size": 11,
            "line": {"width": [2 if flag else 0 for flag in not_solved]},
        },
        error_x=theme.whiskers([row.alignment.mean for _, row, _, _ in points], family.color, 1),
        error_y=theme.whiskers([row.similarity.mean for _, row, _, _ in points], family.color, 1),
        customdata=[i for i, _, _, _ in points],
        hovertext=hover,
        hovertemplate="%{hovertext}<extra></extra>",
        cliponaxis=False,
    )


def _hollow(symbol: str) -> str:
    return symbol if symbol.endswith("-open") else f"{symbol}-open"


def _not_solved(row: TreatmentRow) -> str:
    """Return a line on the images that only moved off the threshold, "" where there are none."""
    count = sum(outcome.kind == "not solved" for outcome in row.outcomes)
    return f"<br>{count} of {len(row.outcomes)} {NOT_SOLVED}" if count else ""


def _dotted_none(figure: go.Figure, rows: Sequence[TreatmentRow], xs: Sequence[float]) -> None:
    """Draw the level of the unmitigated images from side to side."""
    baselines = [row for row in rows if row.treatment.mitigation == "none" and _known(row)]
    for row in baselines:
        y = row.similarity.mean.value
        line = {"color": theme.FAINT, "dash": "dot", "width": 1}
        figure.add_shape(type="line", x0=xs[0], x1=xs[1], y0=y, y1=y, line=line)


def _ring(figure: go.Figure, rows: Sequence[TreatmentRow]) -> None:
    for row in rows:
        figure.add_trace(
            go.Scatter(
                x=[row.alignment.mean.value],
                y=[row.similarity.mean.value],
                mode="markers",
                marker={
                    "symbol": "circle-open",
                    "size": 19,
                    "color": theme.RING,
                    "line": {"width": 2},
                },
                showlegend=False,
                hoverinfo="skip",
            )
        )


def _pixels(figure: Interval, ends: Sequence[float], size: float) -> Span:
    """Return a mean and the ends of its interval in pixels from the lower end of an axis."""
    low, high = (end if math.isfinite(end) else figure.value for end in (figure.low, figure.high))
    unit = size / (ends[1] - ends[0])
    value, low, high = ((at - ends[0]) * unit for at in (figure.value, low, high))
    return value, low, high
