"""Draw the sidebar of the mitigation page: prompt, what to try, what it costs, past runs."""

from __future__ import annotations

import streamlit as st

from mmh_core.mitigations.catalogue import mitigation
from mmh_core.records import MMHError
from mmh_core.studies.mitigation.run import MitigationConfig
from mmh_core.studies.mitigation.study import checked
from views import models as model_session
from views import session
from views.images import session as image_session
from views.images.settings import MOST_GUIDANCE
from views.mitigation import duration, phrases, state
from views.mitigation import session as mitigation_session
from views.mitigation.settings import OFFERED, WHOLE, MitigationSettings
from views.mitigation.state import key
from views.models import ModelChoice
from views.widgets import layout
from views.widgets import past_jobs as past

# The accent marks by line and fill; as small text on dark its contrast would be too low.
_STYLE = """<style>
[data-testid="stSidebar"] button[data-variant="pills"][aria-pressed="true"] {color: inherit;
  font-weight: 600;}
</style>"""


def sidebar(settings: MitigationSettings) -> None:
    """Draw the controls, and submit a job when the button is pressed."""
    st.html(_STYLE)
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
    if not choice.ready:
        st.warning(layout.plain(choice.why), icon=":material/download:")
    names = mitigation_session.example_names() if choice.name == model_session.POCKET else []
    if len(names) > 1:
        st.selectbox(
            "Example",
            names,
            key=key("example"),
            format_func=lambda name: name.replace("-", " ").capitalize(),
            on_change=state.choose_example,
        )
    _wording(settings)
    _asking(choice)
    past.section(
        mitigation_session.past_mitigations(),
        settings.job,
        "comparison",
        key(""),
        on_open=state.open_past,
        on_back=state.show_job,
    )


def _wording(settings: MitigationSettings) -> None:
    examples = image_session.prompt_examples(settings.model)
    if not examples:
        return
    kinds = {one.caption: one.kind for one in examples if one.trained}
    if st.session_state.get(key("wording")) not in kinds:
        st.session_state[key("wording")] = None
    st.selectbox(
        "Example prompts",
        list(kinds),
        key=key("wording"),
        index=None,
        placeholder="Choose one, or write below",
        format_func=lambda text: f"{kinds[text]}: {text}",
        on_change=state.choose_wording,
    )


@st.fragment
def _asking(choice: ModelChoice) -> None:
    """Draw prompt, toggles and button; a fragment, so that a new number redraws no chart."""
    st.text_area("Prompt", key=key("prompt"), height=90)
    left, right = st.columns(2)
    with left:
        _number("Seeds", "images", "Number of seeds; intervals need at least two, better four.")
    with right, st.container(horizontal=True, vertical_alignment="bottom"):
        _number("First seed", "seed")
    st.markdown(
        "**Mitigations**",
        help="No mitigation and random token insertion are always included, as the baseline "
        "and the control.",
    )
    steps = int(st.session_state.get(key("steps")) or 1)
    for name in OFFERED:
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


def _toggle(name: str, steps: int) -> None:
    """Draw the switch of a mitigation and, if it is on, its strengths."""
    found = mitigation(name)
    st.toggle(found.label, key=key(f"on_{name}"), help=phrases.about(name, steps))
    if not st.session_state.get(key(f"on_{name}")):
        return
    with st.container(gap="xxsmall"):
        st.caption(f"{found.summary} {phrases.cost(name, steps)}")
        st.pills(
            found.strength_label.capitalize(),
            state.chosen_strengths(name),
            selection_mode="multi",
            key=key(f"at_{name}"),
            format_func=lambda strength: f"{strength:g}",
        )


def _number(label: str, name: str, help: str | None = None) -> None:
    low, high = WHOLE[name]
    st.number_input(label, min_value=low, max_value=high, step=1, key=key(name), help=help)


def _more() -> None:
    left, right = st.columns(2)
    with left:
        _number("Steps", "steps", "Sampling steps: more are finer and slower.")
    with right:
        st.number_input(
            "Guidance",
            min_value=0.0,
            max_value=MOST_GUIDANCE,
            step=0.5,
            key=key("guidance"),
            help="Classifier-free guidance scale; 1 is no guidance.",
        )
    st.button(
        "Random seed",
        icon=":material/casino:",
        key="mi_dice",
        on_click=state.random_seed,
    )


def _compare(choice: ModelChoice) -> None:
    """Draw the button with what it will cost, or why these values cannot be drawn."""
    config = _requested()
    pressed = st.button(
        "Compare",
        type="primary",
        icon=":material/compare:",
        width="stretch",
        key="mi_compare",
        disabled=isinstance(config, str) or not choice.ready,
    )
    if isinstance(config, str):
        st.error(layout.plain(config))
        return
    if choice.ready:
        st.caption(duration.sentence(config))
    state.remember()
    if not pressed:
        return
    with session.errors_as_messages():
        state.show_job(mitigation_session.submit_mitigation(config))
        state.remember()
        st.rerun()


def _requested() -> MitigationConfig | str:
    """Return the config of the form, or why it is refused."""
    settings = state.current()
    try:
        config = settings.form.config(settings.model)
        checked(config)
    except (MMHError, ValueError) as error:
        return str(error)
    return config
