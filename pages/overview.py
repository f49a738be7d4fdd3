"""What this is, the three tasks, and what was worked on last; nothing is computed."""

from views import session
from views.widgets import layout

session.guard()
layout.title(
    "Copied training images in diffusion models",
    "A generative model sometimes reproduces its training images instead of making new ones. "
    "This app shows where: there, the model's **local intrinsic dimension** (LID), the number "
    "of directions in which it could still change an image, is too small. Every result comes "
    "with its uncertainty, the nearest training image, and what it does not prove.",
    term="memorization",
)


def main() -> None:
    """Show the page, without torch and without a model."""
    from views.overview import answers, doors, recent, search
    from views.overview import session as overview_session

    if sentence := overview_session.tour_images().finding:
        layout.finding(sentence)
    doors.section()
    doors.tour()
    search.section()
    recent.section()
    answers.section()
    layout.recommendation(
        "New here: open step 1 of the tour. With a table of prompts: scan it on the review page. "
        "With a model of your own: choose it on the images page.",
        "The examples were chosen because they show copies and none under a mitigation, with a "
        "few seeds each, on a small model of an invented world: they show what copies look like, "
        "and not how often your model makes them or what stops them there.",
    )


with session.errors_as_messages():
    main()
