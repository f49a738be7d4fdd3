"""Numbers and terms in words, in one place for all views."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mmh_core.counting import plural as plural

#: Explanations of the terms that a newcomer meets, for tooltips.
LID = (
    "Local intrinsic dimension: the number of directions in which a point can move and stay on "
    "the manifold. 0 is an isolated point, 1 a curve, 2 a surface."
)
DELTA = "The noise scale δ: the standard deviation of the noise, in the units of the data."
PLATEAU = (
    "A plateau: a range of noise scales over which the estimated dimension hardly changes; its "
    "value is the LID. Without a plateau the value is less certain."
)
OD_MEM = (
    "Overfitting-driven memorization: the model has fewer dimensions here than the data. More "
    "data or a better model would help."
)
DD_MEM = (
    "Data-driven memorization: the data itself has few dimensions here, as with duplicates, "
    "and the model learned that. Only other data, without the copies, would help."
)
DISTANCE_RATIO = (
    "The distance to the nearest training point divided by that to the next one: below a third "
    "for a copy (Carlini et al. 2023). In few dimensions it is so by chance for many fresh "
    "points of the data: only a share above theirs is a sign of copies."
)


def duration_words(seconds: float) -> str:
    """Return a duration as people say it: 5 s, 40 s, 3 min, 2.5 h."""
    if seconds < 10:
        return f"{max(1, round(seconds))} s"
    if seconds < 90:
        return f"{5 * round(seconds / 5)} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def number(value: float, digits: int = 2) -> str:
    """Return a number with few digits, n/a where it is unknown."""
    # Adding 0 turns the -0.0 that rounding can leave into 0.
    return "n/a" if math.isnan(value) else f"{round(value, digits) + 0.0:,.{digits}f}"


def percent(share: float) -> str:
    """Return a share as a percentage, with a decimal where it is small."""
    if math.isnan(share):
        return "n/a"
    return f"{share:.1%}" if 0 < share < 0.0995 else f"{share:.0%}"


def seeds_words(seeds: Sequence[int]) -> str:
    """Return seeds in words: seed 3, seeds 0 to 3, or each of them where they have gaps."""
    if len(seeds) == 1:
        return f"seed {seeds[0]}"
    if list(seeds) == list(range(seeds[0], seeds[0] + len(seeds))):
        return f"seeds {seeds[0]} to {seeds[-1]}"
    return f"seeds {', '.join(map(str, seeds))}"
