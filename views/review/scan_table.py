"""Draw what a table of prompts holds, and which of its rows are left out."""

from __future__ import annotations

import streamlit as st

from mmh_core.scan_session import UploadedTable
from views import words

_MOST_PROBLEMS = 200


def found(table: UploadedTable) -> None:
    """Say how many prompts can be scanned."""
    said = [f"{words.plural(table.prompts, 'prompt')} can be scanned"]
    if table.duplicates:
        verb = "repeats" if table.duplicates == 1 else "repeat"
        said.append(f"{words.plural(table.duplicates, 'row')} {verb} an earlier prompt")
    if table.problems:
        said.append(f"{words.plural(len(table.problems), 'row')} left out, listed below")
    st.text("; ".join(said) + ".")


def problems(rows: tuple[tuple[int, str], ...], count: int) -> None:
    """List rows that were left out, of `count` in all, with the reason."""
    if not rows:
        return
    with st.expander(f"{words.plural(count, 'row')} left out", expanded=True):
        # Plain text: messages quote what the table says.
        st.text("\n".join(said for _, said in rows[:_MOST_PROBLEMS]))
        if count > _MOST_PROBLEMS:
            st.caption(f"and {count - _MOST_PROBLEMS:,} more")
