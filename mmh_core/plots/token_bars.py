"""Charts of token attribution, one below the other for several detectors."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from mmh_core.mitigations.attribution import Attribution
from mmh_core.plots import panels, theme


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
    tokens = [theme.letters(token) for token in attributions[0].tokens]
    numbers = list(range(count))
    # Prompts repeat words, so places are numbers and words stand at the ticks.
    style = theme.axis(tickvals=numbers, ticktext=tokens, range=[-0.6, count - 0.4])
    style["showgrid"] = False
    made = panels.stack(figure, [attribution.by for attribution in attributions], style)
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
        axis = theme.axis(range=[0, 1.1], domain=[panel.low, panel.high], nticks=3)
        figure.update_layout({f"yaxis{panel.number}": axis | {"anchor": "x"}})
    figure.update_layout(bargap=0.25)
    return figure
