"""The evidence on an item: images, numbers, and everything that its run holds."""

from __future__ import annotations

import base64
import math
from html import escape

import streamlit as st

from mmh_core.memorization.cause import cause_words
from mmh_core.memorization.verdict import verdict_words
from mmh_core.plots.marked_images import ImagePanel
from mmh_core.records import MMHError
from mmh_core.store.remarks import ITEM_IMAGE
from mmh_core.store.review_records import ItemView, ReviewItem
from mmh_core.store.thumbnails import shown_thumbnail
from mmh_core.studies.images.run import ImageResult, ImageRun, most_severe_image
from mmh_core.studies.review.items import IMAGE_SCORES, score_label, score_words
from mmh_core.subject.copies import TrainingNeighbor
from views import models as model_session
from views.images import compare, detail, image_html, phrases
from views.review import generate, state, zoom
from views.review import session as review_session
from views.review.state import key
from views.widgets import layout, words

#: A longer prompt does not fit into a link.
_LINKED = 1_500


def section(view: ItemView, *, hidden: bool) -> bool:
    """Show images and numbers of an item, and return whether there is an image to judge.

    `hidden` keeps all numbers back.
    """
    item = view.item
    try:
        run = review_session.run_of(item)
    except MMHError as error:
        st.warning(layout.plain(str(error)), icon=":material/warning:")
        run = None
    images = () if run is None else _images(run, item)
    chosen = _one_of(() if hidden else images, item, view.position)
    if _all_wanted(disabled=chosen is None) and run is not None and chosen is not None:
        detail.section(chosen, detail.context_of(run), f"rv_all_{view.position}_{chosen.index}")
        _figures(item)
        _elsewhere(item, view.position, has_images=True)
        return True
    left, right = layout.side_by_side("rv_evidence", (3, 2))
    with left:
        if chosen is None:
            if not images:
                generate.progress(view.position)
            zoom.section(view.position, _pair(item, images), hidden=hidden)
        else:
            _compared(chosen, view, is_kept=chosen is most_severe_image(images))
    with right:
        if hidden:
            layout.heading(
                "Measurements", "Blind review: hidden until you have given your judgement."
            )
        else:
            _figures(item)
        _elsewhere(item, view.position, has_images=bool(images))
    return bool(images or shown_thumbnail(item))


def _one_of(
    images: tuple[ImageResult, ...], item: ReviewItem, position: int
) -> ImageResult | None:
    """Return the image to show: the seed chosen, at first that of the most severe verdict.

    Without any the choice is there too, but greyed: an item looks like the one before it.
    """
    if not images:
        st.segmented_control(
            "Seed",
            list(item.seeds) or [0],
            key=f"rv_no_seed_{position}",
            format_func=lambda seed: f"seed {seed}",
            label_visibility="collapsed",
            disabled=True,
        )
        return None
    seeds = {image.seed: image for image in images}
    chosen = st.segmented_control(
        "Seed",
        list(seeds),
        default=most_severe_image(images).seed,
        required=True,
        key=f"rv_seed_{position}",
        format_func=lambda seed: f"seed {seed}: {verdict_words(seeds[seed].verdict)}",
        label_visibility="collapsed",
    )
    return seeds.get(chosen, images[0]) if chosen is not None else most_severe_image(images)


def _compared(chosen: ImageResult, view: ItemView, *, is_kept: bool) -> None:
    """Show an image beside a training image, both also from near by."""

    def below(near: TrainingNeighbor | None) -> None:
        panels = [zoom.generated_panel(chosen, view.item, is_kept=is_kept)]
        panels += [] if near is None else [zoom.training_panel(near)]
        zoom.section(view.position, panels, hidden=False)

    compare.section(chosen, f"rv_{view.position}_{chosen.seed}", below)


def in_short(item: ReviewItem) -> str:
    """Return the numbers of an item in one line."""
    figures = []
    if not math.isnan(item.score):
        figures.append(f"early-scan score {words.number(item.score)}")
    if not math.isnan(item.similarity):
        figures.append(f"highest similarity {words.number(item.similarity, 3)}")
    if not math.isnan(item.lid):
        rank = "" if math.isnan(item.lid_percentile) else f", {percentile(item.lid_percentile)}"
        figures.append(f"mean LID {words.number(item.lid, 1)}{rank}")
    if item.kind:
        figures.append(item.kind)
    return "; ".join(figures) or "no result, it was not analyzed"


def percentile(share: float) -> str:
    """Return where a LID stands among the reference prompts."""
    if math.isnan(share):
        return "no reference distribution for these settings"
    return phrases.percentile_words(share)


def _images(run: ImageRun, item: ReviewItem) -> tuple[ImageResult, ...]:
    # A run that was made here afterwards has seeds of its own.
    seeds = item.seeds if item.run else tuple(image.seed for image in run.images)
    return tuple(
        image for image in run.images if image.prompt == item.prompt and image.seed in seeds
    )


def _pair(item: ReviewItem, images: tuple[ImageResult, ...]) -> list[ImagePanel]:
    """Show the image beside the nearest training image, without any figure, and return both."""
    layout.heading(
        "Generated image and nearest training image",
        "Is it the same image? The same layout alone is a template copy, the same object alone "
        "no copy.",
    )
    near = review_session.nearest_image(item)
    kept = shown_thumbnail(item)
    generated = _png(kept, "Generated image", "generated") if kept else ""
    panels = [zoom.file_panel(ITEM_IMAGE, kept)] if kept else []
    if item.thumbnail and not kept and not images:
        st.warning(
            "The stored image of this item is damaged: generate it again by Generate now, before "
            "you judge.",
            icon=":material/broken_image:",
        )
    other = ""
    if images and images[0].neighbors:
        worst = most_severe_image(images)
        neighbor = worst.neighbors[0]
        generated = image_html.figure(worst.image, "Generated image", "generated")
        panels = [zoom.generated_panel(worst, item, is_kept=True), zoom.training_panel(neighbor)]
        other = image_html.figure(
            neighbor.image, f"Training image {neighbor.id}", f"training image {neighbor.id:,}"
        )
    elif near is not None:
        caption = f"training image {near.id:,}: {near.caption}"
        other = _png(near.png, f"Training image {near.id}", caption)
        panels.append(zoom.file_panel(f"training image {near.id}", near.png))
    if not generated and not other:
        if item.thumbnail:
            return []
        st.info(
            "No image was generated for this prompt: it has been scored by the early scan only. "
            "Generate now makes its images, which then appear here.",
            icon=":material/image_not_supported:",
        )
        return []
    image_html.show(f'<div class="im-pair">{generated}{other}</div>')
    return panels


def _png(data: bytes, alt: str, caption: str) -> str:
    source = "data:image/png;base64," + base64.b64encode(data).decode()
    return (
        f'<figure><img class="small" src="{source}" alt="{escape(alt)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _figures(item: ReviewItem) -> None:
    layout.heading(
        "Measurements",
        "Results of the scan and the analysis: evidence for your judgement, which they do not "
        "replace.",
        help=f"{phrases.LID} {phrases.PERCENTILE} {phrases.SIMILARITY} {words.DD_MEM} "
        f"{words.OD_MEM}",
    )
    scores = [(name, value) for name, value in item.scores if _known(value)]
    for title, rows in (
        ("The prompt and all its images", _of_prompt(item, scores)),
        ("Its image that is most clearly a copy", _of_image(item, scores)),
        ("The row of the table", list(item.more)),
    ):
        if rows:
            st.caption(title)
            layout.facts(rows)


def _of_prompt(item: ReviewItem, scores: list[tuple[str, float]]) -> list[tuple[str, str]]:
    """Return the figures of a prompt: of its text, and means over its images."""
    rows = [("Early-scan score", words.number(item.score))] if _known(item.score) else []
    if _known(item.lid):
        rows.append(("Mean LID", words.number(item.lid, 1)))
        rows.append(("LID percentile, mean over images", percentile(item.lid_percentile)))
    rows += _labelled(scores, of_image=False)
    rows.append(("Seeds", ", ".join(map(str, item.seeds)) or "none"))
    texts = (("Label", item.label), ("Tags", "; ".join(item.tags)))
    first = [("ID", item.name)] if item.name else []
    return [*first, *rows, *((name, text) for name, text in texts if text)]


def _of_image(item: ReviewItem, scores: list[tuple[str, float]]) -> list[tuple[str, str]]:
    """Return the copy evidence of the image that is most clearly a copy."""
    rows = [("Kind of copy", item.kind)] if item.kind else []
    if item.cause:
        rows.append(("Cause", cause_words(item.cause)))
    if _known(item.similarity):
        rows.append(("Similarity", words.number(item.similarity, 3)))
    if item.nearest >= 0:
        rows.append(("Nearest training image", f"{item.nearest:,}"))
    return rows + _labelled(scores, of_image=True)


def _labelled(scores: list[tuple[str, float]], *, of_image: bool) -> list[tuple[str, str]]:
    return [
        (score_label(name), score_words(name, value))
        for name, value in scores
        if (name in IMAGE_SCORES) is of_image
    ]


def _known(value: float) -> bool:
    return not math.isnan(value)


def _elsewhere(item: ReviewItem, position: int, *, has_images: bool) -> None:
    """Show how to generate here, and the ways to pages that open beside this one."""
    refused = _not_elsewhere(item)
    parameters = {"model": item.model, "prompt": item.prompt[:_LINKED]}
    if item.seeds:
        parameters["seed"] = str(item.seeds[0])
    with st.container(horizontal=True, gap="small"):
        generate.button(item, position, refused=_not_here(item), has_images=has_images)
        st.link_button(
            "Try mitigations",
            state.address("mitigation", **parameters),
            icon=":material/healing:",
            help=refused or "Opens the prompt on the mitigation page, beside this one",
            disabled=bool(refused),
        )
        st.link_button(
            "Open on the images page",
            state.address("images", **parameters),
            icon=":material/open_in_new:",
            help=refused or "Opens the prompt on the images page, beside this one",
            disabled=bool(refused),
        )
    if refused:
        st.caption(layout.plain(refused))
    generate.recorded(position)


def _not_here(item: ReviewItem) -> str:
    """Return why nothing can be generated for an item on this server, "" where it can."""
    try:
        model_session.check_allowed(item.model)
    except MMHError:
        return (
            f"The model {item.model[:60]!r} is not on this server, so nothing can be generated "
            "here: start the app with `-- --models FOLDER` that holds it."
        )
    return ""


def _not_elsewhere(item: ReviewItem) -> str:
    """Return why an item's prompt cannot be opened on another page, "" where it can."""
    if refused := _not_here(item):
        return refused
    if len(item.prompt) > _LINKED:
        return (
            f"This prompt has {len(item.prompt):,} characters and a link holds {_LINKED:,}: copy "
            "it into the form of the images or the mitigation page."
        )
    return ""


def _all_wanted(*, disabled: bool) -> bool:
    """Show the switch for everything that the run holds, and tell whether it is on."""
    return st.toggle(
        "All evidence: neighbors, curves, region map, steps",
        key=key("all"),
        help="Needs the images of this prompt, and in blind review your judgement"
        if disabled
        else "All results of the images page for this image",
        disabled=disabled,
    )
