"""Draw the section of the review page that is open; the others cost nothing."""

from __future__ import annotations

import streamlit as st

from mmh_core.store.review_records import QueueRecord
from views import session
from views.review import agree, hand, judge, scan, table
from views.review.links import TABS
from views.review.state import key

_WITHOUT_QUEUE = ("scan", "hand")


def sections(known: list[QueueRecord]) -> None:
    """Draw the tabs; without any queue those that can make one."""
    labels = {name: label for name, label in TABS.items() if known or name in _WITHOUT_QUEUE}
    if st.session_state[key("tab")] not in labels:
        st.session_state[key("tab")] = "scan"
    name = key("tab_label")
    st.session_state[name] = labels[st.session_state[key("tab")]]
    tabs = st.tabs(list(labels.values()), key=name, on_change=_take_tab)
    for tab, (short, _) in zip(tabs, labels.items(), strict=True):
        if tab.open:
            with tab, session.errors_as_messages():
                _section(short, known)


def _section(short: str, known: list[QueueRecord]) -> None:
    if short == "judge":
        judge.section()
    elif short == "table":
        table.section()
    elif short == "scan":
        scan.section()
    elif short == "agree":
        agree.section()
    else:
        hand.section(known)


def _take_tab() -> None:
    short = {label: name for name, label in TABS.items()}
    st.session_state[key("tab")] = short[st.session_state[key("tab_label")]]
