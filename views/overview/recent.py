"""Draw model and device in use, and the jobs and queues that were worked on last."""

from __future__ import annotations

import time
from html import escape
from urllib.parse import urlencode

import streamlit as st

from mmh_core import overview_session
from mmh_core.store.job_record import JobRecord
from views import layout

#: The page that shows a kind of job, with what its link says beside the job.
_PAGES: dict[str, tuple[str, dict[str, str]]] = {
    "manifold": ("manifolds", {}),
    "images": ("images", {}),
    "mitigation": ("mitigation", {}),
    "benchmark": ("benchmark", {}),
    "scan": ("review", {"tab": "scan"}),
}
_STATES = {"done": "finished", "cancelled": "stopped"}
_STYLE = """<style>
.ov-list {list-style: none; margin: 0 !important; padding: 0 !important;
  font-size: .9rem; line-height: 1.45;}
.ov-list li {padding: .3rem 0; margin: 0 !important;
  border-bottom: 1px solid rgba(128,140,146,.22); overflow-wrap: anywhere;}
.ov-list a {color: inherit; text-decoration-color: #0b8fb3; text-underline-offset: .2em;}
.ov-list small {opacity: .75; font-size: .8rem; display: block;}
</style>"""


def section() -> None:
    """Draw the three lists."""
    with st.container(key="pair_overview"):
        left, middle, right = st.columns(3, gap="medium")
    with left:
        _in_use()
    with middle:
        _jobs()
    with right:
        _queues()


def _in_use() -> None:
    st.markdown("**In use**")
    found = overview_session.in_use()
    rows = [("Model", found.model), ("Device", found.device)]
    if found.training is not None:
        rows.append(("Searched", f"{found.training:,} training pictures"))
    rows.append(("Kept in", found.data))
    layout.facts(rows)


def _jobs() -> None:
    st.markdown("**Last jobs**")
    records = overview_session.last_jobs()
    if not records:
        st.caption("None yet: what you start on a page is listed here, also after a restart.")
        return
    _list([_job(record) for record in records])


def _job(record: JobRecord) -> tuple[str, str, str]:
    place = _PAGES.get(record.kind)
    address = "" if place is None else f"{place[0]}?{urlencode(place[1] | {'job': record.id})}"
    ended = time.localtime(record.finished or record.created)
    said = _STATES.get(record.state, record.state)
    if record.state == "running":
        said = f"running, {record.fraction:.0%}"
    return record.label, address, f"{said} {time.strftime('%Y-%m-%d %H:%M', ended)}"


def _queues() -> None:
    st.markdown("**Queues to review**")
    queues = overview_session.last_queues()
    if not queues:
        st.caption("None yet: the review page has a demonstration, and makes one of any table.")
        _list([("Open the review", "review", "")])
        return
    _list(
        [
            (
                queue.name,
                f"review?{urlencode({'queue': queue.id})}",
                f"{overview_session.judged(queue):,} of {queue.items:,} items judged",
            )
            for queue in queues
        ]
    )


def _list(rows: list[tuple[str, str, str]]) -> None:
    """Draw names as links with a line below; names are text, whoever wrote them."""
    items = ""
    for name, address, beneath in rows:
        shown = escape(name)
        if address:
            shown = f'<a href="{escape(address)}">{shown}</a>'
        items += f"<li>{shown}<small>{escape(beneath)}</small></li>"
    st.html(f'{_STYLE}<ul class="ov-list">{items}</ul>')
