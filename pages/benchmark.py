"""Compare detectors of memorization on the same labelled prompts."""

import streamlit as st

from views import session
from views.widgets import layout

session.guard()
st.title("Benchmark", anchor=False)
st.markdown(
    "Every detector scores the same prompts, whose labels are known. Whatever was fitted was "
    "fitted on other prompts."
)
layout.load_chart_library()


def main() -> None:
    """Draw the page; the imports wait until the title stands."""
    from views.benchmark import form, results, state

    settings = state.restore()
    with st.sidebar, session.errors_as_messages():
        form.sidebar()
    run = form.shown(settings.job)
    if run is None:
        results.nothing()
    else:
        results.result(run, settings)
    state.remember()


with session.errors_as_messages():
    main()
