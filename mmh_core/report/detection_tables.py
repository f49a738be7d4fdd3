"""Tables of a benchmark on how well detectors separate: areas, ROC, rates, groups, facts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mmh_core.counting import plural
from mmh_core.report.figure_table import FigureTable
from mmh_core.statistics.areas import area_interval, true_positive_rate
from mmh_core.statistics.intervals import share_interval
from mmh_core.studies.detection.benchmark_run import counts
from mmh_core.studies.detection.figures import group_sides, plain_sides
from mmh_core.studies.detection.findings import best_row
from mmh_core.studies.detection.published import PUBLISHED, SETTING

if TYPE_CHECKING:
    from torch import Tensor

    from mmh_core.studies.detection.benchmark_run import BenchmarkRun, DetectorRow
    from mmh_core.studies.detection.figures import RowFigures

#: False-positive rates at which a curve is read, as percents.
CURVE_AT = (1, 5, 10, 20)
#: The name of the group that is no group.
ALL_PROMPTS = "all prompts"


def detector_table(run: BenchmarkRun) -> FigureTable:
    """Return one row per detector, text alone among them, the best first."""
    kinds = [kind for kind, _ in run.rows[0].kinds] if run.rows else []
    heads = ("detector", "NFE", "AUC", "TPR at 1 % FPR", *(f"AUC {kind}" for kind in kinds))
    rows = []
    for row in sorted(run.rows, key=lambda row: (-row.all.auc, -row.all.tpr)):
        parts = dict(row.kinds)
        areas = [f"{parts[kind].auc:.3f}" if kind in parts else "-" for kind in kinds]
        rows.append(
            (row.label, _cost(row), row.all.area.words(), row.all.tpr_at_1_percent.words(), *areas)
        )
    notes = [_counted(run)] if run.rows else []
    notes += used_thresholds(run, names=(run.scanning,))
    if run.combined is not None:
        notes.append(
            f"Within the calibration half the combined score has an AUC of "
            f"{run.combined.cv_auc:.3f}, by five-fold cross-validation; the times of the early "
            "scan and the standardization were chosen before the folds, on all of that half."
        )
    return FigureTable(heads, tuple(rows), "\n".join(notes))


def _counted(run: BenchmarkRun) -> str:
    first = run.rows[0].all
    text = "Text alone sees no model: it is the baseline. " if run.text_baselines else ""
    return (
        f"{first.positives} memorized and {plural(first.negatives, 'reference prompt')} of the "
        f"test half, {plural(len(run.seeds), 'seed')} each; 95 % intervals over prompts, of the "
        f"TPR at the threshold as it is. {text}TPR at 1 % FPR is cut on these reference prompts. "
        "NFE (network evaluations) per image, in brackets those of the generation that is scored."
    )


def used_thresholds(run: BenchmarkRun, names: Sequence[str], fpr: float = 0.01) -> list[str]:
    """Return in sentences what detectors find at the threshold that `score` and `scan` use."""
    return [
        f"{row.label}: {counts(run, row, fpr).words()}" for row in run.rows if row.name in names
    ]


def _cost(row: DetectorRow) -> str:
    nfe = f"{row.nfe:.1f}".removesuffix(".0")
    return f"{nfe} (+{row.generation_nfe:.0f})" if row.generation_nfe else nfe


def roc_table(run: BenchmarkRun) -> FigureTable:
    """Return the ROC curves of every group: the best detector and, where measured, text alone.

    A curve is read at the false-positive rates `CURVE_AT`.
    """
    if not run.of_model:
        return FigureTable((), (), "No detector was measured.")
    compared = [
        best_row(run.of_model),
        *([best_row(run.text_baselines)] if run.text_baselines else []),
    ]
    heads = ("group", "detector", "AUC", *(f"TPR at {rate} % FPR" for rate in CURVE_AT))
    everywhere = plain_sides(run)
    groups = [(ALL_PROMPTS, *everywhere)]
    groups += [(each.group, each.positive, each.negative) for each in group_sides(run)]
    rows = [
        (group, row.label, *_curve(row.scores, positive, negative))
        for group, positive, negative in groups
        for row in compared
    ]
    return FigureTable(
        heads,
        tuple(rows),
        "The detector with the largest area on all prompts"
        + (
            " and text alone, the baseline. "
            if run.text_baselines
            else "; text alone was not measured. "
        )
        + "Each rate is at the loosest threshold that lets at most so many of the group's "
        "reference prompts pass, with exact 95 % intervals (Clopper and Pearson). A group of one "
        "label is compared with all prompts of the other.",
    )


def _curve(scores: Tensor, positive: Tensor, negative: Tensor) -> list[str]:
    """Return the area and the rates of a curve in words, dashes where a side has no score."""
    read = scores.isfinite()
    yes, no = scores[positive & read], scores[negative & read]
    if not len(yes) or not len(no):
        return ["-"] * (1 + len(CURVE_AT))
    caught = [
        round(float(true_positive_rate(yes, no, rate / 100)) * len(yes)) for rate in CURVE_AT
    ]
    return [
        area_interval(yes, no).words(),
        *(share_interval(count, len(yes)).words() for count in caught),
    ]


def rate_table(run: BenchmarkRun, figures: Sequence[RowFigures]) -> FigureTable:
    """Return the realized rates at thresholds set beforehand, and how free settings were set."""
    if not figures:
        return FigureTable((), (), "")
    by_name = {row.name: row for row in run.rows}
    shares = [f"{rates.target_fpr:.0%}" for rates in figures[0].realized]
    heads = [head for share in shares for head in (f"FPR, set at {share}", f"TPR, set at {share}")]
    rows = []
    for row in figures:
        cells = [rate.words() for rates in row.realized for rate in (rates.fpr, rates.tpr)]
        settings = by_name[row.name].settings or "as published"
        rows.append((by_name[row.name].label, *cells, settings))
    return FigureTable(
        ("detector", *heads, "free settings"),
        tuple(rows),
        "Thresholds are set beforehand, on reference prompts of the calibration half, to flag "
        "at most the share named; the rates are those of the test half, with exact 95 % "
        "intervals (Clopper and Pearson).",
    )


def group_table(run: BenchmarkRun, figures: Sequence[RowFigures]) -> FigureTable:
    """Return the figures of every group, one row for each detector and group."""
    if not figures:
        return FigureTable((), (), "")
    labels = {row.name: row.label for row in run.rows}
    shares = [f"{rates.target_fpr:.0%}" for rates in figures[0].realized]
    heads = ["group", "detector", "memorized", "reference", "AUC", "against"]
    heads += [f"flagged, set at {share}" for share in shares]
    rows = []
    for number in range(len(figures[0].groups)):
        for row in figures:
            group = row.groups[number]
            flagged = [
                "; ".join(rate.words() for rate in pair if rate.among)
                for pair in zip(group.tpr, group.fpr, strict=True)
            ]
            counted = (str(group.memorized), str(group.reference))
            area = group.area.words()
            rows.append((group.group, labels[row.name], *counted, area, group.against, *flagged))
    return FigureTable(
        tuple(heads),
        tuple(rows),
        "Flagged are prompts above the threshold: of memorized ones that is the true-positive "
        "rate, of reference ones the false-positive rate (both, in this order, where a group "
        "has both).",
    )


def fact_table(run: BenchmarkRun, figures: Sequence[RowFigures]) -> FigureTable:
    """Return the areas by both truths, or why there is only one."""
    first = next((row.by_image_label for row in figures if row.by_image_label is not None), None)
    if first is None:
        return FigureTable(
            (),
            (),
            "Truth by caption only: without a training set to search, whether an image is a copy "
            "is not known. Name one by --index or --index-images.",
        )
    by_name = {row.name: row for row in run.rows}
    rows = []
    for row in figures:
        parts = (row.by_image_label, row.within_memorized)
        cells = ["-" if part is None else part.area.words() for part in parts]
        rows.append((by_name[row.name].label, by_name[row.name].all.area.words(), *cells))
    within = next(row.within_memorized for row in figures if row.within_memorized is not None)
    copies = plural(first.copies, "image that is a copy", "images that are copies")
    return FigureTable(
        ("detector", "AUC by caption", "AUC by fact", "AUC by fact within memorized captions"),
        tuple(rows),
        f"By fact: {copies} of a training image against {plural(first.others, 'other')}, of "
        f"{plural(first.captions, 'prompt')}; within memorized captions {within.copies:,} against "
        f"{within.others:,}, of {within.captions:,}. 95 % intervals over prompts, whose images "
        "are alike. A score that is one for all images of a prompt (words alone) can say nothing "
        "within a caption.",
    )


def published_table(run: BenchmarkRun | None) -> FigureTable:
    """Return published figures, beside those of a run for the same detectors where one is given.

    None: the published ones alone, as beside a model that they say nothing of.
    """
    measured = {} if run is None else {row.name: row for row in run.rows}
    heads = ["detector", "AUC published", "TPR at 1 % FPR published", "seeds", "published by"]
    if run is not None:
        heads[1:1] = ["AUC here", "TPR at 1 % FPR here"]
    rows = []
    for figure in PUBLISHED:
        row = measured.get(figure.detector)
        cells = [] if run is None else ["not run", "not run"]
        if row is not None:
            cells = [row.all.area.words(), row.all.tpr_at_1_percent.words()]
        tpr = "-" if figure.tpr is None else f"{figure.tpr:.3f}"
        cells += [f"{figure.auc:g}", tpr, str(figure.seeds), figure.source]
        rows.append((figure.label, *cells))
    note = (
        f"Published figures are their authors', on {SETTING}, not measured by this project. "
        "Protocols differ more than methods do."
    )
    if run is not None:
        note += (
            f" Here: {run.model}, {plural(len(run.seeds), 'seed')}, "
            f"{plural(run.sampling.steps, 'step')}, "
            f"guidance {run.sampling.guidance:g}, on one half of the list; the other half set "
            "times and signs."
        )
    return FigureTable(tuple(heads), tuple(rows), note)
