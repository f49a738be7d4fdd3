"""Draw the pictures of a run as cards: picture, nearest training picture, LID, verdict."""

from __future__ import annotations

from html import escape

import streamlit as st

from mmh_core.studies.images.run import ImageRun, PictureResult
from views.images import phrases, show, state
from views.widgets import layout


def section(run: ImageRun, chosen: int | None) -> None:
    """Draw a card for each picture, with buttons to look closer."""
    layout.heading(
        "What the model drew, and the nearest picture that it was trained on",
        "Twins with a low LID are memorized; twins alone may be a plain motif, and a low LID "
        "alone proves no copy.",
        help=f"{phrases.LID} {phrases.PERCENTILE} {phrases.SIMILARITY}",
    )
    with st.container(key="im_cards"):
        for picture in run.pictures:
            with st.container(border=True, key=f"im_card_{picture.index}", gap="small"):
                show.html(body(run, picture))
                _buttons(picture, chosen)


def so_far(run: ImageRun) -> None:
    """Draw the cards of a run that still goes on, without buttons."""
    with st.container(key="im_cards_live"):
        for picture in run.pictures:
            with st.container(border=True):
                show.html(body(run, picture))


def body(run: ImageRun, picture: PictureResult) -> str:
    """Return the HTML of a card."""
    own = show.figure(
        picture.picture,
        f"Drawn picture, seed {picture.seed}",
        f"drawn, seed {picture.seed}",
        most=show.CARD,
    )
    parts = [f'<div class="im-pair">{own}{_nearest(run, picture)}</div>']
    if len(run.config.prompts) > 1:
        parts.append(f'<p class="im-quiet">{escape(picture.prompt[:120])}</p>')
    parts.append(show.verdict(picture.verdict))
    lines = [f"LID <b>{phrases.lid_with_error(picture.lid)}</b>"]
    if picture.lid is not None:
        lines.append(phrases.percentile(picture.lid))
    if picture.neighbors:
        lines.append(f"similarity {phrases.nearest(picture)}")
    if picture.truth is not None:
        lines.append(f"truth: {phrases.truth(picture.truth)}")
    parts.append(
        f"<p>{'<br>'.join(line if '<b>' in line else escape(line) for line in lines)}</p>"
    )
    return "".join(parts)


def _nearest(run: ImageRun, picture: PictureResult) -> str:
    near = picture.nearest
    if near is not None:
        return show.figure(
            near.picture,
            f"Nearest training picture, {near.called}: {near.caption}",
            f"training picture {escape(phrases.called(near.id, near.file))}",
            most=show.CARD,
        )
    why = "searching" if run.searched else "no training pictures to search"
    return f"<figure><figcaption>{why}</figcaption></figure>"


def _buttons(picture: PictureResult, chosen: int | None) -> None:
    with st.container(horizontal=True, gap="small"):
        st.button(
            "Shown below" if picture.index == chosen else "Look closer",
            key=f"im_look_{picture.index}",
            icon=":material/search:",
            disabled=picture.index == chosen,
            on_click=state.choose_picture,
            args=(picture.index,),
        )
        st.button(
            "",
            key=f"im_reuse_{picture.index}",
            icon=":material/replay:",
            help=f"Put seed {picture.seed} into the form",
            on_click=state.reuse_seed,
            args=(picture.seed,),
        )
