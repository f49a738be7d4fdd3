"""What the early scan finds of memorized prompts it was not fitted on, counted and in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmh_core.subject.reference_scores import threshold_words

if TYPE_CHECKING:
    from mmh_core.subject.early_calibration import EarlyCalibration


@dataclass(frozen=True)
class Reach:
    """How many of so many memorized prompts a threshold finds."""

    found: int
    among: int

    @property
    def interval(self) -> tuple[float, float]:
        """Return the exact 95 % interval of the share found (Clopper & Pearson 1934)."""
        from scipy.stats import binomtest

        bounds = binomtest(self.found, self.among).proportion_ci(method="exact")
        return float(bounds.low), float(bounds.high)

    def words(self) -> str:
        """Return the share in percent with its interval."""
        low, high = self.interval
        return f"{self.found / self.among:.0%}, 95 % interval {low:.0%} to {high:.0%}"


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
        said = (
            f"{counted}memorized prompts that it was not fitted on ({reach.words()}), worded as "
            "they were given; how many it finds in other words was not counted"
        )
    else:
        said = (
            f"{counted}memorized captions as trained with, which it was not fitted on "
            f"({reach.words()}), and {rephrased.found} of {rephrased.among} paraphrases of such "
            f"captions ({rephrased.words()})"
        )
    return f"{at} {said}: a prompt that is not flagged can be memorized all the same."
