"""The items on which reviewers differ, and the adjudication of each."""

from __future__ import annotations

import streamlit as st

from mmh_core.counting import agreeing
from mmh_core.formats.times import local_minute
from mmh_core.records import MMHError
from mmh_core.store.adjudication import Disagreement, adjudicate, disagreements
from mmh_core.store.review_log import ReviewTarget
from mmh_core.store.review_records import REVIEW_VERDICTS
from views.review import reviewer, state
from views.review import session as review_session
from views.review.state import key
from views.widgets import layout, words

_MOST = 20
_VERDICTS = [verdict for verdict in REVIEW_VERDICTS if verdict != "skip"]


def section() -> None:
    """Show every item on which reviewers differ, those that are open first."""
    refused = st.session_state.pop(key("refused_decision"), None)
    if refused is not None:
        st.warning(layout.plain(refused), icon=":material/sync_problem:")
    differing = disagreements(review_session.queues(), state.queue())
    if not differing:
        st.caption("No item has different judgements.")
        return
    still = sum(one.decision is None for one in differing)
    layout.heading(
        f"{words.plural(len(differing), 'item')} with different judgements",
        "Open an item to look at it again; a reviewer may change their judgement. Otherwise "
        "somebody adjudicates, best a person who has not judged the item: the judgements stay as "
        "they are, and the report counts the adjudication. "
        f"{still:,} {agreeing(still, 'is', 'are')} still open.",
    )
    for one in sorted(differing, key=lambda one: (one.decision is not None, one.item))[:_MOST]:
        _disagreement(one)
    if len(differing) > _MOST:
        st.caption(f"and {len(differing) - _MOST:,} more; the exported tables list all.")


def _disagreement(one: Disagreement) -> None:
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.button(
                f"Item {one.item}",
                key=f"rv_apart_{one.item}",
                on_click=state.show_item,
                args=(one.item,),
            )
            # Plain text: a name is what somebody typed.
            st.text("; ".join(f"{name}: {verdict}" for name, verdict in one.verdicts))
        if (row := one.decision) is not None:
            when = local_minute(row.time)
            st.text(f"Adjudicated by {row.reviewer}, {when}: {row.after}. Reason: {row.notes}")
        with st.expander("Adjudicate" if row is None else "Adjudicate again"):
            _form(one)


def _form(one: Disagreement) -> None:
    blocked = reviewer.why_not()
    if state.reviewer() in dict(one.verdicts):
        st.caption("You have judged this item yourself; the report will say so.")
    st.segmented_control("Verdict", _VERDICTS, key=f"rv_decide_{one.item}", disabled=bool(blocked))
    st.text_area(
        "Reason",
        key=f"rv_reason_{one.item}",
        height=80,
        max_chars=10_000,
        disabled=bool(blocked),
    )
    st.button(
        "Record the adjudication",
        key=f"rv_adjudicate_{one.item}",
        icon=":material/gavel:",
        disabled=bool(blocked),
        help=blocked or "A row of the log, under your name; it needs a judgement and a reason",
        on_click=_decide,
        args=(one,),
    )


def _decide(one: Disagreement) -> None:
    """Record an adjudication; for a callback."""
    verdict = st.session_state.get(f"rv_decide_{one.item}")
    if verdict is None:
        st.session_state[key("refused_decision")] = (
            f"No judgement was chosen for item {one.item}: choose one, then record it."
        )
        return
    target = ReviewTarget(
        state.queue(), one.item, state.reviewer(), one.revision, reviewer.identified()
    )
    reason = str(st.session_state.get(f"rv_reason_{one.item}") or "")
    try:
        adjudicate(review_session.queues(), target, verdict, reason)
    except (MMHError, ValueError) as error:
        st.session_state[key("refused_decision")] = str(error)
