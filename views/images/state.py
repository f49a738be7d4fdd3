"""Carry the choices of the images page between the link, the session and the widgets."""

from __future__ import annotations

import secrets
from dataclasses import fields, replace
from urllib.parse import urlencode

import streamlit as st

from mmh_core.records import MMHError
from mmh_core.studies.images.run import ImageConfig, ImageRun
from views import models as model_session
from views.images import session as image_session
from views.images.settings import (
    FORM,
    KINDS,
    PREFIX,
    ImageForm,
    ImageSettings,
    form_of,
    parsed,
    query,
)
from views.widgets import link_values
from views.widgets.link_values import one_of, quoted

#: Everything that is kept under its own name with the prefix, widgets first.
NAMES = ("model", "example", *FORM, "tab", "image", "job", "audit", "plane")
_KEPT = PREFIX + "kept"


def key(name: str) -> str:
    """Return the session key of a choice."""
    return PREFIX + name


def restore() -> tuple[ImageSettings, list[str]]:
    """Return this run's settings and what was refused, and put them where widgets look.

    The link counts once, when the page opens; after that the session does, and is checked too.
    """
    state = st.session_state
    first = _KEPT not in state
    if first:
        source: dict[str, object] = dict(st.query_params)
    else:
        # A widget that was not drawn in the last run has lost its key; the copy has not.
        source = {n: state.get(key(n), state[_KEPT].get(n)) for n in NAMES}
    settings, messages = _read(source)
    run = run_of(settings.job) if first and settings.job else None
    if run is not None:
        settings = replace(settings, form=form_of(run.config))
    use_form(settings.form)
    for name in ("model", "example", "tab", "image", "job", "audit", "plane"):
        state[key(name)] = getattr(settings, name)
    state.setdefault(key("seeding"), "fixed")
    return settings, messages


def remember() -> None:
    """Keep this run's choices for the next one, and write them into the link."""
    st.session_state[_KEPT] = {name: st.session_state.get(key(name)) for name in NAMES}
    link_values.write_link(link())


def current() -> ImageSettings:
    """Return the settings as they are now, after callbacks and widgets."""
    return _read({name: st.session_state.get(key(name)) for name in NAMES})[0]


def link() -> dict[str, str]:
    """Return the parameters of a link to what is shown now."""
    settings = current()
    return query(settings, _base(settings.model, settings.example))


def address() -> str:
    """Return the whole link to what is shown now."""
    place = (st.context.url or "http://127.0.0.1:8501/images").split("?")[0].rstrip("/")
    place = place if place.endswith("/images") else f"{place}/images"
    return f"{place}?{urlencode(link())}"


def choose_model() -> None:
    """Start over with the default settings of the model just chosen."""
    choose_kind(next(iter(KINDS)))


def choose_kind(kind: str | None = None) -> None:
    """Show the precomputed run of a kind, by default the one just chosen, and ask for it."""
    state = st.session_state
    state[key("example")] = kind or state[key("example")]
    use_form(_base(state[key("model")], state[key("example")]).form)
    state[key("wording")] = None
    show_job(None)


def choose_wording() -> None:
    """Put the example prompt just chosen into the form."""
    if st.session_state[key("wording")] is not None:
        st.session_state[key("prompt")] = st.session_state[key("wording")]


def use_form(form: ImageForm) -> None:
    """Put values into the form."""
    for field in fields(form):
        value = getattr(form, field.name)
        st.session_state[key(field.name)] = list(value) if isinstance(value, tuple) else value


def use_config(config: ImageConfig) -> None:
    """Put a config into the form, its model too where that may be chosen."""
    if config.model in {choice.name for choice in model_session.choices()}:
        st.session_state[key("model")] = config.model
    use_form(form_of(config))


def random_seed() -> None:
    """Put a new seed into the form."""
    st.session_state[key("seed")] = secrets.randbelow(1_000_000_000)


def reuse_seed(seed: int) -> None:
    """Ask for one image with the seed of an image that is shown."""
    st.session_state[key("seed")], st.session_state[key("images")] = seed, 1
    st.session_state[key("seeding")] = "fixed"


def draw_another(config: ImageConfig) -> None:
    """Draw once more with one random seed and all else equal; for a callback."""
    config = replace(config, seeds=(secrets.randbelow(1_000_000_000),))
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


def choose_image(index: int | None) -> None:
    """Show an image in detail, or let the page choose one."""
    st.session_state[key("image")] = index


def open_past() -> None:
    """Show the kept run just chosen and put its settings into the form."""
    job = st.session_state[key("past")]
    if job is None:
        return
    show_job(job)
    run = run_of(job)
    if run is not None:
        use_config(run.config)


def run_of(job: str) -> ImageRun | None:
    """Return the run of a job as far as it is known, None where there is none."""
    try:
        return image_session.image_job(job).run
    except MMHError:
        return None  # The page itself says what is wrong with the job.


def _read(source: dict[str, object]) -> tuple[ImageSettings, list[str]]:
    messages: list[str] = []
    model = model_of(source.get("model"), messages)
    example = one_of("example", source.get("example"), KINDS, next(iter(KINDS)), messages)
    settings, refused = parsed(source, _base(model, example))
    return settings, messages + refused


def model_of(value: object, messages: list[str]) -> str:
    """Return the model named, or the embedded one and a sentence where it may not be chosen."""
    if value is None:
        return model_session.POCKET
    try:
        model_session.source_of(str(value))
    except (MMHError, ValueError):
        names = ", ".join(choice.name for choice in model_session.choices())
        messages.append(
            f"model is {quoted(value)}; choose from {names}. Shown instead: the embedded."
        )
        return model_session.POCKET
    return str(value)


def _base(model: str, example: str) -> ImageSettings:
    """Return the settings of a model and a kind of prompt before anybody changed them."""
    if model == model_session.POCKET:
        run = image_session.example_run(example)
        if run is not None:
            return ImageSettings(model, form_of(run.config), example)
    config = model_session.default_settings(model)
    if model == model_session.POCKET:
        found = [one for one in image_session.prompt_examples(model) if one.kind == example]
        config = replace(config, prompts=(found[0].caption if found else "",))
    return ImageSettings(model, form_of(config), example)
