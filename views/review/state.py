"""The choices of the review page, between its link, the session and the widgets."""

from __future__ import annotations

import time
from dataclasses import replace
from urllib.parse import urlencode

import streamlit as st

from mmh_core.records import MMHError
from mmh_core.store.item_search import ItemFilter, filter_choices, get_item, next_item
from mmh_core.store.review_log import ReviewTarget, judge, undo
from mmh_core.store.review_records import REVIEW_VERDICTS, ItemView, QueueRecord, ReviewVerdict
from views.review import links
from views.review import reviewer as who
from views.review import session as review_session
from views.review.links import EARLIER_TABS, LAST_ITEM, TABS, link_queue
from views.widgets.link_values import job_id, one_of, whole

PREFIX = "rv_"
#: Keys that judge: one key is judgement and next.
KEYS: dict[ReviewVerdict, str] = {
    name: letter for name, letter in zip(REVIEW_VERDICTS, "etnus", strict=True)
}
_LINKED = ("queue", "item", "tab", "job")
#: Widgets, whose keys Streamlit forgets when a run did not draw them.
_WIDGETS = {
    "blind": False,
    "all": False,
    "zoom": False,
    **links.DEFAULTS,
}
_KEPT = PREFIX + "kept"


def key(name: str) -> str:
    """Return the session key of a choice."""
    return PREFIX + name


def restore(queues: list[QueueRecord]) -> list[str]:
    """Put this run's choices where widgets look, and return what of the link was refused."""
    state = st.session_state
    first = _KEPT not in state
    parameters = {name: st.query_params.get_all(name) for name in st.query_params}
    source: dict[str, object] = (
        {n: v[-1] for n, v in parameters.items()} if first else dict(state[_KEPT])
    )
    if not first:
        source |= {n: state[key(n)] for n in (*_LINKED, *_WIDGETS) if key(n) in state}
    messages: list[str] = []
    who.restore(parameters.get(who.LINKED, [None])[-1])
    state[key("queue")] = link_queue(source.get("queue"), queues, messages)
    state[key("item")] = whole("item", source.get("item"), (0, LAST_ITEM), messages)
    tab = EARLIER_TABS.get(str(source.get("tab")), source.get("tab"))
    state[key("tab")] = one_of("tab", tab, TABS, "judge", messages)
    state[key("job")] = job_id("job", source.get("job"), messages)
    if first:
        source = _WIDGETS | {"blind": source.get("blind") == "1"}
        if queues:
            choices = filter_choices(review_session.queues(), queue())
            source |= links.read_filter(parameters, *choices, messages)
    for name, default in _WIDGETS.items():
        state[key(name)] = source.get(name, default)
    return messages


def remember() -> None:
    """Keep this run's choices for the next one, and write the link."""
    state = st.session_state
    state[_KEPT] = {name: state.get(key(name)) for name in (*_LINKED, *_WIDGETS)}
    parameters = link()
    if {name: st.query_params.get_all(name) for name in st.query_params} != parameters:
        st.query_params.from_dict(parameters)


def link() -> dict[str, list[str]]:
    """Return the parameters of a link to what is shown now.

    It does not say who judges: the digest of the name only shows a window that it was another.
    """
    pairs = {name: st.session_state.get(key(name)) for name in _LINKED}
    if pairs["tab"] == "judge":
        pairs["tab"] = None
    pairs["blind"] = "1" if st.session_state.get(key("blind")) else None
    pairs[who.LINKED] = who.digest(reviewer())
    parameters = {name: [str(value)] for name, value in pairs.items() if value is not None}
    return parameters | links.filter_link(_filtered())


def address(page: str, **values: str) -> str:
    """Return a link to another page of the app, relative to this one."""
    return f"{page}?{urlencode(values)}"


def queue() -> str:
    """Return the id of the queue that is open."""
    return str(st.session_state[key("queue")])


def reviewer() -> str:
    """Return who judges, "" for nobody."""
    return who.reviewer_name()


def chosen() -> ItemFilter:
    """Return the filter of the sidebar, with the reviewer's share where only that is wanted."""
    values = _filtered()
    share = review_session.plan_of(queue()).share_of(reviewer()) if values["mine"] else None
    return replace(links.item_filter(values), share=share)


def _filtered() -> dict[str, object]:
    return {name: st.session_state.get(key(name), links.DEFAULTS[name]) for name in links.DEFAULTS}


def open_queue(name: str | None = None) -> None:
    """Show a queue from its first item that is not judged; for a callback."""
    state = st.session_state
    if name is not None:
        state[key("queue")] = name
    state[key("item")] = None
    for name_of, default in links.DEFAULTS.items():
        if name_of not in ("order", "descending", "mine"):
            state[key(name_of)] = default


def start_anew() -> None:
    """Go to the first item found that is not judged; for a callback."""
    st.session_state[key("item")] = None


def show_item(position: int) -> None:
    """Show an item in full; for a callback."""
    st.session_state[key("item")] = position
    st.session_state[key("tab")] = "judge"


def current() -> ItemView | None:
    """Return the item to show: the chosen one, else the first that is not judged, else any."""
    file, position = review_session.queues(), st.session_state[key("item")]
    if position is not None:
        return get_item(file, queue(), int(position), reviewer())
    view = next_item(file, queue(), chosen(), reviewer())
    if view is not None:
        st.session_state[key("item")] = view.position
    return view


def see(view: ItemView | None) -> str:
    """Remember what the person has before them, and return the mark of it.

    Buttons bear the mark, and with them the keys that press them: one pressed before the next item
    stood on the screen bears that of the item before, and counts for nothing.
    """
    state = st.session_state
    state[key("painted")] = mark = _mark(view)
    seen = None if view is None else (queue(), view.position, reviewer(), view.judgement.revision)
    state[key("seen")] = seen
    at = None if seen is None else seen[:3]
    if state.get(key("since"), (None,))[0] != at:
        state[key("since")] = (at, time.monotonic())
    return mark


def _mark(view: ItemView | None) -> str:
    at = "end" if view is None else view.position
    return f"{queue()}_{at}_{who.digest(reviewer())}"


def _is_painted(mark: str) -> bool:
    """Return whether a key was pressed at the item on the screen; keep a message where not."""
    if st.session_state.get(key("painted")) == mark:
        return True
    st.session_state[key("refused")] = (
        "A key was pressed before the next item was on the screen: it was ignored, and nothing "
        "was recorded."
    )
    return False


def give(verdict: ReviewVerdict, mark: str) -> None:
    """Record a judgement on the item shown and go to the next; for a callback."""
    target = _place()
    if not _is_painted(mark) or target is None:
        return
    try:
        row = judge(review_session.queues(), target, verdict)
    except (MMHError, ValueError) as error:
        refuse(error)
        return
    _forget_paint()
    st.session_state[key("last")] = (target.item, verdict)
    following = next_item(
        review_session.queues(), target.queue, chosen(), target.reviewer, after=row.item
    )
    st.session_state[key("item")] = row.item if following is None else following.position
    st.session_state[key("ended")] = following is None


def take_back(mark: str) -> None:
    """Undo the reviewer's last judgement and show its item; for a callback."""
    if not _is_painted(mark):
        return
    try:
        row = undo(review_session.queues(), queue(), reviewer(), identified=who.identified())
    except MMHError as error:
        refuse(error)
        return
    if row is None:
        st.session_state[key("refused")] = "You have given no judgement that could be withdrawn."
        return
    _forget_paint()
    st.session_state[key("last")] = None
    st.session_state[key("item")] = row.item


def noted(target: ReviewTarget, revision: int) -> None:
    """Keep that notes of the item shown were recorded, by the person who looks at it."""
    seen = st.session_state.get(key("seen"))
    if seen is not None and seen[:3] == (target.queue, target.item, target.reviewer):
        st.session_state[key("seen")] = (*seen[:3], revision)


def _forget_paint() -> None:
    """What stands on the screen is done with, until the next item is drawn."""
    for name in ("painted", "seen", "since"):
        st.session_state.pop(key(name), None)


def _place() -> ReviewTarget | None:
    """Return what the person judges, as they saw it."""
    seen = st.session_state.get(key("seen"))
    if seen is None or seen[0] != queue():
        return None
    _, position, _, revision = seen
    # A name changed at this very moment: whoever it is has not judged what stands there.
    revision = revision if seen[2] == reviewer() else 0
    at, since = st.session_state.get(key("since"), (None, 0.0))
    seconds = time.monotonic() - since if at == seen[:3] else 0.0
    return ReviewTarget(queue(), position, reviewer(), revision, who.identified(), seconds)


def refuse(error: Exception) -> None:
    """Keep why nothing was recorded, for the page to show; for a callback."""
    st.session_state[key("refused")] = str(error)
