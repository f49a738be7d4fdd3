"""The parts that the forms of several pages have: model, example prompts, numbers, button."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import streamlit as st

from mmh_core.records import MMHError
from views import models, own_indexes, subjects
from views.access.server_files import server_files
from views.models import ModelChoice
from views.widgets import layout
from views.widgets.link_values import MOST_GUIDANCE

ConfigT = TypeVar("ConfigT")
#: The way to a training set of one's own, on every page that searches one.
ADD_TRAINING_SET, ADD_ICON = "Add a training set", ":material/add_photo_alternate:"


def model(name: str, key: str, on_change: Callable[[], None]) -> ModelChoice:
    """Show the choice of a model, and return what is known of the one called `name`.

    What in the folder of models cannot be chosen, or not be loaded, is said below. The shipped
    model is loaded beside the page as soon as it is chosen.
    """
    if name == models.POCKET:
        subjects.prepare()
    choices = {choice.name: choice for choice in models.choices()}
    st.selectbox(
        "Model",
        list(choices),
        key=key,
        format_func=lambda name: (
            choices[name].label + ("" if choices[name].ready else " (not ready)")
        ),
        on_change=on_change,
    )
    layout.left_out(*models.left_out())
    _own_model(key, on_change)
    choice = choices[name]
    if not choice.ready:
        st.warning(layout.plain(choice.why), icon=":material/download:")
    return choice


def _own_model(key: str, on_change: Callable[[], None]) -> None:
    """Show the field of a model of one's own on the server's disk, and why one is refused."""
    field, refusal = f"{key}_path", f"{key}_refused"

    def take() -> None:
        try:
            st.session_state[key] = models.take_own(st.session_state[field])
        except (MMHError, ValueError) as error:
            st.session_state[refusal] = str(error)
            return
        on_change()

    files, refused = server_files(), st.session_state.pop(refusal, None)
    with st.expander("Model of your own", icon=":material/folder_open:", expanded=bool(refused)):
        st.text_input(
            "Folder or .safetensors file on the server",
            key=field,
            disabled=not files.allowed,
            max_chars=4_096,
            help="A Stable Diffusion 1 or 2 in diffusers' form, or a single file. It is listed "
            "above until this window is closed.",
        )
        if sentence := files.sentence():
            st.caption(layout.plain(sentence))
        st.button(
            "Check and use it",
            key=f"{key}_take",
            icon=":material/check:",
            disabled=not files.allowed,
            on_click=take,
        )
        if refused is not None:
            st.error(layout.plain(refused), icon=":material/error:")


def training_set(model: str, key: str, help: str) -> None:
    """Show the choice between a model's own training set and those that the app keeps.

    Nothing where the app keeps none.
    """
    labels = {entry.id: entry.about.name for entry in own_indexes.kept()}
    if not labels:
        return
    own = models.folder_of(model)
    has_own = own is not None and (own / "world.json").exists()
    started = models.searched_folder() is not None
    usual = "That of the app's start" if started else "None"
    st.selectbox(
        "Training set",
        list(labels),
        key=key,
        index=None,
        placeholder="The model's own" if has_own else usual,
        format_func=labels.__getitem__,
        help=help,
    )


def example_prompts(
    labels: Mapping[str, str], key: str, field: str, *, help: str | None = None
) -> None:
    """Show example prompts by their labels; the one chosen goes into the `field` of the form."""
    if st.session_state.get(key) not in labels:
        st.session_state[key] = None

    def take() -> None:
        if st.session_state[key] is not None:
            st.session_state[field] = st.session_state[key]

    st.selectbox(
        "Example prompts",
        list(labels),
        key=key,
        index=None,
        placeholder="Choose one, or write below",
        format_func=labels.__getitem__,
        help=help,
        on_change=take,
    )


def number(
    label: str,
    key: str,
    between: tuple[int, int],
    help: str | None = None,
    *,
    step: int = 1,
    placeholder: str | None = None,
) -> None:
    """Show the field of a whole number within bounds."""
    low, high = between
    st.number_input(
        label,
        min_value=low,
        max_value=high,
        step=step,
        key=key,
        help=help,
        placeholder=placeholder,
    )


def guidance(key: str) -> None:
    """Show the field of the guidance scale."""
    st.number_input(
        "Guidance",
        min_value=0.0,
        max_value=MOST_GUIDANCE,
        step=0.5,
        key=key,
        help="Classifier-free guidance scale; 1 or less is no guidance.",
    )


def seed(
    label: str,
    key: str,
    between: tuple[int, int],
    dice: str,
    on_dice: Callable[[], None],
    help: str | None = None,
) -> None:
    """Show the field of a seed, and beside it the button that takes a random one."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        number(label, key, between, help)
        st.button(
            "",
            icon=":material/casino:",
            help="Take a random seed",
            key=dice,
            on_click=on_dice,
        )


def checked_config(
    make: Callable[[], ConfigT], checks: Sequence[Callable[[ConfigT], object]]
) -> ConfigT | str:
    """Return the config of a form, or the sentence by which it or a check refuses it."""
    try:
        config = make()
        for check in checks:
            check(config)
    except (MMHError, ValueError) as error:
        return str(error)
    return config


def submit(label: str, icon: str, key: str, refused: str | None, *, ready: bool = True) -> bool:
    """Show the button of a form and return whether it was pressed; a refusal stands below it.

    The style sheet keeps both in sight while the form is scrolled.
    """
    with st.container(key=f"{key}_in_sight", gap="xsmall"):
        pressed = st.button(
            label,
            type="primary",
            icon=f":material/{icon}:",
            width="stretch",
            key=key,
            disabled=refused is not None or not ready,
        )
        if refused is not None:
            st.error(layout.plain(refused))
    return pressed
