"""The images of an item from near by, with the regions that reviewers mark on them."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape
from typing import Any

import streamlit as st

from mmh_core.formats.times import local_minute
from mmh_core.plots.image_grid import reduced
from mmh_core.plots.marked_images import ImagePanel, marked_images
from mmh_core.plots.theme import RING
from mmh_core.records import MMHError
from mmh_core.store.remarks import (
    ITEM_IMAGE,
    mark_region,
    region_words,
    regions,
    remove_region,
)
from mmh_core.store.review_log import ReviewTarget, log_rows
from mmh_core.store.review_records import LogRow, ReviewItem
from mmh_core.studies.images.run import ImageResult
from mmh_core.subject.copies import TrainingNeighbor
from views.images import image_html
from views.review import reviewer, state
from views.review import session as review_session
from views.review.state import key
from views.widgets import layout

#: The longest side of an image in the figure, in pixels of its own.
_LARGE = 1024
#: A box that is smaller, in shares of a side, was a click.
_LEAST = 0.005
#: The edges of a region and where they lie at first, in percent.
_EDGES = {"Left": 25, "Top": 25, "Right": 75, "Bottom": 75}
#: Where, on which image and which region was drawn and is not recorded yet.
_DRAWN, _COUNT, _REFUSED = key("region"), key("regions_drawn"), key("refused_region")


def generated_panel(image: ImageResult, item: ReviewItem, *, is_kept: bool) -> ImagePanel:
    """Return a generated image; `is_kept` says that it is the one that the item keeps."""
    name = ITEM_IMAGE if is_kept and item.run else "generated image"
    return _panel(f"{name}, seed {image.seed}", image)


def training_panel(near: TrainingNeighbor) -> ImagePanel:
    """Return a training image."""
    return _panel(f"training image {near.id}", near)


def _panel(name: str, holder: ImageResult | TrainingNeighbor) -> ImagePanel:
    small = reduced(holder.image, _LARGE)
    return ImagePanel(name, image_html.data_uri(small), int(small.shape[2]), int(small.shape[1]))


def file_panel(name: str, data: bytes) -> ImagePanel:
    """Return an image of the bytes of a file."""
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        size, kind = image.size, str(image.format).lower()
    return ImagePanel(name, f"data:image/{kind};base64,{base64.b64encode(data).decode()}", *size)


def section(position: int, panels: Sequence[ImagePanel], *, hidden: bool) -> None:
    """Show the images with their regions where that is wanted, or where any is marked.

    `hidden` keeps the regions of others back.
    """
    refused = st.session_state.pop(_REFUSED, None)
    if refused is not None:
        st.warning(layout.plain(refused), icon=":material/sync_problem:")
    rows = regions(log_rows(review_session.queues(), state.queue(), position))
    marked = [row for row in rows if not hidden or row.reviewer == state.reviewer()]
    is_open = st.toggle(
        "Zoom and mark regions",
        key=key("zoom"),
        disabled=not panels,
        help="Shows the images from near by. A region that is marked on one is recorded in the "
        "log, and shown to other reviewers and in the report.",
    )
    if not panels or not (is_open or marked):
        return
    shown = [
        replace(panel, regions=_on(panel, list(enumerate(marked, start=1)))) for panel in panels
    ]
    # By the names of the images, so that a box goes with the images that it was drawn on.
    name = f"rv_zoom_{position}_{'_'.join(panel.name for panel in panels)}_{_count()}"
    with st.container(key="rv_zoom_figure"):
        layout.chart(
            marked_images(shown),
            name,
            on_select=lambda: _take(name, position, panels),
            boxes=True,
        )
    _record_drawn(position)
    if is_open:
        _by_numbers(position, panels)
    for number, row in enumerate(marked, start=1):
        _listed(number, row)


def _on(
    panel: ImagePanel, marked: Sequence[tuple[int, LogRow]]
) -> tuple[tuple[int, tuple[float, ...]], ...]:
    """Return the regions on an image; the one that an item keeps has its seed where known."""
    return tuple(
        (number, row.region)
        for number, row in marked
        if row.image == panel.name or ITEM_IMAGE == panel.name == row.image.split(",")[0]
    )


def _record_drawn(position: int) -> None:
    """Offer to record the box that was drawn."""
    place, image, region = st.session_state.get(_DRAWN, (None, "", ()))
    if place != _place(position):
        st.caption(
            "Draw a box over a part of an image to mark it, or give its edges below. The bar "
            "above the images zooms, moves and resets them."
        )
        return
    _recording("region", position, image, region)
    st.caption(layout.plain(f"Drawn on the {region_words(image, region)}."))


def _by_numbers(position: int, panels: Sequence[ImagePanel]) -> None:
    """Show the fields of a region, for those who draw with no pointer, and where it lies."""
    with st.expander("Mark a region by its edges", icon=":material/keyboard:"):
        by_name = {panel.name: panel for panel in panels}
        image = st.radio("Image of the region", list(by_name), horizontal=True)
        with st.container(horizontal=True, gap="small"):
            left, top, right, bottom = (
                st.number_input(
                    f"{name} edge, %", 0, 100, start, key=f"rv_edge_{name}_{position}", width=128
                )
                for name, start in _EDGES.items()
            )
        st.caption("Percent of the width, from the left, and of the height, from the top.")
        region = (left / 100, top / 100, right / 100, bottom / 100)
        if left >= right or top >= bottom:
            wrong = "The right edge must lie beyond the left one, and the bottom beyond the top."
            st.warning(wrong, icon=":material/warning:")
            _recording("edges", position, image, region, wrong)
            return
        image_html.show(_outlined(by_name[image], region))
        _recording("edges", position, image, region)


def _outlined(panel: ImagePanel, region: tuple[float, ...]) -> str:
    """Return an image as HTML, with the outline of a region that is not recorded yet."""
    left, top, right, bottom = (f"{100 * side:g}%" for side in region)
    across, down = f"{100 * (region[2] - region[0]):g}%", f"{100 * (region[3] - region[1]):g}%"
    small = "small" if max(panel.width, panel.height) <= image_html.CARD else ""
    words = f"The {panel.name}, with an outline from {left} to {right} of its width and {top} to "
    return (
        f'<div style="position: relative; max-width: 14rem"><img class="{small}" '
        f'src="{panel.source}" alt="{escape(words)}{bottom} of its height">'
        # White beneath the color: an outline stands out from any image.
        f'<div style="position: absolute; left: {left}; top: {top}; width: {across}; '
        f"height: {down}; box-sizing: border-box; border: 2px dashed {RING}; "
        'outline: 1px solid white"></div></div>'
    )


def _recording(
    field: str, position: int, image: str, region: tuple[float, ...], wrong: str = ""
) -> None:
    """Show the text of a region that is given, and the button that records both."""
    blocked, text = reviewer.why_not() or wrong, f"rv_{field}_text_{_count()}"
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        st.text_input("Text of the region", key=text, max_chars=1_000, placeholder="optional")
        st.button(
            "Record the region",
            key=f"rv_record_{field}",
            icon=":material/select:",
            disabled=bool(blocked),
            help=blocked or "A row of the log, under your name",
            on_click=_record,
            args=(position, image, region, text),
        )


def _listed(number: int, row: LogRow) -> None:
    """Show who marked a region, and let them remove it."""
    when = local_minute(row.time)
    text = f": {row.notes}" if row.notes else ""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        # Plain text: a name is what somebody typed.
        st.text(f"{number} · {row.reviewer}, {when}, {row.image}{text}")
        if row.reviewer == state.reviewer():
            st.button(
                "Remove",
                key=f"rv_remove_region_{row.number}",
                icon=":material/close:",
                type="tertiary",
                help="Removes the region by a new row of the log",
                on_click=_remove,
                args=(row,),
            )


def _take(name: str, position: int, panels: Sequence[ImagePanel]) -> None:
    """Keep the box that was drawn last; for a callback."""
    drawn = drawn_region(st.session_state.get(name) or {}, panels)
    if drawn is None:
        st.session_state.pop(_DRAWN, None)
    else:
        st.session_state[_DRAWN] = (_place(position), *drawn)


def drawn_region(
    event: Mapping[str, Any], panels: Sequence[ImagePanel]
) -> tuple[str, tuple[float, ...]] | None:
    """Return the image and the region of the last box in a selection, None for no box on any."""
    boxes = (event.get("selection") or {}).get("box") or []
    if not boxes:
        return None
    box = boxes[-1]
    axes = ["x", *(f"x{number}" for number in range(2, len(panels) + 1))]
    if box.get("xref") not in axes:
        return None
    (left, right), (top, bottom) = (
        sorted(min(1.0, max(0.0, float(side))) for side in box[axis]) for axis in "xy"
    )
    if right - left < _LEAST or bottom - top < _LEAST:
        return None
    return panels[axes.index(box["xref"])].name, (left, top, right, bottom)


def _record(position: int, image: str, region: tuple[float, ...], field: str) -> None:
    """Record a region with the text in the `field`; for a callback."""
    text = str(st.session_state.get(field) or "")
    try:
        mark_region(review_session.queues(), _target(position), image, region, text)
    except (MMHError, ValueError) as error:
        st.session_state[_REFUSED] = str(error)
        return
    st.session_state.pop(_DRAWN, None)
    # Another figure, without the box that was drawn.
    st.session_state[_COUNT] = _count() + 1


def _remove(row: LogRow) -> None:
    """Remove a region; for a callback."""
    try:
        remove_region(review_session.queues(), _target(row.item), row.number)
    except MMHError as error:
        st.session_state[_REFUSED] = str(error)


def _target(position: int) -> ReviewTarget:
    return ReviewTarget(state.queue(), position, state.reviewer(), 0, reviewer.identified())


def _place(position: int) -> tuple[str, int, str]:
    return state.queue(), position, state.reviewer()


def _count() -> int:
    return int(st.session_state.get(_COUNT, 0))
