"""The comments of reviewers on an item, which all reviewers of its queue see."""

from __future__ import annotations

import streamlit as st

from mmh_core.formats.times import local_minute
from mmh_core.records import MMHError
from mmh_core.store.remarks import add_comment, comments
from mmh_core.store.review_log import ReviewTarget, log_rows
from views.review import reviewer, state
from views.review import session as review_session
from views.review.state import key
from views.widgets import layout

_COUNT, _REFUSED = key("comments_added"), key("refused_comment")


def section(position: int, *, hidden: bool) -> None:
    """Show who said what and when, and the field for more; `hidden` keeps others' back."""
    thread = comments(log_rows(review_session.queues(), state.queue(), position))
    shown = [row for row in thread if not hidden or row.reviewer == state.reviewer()]
    refused = st.session_state.pop(_REFUSED, None)
    with st.expander(
        f"Comments ({len(shown)})",
        icon=":material/forum:",
        expanded=bool(shown) or refused is not None,
    ):
        if refused is not None:
            st.warning(layout.plain(refused), icon=":material/warning:")
        for row in shown:
            when = local_minute(row.time)
            # Plain text: names and comments are what somebody typed.
            st.text(f"{row.reviewer}, {when}: {row.notes}")
        _field(position)


def _field(position: int) -> None:
    name = f"rv_comment_{position}_{st.session_state.get(_COUNT, 0)}"
    blocked = reviewer.why_not()
    st.text_area(
        "Comment",
        key=name,
        height=80,
        max_chars=10_000,
        disabled=bool(blocked),
        help="All reviewers of the queue see it, in blind review after their judgement; the "
        "report has it too.",
    )
    st.button(
        "Add the comment",
        key="rv_add_comment",
        icon=":material/add_comment:",
        disabled=bool(blocked),
        help=blocked or "A row of the log, under your name, which nobody can remove",
        on_click=_add,
        args=(name, position),
    )


def _add(name: str, position: int) -> None:
    """Record what was written; for a callback."""
    target = ReviewTarget(state.queue(), position, state.reviewer(), 0, reviewer.identified())
    text = str(st.session_state.get(name) or "")
    try:
        add_comment(review_session.queues(), target, text)
    except MMHError as error:
        st.session_state[_REFUSED] = str(error)
        return
    # A new field, which is empty.
    st.session_state[_COUNT] = st.session_state.get(_COUNT, 0) + 1
