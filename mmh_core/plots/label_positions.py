"""Positions of the labels of marks at which they overlap least with the chart."""

from __future__ import annotations

import math
from collections.abc import Sequence

#: A value and the ends of its interval, in pixels from the lower end of an axis.
Span = tuple[float, float, float]
_Box = tuple[float, float, float, float]

_LETTER, _LINE = 6.3, 14.0
_LABEL = 4.0
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


def label_positions(
    crosses: Sequence[tuple[Span, Span]], names: Sequence[str], width: float
) -> list[str]:
    """Choose for each label, in turn, the spot that covers least of what is there and is inside.

    A cross is where a mark and its whiskers lie, along x and along y; `width` is that of the plane
    in pixels. Another label covered counts `_LABEL` times a whisker. Returns Plotly's names of
    positions.
    """
    labels: list[_Box] = []
    taken: list[_Box] = []
    for (x, left, right), (y, low, high) in crosses:
        taken.append((x - 8, y - 8, x + 8, y + 8))
        taken.append((left, y - 2, right, y + 2))
        taken.append((x - 2, low, x + 2, high))
    chosen = []
    for ((x, _, _), (y, _, _)), name in zip(crosses, names, strict=True):
        length, least, best = _LETTER * len(name), math.inf, ("", (0.0, 0.0, 0.0, 0.0))
        for spot, (right_by, up_by) in _SPOTS.items():
            gap = 0.0 if right_by == -0.5 else (9.0 if right_by == 0 else -9.0)
            left, low = x + right_by * length + gap, y + up_by * _LINE
            box = (left, low, left + length, low + _LINE)
            cost = sum(_overlap(box, other) for other in taken)
            cost += _LABEL * sum(_overlap(box, other) for other in labels)
            cost += _LINE * (max(0.0, -box[0]) + max(0.0, box[2] - width))
            if cost < least - 1e-9:
                least, best = cost, (spot, box)
        labels.append(best[1])
        chosen.append(best[0])
    return chosen


def _overlap(box: _Box, other: _Box) -> float:
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    return width * height if width > 0 and height > 0 else 0.0
