"""What all pages share: the guard, errors as messages, the data folder, the one job runner.

Whatever needs torch is imported inside the function that uses it: the first page shows its title
before torch has loaded.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st
from streamlit.runtime.pages_manager import PagesManager

from mmh_core.records import MMHError
from views import page_scripts
from views.start_options import start_options
from views.style import STYLE

if TYPE_CHECKING:
    from mmh_core.store.job_runner import JobRunner
    from mmh_core.store.jobs import JobStore

#: Jobs that may wait for a device: more than a room full of people with a window each.
WAITING = 64

#: What Markdown takes for the start of a bare address: a scheme, "www", a mail's sign.
_ADDRESS = re.compile(r"((?:https?|ftp|mailto|xmpp):|www(?=\.)|@)", re.IGNORECASE)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Jobs:
    """The runner and the store of all jobs of this server."""

    runner: JobRunner
    store: JobStore


def guard() -> None:
    """Make sure that a page runs under app.py; the first line of every page.

    Until app.py has run once, Streamlit serves a deep link from the folder `pages/` by itself and
    skips app.py with its navigation. Naming our own pages ends that, and the page starts again.
    """
    if PagesManager.uses_pages_directory:
        PagesManager.uses_pages_directory = False
        st.rerun()
    st.html(STYLE)
    page_scripts.install()


@contextmanager
def errors_as_messages() -> Iterator[None]:
    """Write an error of the body to the page as one sentence; its traceback to the log only."""
    try:
        yield
    except (ValueError, MMHError) as error:
        _log.info("Shown to the person: %s", error)
        st.error(plain(str(error)), icon=":material/error:")
    except Exception:
        _log.exception("A part of the page failed.")
        st.error(
            "Something unexpected went wrong here; the log of the app has the details. "
            "Reload the page to start afresh.",
            icon=":material/error:",
        )


def plain(text: str) -> str:
    """Return text that Markdown shows letter by letter: nothing in it is set, linked or loaded.

    For sentences that quote what a person or a link said: an image in them would make the browser
    ask another machine for it. Bare addresses become links after escapes are taken away, so that
    an invisible word joiner parts what makes them one.
    """
    parted = _ADDRESS.sub("\\1\u2060", " ".join(text.split()))
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", parted)


def data_folder() -> Path:
    """Return the folder named after `-- --data`, or `.mmh` (see `mmh_core.installation`)."""
    return start_options().data


def jobs() -> Jobs:
    """Return the one job runner of this server; jobs of a dead server become interrupted."""
    return _jobs(str(data_folder()))


@st.cache_resource(show_spinner=False)
def _jobs(folder: str) -> Jobs:
    from mmh_core.store.job_runner import JobRunner
    from mmh_core.store.jobs import JobStore

    store = JobStore(Path(folder) / "jobs.sqlite")
    return Jobs(JobRunner(store, capacity=WAITING), store)
