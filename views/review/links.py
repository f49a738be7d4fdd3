"""Read what a link to the review page says; links are not believed."""

from __future__ import annotations

import re

from mmh_core.store.review_records import QueueRecord

TABS = {
    "judge": "Review",
    "table": "Table",
    "scan": "Scan prompts",
    "agree": "Agreement",
    "hand": "Export & audit log",
}


def link_queue(value: object, known: list[QueueRecord], said: list[str]) -> str | None:
    """Return the id of a queue that is there, the newest without one, and say what is not."""
    ids = [one.id for one in known]
    if value is not None and value not in ids:
        said.append(
            f"There is no queue {str(value)[:40]!r} here: choose one at left, or import its case."
        )
    if value in ids:
        return str(value)
    return ids[0] if ids else None


def link_item(value: object, said: list[str]) -> int | None:
    """Return the position of an item, None where the link has none, and say what is none."""
    if value is None or value == "":
        return None
    if isinstance(value, int):
        return value
    if re.fullmatch(r"[0-9]{1,6}", str(value)):
        return int(str(value))
    said.append(f"item is {str(value)[:40]!r}; it must be the number of an item.")
    return None


def link_tab(value: object, said: list[str]) -> str:
    """Return the name of a section, and say what is none."""
    if value is None or value in TABS:
        return "judge" if value is None else str(value)
    said.append(f"tab is {str(value)[:40]!r}; choose from {', '.join(TABS)}.")
    return "judge"


def link_job(value: object, said: list[str]) -> str | None:
    """Return the id of a job, None where the link has none, and say what is none."""
    if value is None or value == "":
        return None
    if re.fullmatch(r"[0-9a-f]{32}", str(value)):
        return str(value)
    said.append(f"job is {str(value)[:40]!r}; it must be the id of a scan of this app.")
    return None
