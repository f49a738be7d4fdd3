"""Train a diffusion model on a manifold of known dimension, and see where it memorizes."""

from views import session
from views.widgets import layout

session.guard()
layout.title(
    "Synthetic manifolds",
    "A small diffusion model learns a shape whose dimension is known; where the dimension that it "
    "learned (LID) is too low, it has memorized.",
    term="manifold memorization hypothesis",
)
layout.load_chart_library()


def main() -> None:
    """Show the page; the imports wait until the title stands, because torch takes its time."""
    from views.manifolds import controls, digits, jobs, results, state
    from views.manifolds import session as manifold_session
    from views.widgets import outcome

    outcome.page(
        state.STATE,
        controls.sidebar,
        manifold_session.manifold_job,
        noun="run",
        live=jobs.live,
        result=results.result,
        example=digits.precomputed,
        nothing=results.nothing,
    )


with session.errors_as_messages():
    main()
