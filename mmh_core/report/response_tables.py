"""Tables of a benchmark on dose and response, on causes, and over several networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmh_core.counting import plural
from mmh_core.memorization.cause import UNIDENTIFIED
from mmh_core.report.figure_table import FigureTable
from mmh_core.statistics.agreement import reliability
from mmh_core.statistics.intervals import Interval

if TYPE_CHECKING:
    from mmh_core.studies.detection.benchmark_run import BenchmarkRun, CauseResults
    from mmh_core.studies.detection.network_rows import Networks


def dose_table(run: BenchmarkRun) -> FigureTable:
    """Return the response to the dose of duplication, or that it was not measured."""
    curves = run.doses
    if not curves:
        return FigureTable(
            (),
            (),
            "Dose and response were not measured: no prompt of the list says how often its images "
            "occur in the training set. A column copies in the table tells it.",
        )
    measures = list(dict.fromkeys(curve.measure for curve in curves))
    levels = {
        (curve.measure, curve.series, level.multiplicity): level
        for curve in curves
        for level in curve.levels
    }
    rows = []
    for series in dict.fromkeys(curve.series for curve in curves):
        for copies in sorted({copies for _, name, copies in levels if name == series}):
            here = [levels.get((measure, series, copies)) for measure in measures]
            prompts = max(level.prompts for level in here if level is not None)
            cells = ["-" if level is None else level.response.words() for level in here]
            rows.append((series, str(copies), str(prompts), *cells))
    return FigureTable(
        ("repeated as", "occurrences k", "prompts", *measures),
        tuple(rows),
        "Means over prompts, whose images are averaged first, with 95 % intervals over prompts. "
        "The copy rate is the share of images that are copies of a training image; "
        "paraphrases are other wordings of captions whose images occur k times in the training "
        "set.",
    )


def cause_table(run: BenchmarkRun) -> FigureTable:
    """Return the confusion matrix of the cause, or why there is none."""
    cause = run.cause
    if cause is None:
        return FigureTable(
            (),
            (),
            "The cause is not identifiable: no caption of known cause is copied, or there are no "
            "training images to search.",
        )
    predictions = (*cause.causes, UNIDENTIFIED)
    pairs = list(zip(cause.true, cause.predicted, strict=True))
    rows = [
        (true, *(str(pairs.count((true, predicted))) for predicted in predictions))
        for true in cause.causes
    ]
    accuracy = Interval(cause.accuracy, cause.low, cause.high).words()
    words = [f"Balanced accuracy {accuracy}."]
    if len(set(cause.true)) == 1:
        words.append("Only one cause occurs here, so this does not show that causes are told.")
    if cause.confidence is not None:
        bins, error = reliability(cause.confidence, cause.right)
        if bins:
            words.append(f"Expected calibration error of the confidence {error:.3f}.")
    heads = ("true cause", *(f"predicted {predicted}" for predicted in predictions))
    return FigureTable(heads, tuple(rows), " ".join(words))


def reliability_table(cause: CauseResults | None) -> FigureTable:
    """Return how often causes of like confidence are right, or that no confidence is known."""
    missing = "Reliability was not measured: no cause has a calibrated confidence."
    if cause is None or cause.confidence is None:
        return FigureTable((), (), missing)
    bins, error = reliability(cause.confidence, cause.right)
    if not bins:
        return FigureTable((), (), missing)
    return FigureTable(
        ("confidence, mean", "share right", "answers"),
        tuple((f"{each.confidence:.3f}", each.right.words(), str(each.count)) for each in bins),
        "Causes in groups of like confidence, with exact 95 % intervals of the share that is "
        "right. A calibrated confidence equals it; the expected calibration error is "
        f"{error:.3f}.",
    )


def network_table(networks: Networks | None) -> FigureTable:
    """Return the figures of detectors over several networks, the best mean first.

    None: why there are none.
    """
    if networks is None:
        return FigureTable(
            (),
            (),
            "The spread over networks was not measured: this is one network. Several runs of the "
            "same list are put together by --merge.",
        )
    heads = ["detector", "AUC, mean", "standard deviation", "lowest to highest"]
    heads += ["FPR, set at 1 %", "TPR, set at 1 %", "AUC by fact within memorized captions"]
    rows = []
    for row in networks.rows:
        parts = [part.words() for part in (row.fpr, row.tpr, row.within)]
        ends = f"{row.lowest:.3f} to {row.highest:.3f}"
        rows.append((row.label, row.auc.words(), f"{row.deviation:.3f}", ends, *parts))
    return FigureTable(
        tuple(heads),
        tuple(rows),
        f"Means over {plural(len(networks.files), 'network')} ({', '.join(networks.files)}) with "
        "95 % intervals over networks, on the same prompts and seeds.",
    )
