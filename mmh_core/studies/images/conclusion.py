"""What the images of a run show, in words."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from statistics import median

from mmh_core.counting import agreeing, plural
from mmh_core.memorization.cause import BOTH, DATA, OVERFITTING
from mmh_core.memorization.hypothesis import shown_lid
from mmh_core.records import Conclusion
from mmh_core.retrieval.copy_evidence import copied
from mmh_core.statistics.intervals import share_interval
from mmh_core.studies.images.run import ImageResult, ImageRun, ImageVerdict

_TEMPLATE: ImageVerdict = "template copy"
_LIKELY: ImageVerdict = "likely copy, compare by eye"
_LOW: tuple[ImageVerdict, ...] = (
    "memorized, cause not identifiable",
    "suspicious, no copy found",
)
_FREE: ImageVerdict = "not memorized"


def conclusion(run: ImageRun) -> Conclusion:
    """Return what the most severe verdicts of a run amount to. Errors: ValueError for no image."""
    if not run.images:
        raise ValueError("A run without images has no conclusion.")
    if run.copies:
        return _of_copies(run, run.copies)
    counts, many = Counter(image.verdict for image in run.images), len(run.images)
    if counts[_LIKELY]:
        return Conclusion(
            f"{_of(counts[_LIKELY], many)} {_is(counts[_LIKELY])} likely a copy of a training "
            "image.",
            "Compare the two by eye, below, and record your judgement on the review page.",
            "Similarity alone does not tell a copy from a common subject.",
        )
    low = [image for image in run.images if image.verdict in _LOW]
    if low:
        return Conclusion(
            f"{_of(len(low), many)} {_has(len(low))} a LID below nearly all reference images"
            f"{_lids(run, low)}; {_search(run)}.",
            "Search the images that the model was really trained on, or generate more seeds.",
            "A low LID is a sign of memorization and no proof: a plain image has one too.",
        )
    if counts[_FREE] == many:
        high = share_interval(0, many).high
        return Conclusion(
            f"None of {many} images is memorized: no copy among {run.searched:,} training images, "
            "and every LID is usual among reference images.",
            "Nothing has to be done for this prompt.",
            f"0 of {many} seeds: 95 % interval of the copy rate 0 to {_percent(high)}.",
        )
    return _undecided(run, counts[_FREE])


def _of_copies(run: ImageRun, copies: Sequence[ImageResult]) -> Conclusion:
    """Return what copies amount to: of which training image, its copies, the LID, the cause."""
    many, count = len(run.images), len(copies)
    evidence = [image.copy for image in copies if image.copy is not None]
    ids = Counter(copy.nearest for copy in evidence)
    if all(image.verdict == _TEMPLATE for image in copies):
        of = "the layout that several training images share"
    else:
        of = "training images"
    if of == "training images" and len(ids) == 1 and evidence:
        held = max(copy.multiplicity for copy in evidence)
        times = f", which stands in the training set {held:,} times" if held > 1 else ""
        of = f"training image {evidence[0].nearest:,}{times}"
    # As everywhere, the copy rate leaves out what a person has to compare first.
    kinds = [image.copy.kind for image in run.images if image.copy is not None]
    decided = sum(not math.isnan(copied(kind)) for kind in kinds)
    of_decided = "" if decided == many else " that the search decides"
    rate = share_interval(count, decided)
    return Conclusion(
        f"{_of(count, many)} {_reproduces(count)} {of}{_lids(run, copies)}.",
        _remedy(copies),
        f"{count} of {plural(decided, 'seed')}{of_decided}: 95 % interval of the copy rate "
        f"{100 * rate.low:.0f} to {_percent(rate.high)}.",
    )


def _remedy(copies: Sequence[ImageResult]) -> str:
    causes = {image.cause.label for image in copies if image.cause is not None}
    after = "For the model as it is, compare mitigations on this prompt on the mitigation page."
    if causes & {DATA, BOTH}:
        return f"Deduplicate the training set and train again: the data causes it. {after}"
    if causes & {OVERFITTING}:
        return f"Train with more images or stop earlier: overfitting causes it. {after}"
    return after


def _undecided(run: ImageRun, free: int) -> Conclusion:
    many = len(run.images)
    uncalibrated = all(
        image.lid is None or math.isnan(image.lid.percentile) for image in run.images
    )
    rest = f"; {free} of {many} are not memorized" if free else ""
    if uncalibrated:
        return Conclusion(
            f"Whether the {many} images are memorized cannot be judged: {_search(run)}, and LID "
            "is not calibrated for these settings.",
            "Take the model's recommended steps, guidance, scheduler and size, or calibrate the "
            "model for yours.",
            "Without a calibration no image is called not memorized.",
        )
    return Conclusion(
        f"{_of(many - free, many)} cannot be judged; {_search(run)}{rest}.",
        "Read the reason at each image; more probes or more seeds decide most cases.",
        "What cannot be judged is neither memorized nor free of it.",
    )


def _lids(run: ImageRun, images: Sequence[ImageResult]) -> str:
    """Return the median LID of images beside that of reference images, "" where unknown."""
    lids = [image.lid.conditional for image in images if image.lid is not None]
    lids = [lid for lid in lids if math.isfinite(lid)]
    if not lids:
        return ""
    text = f": median LID {shown_lid(median(lids)):.1f}"
    if run.reference is None:
        return text
    return f"{text}, that of reference images {float(run.reference.conditional.median()):.0f}"


def _search(run: ImageRun) -> str:
    if run.searched:
        return f"no copy was found among {run.searched:,} training images"
    return "there are no training images to search"


def _of(count: int, many: int) -> str:
    return f"{count} of {many} images"


def _is(count: int) -> str:
    return agreeing(count, "is", "are each")


def _has(count: int) -> str:
    return agreeing(count, "has", "have")


def _reproduces(count: int) -> str:
    return agreeing(count, "reproduces", "reproduce")


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
