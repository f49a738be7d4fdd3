"""Show how a diffusion model learns a manifold, and where its dimension says that it memorizes."""

import streamlit as st

from views import session
from views.widgets import layout

session.guard()
st.title("Synthetic manifolds", anchor=False)
st.markdown(
    "A small diffusion model learns a shape whose dimension is known; where the dimension that it "
    "learned (LID) is too low, it has memorized."
)
layout.load_chart_library()


def main() -> None:
    """Draw the page; the imports wait until the title stands, because torch takes its time."""
    from views.manifolds import controls, state

    settings, refused = state.restore()
    for sentence in refused:
        st.warning(session.plain(sentence), icon=":material/warning:")
    with st.sidebar, session.errors_as_messages():
        controls.sidebar(settings)
    # Forms and callbacks have had their say; this is what counts now.
    job = st.session_state[state.key("job")]
    if job is not None:
        _job(job)
    else:
        _precomputed()
    state.remember()


def _job(job: str) -> None:
    """Draw a job of this server: live while it runs, as a result afterwards."""
    from views.manifolds import results, state
    from views.widgets import jobs, outcome

    outcome.draw(
        job,
        session.job_view,
        noun="run",
        live=jobs.live,
        result=lambda run: results.result(run, state.current(), precomputed=False),
        example=_precomputed,
    )


def _precomputed() -> None:
    """Draw the precomputed run of the manifold chosen, or say what to do without one."""
    from views.manifolds import digits, results, state

    settings = state.current()
    name = settings.config.manifold
    if name == "digits":
        size = digits.size_slider()
        name = name if size is None else f"digits-{size}"
    run = session.preset_run(name)
    if run is None:
        results.nothing(settings)
    else:
        results.result(run, settings, precomputed=True)


with session.errors_as_messages():
    main()
