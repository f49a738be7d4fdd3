"""The parameters of a link to the review page, all validated, and the filter of a queue."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from mmh_core.store.item_search import ItemFilter, ItemOrder
from mmh_core.store.review_records import REVIEW_VERDICTS, QueueRecord, ReviewVerdict
from views.widgets.link_values import quoted

TABS = {
    "judge": "Review",
    "table": "Table",
    "scan": "Scan prompts",
    "agree": "Agreement",
    "export": "Export & audit log",
}
#: Earlier names of tabs, which links that somebody keeps may hold.
EARLIER_TABS = {"hand": "export"}
#: The last item that a link may name.
LAST_ITEM = 999_999
ORDERS: dict[ItemOrder, str] = {
    "position": "import order",
    "score": "early-scan score",
    "similarity": "similarity",
    "lid_percentile": "LID percentile",
    "lid": "LID",
}
#: What the widget shows for items without a judgement.
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
    "mine": False,
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


def link_queue(value: object, queues: Sequence[QueueRecord], messages: list[str]) -> str | None:
    """Return the id of a queue that is there, the newest without one, and say what is not."""
    ids = [queue.id for queue in queues]
    if value in ids:
        return str(value)
    if value is not None:
        messages.append(
            f"There is no queue {quoted(value)} here: choose one in the sidebar, or import its "
            "case."
        )
    return ids[0] if ids else None


def item_filter(values: Mapping[str, object]) -> ItemFilter:
    """Return the filter that the widgets' values stand for."""
    least, most = _number(values["least"]), _number(values["most"])
    verdicts = _texts(values["verdicts"])
    return ItemFilter(
        -math.inf if least is None else least,
        math.inf if most is None else most,
        tuple(_texts(values["causes"])),
        tuple(_texts(values["kinds"])),
        tuple(verdict for verdict in _VERDICTS if (verdict or UNJUDGED) in verdicts),
        str(values["text"] or "").strip(),
        next(name for name in ORDERS if name == values["order"]),
        bool(values["descending"]),
    )


def filter_link(values: Mapping[str, object]) -> dict[str, list[str]]:
    """Return the parameters of a link that restores the widgets' values, without defaults."""
    parameters: dict[str, list[str]] = {}
    for name, default in DEFAULTS.items():
        value = values.get(name, default)
        if value == default or value is None:
            continue
        if isinstance(value, list):
            written = [str(item) for item in value]
        elif isinstance(value, bool):
            written = ["1"]
        else:
            written = [str(value)]
        parameters[_NAMES.get(name, name)] = written
    return parameters


def read_filter(
    link: Link, causes: Sequence[str], kinds: Sequence[str], messages: list[str]
) -> dict[str, object]:
    """Return the widgets' values that a link asks for, and say what of it cannot be had.

    `causes` and `kinds` are those that the queue has. Every value is validated.
    """
    values = dict(DEFAULTS)
    values["text"] = _last(link, "text")[:MAX_SEARCH]
    for name, choices in (
        ("verdicts", (UNJUDGED, *REVIEW_VERDICTS)),
        ("kinds", kinds),
        ("causes", causes),
    ):
        given = dict.fromkeys(link.get(_NAMES[name], ()))
        values[name] = [choice for choice in given if choice in choices]
        for choice in given:
            if choice not in choices:
                messages.append(
                    f"No item here has the {_NAMES[name]} {choice[:_MOST_QUOTED]!r}: it is left "
                    "out of the filter."
                )
    for name in ("least", "most"):
        written = _last(link, _NAMES[name])
        values[name] = _number(written)
        if written and values[name] is None:
            messages.append(f"{_NAMES[name]} is {written[:_MOST_QUOTED]!r}; it must be a number.")
    order = _last(link, "order") or "position"
    if order not in ORDERS:
        messages.append(f"order is {order[:_MOST_QUOTED]!r}; choose from {', '.join(ORDERS)}.")
        order = "position"
    values["order"] = order
    values["descending"] = _last(link, "descending") == "1"
    values["mine"] = _last(link, "mine") == "1"
    return values


def _last(link: Link, name: str) -> str:
    """Return the last value of a parameter, "" without any."""
    return next(reversed(link.get(name, ())), "")


def _texts(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list | tuple) else []


def _number(value: object) -> float | None:
    """Return a finite number, None for what is none."""
    try:
        number = float(value) if isinstance(value, int | float | str) and value != "" else None
    except ValueError:
        return None
    return number if number is not None and math.isfinite(number) else None
