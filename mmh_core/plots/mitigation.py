"""Draw a comparison of mitigations: copies against prompt, what moved, tokens to blame."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import plotly.graph_objects as go

from mmh_core.mitigations.attribution import Attribution
from mmh_core.plots import panels, theme
from mmh_core.studies.mitigation_run import Treatment
from mmh_core.studies.mitigation_table import Compared, Interval, TreatmentRow

_HEIGHT = 430
#: The size of the plane in pixels that labels are laid out for; a wider window only spreads them.
_PLANE = (640.0, 330.0)
_LETTER, _LINE = 6.3, 14.0


@dataclass(frozen=True)
class Family:
    """Hold how the mitigations that act at one place are drawn."""

    label: str
    color: str
    symbol: str


_BASELINE = Family("baselines", theme.NEUTRAL, "circle-open")
_PROMPT = Family("in the prompt", "#d55e00", "diamond")
_EMBEDDING = Family("in its embedding", "#9486e0", "square")
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
    "anti_memorization_guidance": _GUIDANCE,
    "noise_adjustment": _NOISE,
    "noise_optimization": _NOISE,
    "attention_masking": _ATTENTION,
    "attention_attenuation": _ATTENTION,
    "automatic_chain": _AUTOMATIC,
}


def frontier(rows: Sequence[TreatmentRow], chosen: Treatment | None = None) -> go.Figure:
    """Draw the similarity to the nearest training picture over the alignment with the prompt.

    Down and right is better. Whiskers are the intervals of the means; every treatment is named,
    `chosen` has a ring, and `customdata` holds its number in `rows`.
    """
    shown = [(i, row) for i, row in enumerate(rows) if _known(row)]
    if not shown:
        return theme.empty(
            "Nothing to place: without training pictures nobody can tell what is a copy.",
            height=_HEIGHT,
        )
    figure = theme.base(
        f"{len(shown)} treatments by alignment with the prompt and similarity to the nearest "
        "training picture; down and right is better.",
        height=_HEIGHT,
    )
    xs = _range([row.alignment.mean for _, row in shown])
    ys = _range([row.similarity.mean for _, row in shown])
    names = [short_name(row) for _, row in shown]
    crosses = [
        (_pixels(row.alignment.mean, xs, _PLANE[0]), _pixels(row.similarity.mean, ys, _PLANE[1]))
        for _, row in shown
    ]
    places = _label_places(crosses, names)
    _dotted_none(figure, rows, xs)
    families = list(dict.fromkeys(FAMILIES[row.treatment.mitigation] for _, row in shown))
    for family in families:
        mine = [
            (i, row, name, place)
            for (i, row), name, place in zip(shown, names, places, strict=True)
            if FAMILIES[row.treatment.mitigation] == family
        ]
        figure.add_trace(_marks(family, mine))
    _ring(figure, [row for _, row in shown if row.treatment == chosen])
    figure.update_xaxes(theme.axis("alignment with the prompt (right is better)", range=xs))
    figure.update_yaxes(theme.axis("similarity to the nearest (down is better)", range=ys))
    return figure


def must_not_move(rows: Sequence[TreatmentRow]) -> go.Figure:
    """Draw, for prompts that are normal, how much each treatment changes alignment.

    A dot per treatment with its interval over pictures; 0 is the unmitigated picture.
    """
    shown = [row for row in rows if not math.isnan(row.alignment.difference.value)]
    shown = [row for row in shown if row.treatment.mitigation != "none"]
    if not shown:
        return theme.empty("No normal prompts were drawn.", height=160)
    figure = theme.base(
        f"Change of alignment of normal prompts under {len(shown)} treatments; 0 is unmoved.",
        height=80 + 26 * len(shown),
        legend=False,
    )
    figure.add_shape(
        type="line", x0=0, x1=0, y0=0, y1=1, yref="paper", line={"color": theme.NEUTRAL}
    )
    for row in reversed(shown):
        family, change = FAMILIES[row.treatment.mitigation], row.alignment.difference
        figure.add_trace(
            go.Scatter(
                x=[change.value],
                y=[short_name(row)],
                mode="markers",
                marker={"color": family.color, "symbol": family.symbol, "size": 9},
                error_x=_whisker([change], family.color),
                hovertemplate=f"{escape(row.label)}: %{{x:+.3f}}<extra></extra>",
            )
        )
    figure.update_xaxes(theme.axis("change of alignment with the prompt"))
    names = [short_name(row) for row in reversed(shown)]
    figure.update_yaxes(theme.axis(showgrid=False, tickvals=names, ticks=""))
    return figure


def token_bars(attributions: Sequence[Attribution], chosen: int | None = None) -> go.Figure:
    """Draw the score of every token, one panel per attribution, each scaled to its largest.

    `customdata` is the number of the token; the chosen one stands out.
    """
    count = len(attributions[0].tokens) if attributions else 0
    if not count:
        return theme.empty("The prompt has no tokens to score.", height=160)
    figure = theme.base(
        f"Scores of {count} tokens by {len(attributions)} detectors, the largest of each is 1.",
        height=70 + 95 * len(attributions),
        legend=False,
    )
    tokens = [escape(token) for token in attributions[0].tokens]
    numbers = list(range(count))
    # Prompts repeat words, so places are numbers and words stand at the ticks.
    style = theme.axis(tickvals=numbers, ticktext=tokens, range=[-0.6, count - 0.4])
    style["showgrid"] = False
    made = panels.stack(figure, [each.by for each in attributions], style)
    for panel, each in zip(made, attributions, strict=True):
        top = float(each.scores.max()) or 1.0
        values = [float(score) / top for score in each.scores]
        color = theme.NEUTRAL if each.by == "random" else theme.ACCENT
        figure.add_trace(
            go.Bar(
                x=numbers,
                y=values,
                yaxis=panel.axis,
                customdata=numbers,
                marker={
                    "color": [theme.RING if i == chosen else color for i in numbers],
                    "line": {"width": 0},
                },
                text=tokens,
                textposition="none",
                hovertemplate="%{text}: %{y:.2f} of the largest<extra></extra>",
            )
        )
        place = theme.axis(range=[0, 1.1], domain=[panel.low, panel.high], nticks=3)
        figure.update_layout({f"yaxis{panel.number}": place | {"anchor": "x"}})
    figure.update_layout(bargap=0.25)
    return figure


def short_name(row: TreatmentRow) -> str:
    """Return a treatment's name with its strength, the latter left out for `none`."""
    if row.treatment.mitigation == "none":
        return row.label
    # What follows a comma explains the name.
    return f"{row.label.split(',')[0]} {row.treatment.strength:g}"


def _known(row: TreatmentRow) -> bool:
    return math.isfinite(row.alignment.mean.value) and math.isfinite(row.similarity.mean.value)


def _marks(family: Family, mine: Sequence[tuple[int, TreatmentRow, str, str]]) -> go.Scatter:
    def said(figure: Compared) -> str:
        return f"{figure.mean.value:.3f}"

    hover = [
        f"{escape(name)}<br>similarity {said(row.similarity)}, alignment {said(row.alignment)}"
        f"<br>copies {row.copied.mean.value:.0%}, LID {row.lid.mean.value:.1f}"
        for _, row, name, _ in mine
    ]
    return go.Scatter(
        x=[row.alignment.mean.value for _, row, _, _ in mine],
        y=[row.similarity.mean.value for _, row, _, _ in mine],
        mode="markers+text",
        name=family.label,
        text=[escape(name) for _, _, name, _ in mine],
        textposition=[place for _, _, _, place in mine],
        textfont={"size": 11},
        marker={"color": family.color, "symbol": family.symbol, "size": 11},
        error_x=_whisker([row.alignment.mean for _, row, _, _ in mine], family.color),
        error_y=_whisker([row.similarity.mean for _, row, _, _ in mine], family.color),
        customdata=[i for i, _, _, _ in mine],
        hovertext=hover,
        hovertemplate="%{hovertext}<extra></extra>",
        cliponaxis=False,
    )


def _whisker(figures: Sequence[Interval], color: str) -> dict[str, object]:
    up = [one.high - one.value if math.isfinite(one.high) else 0.0 for one in figures]
    down = [one.value - one.low if math.isfinite(one.low) else 0.0 for one in figures]
    return {
        "type": "data",
        "symmetric": False,
        "array": up,
        "arrayminus": down,
        "color": color,
        "thickness": 1,
        "width": 3,
    }


def _range(figures: Sequence[Interval]) -> list[float]:
    ends = [end for one in figures for end in (one.value, one.low, one.high) if math.isfinite(end)]
    low, high = min(ends), max(ends)
    room = 0.12 * ((high - low) or 0.1)
    return [low - room, high + room]


def _dotted_none(figure: go.Figure, rows: Sequence[TreatmentRow], xs: Sequence[float]) -> None:
    """Draw the level of the unmitigated pictures from side to side."""
    found = [row for row in rows if row.treatment.mitigation == "none" and _known(row)]
    for row in found:
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


#: Where a label may stand, best first: name, and its lower left corner in widths and lines.
_SPOTS = {
    "middle right": (0.0, -0.5),
    "middle left": (-1.0, -0.5),
    "top center": (-0.5, 0.4),
    "bottom center": (-0.5, -1.4),
    "top right": (0.0, 0.4),
    "bottom right": (0.0, -1.4),
    "top left": (-1.0, 0.4),
    "bottom left": (-1.0, -1.4),
}


def _pixels(figure: Interval, ends: Sequence[float], size: float) -> tuple[float, float, float]:
    """Return a mean and the ends of its interval in pixels from the lower end of an axis."""
    low, high = (end if math.isfinite(end) else figure.value for end in (figure.low, figure.high))
    unit = size / (ends[1] - ends[0])
    value, low, high = ((at - ends[0]) * unit for at in (figure.value, low, high))
    return value, low, high


def _label_places(
    crosses: Sequence[tuple[tuple[float, float, float], tuple[float, float, float]]],
    names: Sequence[str],
) -> list[str]:
    """Choose for each label, in turn, the spot that covers least of what is there and is inside.

    A cross is where a mark and its whiskers lie: value, low and high of x, then of y, in pixels.
    """
    taken = []
    for (x, left, right), (y, low, high) in crosses:
        taken.append((x - 8, y - 8, x + 8, y + 8))
        taken.append((left, y - 2, right, y + 2))
        taken.append((x - 2, low, x + 2, high))
    chosen = []
    for ((x, _, _), (y, _, _)), name in zip(crosses, names, strict=True):
        width, least, best = _LETTER * len(name), math.inf, ("", (0.0, 0.0, 0.0, 0.0))
        for spot, (right_by, up_by) in _SPOTS.items():
            gap = 0.0 if right_by == -0.5 else (9.0 if right_by == 0 else -9.0)
            left, low = x + right_by * width + gap, y + up_by * _LINE
            box = (left, low, left + width, low + _LINE)
            cost = sum(_overlap(box, other) for other in taken)
            cost += _LINE * (max(0.0, -box[0]) + max(0.0, box[2] - _PLANE[0]))
            if cost < least - 1e-9:
                least, best = cost, (spot, box)
        taken.append(best[1])
        chosen.append(best[0])
    return chosen


def _overlap(
    one: tuple[float, float, float, float], other: tuple[float, float, float, float]
) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return width * height if width > 0 and height > 0 else 0.0
