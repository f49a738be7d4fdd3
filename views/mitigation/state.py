"""The choices of the mitigation page, between its link, the session and the widgets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import streamlit as st

from mmh_core.mitigations.catalogue import mitigation
from mmh_core.studies.images.examples import comparison_prompts
from mmh_core.studies.mitigation.run import MitigationConfig, MitigationRun, Treatment
from views import models, own_indexes
from views.images import session as image_session
from views.mitigation import session as mitigation_session
from views.mitigation.settings import (
    FORM,
    LINKED,
    OFFERED,
    PREFIX,
    MitigationForm,
    MitigationSettings,
    form_of,
    parsed,
    preset,
    query,
)
from views.widgets import linked_state
from views.widgets.link_values import one_of
from views.widgets.linked_state import LinkedState

#: Everything that is kept under its own name with the prefix, widgets first.
NAMES = ("model", "example", *FORM, "cell", *LINKED)


def _place(settings: MitigationSettings, first: bool) -> MitigationSettings:
    """Put settings where widgets look, with the form of the run that a first link names."""
    run = linked_state.run_of(settings.job, mitigation_session.mitigation_job) if first else None
    if run is not None:
        settings = replace(settings, form=form_of(run.config))
    use_form(settings.form)
    for name in ("model", "example", "cell", *LINKED):
        st.session_state[key(name)] = getattr(settings, name)
    return settings


def _read(source: Mapping[str, object]) -> tuple[MitigationSettings, list[str]]:
    messages: list[str] = []
    model = models.model_of(source.get("model"), messages)
    names = mitigation_session.example_names() if model == models.POCKET else []
    first = names[0] if names else ""
    example = one_of("example", source.get("example") or None, names, first, messages)
    index = own_indexes.index_id(source.get("index"), messages)
    settings, refused = parsed(source, _base(model, example))
    return replace(settings, index=index), messages + refused


def example(settings: MitigationSettings) -> MitigationRun | None:
    """Return the precomputed comparison chosen, None where the model has none."""
    if settings.model != models.POCKET or not settings.example:
        return None
    return mitigation_session.example_run(settings.example)


def _base(model: str, example: str) -> MitigationSettings:
    """Return the settings of a model and an example before anybody changed them."""
    if model == models.POCKET and example:
        run = mitigation_session.example_run(example)
        if run is not None:
            return MitigationSettings(model, form_of(run.config), example)
    config = models.default_settings(model)
    prompt, *normal = comparison_prompts(image_session.prompt_examples(model)) or ("",)
    form = MitigationForm(
        prompt,
        2,
        config.seeds[0],
        config.sampling.steps,
        config.sampling.guidance,
        config.sampling.height,
        config.sampling.width,
        normal=tuple(normal),
        with_normal=bool(normal),
    )
    return MitigationSettings(model, form, example)


def _treatments() -> dict[str, object]:
    """Return the mitigations with their strengths that the toggles make together."""
    state = st.session_state
    if not any(key(f"on_{name}") in state for name in OFFERED):
        return {}
    treatments = tuple(
        Treatment(name, float(strength))
        for name in OFFERED
        if state.get(key(f"on_{name}"))
        for strength in state.get(key(f"at_{name}")) or [mitigation(name).strength]
    )
    return {"treatments": treatments}


def _query(settings: MitigationSettings) -> dict[str, str]:
    return query(settings, _base(settings.model, settings.example))


STATE = LinkedState("mitigation", PREFIX, NAMES, _read, _place, _query, _treatments)
key, restore, remember, current = STATE.key, STATE.restore, STATE.remember, STATE.current
address, random_seed = STATE.address, STATE.random_seed


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


def use_form(form: MitigationForm) -> None:
    """Put values into the form."""
    state = st.session_state
    for name in FORM:
        if name not in ("treatments", "normal"):
            state[key(name)] = getattr(form, name)
    state[key("normal")] = "\n".join(form.normal)
    for name in OFFERED:
        strengths = [
            treatment.strength for treatment in form.treatments if treatment.mitigation == name
        ]
        state[key(f"on_{name}")] = bool(strengths)
        state[key(f"at_{name}")] = strengths or [mitigation(name).strength]


def use_preset(label: str) -> None:
    """Switch on the mitigations of a preset and no others; strengths stay as they are."""
    chosen = preset(label, int(st.session_state.get(key("steps")) or 1))
    for name in OFFERED:
        st.session_state[key(f"on_{name}")] = name in chosen


def use_prompt(prompt: str) -> None:
    """Put a prompt into the form."""
    st.session_state[key("prompt")] = prompt


def show_job(job: str | None) -> None:
    """Show a run and forget what was chosen in the one before."""
    for name in ("cell", "trial", "tokens"):
        st.session_state[key(name)] = None
    st.session_state[key("job")] = job
    st.session_state[key("token")] = None


def choose_cell(treatment: Treatment) -> None:
    """Show a mitigation in detail."""
    st.session_state[key("cell")] = treatment


def open_past(job: str) -> None:
    """Show a kept comparison and put its settings into the form."""
    show_job(job)
    run = linked_state.run_of(job, mitigation_session.mitigation_job)
    if run is not None:
        use_config(run.config)


def use_config(config: MitigationConfig) -> None:
    """Put a config into the form, its model too where that may be chosen."""
    if config.model in {choice.name for choice in models.choices()}:
        st.session_state[key("model")] = config.model
    use_form(form_of(config))


def chosen_strengths(name: str) -> list[float]:
    """Return the strengths that are offered: those worth trying and those already chosen."""
    now = st.session_state.get(key(f"at_{name}")) or []
    return sorted({*mitigation(name).strengths, mitigation(name).strength, *now})
