"""Compare mitigations on the same seeds and the same starting noise."""

from views import session
from views.widgets import layout

session.guard()
layout.title(
    "Mitigation",
    "Generates images of one prompt with and without mitigations from the same starting noise: "
    "does copying stop, is the prompt still followed, and do reference prompts stay as they "
    "are?",
    term="mitigation",
)
layout.load_chart_library()


def main() -> None:
    """Show the page; the imports wait until the title stands, because torch takes its time."""
    from views.mitigation import form, grid, results, state
    from views.mitigation import session as mitigation_session
    from views.widgets import outcome

    outcome.page(
        state.STATE,
        form.sidebar,
        mitigation_session.mitigation_job,
        noun="comparison",
        live=grid.live,
        result=results.result,
        example=state.example,
        nothing=results.nothing,
    )


with session.errors_as_messages():
    main()
