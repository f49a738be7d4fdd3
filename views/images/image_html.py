"""Images as HTML: data that needs no request, every pixel as it is."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape

import streamlit as st
from torch import Tensor

from mmh_core.memorization.verdict import IMAGE_ROWS, verdict_words
from mmh_core.plots.image_grid import reduced
from mmh_core.report.image_files import png_bytes
from mmh_core.studies.images.run import ImageRun, ImageVerdict
from views.widgets import layout

#: The longest side of an image on a card and of a neighbor, in pixels of its own.
CARD, THUMB = 256, 128

STYLE = """<style>
.im-pair {display: grid; grid-template-columns: 1fr 1fr; gap: .5rem;}
.st-key-im_cards, .st-key-im_cards_live {display: grid !important; gap: .75rem;
  grid-template-columns: repeat(auto-fill, minmax(225px, 1fr));}
.im-grid {display: grid; gap: .6rem; grid-template-columns: repeat(auto-fill, minmax(148px, 1fr));}
.im-grid.wide {grid-template-columns: repeat(auto-fill, minmax(160px, 210px));}
.im-pair figure, .im-grid figure, .im-one figure {margin: 0; min-width: 0;}
.im img {width: 100%; display: block; border-radius: .2rem; background: rgba(128,140,146,.2);}
.im img.small {image-rendering: pixelated;}
.im figcaption {font-size: .78rem; line-height: 1.3; opacity: .8; margin-top: .25rem;
  overflow-wrap: anywhere;}
.im figcaption b {font-weight: 600;}
.im p {margin: .4rem 0 0; font-size: .875rem; line-height: 1.4;
  font-variant-numeric: tabular-nums;}
.im .im-verdict {font-weight: 600; border-left: .25rem solid; padding-left: .45rem;}
.im .im-verdict i {font-style: normal; margin-right: .3rem;}
.im .im-quiet {opacity: .75;}
.im .im-prompt {padding: 0; font-size: 1.25rem; font-weight: 600; line-height: 1.3; margin: 0;
  overflow-wrap: anywhere; max-height: 7.8em; overflow-y: auto; white-space: pre-wrap;}
.im-stack {position: relative; max-width: 22rem;}
.im-stack img + img {position: absolute; inset: 0; height: 100%;}
.im-flicker img + img {animation: im-flicker 1.6s steps(1) infinite;}
.im-flicker:hover img + img {animation-play-state: paused;}
@keyframes im-flicker {0% {opacity: 1;} 50% {opacity: 0;} 100% {opacity: 0;}}
@media (prefers-reduced-motion: reduce) {
  .im-flicker img + img {animation: none; opacity: 0;}
  .im-flicker:hover img + img {opacity: 1;}
}
</style>"""


def show(body: str) -> None:
    """Show HTML of this module with its style."""
    st.html(f'{STYLE}<div class="im">{body}</div>')


def data_uri(image: Tensor, most: int | None = None) -> str:
    """Return an image, uint8 (3, H, W), as the address of its own PNG, reduced to `most`."""
    smaller = image if most is None else reduced(image, most)
    return "data:image/png;base64," + base64.b64encode(png_bytes(smaller, None)).decode()


def pixels(image: Tensor) -> str:
    """Return the class of an image's element, by which pixels of a small one stay squares."""
    return "small" if max(image.shape[1:]) <= CARD else ""


def img(image: Tensor, alt: str, *, most: int | None = None, style: str = "") -> str:
    """Return an image as an element; the pixels of a small one stay squares."""
    extra = f' style="{style}"' if style else ""
    return (
        f'<img class="{pixels(image)}" src="{data_uri(image, most)}" alt="{escape(alt)}"{extra}>'
    )


def figure(image: Tensor, alt: str, caption: str, *, most: int | None = None) -> str:
    """Return an image with a caption below it; `caption` is HTML and must be escaped."""
    return f"<figure>{img(image, alt, most=most)}<figcaption>{caption}</figcaption></figure>"


def show_unread(run: ImageRun) -> None:
    """Show which end of a prompt was not read, what is missing, and the notes on the model."""
    show_missing(run.missing, run.notes)
    for unread in run.unread():
        if unread:
            st.warning(layout.plain(unread), icon=":material/content_cut:")


def show_missing(missing: Sequence[str], notes: Sequence[str]) -> None:
    """Show what of a run is missing, and what was chosen while its model was read."""
    for sentence in missing:
        st.warning(layout.plain(sentence), icon=":material/warning:")
    for note in notes:
        st.caption(layout.plain(f"Note on the model: {note}"))


def verdict(name: ImageVerdict) -> str:
    """Return a verdict with its color and its sign."""
    row = IMAGE_ROWS[name]
    return (
        f'<p class="im-verdict" style="border-color: {row.color}" '
        f'title="{escape(row.sentence)}">'
        f'<i style="color: {row.color}" aria-hidden="true">{row.sign}</i>'
        f"{escape(verdict_words(name))}</p>"
    )
