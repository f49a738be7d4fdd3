"""Generate images of a prompt, and compare each with what the model was trained on."""

from views import session
from views.widgets import layout

session.guard()
layout.title(
    "Images",
    "A text-to-image model generates several images of one prompt. Each is compared with all "
    "training images, and its local intrinsic dimension (LID) says in how many directions "
    "the model could still vary it.",
    term="LID",
)
layout.load_chart_library()


def main() -> None:
    """Show the page; the imports wait until the title stands, because torch takes its time."""
    from views.images import cards, form, results, state
    from views.images import session as image_session
    from views.widgets import outcome

    outcome.page(
        state.STATE,
        form.sidebar,
        image_session.image_job,
        noun="run",
        live=cards.live,
        result=results.result,
        example=state.example,
        nothing=results.nothing,
    )


with session.errors_as_messages():
    main()
