"""The bar of the tour: which step this is, what to notice, and the ways to the others."""

from __future__ import annotations

from html import escape
from urllib.parse import urlencode

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from mmh_core.records import MMHError
from views.session import plain
from views.style import GROUND
from views.tour import steps
from views.tour.steps import Step
from views.widgets.link_values import TOUR, whole

_STYLE = f"""<style>
[data-testid="stMain"] :is(.st-key-tour, :has(> .st-key-tour)) {{position: sticky; top: 0;
  z-index: 90;}}
.tour {{border: 1px solid #12788a; border-left-width: .3rem; border-radius: .5rem;
  padding: .6rem .9rem .65rem; background: {GROUND}; box-shadow: 0 2px 8px rgba(0,0,0,.12);}}
.tour-head {{display: flex; flex-wrap: wrap; gap: .4rem 1rem; align-items: center;
  justify-content: space-between;}}
.tour h2 {{font-size: 1.05rem !important; font-weight: 600; padding: 0 !important;
  margin: 0 !important;}}
.tour h2 span {{font-weight: 400; opacity: .8; margin-right: .35rem;}}
.tour ul {{display: flex; gap: .5rem; list-style: none; margin: 0; padding: 0;}}
.tour li {{margin: 0;}}
.tour a {{display: block; padding: .25rem .8rem; border: 1px solid rgba(128,140,146,.7);
  border-radius: .4rem; font-size: .9rem; color: inherit !important;
  text-decoration: none !important;}}
.tour p a {{display: inline; padding: 0; border: 0; text-decoration: underline !important;}}
.tour a.tour-next {{background: #12788a; border-color: #12788a; color: #fff !important;
  font-weight: 600;}}
.tour a:is(:hover, :focus-visible) {{border-color: #0b8fb3; box-shadow: 0 0 0 1px #0b8fb3;
  outline: none;}}
.tour p {{margin: .35rem 0 0; font-size: .95rem; line-height: 1.45; overflow-wrap: anywhere;}}
/* On a phone the text goes by with the page, and the ways on stay at hand. */
@media (max-width: 768px) {{
  [data-testid="stMain"] :is(.st-key-tour, :has(> .st-key-tour)) {{position: static;}}
  .tour {{box-shadow: none;}}
  .tour nav {{position: fixed; left: 0; right: 0; bottom: 0; z-index: 95; padding: .5rem 1rem;
    background: {GROUND}; border-top: 1px solid #12788a;}}
  .tour ul {{justify-content: space-between;}}
  .tour a {{padding: .45rem .9rem;}}}}
@media print {{.tour {{display: none;}}}}
</style>"""


def place() -> DeltaGenerator | None:
    """Return where the bar goes, None where the address is at no step."""
    return st.container(key="tour") if TOUR in st.query_params else None


def show(place: DeltaGenerator | None, page: str, link: dict[str, str]) -> None:
    """Show the bar of the step that the address is at; `link` says what the page shows now."""
    if place is None:
        return
    number, refused = _number(page)
    with place:
        if number is None:
            st.warning(plain(refused), icon=":material/warning:")
            return
        st.html(f"{_STYLE}{_body(number, page, link)}")


def _number(page: str) -> tuple[int | None, str]:
    """Return the step of the address, or None and why it is none of this page."""
    every = steps.steps()
    messages: list[str] = []
    given = st.query_params.get(TOUR)
    number = whole(TOUR, given, (1, len(every)), messages)
    if number is not None and every[number - 1].page == page:
        return number, ""
    del st.query_params[TOUR]
    return None, " ".join(messages) or f"Step {number} of the tour is on another page."


def _body(number: int, page: str, link: dict[str, str]) -> str:
    every = steps.steps()
    step = every[number - 1]
    last = number == len(every)
    leave = f"{page}?{urlencode(step.parameters)}"
    ways = (
        ("Back", steps.address(number - 1), "tour-back"),
        ("Finish" if last else "Next", steps.address(number + 1), "tour-next"),
        ("Leave the tour", leave, "tour-leave"),
    )
    items = "".join(
        f'<li><a class="{css}" href="{escape(address)}">{label}</a></li>'
        for label, address, css in ways
    )
    return (
        '<section class="tour" aria-label="Guided tour"><div class="tour-head">'
        f"<h2><span>Tour, step {number} of {len(every)}</span> {escape(step.title)}</h2>"
        f'<nav aria-label="Steps of the tour"><ul>{items}</ul></nav></div>'
        f"<p>{_words(number, step, page, link)}</p></section>"
    )


def _words(number: int, step: Step, page: str, link: dict[str, str]) -> str:
    """Return what to notice, or the way back where the page shows something else by now."""
    from views.tour import story

    if not step.shown_by(page, link):
        return (
            "The page shows something else by now. "
            f'<a href="{escape(steps.address(number))}">Show step {number} again</a>'
        )
    try:
        return escape(story.notice(step))
    except MMHError:
        return ""  # The page says what is wrong with the file.
