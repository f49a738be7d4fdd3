"""Tables of the benchmark beyond the areas: realized rates, groups, and the truth by fact."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mmh_core.formats.markdown import markdown_table

if TYPE_CHECKING:
    from mmh_core.studies.detection.benchmark_run import BenchmarkRun
    from mmh_core.studies.detection.figures import RowFigures
    from mmh_core.studies.detection.network_rows import Networks


def rate_table(run: BenchmarkRun, figures: Sequence[RowFigures]) -> str:
    """Return the realized rates at thresholds set beforehand as Markdown."""
    labels = {row.name: row for row in run.rows}
    if not figures:
        return ""
    shares = [f"{rates.share:.0%}" for rates in figures[0].realized]
    heads = [head for share in shares for head in (f"FPR, set at {share}", f"TPR, set at {share}")]
    rows = []
    for row in figures:
        cells = [rate.words() for rates in row.realized for rate in (rates.false, rates.true)]
        settings = labels[row.name].settings or "as published"
        rows.append([labels[row.name].label, *cells, settings])
    return (
        f"{markdown_table(['detector', *heads, 'free settings'], rows)}\n\n"
        "Thresholds are set beforehand, on reference prompts of the calibration half, to flag "
        "at most the share named; the rates are those of the test half, with exact 95 % "
        "intervals (Clopper and Pearson), one-sided where the count is 0 or all."
    )


def group_table(run: BenchmarkRun, figures: Sequence[RowFigures]) -> str:
    """Return the figures of every group as Markdown, one row for each detector and group."""
    labels = {row.name: row.label for row in run.rows}
    if not figures:
        return ""
    shares = [f"{rates.share:.0%}" for rates in figures[0].realized]
    heads = ["group", "detector", "memorized", "reference", "AUC", "against"]
    heads += [f"flagged, set at {share}" for share in shares]
    rows = []
    for number in range(len(figures[0].groups)):
        for row in figures:
            group = row.groups[number]
            flagged = [
                "; ".join(rate.words() for rate in pair if rate.among)
                for pair in zip(group.true, group.false, strict=True)
            ]
            counts = [str(group.memorized), str(group.reference)]
            area = group.area.words()
            rows.append([group.group, labels[row.name], *counts, area, group.against, *flagged])
    return (
        f"{markdown_table(heads, rows)}\n\n"
        "Flagged are prompts above the threshold: of memorized ones that is the true-positive "
        "rate, of reference ones the false-positive rate (both, in this order, where a group "
        "has both)."
    )


def fact_table(run: BenchmarkRun, figures: Sequence[RowFigures]) -> str:
    """Return the areas by both truths as Markdown, or why there is only one."""
    labels = {row.name: row for row in run.rows}
    first = next((row.by_fact for row in figures if row.by_fact is not None), None)
    if first is None:
        return (
            "Truth by caption only: without a training set to search, whether an image is a copy "
            "is not known. Name one by --index or --index-images."
        )
    heads = ["AUC by caption", "AUC by fact", "AUC by fact within memorized captions"]
    rows = []
    for row in figures:
        parts = (row.by_fact, row.within_memorized)
        cells = ["-" if part is None else part.area.words() for part in parts]
        all_ = labels[row.name].all
        by_caption = all_.area.words()
        rows.append([labels[row.name].label, by_caption, *cells])
    within = next(row.within_memorized for row in figures if row.within_memorized is not None)
    return (
        f"{markdown_table(['detector', *heads], rows)}\n\n"
        f"By fact: {first.copies} images that are copies of a training image against "
        f"{first.others} that are not, of {first.captions} prompts; within memorized captions "
        f"{within.copies} against {within.others}, of {within.captions}. 95 % intervals over "
        "prompts, whose images are alike. A score that is one for all images of a prompt "
        "(words alone) can say nothing within a caption."
    )


def dose_table(run: BenchmarkRun) -> str:
    """Return the response to the dose of duplication as Markdown, or that it was not measured."""
    curves = run.doses
    if not curves:
        return (
            "Dose and response were not measured: no prompt of the list says how often its images "
            "stand in the training set. A column copies tells it."
        )
    measures = list(dict.fromkeys(curve.measure for curve in curves))
    levels = {
        (curve.measure, curve.series, level.copies): level
        for curve in curves
        for level in curve.levels
    }
    rows = []
    for series in dict.fromkeys(curve.series for curve in curves):
        doses = sorted({copies for _, name, copies in levels if name == series})
        for copies in doses:
            here = [levels.get((measure, series, copies)) for measure in measures]
            counts = max(level.prompts for level in here if level is not None)
            cells = ["-" if level is None else level.response.words() for level in here]
            rows.append([series, str(copies), str(counts), *cells])
    return (
        f"{markdown_table(['repeated as', 'copies k', 'prompts', *measures], rows)}\n\n"
        "Means over prompts, whose images are averaged first, with 95 % intervals over prompts. "
        "The extraction rate is the share of images that are copies of a training image; "
        "paraphrases are other wordings of captions with k exact copies."
    )


def published_table(run: BenchmarkRun) -> str:
    """Return this run's figures beside the published ones of the same detectors as Markdown."""
    from mmh_core.studies.detection.published import PUBLISHED, SETTING

    measured = {row.name: row for row in run.rows}
    heads = ["detector", "AUC here", "TPR at 1 % FPR here", "AUC published", "TPR published"]
    heads += ["seeds", "published by"]
    rows = []
    for figure in PUBLISHED:
        row = measured.get(figure.detector)
        cells = ["not run", "not run"]
        if row is not None:
            cells = [
                row.all.area.words(),
                row.all.strict_rate.words(),
            ]
        tpr = "-" if figure.tpr is None else f"{figure.tpr:.3f}"
        cells += [f"{figure.auc:g}", tpr, str(figure.seeds), figure.source]
        rows.append([figure.label, *cells])
    return (
        f"{markdown_table(heads, rows)}\n\n"
        f"Published figures are their authors', on {SETTING}, not measured by this project. "
        f"Here: {run.model}, {len(run.seeds)} seeds, {run.sampling.steps} steps, guidance "
        f"{run.sampling.guidance:g}, on one half of the list; the other half set times and "
        "signs. Protocols differ more than methods do."
    )


def network_table(networks: Networks) -> str:
    """Return the figures of detectors over several networks as Markdown, the best mean first."""
    rows = networks.rows
    heads = ["AUC, mean", "standard deviation", "lowest to highest"]
    heads += ["FPR, set at 1 %", "TPR, set at 1 %", "AUC by fact within memorized captions"]
    cells = []
    for row in rows:
        parts = [part.words() for part in (row.false, row.true, row.within)]
        ends = f"{row.lowest:.3f} to {row.highest:.3f}"
        cells.append([row.label, row.auc.words(), f"{row.spread:.3f}", ends, *parts])
    return (
        f"{markdown_table(['detector', *heads], cells)}\n\nMeans over {len(networks.files)} "
        f"networks ({', '.join(networks.files)}) with 95 % intervals over networks, on the same "
        "prompts and seeds."
    )
