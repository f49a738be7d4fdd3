"""Say what this is, lead to the three tasks, and show what went on last; nothing is computed."""

import streamlit as st

from views import session

session.guard()
st.title("Copied training images in diffusion models", anchor=False)
st.markdown(
    "A generative model sometimes reproduces its training images instead of making new ones. "
    "This app shows where: there, the model's **local intrinsic dimension** (LID), the number "
    "of directions in which it could still change an image, is too small. Every result comes "
    "with the nearest training image, its uncertainty, and what it does not prove."
)


def main() -> None:
    """Draw the page, without torch and without a model."""
    from views.overview import doors, recent

    doors.section()
    doors.tour()
    recent.section()


with session.errors_as_messages():
    main()
