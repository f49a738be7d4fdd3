"""The images of a shipped world are drawn beside the pages, which show how far that is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread

import pytest
from streamlit.testing.v1 import AppTest

from mmh_core.records import MMHError, Progress
from views import drawing
from views.drawing import Drawing


@pytest.fixture
def go_on() -> Iterator[Event]:
    """Return what lets the drawing of a test end, and let it end in any case."""
    event = Event()
    yield event
    event.set()


def half(go_on: Event, last: Exception | None = None) -> Drawing:
    """Return a drawing that is half done, and waits."""
    reached = Event()

    def work() -> Iterator[Progress[object]]:
        yield Progress(0.5, "", None)
        reached.set()
        go_on.wait(60)
        if last is not None:
            raise last
        yield Progress(1.0, "", None)

    made = Drawing(work)
    assert reached.wait(60)
    return made


def page() -> None:
    """Show a page that needs no image."""
    import streamlit as st

    from views import drawing as shown

    st.write("page")
    shown._started().append(st.session_state["drawing"])
    shown.show()


def test_a_page_shows_how_far_the_drawing_is_and_nothing_behind_it(go_on: Event) -> None:
    made = half(go_on)
    app = AppTest.from_function(page)
    app.session_state["drawing"] = made
    app.run()
    assert not app.exception
    [bar] = app.sidebar.get("progress")
    assert (bar.proto.value, bar.proto.text.startswith("Rendering the training images")) == (
        50,
        True,
    )
    go_on.set()
    made.thread.join(60)
    assert not made.working and made.fraction == 1
    app.run()
    assert not app.exception and not app.sidebar.get("progress")


def test_what_cannot_be_drawn_is_left_to_whoever_opens_it(go_on: Event) -> None:
    made = half(go_on, MMHError("These are other images."))
    go_on.set()
    made.thread.join(60)
    assert not made.working and made.fraction == 0.5


@pytest.mark.parametrize("world", ['{"seed": 0, "pictures": {}}', "{}", None])
def test_a_world_whose_images_are_shipped_is_not_drawn(tmp_path: Path, world: str | None) -> None:
    if world is not None:
        (tmp_path / "world.json").write_text(world)
    thread = Thread(target=lambda: drawing.wait_until_drawn(tmp_path, 0))
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
    assert drawing._drawing(str(tmp_path), 0) is None
