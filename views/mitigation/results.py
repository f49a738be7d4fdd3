"""A comparison: what it is, its key numbers and its sections."""

from __future__ import annotations

from html import escape

import streamlit as st

from mmh_core.formats.export import frame_csv
from mmh_core.records import MMHError
from mmh_core.report.command import run_command
from mmh_core.report.folder import zipped
from mmh_core.report.mitigations import mitigation_files, mitigation_report
from mmh_core.studies.mitigation.conclusion import conclusion
from mmh_core.studies.mitigation.outcome import GOOD
from mmh_core.studies.mitigation.run import Cell, MitigationRun
from mmh_core.studies.mitigation.table import TreatmentRow
from mmh_core.studies.mitigation.verdict import (
    TreatmentResult,
    best,
    nothing_to_solve,
    treatment_results,
)
from views.images import image_html
from views.mitigation import grid, pairs, phrases, robustness, state, table, tokens, training
from views.mitigation import session as mitigation_session
from views.mitigation.settings import TABS, MitigationSettings, same_request
from views.mitigation.state import choose_cell, key
from views.widgets import layout, reproduce, words
from views.widgets.reproduce import RunFile
from views.widgets.tabs import open_tabs

# Five in a row, or two beside one another where there is less room.
_STYLE = """<style>
.st-key-mi_figures {display: grid !important; gap: .75rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, max(150px, 17%)), 1fr));}
@media (max-width: 1150px) {.st-key-mi_figures {grid-template-columns: 1fr 1fr;}}
</style>"""


def result(run: MitigationRun, settings: MitigationSettings, *, precomputed: bool) -> None:
    """Show a run that has ended, with everything that can be asked about it."""
    _headline(run, settings, precomputed=precomputed)
    results = treatment_results(run)
    summary = conclusion(results) if results else None
    if summary is not None:
        layout.finding(summary.finding)
        _figures(results)
    _sections(run, results, settings)
    if summary is not None:
        layout.recommendation(summary.recommendation, summary.certainty)


def nothing(settings: MitigationSettings) -> None:
    """Show what to do where there is no comparison to show."""
    st.info(
        "There is no comparison of this model yet. Write a prompt in the sidebar, choose "
        "mitigations, and press **Compare**: images appear while they are generated, and you can "
        "stop at any time.",
        icon=":material/compare:",
    )


def _headline(run: MitigationRun, settings: MitigationSettings, *, precomputed: bool) -> None:
    config = run.config
    kind = "Finished example" if precomputed else "Your run"
    count = words.plural(len(grid.cells_of(run, 0)) - 1, "mitigation")
    sentence = (
        f"{kind}: {count} beside none, on {run.model}, {words.seeds_words(config.seeds)}, "
        f"{config.sampling.steps} steps, guidance {config.sampling.guidance:g}, "
        f"{config.sampling.height} x {config.sampling.width}."
    )
    if run.training_images:
        among = words.plural(run.training_images, "training image")
        sentence += f" Copies were searched among {among} by {run.embedder}."
    if config.model == settings.model and not same_request(settings.form, config):
        sentence += " The form in the sidebar differs: press Compare to run that."
    with st.container(gap="xsmall"):
        image_html.show(f'<h2 class="im-prompt">{escape(config.prompts[0])}</h2>')
        st.caption(layout.plain(sentence))
    if run.state == "stopped":
        total = len(config.treatments) * len(config.prompts)
        st.info(
            f"Stopped before the end: {len(run.cells)} of {total} combinations of prompt and "
            "mitigation are kept.",
            icon=":material/stop_circle:",
        )
        _unfinished(run)
    image_html.show_missing(run.missing, run.notes)


def _unfinished(run: MitigationRun) -> None:
    """Show the images that stood on the screen when the run was stopped."""
    if not len(run.preview):
        return
    figures = "".join(
        image_html.figure(
            image, f"Unfinished image, seed {seed}", f"seed {seed}", most=image_html.THUMB
        )
        for image, seed in zip(run.preview, run.config.seeds, strict=False)
    )
    st.caption(layout.plain(f"Unfinished when it was stopped: {run.preview_of}."))
    image_html.show(f'<div class="im-grid">{figures}</div>')


def _figures(results: tuple[TreatmentResult, ...]) -> None:
    """Show five numbers of the best mitigation, or say why none passes."""
    base, chosen = results[0].row, best(results)
    st.html(_STYLE)
    with st.container(key="mi_figures"):
        layout.metric(
            "Copy rate before",
            words.percent(base.copied.mean.value),
            words.plural(base.images, "image"),
            phrases.COPY_RATE,
        )
        if chosen is not None:
            _best_figures(base, chosen)
    if chosen is None and len(results) > 1:
        _none_passes(results)


def _best_figures(base: TreatmentRow, chosen: TreatmentResult) -> None:
    row, effect = chosen.row, chosen.references.effect
    mean = f"mean of {words.plural(row.images, 'seed')}"
    layout.metric(
        "Copy rate after",
        words.percent(row.copied.mean.value),
        phrases.named(row.treatment),
        f"{phrases.PASSES} Of those that pass, the one that fits the prompt best. Chosen on these "
        "very seeds, so expect a little less on others.",
    )
    layout.metric(
        "Alignment",
        f"{words.number(base.alignment.mean.value)} → {words.number(row.alignment.mean.value)}",
        mean,
        f"{phrases.ALIGNMENT} {phrases.WEAK}",
    )
    # An estimate may lie a little below 0; no image has a negative number of directions.
    before, after = (max(of.lid.mean.value, 0.0) for of in (base, row))
    layout.metric(
        "LID",
        f"{words.number(before, 1)} → {words.number(after, 1)}",
        mean,
        "The number of directions in which the image can still change. It has to rise "
        "where copying falls.",
    )
    layout.metric(
        "Reference prompts",
        effect.capitalize() if effect != "unchanged" else "No harm shown",
        _REFERENCES[effect],
        "Prompts that are not memorized, with the same mitigation: harmed where an image becomes "
        "a copy, where alignment falls beyond its 95 % interval or below nine tenths, or where "
        "images change more than from seed to seed. Few images may hide a small harm.",
    )


_REFERENCES = {
    "unchanged": "no copy, alignment kept",
    "harmed": "see Reference prompts",
    "not checked": "too few were generated",
}


def _none_passes(results: tuple[TreatmentResult, ...]) -> None:
    """Show that none passes, and of each mitigation why."""
    if nothing_to_solve(results):
        st.info(
            "No image is a copy without mitigation, on these seeds: there is nothing to solve.",
            icon=":material/info:",
        )
        return
    tried = [verdict for verdict in results if verdict.treatment.mitigation != "none"]
    lines = [
        layout.plain(f"{phrases.named(verdict.treatment)}: {verdict.sentence}")
        for verdict in tried
    ]
    lines = [f"- {line}" for line in lines]
    st.warning("\n".join(["None of these passes:", "", *lines]), icon=":material/rule:")


def _sections(
    run: MitigationRun, results: tuple[TreatmentResult, ...], settings: MitigationSettings
) -> None:
    """Show the section that is open; the others cost nothing."""
    for name, tab in open_tabs(TABS, key):
        with tab:
            if name == "data":
                _reproduce(run)
            elif name == "training":
                training.section(run.model)
            elif not run.cells:
                st.info("This comparison was stopped before its first images were finished.")
            elif name == "compare":
                _compare(run, results, settings)
            elif name == "grid":
                _grid(run, results, settings)
            elif name == "words":
                tokens.section(run, settings)
            else:
                grid.side_effects(run)


def chosen_cell(
    run: MitigationRun, results: tuple[TreatmentResult, ...], settings: MitigationSettings
) -> Cell:
    """Return the cell to show in detail: the chosen one, else the best, else the best so far.

    Where none passes, that is the one with the largest share of good images.
    """
    cells = grid.cells_of(run, 0)
    chosen = best(results)
    tried = [
        verdict
        for verdict in results
        if verdict.row.outcomes and verdict.treatment.mitigation != "none"
    ]
    most = max(tried, key=lambda verdict: verdict.row.share(*GOOD), default=None)
    others = [verdict.treatment for verdict in (chosen, most) if verdict is not None]
    for treatment in (settings.cell, *others):
        for cell in cells:
            if cell.treatment == treatment:
                return cell
    return cells[-1]


def _compare(
    run: MitigationRun, results: tuple[TreatmentResult, ...], settings: MitigationSettings
) -> None:
    cell = chosen_cell(run, results, settings)
    treatments = [other_cell.treatment for other_cell in grid.cells_of(run, 0)]
    layout.heading(
        "Before and after",
        "The same seed and the same starting noise on both sides, so every difference comes "
        "from the mitigation. One pair is an example: judge by the table below.",
    )
    st.session_state[key("pick")] = cell.treatment
    st.selectbox(
        "Mitigation",
        treatments,
        key=key("pick"),
        format_func=phrases.named,
        on_change=_take_pick,
        label_visibility="collapsed",
    )
    pairs.section(run, grid.cells_of(run, 0)[0], cell, "compare")
    st.divider()
    table.frontier(run, cell.treatment)
    table.section(results, cell.treatment)
    robustness.section(run, results)


def _take_pick() -> None:
    choose_cell(st.session_state[key("pick")])


def _grid(
    run: MitigationRun, results: tuple[TreatmentResult, ...], settings: MitigationSettings
) -> None:
    cell = chosen_cell(run, results, settings)
    grid.section(run, cell.treatment)
    st.divider()
    st.header(layout.plain(phrases.named(cell.treatment)), anchor=False)
    pairs.section(run, grid.cells_of(run, 0)[0], cell, "grid")


def _reproduce(run: MitigationRun) -> None:
    """Show the command line, the link and the downloads."""
    name = f"{run.model.replace('/', '-')}-mitigation-seed-{run.config.seeds[0]}"
    searched: tuple[str, ...] = ()
    try:
        searched = mitigation_session.index_arguments(run)
    except MMHError as error:
        # Without it the command below would search another one.
        st.warning(layout.plain(str(error)), icon=":material/warning:")
    command = run_command(run, searched)
    files = (
        RunFile(
            "Report (HTML)",
            f"{name}.html",
            lambda: mitigation_report(run, command).encode(errors="replace"),
            "mi_html",
            "One page, readable without a network",
        ),
        RunFile(
            "Whole comparison (zip)",
            f"{name}.zip",
            lambda: zipped(mitigation_files(run, command)),
            "mi_zip",
            "All images as PNG, all numbers as JSON, the table and the page",
        ),
        RunFile(
            "Table (CSV)",
            f"{name}.csv",
            lambda: frame_csv(run.frame()),
            "mi_csv",
            "One row per image: mitigation, prompt in force, copies, alignment, LID",
        ),
    )
    about = "The report is one page that opens anywhere without a network."
    reproduce.section("comparison", command, state.address(), about, files)
