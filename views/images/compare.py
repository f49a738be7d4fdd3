"""Draw one image against another, under its region map, and as it came about."""

from __future__ import annotations

import math
from html import escape

import streamlit as st

from mmh_core.plots.image_grid import difference, reduced, region_image
from mmh_core.studies.images.run import ImageResult
from mmh_core.subject.copies import NeighborFound
from views.images import phrases, show
from views.widgets import layout

WAYS = {"side by side": "Side by side", "flicker": "Flicker", "difference": "Difference"}
_SENTENCES = {
    "side by side": "This image at left, the training image at right.",
    "flicker": "Both in the same position, in turn: what jumps is different. Pointing at it "
    "stops it; where motion is switched off, pointing at it shows the other.",
    "difference": "The absolute difference of each pixel: black is equal, bright is different.",
}
_LARGE = 768


def neighbor(near: NeighborFound, threshold: float = math.nan) -> str:
    """Return a training image with its similarity, caption and copies, as HTML.

    A similarity from `threshold` on is marked: from there on a copy is possible.
    """
    times = "" if near.copies == 1 else f" · {near.copies:,} times"
    kind = f"{escape(near.kind)} · " if near.kind else ""
    file = f"<br>{escape(near.file)}" if near.file else ""
    text = escape(near.caption if len(near.caption) <= 90 else f"{near.caption[:87]}...")
    limit = f" ({'from' if near.similarity >= threshold else 'below'} {threshold:.3f})"
    caption = (
        f"<b>{near.similarity:.3f}</b>{'' if math.isnan(threshold) else limit}<br>"
        f"{kind}image {near.id:,}{times}{file}<br>{text}"
    )
    alt = f"Training image {near.called}: {near.caption}"
    return show.figure(near.image, alt, caption, most=show.THUMB)


@st.fragment
def section(image: ImageResult, name: str) -> None:
    """Draw the image beside, in turn with, or minus one of its neighbors."""
    layout.heading(
        "Comparison with a training image",
        "Is it the same image? Equal layout alone is a template, equal subject alone is no copy.",
    )
    if not image.neighbors:
        show.html(f'<div class="im-stack">{_own(image)}</div>')
        st.caption("There are no training images of this model to compare with.")
        return
    ranks = list(range(len(image.neighbors)))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        way = st.segmented_control(
            "View",
            list(WAYS),
            default="side by side",
            required=True,
            key=f"im_way_{name}",
            format_func=WAYS.__getitem__,
            label_visibility="collapsed",
        )
        rank = st.selectbox(
            "Training image",
            ranks,
            index=ranks.index(rank_of(image)),
            key=f"im_rank_{name}",
            format_func=lambda i: (
                f"{i + 1}. image {_called(image.neighbors[i])} "
                f"({image.neighbors[i].similarity:.3f})"
            ),
            label_visibility="collapsed",
        )
    near = image.neighbors[rank or 0]
    show.html(_compared(image, near, str(way)))
    st.caption(_SENTENCES[str(way)])


def rank_of(image: ImageResult) -> int:
    """Return the place among the neighbors of the one that the verdict names."""
    return next(i for i, near in enumerate(image.neighbors) if near is image.nearest)


def _called(near: NeighborFound) -> str:
    return phrases.called(near.id, near.file)


def _own(image: ImageResult) -> str:
    return show.img(image.image, "Generated image", most=_LARGE)


def _compared(image: ImageResult, near: NeighborFound, way: str) -> str:
    other = show.img(near.image, f"Training image {near.called}: {near.caption}", most=_LARGE)
    if way == "flicker":
        return f'<div class="im-stack im-flicker">{_own(image)}{other}</div>'
    if way == "difference":
        found = difference(image.image, near.image)
        alt = "Absolute difference of the two images"
        return f'<div class="im-stack">{show.img(found, alt, most=_LARGE)}</div>'
    return (
        f'<div class="im-pair"><figure>{_own(image)}<figcaption>this image</figcaption>'
        f"</figure><figure>{other}<figcaption>training image "
        f"{escape(_called(near))}</figcaption></figure></div>"
    )


@st.fragment
def region(image: ImageResult, name: str) -> None:
    """Draw the region map over the image."""
    layout.heading(
        "Region map: guidance at the last step",
        "Yellow: the guidance is still large there at the last step, which marks memorized "
        "regions. The map has the resolution of the latents, so read it by region and not by "
        "pixel.",
    )
    height, width = (int(side) for side in image.image.shape[1:])
    scale = min(1.0, _LARGE / max(height, width))
    found = region_image(image.region, round(height * scale), round(width * scale))
    if found is None:
        st.caption("A region map needs guidance and a caption.")
        return
    opacity = st.slider("Opacity", 0, 100, 55, step=5, format="%d %%", key=f"im_opacity_{name}")
    below = show.img(reduced(image.image, _LARGE), "The image")
    rows, columns = image.region.shape
    above = show.img(
        found,
        f"Region map of {rows} x {columns} cells",
        style=f"opacity: {opacity / 100:.2f}; background: none",
    )
    show.html(f'<div class="im-stack">{below}{above}</div>')
    st.caption(
        f"{rows} x {columns} cells, from no guidance (violet) to the largest in this image."
    )


@st.fragment
def steps(image: ImageResult, name: str) -> None:
    """Draw the image as the model saw it coming, step by step."""
    if len(image.frames) == 1 and len(image.frame_steps) == 1:
        _reconstruction(image)
        return
    layout.heading(
        "Denoising trajectory",
        "The predicted final image after each step. A memorized image often appears after few "
        "steps; an early image alone is no proof.",
    )
    found = image.frame_steps.tolist()
    if len(found) < 2 or len(image.frames) != len(found):
        st.caption(
            "No steps were kept: a run that was stopped, or generated from the command "
            "line, has none."
        )
        return
    step = st.select_slider("Step", found, value=found[0], key=f"im_step_{name}")
    frame = image.frames[found.index(step)]
    strip = "".join(
        show.figure(one, f"After step {at}", f"<b>{at}</b>" if at == step else str(at), most=64)
        for one, at in zip(image.frames, found, strict=True)
    )
    large = show.img(frame, f"Predicted image after step {step}", most=_LARGE)
    show.html(f'<div class="im-stack">{large}</div>')
    show.html(f'<div class="im-strip">{strip}</div>')


def _reconstruction(image: ImageResult) -> None:
    layout.heading(
        "Autoencoder reconstruction",
        "The image after encoding and decoding. LID is estimated here: details lost in it, "
        "such as fine print, cannot have been memorized.",
    )
    own = show.figure(image.image, "The uploaded image", "uploaded", most=_LARGE)
    back = show.figure(image.frames[0], "Autoencoder reconstruction", "reconstructed", most=_LARGE)
    show.html(f'<div class="im-pair">{own}{back}</div>')
