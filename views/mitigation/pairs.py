"""One mitigation against none: same seed, same noise, all ways to see a difference."""

from __future__ import annotations

from html import escape

import streamlit as st
from torch import Tensor

from mmh_core.mitigations.wording import word_diff
from mmh_core.studies.mitigation.outcome import image_outcomes, rank_bound_of
from mmh_core.studies.mitigation.run import Cell, MitigationRun
from views.images import compare, image_html
from views.images import phrases as image_phrases
from views.mitigation import phrases
from views.widgets import layout
from views.widgets.words import number

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
@media (max-width: 640px) {.mi-three {grid-template-columns: 1fr;}
  .mi-three > figure {max-width: 50%;}}
</style>"""


@st.fragment
def section(run: MitigationRun, base: Cell, cell: Cell, name: str) -> None:
    """Show the images before and after, the nearest training image, and what was changed."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        way = compare.choose_way(f"mi_way_{name}")
        chosen = compare.choose_seed(run.config.seeds[: len(base.kinds)], f"mi_seed_{name}")
    left, right = layout.side_by_side(f"mi_pair_{name}", (3, 2))
    with left:
        if cell.refused:
            st.info(layout.plain(cell.refused), icon=":material/block:")
            image_html.show(_large(base.images[chosen], "Without the mitigation"))
        else:
            image_html.show(_compared(run, base, cell, chosen, way))
            st.caption(
                compare.sentence(
                    way, "The training image, the image without the mitigation, and with it."
                )
            )
            _noise(base, cell)
    with right:
        if not cell.refused:
            facts(run, base, cell, chosen)


def compared(before: Cell, after: Cell, seed: int, way: str, names: tuple[str, str]) -> str:
    """Return the images of two cells in a way of comparing them, as HTML."""
    first, second = (
        compare.NamedImage(cell.images[seed], f"Image: {name}", name)
        for cell, name in zip((before, after), names, strict=True)
    )
    return compare.compared(first, second, way)


def diff(before: str, after: str) -> str:
    """Return the words of two prompts with what went and what came, as HTML."""
    tags = {"removed": "del", "added": "ins"}
    parts = [
        f"<{tags[kind]}>{escape(text)}</{tags[kind]}>" if kind in tags else escape(text)
        for kind, text in word_diff(before, after)
    ]
    return f'{_STYLE}<p class="mi-diff">{" ".join(parts)}</p>'


def facts(run: MitigationRun, base: Cell, cell: Cell, seed: int) -> None:
    """Show what was changed and the numbers before and after."""
    prompt = run.config.prompts[cell.prompt]
    layout.heading(
        f"Change, seed {run.config.seeds[seed]}",
        "What the mitigation changed. The starting noise and all settings are otherwise those "
        "of the image without it.",
    )
    if cell.explanation:
        st.text(cell.explanation)
    if cell.used != prompt:
        image_html.show(diff(prompt, cell.used))
    rows = [("Copy search", f"{phrases.kind(base, seed)} → {phrases.kind(cell, seed)}")]
    similar = f"{_pair(base.similarity, cell.similarity, seed, 3)}"
    rows.append(("Similarity to nearest training image", similar))
    rows.append(("Alignment with the prompt", _pair(base.alignment, cell.alignment, seed, 3)))
    rows.append(("LID", _lids(base, cell, seed)))
    rows.append(
        ("Similarity to unmitigated image", number(float(cell.similarity_to_unmitigated[seed]), 3))
    )
    rows.append(("Guidance norm percentile", _percentiles(base, cell, seed)))
    rows.append(("Cost per image", f"{cell.nfe:.0f} NFE, {phrases.seconds(cell.seconds)}"))
    layout.facts([(name, value) for name, value in rows if value != "n/a"])
    if cell.treatment != base.treatment:
        outcome = image_outcomes(cell, base, rank_bound_of(run))[seed]
        if outcome.kind == "not solved":
            st.warning(phrases.UNSOLVED, icon=":material/visibility:")
        elif outcome.kind in ("subject lost", "unknown"):
            st.warning(
                layout.plain(f"Not solved: {outcome.reason}."), icon=":material/visibility:"
            )
    _nearest(run, base, cell, seed)


def _compared(run: MitigationRun, base: Cell, cell: Cell, seed: int, way: str) -> str:
    """Return the training image nearest without mitigation beside both images, as HTML."""
    pair = compared(base, cell, seed, way, ("without", "with the mitigation"))
    id = int(base.nearest[seed])
    training = dict(run.nearest_images).get(id)
    if training is None:
        return pair
    similar = [number(float(of.similarity[seed]), 3) for of in (base, cell)]
    what = "copied" if base.copy_of(seed) else "nearest"
    caption = f"{what} training image no. {id:,}; similarity without mitigation {similar[0]}"
    if id == int(cell.nearest[seed]):
        caption += f", with it {similar[1]}"
    if run.copy_threshold == run.copy_threshold:
        caption += f"; copy threshold {run.copy_threshold:.3f}"
    figure = image_html.figure(training, f"Training image {id}", caption, most=_LARGE)
    return f'{_STYLE}<div class="mi-three">{figure}<div>{pair}</div></div>'


def _large(image: Tensor, alt: str) -> str:
    return f'<div class="im-stack">{image_html.img(image, alt, most=_LARGE)}</div>'


def _noise(base: Cell, cell: Cell) -> None:
    """Show that both sides started from the same noise, or that the mitigation changed it."""
    if base.noise_sha256 == cell.noise_sha256:
        st.caption(
            "Same seed and same starting noise on both sides.",
            help=f"SHA-256 of the noise: {cell.noise_sha256[:16]}…",
        )
    else:
        st.caption(
            "Same seed; this mitigation changes the starting noise itself.",
            help=f"SHA-256 of the noise: {base.noise_sha256[:12]}… became "
            f"{cell.noise_sha256[:12]}…",
        )


def _nearest(run: MitigationRun, base: Cell, cell: Cell, seed: int) -> None:
    """Show the nearest training image with the mitigation, where it is another than without."""
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
    caption = (
        f"with the mitigation, nearest training image no. {id:,}; similarity {similarity:.3f}"
    )
    figure = image_html.figure(image, f"Training image {id}", caption, most=image_html.THUMB)
    image_html.show(f'<div class="im-one" style="max-width: 9rem">{figure}</div>')


def _pair(before: Tensor, after: Tensor, seed: int, digits: int) -> str:
    first, second = float(before[seed]), float(after[seed])
    if first != first and second != second:
        return "n/a"
    return f"{number(first, digits)} → {number(second, digits)}"


def _lids(base: Cell, cell: Cell, seed: int) -> str:
    if bool(cell.lid[seed].isnan()):
        return "n/a"
    first, second = (
        image_phrases.with_error(float(of.lid[seed]), float(of.lid_error[seed]))
        for of in (base, cell)
    )
    return f"{first} → {second}"


def _percentiles(base: Cell, cell: Cell, seed: int) -> str:
    first, second = float(base.percentile[seed]), float(cell.percentile[seed])
    if first != first or second != second:
        return "n/a"
    return f"{first:.0%} → {second:.0%} of reference prompts have a smaller one"
