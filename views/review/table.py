"""The items that the filter finds as a table, page by page."""

from __future__ import annotations

import base64
import math
from typing import Any

import streamlit as st

from mmh_core.store.item_search import items_page
from mmh_core.store.review_records import ItemView
from mmh_core.store.thumbnails import shown_thumbnail
from views.images import phrases
from views.review import session as review_session
from views.review import state
from views.review.state import key
from views.widgets import layout, words

PAGE = 50
_TABLE = "rv_table"


def section() -> None:
    """Show the table; a click on a row opens its item."""
    layout.part(
        "Filtered items",
        "Select a row at its left edge to judge the item. Images, similarity and LID "
        "percentile are empty where no image was generated.",
    )
    offset = PAGE * (int(st.session_state.get(key("page")) or 1) - 1)
    page = items_page(
        review_session.queues(),
        state.queue(),
        state.chosen(),
        state.reviewer(),
        offset=offset,
        limit=PAGE,
    )
    if not page.total:
        st.info(
            "No item passes the filter in the sidebar: loosen it.",
            icon=":material/filter_alt_off:",
        )
        return
    if page.damaged:
        listed = ", ".join(map(str, page.damaged))
        st.warning(
            f"Damaged, and left out: item {listed}. Verify the log under Export & audit log, "
            "and restore the file of queues from a backup.",
            icon=":material/warning:",
        )
    if not page.places:
        st.session_state[key("page")] = 1
        st.rerun()
    _pages(page.total)
    blind = bool(st.session_state[key("blind")])
    rows = [_row(view, hidden=blind and view.judgement.verdict is None) for view in page.items]
    st.session_state[key("listed")] = [view.position for view in page.items]
    st.dataframe(
        _frame(rows),
        key=_TABLE,
        hide_index=True,
        row_height=68,
        height=min(620, 38 + 68 * len(rows)),
        on_select=_open,
        selection_mode="single-row",
        column_config=_columns(),
        alt="Items with prompt, images, numbers and judgement",
    )
    if blind:
        st.caption("Blind review: numbers of items that you have not judged are left out.")


def _pages(total: int) -> None:
    many = math.ceil(total / PAGE)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if many > 1:
            st.number_input(
                f"Page, of {many}", min_value=1, max_value=many, key=key("page"), width=140
            )
        st.caption(f"{total:,} items")


def _open() -> None:
    """Show the item of the row that was selected."""
    rows = st.session_state[_TABLE]["selection"]["rows"]
    listed = st.session_state.get(key("listed"), [])
    if rows and rows[0] < len(listed):
        state.show_item(listed[rows[0]])


def _frame(rows: list[dict[str, Any]]) -> Any:
    import pandas as pd

    return pd.DataFrame(rows)


def _row(view: ItemView, *, hidden: bool) -> dict[str, Any]:
    item = view.item
    near = review_session.nearest_image(item)
    return {
        "item": view.position,
        "id": item.name,
        "generated": _source(shown_thumbnail(item)),
        "nearest": _source(b"" if near is None else near.png),
        "judgement": view.judgement.verdict or "",
        "score": _shown(item.score, hidden),
        "similarity": _shown(item.similarity, hidden),
        "lid_percentile": None if hidden else _percent(item.lid_percentile),
        "prompt": item.prompt,
        "kind": "" if hidden else item.kind,
        "cause": "" if hidden else item.cause,
        "notes": view.judgement.notes,
    }


def _source(data: bytes) -> str | None:
    return "data:image/png;base64," + base64.b64encode(data).decode() if data else None


def _shown(value: float, hidden: bool) -> float | None:
    return None if hidden or math.isnan(value) else value


def _percent(share: float) -> float | None:
    return None if math.isnan(share) else 100 * share


def _columns() -> dict[str, Any]:
    column = st.column_config
    return {
        "item": column.NumberColumn("Item", width=50),
        "id": column.TextColumn("ID", width=80, help="From the table of prompts"),
        "generated": column.ImageColumn("Generated", width=70),
        "nearest": column.ImageColumn(
            "Nearest training image", width=70, help="Nearest training image"
        ),
        "judgement": column.TextColumn(
            "Judgement", width=105, help="Yours; empty until you have judged the item"
        ),
        "score": column.NumberColumn(
            "Score", format="%.2f", width=60, help="Of the early scan; higher is more memorized"
        ),
        "similarity": column.NumberColumn(
            "Similarity", format="%.3f", width=65, help="Similarity to the nearest training image"
        ),
        "lid_percentile": column.NumberColumn(
            "LID %", format="%.0f %%", width=60, help=phrases.PERCENTILE
        ),
        "prompt": column.TextColumn("Prompt", width=300),
        "kind": column.TextColumn("Kind of copy", width=110),
        "cause": column.TextColumn("Cause", width=90, help=f"{words.DD_MEM} {words.OD_MEM}"),
        "notes": column.TextColumn("Notes", width=140, help="Your notes"),
    }
