"""Checks of arguments: each returns the value, or raises a ValueError that names the range."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable

MOST_POINTS = 1_000_000
MOST_DIMENSIONS = 10_000


def whole(label: str, value: int, *, least: int, most: int) -> int:
    """Return `value` if it is a whole number in [least, most].

    Errors: ValueError for anything else, a bool, a float such as 3.0 or NaN included.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if isinstance(value, bool) or not least <= number <= most:
        raise ValueError(
            f"{label} is {value!r}; it must be a whole number from {least} to {most}."
        )
    return number


def real(label: str, value: float, *, least: float, most: float) -> float:
    """Return `value` as a float if it is finite and in [least, most].

    Errors: ValueError for anything else, NaN, infinities and bools included.
    """
    try:
        number = math.nan if isinstance(value, (bool, str)) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    # A comparison with NaN is false, so NaN is refused here as well.
    if not least <= number <= most or math.isinf(number):
        raise ValueError(f"{label} is {value!r}; it must be a number from {least:g} to {most:g}.")
    return number


def choice(label: str, value: str, choices: Iterable[str]) -> str:
    """Return `value` if it is one of `choices`; raise a ValueError that lists them otherwise."""
    listed = tuple(choices)
    if value not in listed:
        raise ValueError(f"{label} is {value!r}; the choices are {', '.join(listed)}.")
    return value


def point_count(value: int) -> int:
    """Return `value` if it is a number of points that a sampler accepts."""
    return whole("count", value, least=2, most=MOST_POINTS)
