"""Draw images, and say of each whether the model repeats what it was trained on."""

import streamlit as st

from views import session
from views.widgets import layout

session.guard()
st.title("Images", anchor=False)
st.markdown(
    "A text-to-image model generates several images of one prompt. Each is compared with all "
    "training images, and its local intrinsic dimension (LID) says how much freedom the model "
    "had there."
)
layout.load_chart_library()


def main() -> None:
    """Draw the page; the imports wait until the title stands, because torch takes its time."""
    from views import models as model_session
    from views.images import form, state

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
    from views.images import jobs, results, state
    from views.images import session as image_session
    from views.widgets import outcome

    outcome.draw(
        job,
        image_session.image_job,
        noun="run",
        live=jobs.live,
        result=lambda run: results.result(run, state.current(), precomputed=False),
        example=_example,
    )


def _example() -> None:
    """Draw the finished run of the kind chosen, or say what to do without one."""
    from views import models as model_session
    from views.images import results, state
    from views.images import session as image_session

    settings = state.current()
    run = None
    if settings.model == model_session.POCKET:
        run = image_session.example_run(settings.example)
    if run is None:
        results.nothing(settings)
    else:
        results.result(run, settings, precomputed=True)


with session.errors_as_messages():
    main()
