"""Carry the choices of the mitigation page between the link, the session and the widgets."""

from __future__ import annotations

import secrets
from dataclasses import replace
from urllib.parse import urlencode

import streamlit as st

from mmh_core.mitigations.catalogue import mitigation
from mmh_core.records import MMHError
from mmh_core.studies.mitigation.run import MitigationConfig, MitigationRun, Treatment
from views import models as model_session
from views.images import session as image_session
from views.images.state import model_of
from views.mitigation import session as mitigation_session
from views.mitigation.settings import (
    FORM,
    OFFERED,
    PREFIX,
    MitigationForm,
    MitigationSettings,
    form_of,
    parsed,
    query,
)
from views.widgets import link_values
from views.widgets.link_values import one_of

#: Everything that is kept under its own name with the prefix, widgets first.
NAMES = ("model", "example", *FORM, "tab", "cell", "job", "trial", "tokens")
_KEPT = PREFIX + "kept"
#: Kinds of the example prompts that a form starts with: one in question, others beside it.
_EXAMPLE_KIND, _REFERENCE_KINDS = "duplicate", ("varied", "open")


def key(name: str) -> str:
    """Return the session key of a choice."""
    return PREFIX + name


def restore() -> tuple[MitigationSettings, list[str]]:
    """Return this run's settings and what was refused, and put them where widgets look.

    The link counts once, when the page opens; after that the session does, and is checked too.
    """
    first = _KEPT not in st.session_state
    source: dict[str, object] = {**st.query_params} if first else _now()
    settings, messages = _read(source)
    run = run_of(settings.job) if first and settings.job else None
    if run is not None:
        settings = replace(settings, form=form_of(run.config))
    use_form(settings.form)
    for name in ("model", "example", "tab", "cell", "job", "trial", "tokens"):
        st.session_state[key(name)] = getattr(settings, name)
    return settings, messages


def remember() -> None:
    """Keep this run's choices for the next one, and write them into the link."""
    st.session_state[_KEPT] = _now()
    link_values.write_link(link())


def current() -> MitigationSettings:
    """Return the settings as they are now, after callbacks and widgets."""
    return _read(_now())[0]


def link() -> dict[str, str]:
    """Return the parameters of a link to what is shown now."""
    settings = current()
    return query(settings, _base(settings.model, settings.example))


def address() -> str:
    """Return the whole link to what is shown now."""
    place = (st.context.url or "http://127.0.0.1:8501/mitigation").split("?")[0].rstrip("/")
    place = place if place.endswith("/mitigation") else f"{place}/mitigation"
    return f"{place}?{urlencode(link())}"


def choose_model() -> None:
    """Start over with the default settings of the model just chosen."""
    st.session_state[key("example")] = ""
    use_form(_base(st.session_state[key("model")], "").form)
    show_job(None)


def choose_example() -> None:
    """Show the precomputed comparison just chosen, and put its settings into the form."""
    state = st.session_state
    use_form(_base(state[key("model")], state[key("example")]).form)
    show_job(None)


def choose_wording() -> None:
    """Put the example prompt just chosen into the form."""
    if st.session_state[key("wording")] is not None:
        st.session_state[key("prompt")] = st.session_state[key("wording")]


def use_form(form: MitigationForm) -> None:
    """Put values into the form."""
    state = st.session_state
    for name in FORM:
        if name not in ("treatments", "normal"):
            state[key(name)] = getattr(form, name)
    state[key("normal")] = "\n".join(form.normal)
    for name in OFFERED:
        strengths = [one.strength for one in form.treatments if one.mitigation == name]
        state[key(f"on_{name}")] = bool(strengths)
        state[key(f"at_{name}")] = strengths or [mitigation(name).strength]


def use_prompt(prompt: str) -> None:
    """Put a prompt into the form."""
    st.session_state[key("prompt")] = prompt


def random_seed() -> None:
    """Put a new seed into the form."""
    st.session_state[key("seed")] = secrets.randbelow(1_000_000_000)


def show_job(job: str | None) -> None:
    """Show a run and forget what was chosen in the one before."""
    for name in ("cell", "trial", "tokens"):
        st.session_state[key(name)] = None
    st.session_state[key("job")] = job
    st.session_state[key("token")] = None


def choose_cell(treatment: Treatment) -> None:
    """Show a treatment in detail."""
    st.session_state[key("cell")] = treatment


def open_past() -> None:
    """Show the kept run just chosen and put its settings into the form."""
    job = st.session_state[key("past")]
    if job is None:
        return
    show_job(job)
    run = run_of(job)
    if run is not None:
        use_config(run.config)


def use_config(config: MitigationConfig) -> None:
    """Put a config into the form, its model too where that may be chosen."""
    if config.model in {choice.name for choice in model_session.choices()}:
        st.session_state[key("model")] = config.model
    use_form(form_of(config))


def run_of(job: str) -> MitigationRun | None:
    """Return the run of a job as far as it is known, None where there is none."""
    try:
        return mitigation_session.mitigation_job(job).run
    except MMHError:
        return None  # The page itself says what is wrong with the job.


def chosen_strengths(name: str) -> list[float]:
    """Return the strengths that are offered: those worth trying and those already chosen."""
    now = st.session_state.get(key(f"at_{name}")) or []
    return sorted({*mitigation(name).strengths, mitigation(name).strength, *now})


def _now() -> dict[str, object]:
    """Return all choices as they stand in the session, or stood in the last run."""
    state = st.session_state
    # A widget that was not drawn in the last run has lost its key; the copy has not.
    kept = state.get(_KEPT, {})
    found = {name: state.get(key(name), kept.get(name)) for name in NAMES}
    if any(key(f"on_{name}") in state for name in OFFERED):
        found["treatments"] = tuple(
            Treatment(name, float(strength))
            for name in OFFERED
            if state.get(key(f"on_{name}"))
            for strength in state.get(key(f"at_{name}")) or [mitigation(name).strength]
        )
    return found


def _read(source: dict[str, object]) -> tuple[MitigationSettings, list[str]]:
    messages: list[str] = []
    model = model_of(source.get("model"), messages)
    names = mitigation_session.example_names() if model == model_session.POCKET else []
    first = names[0] if names else ""
    example = one_of("example", source.get("example") or None, names, first, messages)
    settings, refused = parsed(source, _base(model, example))
    return settings, messages + refused


def _base(model: str, example: str) -> MitigationSettings:
    """Return the settings of a model and an example before anybody changed them."""
    if model == model_session.POCKET and example:
        run = mitigation_session.example_run(example)
        if run is not None:
            return MitigationSettings(model, form_of(run.config), example)
    config = model_session.default_settings(model)
    first: dict[str, str] = {}
    for one in image_session.prompt_examples(model):
        first.setdefault(one.kind, one.caption)
    normal = tuple(first[kind] for kind in _REFERENCE_KINDS if kind in first)
    form = MitigationForm(
        first.get(_EXAMPLE_KIND, ""),
        2,
        config.seeds[0],
        config.sampling.steps,
        config.sampling.guidance,
        config.sampling.height,
        config.sampling.width,
        normal=normal,
        with_normal=bool(normal),
    )
    return MitigationSettings(model, form, example)
