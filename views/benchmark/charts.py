"""Charts of a comparison: dose and response, groups of prompts, thresholds set beforehand."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from mmh_core.plots import benchmark as plots
from mmh_core.plots import detection
from mmh_core.studies.detection.benchmark_run import BenchmarkRun, DetectorRow
from mmh_core.studies.detection.doses import COPY_RATE, GUIDANCE, LID
from mmh_core.studies.detection.figures import RowFigures, group_sides
from mmh_core.studies.detection.findings import best_row
from views.widgets import layout

#: One of each family: lines that all lie in the corner would hide one another.
_FIRST = ("combined", "lid_unconditional_count", "early_scan", "sharpness", "seed_agreement")
_MOST = 5
_ALL = "All prompts"


def doses(run: BenchmarkRun) -> None:
    """Show copy rate, LID and guidance norm against the occurrences of an image."""
    layout.heading(
        "Dose and response: occurrences in the training set",
        "Each point is the mean over prompts whose images occur k times each in the training "
        "set, whiskers its 95 % interval over prompts. Only where k was assigned at random does a "
        "rising rate show that duplication causes copies.",
        help="Copy rate: the share of a prompt's images that are copies of a training "
        "image. Guidance norm: the mean length of the guidance vector over the steps.",
    )
    measured = [name for name in (COPY_RATE, LID, GUIDANCE) if _has(run, name)]
    if not measured:
        st.caption(
            "Not measured: no prompt of this file says how often its images occur in the training "
            "set. It would be a column *copies* in the table of prompts."
        )
        return
    layout.chart(detection.dose_response(run, measured[0]), "bm_dose_0")
    if measured[1:]:
        columns = layout.side_by_side("bm_doses") if len(measured) > 2 else [st.container()]
        for number, (column, name) in enumerate(zip(columns, measured[1:], strict=True), 1):
            with column:
                layout.chart(detection.dose_response(run, name, legend=False), f"bm_dose_{number}")


def _has(run: BenchmarkRun, measure: str) -> bool:
    return any(curve.measure == measure for curve in run.doses)


def groups(run: BenchmarkRun) -> None:
    """Show the areas in every group, and the ROC curves of one, text alone as the baseline."""
    text = best_row(run.text_baselines) if run.text_baselines else None
    sides = {each.group: each for each in group_sides(run)}
    layout.heading(
        "Detection by group of prompts",
        "A group of memorized prompts is compared with all reference prompts, a group of "
        "reference prompts with all memorized ones; in brackets its number of prompts. "
        + (
            "The baseline, text alone, scores the words of a prompt without the model: a detector "
            "whose mark is not to the right of it adds nothing."
            if text is not None
            else "Text alone, the baseline, was not measured in this file."
        ),
    )
    labels = {row.name: row.label for row in run.rows}
    model_rows = [row.name for row in run.of_model]
    name = st.selectbox(
        "Detector",
        model_rows,
        index=model_rows.index(best_row(run.of_model).name),
        format_func=lambda candidate: labels[candidate],
        key="bm_group_detector",
    )
    row = next(each for each in run.of_model if each.name == name)
    layout.chart(detection.group_areas(run, row, text), "bm_groups")
    _roc(run, text, list(sides), labels)


def _roc(
    run: BenchmarkRun, text: DetectorRow | None, names: list[str], labels: dict[str, str]
) -> None:
    layout.heading(
        "ROC curves",
        "Each point of a curve is one threshold: its true-positive rate and its false-positive "
        "rate on reference prompts. The upper left corner is perfect"
        + (", the dotted grey curve is text alone." if text is not None else "."),
    )
    left, right = layout.side_by_side("bm_roc_choice", (1, 2))
    with left:
        group = st.selectbox("Group", [_ALL, *names], key="bm_roc_group")
    offered = [row.name for row in run.of_model]
    with right:
        chosen = st.multiselect(
            "Detectors",
            offered,
            default=[name for name in _FIRST if name in offered] or offered[:1],
            format_func=lambda name: labels[name],
            max_selections=_MOST,
            key="bm_curves",
        )
    if not chosen:
        st.caption("Choose at least one detector.")
        return
    within = "" if group == _ALL else str(group)
    layout.chart(plots.roc(run, chosen, within, text.name if text is not None else ""), "bm_roc")


def fixed(run: BenchmarkRun, figures: Sequence[RowFigures]) -> None:
    """Show the realized rates at thresholds that were set beforehand."""
    layout.heading(
        "Detection at thresholds from the calibration half",
        "The threshold comes from reference prompts of the calibration half; the rates are those "
        "of the test half, with exact 95 % intervals. Right of the dashed line a detector flags "
        "more reference prompts than its target.",
    )
    shares = [rates.target_fpr for rates in figures[0].realized]
    share = st.segmented_control(
        "Target false-positive rate",
        shares,
        default=shares[0],
        format_func=lambda value: f"{100 * value:g} %",
        key="bm_stated",
    )
    stated = shares[0] if share is None else float(share)
    left, right = layout.side_by_side("bm_fixed")
    with left:
        st.caption("False-positive rate, realized on reference prompts")
        layout.chart(detection.fixed_thresholds(run, figures, stated, memorized=False), "bm_false")
    with right:
        st.caption("True-positive rate on memorized prompts")
        layout.chart(detection.fixed_thresholds(run, figures, stated, memorized=True), "bm_true")
