"""The sidebar of the images page: model, prompt, settings, what they cost, past runs."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from mmh_core.dimension.estimators import ESTIMATORS
from mmh_core.studies.images.run import ImageConfig
from mmh_core.studies.images.study import check_negative, checked
from views import models as model_session
from views import session, subjects
from views.images import duration, state, vocabulary
from views.images import session as image_session
from views.images.settings import FURTHER, SCHEDULERS, WHOLE, ImageSettings, about_kind
from views.images.state import key
from views.models import ModelChoice
from views.widgets import form, layout, linked_state, past_jobs


def sidebar(settings: ImageSettings) -> None:
    """Show the controls, and submit a job when the button is pressed."""
    choice = form.model(settings.model, key("model"), state.choose_model)
    if choice.ready:
        needs = f"Needs {choice.needs}. " if choice.needs else ""
        st.caption(layout.plain(f"{needs}License: {choice.licence}."))
    form.training_set(
        settings.model, key("index"), "Images of the next run, and audits, are compared with it."
    )
    _link_to_tab(form.ADD_TRAINING_SET, "sets", "im_set_open", icon=form.ADD_ICON)
    _examples(settings)
    _numbers(choice)
    past_jobs.section(
        image_session.past_images(),
        settings.job,
        "run",
        key(""),
        on_open=state.open_past,
        on_back=state.show_job,
    )
    _link_to_tab(
        "Compare two runs",
        "compare",
        "im_compare_open",
        icon=":material/compare:",
        help="The run shown beside another one, image beside image by seed.",
    )


def _link_to_tab(label: str, tab: str, key: str, *, icon: str, help: str | None = None) -> None:
    """Show a quiet button that opens one of the tabs of the page."""
    st.button(
        label,
        icon=icon,
        type="tertiary",
        key=key,
        on_click=state.open_tab,
        args=(tab,),
        help=help,
    )


def _examples(settings: ImageSettings) -> None:
    """Show the examples, one for each kind of prompt, and the prompts to start from."""
    examples = image_session.prompt_examples(settings.model)
    if not examples:
        return
    kinds = image_session.example_kinds()
    st.selectbox(
        "Example",
        kinds,
        key=key("example"),
        format_func=lambda kind: about_kind(kind)[0],
        help="A finished run for each category of prompt.\n\n"
        + "\n".join(f"- {': '.join(filter(None, about_kind(kind)))}" for kind in kinds),
        on_change=state.choose_kind,
    )
    about = about_kind(settings.example)[1]
    if about:
        st.caption(about.capitalize() + ".")
    form.example_prompts(
        {
            example.caption: example.caption
            if example.trained
            else f"{example.caption} (paraphrase)"
            for example in examples
            if example.kind == settings.example
        },
        key("wording"),
        key("prompt"),
        help="A paraphrase says the same in words that the model was not trained with: a copy "
        "that is generated all the same is memorized by its subject, not by the wording.",
    )


@st.fragment
def _numbers(choice: ModelChoice) -> None:
    """Show prompt, numbers and button; a fragment, so that a new number redraws no chart."""
    st.text_area("Prompt", key=key("prompt"), height=100)
    vocabulary.section(choice.name)
    left, right = st.columns(2)
    with left:
        _number("Images", "images", "One for each seed, from the first seed on.")
        form.guidance(key("guidance"))
    with right:
        _number("Steps", "steps", "Sampling steps: more are finer and slower.")
        st.selectbox(
            "Scheduler",
            list(SCHEDULERS),
            key=key("scheduler"),
            format_func=SCHEDULERS.__getitem__,
            help="Sampling method. Percentiles need the recommended one.",
        )
    _seed()
    with st.expander("More"):
        _more()
    _generate(choice)


def _seed() -> None:
    """Show the choice between seeds that are given and seeds that are new each time."""
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
        form.seed("First seed", key("seed"), WHOLE["seed"], "im_dice", state.random_seed)


def _number(label: str, name: str, help: str | None = None) -> None:
    form.number(label, key(name), WHOLE[name], help)


def _more() -> None:
    base = model_session.default_settings(st.session_state[key("model")])
    left, right = st.columns(2)
    for column, label in ((left, "Height"), (right, "Width")):
        with column:
            form.number(label, key(label.lower()), WHOLE[label.lower()], step=8)
    st.caption(
        f"The model was trained at {base.sampling.height} x {base.sampling.width}; other sizes "
        "look poor, and have no reference distribution."
    )
    st.text_area(
        "Negative prompt", key=key("negative"), height=68, help="What the image should not show."
    )
    _number(
        "Context windows",
        "windows",
        "A text encoder takes so many tokens (77 in Stable Diffusion) and truncates the rest. "
        "With several windows a longer prompt is encoded in pieces, as web UIs do; models are not "
        "trained so.",
    )
    st.multiselect(
        "Further LID estimators",
        list(FURTHER),
        key=key("estimators"),
        format_func=lambda name: ESTIMATORS[name].label,
        help="Besides the soft spectral count. Each has its own cost: "
        + "; ".join(f"{ESTIMATORS[n].label} {ESTIMATORS[n].cost} NFE" for n in FURTHER),
    )


def _generate(choice: ModelChoice) -> None:
    """Show the button with what it will cost, or why these values cannot be generated."""
    settings = state.current()
    config = form.checked_config(
        lambda: settings.form.config(settings.model), (checked, check_negative)
    )
    refused = config if isinstance(config, str) else None
    pressed = form.submit("Generate", "brush", "im_draw", refused, ready=choice.ready)
    if isinstance(config, str):
        return
    if choice.ready:
        _show_unread(config)
        vocabulary.note(config.model, config.prompts[0])
        st.caption(duration.sentence(config))
    state.remember()
    if not pressed:
        return
    if st.session_state.get(key("seeding")) == "random":
        first = linked_state.new_seed()
        config = replace(config, seeds=tuple(range(first, first + len(config.seeds))))
        # The field is not shown now, so it may be set: it says what was generated.
        st.session_state[key("seed")] = first
    with session.errors_as_messages():
        state.show_job(image_session.submit_images(config))
        state.remember()
        st.rerun()


def _show_unread(config: ImageConfig) -> None:
    """Show which end of the prompt the text encoder will not read, where that is known."""
    if not config.prompts[0].strip():
        st.caption("Without a prompt the model generates unconditionally.")
    unread = subjects.unread_words(config.model, config.prompts[0], config.sampling.windows)
    if unread:
        st.warning(layout.plain(unread), icon=":material/content_cut:")
