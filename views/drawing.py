"""The images of a shipped world, drawn once on a machine, with their progress on every page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from mmh_core.records import MMHError

if TYPE_CHECKING:
    from mmh_core.records import Progress

#: How often a page looks how far the drawing is, in seconds.
_EVERY = 1.0
_WORDS = "Rendering the training images, once on this machine. What needs them waits."


@dataclass(eq=False)
class Drawing:
    """Work in a thread of its own: `fraction` is how much of it is done."""

    work: Callable[[], Iterator[Progress[object]]]
    fraction: float = 0.0
    thread: Thread = field(init=False)

    def __post_init__(self) -> None:
        """Start to work."""
        # Not a daemon: the interpreter must not end in the middle of an import.
        self.thread = Thread(target=self._run, name="draw the training images")
        self.thread.start()

    def _run(self) -> None:
        # What is wrong with the images is said by whoever opens them.
        with suppress(MMHError):
            for progress in self.work():
                self.fraction = progress.fraction

    @property
    def working(self) -> bool:
        """Return whether it is not finished yet."""
        return self.thread.is_alive()


def wait_until_drawn(folder: Path, stamp: int) -> None:
    """Return once the images of the world in a folder are drawn, or cannot be.

    A page shows how far it is meanwhile. `stamp` changes with the files, and with it what is kept.
    """
    drawing = _drawing(str(folder), stamp)
    if drawing is None or not drawing.working:
        return
    if get_script_run_ctx(suppress_warning=True) is None:
        drawing.thread.join()
        return
    place = st.empty()
    while drawing.working:
        place.progress(min(1.0, drawing.fraction), text=_WORDS)
        drawing.thread.join(_EVERY)
    place.empty()


@st.cache_resource(show_spinner=False, max_entries=2)
def _drawing(folder: str, stamp: int) -> Drawing | None:
    """Start to draw the images of one version of a folder, None where they are drawn."""
    from mmh_core.pocket.assets import drawing, has_to_draw

    with suppress(MMHError):
        if has_to_draw(Path(folder)):
            started = Drawing(lambda: drawing(Path(folder)))
            _started().append(started)
            return started
    return None


@st.cache_resource(show_spinner=False)
def _started() -> list[Drawing]:
    """Return what this server has drawn since it was started."""
    return []


def show() -> None:
    """Show beside a page that does not wait for it how far the drawing is, while there is one."""
    working = [drawing for drawing in _started() if drawing.working]
    if working:
        with st.sidebar:
            bar(working[-1])


@st.fragment(run_every=_EVERY)
def bar(drawing: Drawing) -> None:
    """Show how far one drawing is, until it is finished."""
    if not drawing.working:
        st.rerun()
    st.progress(min(1.0, drawing.fraction), text=_WORDS)
