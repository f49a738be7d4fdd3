"""The outcome of a job: its progress, its result, or why there is none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

import streamlit as st

from mmh_core.records import MMHError
from views import session
from views.kept_runs import JobView
from views.tour import bar
from views.widgets import layout
from views.widgets.linked_state import LinkedState

RunT = TypeVar("RunT")
SettingsT = TypeVar("SettingsT")
RunT_contra = TypeVar("RunT_contra", contravariant=True)
SettingsT_contra = TypeVar("SettingsT_contra", contravariant=True)


class ResultView(Protocol[RunT_contra, SettingsT_contra]):
    """Shows a run that has ended, beside the settings of the form."""

    def __call__(
        self, run: RunT_contra, settings: SettingsT_contra, /, *, precomputed: bool
    ) -> None:
        """Show the run; `precomputed` tells an example from a run of this server."""


def page(
    state: LinkedState[SettingsT],
    sidebar: Callable[[SettingsT], None],
    find: Callable[[str], JobView[RunT]],
    *,
    noun: str,
    live: Callable[[str], None],
    result: ResultView[RunT, SettingsT],
    example: Callable[[SettingsT], RunT | None],
    nothing: Callable[[SettingsT], None],
) -> None:
    """Show a page whose sidebar holds a form that starts jobs, each called `noun`.

    The page shows the job that its link names, else the `example` of the settings, else `nothing`.
    """
    tour = bar.place()
    settings, refused = state.restore()
    for sentence in refused:
        st.warning(layout.plain(sentence), icon=":material/warning:")
    with st.sidebar, session.errors_as_messages():
        sidebar(settings)
    # Forms and callbacks have had their say; this is what counts now.
    job, settings = st.session_state[state.key("job")], state.current()
    bar.show(tour, state.page, state.link())

    def show_example() -> None:
        run = example(settings)
        if run is None:
            nothing(settings)
        else:
            result(run, settings, precomputed=True)

    show(
        job,
        find,
        noun=noun,
        live=live,
        result=lambda run: result(run, settings, precomputed=False),
        example=show_example,
    )
    state.remember()


def show(
    job: str | None,
    find: Callable[[str], JobView[RunT]],
    *,
    noun: str,
    live: Callable[[str], None],
    result: Callable[[RunT], None],
    example: Callable[[], None],
) -> None:
    """Show a job of this server, called `noun`: live while it runs, as a result afterwards.

    Without a job or a result the example stands there, below the reason; a job that was cancelled
    before it ran shows that alone.
    """
    if job is None:
        example()
        return
    try:
        view = find(job)
    except MMHError as error:
        st.error(f"{layout.plain(str(error))} Below is the example.", icon=":material/error:")
        example()
        return
    if view.record.is_active:
        live(job)
        return
    if view.record.error is not None:
        st.error(layout.plain(view.record.error), icon=":material/error:")
    if view.run is not None:
        result(view.run)
    elif view.record.state == "cancelled":
        st.info(f"This {noun} was cancelled while it was queued; it has no results.")
    else:
        example()
