"""The images of a run as cards, of one that has ended and of one that still runs."""

from __future__ import annotations

from html import escape

import streamlit as st

from mmh_core.studies.images.run import ImageResult, ImageRun
from views.images import image_html, phrases, state
from views.images import session as image_session
from views.widgets import job_panel, layout


def section(run: ImageRun, chosen: int | None) -> None:
    """Show a card for each image, with buttons to look closer."""
    layout.heading(
        "Generated images and their nearest training images",
        "A close match with low LID is memorized; a close match alone can be a common subject, "
        "and a low LID alone proves no copy.",
        help=f"{phrases.LID} {phrases.PERCENTILE} {phrases.SIMILARITY}",
    )
    with st.container(key="im_cards"):
        for image in run.images:
            with st.container(border=True, key=f"im_card_{image.index}", gap="small"):
                image_html.show(body(run, image))
                _buttons(image, chosen)


def so_far(run: ImageRun) -> None:
    """Show the cards of a run that still goes on, without buttons."""
    with st.container(key="im_cards_live"):
        for image in run.images:
            with st.container(border=True):
                image_html.show(body(run, image))


def body(run: ImageRun, image: ImageResult) -> str:
    """Return the HTML of a card."""
    own = image_html.figure(
        image.image,
        f"Generated image, seed {image.seed}",
        f"generated, seed {image.seed}",
        most=image_html.CARD,
    )
    parts = [f'<div class="im-pair">{own}{_nearest(run, image)}</div>']
    if len(run.config.prompts) > 1:
        parts.append(f'<p class="im-quiet">{escape(image.prompt[:120])}</p>')
    parts.append(image_html.verdict(image.verdict))
    lines = [f"LID <b>{phrases.lid_with_error(image.lid)}</b>"]
    if image.lid is not None:
        lines.append(phrases.percentile(image.lid))
    if image.neighbors:
        lines.append(f"similarity {phrases.nearest(image)}")
    if image.truth is not None:
        lines.append(f"prompt: {phrases.truth(image.truth)}")
    parts.append(
        f"<p>{'<br>'.join(line if '<b>' in line else escape(line) for line in lines)}</p>"
    )
    return "".join(parts)


def _nearest(run: ImageRun, image: ImageResult) -> str:
    near = image.evidence_neighbor
    if near is not None:
        return image_html.figure(
            near.image,
            f"Nearest training image, {near.display_name}: {near.caption}",
            f"training image {escape(phrases.training_image_name(near.id, near.file))}",
            most=image_html.CARD,
        )
    why = "searching" if run.searched else "no training images to search"
    return f"<figure><figcaption>{why}</figcaption></figure>"


def _buttons(image: ImageResult, chosen: int | None) -> None:
    with st.container(horizontal=True, gap="small"):
        st.button(
            "Details below" if image.index == chosen else "Details",
            key=f"im_look_{image.index}",
            icon=":material/search:",
            disabled=image.index == chosen,
            on_click=state.choose_image,
            args=(image.index,),
        )
        st.button(
            "",
            key=f"im_reuse_{image.index}",
            icon=":material/replay:",
            help=f"Copy seed {image.seed} to the form",
            on_click=state.reuse_seed,
            args=(image.seed,),
        )


def live(job: str) -> None:
    """Show a job again and again until it has ended, then the page once more."""
    job_panel.live(
        lambda: image_session.image_job(job),
        "Stop here and keep the images that are finished",
        "im_cancel",
        so_far=_running,
    )


def _running(run: ImageRun) -> None:
    """Show the preview of the running step, and the images that are finished."""
    image_html.show_unread(run)
    if len(run.preview):
        layout.heading(
            "Predicted image at the current step",
            "The model's prediction of the final image; it sharpens with every step and can "
            "still change.",
        )
        # Those of a prompt that are finished come first in its seeds.
        seeds = run.config.seeds[len(run.images) % len(run.config.seeds) :]
        figures = "".join(
            image_html.figure(image, f"Preview, seed {seed}", f"seed {seed}", most=image_html.CARD)
            for image, seed in zip(run.preview, seeds, strict=False)
        )
        image_html.show(f'<div class="im-grid wide">{figures}</div>')
    if run.images:
        layout.heading(
            "Finished images",
            "Copy search and LID follow, then the curves; cancelling keeps these.",
        )
        so_far(run)
