"""Show the glossary of the documentation: the words of the app, with a search."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from mmh_core.installation import app_folder
from mmh_core.records import MMHError
from views.widgets import layout

FILE = Path("docs", "reference", "glossary.md")
_TERM = re.compile(r"^(##|###) (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Term:
    """A word of the glossary, the group it stands in, and its explanation as Markdown."""

    group: str
    name: str
    text: str

    def speaks_of(self, sought: str) -> bool:
        """Return whether a word stands in the name or the explanation, in any case."""
        return sought.casefold() in f"{self.name}\n{self.text}".casefold()


def terms(path: Path | None = None) -> tuple[Term, ...]:
    """Return the terms of the glossary in its order. Errors: MMHError where it is missing."""
    path = app_folder() / FILE if path is None else path
    try:
        parts = _TERM.split(path.read_text("utf-8"))
    except OSError as error:
        raise MMHError(
            f"The glossary cannot be read ({error.strerror}): restore {path} or install anew."
        ) from error
    group, entries = "", []
    for mark, name, text in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        if mark == "##":
            group = name
        else:
            entries.append(Term(group, name, text.strip()))
    return tuple(entries)


def section() -> None:
    """Show the search and the terms; a link `?term=LID` opens with the word in the search."""
    entries = terms()
    sought = st.text_input(
        "Search",
        value=str(st.query_params.get("term", ""))[:80],
        placeholder="A word, such as LID",
        key="gl_search",
        max_chars=80,
        icon=":material/search:",
    ).strip()
    fits = [term for term in entries if term.speaks_of(sought)]
    # A word's own entry before those that mention it.
    named = [term for term in fits if sought and sought.casefold() in term.name.casefold()]
    if not fits:
        st.info(
            layout.plain(f"No entry has {sought!r} in it: try a shorter word."),
            icon=":material/search_off:",
        )
    _entries(named)
    for group in dict.fromkeys(term.group for term in entries):
        members = [term for term in fits if term.group == group and term not in named]
        if members:
            st.header(group, anchor=False)
            _entries(members)


def _entries(members: list[Term]) -> None:
    for term in members:
        st.markdown(f"**{term.name}**  \n{term.text}")
