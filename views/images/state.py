"""The choices of the images page, between its link, the session and the widgets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace

import streamlit as st

from mmh_core.records import MMHError
from mmh_core.studies.images.run import ImageConfig, ImageRun
from views import models, own_indexes
from views.images import session as image_session
from views.images.settings import (
    FORM,
    LINKED,
    PREFIX,
    ImageForm,
    ImageSettings,
    form_of,
    parsed,
    query,
)
from views.widgets import linked_state
from views.widgets.link_values import one_of
from views.widgets.linked_state import LinkedState

_NEXT_INDEX = f"{PREFIX}index_next"
#: Everything that is kept under its own name with the prefix, widgets first.
NAMES = ("model", "example", *FORM, *LINKED)


def _place(settings: ImageSettings, first: bool) -> ImageSettings:
    """Put settings where widgets look, with the form of the run that a first link names."""
    run = linked_state.run_of(settings.job, image_session.image_job) if first else None
    if run is not None:
        settings = replace(settings, form=form_of(run.config))
    following = st.session_state.pop(_NEXT_INDEX, None)
    if following is not None:
        settings = replace(settings, index=following)
    use_form(settings.form)
    for name in ("model", "example", *LINKED):
        st.session_state[key(name)] = getattr(settings, name)
    st.session_state.setdefault(key("seeding"), "fixed")
    return settings


def _read(source: Mapping[str, object]) -> tuple[ImageSettings, list[str]]:
    messages: list[str] = []
    model = models.model_of(source.get("model"), messages)
    kinds = image_session.example_kinds() or (ImageSettings.example,)
    example = one_of("example", source.get("example"), kinds, kinds[0], messages)
    other, chosen = source.get("other"), dict(source)
    if other in image_session.example_names():
        del chosen["other"]
    else:
        other = None
    index = own_indexes.index_id(chosen.pop("index", None), messages)
    settings, refused = parsed(chosen, _base(model, example))
    if other is not None:
        settings = replace(settings, other=str(other))
    return replace(settings, index=index), messages + refused


def _query(settings: ImageSettings) -> dict[str, str]:
    return query(settings, _base(settings.model, settings.example))


def example(settings: ImageSettings) -> ImageRun | None:
    """Return the precomputed run of the kind chosen, None where the model has none."""
    if settings.model != models.POCKET:
        return None
    return image_session.example_run(settings.example)


def _base(model: str, example: str) -> ImageSettings:
    """Return the settings of a model and a kind of prompt before anybody changed them."""
    run = image_session.example_run(example) if model == models.POCKET else None
    if run is not None:
        return ImageSettings(model, form_of(run.config), example)
    config = models.default_settings(model)
    if model == models.POCKET:
        captions = [
            prompt.caption
            for prompt in image_session.prompt_examples(model)
            if prompt.kind == example
        ]
        config = replace(config, prompts=(captions[0] if captions else "",))
    return ImageSettings(model, form_of(config), example)


STATE = LinkedState("images", PREFIX, NAMES, _read, _place, _query)
key, restore, remember, current = STATE.key, STATE.restore, STATE.remember, STATE.current
address, random_seed = STATE.address, STATE.random_seed


def choose_model() -> None:
    """Start over with the default settings of the model just chosen."""
    choose_kind(next(iter(image_session.example_kinds()), ImageSettings.example))


def choose_kind(kind: str | None = None) -> None:
    """Show the precomputed run of a kind, by default the one just chosen, and ask for it."""
    state = st.session_state
    state[key("example")] = kind or state[key("example")]
    use_form(_base(state[key("model")], state[key("example")]).form)
    state[key("wording")] = None
    show_job(None)


def use_form(form: ImageForm) -> None:
    """Put values into the form."""
    for field in fields(form):
        value = getattr(form, field.name)
        st.session_state[key(field.name)] = list(value) if isinstance(value, tuple) else value


def use_config(config: ImageConfig) -> None:
    """Put a config into the form, its model too where that may be chosen."""
    if config.model in {choice.name for choice in models.choices()}:
        st.session_state[key("model")] = config.model
    use_form(form_of(config))


def reuse_seed(seed: int) -> None:
    """Ask for one image with the seed of an image that is shown."""
    st.session_state[key("seed")], st.session_state[key("images")] = seed, 1
    st.session_state[key("seeding")] = "fixed"


def generate_another(config: ImageConfig) -> None:
    """Generate once more with one random seed and all else equal; for a callback."""
    config = replace(config, seeds=(linked_state.new_seed(),))
    try:
        show_job(image_session.submit_images(config))
    except (MMHError, ValueError) as error:
        st.session_state[key("refused")] = str(error)
        return
    use_config(config)


def show_job(job: str | None) -> None:
    """Show a run and forget which image was chosen in the one before."""
    st.session_state[key("job")] = job
    st.session_state[key("plane")] = None
    choose_image(None)
    st.session_state[key("many")] = []


def use_index(index: str | None) -> None:
    """Search this kept training set from now on, the model's own with None; for a callback."""
    st.session_state[key("index")] = index


def use_index_next(index: str) -> None:
    """Search this kept training set from the next run of the page on, whose sidebar stands."""
    st.session_state[_NEXT_INDEX] = index


def open_tab(tab: str) -> None:
    """Open a part of the page; for a callback."""
    st.session_state[key("tab")] = tab


def choose_image(index: int | None) -> None:
    """Show an image in detail, or let the page choose one."""
    st.session_state[key("image")] = index


def open_past(job: str) -> None:
    """Show a kept run and put its settings into the form."""
    show_job(job)
    run = linked_state.run_of(job, image_session.image_job)
    if run is not None:
        use_config(run.config)
