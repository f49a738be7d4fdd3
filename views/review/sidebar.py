"""The sidebar of the review page: queue, reviewer, blind mode and filters."""

from __future__ import annotations

import streamlit as st

from mmh_core.formats.times import local_minute
from mmh_core.store.item_search import filter_choices
from mmh_core.store.review_records import REVIEW_VERDICTS, QueueRecord
from views.review import plan, reviewer, state
from views.review import session as review_session
from views.review.links import MAX_SEARCH, ORDERS, UNJUDGED
from views.review.state import key
from views.widgets import layout

#: Sections that show what the filter finds.
_FILTERED = ("judge", "table")


def sidebar(queues: list[QueueRecord]) -> None:
    """Show the controls."""
    by_id = {queue.id: queue for queue in queues}
    # A select box shows its options as they are, whatever a queue is called.
    st.selectbox(
        "Queue",
        list(by_id),
        key=key("queue"),
        format_func=lambda id: f"{by_id[id].name} ({by_id[id].items:,})",
        on_change=state.open_queue,
    )
    _about(by_id[state.queue()])
    reviewer.field()
    st.toggle(
        "Blind review",
        key=key("blind"),
        help="Hides the measurements of an item until you have given your judgement, so that they "
        "do not influence it.",
    )
    if st.session_state[key("tab")] in _FILTERED:
        _filters()
    plan.section()


def _about(queue: QueueRecord) -> None:
    """Show the name of the queue in full, because the box above cuts long names."""
    made = local_minute(queue.created)
    st.caption(layout.plain(f"{queue.name}. Model {queue.model}, made {made}."))


def _filters() -> None:
    causes, kinds = filter_choices(review_session.queues(), state.queue())
    with st.expander("Filter and order", icon=":material/filter_list:", expanded=True):
        st.text_input(
            "Text",
            key=key("text"),
            max_chars=MAX_SEARCH,
            placeholder="in prompt, label, notes or tags",
        )
        _several("Judgement", "verdicts", [UNJUDGED, *REVIEW_VERDICTS])
        _several("Kind of copy", "kinds", list(kinds))
        _several("Cause", "causes", list(causes))
        left, right = st.columns(2)
        with left:
            st.number_input("Score from", key=key("least"), value=None, step=0.1)
        with right:
            st.number_input("Score to", key=key("most"), value=None, step=0.1)
        st.selectbox("Order", list(ORDERS), key=key("order"), format_func=ORDERS.__getitem__)
        st.checkbox("Highest first", key=key("descending"))
        _mine()


def _mine() -> None:
    """Show the switch for the items of the person who judges, where items are shared out."""
    share = review_session.plan_of(state.queue()).share_of(state.reviewer())
    st.checkbox(
        "Only items assigned to me",
        key=key("mine"),
        disabled=share is None,
        on_change=state.start_anew,
        help="Items are shared out under Labels and assignment; whoever is not named there, or "
        "judges all, has none of their own.",
    )
    if share is None and st.session_state[key("mine")]:
        name = state.reviewer() or "you"
        st.caption(layout.plain(f"No items are assigned to {name}: all are shown."))


def _several(label: str, name: str, options: list[str]) -> None:
    held = st.session_state[key(name)]
    st.session_state[key(name)] = [option for option in held if option in options]
    st.multiselect(
        label,
        options,
        key=key(name),
        format_func=lambda option: option or "not analyzed",
        placeholder="any",
    )
