"""What this is, the three tasks, and what was worked on last; nothing is computed."""

from views import session
from views.widgets import layout

session.guard()
layout.title(
    "Copied training images in diffusion models",
    "A generative model sometimes reproduces its training images instead of making new ones. "
    "This app shows where: there, the model's **local intrinsic dimension** (LID), the number "
    "of directions in which it could still change an image, is too small. Every result comes "
    "with the nearest training image, its uncertainty, and what it does not prove.",
    term="memorization",
)


def main() -> None:
    """Show the page, without torch and without a model."""
    from views.overview import doors, recent

    doors.section()
    doors.tour()
    recent.section()


with session.errors_as_messages():
    main()
