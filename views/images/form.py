"""Draw the sidebar of the images page: model, prompt, settings, what they cost, past runs."""

from __future__ import annotations

import streamlit as st

from mmh_core.dimension.estimators import ESTIMATORS
from mmh_core.records import MMHError
from mmh_core.studies.images.run import ImageConfig, check_negative, checked
from views import models as model_session
from views.images import duration, state
from views.images import session as image_session
from views.images.settings import FURTHER, KINDS, MOST_GUIDANCE, SCHEDULERS, WHOLE, ImageSettings
from views.images.state import key
from views.models import ModelChoice
from views.widgets import layout
from views.widgets import past_jobs as past


def sidebar(settings: ImageSettings) -> None:
    """Draw the controls, and submit a job when the button is pressed."""
    choices = {choice.name: choice for choice in model_session.choices()}
    st.selectbox(
        "Model",
        list(choices),
        key=key("model"),
        format_func=lambda name: (
            choices[name].label + ("" if choices[name].ready else " (not ready)")
        ),
        on_change=state.choose_model,
    )
    layout.left_out(*model_session.left_out())
    choice = choices[settings.model]
    _about(choice)
    _examples(settings)
    _numbers(choice)
    past.section(
        image_session.past_images(),
        settings.job,
        "run",
        key(""),
        on_open=state.open_past,
        on_back=state.show_job,
    )


def _about(choice: ModelChoice) -> None:
    if not choice.ready:
        st.warning(layout.plain(choice.why), icon=":material/download:")
        return
    needs = f"Needs {choice.needs}. " if choice.needs else ""
    st.caption(layout.plain(f"{needs}License: {choice.licence}."))


def _examples(settings: ImageSettings) -> None:
    """Let the person start from a prompt of each kind, or from a paraphrase of it."""
    examples = image_session.prompt_examples(settings.model)
    if not examples:
        return
    st.selectbox(
        "Example",
        list(KINDS),
        key=key("example"),
        format_func=lambda kind: KINDS[kind].split(":")[0],
        help="A finished run for each category of prompt.\n\n"
        + "\n".join(f"- {name}" for name in KINDS.values()),
        on_change=state.choose_kind,
    )
    st.caption(KINDS[settings.example].split(": ")[1].capitalize() + ".")
    trained = {one.caption: one.trained for one in examples if one.kind == settings.example}
    if st.session_state.get(key("wording")) not in trained:
        st.session_state[key("wording")] = None
    st.selectbox(
        "Example prompts",
        list(trained),
        key=key("wording"),
        index=None,
        placeholder="Choose one, or write below",
        format_func=lambda text: text if trained[text] else f"{text} (paraphrase)",
        help="A paraphrase says the same in words that the model was not trained with: a copy "
        "that is generated all the same is memorized by its subject, not by the wording.",
        on_change=state.choose_wording,
    )


@st.fragment
def _numbers(choice: ModelChoice) -> None:
    """Draw prompt, numbers and button; a fragment, so that a new number redraws no chart."""
    st.text_area("Prompt", key=key("prompt"), height=100)
    left, right = st.columns(2)
    with left:
        _number("Images", "images", "One for each seed, from the first seed on.")
        st.number_input(
            "Guidance",
            min_value=0.0,
            max_value=MOST_GUIDANCE,
            step=0.5,
            key=key("guidance"),
            help="Classifier-free guidance scale; 1 or less is no guidance.",
        )
    with right:
        _number("Steps", "steps", "Sampling steps: more are finer and slower.")
        st.selectbox(
            "Scheduler",
            list(SCHEDULERS),
            key=key("scheduler"),
            help="Sampling method. Percentiles need the recommended one.",
        )
    _seed()
    with st.expander("More"):
        _more()
    _draw(choice)


def _seed() -> None:
    """Draw the choice between seeds that are given and seeds that are new each time."""
    st.segmented_control(
        "Seed",
        ["fixed", "random"],
        key=key("seeding"),
        required=True,
        width="stretch",
        format_func=str.capitalize,
        help="Fixed: the same seed gives the same image on one machine. Random: a new seed at "
        "each click, shown with its image.",
    )
    if st.session_state.get(key("seeding")) != "random":
        with st.container(horizontal=True, vertical_alignment="bottom"):
            _number("First seed", "seed")
            st.button(
                "",
                icon=":material/casino:",
                help="Take a random seed",
                key="im_dice",
                on_click=state.random_seed,
            )


def _number(label: str, name: str, help: str | None = None) -> None:
    low, high = WHOLE[name]
    st.number_input(label, min_value=low, max_value=high, step=1, key=key(name), help=help)


def _more() -> None:
    base = model_session.default_settings(st.session_state[key("model")])
    left, right = st.columns(2)
    for column, label in ((left, "Height"), (right, "Width")):
        with column:
            st.number_input(
                label, *WHOLE[label.lower()], step=8, key=key(label.lower()), format="%d"
            )
    st.caption(
        f"The model was trained at {base.sampling.height} x {base.sampling.width}; other sizes "
        "look poor, and have no reference distribution."
    )
    st.text_area(
        "Negative prompt", key=key("negative"), height=68, help="What the image should not show."
    )
    _number(
        "Text-encoder windows",
        "windows",
        "A text encoder takes 77 tokens and truncates the rest. With several windows a longer "
        "prompt is encoded in pieces, as web UIs do; models are not trained so.",
    )
    st.multiselect(
        "Further LID estimators",
        list(FURTHER),
        key=key("estimators"),
        format_func=lambda name: ESTIMATORS[name].label,
        help="Besides the soft spectral count. Each has its own cost: "
        + "; ".join(f"{ESTIMATORS[n].label} {ESTIMATORS[n].cost} NFE" for n in FURTHER),
    )


def _draw(choice: ModelChoice) -> None:
    """Draw the button with what it will cost, or why these values cannot be drawn."""
    config = _requested()
    pressed = st.button(
        "Generate",
        type="primary",
        icon=":material/brush:",
        width="stretch",
        key="im_draw",
        disabled=isinstance(config, str) or not choice.ready,
    )
    if isinstance(config, str):
        st.error(layout.plain(config))
        return
    if choice.ready:
        _not_read(config)
        st.caption(duration.sentence(config))
    state.remember()
    if not pressed:
        return
    if st.session_state.get(key("seeding")) == "random":
        config = _with_new_seed(config)
        # The field is not drawn now, so it may be set: it says what was drawn.
        st.session_state[key("seed")] = config.seeds[0]
    try:
        state.show_job(image_session.submit_images(config))
    except (MMHError, ValueError) as error:
        st.error(layout.plain(str(error)), icon=":material/error:")
        return
    state.remember()
    st.rerun()


def _not_read(config: ImageConfig) -> None:
    """Say beforehand which end of the prompt the encoder will not read, where that is known."""
    unread = model_session.not_read(config.model, config.prompts[0], config.sampling.windows)
    if unread:
        st.warning(layout.plain(unread), icon=":material/content_cut:")


def _requested() -> ImageConfig | str:
    """Return the config of the form, or why it is refused."""
    settings = state.current()
    try:
        config = settings.form.config(settings.model)
        checked(config)
        check_negative(config)
    except (MMHError, ValueError) as error:
        return str(error)
    return config


def _with_new_seed(config: ImageConfig) -> ImageConfig:
    import secrets
    from dataclasses import replace

    first = secrets.randbelow(1_000_000_000)
    return replace(config, seeds=tuple(range(first, first + len(config.seeds))))
