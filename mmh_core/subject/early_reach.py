"""The detection rate of the early scan on memorized prompts it was not fitted on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmh_core.subject.reference_scores import threshold_words

if TYPE_CHECKING:
    from mmh_core.subject.early_calibration import EarlyCalibration


def reach_words(calibration: EarlyCalibration, share: float) -> str:
    """Return in sentences what the threshold of a share is, and what the scan misses at it."""
    count = len(calibration.normal())
    at = (
        f"The early scan's threshold of {calibration.threshold(share):.2f} ({share:.1%} may be "
        f"flagged) is {threshold_words(share, count)}."
    )
    reach, rephrased = calibration.reach(share), calibration.paraphrase_reach(share)
    if reach is None:
        return (
            f"{at} How many memorized prompts the early scan of {calibration.model} misses is not "
            "known: none were left to count when it was calibrated."
        )
    counted = f"It finds {reach.found} of {reach.among} "
    if rephrased is None:
        sentence = (
            f"{counted}memorized prompts that it was not fitted on ({reach.words()}), worded as "
            "they were given; how many it finds in other words was not counted"
        )
    else:
        sentence = (
            f"{counted}memorized captions as trained with, which it was not fitted on "
            f"({reach.words()}), and {rephrased.found} of {rephrased.among} paraphrases of such "
            f"captions ({rephrased.words()})"
        )
    return f"{at} {sentence}: a prompt that is not flagged can be memorized all the same."
