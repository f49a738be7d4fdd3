"""Judge flagged prompts one by one, with the evidence, and keep a hash-chained log."""

import streamlit as st

from mmh_core.installation import PROGRAM
from mmh_core.store.review_records import QueueRecord
from views import session
from views.widgets import layout

session.guard()
layout.title(
    "Review",
    "A reviewer gives each flagged prompt a judgement. Every judgement is kept with its reviewer, "
    "time and earlier value in a tamper-evident (hash-chained) log, whose integrity is checked "
    "under Export & audit log.",
    term="judgement",
)
layout.load_chart_library()


def main() -> None:
    """Show the page; the imports wait until the title stands, because torch takes its time."""
    from views.review import session as review_session
    from views.review import sidebar, state

    queues = review_session.all_queues()
    for sentence in state.restore(queues):
        st.warning(layout.plain(sentence), icon=":material/warning:")
    for damaged in review_session.unreadable_queues():
        sentence = (
            f"The record of the queue {damaged.id[:64]!r} cannot be read ({damaged.reason}); "
            f"the others can. Restore review.sqlite from a backup, or remove it by {PROGRAM} "
            "review remove."
        )
        st.warning(layout.plain(sentence), icon=":material/warning:")
    if queues:
        with st.sidebar, session.errors_as_messages():
            sidebar.sidebar(queues)
    _sections(queues)
    state.remember()


def _sections(queues: list[QueueRecord]) -> None:
    """Show the tabs; without any queue those that can make one. Only the open one is computed."""
    from views.review import agreement, export, judge, scan, table
    from views.review.links import TABS
    from views.review.state import key
    from views.widgets.tabs import open_tabs

    tabs = {name: label for name, label in TABS.items() if queues or name in ("scan", "export")}
    if st.session_state[key("tab")] not in tabs:
        st.session_state[key("tab")] = "scan"
    for name, tab in open_tabs(tabs, key):
        with tab, session.errors_as_messages():
            if name == "judge":
                judge.section()
            elif name == "table":
                table.section()
            elif name == "scan":
                scan.section()
            elif name == "agree":
                agreement.section()
            else:
                export.section(queues)


with session.errors_as_messages():
    main()
