"""How far two reviewers agree, and where they do not."""

from __future__ import annotations

import math

import streamlit as st

from mmh_core.store.agreement import Agreement, agreement
from mmh_core.store.queues import queue_progress, reviewers
from mmh_core.store.review_log import log_rows
from mmh_core.store.review_records import REVIEW_VERDICTS
from mmh_core.store.time_on_items import time_words
from views.review import adjudicate, state
from views.review import session as review_session
from views.widgets import layout, words


def section() -> None:
    """Show progress of each reviewer, the agreement of two, and the items they differ on."""
    layout.part(
        "Agreement of two reviewers",
        "Cohen's kappa is their agreement beyond chance: 1 is full, 0 what chance alone gives. "
        "A high kappa means that both judge the evidence alike, not that both are right.",
    )
    file, queue = review_session.queues(), state.queue()
    names = reviewers(file, queue)
    if len(names) < 2:
        st.info(
            "A second reviewer writes another name in the sidebar and judges the same items; "
            "nobody sees the other's judgements while judging, and marks and comments only "
            "without Blind review. So far "
            f"{words.plural(len(names), 'reviewer')} judged in this queue.",
            icon=":material/group_add:",
        )
        return
    rows = log_rows(file, queue)
    layout.facts(
        [
            (name, f"{done.judged:,} of {done.items:,} judged; time on an item: {seconds}")
            for name in names
            for done in (queue_progress(file, queue, name),)
            for seconds in (time_words([row for row in rows if row.reviewer == name]),)
        ]
    )
    left, right = st.columns(2)
    with left:
        first = st.selectbox("First", names, key="rv_first")
    with right:
        others = [name for name in names if name != first]
        second = st.selectbox("Second", others, key="rv_second")
    measured = agreement(file, queue, str(first), str(second))
    if not measured.items:
        st.info("They have judged no item in common yet.")
    else:
        _figures(measured)
        _crossed(measured, str(first), str(second))
    adjudicate.section()


def _figures(measured: Agreement) -> None:
    with st.container(horizontal=True, gap="small"):
        kappa = "n/a" if math.isnan(measured.kappa) else words.number(measured.kappa)
        for label, value in (
            ("Kappa", kappa),
            ("Judged by both", f"{measured.items:,}"),
            ("Same judgement", words.percent(measured.observed)),
            ("Expected by chance", words.percent(measured.expected)),
        ):
            st.metric(label, value, border=True, width="stretch")
    if math.isnan(measured.kappa):
        st.caption(
            "Both gave every item the same one judgement, so chance alone would agree as often: "
            "kappa says nothing then."
        )


def _crossed(measured: Agreement, first: str, second: str) -> None:
    """Show the confusion matrix of two reviewers."""
    import pandas as pd

    layout.heading(
        "Confusion matrix of judgements",
        layout.plain(
            f"Judgements of {first} in rows, of {second} in columns; on the diagonal they agree."
        ),
    )
    named = [verdict for verdict in REVIEW_VERDICTS if verdict != "skip"]
    counts = {(verdict, other): count for verdict, other, count in measured.counts}
    st.table(
        pd.DataFrame(
            [[f"{counts.get((verdict, other), 0):,}" for other in named] for verdict in named],
            index=named,
            columns=named,
        )
    )
