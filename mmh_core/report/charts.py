"""Draw small charts as inline SVG, for pages that open without a network and without scripts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from mmh_core.mitigations.catalogue import mitigation_words
from mmh_core.statistics.intervals import axis_ends
from mmh_core.studies.mitigation.table import TreatmentRow

WIDTH, HEIGHT = 400, 200
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
    points = [point for part in _runs(chart.x, chart.y) for point in part]
    if not points:
        return ""
    frame = _Frame(*_ranges(chart))
    ticks = chart.ticks or tuple((t, f"{t:g}") for t in round_ticks(*frame.xs, 6))
    parts = frame.axes(ticks, 4)
    parts.append(_text((WIDTH + frame.left) / 2, HEIGHT - 4, chart.x_title, "middle"))
    parts.append(_text(2, 11, chart.y_title, "start"))
    if chart.low:
        parts.append(_area(chart.x, chart.low, chart.high, frame, "band"))
    if chart.error:
        lower = [y - e for y, e in zip(chart.y, chart.error, strict=True)]
        upper = [y + e for y, e in zip(chart.y, chart.error, strict=True)]
        parts.append(_area(chart.x, lower, upper, frame, "strip"))
    if math.isfinite(chart.level):
        at = frame.y(chart.level)
        parts.append(_line("level", (frame.left, at), (frame.right, at)))
        parts.append(_text(frame.right, at - 4, chart.level_name, "end"))
    if math.isfinite(chart.upright):
        at = frame.x(chart.upright)
        parts.append(_line("mark", (at, frame.top), (at, frame.bottom)))
    parts += [
        f'<polyline class="line" points="{_points(run, frame)}"/>'
        for run in _runs(chart.x, chart.y)
        if len(run) > 1
    ]
    if len(points) <= 12:
        parts += [
            f'<circle class="dot" cx="{frame.x(x):.1f}" cy="{frame.y(y):.1f}" r="2.5"/>'
            for x, y in points
        ]
    return frame.svg(chart.alt, parts)


def frontier_svg(rows: Sequence[TreatmentRow]) -> str:
    """Return mitigations as numbered marks with whiskers, "" where nothing is known.

    Across is alignment with the prompt, up similarity to the nearest training image; the number is
    that of the row in the table. Colors come from the classes `mark`, `base`, `not-solved`,
    `whisker`, `grid` and `axis` of the surrounding page.
    """
    plotted = [
        (i + 1, row)
        for i, row in enumerate(rows)
        if math.isfinite(row.alignment.mean.value) and math.isfinite(row.similarity.mean.value)
    ]
    if not plotted:
        return ""
    frame = _Frame(
        axis_ends([row.alignment.mean for _, row in plotted], 0.08),
        axis_ends([row.similarity.mean for _, row in plotted], 0.08),
        width=640,
        height=320,
        left=52,
        right=620,
        top=22,
        bottom=280,
    )
    parts = frame.axes([(t, f"{t + 0.0:g}") for t in round_ticks(*frame.xs, 6)], 5)
    at_bottom = frame.height - 6
    parts.append(_text(frame.right, at_bottom, "alignment with the prompt (right)", "end"))
    parts.append(_text(2, 12, "similarity to the nearest training image (down)", "start"))
    for number, row in plotted:
        across, up = row.alignment.mean, row.similarity.mean
        x, y = frame.x(across.value), frame.y(up.value)
        if math.isfinite(across.low) and math.isfinite(up.low):
            parts.append(_line("whisker", (frame.x(across.low), y), (frame.x(across.high), y)))
            parts.append(_line("whisker", (x, frame.y(up.low)), (x, frame.y(up.high))))
        kind = "base" if row.treatment.mitigation in ("none", "random_tokens") else "mark"
        # Where images only moved off the threshold, the fall of similarity is no success.
        kind = "not-solved" if row.share("not solved") > 0 else kind
        name = escape(mitigation_words(row.treatment.mitigation, row.treatment.strength))
        parts.append(
            f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="9">'
            f"<title>{name}</title></circle>"
        )
        parts.append(
            _text(x, y + 4, str(number), "middle", "off" if kind == "not-solved" else "on")
        )
    alt = f"{len(plotted)} mitigations by alignment and similarity; down and right is better"
    return frame.svg(alt, parts)


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
    """The ranges of the axes and the edges of the area, which turn values into coordinates."""

    xs: tuple[float, float]
    ys: tuple[float, float]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = 44
    right: int = WIDTH - 12
    top: int = 16
    bottom: int = HEIGHT - 36

    def x(self, value: float) -> float:
        """Return where a value stands from the left."""
        low, high = self.xs
        return self.left + (value - low) / (high - low) * (self.right - self.left)

    def y(self, value: float) -> float:
        """Return where a value stands from above."""
        low, high = self.ys
        return self.bottom - (value - low) / (high - low) * (self.bottom - self.top)

    def axes(self, ticks: Iterable[tuple[float, str]], most: int) -> list[str]:
        """Return the ticks across, and at most `most` + 1 round heights with lines."""
        parts = []
        for tick in round_ticks(*self.ys, most):
            at = self.y(tick)
            parts.append(_line("grid", (self.left, at), (self.right, at)))
            parts.append(_text(self.left - 6, at + 4, f"{tick + 0.0:g}", "end"))
        base = self.bottom
        for position, words in ticks:
            parts.append(_line("axis", (self.x(position), base), (self.x(position), base + 4)))
            parts.append(_text(self.x(position), base + 16, words, "middle"))
        parts.append(_line("axis", (self.left, base), (self.right, base)))
        return parts

    def svg(self, alt: str, parts: Sequence[str]) -> str:
        """Return the parts of a chart as one SVG element."""
        return (
            f'<svg class="chart" role="img" aria-label="{escape(alt)}" '
            f'viewBox="0 0 {self.width} {self.height}">{"".join(parts)}</svg>'
        )


def _ranges(chart: Chart) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the ranges that show everything; heights start at 0 unless some are below."""
    xs = [x for x in (*chart.x, chart.upright) if math.isfinite(x)]
    pairs = zip(chart.y, chart.error or (0.0,) * len(chart.y), strict=True)
    ys = [part for y, e in pairs for part in ((y - e, y + e) if math.isfinite(e) else (y,))]
    ys = [y for y in (*ys, *chart.low, *chart.high, chart.level, 0.0) if math.isfinite(y)]
    left, right, bottom, top = min(xs), max(xs), min(ys), max(ys)
    if left == right:
        left, right = left - 0.5, right + 0.5
    spare = 0.06 * (top - bottom) or 1.0
    return (left, right), (bottom - (spare if bottom < 0 else 0.0), top + spare)


def _area(
    x: Sequence[float], low: Sequence[float], high: Sequence[float], frame: _Frame, kind: str
) -> str:
    """Return the area between two curves, gaps left out."""
    rows = zip(x, low, high, strict=True)
    finite = [(at, a, b) for at, a, b in rows if math.isfinite(at + a + b)]
    edge = [(at, b) for at, _, b in finite] + [(at, a) for at, a, _ in reversed(finite)]
    return f'<polygon class="{kind}" points="{_points(edge, frame)}"/>' if len(finite) > 1 else ""


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


def _text(x: float, y: float, words: str, anchor: str, kind: str = "") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text{named} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
