"""Carry the filter of a queue between its widgets, the search and the link."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from mmh_core.store.item_search import ItemFilter, ItemOrder
from mmh_core.store.review_records import REVIEW_VERDICTS, ReviewVerdict

ORDERS: dict[ItemOrder, str] = {
    "position": "import order",
    "score": "early-scan score",
    "similarity": "similarity",
    "lid_percentile": "LID percentile",
    "lid": "LID",
}
#: What the widget shows for items without a verdict.
UNJUDGED = "not judged yet"
MAX_SEARCH = 200
#: The widgets of the filter with their values when nothing is filtered.
DEFAULTS: dict[str, object] = {
    "text": "",
    "verdicts": [],
    "kinds": [],
    "causes": [],
    "least": None,
    "most": None,
    "order": "position",
    "descending": False,
}
#: What a link calls them.
_NAMES = {
    "verdicts": "verdict",
    "kinds": "kind",
    "causes": "cause",
    "least": "from",
    "most": "to",
}
_VERDICTS: tuple[ReviewVerdict | None, ...] = (None, *REVIEW_VERDICTS)
_MOST_QUOTED = 40

Link = Mapping[str, Sequence[str]]


def item_filter(values: Mapping[str, object]) -> ItemFilter:
    """Return the search that the widgets' values ask for."""
    least, most = _number(values["least"]), _number(values["most"])
    asked = _texts(values["verdicts"])
    return ItemFilter(
        -math.inf if least is None else least,
        math.inf if most is None else most,
        tuple(_texts(values["causes"])),
        tuple(_texts(values["kinds"])),
        tuple(one for one in _VERDICTS if (one or UNJUDGED) in asked),
        str(values["text"] or "").strip(),
        next(name for name in ORDERS if name == values["order"]),
        bool(values["descending"]),
    )


def filter_link(values: Mapping[str, object]) -> dict[str, list[str]]:
    """Return the parameters of a link that restores the widgets' values, without defaults."""
    found: dict[str, list[str]] = {}
    for name, default in DEFAULTS.items():
        value = values.get(name, default)
        if value == default or value is None:
            continue
        if isinstance(value, list):
            written = [str(one) for one in value]
        elif isinstance(value, bool):
            written = ["1"]
        else:
            written = [str(value)]
        found[_NAMES.get(name, name)] = written
    return found


def read_filter(
    link: Link, causes: Sequence[str], kinds: Sequence[str], messages: list[str]
) -> dict[str, object]:
    """Return the widgets' values that a link asks for, and say what of it cannot be had.

    `causes` and `kinds` are those that the queue has. Links are not believed.
    """
    found = dict(DEFAULTS)
    found["text"] = _last(link, "text")[:MAX_SEARCH]
    for name, known in (
        ("verdicts", (UNJUDGED, *REVIEW_VERDICTS)),
        ("kinds", kinds),
        ("causes", causes),
    ):
        asked = dict.fromkeys(link.get(_NAMES[name], ()))
        found[name] = [one for one in asked if one in known]
        for one in asked:
            if one not in known:
                messages.append(
                    f"No item here has the {_NAMES[name]} {one[:_MOST_QUOTED]!r}: it is left out "
                    "of the filter."
                )
    for name in ("least", "most"):
        written = _last(link, _NAMES[name])
        found[name] = _number(written)
        if written and found[name] is None:
            messages.append(f"{_NAMES[name]} is {written[:_MOST_QUOTED]!r}; it must be a number.")
    order = _last(link, "order") or "position"
    if order not in ORDERS:
        messages.append(f"order is {order[:_MOST_QUOTED]!r}; choose from {', '.join(ORDERS)}.")
        order = "position"
    found["order"] = order
    found["descending"] = _last(link, "descending") == "1"
    return found


def _last(link: Link, name: str) -> str:
    """Return the last value of a parameter, "" without any."""
    return next(reversed(link.get(name, ())), "")


def _texts(value: object) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list | tuple) else []


def _number(value: object) -> float | None:
    """Return a finite number, None for what is none."""
    try:
        found = float(value) if isinstance(value, int | float | str) and value != "" else None
    except ValueError:
        return None
    return found if found is not None and math.isfinite(found) else None
