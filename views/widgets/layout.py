"""The look of titles, headings, facts and charts of all views."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from views.importing import load
from views.session import plain as plain

if TYPE_CHECKING:
    import plotly.graph_objects as go

#: What Streamlit imports when it meets the first chart.
_CHARTS = ("pandas", "plotly.graph_objects")
#: The bar above a chart to select in.
SELECT_TOOLS = [["select2d", "lasso2d", "pan2d", "zoom2d", "resetScale2d", "toImage"]]
BOX_TOOLS = [["select2d", "zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]]

#: Mid-greys that stand out from a light and from a dark page.
_BAR = {
    "bgcolor": "rgba(0,0,0,0)",
    "color": "rgba(128,140,146,0.95)",
    "activecolor": "#0b8fb3",
}
_FACTS = """<style>
.mf-facts {display: grid; grid-template-columns: fit-content(50%) minmax(0, 1fr);
  gap: .35rem 1rem; margin: 0; font-size: .9rem; line-height: 1.4;}
.mf-facts span:nth-child(odd) {opacity: .75;}
.mf-facts span {font-variant-numeric: tabular-nums; overflow-wrap: anywhere; min-width: 0;}
</style>"""

_HELP = """<style>
.mf-help {display: inline-flex; align-items: center; justify-content: center; width: 1.6rem;
  height: 1.6rem; border: 1px solid rgba(128,140,146,.7); border-radius: 50%; font-size: .95rem;
  font-weight: 600; color: inherit !important; text-decoration: none !important;}
.mf-help:hover, .mf-help:focus-visible {border-color: #0b8fb3; outline: none;
  box-shadow: 0 0 0 1px #0b8fb3;}
</style>"""


def title(name: str, sentence: str, *, term: str = "") -> None:
    """Show the title of a page, the sentence on it, and a "?" that leads to the glossary.

    The glossary opens at `term`, in a tab of its own, so that nothing on this page is lost.
    """
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="page_title"):
        st.title(name, anchor=False, width="content")
        address = f"glossary?{urlencode({'term': term})}" if term else "glossary"
        about = f"{term} in the glossary" if term else "Glossary"
        st.html(
            f'{_HELP}<a class="mf-help" href="{escape(address)}" target="_blank" '
            f'title="{escape(about)}" aria-label="{escape(about)}">?</a>',
            width="content",
        )
    st.markdown(sentence)


def load_chart_library() -> None:
    """Show an invisible chart, so that the browser loads its library while the run is read.

    An empty chart, out of sight: the browser asks for the library when it meets the first chart.
    """
    load(*_CHARTS)
    with st.container(key="chart_library"):
        st.plotly_chart({"data": [{"type": "scatter"}]}, key="chart_library_chart", height=10)


_CONCLUSION = """<style>
.mf-finding {font-size: 1.125rem; font-weight: 600; line-height: 1.45; margin: 0 !important;
  overflow-wrap: anywhere;}
.mf-next {border-left: .25rem solid #12788a; padding: .15rem 0 .15rem .8rem; font-size: 1rem;
  line-height: 1.5; overflow-wrap: anywhere;}
.mf-next p {margin: 0 !important;}
.mf-next .mf-quiet {opacity: .75; font-size: .9rem;}
</style>"""


def finding(sentence: str) -> None:
    """Show in one sentence what a page finds, with its number; the figures stand below it."""
    st.html(f'{_CONCLUSION}<p class="mf-finding">{escape(sentence)}</p>')


def recommendation(advice: str, certainty: str) -> None:
    """Show at the end of a page what to do next, and how sure that is."""
    st.html(
        f'{_CONCLUSION}<section class="mf-next" aria-label="What to do next"><p><b>What to do '
        f'next.</b> {escape(advice)}</p><p class="mf-quiet">How sure this is: {escape(certainty)}'
        "</p></section>"
    )


def heading(title: str, sentence: str, *, help: str | None = None) -> None:
    """Show the title of a chart with the one sentence on what it shows and what it does not."""
    with st.container(gap="xxsmall"):
        st.subheader(title, anchor=False, help=help)
        st.caption(sentence)


def part(title: str, sentence: str = "", *, help: str | None = None) -> None:
    """Show the title of a part of a page, which holds charts with titles of their own."""
    with st.container(gap="xxsmall"):
        st.header(title, anchor=False, help=help)
        if sentence:
            st.caption(sentence)


def left_out(sentence: str, nothing: bool) -> None:
    """Show what of the folder of models cannot be chosen, as a warning where nothing can be."""
    if nothing:
        st.warning(plain(sentence), icon=":material/folder_off:")
    elif sentence:
        st.caption(plain(sentence))


def side_by_side(name: str, shares: tuple[int, int] = (1, 1)) -> list[DeltaGenerator]:
    """Return two columns, which stand one below the other in a narrow window."""
    # The style sheet of session.guard knows the columns by this key.
    with st.container(key=f"pair_{name}"):
        return st.columns(list(shares), gap="medium")


def facts(pairs: list[tuple[str, str]]) -> None:
    """Show names with their values, one below the other."""
    rows = "".join(
        f"<span>{escape(name)}</span><span>{escape(value)}</span>" for name, value in pairs
    )
    st.html(f'{_FACTS}<div class="mf-facts">{rows}</div>')


def chart(
    figure: go.Figure,
    key: str,
    *,
    on_select: Callable[[], None] | None = None,
    boxes: bool = False,
) -> None:
    """Show a figure of mmh_core.plots, with its sentence for screen readers.

    With `on_select` points can be selected, and the bar with the tools for it is there; with
    `boxes` only boxes can be drawn, as on an image, and the bar zooms in and out.
    """
    load(*_CHARTS)
    from mmh_core.plots.theme import alt_text

    config: dict[str, Any] = {"displaylogo": False, "displayModeBar": on_select is not None}
    if on_select is None:
        st.plotly_chart(figure, key=key, config=config, alt=alt_text(figure))
        return
    figure.update_layout(modebar=_BAR)
    st.plotly_chart(
        figure,
        key=key,
        on_select=on_select,
        selection_mode="box" if boxes else ("points", "box", "lasso"),
        config=config
        | {"displayModeBar": True, "modeBarButtons": BOX_TOOLS if boxes else SELECT_TOOLS},
        alt=alt_text(figure),
    )


def metric(label: str, value: str, beneath: str, help: str) -> None:
    """Show a key figure with a line beneath it that is no change of it."""
    st.metric(
        label,
        value,
        beneath,
        delta_color="off",
        delta_arrow="off",
        help=help,
        border=True,
        width="stretch",
    )
