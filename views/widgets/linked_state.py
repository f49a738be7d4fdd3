"""The choices of a page, carried between its link, the session and the widgets."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar
from urllib.parse import urlencode

import streamlit as st

from mmh_core.records import MMHError
from views.kept_runs import JobView
from views.widgets import link_values

SettingsT = TypeVar("SettingsT")
RunT = TypeVar("RunT")
#: Fields of numbers count exactly up to 2^53; a random seed is one that a person can still type.
_RANDOM_SEEDS = 1_000_000_000


def no_more() -> dict[str, object]:
    """Return no choices besides those that are kept under their own names."""
    return {}


@dataclass(frozen=True)
class LinkedState(Generic[SettingsT]):
    """The choices of a page that its link carries.

    `names` are kept in the session under `prefix` + name. `read` returns settings from a link or
    a session, which are not believed, and a sentence for each value refused; `place` puts settings
    where widgets look, with the run that a first link names; `query` returns a link's parameters.
    `collected` returns choices that several widgets make together.
    """

    page: str
    prefix: str
    names: tuple[str, ...]
    read: Callable[[Mapping[str, object]], tuple[SettingsT, list[str]]]
    place: Callable[[SettingsT, bool], SettingsT]
    query: Callable[[SettingsT], dict[str, str]]
    collected: Callable[[], dict[str, object]] = no_more

    def key(self, name: str) -> str:
        """Return the session key of a choice."""
        return self.prefix + name

    def restore(self) -> tuple[SettingsT, list[str]]:
        """Return this run's settings and what was refused, and put them where widgets look.

        The link counts once, when the page opens; after that the session does, checked as well.
        """
        first = self.key("kept") not in st.session_state
        settings, messages = self.read(dict(st.query_params) if first else self._choices())
        return self.place(settings, first), messages

    def remember(self) -> None:
        """Keep this run's choices for the next one, and write them into the link."""
        st.session_state[self.key("kept")] = self._choices()
        link_values.write_link(self.link())

    def current(self) -> SettingsT:
        """Return the settings as they are now, after callbacks and widgets."""
        return self.read(self._choices())[0]

    def link(self) -> dict[str, str]:
        """Return the parameters of a link to what is shown now."""
        return self.query(self.current())

    def address(self) -> str:
        """Return the whole link to what is shown now."""
        address = (st.context.url or f"http://127.0.0.1:8501/{self.page}").split("?")[0]
        address = address.rstrip("/").removesuffix(f"/{self.page}")
        return f"{address}/{self.page}?{urlencode(self.link())}"

    def random_seed(self) -> None:
        """Put a new seed into the form; for a callback."""
        st.session_state[self.key("seed")] = new_seed()

    def _choices(self) -> dict[str, object]:
        """Return all choices as they stand in the session, or stood in the last run."""
        # A widget that was not drawn in the last run has lost its key; the copy has not.
        state, kept = st.session_state, st.session_state.get(self.key("kept"), {})
        choices = {name: state.get(self.key(name), kept.get(name)) for name in self.names}
        return choices | self.collected()


def new_seed() -> int:
    """Return a random seed."""
    return secrets.randbelow(_RANDOM_SEEDS)


def run_of(job: str | None, find: Callable[[str], JobView[RunT]]) -> RunT | None:
    """Return the run of a job as far as it is known, None where there is none."""
    if not job:
        return None
    try:
        return find(job).run
    except MMHError:
        return None  # The page itself says what is wrong with the job.
