"""Draw all pictures of a comparison: mitigation by strength by seed, each a way to the detail."""

from __future__ import annotations

import math
from html import escape

import streamlit as st

from mmh_core.plots.mitigation import FAMILIES
from mmh_core.retrieval.copy_evidence import is_copy
from mmh_core.studies.mitigation_run import Cell, MitigationRun, Treatment
from views import layout
from views.images import show
from views.mitigation import phrases, state
from views.words import number, percent

STYLE = """<style>
.mi-cells {display: grid; gap: .75rem;
  grid-template-columns: repeat(auto-fill, minmax(230px, 1fr));}
[class*="st-key-mi_grid"] {display: grid !important; gap: .75rem;
  grid-template-columns: repeat(auto-fill, minmax(230px, 1fr));}
.mi-seeds {display: grid; gap: .35rem; grid-template-columns: repeat(4, 1fr); margin-top: .6rem;}
.mi-seeds figure {margin: 0;}
.mi-name {font-weight: 600; margin: 0; border-left: .25rem solid; padding-left: .45rem;
  line-height: 1.25;}
.mi-name small {display: block; font-weight: 400; opacity: .75;}
.mi-copy {outline: 2px solid #d55e00; outline-offset: 1px; border-radius: .2rem;}
.mi-refused {font-size: .875rem; opacity: .85; margin: .4rem 0 0;}
</style>"""


def section(run: MitigationRun, chosen: Treatment | None) -> None:
    """Draw a card for each treatment of the prompt in question, with a way to look closer."""
    layout.heading(
        "Every treatment, every seed",
        "Framed in orange: copies of a training picture. A treatment helps where frames are gone "
        "and the pictures still show what was asked; a pretty picture alone proves nothing.",
        help=f"{phrases.COPIES} {phrases.ALIGNMENT}",
    )
    with st.container(key="mi_grid"):
        for number_, cell in enumerate(cells_of(run, 0)):
            with st.container(border=True, key=f"mi_cell_{number_}", gap="small"):
                show.html(STYLE + body(run, cell))
                st.button(
                    "Shown below" if cell.treatment == chosen else "Look closer",
                    key=f"mi_look_{number_}",
                    icon=":material/search:",
                    disabled=cell.treatment == chosen,
                    on_click=state.choose_cell,
                    args=(cell.treatment,),
                )


def so_far(run: MitigationRun) -> None:
    """Draw the cards of all prompts of a run that still goes on, without buttons."""
    with st.container(key="mi_grid_live"):
        for cell in run.cells:
            with st.container(border=True):
                show.html(STYLE + body(run, cell, asked=True))


def cells_of(run: MitigationRun, prompt: int) -> list[Cell]:
    """Return the cells of a prompt, in the order in which they were drawn."""
    return [cell for cell in run.cells if cell.prompt == prompt]


def body(run: MitigationRun, cell: Cell, *, asked: bool = False) -> str:
    """Return the HTML of a card, with the prompt if `asked`."""
    color = FAMILIES[cell.treatment.mitigation].color
    strength = phrases.strength(cell.treatment)
    below = f"<small>{escape(strength)}</small>" if strength else ""
    parts = [f'<p class="mi-name" style="border-color: {color}">{escape(cell.label)}{below}</p>']
    if asked and len(run.config.prompts) > 1:
        parts.append(f'<p class="im-quiet">{escape(run.config.prompts[cell.prompt][:120])}</p>')
    if cell.refused:
        parts.append(f'<p class="mi-refused">{escape(cell.refused)}</p>')
        return "".join(parts)
    figures = "".join(_figure(run, cell, i) for i in range(len(cell.kinds)))
    parts.append(f'<div class="mi-seeds">{figures}</div>')
    parts.append(f"<p>{escape(_line(cell))}</p>")
    return "".join(parts)


def _figure(run: MitigationRun, cell: Cell, seed: int) -> str:
    said = phrases.kind(cell, seed)
    alt = f"{cell.label}, seed {run.config.seeds[seed]}: {said}"
    image = show.image(cell.pictures[seed], alt, most=show.THUMB)
    copied = is_copy(cell.kinds[seed]) and not math.isnan(float(cell.similarity[seed]))
    return f'<figure class="{"mi-copy" if copied else ""}">{image}</figure>'


def _line(cell: Cell) -> str:
    copies = "copies unknown" if math.isnan(cell.copied) else f"copies {percent(cell.copied)}"
    parts = [copies]
    for name, values, digits in (
        ("alignment", cell.alignment, 2),
        ("LID", cell.lid, 1),
    ):
        if not bool(values.isnan().all()):
            parts.append(f"{name} {number(float(values.nanmean()), digits)}")
    return " · ".join(parts)
