"""A queue's own labels, and the assignment of its items."""

from __future__ import annotations

import streamlit as st

from mmh_core.records import MMHError
from mmh_core.store.review_plans import checked_plan
from views.review import session as review_session
from views.review import state
from views.review.state import key
from views.widgets import layout


def section() -> None:
    """Show the fields; what is written in them holds for everybody who opens the queue."""
    queue = state.queue()
    now = review_session.plan_of(queue)
    with st.expander("Labels and assignment", icon=":material/label:"):
        refused = st.session_state.pop(key("refused_plan"), None)
        if refused is not None:
            st.warning(layout.plain(refused), icon=":material/warning:")
        st.text_input(
            "Own labels",
            ", ".join(now.labels),
            key=f"rv_plan_labels_{queue}",
            placeholder="such as trademark, private person",
            help="Separated by commas. A reviewer gives them beside a judgement; they are tags in "
            "the log.",
        )
        st.text_input(
            "Reviewers",
            ", ".join(now.reviewers),
            key=f"rv_plan_names_{queue}",
            placeholder="names as they judge",
            help="Separated by commas, for sharing the items out",
        )
        st.number_input(
            "Reviewers per item",
            min_value=0,
            value=now.each,
            key=f"rv_plan_each_{queue}",
            help="Items go round among the reviewers. 0: everybody judges all.",
        )
        st.button("Save", key="rv_save_plan", on_click=_save, args=(queue,))


def _save(queue: str) -> None:
    """Keep what the fields say; for a callback."""
    held = st.session_state
    labels, names = (
        [text.strip() for text in str(held.get(name) or "").split(",") if text.strip()]
        for name in (f"rv_plan_labels_{queue}", f"rv_plan_names_{queue}")
    )
    try:
        made = checked_plan(labels, names, int(held.get(f"rv_plan_each_{queue}") or 0))
        review_session.keep_plan(queue, made)
    except (MMHError, ValueError) as error:
        held[key("refused_plan")] = str(error)
