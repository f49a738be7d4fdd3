"""Tables of the benchmark beyond the areas: realized rates, groups, and the truth by fact."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmh_core.statistics import Interval
    from mmh_core.studies.detection.benchmark_run import BenchmarkRun
    from mmh_core.studies.detection.figures import FactFigures, Rate, RowFigures
    from mmh_core.studies.detection.networks import NetworkRow


def rate_table(run: BenchmarkRun, figures: Sequence[RowFigures]) -> str:
    """Return the realized rates at thresholds set beforehand as Markdown."""
    labels = {row.name: row for row in run.rows}
    if not figures:
        return ""
    shares = [f"{rates.share:.0%}" for rates in figures[0].realized]
    heads = [head for share in shares for head in (f"FPR, set at {share}", f"TPR, set at {share}")]
    lines = _header(["detector", *heads, "free settings"])
    for row in figures:
        cells = [_rate(rate) for rates in row.realized for rate in (rates.false, rates.true)]
        settings = labels[row.name].settings or "as published"
        lines.append(_line([labels[row.name].label, *cells, settings]))
    return "\n".join(
        [
            *lines,
            "",
            "Thresholds are set beforehand, on reference prompts of the calibration half, to flag "
            "at most the share named; the rates are those of the test half, with exact 95 % "
            "intervals (Clopper and Pearson), one-sided where the count is 0 or all.",
        ]
    )


def group_table(run: BenchmarkRun, figures: Sequence[RowFigures]) -> str:
    """Return the figures of every group as Markdown, one row for each detector and group."""
    labels = {row.name: row.label for row in run.rows}
    if not figures:
        return ""
    shares = [f"{rates.share:.0%}" for rates in figures[0].realized]
    heads = [f"flagged, set at {share}" for share in shares]
    lines = _header(["group", "detector", "memorized", "reference", "AUC", "against", *heads])
    for number in range(len(figures[0].groups)):
        for row in figures:
            group = row.groups[number]
            flagged = [
                "; ".join(_rate(rate) for rate in pair if rate.among)
                for pair in zip(group.true, group.false, strict=True)
            ]
            counts = [str(group.memorized), str(group.reference)]
            area = interval(group.area)
            lines.append(
                _line([group.group, labels[row.name], *counts, area, group.against, *flagged])
            )
    return "\n".join(
        [
            *lines,
            "",
            "Flagged are prompts above the threshold: of memorized ones that is the true-positive "
            "rate, of reference ones the false-positive rate (both, in this order, where a group "
            "has both).",
        ]
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
    lines = _header(["detector", *heads])
    for row in figures:
        cells = [_fact(part) for part in (row.by_fact, row.within_memorized)]
        all_ = labels[row.name].all
        by_caption = _three(all_.auc, all_.auc_low, all_.auc_high)
        lines.append(_line([labels[row.name].label, by_caption, *cells]))
    within = next(row.within_memorized for row in figures if row.within_memorized is not None)
    return "\n".join(
        [
            *lines,
            "",
            f"By fact: {first.copies} images that are copies of a training image against "
            f"{first.others} that are not, of {first.captions} prompts; within memorized captions "
            f"{within.copies} against {within.others}, of {within.captions}. 95 % intervals over "
            "prompts, whose images are alike. A score that is one for all images of a prompt "
            "(words alone) can say nothing within a caption.",
        ]
    )


def published_table(run: BenchmarkRun) -> str:
    """Return this run's figures beside the published ones of the same detectors as Markdown."""
    from mmh_core.studies.detection.published import PUBLISHED, SETTING

    rows = {row.name: row for row in run.rows}
    heads = ["AUC here", "TPR at 1 % FPR here", "AUC published", "TPR published", "seeds"]
    lines = _header(["detector", *heads, "published by"])
    for figure in PUBLISHED:
        row = rows.get(figure.detector)
        cells = ["not run", "not run"]
        if row is not None:
            cells = [
                _three(row.all.auc, row.all.auc_low, row.all.auc_high),
                _three(row.all.tpr, row.all.tpr_low, row.all.tpr_high),
            ]
        tpr = "-" if figure.tpr is None else f"{figure.tpr:.3f}"
        cells += [f"{figure.auc:g}", tpr, str(figure.seeds), figure.source]
        lines.append(_line([figure.label, *cells]))
    return "\n".join(
        [
            *lines,
            "",
            f"Published figures are their authors', on {SETTING}, not measured by this project. "
            f"Here: {run.model}, {len(run.seeds)} seeds, {run.sampling.steps} steps, guidance "
            f"{run.sampling.guidance:g}, on one half of the list; the other half set times and "
            "signs. Protocols differ more than methods do.",
        ]
    )


def network_table(rows: Sequence[NetworkRow]) -> str:
    """Return the figures of detectors over several networks as Markdown, the best mean first."""
    heads = ["AUC, mean", "standard deviation", "lowest to highest"]
    heads += ["FPR, set at 1 %", "TPR, set at 1 %", "AUC by fact within memorized captions"]
    lines = _header(["detector", *heads])
    for row in rows:
        parts = [interval(part) for part in (row.false, row.true, row.within)]
        ends = f"{row.lowest:.3f} to {row.highest:.3f}"
        lines.append(_line([row.label, interval(row.auc), f"{row.spread:.3f}", ends, *parts]))
    count = rows[0].networks if rows else 0
    return "\n".join(
        [
            *lines,
            "",
            f"Means over {count} networks with 95 % intervals over networks, on the same prompts "
            "and seeds.",
        ]
    )


def interval(area: Interval) -> str:
    """Return a figure with its interval, a dash where there is none."""
    return _three(area.value, area.low, area.high)


def _three(value: float, low: float, high: float) -> str:
    if math.isnan(value):
        return "-"
    if math.isnan(low):
        return f"{value:.3f} (no interval)"
    return f"{value:.3f} ({low:.3f} to {high:.3f})"


def _fact(part: FactFigures | None) -> str:
    return "-" if part is None else interval(part.area)


def _rate(rate: Rate) -> str:
    if not rate.among:
        return "-"
    return f"{rate.count}/{rate.among} ({rate.low:.3f} to {rate.high:.3f})"


def _header(cells: Sequence[str]) -> list[str]:
    return [_line(cells), "|---" * len(cells) + "|"]


def _line(cells: Sequence[str]) -> str:
    """Return a row of a table; a bar within a cell would end it."""
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
