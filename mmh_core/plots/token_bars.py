"""Charts of token attribution, one below the other for several detectors."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from mmh_core.mitigations.attribution import ATTRIBUTION_LABELS, Attribution, control_band
from mmh_core.plots import panels, theme


def token_bars(attributions: Sequence[Attribution], chosen: int | None = None) -> go.Figure:
    """Draw the score of every token, one panel per attribution, each scaled to its largest.

    The band is what scores of the random control seldom leave. `customdata` is the number of the
    token; the chosen one stands out.
    """
    count = len(attributions[0].tokens) if attributions else 0
    if not count:
        return theme.empty("The prompt has no tokens to score.", height=160)
    figure = theme.base(
        f"Scores of {count} tokens by {len(attributions)} detectors, the largest of each is 1.",
        height=70 + 95 * len(attributions),
        legend=False,
    )
    tokens = [theme.escaped(token) for token in attributions[0].tokens]
    numbers = list(range(count))
    # Prompts repeat words, so places are numbers and words stand at the ticks.
    style = theme.axis(tickvals=numbers, ticktext=tokens, range=[-0.6, count - 0.4])
    style["showgrid"] = False
    headings = [ATTRIBUTION_LABELS[attribution.by] for attribution in attributions]
    made = panels.stack(figure, headings, style)
    for panel, attribution in zip(made, attributions, strict=True):
        top = float(attribution.scores.max()) or 1.0
        values = [float(score) / top for score in attribution.scores]
        color = theme.NEUTRAL if attribution.by == "random" else theme.ACCENT
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
        figure.add_shape(
            type="rect",
            **{"x0": 0, "x1": 1, "xref": "paper", "yref": panel.axis},
            **{"y0": 0, "y1": min(1.1, control_band(attribution) / top)},
            fillcolor=theme.BAND,
            line_width=0,
            layer="below",
        )
        axis = theme.axis(range=[0, 1.1], domain=[panel.low, panel.high], nticks=3)
        figure.update_layout({f"yaxis{panel.number}": axis | {"anchor": "x"}})
    figure.update_layout(bargap=0.25)
    return figure
