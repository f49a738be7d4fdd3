"""All results for one image, generated here or uploaded."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import streamlit as st
from torch import Tensor

from mmh_core.plots import images
from mmh_core.report.image_files import metadata_of, png_bytes
from mmh_core.studies.images.run import ImageResult, ImageRun
from mmh_core.subject.copy_search import NEIGHBORS
from mmh_core.subject.reference_prompts import ReferencePrompts
from views.images import compare, image_html, phrases, state
from views.widgets import downloads, layout, words


@dataclass(frozen=True, eq=False)
class ImageContext:
    """The context of an image's results: noise scales, reference prompts, training set."""

    log_deltas: Tensor
    log_delta: float
    reference: ReferencePrompts | None
    searched: int


def context_of(run: ImageRun) -> ImageContext:
    """Return what the images of a run are seen against."""
    return ImageContext(run.log_deltas, run.log_delta, run.reference, run.searched)


def stepper(run: ImageRun, chosen: ImageResult) -> None:
    """Show the number of the image, with the ways to another and to its file."""
    many = len(run.images)
    refused = st.session_state.pop(state.key("refused"), None)
    if refused is not None:
        st.error(layout.plain(refused), icon=":material/error:")
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.header(f"Image {chosen.index}, seed {chosen.seed}", anchor=False, width="content")
        for label, icon, step in (("Previous", "arrow_back", -1), ("Next", "arrow_forward", 1)):
            st.button(
                label,
                icon=f":material/{icon}:",
                key=f"im_{label}",
                disabled=many == 1,
                on_click=state.choose_image,
                args=((chosen.index + step) % many,),
            )
        st.button(
            "Same settings, another seed",
            icon=":material/casino:",
            key="im_another",
            help="Generate one more image of this prompt with a random seed, all else equal",
            on_click=state.generate_another,
            args=(replace(run.config, prompts=(chosen.prompt,)),),
        )
        downloads.offer(
            "PNG",
            f"{run.model.replace('/', '-')}-seed-{chosen.seed}.png",
            lambda: png_bytes(chosen.image, metadata_of(run, chosen), chosen.latents),
            "im_png",
            help="The image with prompt, seed, settings, model digest and LID in its metadata; "
            "upload it under Audit an image to restore them",
        )


def section(image: ImageResult, context: ImageContext, name: str) -> None:
    """Show verdict, comparison, neighbors, curves, region map and steps of an image.

    `name` keeps the widgets of two images apart.
    """
    left, right = layout.side_by_side(f"im_detail_{name}", (3, 2))
    with left:
        compare.section(image, name)
    with right:
        facts(image)
    if image.neighbors:
        _neighbors(image, context)
    left, right = layout.side_by_side(f"im_curves_{name}")
    with left:
        layout.heading(
            "LID across noise scales",
            "Where the line runs below the band, the LID is lower than for reference prompts. "
            "The diamond is the LID that the verdict uses: read it with the rest of the curve.",
            help=phrases.LID,
        )
        layout.chart(
            images.lid_curve(image, context.log_deltas, context.log_delta, context.reference),
            f"im_curve_{name}",
        )
    with right:
        _guidance_norm(image, context, name)
    left, right = layout.side_by_side(f"im_region_{name}")
    with left:
        compare.region(image, name)
    with right:
        compare.steps(image, name)


def _guidance_norm(image: ImageResult, context: ImageContext, name: str) -> None:
    layout.heading(
        "Guidance norm per step",
        "The norm of the guidance vector at each step. Memorized prompts often have a larger "
        "one from the first step on; a large norm alone proves nothing.",
    )
    norm = image.guidance_norm
    if len(norm) > 1:
        layout.chart(images.guidance_norms(image, context.reference), f"im_norm_{name}")
    elif len(norm) and not math.isnan(float(norm[0])):
        st.caption(
            "An uploaded image has no sampling steps. At the smallest noise scale the guidance "
            f"norm with its caption is {float(norm[0]):.2g}."
        )
    else:
        st.caption("Guidance needs a caption: enter one above to see its norm and the region map.")


def facts(image: ImageResult) -> None:
    """Show the verdict with its reason, and the numbers behind it."""
    layout.heading(
        "Verdict",
        "From copies and LID together. It speaks of this model and these training images, and "
        "not of harm.",
    )
    image_html.show(image_html.verdict(image.verdict))
    st.text(image.reason)
    rows = []
    lid = image.lid
    if lid is not None:
        rows += [
            ("LID, conditional", phrases.lid_with_error(lid)),
            ("LID percentile", phrases.percentile(lid)),
            ("LID, unconditional", phrases.with_error(lid.unconditional, lid.unconditional_error)),
            ("Probes of LID", lid.probe_words or "unknown"),
        ]
    rows += [(estimate.label, phrases.lid_with_error(estimate)) for estimate in image.lids[1:]]
    if image.copy is not None:
        copy = image.copy
        rows += [
            ("Nearest training image", phrases.training_image_name(copy.nearest, copy.file)),
            ("Similarity", phrases.nearest(image)),
            ("Occurrences in the training set", f"{copy.multiplicity:,}"),
            ("Near-duplicates of it there", f"{copy.near_duplicates:,}"),
            ("Calibrated L2", words.number(copy.calibrated_l2)),
            ("Distance ratio", words.number(copy.ratio)),
        ]
    if image.truth is not None:
        rows += [
            ("Ground truth of the prompt", phrases.truth(image.truth)),
            (
                "Training images of the prompt",
                f"{image.truth.images:,} distinct, {image.truth.multiplicity:,} with duplicates",
            ),
        ]
    layout.facts(rows)


def _neighbors(image: ImageResult, context: ImageContext) -> None:
    searched = f"all {context.searched:,} training images" if context.searched else "all of them"
    beyond = len(image.neighbors) - NEIGHBORS
    named = ", and the one that the verdict names" if beyond > 0 else ""
    layout.heading(
        f"The {len(image.neighbors) - max(beyond, 0)} nearest training images{named}",
        f"By descriptor, nearest first. The search is unfiltered: {searched} were compared. "
        "Nearest does not mean copied.",
        help=phrases.SIMILARITY,
    )
    threshold = math.nan if image.copy is None else image.copy.threshold
    cards = "".join(compare.neighbor(near, threshold) for near in image.neighbors)
    image_html.show(f'<div class="im-grid">{cards}</div>')
