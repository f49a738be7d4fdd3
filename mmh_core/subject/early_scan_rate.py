"""The detection rate of the early scan on memorized prompts it was not fitted on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmh_core.subject.reference_scores import threshold_words

if TYPE_CHECKING:
    from mmh_core.subject.early_calibration import EarlyCalibration


def detection_rate_words(calibration: EarlyCalibration, fpr: float) -> str:
    """Return in sentences the threshold of a false-positive rate, and what it detects."""
    count = len(calibration.reference_scores())
    at = (
        f"The early scan's threshold of {calibration.threshold(fpr):.2f} (at most {fpr:.1%} of "
        f"reference prompts flagged) is {threshold_words(fpr, count)}."
    )
    memorized = calibration.flagged_memorized(fpr)
    paraphrases = calibration.flagged_paraphrases(fpr)
    if memorized is None:
        return (
            f"{at} How many memorized prompts the early scan of {calibration.model} misses is not "
            "known: none were left to count when it was calibrated."
        )
    counted = f"It detects {memorized.count} of {memorized.total} "
    if paraphrases is None:
        sentence = (
            f"{counted}memorized prompts that it was not fitted on ({memorized.words()}), worded "
            "as they were given; how many it detects in other words was not counted"
        )
    else:
        sentence = (
            f"{counted}memorized captions as trained with, which it was not fitted on "
            f"({memorized.words()}), and {paraphrases.count} of {paraphrases.total} "
            f"paraphrases of such captions ({paraphrases.words()})"
        )
    return f"{at} {sentence}: a prompt that is not flagged can be memorized all the same."
