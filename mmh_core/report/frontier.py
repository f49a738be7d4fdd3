"""Draw copies against prompt alignment as inline SVG, for pages without scripts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from mmh_core.report.charts import round_ticks
from mmh_core.statistics import Interval
from mmh_core.studies.mitigation.table import TreatmentRow

WIDTH, HEIGHT = 640, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 20, 22, 40


def frontier_svg(rows: Sequence[TreatmentRow]) -> str:
    """Return the treatments as numbered marks with whiskers, "" where nothing is known.

    The number is that of the row in the table. Colors come from the classes `mark`, `base`,
    `unsolved`, `whisker`, `grid` and `axis` of the surrounding page.
    """
    known = [
        (i + 1, row)
        for i, row in enumerate(rows)
        if math.isfinite(row.alignment.mean.value) and math.isfinite(row.similarity.mean.value)
    ]
    if not known:
        return ""
    xs = _ends([row.alignment.mean for _, row in known])
    ys = _ends([row.similarity.mean for _, row in known])

    def x(value: float) -> float:
        return _LEFT + (value - xs[0]) / (xs[1] - xs[0]) * (WIDTH - _LEFT - _RIGHT)

    def y(value: float) -> float:
        return HEIGHT - _BOTTOM - (value - ys[0]) / (ys[1] - ys[0]) * (HEIGHT - _TOP - _BOTTOM)

    parts = []
    for tick in round_ticks(*ys, 5):
        parts.append(_line("grid", _LEFT, y(tick), WIDTH - _RIGHT, y(tick)))
        parts.append(_text(_LEFT - 6, y(tick) + 4, f"{tick + 0.0:g}", "end"))
    base = HEIGHT - _BOTTOM
    for tick in round_ticks(*xs, 6):
        parts.append(_line("axis", x(tick), base, x(tick), base + 4))
        parts.append(_text(x(tick), base + 16, f"{tick + 0.0:g}", "middle"))
    parts.append(_line("axis", _LEFT, base, WIDTH - _RIGHT, base))
    parts.append(_text(WIDTH - _RIGHT, HEIGHT - 6, "alignment with the prompt (right)", "end"))
    parts.append(_text(2, 12, "similarity to the nearest training image (down)", "start"))
    for place, row in known:
        across, up = row.alignment.mean, row.similarity.mean
        at = (x(across.value), y(up.value))
        if math.isfinite(across.low) and math.isfinite(up.low):
            parts.append(_line("whisker", x(across.low), at[1], x(across.high), at[1]))
            parts.append(_line("whisker", at[0], y(up.low), at[0], y(up.high)))
        kind = "base" if row.treatment.mitigation in ("none", "random_tokens") else "mark"
        # Where images only moved off the threshold, the fall of similarity is no success.
        kind = "unsolved" if row.share("not solved") > 0 else kind
        name = escape(f"{row.label} {row.treatment.strength:g}")
        parts.append(
            f'<circle class="{kind}" cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="9">'
            f"<title>{name}</title></circle>"
        )
        inside = "off" if kind == "unsolved" else "on"
        parts.append(_text(at[0], at[1] + 4, str(place), "middle", inside))
    alt = f"{len(known)} mitigations by alignment and similarity; down and right is better"
    return (
        f'<svg class="chart" role="img" aria-label="{escape(alt)}" '
        f'viewBox="0 0 {WIDTH} {HEIGHT}">{"".join(parts)}</svg>'
    )


def _ends(figures: Sequence[Interval]) -> tuple[float, float]:
    ends = [e for one in figures for e in (one.value, one.low, one.high) if math.isfinite(e)]
    low, high = min(ends), max(ends)
    room = 0.08 * ((high - low) or 0.1)
    return low - room, high + room


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, words: str, anchor: str, kind: str = "") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text{named} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
