"""The choices of the manifold page, between its link, the session and the widgets."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from mmh_core.studies.manifolds.config import default_config
from mmh_core.studies.manifolds.run import ManifoldConfig
from views.manifolds import session as manifold_session
from views.manifolds.settings import (
    GROUPS,
    NUMBERS,
    PREFIX,
    ManifoldSettings,
    group_of,
    parsed,
    query,
)
from views.widgets import linked_state
from views.widgets.linked_state import LinkedState

#: Everything that is kept under its own name with the prefix, widgets first.
NAMES = ("manifold", *NUMBERS, "color", "tab", "step", "point", "job", "size")


def _place(settings: ManifoldSettings, first: bool) -> ManifoldSettings:
    """Put settings where widgets look, with the config of the run that a first link names."""
    run = linked_state.run_of(settings.job, manifold_session.manifold_job) if first else None
    if run is not None:
        settings = replace(settings, config=run.config)
    use_config(settings.config)
    for name in ("color", "tab", "step", "point", "job", "size"):
        st.session_state[key(name)] = getattr(settings, name)
    st.session_state[key("group")] = group_of(settings.config.manifold)
    return settings


STATE = LinkedState("manifolds", PREFIX, NAMES, parsed, _place, query)
key, restore, remember, current = STATE.key, STATE.restore, STATE.remember, STATE.current
address, random_seed = STATE.address, STATE.random_seed


def choose_group() -> None:
    """Take the first manifold of the group that was just chosen."""
    choose_manifold(GROUPS[st.session_state[key("group")]][0])


def choose_manifold(name: str | None = None) -> None:
    """Start over with the default settings of a manifold, by default the one just chosen."""
    state = st.session_state
    use_config(default_config(name or state[key("manifold")]))
    show_job(None)


def use_config(config: ManifoldConfig) -> None:
    """Put a config into the form."""
    st.session_state[key("manifold")] = config.manifold
    for name in NUMBERS:
        st.session_state[key(name)] = getattr(config, name)


def show_job(job: str | None) -> None:
    """Show a run and forget what was chosen in the one before."""
    st.session_state[key("job")] = job
    forget_point()
    st.session_state[key("step")] = None


def forget_point() -> None:
    """Leave the choice of the point to the page, and drop a selection of many."""
    st.session_state[key("point")] = None
    st.session_state[key("many")] = []


def open_past(job: str) -> None:
    """Show a kept run and put its settings into the form."""
    show_job(job)
    run = linked_state.run_of(job, manifold_session.manifold_job)
    if run is not None:
        use_config(run.config)
