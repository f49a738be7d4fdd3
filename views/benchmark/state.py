"""Carry the choices of the benchmark page between the link, the session and the widgets."""

from __future__ import annotations

import re
from dataclasses import dataclass

import streamlit as st

from views.widgets import link_values

PREFIX = "bm_"
NAMES = ("detector", "kind", "job")


@dataclass(frozen=True)
class BenchmarkSettings:
    """The choices in the link or the session; None where the page chooses."""

    detector: str | None
    kind: str | None
    job: str | None


def key(name: str) -> str:
    """Return the session key of a choice."""
    return PREFIX + name


def restore() -> BenchmarkSettings:
    """Return the choices: the link counts once, when the page opens."""
    state = st.session_state
    if key("kept") not in state:
        for name in NAMES:
            state[key(name)] = st.query_params.get(name)
    else:
        # A widget that was not drawn in the last run has lost its key; the copy has not.
        for name in NAMES:
            state[key(name)] = state.get(key(name), state[key("kept")].get(name))
    job = state[key("job")]
    if not (isinstance(job, str) and re.fullmatch("[0-9a-f]{32}", job)):
        state[key("job")] = None
    return BenchmarkSettings(state[key("detector")], state[key("kind")], state[key("job")])


def remember() -> None:
    """Keep this run's choices for the next one, and write them into the link."""
    state = st.session_state
    state[key("kept")] = {name: state.get(key(name)) for name in NAMES}
    kept = state[key("kept")]
    link_values.write_link({name: str(value) for name, value in kept.items() if value})
