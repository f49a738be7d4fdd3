"""Switch mitigations on and off, and compare on the same seeds and the same starting noise."""

import streamlit as st

from views import session
from views.widgets import layout

session.guard()
st.title("Mitigation", anchor=False)
st.markdown(
    "Generates images of one prompt with and without mitigations from the same starting noise: "
    "does copying stop, is the prompt still followed, and do reference prompts stay as they "
    "are?"
)
layout.load_chart_library()


def main() -> None:
    """Draw the page; the imports wait until the title stands, because torch takes its time."""
    from views import models as model_session
    from views.mitigation import form, state

    settings, refused = state.restore()
    if settings.model == model_session.POCKET:
        model_session.prepare()
    for sentence in refused:
        st.warning(layout.plain(sentence), icon=":material/warning:")
    with st.sidebar, session.errors_as_messages():
        form.sidebar(settings)
    # Forms and callbacks have had their say; this is what counts now.
    job = st.session_state[state.key("job")]
    if job is not None:
        _job(job)
    else:
        _example()
    state.remember()


def _job(job: str) -> None:
    """Draw a job of this server: live while it runs, as a result afterwards."""
    from views.mitigation import jobs, results, state
    from views.mitigation import session as mitigation_session
    from views.widgets import outcome

    outcome.draw(
        job,
        mitigation_session.mitigation_job,
        noun="comparison",
        live=jobs.live,
        result=lambda run: results.result(run, state.current(), precomputed=False),
        example=_example,
    )


def _example() -> None:
    """Draw the finished comparison chosen, or say what to do without one."""
    from views import models as model_session
    from views.mitigation import results, state
    from views.mitigation import session as mitigation_session

    settings = state.current()
    run = None
    if settings.model == model_session.POCKET and settings.example:
        run = mitigation_session.example_run(settings.example)
    if run is None:
        results.nothing()
    else:
        results.result(run, settings, precomputed=True)


with session.errors_as_messages():
    main()
