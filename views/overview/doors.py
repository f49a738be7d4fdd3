"""The doors to the three tasks and the guided tour, as links that load no library."""

from __future__ import annotations

import base64
from html import escape

import streamlit as st

from views.overview import session as overview_session
from views.tour import steps
from views.widgets import layout

STYLE = """<style>
.ov-grid {display: grid; gap: .9rem; grid-template-columns: repeat(auto-fit, minmax(250px, 1fr));}
.ov-tour {grid-template-columns: repeat(auto-fill, minmax(min(100%, 230px), 1fr));}
.ov-hold {container-type: inline-size;}
@container (min-width: 515px) and (max-width: 778px) {
  .ov-card:last-child {grid-column: 1 / -1;}}
.ov-card {display: flex; flex-direction: column; gap: .45rem; padding: 1rem 1.1rem 1.05rem;
  border: 1px solid rgba(128,140,146,.38); border-radius: .5rem; color: inherit !important;
  text-decoration: none !important; transition: border-color .15s;}
.ov-card:hover, .ov-card:focus-visible {border-color: #0b8fb3; outline: none;
  box-shadow: 0 0 0 1px #0b8fb3;}
.ov-card b {font-size: 1.05rem; font-weight: 600;}
.ov-card p {margin: 0; font-size: .9rem; line-height: 1.45; opacity: .85; flex: 1;}
.ov-card .ov-go {font-size: .9rem; font-weight: 600; opacity: 1; flex: none;}
.ov-sketch {height: 96px; width: 96px; display: block; margin-bottom: 35px;}
/* Two lines of caption, so that titles stand on one line across the cards. */
.ov-card .ov-pair {min-height: 131px;}
.ov-further {margin: .9rem 0 0; font-size: .9rem;}
.ov-further a {color: inherit; font-weight: 600; text-decoration-color: #0b8fb3;
  text-underline-offset: .2em;}
.ov-pair {display: flex; gap: .5rem; align-items: start;}
.ov-pair figure {margin: 0; width: 96px;}
.ov-pair figcaption {font-size: .75rem; line-height: 1.3; opacity: .85; margin-top: .2rem;}
.ov-pair img {height: 96px; width: 96px; display: block; image-rendering: pixelated;
  border-radius: .25rem;}
.ov-pair span {opacity: .75; font-size: 1.2rem; line-height: 96px;}
.ov-step {display: inline-block; min-width: 1.5rem; height: 1.5rem; line-height: 1.5rem;
  text-align: center; border-radius: 1rem; background: #12788a; color: #fff; font-size: .85rem;
  margin-right: .45rem;}
</style>"""
_TASKS = (
    (
        "manifolds",
        "Synthetic manifolds",
        "Train a small model on a manifold whose dimension is known, and watch its LID fall "
        "where it memorizes.",
        "Open the sandbox",
    ),
    (
        "images",
        "Images",
        "Generate images from a prompt: each with its LID, its percentile among reference prompts "
        "and its nearest training images.",
        "Generate images",
    ),
    (
        "mitigation",
        "Mitigation",
        "Compare mitigations from the same starting noise: does copying stop, and what is the "
        "effect on prompt alignment?",
        "Compare mitigations",
    ),
)
_FURTHER = (
    (
        "review",
        "Review flagged prompts",
        "scan a table of prompts, judge them, export the judgements",
    ),
    (
        "benchmark",
        "Benchmark of detectors",
        "which score detects memorized prompts, and at what cost",
    ),
)


def section() -> None:
    """Show the three doors, and the two smaller ones."""
    cards = "".join(card(page, "", escape(title), text, go) for page, title, text, go in _TASKS)
    further = " &ensp;·&ensp; ".join(
        f'<a href="{page}">{escape(title)}</a>: {escape(text)}' for page, title, text in _FURTHER
    )
    st.html(f'{STYLE}{_grid(cards)}<p class="ov-further">{further}</p>')


def tour() -> None:
    """Show the steps of the guided tour, each a finished state of a page with the tour's bar."""
    every = steps.steps()
    layout.part(
        "Guided tour, about five minutes",
        "For whoever has never heard of LID. Each step opens a page at a finished result, with a "
        "bar on top that says what to notice and leads on; nothing has to be computed.",
    )
    images = overview_session.tour_images()
    about: dict[steps.Name, tuple[str, str]] = {
        "training": (
            _circle(),
            "A small model learns points of a circle. Play its training, and see it begin to "
            "repeat them.",
        ),
        "copies": (
            _images((images.training, "training image"), "→", (images.generated, "generated")),
            "Each seed starts from another noise. Play the denoising, and see where they end.",
        ),
        "contrast": (
            _images((images.free, "generated")),
            "The same model with a prompt that many different training images stand behind.",
        ),
        "mitigation": (
            _images(
                (images.copied, "no mitigation"), "→", (images.mitigated, f"with {images.label}")
            ),
            "The same starting noise without and with a mitigation, and what it costs.",
        ),
    }
    cards = "".join(
        card(
            steps.address(number),
            about[step.name][0],
            f'<span class="ov-step">{number}</span>{escape(step.title)}',
            about[step.name][1],
            "Start the tour" if number == 1 else f"Open step {number}",
        )
        for number, step in enumerate(every, start=1)
    )
    st.html(f'{STYLE}<div class="ov-grid ov-tour">{cards}</div>')


def _grid(cards: str) -> str:
    """Return cards side by side; of three in a narrow window the last takes a row."""
    return f'<div class="ov-hold"><div class="ov-grid">{cards}</div></div>'


def card(address: str, image: str, title: str, text: str, go: str) -> str:
    """Return a card that is a link; `image` and `title` are HTML."""
    return (
        f'<a class="ov-card" href="{escape(address)}">{image}<b>{title}</b>'
        f'<p>{escape(text)}</p><span class="ov-go">{escape(go)} →</span></a>'
    )


def _images(*parts: tuple[bytes, str] | str) -> str:
    """Return images with their captions side by side, "" where one is missing."""
    if any(not part[0] for part in parts):
        return ""
    elements = [
        f"<span>{part}</span>"
        if isinstance(part, str)
        else f'<figure><img alt="{escape(part[1])}" '
        f'src="data:image/png;base64,{base64.b64encode(part[0]).decode()}">'
        f"<figcaption>{escape(part[1])}</figcaption></figure>"
        for part in parts
    ]
    return f'<div class="ov-pair">{"".join(elements)}</div>'


def _circle() -> str:
    """Return a small drawing of an arc with isolated points, as an image: HTML may hold no SVG."""
    lone = "".join(
        f'<circle cx="{x}" cy="{y}" r="4" fill="#d55e00"/>'
        for x, y in (
            (13.2, 38.7),
            (20.4, 24.9),
            (32.8, 15.4),
            (48, 12),
            (63.2, 15.4),
            (75.6, 24.9),
            (82.8, 38.7),
        )
    )
    drawing = (
        '<svg xmlns="http://www.w3.org/2000/svg" width="96" height="96" viewBox="0 0 96 96">'
        '<circle cx="48" cy="48" r="36" fill="none" stroke="#87939a" stroke-width="2" '
        f'stroke-dasharray="120 107"/>{lone}</svg>'
    )
    source = base64.b64encode(drawing.encode()).decode()
    return f'<img class="ov-sketch" alt="" src="data:image/svg+xml;base64,{source}">'
