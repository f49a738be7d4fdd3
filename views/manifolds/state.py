"""Carry the choices of the manifold page between the link, the session and the widgets."""

from __future__ import annotations

import secrets

import streamlit as st

from mmh_core.records import MMHError
from mmh_core.studies.manifolds.config import MOST_SEED, default_config
from mmh_core.studies.manifolds.run import ManifoldConfig, ManifoldRun
from views import session
from views.manifolds.settings import (
    GROUPS,
    NUMBERS,
    PREFIX,
    ManifoldSettings,
    group_of,
    parsed,
    query,
)
from views.widgets import link_values

#: Everything that is kept under its own name with the prefix, widgets first.
NAMES = ("manifold", *NUMBERS, "color", "tab", "step", "point", "job", "size")
_KEPT = PREFIX + "kept"


def key(name: str) -> str:
    """Return the session key of a choice."""
    return PREFIX + name


def restore() -> tuple[ManifoldSettings, list[str]]:
    """Return this run's settings and what was refused, and put them where widgets look.

    The link counts once, when the page opens; after that the session does, whose values may come
    from widgets or from elsewhere and are checked all the same.
    """
    state = st.session_state
    first = _KEPT not in state
    if first:
        source: dict[str, object] = dict(st.query_params)
    else:
        # A widget that was not drawn in the last run has lost its key; the copy has not.
        source = {n: state.get(key(n), state[_KEPT].get(n)) for n in NAMES}
    settings, messages = parsed(source)
    if first and settings.job is not None:
        settings = _as_trained(settings)
    for name in NUMBERS:
        state[key(name)] = getattr(settings.config, name)
    for name in ("color", "tab", "step", "point", "job", "size"):
        state[key(name)] = getattr(settings, name)
    state[key("manifold")] = settings.config.manifold
    state[key("group")] = group_of(settings.config.manifold)
    return settings, messages


def remember() -> None:
    """Keep this run's choices for the next one, and write them into the link."""
    st.session_state[_KEPT] = {name: st.session_state.get(key(name)) for name in NAMES}
    link_values.write_link(link())


def current() -> ManifoldSettings:
    """Return the settings as they are now, after callbacks and forms."""
    return parsed({name: st.session_state.get(key(name)) for name in NAMES})[0]


def link() -> dict[str, str]:
    """Return the parameters of a link to what is shown now."""
    return query(current())


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


def random_seed() -> None:
    """Put a new seed into the form."""
    st.session_state[key("seed")] = secrets.randbelow(min(MOST_SEED, 1_000_000))


def show_job(job: str | None) -> None:
    """Show a run and forget what was chosen in the one before."""
    st.session_state[key("job")] = job
    forget_point()
    st.session_state[key("step")] = None


def forget_point() -> None:
    """Let the page choose the point to show, and drop a selection of many."""
    st.session_state[key("point")] = None
    st.session_state[key("many")] = []


def open_past(job: str) -> None:
    """Show a kept run and put its settings into the form."""
    show_job(job)
    run = _run_of(job)
    if run is not None:
        use_config(run.config)


def _run_of(job: str) -> ManifoldRun | None:
    try:
        return session.job_view(job).run
    except MMHError:
        return None  # The page itself says what is wrong with the job.


def _as_trained(settings: ManifoldSettings) -> ManifoldSettings:
    """Return the settings with the config that their job ran with, where that is known."""
    from dataclasses import replace

    run = None if settings.job is None else _run_of(settings.job)
    return settings if run is None else replace(settings, config=run.config)
