"""Models that a person names by a path on the server, remembered in the window that named them.

What a path may be is `access.server_files`' to say. A name in an address opens nothing by itself:
only what somebody has named here since the server started.
"""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from mmh_core.formats.untrusted import quoted
from mmh_core.records import MMHError
from views.access.server_files import checked_path

SUFFIXES = (".safetensors", ".sft")
_NAMES = "own_models"


def named(text: str) -> str:
    """Return the path of a model that a person named, as its name.

    Errors: MMHError where it may not be named, is not there, or is neither a folder nor a
    safetensors file.
    """
    path = checked_path(text)
    if not path.is_dir() and path.suffix.lower() not in SUFFIXES:
        raise MMHError(
            f"{quoted(path.name)} is no model: name a folder in diffusers' form, or a single file "
            f"that ends in {SUFFIXES[0]}."
        )
    return str(path)


def remember(name: str) -> None:
    """Offer a model that was checked in this window, and answer for its name on this server."""
    _accepted()[name] = None
    st.session_state[_NAMES] = tuple(dict.fromkeys((*names(), name)))


def names() -> tuple[str, ...]:
    """Return the models of this window, in the order in which they were named."""
    return tuple(st.session_state.get(_NAMES, ()))


def is_accepted(name: str) -> bool:
    """Return whether somebody has named this model since the server started."""
    return name in _accepted()


def label(name: str) -> str:
    """Return what a model is called in a list: the folder or file, and the folder it lies in."""
    return "/".join(Path(name).parts[-2:])


@st.cache_resource(show_spinner=False)
def _accepted() -> dict[str, None]:
    """Return the models that were named and checked; jobs have no window to ask."""
    return {}
