"""Draw one treatment against no treatment: same seed, same noise, all ways to see a difference."""

from __future__ import annotations

from html import escape

import streamlit as st
from torch import Tensor

from mmh_core.mitigations.wording import word_diff
from mmh_core.plots.image_grid import difference
from mmh_core.studies.mitigation.outcome import image_outcomes
from mmh_core.studies.mitigation.run import Cell, MitigationRun
from views.images import phrases as image_phrases
from views.images import show
from views.images.compare import WAYS
from views.mitigation import phrases
from views.widgets import layout
from views.widgets.words import number

_SENTENCES = {
    "side by side": "The training image, the image without the mitigation, and with it.",
    "flicker": "Both in the same position, in turn: what jumps is different. Pointing at it "
    "stops it; where motion is switched off, pointing at it shows the other.",
    "difference": "The absolute difference of each pixel: black is equal, bright is different.",
}
_LARGE = 512
_STYLE = """<style>
.mi-diff {font-size: 1rem; line-height: 1.6; overflow-wrap: anywhere; margin: .2rem 0;}
.mi-diff del {background: rgba(213,94,0,.22); text-decoration: line-through; padding: 0 .15rem;
  border-radius: .15rem;}
.mi-diff ins {background: rgba(43,143,134,.25); text-decoration: underline; padding: 0 .15rem;
  border-radius: .15rem;}
.mi-three {display: grid; gap: .75rem; grid-template-columns: 1fr 2fr; align-items: start;}
.mi-three > figure {margin: 0;}
.mi-three > figure img {width: 100%; height: auto; display: block;}
@media (max-width: 640px) {.mi-three {grid-template-columns: 1fr;}}
</style>"""


@st.fragment
def section(run: MitigationRun, base: Cell, cell: Cell, name: str) -> None:
    """Draw the images before and after, the nearest training image, and what was changed."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        way = st.segmented_control(
            "View",
            list(WAYS),
            default="side by side",
            required=True,
            key=f"mi_way_{name}",
            format_func=WAYS.__getitem__,
            label_visibility="collapsed",
        )
        seeds = list(range(len(base.kinds)))
        seed = st.segmented_control(
            "Seed",
            seeds,
            default=0,
            required=True,
            key=f"mi_seed_{name}",
            format_func=lambda i: f"seed {run.config.seeds[i]}",
            label_visibility="collapsed",
        )
    chosen = int(seed or 0)
    left, right = layout.side_by_side(f"mi_pair_{name}", (3, 2))
    with left:
        if cell.refused:
            st.info(layout.plain(cell.refused), icon=":material/block:")
            show.html(_large(base.images[chosen], "Without the mitigation"))
        else:
            show.html(_compared(run, base, cell, chosen, str(way)))
            st.caption(_SENTENCES[str(way)])
            _noise(base, cell)
    with right:
        if not cell.refused:
            facts(run, base, cell, chosen)


def compared(before: Tensor, after: Tensor, way: str, names: tuple[str, str]) -> str:
    """Return two images in a way of comparing them, as HTML."""
    one = show.img(before, f"Image: {names[0]}", most=_LARGE)
    other = show.img(after, f"Image: {names[1]}", most=_LARGE)
    if way == "flicker":
        return f'<div class="im-stack im-flicker">{one}{other}</div>'
    if way == "difference":
        alt = "Absolute difference of the two images"
        found = show.img(difference(before, after), alt, most=_LARGE)
        return f'<div class="im-stack">{found}</div>'
    return "".join(
        [
            '<div class="im-pair">',
            *(
                f"<figure>{image}<figcaption>{escape(name)}</figcaption></figure>"
                for image, name in ((one, names[0]), (other, names[1]))
            ),
            "</div>",
        ]
    )


def diff(before: str, after: str) -> str:
    """Return the words of two prompts with what went and what came, as HTML."""
    tags = {"removed": "del", "added": "ins"}
    parts = [
        f"<{tags[kind]}>{escape(text)}</{tags[kind]}>" if kind in tags else escape(text)
        for kind, text in word_diff(before, after)
    ]
    return f'{_STYLE}<p class="mi-diff">{" ".join(parts)}</p>'


def facts(run: MitigationRun, base: Cell, cell: Cell, seed: int) -> None:
    """Draw what was changed and the figures before and after."""
    asked = run.config.prompts[cell.prompt]
    layout.heading(
        "Change",
        "What the mitigation changed. The starting noise and all settings are otherwise those "
        "of the image without it.",
    )
    if cell.changed:
        st.text(cell.changed)
    if cell.used != asked:
        show.html(diff(asked, cell.used))
    rows = [
        ("Verdict of the copy search", f"{phrases.kind(base, seed)} → {phrases.kind(cell, seed)}")
    ]
    similar = f"{_pair(base.similarity, cell.similarity, seed, 3)}"
    rows.append(("Similarity to nearest training image", similar))
    rows.append(("Alignment with the prompt", _pair(base.alignment, cell.alignment, seed, 3)))
    rows.append(("LID", _lids(base, cell, seed)))
    rows.append(("Similarity to unmitigated image", number(float(cell.moved[seed]), 3)))
    rows.append(("Guidance norm percentile", _percentiles(base, cell, seed)))
    rows.append(("Cost per image", f"{cell.nfe:.0f} NFE, {phrases.seconds(cell.seconds)}"))
    layout.facts([(name, value) for name, value in rows if value != "n/a"])
    if cell.treatment != base.treatment:
        outcome = image_outcomes(cell, base)[seed]
        if outcome.kind == "not solved":
            st.warning(phrases.UNSOLVED, icon=":material/visibility:")
        elif outcome.kind in ("subject lost", "unknown"):
            st.warning(
                layout.plain(f"Not solved: {outcome.reason}."), icon=":material/visibility:"
            )
    _nearest(run, base, cell, seed)


def _compared(run: MitigationRun, base: Cell, cell: Cell, seed: int, way: str) -> str:
    """Return the training image nearest without mitigation beside both images, as HTML."""
    found = compared(base.images[seed], cell.images[seed], way, ("without", "with the mitigation"))
    id = int(base.nearest[seed])
    training = dict(run.nearest_images).get(id)
    if training is None:
        return found
    similar = [number(float(one.similarity[seed]), 3) for one in (base, cell)]
    what = "training image that is copied" if base.copy_of(seed) else "nearest training image"
    caption = f"{what}: {id:,}, similarity {similar[0]} without"
    if id == int(cell.nearest[seed]):
        caption += f", {similar[1]} with"
    if run.copy_threshold == run.copy_threshold:
        caption += f"; a copy is proposed from {run.copy_threshold:.3f} on"
    figure = show.figure(training, f"Training image {id}", caption, most=_LARGE)
    return f'{_STYLE}<div class="mi-three">{figure}<div>{found}</div></div>'


def _large(image: Tensor, alt: str) -> str:
    return f'<div class="im-stack">{show.img(image, alt, most=_LARGE)}</div>'


def _noise(base: Cell, cell: Cell) -> None:
    """Say that both sides started from the same noise, or that changing it is the treatment."""
    if base.noise_sha256 == cell.noise_sha256:
        st.caption(
            f"Same seed and same starting noise on both sides: SHA-256 `{cell.noise_sha256[:16]}…`"
        )
    else:
        st.caption(
            "Same seed; this mitigation changes the starting noise itself: SHA-256 "
            f"`{base.noise_sha256[:12]}…` became `{cell.noise_sha256[:12]}…`"
        )


def _nearest(run: MitigationRun, base: Cell, cell: Cell, seed: int) -> None:
    """Draw the nearest training image with the mitigation, where it is another than without."""
    id = int(cell.nearest[seed])
    image = dict(run.nearest_images).get(id)
    if image is None:
        st.caption("There are no training images of this model to compare with.")
        return
    similarity = float(cell.similarity[seed])
    if id == int(base.nearest[seed]):
        st.caption(
            f"With the mitigation the nearest training image is the same as without: {id:,}, "
            f"similarity {similarity:.3f}."
        )
        return
    caption = f"nearest training image with the mitigation: {id:,}, similarity {similarity:.3f}"
    figure = show.figure(image, f"Training image {id}", caption, most=show.THUMB)
    show.html(f'<div class="im-one" style="max-width: 9rem">{figure}</div>')


def _pair(before: Tensor, after: Tensor, seed: int, digits: int) -> str:
    one, other = float(before[seed]), float(after[seed])
    if one != one and other != other:
        return "n/a"
    return f"{number(one, digits)} → {number(other, digits)}"


def _lids(base: Cell, cell: Cell, seed: int) -> str:
    if bool(cell.lid[seed].isnan()):
        return "n/a"
    one, other = (
        image_phrases.with_error(float(each.lid[seed]), float(each.lid_error[seed]))
        for each in (base, cell)
    )
    return f"{one} → {other}"


def _percentiles(base: Cell, cell: Cell, seed: int) -> str:
    one, other = float(base.percentile[seed]), float(cell.percentile[seed])
    if one != one or other != other:
        return "n/a"
    return f"above {one:.0%} → above {other:.0%} of reference prompts"
