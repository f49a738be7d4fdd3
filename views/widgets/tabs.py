"""The tabs of a page's results, of which the open one alone is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import streamlit as st
from streamlit.delta_generator import DeltaGenerator


def open_tabs(
    tabs: Mapping[str, str], key: Callable[[str], str]
) -> Iterator[tuple[str, DeltaGenerator]]:
    """Yield the name and the container of each open tab; the others cost nothing.

    `tabs` maps names to labels. The name of the open one is kept under `key("tab")`, which may
    come from a link.
    """
    widget, names = key("tab_label"), {label: name for name, label in tabs.items()}

    def take() -> None:
        st.session_state[key("tab")] = names[st.session_state[widget]]

    st.session_state[widget] = tabs[st.session_state[key("tab")]]
    containers = st.tabs(list(tabs.values()), key=widget, on_change=take)
    for name, tab in zip(tabs, containers, strict=True):
        if tab.open:
            yield name, tab
