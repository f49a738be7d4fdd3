"""Who judges: never anybody by default, and never silently somebody else.

A name comes from the sign-in of a shared server, else from the person at this window. The browser
keeps it in a cookie, so that it survives a reload; the address has a short digest of it, so that
a window which judged under another name asks before it goes on.
"""

from __future__ import annotations

import hashlib
from urllib.parse import quote, unquote

import streamlit as st

from mmh_core.formats.untrusted import quoted
from mmh_core.records import MMHError
from mmh_core.store.review_checks import checked_text
from mmh_core.store.review_records import MAX_NAME, Identified
from views.access import person
from views.widgets import layout

#: The parameter of the address with the digest of the name.
LINKED = "by"
_COOKIE = "mmh_reviewer"
_SECONDS = 365 * 86_400
_NAME, _PENDING, _FIELD = "rv_name", "rv_pending_name", "rv_reviewer"
#: The state of the chosen item, which is forgotten with the name of whoever chose it.
_ITEM = "rv_item"


def reviewer_name() -> str:
    """Return under which name judgements are recorded, "" where nobody has said who they are."""
    if st.session_state.get(_PENDING):
        return ""
    return person.signed_in() or str(st.session_state.get(_NAME, ""))


def identified() -> Identified:
    """Return how the program knows who judges."""
    return "typed name" if person.signed_in() is None else "signed in"


def why_not() -> str:
    """Return why nothing can be judged yet, "" where somebody has said who they are."""
    if reviewer_name():
        return ""
    if st.session_state.get(_PENDING):
        return (
            "Confirm your name in the sidebar first: judgements are recorded under it permanently."
        )
    return "Enter your name in the sidebar: judgements are recorded under it permanently."


def restore(linked: object) -> None:
    """Take the name that this browser keeps, once for each window.

    `linked` is the digest in the address. Where it is of another name, that name is asked for.
    """
    state = st.session_state
    if _NAME not in state:
        sent: object = st.context.cookies.get(_COOKIE)
        kept = _checked(unquote(sent)) if isinstance(sent, str) else ""
        other = bool(kept and linked and linked != digest(kept))
        state[_NAME], state[_PENDING] = ("", kept) if other else (kept, "")
        state[_FIELD] = kept
    state.setdefault(_FIELD, state[_NAME])


def digest(name: str) -> str | None:
    """Return what the address has of a name, None for no name."""
    return hashlib.sha256(name.encode()).hexdigest()[:8] if name else None


def field() -> None:
    """Show the field for the name, and the question where it changes.

    With another name the choice of an item is forgotten: somebody else had made it.
    """
    signed_in = person.signed_in()
    if signed_in is not None:
        st.text_input("Reviewer", signed_in, disabled=True, help="The name that you signed in by.")
        return
    st.text_input(
        "Reviewer",
        key=_FIELD,
        max_chars=MAX_NAME,
        placeholder="your name",
        on_change=_take,
        help="Judgements are recorded under this name, permanently. This browser keeps it. A "
        "second reviewer writes another one and judges the same items; nobody sees the other's "
        "judgements while judging, and marks and comments only without Blind review.",
    )
    refused = st.session_state.pop("rv_refused_name", None)
    if refused:
        st.warning(layout.plain(refused), icon=":material/badge:")
    if pending := str(st.session_state.get(_PENDING, "")):
        _ask(pending)
    _keep(reviewer_name(), cleared=bool(st.session_state.get("rv_cleared_name")))


def _ask(pending: str) -> None:
    now = str(st.session_state[_NAME])
    before = f", and no longer as {quoted(now)}" if now else ""
    st.warning(
        layout.plain(f"Judge as {quoted(pending)} from now on{before}?"), icon=":material/badge:"
    )
    with st.container(horizontal=True, gap="small"):
        st.button("Yes, that is me", key="rv_name_yes", type="primary", on_click=_accept)
        st.button("No", key="rv_name_no", on_click=_decline)


def _take() -> None:
    """Take what was written: a first name as it is, another one after a question."""
    state = st.session_state
    written = str(state[_FIELD] or "").strip()
    name = _checked(written)
    if written and not name:
        state["rv_refused_name"] = "That name holds characters that cannot be kept: write another."
        state[_FIELD] = state[_NAME]
        return
    state[_PENDING] = name if name and name != state[_NAME] else ""
    if not name or not state[_NAME]:
        state[_PENDING] = name
        _accept()


def _accept() -> None:
    state = st.session_state
    state[_NAME] = state[_FIELD] = state[_PENDING]
    state["rv_cleared_name"] = not state[_NAME]
    state[_PENDING] = ""
    state[_ITEM] = None
    state["rv_last"] = None


def _decline() -> None:
    state = st.session_state
    state[_PENDING] = ""
    state[_FIELD] = state[_NAME]


def _keep(name: str, *, cleared: bool) -> None:
    """Let the browser keep the name; percent-encoded, it holds nothing that a script could run."""
    if not name and not cleared:
        return
    seconds = _SECONDS if name else 0
    cookie = f"{_COOKIE}={quote(name, safe='')};path=/;max-age={seconds};SameSite=Lax"
    st.html(f"<script>document.cookie = '{cookie}';</script>", unsafe_allow_javascript=True)


def _checked(name: str) -> str:
    """Return a name as the log keeps it, "" for one that it would refuse."""
    try:
        return checked_text(name, "name", MAX_NAME)
    except MMHError:
        return ""
