"""The words of the app, explained as in the documentation."""

import streamlit as st

from views import session

session.guard()
st.title("Glossary", anchor=False)
st.markdown("The words of this app, which are those of the field.")


def main() -> None:
    """Show the page, without torch and without a model."""
    from views import glossary

    glossary.section()


with session.errors_as_messages():
    main()
