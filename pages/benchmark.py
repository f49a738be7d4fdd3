"""Compare detectors of memorization on the same labelled prompts."""

import streamlit as st

from views import session
from views.widgets import layout

session.guard()
layout.title(
    "Benchmark",
    "Every detector scores the same prompts, labeled memorized or reference: in the shipped "
    "file by how the model was trained on them, in your table by you. Thresholds and constants "
    "were fitted on other prompts.",
    term="detector",
)
layout.load_chart_library()


def main() -> None:
    """Show the page; the imports wait until the title stands."""
    from views.benchmark import form, results, state

    settings, refused = state.restore()
    for sentence in refused:
        st.warning(layout.plain(sentence), icon=":material/warning:")
    with st.sidebar, session.errors_as_messages():
        form.sidebar()
    run = form.run_of_page(settings.job)
    if run is None:
        results.nothing()
    else:
        results.result(run, settings)
    state.remember()


with session.errors_as_messages():
    main()
