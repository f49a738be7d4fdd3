"""Token attribution, and the prompt generated again without a word or with another one."""

from __future__ import annotations

from typing import Any

import streamlit as st

from mmh_core.installation import PROGRAM
from mmh_core.mitigations.attribution import ATTRIBUTION_LABELS, Attribution
from mmh_core.mitigations.wording import Word
from mmh_core.plots.token_bars import token_bars
from mmh_core.records import MMHError
from mmh_core.studies.mitigation.run import MitigationRun
from mmh_core.studies.mitigation.token_attribution import (
    ATTRIBUTION_SCORES,
    TokenRun,
    suggestion,
    token_finding,
    with_word,
    without_word,
    word_at,
)
from views import session
from views.mitigation import session as mitigation_session
from views.mitigation import state, wording
from views.mitigation.settings import MitigationSettings
from views.mitigation.state import key
from views.widgets import job_panel, layout

_CHART = "mi_bars"


def section(run: MitigationRun, settings: MitigationSettings) -> None:
    """Show the bars, the choice of a word, and the result of another wording."""
    layout.heading(
        "Token attribution",
        "How much each detector's score changes with each token; the largest of each is 1. Gray "
        "bars are the control, random scores, and the largest of such scores stays within the "
        "gray band 95 times of 100. A bar above it is a hint and no proof: the score can also "
        "fall on the token after the one that caused it.",
    )
    scores = _scores(run, settings)
    if scores is None or not scores.attributions:
        return
    first = scores.attributions[0]
    if first.prompt != run.config.prompts[0]:
        st.warning("These scores belong to another prompt: score the tokens again.")
        return
    chosen = st.session_state.get(key("token"))
    chosen = chosen if isinstance(chosen, int) and 0 <= chosen < len(first.tokens) else None
    layout.finding(token_finding(scores))
    layout.chart(token_bars(scores.attributions, chosen), _CHART, on_select=_take_bar)
    for sentence in scores.left_out:
        st.caption(layout.plain(sentence))
    _edit(run, first, chosen)
    wording.section(settings)


def _scores(run: MitigationRun, settings: MitigationSettings) -> TokenRun | None:
    """Return the scores that are there, and show the way to them where they are not."""
    job = settings.tokens
    if job is not None:
        try:
            view = mitigation_session.token_job(job)
        except MMHError as error:
            st.error(layout.plain(str(error)), icon=":material/error:")
            view = None
        if view is not None and view.record.is_active:
            job_panel.live(
                lambda: mitigation_session.token_job(job), "Stop here", "mi_cancel_tokens"
            )
            return view.run
        if view is not None:
            if view.record.error is not None:
                st.error(layout.plain(view.record.error), icon=":material/error:")
            if view.run is not None and view.run.attributions:
                return view.run
    shipped = mitigation_session.example_tokens(settings.example) if not settings.job else None
    if shipped is not None:
        return shipped
    if st.button(
        "Compute token attribution", icon=":material/search:", type="primary", key="mi_score"
    ):
        with session.errors_as_messages():
            st.session_state[key("tokens")] = mitigation_session.submit_tokens(run)
            state.remember()
            st.rerun()
    st.caption(
        f"Evaluates {', '.join(ATTRIBUTION_LABELS[by] for by in ATTRIBUTION_SCORES[:-1])} and a "
        "random control; it costs about as much as one mitigation."
    )
    return None


def _take_bar() -> None:
    """Choose the token whose bar was clicked."""
    event: Any = st.session_state.get(_CHART) or {}
    for point in event.get("selection", {}).get("points", []):
        token = point.get("customdata")
        token = token[0] if isinstance(token, list) else token
        if isinstance(token, int | float):
            st.session_state[key("token")] = int(token)
            st.session_state.pop(key("new"), None)
            return


def _take_token() -> None:
    st.session_state.pop(key("new"), None)


def _edit(run: MitigationRun, first: Attribution, chosen: int | None) -> None:
    """Show the choice of a word, and what can be done with it."""
    st.session_state[key("token")] = chosen
    token = st.selectbox(
        "Token (or click its bar)",
        list(range(len(first.tokens))),
        key=key("token"),
        index=None,
        placeholder="Choose a token",
        format_func=lambda i: f"{i + 1}. {first.tokens[i]}",
        on_change=_take_token,
    )
    if token is None:
        return
    word = word_at(first, int(token))
    if word is None:
        st.caption("This token is punctuation: choose a word.")
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        if st.button("Drop the word and generate", icon=":material/backspace:", key="mi_drop"):
            with session.errors_as_messages():
                _generate(run, without_word(first.prompt, word))
        if key("new") not in st.session_state:
            st.session_state[key("new")] = suggestion(word)
        new = st.text_input("Replacement", key=key("new"), placeholder="another word")
        if st.button(
            "Replace the word and generate", icon=":material/swap_horiz:", key="mi_replace"
        ):
            with session.errors_as_messages():
                _generate(run, with_word(first.prompt, word, new))
    _service(run, first.prompt, word)


def _service(run: MitigationRun, prompt: str, word: Word) -> None:
    """Show the rewording by a service elsewhere, with consent for this one call."""
    with st.expander("Rewording by a service", icon=":material/cloud:"):
        address = mitigation_session.service()
        if address is None:
            st.caption(
                "This app was started without such a service. To use one with an "
                f"OpenAI-compatible interface, start it by `{PROGRAM} app -- --endpoint "
                "http://localhost:8080/v1`."
            )
            return
        st.caption(
            "Sends the prompt to the service below, once, and only with your consent. A key is "
            f"read from the environment variable {mitigation_session.KEY} and never stored; the "
            "answer is kept with this app's data."
        )
        layout.facts([("Address", address)])
        name = st.text_input("Model of the service", key="mi_service_model")
        consent = st.checkbox(
            "I agree that this prompt is sent there now", key="mi_service_consent"
        )
        # The consent is for one call: it is taken back by using it.
        st.button(
            "Reword and generate",
            key="mi_service_ask",
            disabled=not (consent and name),
            on_click=_ask,
            args=(run, name, prompt, word.text),
        )
        refused = st.session_state.pop("mi_service_refused", None)
        if refused:
            st.error(layout.plain(refused), icon=":material/error:")


def _ask(run: MitigationRun, name: str, prompt: str, word: str) -> None:
    consent = bool(st.session_state.get("mi_service_consent"))
    st.session_state["mi_service_consent"] = False
    try:
        new = mitigation_session.reword(name, prompt, (word,), consent=consent)
        st.session_state[key("trial")] = mitigation_session.submit_trial(run, new)
    except (MMHError, ValueError) as error:
        st.session_state["mi_service_refused"] = str(error)


def _generate(run: MitigationRun, prompt: str) -> None:
    """Queue the comparison of the old and the new wording."""
    st.session_state[key("trial")] = mitigation_session.submit_trial(run, prompt)
    state.remember()
    st.rerun()
