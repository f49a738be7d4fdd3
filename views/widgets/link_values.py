"""Values of links and widgets, checked: one sentence in `messages` for each that is refused."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import streamlit as st

Choice = TypeVar("Choice", bound=str)
#: The parameter of an address that says at which step of the guided tour it is.
TOUR = "tour"
#: Browsers count exactly up to 2^53; the last seed of a run must stay below.
MOST_SEED = 2**53 - 1_000
MOST_GUIDANCE = 30.0
#: A longer text is left out of a link; the link to its job still carries it.
_LONGEST = 1_500


def one_of(
    name: str, value: object, choices: Iterable[Choice], default: Choice, messages: list[str]
) -> Choice:
    """Return a value that is one of the choices, else the default."""
    names = list(choices)
    if value is None or value in names:
        return default if value is None else next(name for name in names if name == value)
    messages.append(
        f"{name} is {quoted(value)}; choose from {', '.join(names)}. Shown instead: {default}."
    )
    return default


def whole(
    name: str,
    value: object,
    between: tuple[int, int],
    messages: list[str],
    default: int | None = None,
) -> int | None:
    """Return a whole number within bounds, the default where there is none or it is refused."""
    if value is None or value == "":
        return default
    low, high = between
    number = value if isinstance(value, int) and not isinstance(value, bool) else None
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,20}", value):
        number = int(value)
    if number is None or not low <= number <= high:
        messages.append(
            f"{name} is {quoted(value)}; it must be a whole number from {low:,} to {high:,}"
            + (", so it is left out." if default is None else f". Used instead: {default:,}.")
        )
        return default
    return number


def decimal(
    name: str, value: object, between: tuple[float, float], messages: list[str]
) -> float | None:
    """Return a number within bounds, None where there is none or it is refused."""
    if value is None or value == "":
        return None
    low, high = between
    number = math.nan
    if (isinstance(value, int | float) and not isinstance(value, bool)) or (
        isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,6}(\.[0-9]{1,6})?", value)
    ):
        number = float(value)
    if not low <= number <= high:
        messages.append(
            f"{name} is {quoted(value)}; it must be a number from {low:g} to {high:g}, so it is "
            "left out."
        )
        return None
    return number


def numbers(
    source: Mapping[str, object], whole_numbers: Mapping[str, tuple[int, int]], messages: list[str]
) -> dict[str, Any]:
    """Return the whole numbers and the guidance that a link or session gives, as far as usable."""
    values: dict[str, float | None] = {
        name: whole(name, source.get(name), between, messages)
        for name, between in whole_numbers.items()
    }
    values["guidance"] = decimal("guidance", source.get("guidance"), (0, MOST_GUIDANCE), messages)
    return {name: value for name, value in values.items() if value is not None}


def differences(
    form: object,
    base: object,
    names: Iterable[str],
    text: Callable[[object], str] = str,
) -> dict[str, str]:
    """Return the parameters of a link for the fields in which a form differs from its base.

    `text` writes what is no number; what is too long for a link is left out.
    """
    pairs: dict[str, str] = {}
    for name in names:
        value = getattr(form, name)
        if value is None or value == getattr(base, name):
            continue
        written = f"{value:g}" if isinstance(value, float) else text(value)
        if len(written) <= _LONGEST:
            pairs[name] = written
    return pairs


def job_id(name: str, value: object, messages: list[str]) -> str | None:
    """Return the id of a job, None where there is none or it cannot be one."""
    if value is None or value == "":
        return None
    if isinstance(value, str) and re.fullmatch(r"[0-9a-f]{32}", value):
        return value
    messages.append(f"{name} is {quoted(value)}; it must be the id of a run of this app.")
    return None


def quoted(value: object) -> str:
    """Return a value in quotes, cut where it is long."""
    text = str(value)
    return repr(text if len(text) <= 40 else text[:37] + "...")


def write_link(parameters: Mapping[str, str]) -> None:
    """Make these the parameters of the page's address, where they are not already.

    The step of the tour stays: it is no choice of the page.
    """
    tour = {TOUR: st.query_params[TOUR]} if TOUR in st.query_params else {}
    if dict(st.query_params) != {**parameters, **tour}:
        st.query_params.from_dict({**parameters, **tour})
