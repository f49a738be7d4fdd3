"""What it takes to check and repeat a run: command, link, files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import streamlit as st

from views.widgets import downloads, layout


@dataclass(frozen=True)
class RunFile:
    """A file that a run can be exported to; `data` is called when the button is pressed."""

    label: str
    name: str
    data: Callable[[], bytes]
    key: str
    help: str | None = None


def section(noun: str, command: str, address: str, about: str, files: tuple[RunFile, ...]) -> None:
    """Show the command that repeats a run, called `noun`, the link to it and its files."""
    layout.heading(
        f"Command to repeat this {noun}",
        "The same command gives the same numbers on one machine; another processor may differ in "
        "the last digits.",
    )
    st.code(command, language="bash", wrap_lines=True)
    layout.heading(
        "Link to this page",
        "It carries every choice on this page; a link to your own run needs this app's data.",
    )
    st.code(address, language=None, wrap_lines=True)
    layout.heading("Download", about)
    with st.container(horizontal=True):
        for file in files:
            downloads.offer(file.label, file.name, file.data, file.key, help=file.help)
