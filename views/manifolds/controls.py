"""Draw the sidebar: what to train on and how, how long that takes, and the runs before."""

from __future__ import annotations

import time

import streamlit as st

from mmh_core.manifolds.catalogue import MANIFOLDS
from mmh_core.store.job_record import JobRecord
from mmh_core.studies.manifolds.config import checked
from mmh_core.studies.manifolds.run import ManifoldConfig
from views import session
from views.manifolds import state
from views.manifolds.settings import GROUPS, ManifoldSettings, bounds
from views.manifolds.state import key
from views.widgets.words import in_words

_STATES = {"done": "finished", "cancelled": "stopped"}


def sidebar(settings: ManifoldSettings) -> None:
    """Draw the controls, and submit a job when the button is pressed."""
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
    _past(settings.job)


@st.fragment
def _numbers(manifold: str) -> None:
    """Draw the numbers and the button; a fragment, so that a new number redraws no chart."""
    between = bounds(manifold)
    left, right = st.columns(2)
    with left:
        _number("Training points", "points", between)
        _number("Width", "width", between, "Hidden units of each layer of the network.")
    with right:
        _number("Duplicates", "duplicates", between, "Further exact copies of a training point.")
        _number("Epochs", "epochs", between, "Passes over the training points.")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        _number("Seed", "seed", between, "The same seed gives the same run on one machine.")
        st.button(
            "",
            icon=":material/casino:",
            help="Take a random seed",
            key="mf_dice",
            on_click=state.random_seed,
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
    low, high = between[name]
    st.number_input(
        label, min_value=low, max_value=high, step=1, key=key(name), help=help, placeholder="own"
    )


def _train(config: ManifoldConfig) -> None:
    """Draw the button with what it will cost, or why these numbers cannot be trained."""
    refused = None
    try:
        checked(config)
    except ValueError as error:
        refused = str(error)
    pressed = st.button(
        "Train",
        type="primary",
        icon=":material/play_arrow:",
        width="stretch",
        key="mf_train",
        disabled=refused is not None,
    )
    if refused is not None:
        st.error(session.plain(refused))
        return
    st.caption(_duration(config))
    state.remember()
    if not pressed:
        return
    with session.errors_as_messages():
        state.show_job(session.submit_manifold(config))
        state.remember()
        st.rerun()


def _duration(config: ManifoldConfig) -> str:
    """Return one line on how long the settings shown take."""
    found = session.expected_seconds(config)
    if found is None:
        return f"{config.steps:,} steps, roughly a minute or two."
    seconds, here = found
    source = "judging by earlier runs here" if here else "roughly, measured on two CPU cores"
    return f"{config.steps:,} steps, about {in_words(seconds)} ({source})."


def _past(shown: str | None) -> None:
    records = session.past_runs()
    with st.expander("Past runs", icon=":material/history:"):
        if not records:
            st.caption("Your runs are kept here, also after a restart.")
        if shown is not None:
            st.button(
                "Back to the precomputed run",
                icon=":material/arrow_back:",
                type="tertiary",
                on_click=state.show_job,
                args=(None,),
            )
        for record in records:
            st.button(
                record.label,
                key=f"mf_past_{record.id}",
                type="tertiary",
                disabled=record.id == shown,
                help=_when(record),
                on_click=state.open_past,
                args=(record.id,),
            )


def _when(record: JobRecord) -> str:
    state_ = _STATES.get(record.state, record.state)
    if record.finished is None:
        return state_.capitalize()
    return (
        f"{state_.capitalize()} {time.strftime('%Y-%m-%d %H:%M', time.localtime(record.finished))}"
    )
