"""Percentiles and thresholds among the scores of reference prompts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmh_core.counting import plural
from mmh_core.records import MMHError
from mmh_core.statistics.intervals import share_interval

#: Reference prompts of which at least this share must have a score.
_USABLE = 0.5


def usable(scores: Tensor, label: str) -> Tensor:
    """Return the finite ones of the scores (N,) of reference prompts, sorted.

    Errors: MMHError where fewer than half are finite: the rest are no sample of reference prompts.
    """
    finite = scores[scores.isfinite()]
    if not len(finite) or len(finite) < _USABLE * len(scores):
        raise MMHError(
            f"{label} gave no number for {len(scores) - len(finite)} of {len(scores)} reference "
            "prompts, so nothing can be compared with them: calibrate again with other prompts."
        )
    return finite.sort().values


def threshold_among(ordered: Tensor, fpr: float) -> float:
    """Return the score that at most the share `fpr` of sorted reference scores (N,) exceeds."""
    if not 0 <= fpr < 1:
        raise ValueError(f"fpr must be from 0 to below 1, got {fpr!r}.")
    return float(ordered[len(ordered) - 1 - int(fpr * len(ordered))])


def share_below(ordered: Tensor, scores: Tensor) -> Tensor:
    """Return the shares (P,), 0 to 1, of sorted scores below `scores` (P,); NaN stays NaN."""
    shares = torch.searchsorted(ordered, scores.contiguous()) / len(ordered)
    return torch.where(scores.isnan(), torch.nan, shares)


def threshold_words(fpr: float, count: int) -> str:
    """Return what the threshold for `fpr` among `count` reference prompts means for new ones.

    Of N exchangeable scores and a new one, the new one exceeds the k-th highest with the
    probability k / (N + 1); constants fitted to the same N prompts make it more.
    """
    above = int(fpr * count)
    where = (
        f"exceeded by {above:,} of the {plural(count, 'reference prompt')}"
        if above
        else f"above all {count:,} reference prompts"
    )
    every = (count + 1) / (above + 1)
    return f"{where}; about 1 in {every:.0f} new reference prompts, or more, will exceed it"


@dataclass(frozen=True)
class Proportion:
    """How many prompts of `total` have a property, such as to exceed a threshold."""

    count: int
    total: int

    @property
    def interval(self) -> tuple[float, float]:
        """Return the exact 95 % interval of the share (Clopper & Pearson 1934)."""
        ends = share_interval(self.count, self.total)
        return ends.low, ends.high

    def words(self) -> str:
        """Return the share in percent with its interval."""
        low, high = self.interval
        return f"{self.count / self.total:.0%}, 95 % interval {low:.0%} to {high:.0%}"
