"""The sidebar: what to train on and how, how long that takes, and the runs before."""

from __future__ import annotations

import streamlit as st

from mmh_core.manifolds.catalogue import MANIFOLDS
from mmh_core.studies.manifolds.config import checked
from mmh_core.studies.manifolds.run import ManifoldConfig
from views import session
from views.manifolds import session as manifold_session
from views.manifolds import state
from views.manifolds.settings import GROUPS, ManifoldSettings, bounds
from views.manifolds.state import key
from views.widgets import form, past_jobs
from views.widgets.words import duration_words


def sidebar(settings: ManifoldSettings) -> None:
    """Show the controls, and submit a job when the button is pressed."""
    st.radio("Dataset", list(GROUPS), key=key("group"), on_change=state.choose_group)
    names = GROUPS[st.session_state[key("group")]]
    if len(names) > 1:
        st.selectbox(
            "Manifold",
            names,
            key=key("manifold"),
            format_func=lambda name: MANIFOLDS[name].label,
            on_change=state.choose_manifold,
        )
    st.caption(MANIFOLDS[settings.config.manifold].blurb)
    _numbers(settings.config.manifold)
    past_jobs.section(
        manifold_session.past_manifolds(),
        settings.job,
        "run",
        key(""),
        on_open=state.open_past,
        on_back=state.show_job,
    )


@st.fragment
def _numbers(manifold: str) -> None:
    """Show the numbers and the button; a fragment, so that a new number redraws no chart."""
    between = bounds(manifold)
    left, right = st.columns(2)
    with left:
        _number("Training points", "points", between)
        _number("Width", "width", between, "Hidden units of each layer of the network.")
    with right:
        _number("Duplicates", "duplicates", between, "Further exact copies of a training point.")
        _number(
            "Epochs",
            "epochs",
            between,
            "Passes over the training points, 256 to a training step.",
        )
    form.seed(
        "Seed",
        key("seed"),
        between["seed"],
        "mf_dice",
        state.random_seed,
        "The same seed gives the same run on one machine.",
    )
    if MANIFOLDS[manifold].plot != "images":
        with st.expander("More"):
            _number(
                "Ambient dimension",
                "ambient_dim",
                between,
                "Isometric embedding in a larger space, which leaves the LID unchanged. Empty: "
                "the manifold's own space.",
            )
    _train(state.current().config)


def _number(
    label: str, name: str, between: dict[str, tuple[int, int]], help: str | None = None
) -> None:
    form.number(label, key(name), between[name], help, placeholder="own")


def _train(config: ManifoldConfig) -> None:
    """Show the button with what it will cost, or why these numbers cannot be trained."""
    checked_config = form.checked_config(lambda: config, (checked,))
    refused = checked_config if isinstance(checked_config, str) else None
    pressed = form.submit("Train", "play_arrow", "mf_train", refused)
    if refused is not None:
        return
    st.caption(_duration(config))
    state.remember()
    if not pressed:
        return
    with session.errors_as_messages():
        state.show_job(manifold_session.submit_manifold(config))
        state.remember()
        st.rerun()


def _duration(config: ManifoldConfig) -> str:
    """Return one line on how long the settings shown take."""
    expectation = manifold_session.expected_seconds(config)
    if expectation is None:
        return f"{config.steps:,} training steps of 256 points each, roughly a minute or two."
    seconds, here = expectation
    source = "judging by earlier runs here" if here else "roughly, measured on two CPU cores"
    steps = f"{config.steps:,} training steps of 256 points each"
    return f"{steps}, about {duration_words(seconds)} ({source})."
