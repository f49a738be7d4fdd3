"""All images of a comparison: mitigation by strength by seed, each a way to the detail."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

import streamlit as st

from mmh_core.memorization.hypothesis import shown_lid
from mmh_core.memorization.verdict import OUTCOME_ROWS
from mmh_core.plots import mitigation as plots
from mmh_core.plots.mitigation import FAMILIES
from mmh_core.studies.mitigation.outcome import (
    NEW_COPY,
    NOT_SOLVED,
    ImageOutcome,
    image_outcomes,
    rank_bound_of,
)
from mmh_core.studies.mitigation.run import Cell, MitigationRun, Treatment
from mmh_core.studies.mitigation.table import treatment_rows
from mmh_core.studies.mitigation.verdict import harm, treatment_results
from views.images import image_html
from views.mitigation import phrases, state
from views.mitigation import session as mitigation_session
from views.style import GROUND, HARM
from views.widgets import job_panel, layout
from views.widgets.words import number, percent, plural

STYLE = """<style>
.mi-cells {display: grid; gap: .75rem;
  grid-template-columns: repeat(auto-fill, minmax(230px, 1fr));}
[class*="st-key-mi_grid"] {display: grid !important; gap: .75rem;
  grid-template-columns: repeat(auto-fill, minmax(230px, 1fr));}
.mi-seeds {display: grid; gap: .35rem; grid-template-columns: repeat(4, 1fr); margin-top: .6rem;}
.mi-seeds figure {margin: 0;}
.mi-seeds figcaption {font-size: .72rem; line-height: 1.25; margin-top: .25rem;
  overflow-wrap: anywhere;}
.mi-name {font-weight: 600; margin: 0; border-left: .25rem solid; padding-left: .45rem;
  line-height: 1.25;}
.mi-name small {display: block; font-weight: 400; opacity: .75;}
.mi-not-solved {background: repeating-linear-gradient(45deg, rgba(111,123,130,.55) 0 3px,
  transparent 3px 7px); padding: .25rem; border-radius: .3rem;}
.mi-refused {font-size: .875rem; opacity: .85; margin: .4rem 0 0;}
"""
STYLE += "".join(
    f".mi-{row.frame} img {{{row.outline} border-radius: .2rem;}}\n"
    for row in OUTCOME_ROWS.values()
    if row.frame
)
STYLE += f""".mi-red {{color: {HARM}; font-weight: 600;}}
.mi-not-solved figcaption {{background: {GROUND}; padding: 0 .15rem;}}
</style>"""


def section(run: MitigationRun, chosen: Treatment | None) -> None:
    """Show a card for each mitigation of the prompt in question, with a way to look closer."""
    layout.heading(
        "Images by mitigation and seed",
        "Orange frame: a copy of a training image. Hatched gray: below the copy threshold with "
        "LID unchanged, so not solved. Dotted red: subject of the prompt lost. The number "
        "under each image is its alignment.",
        help=f"{phrases.PASSES} {phrases.COPY_RATE} {phrases.ALIGNMENT} {phrases.WEAK}",
    )
    with st.container(key="mi_grid"):
        for number_, cell in enumerate(cells_of(run, 0)):
            with st.container(border=True, key=f"mi_cell_{number_}", gap="small"):
                image_html.show(STYLE + body(run, cell))
                st.button(
                    "Details below" if cell.treatment == chosen else "Details",
                    key=f"mi_look_{number_}",
                    icon=":material/search:",
                    disabled=cell.treatment == chosen,
                    on_click=state.choose_cell,
                    args=(cell.treatment,),
                )


def so_far(run: MitigationRun) -> None:
    """Show the cards of all prompts of a run that still goes on, without buttons."""
    with st.container(key="mi_grid_live"):
        for cell in run.cells:
            with st.container(border=True):
                image_html.show(STYLE + body(run, cell, with_prompt=True))


def cells_of(run: MitigationRun, prompt: int) -> list[Cell]:
    """Return the cells of a prompt, in the order in which they were generated."""
    return [cell for cell in run.cells if cell.prompt == prompt]


def body(run: MitigationRun, cell: Cell, *, with_prompt: bool = False) -> str:
    """Return the HTML of a card, with the prompt if `with_prompt`."""
    color = FAMILIES[cell.treatment.mitigation].color
    strength = phrases.strength(cell.treatment)
    below = f"<small>{escape(strength)}</small>" if strength else ""
    parts = [f'<p class="mi-name" style="border-color: {color}">{escape(cell.label)}{below}</p>']
    if with_prompt and len(run.config.prompts) > 1:
        parts.append(f'<p class="im-quiet">{escape(run.config.prompts[cell.prompt][:120])}</p>')
    if cell.refused:
        parts.append(f'<p class="mi-refused">{escape(cell.refused)}</p>')
        return "".join(parts)
    base = run.cell(cell.prompt, run.config.treatments[0])
    outcomes = () if base is None else image_outcomes(cell, base, rank_bound_of(run))
    figures = "".join(_figure(run, cell, i, outcome) for i, outcome in enumerate(outcomes))
    parts.append(f'<div class="mi-seeds">{figures}</div>')
    parts.append(f"<p>{escape(_line(cell))}</p>")
    parts += [f'<p class="mi-refused">{text}</p>' for text in _flags(run, outcomes)]
    return "".join(parts)


def _figure(run: MitigationRun, cell: Cell, seed: int, outcome: ImageOutcome) -> str:
    alt = f"{cell.label}, seed {run.config.seeds[seed]}: {outcome.reason}"
    image = image_html.img(cell.images[seed], alt, most=image_html.THUMB)
    alignment = number(float(cell.alignment[seed]), 2)
    row = OUTCOME_ROWS[outcome.kind]
    frame = f"mi-{row.frame}" if row.frame else ""
    return (
        f'<figure class="{frame}" title="{escape(outcome.reason)}">{image}'
        f"<figcaption>{escape(row.sentence)}<br>{escape(alignment)}</figcaption></figure>"
    )


def _flags(run: MitigationRun, outcomes: Sequence[ImageOutcome]) -> list[str]:
    """Return a line of HTML for each image that is flagged, with its seed and the reason."""
    seeds = run.config.seeds
    not_solved = [
        str(seeds[i]) for i, outcome in enumerate(outcomes) if outcome.kind == "not solved"
    ]
    lines = []
    if not_solved:
        lines.append(f"Seeds {', '.join(not_solved)}: {NOT_SOLVED}")
    for i, outcome in enumerate(outcomes):
        if outcome.kind == "subject lost" or outcome.reason == NEW_COPY:
            lines.append(f'<span class="mi-red">Seed {seeds[i]}: {escape(outcome.reason)}</span>')
    return lines


def _line(cell: Cell) -> str:
    copies = "copies unknown" if math.isnan(cell.copied) else f"copies {percent(cell.copied)}"
    parts = [copies]
    for name, values, digits in (
        ("alignment", cell.alignment, 2),
        ("LID", cell.lid, 1),
    ):
        if not bool(values.isnan().all()):
            parts.append(f"{name} {number(shown_lid(float(values.nanmean())), digits)}")
    return " · ".join(parts)


def live(job: str) -> None:
    """Show a comparison again and again until it has ended, then the page once more."""
    job_panel.live(
        lambda: mitigation_session.mitigation_job(job),
        "Stop here and keep the images that are finished",
        "mi_cancel_run",
        so_far=_running,
    )


def _running(run: MitigationRun) -> None:
    """Show the preview of the running step, and the cards that are finished."""
    if len(run.preview):
        layout.heading(
            "Predicted image at the current step",
            "Predictions of the final images under this mitigation; they sharpen with every "
            "step and can still change.",
        )
        figures = "".join(
            image_html.figure(image, f"Preview, seed {seed}", f"seed {seed}", most=image_html.CARD)
            for image, seed in zip(run.preview, run.config.seeds, strict=False)
        )
        image_html.show(f'<div class="im-grid">{figures}</div>')
    if run.cells:
        layout.heading(
            "Finished images",
            "One card for each mitigation, all from the same starting noise; cancelling keeps "
            "them. Few seeds show what can happen, not how often.",
        )
        so_far(run)


def side_effects(run: MitigationRun) -> None:
    """Show the change of alignment of reference prompts, and their images."""
    layout.heading(
        "Side effects on reference prompts",
        "The same mitigations on prompts that are not memorized: a good one leaves their "
        "alignment unchanged and makes no copies. The image may change, but not more than from "
        "seed to seed.",
        help=f"{phrases.ALIGNMENT} {phrases.INTERVAL}",
    )
    others = range(1, len(run.config.prompts))
    if not others:
        st.info(
            "This comparison has no reference prompts: switch on “Check side effects on "
            "reference prompts” in the sidebar and compare again.",
            icon=":material/info:",
        )
        return
    finished = [prompt for prompt in others if cells_of(run, prompt)]
    layout.chart(plots.must_not_move(treatment_rows(run, finished)), "mi_must_not_move")
    seeds = plural(len(run.config.seeds), "seed")
    st.caption(f"Over {plural(len(finished), 'reference prompt')} with {seeds} each.")
    _harm(run)
    for prompt in finished:
        st.text(run.config.prompts[prompt])
        bodies = "".join(f"<div>{body(run, cell)}</div>" for cell in cells_of(run, prompt))
        image_html.show(f'{STYLE}<div class="mi-cells">{bodies}</div>')


def _harm(run: MitigationRun) -> None:
    """Show in words which mitigations harm reference prompts, and how."""
    harmed = [
        "- " + layout.plain(f"{phrases.named(verdict.treatment)}: {harm(verdict.references)}")
        for verdict in treatment_results(run)
        if verdict.references.effect == "harmed"
    ]
    if harmed:
        st.error("\n".join(harmed), icon=":material/warning:")
