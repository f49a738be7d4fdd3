"""Model and device in use, and the jobs and queues that were worked on last."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from urllib.parse import urlencode

import streamlit as st

from mmh_core.formats.times import local_minute
from mmh_core.records import MMHError
from mmh_core.store.job_record import JobRecord
from views import session
from views.overview import session as overview_session
from views.widgets import layout

#: The page that shows a kind of job, what its link says beside the job, and how it names it.
_PAGES: dict[str, tuple[str, dict[str, str], str]] = {
    "manifold": ("manifolds", {}, "job"),
    "images": ("images", {}, "job"),
    "audit": ("images", {"tab": "audit"}, "audit"),
    "audits": ("images", {"tab": "audit"}, "audits"),
    "index": ("images", {"tab": "sets"}, "made"),
    "mitigation": ("mitigation", {}, "job"),
    "mitigation trial": ("mitigation", {"tab": "words"}, "trial"),
    "tokens": ("mitigation", {"tab": "words"}, "tokens"),
    "benchmark": ("benchmark", {}, "job"),
    "scan": ("review", {"tab": "scan"}, "job"),
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
    """Show the three lists."""
    with st.container(key="pair_overview"):
        left, middle, right = st.columns(3, gap="medium")
    with left:
        _in_use()
    with middle:
        if overview_session.active_jobs():
            # Looked at again while something runs, and only then.
            st.fragment(_active, run_every=2.0)()
        _jobs()
    with right:
        _queues()


def _in_use() -> None:
    layout.part("System")
    system = overview_session.system_info()
    rows = [("Model", system.model), ("Device", system.device)]
    if system.training is not None:
        rows.append(("Training images", f"{system.training:,}"))
    rows.append(("Data folder", system.data))
    layout.facts(rows)


def _active() -> None:
    """Show what runs and waits, whoever started it, with the way to open and to cancel it."""
    records = overview_session.active_jobs()
    if not records:
        st.rerun()
    layout.part("Running and queued jobs")
    for record in records:
        with st.container(horizontal=True, vertical_alignment="center"):
            listed([job_row(record)])
            st.button(
                "Cancel",
                key=f"ov_cancel_{record.id}",
                icon=":material/stop:",
                help="Finished results are kept",
                on_click=_cancel,
                args=(record.id,),
            )
    refused = st.session_state.pop("ov_refused", None)
    if refused is not None:
        st.error(layout.plain(refused), icon=":material/error:")


def _cancel(job: str) -> None:
    try:
        session.jobs().runner.cancel(job)
    except MMHError as error:
        st.session_state["ov_refused"] = str(error)


def _jobs() -> None:
    layout.part("Recent jobs")
    active = {record.id for record in overview_session.active_jobs()}
    records = [job for job in overview_session.last_jobs() if job.id not in active]
    if not records and active:
        st.caption("No job has finished yet.")
        return
    if not records:
        st.caption("None yet: what you start on a page is listed here, also after a restart.")
        return
    listed([*map(job_row, records), *_comparison(records)])


def _comparison(records: Sequence[JobRecord]) -> list[tuple[str, str, str]]:
    """Return the row that leads to the last two image runs side by side, where there are two."""
    runs = [record.id for record in records if record.kind == "images" and record.result]
    if len(runs) < 2:
        return []
    address = f"images?{urlencode({'job': runs[1], 'tab': 'compare', 'other': runs[0]})}"
    return [("Compare the last two image runs", address, "image beside image, by seed")]


def job_row(record: JobRecord) -> tuple[str, str, str]:
    """Return the label of a job, its address, and its state with the time."""
    page_of = _PAGES.get(record.kind)
    address = ""
    if page_of is not None:
        page, said_too, name = page_of
        address = f"{page}?{urlencode(said_too | {name: record.id})}"
    ended = local_minute(record.finished or record.created)
    status = _STATES.get(record.state, record.state)
    if record.state == "running":
        status = f"running, {record.fraction:.0%}, since"
    if record.state == "queued":
        status = "waiting since"
    return record.label, address, f"{status} {ended}"


def _queues() -> None:
    layout.part("Review queues")
    queues = overview_session.last_queues()
    if not queues:
        st.caption(
            "None yet: upload a table of prompts on the review page, or open its demonstration."
        )
        listed([("Open Review", "review", "")])
        return
    listed(
        [
            (
                queue.name,
                f"review?{urlencode({'queue': queue.id})}",
                f"{overview_session.judged(queue):,} of {queue.items:,} items judged",
            )
            for queue in queues
        ]
    )


def listed(rows: list[tuple[str, str, str]]) -> None:
    """Show names as links with a line below; names are text, whoever wrote them."""
    items = ""
    for name, address, beneath in rows:
        label = escape(name)
        if address:
            label = f'<a href="{escape(address)}">{label}</a>'
        items += f"<li>{label}<small>{escape(beneath)}</small></li>"
    st.html(f'{_STYLE}<ul class="ov-list">{items}</ul>')
