"""One item to judge: prompt, images, numbers, and one key for judgement and next."""

from __future__ import annotations

from html import escape

import streamlit as st

from mmh_core.counting import agreeing, plural
from mmh_core.memorization.verdict import COPY_VERDICTS, REVIEW_ROWS
from mmh_core.records import MMHError
from mmh_core.store.item_search import item_places
from mmh_core.store.queues import QueueProgress, queue_progress
from mmh_core.store.review_records import REVIEW_VERDICTS, ItemView, ReviewVerdict
from views.images import image_html
from views.review import comments, evidence, notes, reviewer, state
from views.review import session as review_session
from views.review.state import KEYS, key
from views.widgets import layout

_ICONS: dict[ReviewVerdict, str] = {
    "exact copy": ":material/content_copy:",
    "template copy": ":material/dashboard:",
    "not memorized": ":material/check:",
    "unsure": ":material/help:",
    "skip": ":material/skip_next:",
}
#: Judgements that say nothing about an image.
_WITHOUT_EVIDENCE = ("unsure", "skip")
_NO_EVIDENCE = (
    "There is no image to judge: generate one, or write the reason for your judgement into the "
    "notes. Until then only Unsure and Skip are open."
)


def section() -> None:
    """Show the item, or say that all are judged."""
    progress = _progress()
    _messages()
    if refusal := reviewer.why_not():
        st.warning(refusal, icon=":material/badge:")
    view = _current()
    mark = state.see(view)
    if view is None:
        st.info(
            "Every filtered item is judged. Change the filter in the sidebar, open an item in the "
            "table, or export the judgements.",
            icon=":material/done_all:",
        )
        _undo(mark)
        _next(progress)
        return
    _steps(view, mark)
    image_html.show(f'<p class="im-prompt">{escape(view.item.prompt)}</p>')
    above = st.container()
    hidden = bool(st.session_state[key("blind")]) and view.judgement.verdict is None
    is_there = evidence.section(view, hidden=hidden)
    # After the evidence, though above it: keys are listened to when there is something to see.
    with above:
        _verdicts(view, mark, is_there=is_there)
    notes.section(view)
    comments.section(view.position, hidden=hidden)
    _shortcuts()
    _next(progress)


def _current() -> ItemView | None:
    """Return the item to show; one that a link names and nobody has is said, and left."""
    try:
        return state.current()
    except MMHError as error:
        st.warning(layout.plain(str(error)), icon=":material/warning:")
        st.session_state[key("item")] = None
        return state.current()


def _progress() -> QueueProgress:
    """Show and return how far the reviewer is, with the copies among what is judged."""
    progress = queue_progress(review_session.queues(), state.queue(), state.reviewer())
    counts = " · ".join(
        f"{count:,} {name}" for name, count in progress.counts.items() if count and name != "skip"
    )
    if progress.skipped:
        counts += f"{' · ' if counts else ''}{progress.skipped:,} skipped, not counted"
    share = progress.judged / progress.items if progress.items else 0.0
    st.progress(
        share,
        layout.plain(
            f"{progress.judged:,} of {progress.items:,} judged"
            + (f" by {state.reviewer()}" if state.reviewer() else "")
        )
        + (f" · {counts}" if counts else ""),
    )
    if progress.judged:
        copies = sum(count for name, count in progress.counts.items() if name in COPY_VERDICTS)
        layout.finding(f"{copies:,} of {progress.judged:,} judged items are copies.")
    return progress


def _next(progress: QueueProgress) -> None:
    """Show what to do after this item."""
    left = progress.items - progress.judged
    advice = (
        f"Judge the {plural(left, 'item')} that {agreeing(left, 'is', 'are')} left, skipped ones "
        "included."
        if left
        else "Let a second reviewer judge the same items, compare under Agreement, and export the "
        "case."
    )
    layout.recommendation(
        advice,
        "One reviewer's judgements: how reliable they are is open until a second one agrees.",
    )


def _messages() -> None:
    refused = st.session_state.pop(key("refused"), None)
    if refused is not None:
        st.warning(layout.plain(refused), icon=":material/sync_problem:")
    imported = st.session_state.pop(key("import_message"), None)
    if imported is not None:
        st.success(layout.plain(imported), icon=":material/task_alt:")
    if st.session_state.pop(key("ended"), False):
        st.success(
            "That was the last filtered item: all are judged.",
            icon=":material/done_all:",
        )
    last = st.session_state.get(key("last"))
    if last is not None:
        _last(*last)


def _last(position: int, verdict: str) -> None:
    """Show what was recorded last and, in blind mode, the measurements of it."""
    from mmh_core.store.item_search import get_item

    sentence = f"Item {position}: {verdict}, recorded."
    if st.session_state[key("blind")]:
        item = get_item(review_session.queues(), state.queue(), position, state.reviewer()).item
        sentence += f" Measurements: {evidence.in_short(item)}."
    st.caption(layout.plain(sentence))


def _steps(view: ItemView, mark: str) -> None:
    """Show the item's number, its place in the filter, and the ways to others."""
    places = item_places(review_session.queues(), state.queue(), state.chosen(), state.reviewer())
    at = places.index(view.position) if view.position in places else None
    before = places[at - 1] if at else None
    after = places[at + 1] if at is not None and at + 1 < len(places) else None
    if at is None and places:
        after = places[0]
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.header(f"Item {view.position}", anchor=False, width="content")
        where = "outside the filter" if at is None else f"{at + 1:,} of {len(places):,}"
        if view.item.name:
            where = layout.plain(f"{view.item.name[:60]} · {where}")
        st.caption(where, width="content")
        for label, icon, item, press in (
            ("Previous", "arrow_back", before, "left"),
            ("Next", "arrow_forward", after, "right"),
        ):
            st.button(
                label,
                key=f"rv_{label}",
                icon=f":material/{icon}:",
                type="tertiary",
                disabled=item is None,
                shortcut=press,
                on_click=state.show_item,
                args=(item,),
            )
        _undo(mark)


def _undo(mark: str) -> None:
    st.button(
        "Undo",
        key=f"rv_undo_{mark}",
        icon=":material/undo:",
        type="tertiary",
        shortcut="z",
        help="Withdraw your last judgement, by a new row of the log, and go to its item",
        disabled=not state.reviewer(),
        on_click=state.take_back,
        args=(mark,),
    )


def _verdicts(view: ItemView, mark: str, *, is_there: bool) -> None:
    """Show the buttons that the keys press; what speaks of an image needs one, or a reason."""
    given, name = view.judgement.verdict, state.reviewer()
    open_to_all = is_there or bool(view.judgement.notes)
    with st.container(horizontal=True, gap="small", vertical_alignment="center", key="rv_buttons"):
        for verdict in REVIEW_VERDICTS:
            allowed = open_to_all or verdict in _WITHOUT_EVIDENCE
            st.button(
                verdict.capitalize(),
                key=f"rv_give_{KEYS[verdict]}_{mark}",
                icon=_ICONS[verdict],
                type="primary" if verdict == given else "secondary",
                shortcut=KEYS[verdict],
                help=reviewer.why_not()
                or (REVIEW_ROWS[verdict].sentence if allowed else _NO_EVIDENCE),
                disabled=not name or not allowed,
                on_click=state.give,
                args=(verdict, mark),
            )
        if name:
            st.text(f"as {name}", width="content")
    if not open_to_all:
        st.caption(_NO_EVIDENCE)


def _shortcuts() -> None:
    rows = [(letter.upper(), f"{verdict}, and next") for verdict, letter in KEYS.items()]
    rows += [("Z", "undo"), ("← →", "previous and next item, without a judgement")]
    with st.expander("Keys", icon=":material/keyboard:", expanded=True):
        layout.facts(rows)
        st.caption(
            "Keys work while no text field is in use, and for the item on the screen: one that "
            "is pressed before the next item appears is ignored. After a click on a choice "
            "(Seed, Flicker) the arrow keys change that choice: click outside it, and they "
            "change items again."
        )
