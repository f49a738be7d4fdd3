"""Draw small charts as inline SVG, for pages that open without a network and without scripts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 400, 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 12, 16, 36
Point = tuple[float, float]


@dataclass(frozen=True)
class Chart:
    """One curve `y` (n,) over increasing `x` (n,), with what it is to be compared with.

    `error` (n,) is drawn as a strip around the curve; `low` and `high` (n,) bound the band of
    reference prompts; each is empty where unknown, and a NaN is a gap. `upright` marks a place on
    the axis and `level` a height, NaN for none; `level_name` says what the height is. `ticks` are
    pairs of place and text, empty for round numbers. `alt` says what is to be seen.
    """

    alt: str
    x_title: str
    y_title: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    error: tuple[float, ...] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    upright: float = math.nan
    level: float = math.nan
    level_name: str = ""
    ticks: tuple[tuple[float, str], ...] = ()


def svg(chart: Chart) -> str:
    """Return the chart as an SVG element, "" where there is no finite point to draw.

    Colors come from the classes `band`, `strip`, `line`, `mark`, `level`, `grid` and `axis` of the
    surrounding page. All text is escaped.
    """
    known = [point for part in _runs(chart.x, chart.y) for point in part]
    if not known:
        return ""
    frame = _Frame.around(chart)
    parts = [*_axes(chart, frame)]
    if chart.low:
        parts.append(_area(chart.x, chart.low, chart.high, frame, "band"))
    if chart.error:
        lower = [y - e for y, e in zip(chart.y, chart.error, strict=True)]
        upper = [y + e for y, e in zip(chart.y, chart.error, strict=True)]
        parts.append(_area(chart.x, lower, upper, frame, "strip"))
    if math.isfinite(chart.level):
        at = frame.y(chart.level)
        parts.append(_line("level", (_LEFT, at), (WIDTH - _RIGHT, at)))
        parts.append(_text(WIDTH - _RIGHT, at - 4, chart.level_name, "end"))
    if math.isfinite(chart.upright):
        at = frame.x(chart.upright)
        parts.append(_line("mark", (at, _TOP), (at, HEIGHT - _BOTTOM)))
    parts += [
        f'<polyline class="line" points="{_points(run, frame)}"/>'
        for run in _runs(chart.x, chart.y)
        if len(run) > 1
    ]
    if len(known) <= 12:
        parts += [
            f'<circle class="dot" cx="{frame.x(x):.1f}" cy="{frame.y(y):.1f}" r="2.5"/>'
            for x, y in known
        ]
    return (
        f'<svg class="chart" role="img" aria-label="{escape(chart.alt)}" '
        f'viewBox="0 0 {WIDTH} {HEIGHT}">{"".join(parts)}</svg>'
    )


def round_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Return at most `most` + 1 multiples of 1, 2 or 5 times a power of ten from low to high."""
    span = high - low
    if not span > 0 or not math.isfinite(span):
        return [low]
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(f * power for f in (1, 2, 5, 10) if span / (f * power) <= most)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [n * step for n in range(first, last + 1)]


@dataclass(frozen=True)
class _Frame:
    """The ranges of the axes, which turn values into coordinates."""

    left: float
    right: float
    bottom: float
    top: float

    @classmethod
    def around(cls, chart: Chart) -> _Frame:
        """Return the frame that shows everything; heights start at 0 unless some are below."""
        xs = [x for x in (*chart.x, chart.upright) if math.isfinite(x)]
        pairs = zip(chart.y, chart.error or (0.0,) * len(chart.y), strict=True)
        ys = [part for y, e in pairs for part in ((y - e, y + e) if math.isfinite(e) else (y,))]
        ys = [y for y in (*ys, *chart.low, *chart.high, chart.level, 0.0) if math.isfinite(y)]
        left, right, bottom, top = min(xs), max(xs), min(ys), max(ys)
        if left == right:
            left, right = left - 0.5, right + 0.5
        spare = 0.06 * (top - bottom) or 1.0
        return cls(left, right, bottom - (spare if bottom < 0 else 0.0), top + spare)

    def x(self, value: float) -> float:
        """Return where a value stands from the left."""
        return _LEFT + (value - self.left) / (self.right - self.left) * (WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        """Return where a value stands from above."""
        share = (value - self.bottom) / (self.top - self.bottom)
        return HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM)


def _axes(chart: Chart, frame: _Frame) -> list[str]:
    parts = []
    for tick in round_ticks(frame.bottom, frame.top, 4):
        at = frame.y(tick)
        parts.append(_line("grid", (_LEFT, at), (WIDTH - _RIGHT, at)))
        parts.append(_text(_LEFT - 6, at + 4, f"{tick + 0.0:g}", "end"))
    ticks = chart.ticks or tuple((t, f"{t:g}") for t in round_ticks(frame.left, frame.right, 6))
    base = HEIGHT - _BOTTOM
    for place, words in ticks:
        parts.append(_line("axis", (frame.x(place), base), (frame.x(place), base + 4)))
        parts.append(_text(frame.x(place), base + 16, words, "middle"))
    parts.append(_line("axis", (_LEFT, base), (WIDTH - _RIGHT, base)))
    parts.append(_text((WIDTH + _LEFT) / 2, HEIGHT - 4, chart.x_title, "middle"))
    parts.append(_text(2, 11, chart.y_title, "start"))
    return parts


def _area(
    x: Sequence[float], low: Sequence[float], high: Sequence[float], frame: _Frame, kind: str
) -> str:
    """Return the area between two curves, gaps left out."""
    rows = zip(x, low, high, strict=True)
    known = [(at, a, b) for at, a, b in rows if math.isfinite(at + a + b)]
    edge = [(at, b) for at, _, b in known] + [(at, a) for at, a, _ in reversed(known)]
    return f'<polygon class="{kind}" points="{_points(edge, frame)}"/>' if len(known) > 1 else ""


def _runs(x: Sequence[float], y: Sequence[float]) -> list[list[Point]]:
    """Return the stretches of a curve between its gaps."""
    runs: list[list[Point]] = [[]]
    for point in zip(x, y, strict=True):
        if math.isfinite(sum(point)):
            runs[-1].append(point)
        else:
            runs.append([])
    return runs


def _points(points: Sequence[Point], frame: _Frame) -> str:
    return " ".join(f"{frame.x(x):.1f},{frame.y(y):.1f}" for x, y in points)


def _line(kind: str, start: Point, end: Point) -> str:
    (x1, y1), (x2, y2) = start, end
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
