"""The sidebar of the mitigation page: prompt, what to try, what it costs, past runs."""

from __future__ import annotations

import streamlit as st

from mmh_core.mitigations.catalogue import ACTS_ON, mitigation
from mmh_core.studies.mitigation.run import MitigationConfig
from mmh_core.studies.mitigation.study import checked
from views import models as model_session
from views import session
from views.images import session as image_session
from views.images import vocabulary
from views.mitigation import phrases, state
from views.mitigation import session as mitigation_session
from views.mitigation.settings import OFFERED, PRESETS, WHOLE, MitigationSettings
from views.mitigation.state import key
from views.models import ModelChoice
from views.widgets import form, past_jobs
from views.widgets.words import duration_words, plural

# The accent marks by line and fill; as small text on dark its contrast would be too low.
_STYLE = """<style>
[data-testid="stSidebar"] button[data-variant="pills"][aria-pressed="true"] {color: inherit;
  font-weight: 600;}
</style>"""


def sidebar(settings: MitigationSettings) -> None:
    """Show the controls, and submit a job when the button is pressed."""
    st.html(_STYLE)
    choice = form.model(settings.model, key("model"), state.choose_model)
    form.training_set(
        settings.model,
        key("index"),
        "Images of the next comparison are searched for copies in it, and mitigations that need "
        "training images use it.",
    )
    # In a window of its own: the form here stays as it is.
    st.link_button(form.ADD_TRAINING_SET, "images?tab=sets", icon=form.ADD_ICON, type="tertiary")
    names = mitigation_session.example_names() if choice.name == model_session.POCKET else []
    if len(names) > 1:
        st.selectbox(
            "Example",
            names,
            key=key("example"),
            format_func=lambda name: name.replace("-", " ").capitalize(),
            on_change=state.choose_example,
        )
    trained = [
        prompt for prompt in image_session.prompt_examples(settings.model) if prompt.trained
    ]
    if trained:
        labels = {prompt.caption: f"{prompt.kind}: {prompt.caption}" for prompt in trained}
        form.example_prompts(labels, key("wording"), key("prompt"))
    _request_form(choice)
    past_jobs.section(
        mitigation_session.past_mitigations(),
        settings.job,
        "comparison",
        key(""),
        on_open=state.open_past,
        on_back=state.show_job,
    )


@st.fragment
def _request_form(choice: ModelChoice) -> None:
    """Show prompt, toggles and button; a fragment, so that a new number redraws no chart."""
    st.text_area("Prompt", key=key("prompt"), height=90)
    vocabulary.section(choice.name)
    _number("Seeds", "images", "Number of seeds; intervals need at least two, better four.")
    form.seed("First seed", key("seed"), WHOLE["seed"], "mi_dice", state.random_seed)
    st.markdown(
        "**Mitigations**",
        help="No mitigation and random token insertion are always included, as the baseline "
        "and the control.",
    )
    _presets()
    steps = int(st.session_state.get(key("steps")) or 1)
    for part, names in ACTS_ON.items():
        offered = [name for name in names if name in OFFERED]
        st.caption(f"Act on the {part}" if part != "several in turn" else "Apply several in turn")
        for name in offered:
            _toggle(name, steps)
    st.toggle(
        "Check side effects on reference prompts",
        key=key("with_normal"),
    )
    if st.session_state.get(key("with_normal")):
        st.text_area(
            "Reference prompts, one per line",
            key=key("normal"),
            height=90,
            help="Prompts that are not memorized; up to eight.",
        )
    with st.expander("More"):
        _more()
    _compare(choice)


def _presets() -> None:
    """Show the choices of several mitigations by one click."""
    with st.container(horizontal=True, gap="xsmall"):
        for label, words in PRESETS.items():
            st.button(
                label,
                key=key(f"preset_{label}"),
                help=words,
                on_click=state.use_preset,
                args=(label,),
            )


def _toggle(name: str, steps: int) -> None:
    """Show the switch of a mitigation and, if it is on, its strengths."""
    chosen = mitigation(name)
    st.toggle(chosen.label, key=key(f"on_{name}"), help=phrases.about(name, steps))
    if not st.session_state.get(key(f"on_{name}")):
        return
    with st.container(gap="xxsmall"):
        st.caption(f"{chosen.summary} {phrases.cost(name, steps)}")
        st.pills(
            chosen.strength_label.capitalize(),
            state.chosen_strengths(name),
            selection_mode="multi",
            key=key(f"at_{name}"),
            format_func=lambda strength: f"{strength:g}",
        )


def _number(label: str, name: str, help: str | None = None) -> None:
    form.number(label, key(name), WHOLE[name], help)


def _more() -> None:
    left, right = st.columns(2)
    with left:
        _number("Steps", "steps", "Sampling steps: more are finer and slower.")
    with right:
        form.guidance(key("guidance"))


def _compare(choice: ModelChoice) -> None:
    """Show the button with what it will cost, or why these values cannot be compared."""
    settings = state.current()
    config = form.checked_config(lambda: settings.form.config(settings.model), (checked,))
    refused = config if isinstance(config, str) else None
    pressed = form.submit("Compare", "compare", "mi_compare", refused, ready=choice.ready)
    if isinstance(config, str):
        return
    if choice.ready:
        vocabulary.note(config.model, config.prompts[0])
        st.caption(_duration(config))
    state.remember()
    if not pressed:
        return
    with session.errors_as_messages():
        state.show_job(mitigation_session.submit_mitigation(config))
        state.remember()
        st.rerun()


def _duration(config: MitigationConfig) -> str:
    """Return one line on how much is generated and how long it takes, or that nobody knows."""
    count = len(config.treatments) * len(config.prompts) * len(config.seeds)
    expectation = mitigation_session.expected_seconds(config)
    images = plural(count, "image")
    if expectation is None:
        return (
            f"{images}. The duration is unknown before the first comparison with this model on "
            "this machine; on a CPU a large model needs minutes for each image."
        )
    seconds, here = expectation
    source = "judging by earlier runs here" if here else "roughly, measured on two CPU cores"
    return f"{images}, about {duration_words(seconds)} ({source})."
