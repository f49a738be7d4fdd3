"""Who is signed in; pages are kept shut where nobody checks it."""

from __future__ import annotations

from html import escape
from urllib.parse import unquote

import streamlit as st

from mmh_core.installation import PROGRAM
from views.access.gate import HEADER, Gate
from views.start_options import start_options


def signed_in() -> str | None:
    """Return the name of the person at this window, None on a server without users."""
    if not Gate.standing:
        return None
    name = st.context.headers.get(HEADER)
    return unquote(name) if name else None


def check() -> None:
    """Stop a page that should be behind a gate and is not; say who is signed in otherwise."""
    if start_options().users is None:
        return
    name = signed_in()
    if name is None:
        st.error(
            "This server was started with a list of users but without the gate that checks them: "
            f"start it with `{PROGRAM} app -- --users FILE`.",
            icon=":material/lock:",
        )
        st.stop()
    with st.sidebar:
        # Text of a person, as text.
        st.html(
            f'<small>Signed in as <b>{escape(name or "")}</b> · <a href="sign-out" '
            'target="_self">sign out</a></small>'
        )
