"""Runs on handwritten digits: generated images beside the training images."""

from __future__ import annotations

import base64
from html import escape

import streamlit as st
from torch import Tensor

from mmh_core.memorization.hypothesis import MEMORIZED, VERDICTS
from mmh_core.memorization.verdict import POINT_ROWS, verdict_words
from mmh_core.plots import summaries
from mmh_core.plots.cards import image_png
from mmh_core.plots.points import point_of
from mmh_core.studies.manifolds.run import ManifoldRun, Snapshot
from views.manifolds import figure as image
from views.manifolds import points, state
from views.manifolds import session as manifold_session
from views.manifolds.settings import ManifoldSettings
from views.manifolds.state import key
from views.widgets import layout, words

_CARDS = 12
#: The size that is shown first: the model copies and makes new images side by side.
_OPENED = 200
_ORDERS = ("distance ratio, lowest first", "LID, lowest first", "order of generation")
_STYLE = """<style>
.mf-cards {display: grid; gap: .75rem;
  grid-template-columns: repeat(auto-fill, minmax(205px, 1fr));}
.mf-card {border: 1px solid rgba(128,140,146,.35); border-radius: .375rem;
  padding: .6rem .7rem;}
.mf-card.one {max-width: 19rem;}
.mf-card .pair {display: flex; gap: .6rem;}
.mf-card figure {margin: 0; flex: 1; min-width: 0;}
.mf-card img {width: 100%; image-rendering: pixelated; border-radius: .2rem; display: block;}
.mf-card figcaption {font-size: .75rem; opacity: .75; margin-top: .2rem;}
.mf-card p {margin: .35rem 0 0; font-size: .875rem; line-height: 1.35;}
.mf-card .verdict {border-left: .25rem solid; padding-left: .4rem;}
.mf-card .memorized {font-weight: 600;}
</style>"""


def sizes() -> list[int]:
    """Return the training-set sizes of the precomputed runs, ascending."""
    names = [name.removeprefix("digits-") for name in manifold_session.preset_names()]
    return sorted(int(name) for name in names if name.isdigit())


def size_slider() -> int | None:
    """Return the training-set size chosen on a slider, None where nothing is precomputed."""
    offered = sizes()
    if not offered:
        return None
    chosen = st.session_state.get(key("size"))
    if chosen not in offered:
        if chosen is not None:
            names = ", ".join(f"{size:,}" for size in offered)
            st.warning(f"size is {chosen}; precomputed are {names}.", icon=":material/warning:")
        st.session_state[key("size")] = _OPENED if _OPENED in offered else offered[0]
    if len(offered) == 1:
        return offered[0]
    return st.select_slider(
        "Training images",
        offered,
        key=key("size"),
        format_func=lambda size: f"{size:,}",
        help="Precomputed runs: few images are memorized, many are generalized from.",
        on_change=_new_size,
    )


def _new_size() -> None:
    """Put the run into the form, and forget what was chosen in the one before."""
    run = manifold_session.preset_run(f"digits-{st.session_state[key('size')]}")
    if run is not None:
        state.use_config(run.config)
    state.show_job(None)


def precomputed(settings: ManifoldSettings) -> ManifoldRun | None:
    """Return the precomputed run of the manifold chosen, of the size chosen for digits."""
    name = settings.config.manifold
    size = size_slider() if name == "digits" else None
    return manifold_session.preset_run(name if size is None else f"{name}-{size}")


def section(run: ManifoldRun, snapshot: Snapshot) -> None:
    """Show the images as cards or in projection, then one image in detail."""
    view = st.segmented_control(
        "View",
        ["Images", "Projection"],
        default="Images",
        required=True,
        key="mf_view",
        label_visibility="collapsed",
    )
    chosen = points.current(run, snapshot)
    if view == "Projection":
        image.charts(run, snapshot, chosen)
        points.selection(run, snapshot)
    else:
        _cards(run, snapshot)
        _transition()
    points.detail(run, snapshot, chosen, above=_pair)


def _cards(run: ManifoldRun, snapshot: Snapshot) -> None:
    layout.heading(
        "Generated images and their nearest training images",
        "A close match with low LID is memorized; a close match alone can be a common way to "
        "write a digit. All training images are searched.",
        help="LID rank: the share of this run's samples with a lower LID. Distance ratio: "
        + words.DISTANCE_RATIO,
    )
    order = st.segmented_control(
        "Order", list(_ORDERS), default=_ORDERS[0], required=True, key="mf_order"
    )
    estimates = snapshot.generated
    rows = list(range(len(estimates.lid)))
    if order == _ORDERS[0]:
        rows.sort(key=snapshot.distance_ratio.tolist().__getitem__)
    elif order == _ORDERS[1]:
        rows.sort(key=estimates.lid.tolist().__getitem__)
    cards = "".join(_card(run, snapshot, row) for row in rows[:_CARDS])
    st.html(f'{_STYLE}<div class="mf-cards">{cards}</div>')


def _card(run: ManifoldRun, snapshot: Snapshot, row: int) -> str:
    estimates = snapshot.generated
    nearest, ratio = int(snapshot.nearest[row]), float(snapshot.distance_ratio[row])
    lid = float(estimates.lid[row])
    below = float((estimates.lid < estimates.lid[row]).float().mean())
    label = VERDICTS[int(estimates.verdict[row])]
    look = "verdict memorized" if label in MEMORIZED else "verdict"
    color = POINT_ROWS[label].color
    pair = _image(estimates.points[row], f"sample {row}", f"Generated image {row}") + _image(
        run.train.points[nearest],
        f"training point {nearest}",
        f"Nearest training image, training point {nearest}",
    )
    side = "below" if ratio < 1 / 3 else "not below"
    return (
        f'<div class="mf-card"><div class="pair">{pair}</div>'
        f"<p>LID {words.number(lid, 1)} · rank {words.percent(below)} of samples"
        f"<br>distance ratio {ratio:.2f}, {side} 0.33</p>"
        f'<p class="{look}" style="border-left-color: {color}">'
        f"{escape(verdict_words(label))}</p></div>"
    )


def _image(point: Tensor, caption: str, alt: str) -> str:
    data = base64.b64encode(image_png(point)).decode()
    return (
        f'<figure><img src="data:image/png;base64,{data}" alt="{escape(alt)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _pair(run: ManifoldRun, snapshot: Snapshot, chosen: int) -> None:
    """Show one image large, with its nearest training image where it is a generated one."""
    point = point_of(run, snapshot, chosen)
    image = point.estimates(snapshot).points[point.index]
    parts = _image(image, point.kind, f"{point.kind} {point.number_in(run)}")
    if point.kind == "generated sample":
        row = int(snapshot.nearest[point.index])
        parts += _image(run.train.points[row], "nearest training image", f"Training image {row}")
    st.html(f'{_STYLE}<div class="mf-card one"><div class="pair">{parts}</div></div>')


def _transition() -> None:
    """Show LID and copies over the number of training images, a mark for each run."""
    offered = sizes()
    if len(offered) < 2:
        return
    runs = [
        run
        for size in offered
        if (run := manifold_session.preset_run(f"digits-{size}")) is not None
    ]
    layout.heading(
        "From memorizing to generalizing",
        "Each mark is one precomputed run. With few training images the model copies, with "
        "many it generates new ones; the transition depends on the network and its training.",
    )
    layout.chart(summaries.digits_transition(runs), "mf_transition")
