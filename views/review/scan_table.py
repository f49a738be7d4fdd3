"""Draw what a table of prompts holds, and which of its rows are left out."""

from __future__ import annotations

import streamlit as st

from views.review.scan_session import UploadedTable
from views.widgets import words

_MOST_PROBLEMS = 200


def found(table: UploadedTable) -> None:
    """Say what became of the rows and the columns of a table."""
    st.text(f"{table.summary.sentence()} {table.summary.columns()}")


def listed(table: UploadedTable) -> None:
    """List the rows that were left out, and those that repeat an earlier one."""
    summary = table.summary
    problems(tuple((one.row, one.message) for one in summary.problems), summary.left_out)
    if summary.repeated:
        verb = "repeats" if summary.repeated == 1 else "repeat"
        with st.expander(f"{words.plural(summary.repeated, 'row')} {verb} an earlier one"):
            st.text("\n".join(summary.repeated_lines()[:_MOST_PROBLEMS]))
            if summary.repeated > _MOST_PROBLEMS:
                st.caption(f"and {summary.repeated - _MOST_PROBLEMS:,} more")


def problems(rows: tuple[tuple[int, str], ...], count: int) -> None:
    """List rows that were left out, of `count` in all, with the reason."""
    if not rows:
        return
    with st.expander(f"{words.plural(count, 'row')} left out", expanded=True):
        # Plain text: messages quote what the table says.
        st.text("\n".join(said for _, said in rows[:_MOST_PROBLEMS]))
        if count > _MOST_PROBLEMS:
            st.caption(f"and {count - _MOST_PROBLEMS:,} more")
