"""The notes and tags of an item: their fields, and the record of changes in them.

A field carries what is recorded as the text that it begins with. Text that is put into a field
by way of the session reaches the browser with one run only; where the next key cuts that run
short, the field stands empty, and an empty field says that the notes are gone.
"""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from mmh_core.formats.times import local_clock
from mmh_core.records import MMHError
from mmh_core.store.item_search import get_item
from mmh_core.store.review_checks import checked_tags
from mmh_core.store.review_log import JudgedMeanwhile, ReviewTarget, annotate
from mmh_core.store.review_records import ItemView, Judgement
from views.review import reviewer, state
from views.review import session as review_session
from views.widgets import layout

_Texts = tuple[str, tuple[str, ...]]

#: Whose fields are on the screen, what they agree with, and the number of this drawing of them.
_DRAWN = state.key("drawn")
_NOTHING = (None, None, 0)


def section(view: ItemView) -> None:
    """Show both fields, which are recorded when they are left."""
    drawn = _drawn(view)
    blocked = not state.reviewer()
    _labels(view, drawn, blocked=blocked)
    left, right = layout.side_by_side("rv_notes", (3, 2))
    with left:
        name = state.key(f"text_{drawn}")
        st.text_area(
            "Notes",
            view.judgement.notes,
            key=name,
            height=80,
            max_chars=10_000,
            on_change=_note,
            args=(name, _place(view), view.judgement),
            disabled=blocked,
        )
    with right:
        name = state.key(f"tags_{drawn}")
        st.text_input(
            "Tags",
            ", ".join(view.judgement.tags),
            key=name,
            placeholder="separated by commas",
            on_change=_tag,
            args=(name, _place(view), view.judgement),
            disabled=blocked,
            help="Notes and tags are recorded when you leave the field, with the judgement or "
            "without one.",
        )
    now = view.judgement
    if now.notes or now.tags:
        st.caption(
            ":material/check: Notes and tags are saved; last change of this item "
            f"{local_clock(now.time)}."
        )


def _labels(view: ItemView, drawn: int, *, blocked: bool) -> None:
    """Show the queue's own labels, those given marked; they are tags among the others."""
    labels = review_session.plan_of(state.queue()).labels
    if not labels:
        return
    name = state.key(f"labels_{drawn}")
    st.pills(
        "Labels",
        labels,
        selection_mode="multi",
        default=[tag for tag in view.judgement.tags if tag in labels],
        key=name,
        on_change=_label,
        args=(name, labels, _place(view), view.judgement),
        disabled=blocked,
    )


def _place(view: ItemView) -> ReviewTarget:
    return ReviewTarget(
        *(state.queue(), view.position, state.reviewer(), view.judgement.revision),
        reviewer.identified(),
    )


def _drawn(view: ItemView) -> int:
    """Return the number of these fields: a new one for another item, and for other notes."""
    target, texts = _place(view), _texts(view.judgement)
    who, before, number = st.session_state.get(_DRAWN, _NOTHING)
    if (who, before) != ((target.queue, target.item, target.reviewer), texts):
        number += 1
    st.session_state[_DRAWN] = ((target.queue, target.item, target.reviewer), texts, number)
    return int(number)


def _texts(judgement: Judgement) -> _Texts:
    return judgement.notes, judgement.tags


def _note(name: str, target: ReviewTarget, drawn: Judgement) -> None:
    """Record the notes; for a callback."""
    if (text := st.session_state.get(name)) is not None:
        _record(target, drawn, notes=str(text))


def _tag(name: str, target: ReviewTarget, drawn: Judgement) -> None:
    """Record the tags; for a callback."""
    if (text := st.session_state.get(name)) is not None:
        _record(target, drawn, tags=[tag.strip() for tag in str(text).split(",") if tag.strip()])


def _label(name: str, labels: tuple[str, ...], target: ReviewTarget, drawn: Judgement) -> None:
    """Record the labels beside the tags that are none; for a callback."""
    chosen = st.session_state.get(name)
    if chosen is not None:
        before = _agreed(target) or _texts(drawn)
        others = [tag for tag in before[1] if tag not in labels]
        _record(target, drawn, tags=[*others, *chosen])
        # The field of tags holds what it held: it begins anew with the labels.
        _draw_anew()


def _record(
    target: ReviewTarget,
    drawn: Judgement,
    *,
    notes: str | None = None,
    tags: list[str] | None = None,
) -> None:
    """Record one of the two where it differs from what was drawn, and leave the other."""
    file = review_session.queues()
    before = _agreed(target) or _texts(drawn)
    try:
        kept = None if tags is None else checked_tags(tags)
        if notes in (None, before[0]) and kept in (None, before[1]):
            return  # A field that was drawn twice says its text again.
        now = get_item(file, target.queue, target.item, target.reviewer).judgement
        # A judgement, or the other field, is nothing that this one could overwrite.
        same = now.notes == before[0] if kept is None else now.tags == before[1]
        row = annotate(
            file,
            replace(target, revision=now.revision) if same else target,
            now.notes if notes is None else notes,
            now.tags if kept is None else kept,
        )
    except (MMHError, ValueError) as error:
        state.refuse(error)
        if isinstance(error, JudgedMeanwhile):
            _draw_anew()
        return
    state.noted(target, row.number)
    if _agreed(target) is not None:
        _agree(target, (row.notes, row.tags))


def _agreed(target: ReviewTarget) -> _Texts | None:
    """Return what the fields on the screen agree with, None where they are another item's."""
    who, texts, _ = st.session_state.get(_DRAWN, _NOTHING)
    return texts if who == (target.queue, target.item, target.reviewer) else None


def _agree(target: ReviewTarget, texts: _Texts) -> None:
    number = st.session_state.get(_DRAWN, _NOTHING)[2]
    st.session_state[_DRAWN] = ((target.queue, target.item, target.reviewer), texts, number)


def _draw_anew() -> None:
    """Make the fields begin with what is recorded."""
    st.session_state[_DRAWN] = (None, None, st.session_state.get(_DRAWN, _NOTHING)[2])
