"""Judge flagged prompts one by one, with the evidence, and keep a hash-chained log."""

import streamlit as st

from mmh_core.installation import PROGRAM
from views import session
from views.widgets import layout

session.guard()
st.title("Review", anchor=False)
st.markdown(
    "A reviewer gives each flagged prompt a verdict. Every verdict is kept with its reviewer, "
    "time and earlier value in a tamper-evident (hash-chained) log, whose integrity is checked "
    "under Export & audit log."
)
layout.load_chart_library()


def main() -> None:
    """Draw the page; the imports wait until the title stands, because torch takes its time."""
    from views.review import sections, sidebar, state
    from views.review import session as review_session

    known = review_session.all_queues()
    for sentence in state.restore(known):
        st.warning(layout.plain(sentence), icon=":material/warning:")
    for one in review_session.unreadable_queues():
        sentence = (
            f"The record of the queue {one.id[:64]!r} cannot be read ({one.reason}); the others "
            f"can. Restore review.sqlite from a backup, or remove it by {PROGRAM} review remove."
        )
        st.warning(layout.plain(sentence), icon=":material/warning:")
    if known:
        with st.sidebar, session.errors_as_messages():
            sidebar.sidebar(known)
    sections.sections(known)
    state.remember()


with session.errors_as_messages():
    main()
