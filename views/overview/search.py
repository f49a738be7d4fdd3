"""One search over what this data folder holds: jobs of all pages, and items of all queues."""

from __future__ import annotations

from urllib.parse import urlencode

import streamlit as st

from mmh_core.counting import agreeing, plural
from mmh_core.formats.texts import short
from views.overview import session as overview_session
from views.overview.recent import job_row, listed
from views.widgets import layout

#: Results of each kind that are listed, letters of a text to search, and of a prompt in the list.
MOST, _LONGEST, _SHOWN = 20, 200, 120


def section() -> None:
    """Show the field, and what contains its text."""
    text = st.text_input(
        "Search jobs and review items",
        key="ov_search",
        placeholder="A word of a prompt, a label, an ID",
        max_chars=_LONGEST,
        icon=":material/search:",
    ).strip()
    if not text:
        return
    jobs = overview_session.jobs_with(text, MOST)
    items, total = overview_session.items_with(text, MOST)
    if not jobs and not items:
        st.caption(
            layout.plain(
                f"No job and no review item of this data folder contains “{text}”. A job is "
                "found by what its list shows of it."
            )
        )
        return
    if jobs:
        layout.part(f"Jobs that contain it{_first(len(jobs) == MOST)}")
        listed([job_row(job) for job in jobs])
    if items:
        contain = agreeing(total, "contains", "contain")
        more = _first(total > len(items))
        layout.part(f"{plural(total, 'review item')} that {contain} it{more}")
        listed(
            [
                (
                    short(item.prompt, _SHOWN),
                    f"review?{urlencode({'queue': item.queue, 'item': item.position})}",
                    f"item {item.position:,} of {item.queue_name}",
                )
                for item in items
            ]
        )


def _first(more: bool) -> str:
    return f", the first {MOST}" if more else ""
