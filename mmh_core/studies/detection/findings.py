"""What a benchmark shows and what it does not, in five findings made from its figures."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mmh_core.counting import plural
from mmh_core.installation import PROGRAM
from mmh_core.statistics.areas import ONE_PERCENT
from mmh_core.statistics.intervals import Interval
from mmh_core.studies.detection.benchmark_run import BenchmarkRun, DetectorRow
from mmh_core.studies.detection.doses import COPY_RATE, EXACT, LID, DoseCurve
from mmh_core.studies.detection.figures import ImageLabelFigures, Rate, RowFigures, realized

_COPIES = ("copy of a training image", "copies of training images")
#: A share that counts as most.
_HALF = 0.5


def findings(run: BenchmarkRun, figures: Sequence[RowFigures]) -> tuple[str, ...]:
    """Return five findings: AUC and text baselines, thresholds, images, doses and cause, limits.

    `figures` are those of `row_figures`. What a file does not hold is said to be not measured.
    Errors: ValueError for a run without a detector.
    """
    if not run.of_model:
        raise ValueError("A run without detectors has no findings.")
    best = best_row(run.of_model)
    return (
        _areas(run, best),
        _thresholds(run, best),
        _images(run, figures),
        f"{_doses(run)}; {_cause(run)}.",
        _limits(run),
    )


def best_row(rows: Sequence[DetectorRow]) -> DetectorRow:
    """Return the row with the largest AUC, then TPR at 1 % FPR, then the cheapest one."""
    return max(rows, key=lambda row: row.merit)


def _areas(run: BenchmarkRun, best: DetectorRow) -> str:
    counted = best.all
    area = counted.area
    sentence = (
        f"Of {plural(len(run.of_model), 'detector')}, {best.label} has the largest area under the "
        f"ROC curve (AUC) on the {counted.positives} memorized and "
        f"{plural(counted.negatives, 'reference prompt')} of the test half, "
        f"{_with_interval(area)}{_equal(run, best)}{_range(run, best)}. The detector was picked "
        "on these same prompts, so this AUC is optimistic."
    )
    if not run.text_baselines:
        unknown = "No text baseline was measured, so how much the words give away is unknown."
        return f"{sentence} {unknown}"
    text = best_row(run.text_baselines).all.area
    return (
        f"{sentence} The best text baseline, which sees the words and no model, has "
        f"{_with_interval(text)}: {_compared(area, text)}."
    )


def _equal(run: BenchmarkRun, best: DetectorRow) -> str:
    """Return how many other detectors have the same area, "" for none."""
    others = sum(row.all.auc == best.all.auc for row in run.of_model) - 1
    if not others:
        return ""
    return f", as {plural(others, 'other has', 'others have')}"


def _range(run: BenchmarkRun, best: DetectorRow) -> str:
    """Return the lowest and the highest AUC of a detector over networks, "" for one network."""
    for row in () if run.networks is None else run.networks.rows:
        if row.name == best.name:
            ends = f"{row.lowest:.3f} to {row.highest:.3f}"
            networks = plural(row.networks, "network")
            return f" (lowest to highest over {networks}: {ends})"
    return ""


def _compared(area: Interval, text: Interval) -> str:
    """Return what the intervals of two areas say, cautiously: overlapping ones tell nothing."""
    if area.low > text.high:
        return "the intervals do not overlap, so the model tells more than the words"
    if area.high < text.low:
        return "the intervals do not overlap, so the words tell more than the model"
    return "the intervals overlap, so these prompts do not show that the model tells more"


def _thresholds(run: BenchmarkRun, best: DetectorRow) -> str:
    (rates,) = realized(run, best, (ONE_PERCENT,))
    return (
        f"At a threshold set beforehand on {plural(rates.reference, 'reference prompt')} of the "
        f"calibration half, to flag at most {_percent(rates.target_fpr)}, {best.label} flags "
        f"{_counted(rates.fpr)} reference prompts of the test half and {_counted(rates.tpr)} "
        "memorized ones."
    )


def _images(run: BenchmarkRun, figures: Sequence[RowFigures]) -> str:
    labels = {row.name: row.label for row in run.of_model}
    within = [
        (each.within_memorized, labels[each.name])
        for each in figures
        if each.name in labels and each.within_memorized is not None
    ]
    if not within:
        return (
            "Which single images are copies was not measured, so whether a detector tells a copy "
            "from another image of the same caption is unknown."
        )
    over_images, label = max(within, key=lambda pair: _area(pair[0]))
    if _area(over_images) < 0:
        images, what = (
            over_images.copies + over_images.others,
            "copies" if over_images.copies else "no copies",
        )
        every = f"all {images:,} images are {what}"
        if images == 1:
            every = f"the one image is {'a copy' if over_images.copies else 'no copy'}"
        return (
            f"Within memorized captions {every}, so "
            "whether a detector tells a copy from another image cannot be judged here."
        )
    return (
        f"Within memorized captions ({plural(over_images.copies, *_COPIES)}, "
        f"{plural(over_images.others, 'other image')}, "
        f"{plural(over_images.captions, 'caption')}), where a detector has to tell images and not "
        "prompts, the largest area is "
        f"{_with_interval(over_images.area)}, of {label}, picked on these same images."
    )


def _area(over_images: ImageLabelFigures) -> float:
    """Return the area, -1 for none, which orders below every other."""
    value = over_images.area.value
    return -1.0 if math.isnan(value) else value


def _doses(run: BenchmarkRun) -> str:
    curves = {curve.measure: curve for curve in run.doses if curve.series == EXACT}
    curve = curves.get(COPY_RATE)
    if curve is None or len(curve.levels) < 2:
        return (
            "How the copy rate depends on how often an image occurs in the training set was "
            "not measured"
        )
    first, last = curve.levels[0], curve.levels[-1]
    sentence = (
        f"The copy rate, the share of images that are copies, is "
        f"{_share(first.response)} at {_occurrences(first.multiplicity)} of the image in the "
        f"training set ({plural(first.prompts, 'caption')}) and {_share(last.response)} at "
        f"{last.multiplicity:,} ({plural(last.prompts, 'caption')})"
    )
    return sentence + _middle(curve) + _lids(curves.get(LID))


def _middle(curve: DoseCurve) -> str:
    """Return from which dose most images are copies, where it is within the range."""
    above = [level.response.value >= _HALF for level in curve.levels]
    if above[0] or not above[-1]:
        return ""
    level = curve.levels[above.index(True)]
    return f", first reaching {_percent(_HALF)} at {_occurrences(level.multiplicity)}"


def _lids(curve: DoseCurve | None) -> str:
    if curve is None or len(curve.levels) < 2:
        return ""
    ends = (curve.levels[0].response.value, curve.levels[-1].response.value)
    return f", while the mean LID goes from {ends[0]:.1f} to {ends[1]:.1f}"


def _cause(run: BenchmarkRun) -> str:
    cause = run.cause
    if cause is None:
        return "no cause could be judged"
    accuracy = _with_interval(Interval(cause.accuracy, cause.low, cause.high))
    only = ", though only one cause occurs" if len(set(cause.true)) == 1 else ""
    return (
        f"for {plural(len(cause.prompts), 'caption')} whose images were copies and whose cause is "
        f"known, the predicted cause is right with a balanced accuracy of {accuracy}{only}"
    )


def _limits(run: BenchmarkRun) -> str:
    count = 1 if run.networks is None else len(run.networks.sha256)
    networks = "one network" if count == 1 else plural(count, "network")
    data_set = (
        "a synthetic data set whose ground truth is known"
        if is_synthetic(run)
        else "one list of prompts"
    )
    return (
        f"All this is of {networks} ({run.model}, {run.sampling.words}, "
        f"{plural(len(run.seeds), 'seed')}) on {data_set}: it compares the methods there "
        "only. For ranking, threshold and error rate on a real checkpoint, run "
        f"{PROGRAM} benchmark --model NAME --prompts TABLE."
    )


def is_synthetic(run: BenchmarkRun) -> bool:
    """Return whether the data LID of a caption is known, as it is of a synthetic data set only."""
    return bool(run.data_lid.isfinite().any())


def _occurrences(count: int) -> str:
    return plural(count, "occurrence")


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _counted(rate: Rate) -> str:
    """Return a count of how many, with its interval."""
    if not rate.among:
        return "0 of 0"
    ends = f"{100 * rate.low:.1f} to {100 * rate.high:.1f} %"
    return f"{rate.count} of {rate.among} ({100 * rate.count / rate.among:.1f} %, {ends})"


def _share(share: Interval) -> str:
    return f"{_percent(share.value)} ({100 * share.low:.0f} to {100 * share.high:.0f} %)"


def _with_interval(figure: Interval) -> str:
    if figure.low != figure.low:
        return f"{figure.value:.3f} (no interval)"
    return f"{figure.value:.3f} (95 % interval {figure.low:.3f} to {figure.high:.3f})"
