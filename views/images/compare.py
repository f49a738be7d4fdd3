"""An image beside a training image, under its region map, and its denoising trajectory."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

import streamlit as st
from torch import Tensor

from mmh_core.formats.texts import short
from mmh_core.plots.image_grid import difference, reduced, region_image
from mmh_core.studies.images.run import ImageResult
from mmh_core.subject.caption_kinds import kind_words
from mmh_core.subject.copies import TrainingNeighbor
from views.images import image_html, phrases, scrubber
from views.widgets import layout

_WAYS = {"side by side": "Side by side", "flicker": "Flicker", "difference": "Difference"}
_SENTENCES = {
    "flicker": "Both in the same position, in turn: what jumps is different. Pointing at it "
    "stops it; where motion is switched off, pointing at it shows the other.",
    "difference": "The absolute difference of each pixel: black is equal, bright is different.",
}
_LARGE = 768


@dataclass(frozen=True, eq=False)
class NamedImage:
    """An image with its text for screen readers and its caption."""

    image: Tensor
    alt: str
    caption: str


def choose_way(key: str) -> str:
    """Show the choice of how two images are compared, and return it."""
    way = st.segmented_control(
        "View",
        list(_WAYS),
        default="side by side",
        required=True,
        key=key,
        format_func=_WAYS.__getitem__,
        label_visibility="collapsed",
    )
    return str(way)


def choose_seed(seeds: Sequence[int], key: str) -> int:
    """Show the choice of a seed, and return its place among `seeds`."""
    position = st.segmented_control(
        "Seed",
        list(range(len(seeds))),
        default=0,
        required=True,
        key=key,
        format_func=lambda i: f"seed {seeds[i]}",
        label_visibility="collapsed",
    )
    return int(position or 0)


def compared(first: NamedImage, second: NamedImage, way: str) -> str:
    """Return two images in a way of comparing them, as HTML."""
    elements = [image_html.img(named.image, named.alt, most=_LARGE) for named in (first, second)]
    if way == "flicker":
        return f'<div class="im-stack im-flicker">{"".join(elements)}</div>'
    if way == "difference":
        alt = "Absolute difference of the two images"
        element = image_html.img(difference(first.image, second.image), alt, most=_LARGE)
        return f'<div class="im-stack">{element}</div>'
    figures = "".join(
        f"<figure>{element}<figcaption>{escape(named.caption)}</figcaption></figure>"
        for element, named in zip(elements, (first, second), strict=True)
    )
    return f'<div class="im-pair">{figures}</div>'


def sentence(way: str, side_by_side: str) -> str:
    """Return what a way of comparing shows; `side_by_side` says what stands where."""
    return _SENTENCES.get(way, side_by_side)


def neighbor(near: TrainingNeighbor, threshold: float = math.nan) -> str:
    """Return a training image with its similarity, caption and multiplicity, as HTML.

    `threshold`, the copy threshold, stands beside the similarity unless it is NaN.
    """
    times = "" if near.multiplicity == 1 else f" · {near.multiplicity:,} times in the training set"
    kind = f"{escape(kind_words(near.kind))} · " if near.kind else ""
    file = f"<br>{escape(near.file)}" if near.file else ""
    text = escape(short(near.caption, 90))
    limit = "" if math.isnan(threshold) else f" (copy threshold {threshold:.3f})"
    caption = (
        f"similarity <b>{near.similarity:.3f}</b>{limit}<br>"
        f"{kind}image {near.id:,}{times}{file}<br>{text}"
    )
    alt = f"Training image {near.display_name}: {near.caption}"
    return image_html.figure(near.image, alt, caption, most=image_html.THUMB)


@st.fragment
def section(
    image: ImageResult,
    name: str,
    below: Callable[[TrainingNeighbor | None], None] | None = None,
) -> None:
    """Show the image beside, in turn with, or minus one of its neighbors.

    `below` shows what belongs under them, given the neighbor that was chosen.
    """
    layout.heading(
        "Comparison with a training image",
        "Is it the same image? The same layout alone is a template copy, the same object alone "
        "no copy.",
    )
    if not image.neighbors:
        large = image_html.img(image.image, "Generated image", most=_LARGE)
        image_html.show(f'<div class="im-stack">{large}</div>')
        st.caption("There are no training images of this model to compare with.")
        if below is not None:
            below(None)
        return
    ranks = list(range(len(image.neighbors)))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        way = choose_way(f"im_way_{name}")
        rank = st.selectbox(
            "Training image",
            ranks,
            index=ranks.index(rank_of(image)),
            key=f"im_rank_{name}",
            format_func=lambda i: (
                f"Rank {i + 1}: training image {_called(image.neighbors[i])}, "
                f"similarity {image.neighbors[i].similarity:.3f}"
            ),
            label_visibility="collapsed",
        )
    near = image.neighbors[rank or 0]
    alt = f"Training image {near.display_name}: {near.caption}"
    pair = (
        NamedImage(image.image, "Generated image", "this image"),
        NamedImage(near.image, alt, f"training image {_called(near)}"),
    )
    image_html.show(compared(*pair, way))
    st.caption(sentence(way, "This image at left, the training image at right."))
    if below is not None:
        below(near)


def rank_of(image: ImageResult) -> int:
    """Return the place among the neighbors of the one that the verdict names."""
    return next(i for i, near in enumerate(image.neighbors) if near is image.evidence_neighbor)


def _called(near: TrainingNeighbor) -> str:
    return phrases.training_image_name(near.id, near.file)


@st.fragment
def region(image: ImageResult, name: str) -> None:
    """Show the region map over the image."""
    layout.heading(
        "Region map: squared guidance vector by region",
        "Yellow: the guidance vector is still large there at the last step, a sign of a memorized "
        "region. The map has the resolution of the latents, so read it by region and not by "
        "pixel.",
    )
    height, width = (int(side) for side in image.image.shape[1:])
    scale = min(1.0, _LARGE / max(height, width))
    heatmap = region_image(image.region, round(height * scale), round(width * scale))
    if heatmap is None:
        st.caption("A region map needs guidance and a caption.")
        return
    opacity = st.slider("Opacity", 0, 100, 55, step=5, format="%d %%", key=f"im_opacity_{name}")
    below = image_html.img(reduced(image.image, _LARGE), "The image")
    rows, columns = image.region.shape
    above = image_html.img(
        heatmap,
        f"Region map of {rows} x {columns} cells",
        style=f"opacity: {opacity / 100:.2f}; background: none",
    )
    image_html.show(f'<div class="im-stack">{below}{above}</div>')
    st.caption(
        f"{rows} x {columns} latent cells, from 0 (violet) to the largest value of this image."
    )


def steps(image: ImageResult, name: str) -> None:
    """Show the predicted final image after each step."""
    if image.reconstruction is not None:
        _reconstruction(image.image, image.reconstruction)
        return
    layout.heading(
        "Denoising trajectory",
        "The predicted final image after each step. A memorized image often appears after few "
        "steps; an early image alone is no proof.",
    )
    kept_steps = image.frame_steps.tolist()
    if len(kept_steps) < 2 or len(image.frames) != len(kept_steps):
        st.caption(
            "No steps were kept: a run that was stopped, or generated from the command "
            "line, has none."
        )
        return
    scrubber.show(list(zip(kept_steps, image.frames, strict=True)), f"im_step_{name}")


def _reconstruction(uploaded: Tensor, reconstruction: Tensor) -> None:
    layout.heading(
        "Autoencoder reconstruction",
        "The image after encoding and decoding. LID is estimated at the encoded latents: details "
        "that the autoencoder loses, such as fine print, do not enter it.",
    )
    own = image_html.figure(uploaded, "The uploaded image", "uploaded", most=_LARGE)
    back = image_html.figure(
        reconstruction, "Autoencoder reconstruction", "reconstructed", most=_LARGE
    )
    image_html.show(f'<div class="im-pair">{own}{back}</div>')
