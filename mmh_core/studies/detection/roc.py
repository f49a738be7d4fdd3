"""How well a score tells two groups apart, with intervals by bootstrap."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

#: Resamplings behind every interval, and the false-positive rate of the strict figure.
RESAMPLINGS, STRICT = 1000, 0.01
#: Prompts of a group below which the bootstrap's intervals are clearly too narrow.
FEW = 30


@dataclass(frozen=True)
class Separation:
    """Hold the area under the ROC curve and the true-positive rate at 1 % false positives.

    Each with a 95 % interval (percentile bootstrap over prompts, both groups resampled), counted
    on `positives` and `negatives` prompts: too narrow for groups below about `FEW`, and NaN for a
    group of one, which can only be drawn as it is. With fewer than 100 negatives the strict rate
    allows no false positive at all.
    """

    auc: float
    auc_low: float
    auc_high: float
    tpr: float
    tpr_low: float
    tpr_high: float
    positives: int
    negatives: int


def area(positive: Tensor, negative: Tensor) -> Tensor:
    """Return the share of pairs in which the positive scores higher, ties one half.

    Mann and Whitney's U over `P N`; `positive` (..., P) and `negative` (..., N) give (...).
    """
    ordered = negative.sort(-1).values
    below = torch.searchsorted(ordered, positive.contiguous(), right=False)
    up_to = torch.searchsorted(ordered, positive.contiguous(), right=True)
    return (below + up_to).double().mean(-1) / (2 * negative.shape[-1])


def true_positive_rate(positive: Tensor, negative: Tensor, rate: float = STRICT) -> Tensor:
    """Return the share of positives above the threshold that lets at most `rate` negatives pass.

    The threshold is the order statistic number `floor(rate N)` from above, which must not itself
    pass: no interpolation.
    """
    allowed = int(rate * negative.shape[-1])
    threshold = negative.sort(-1, descending=True).values[..., allowed]
    return (positive > threshold[..., None]).double().mean(-1)


def separation(scores: Tensor, positive: Tensor, *, generator: torch.Generator) -> Separation:
    """Return the figures of scores (P,) with `positive` (P,) bool; higher = positive.

    Errors: ValueError where a group is empty or a score is NaN.
    """
    yes, no = scores[positive].double(), scores[~positive].double()
    if not len(yes) or not len(no) or bool(scores.isnan().any()):
        raise ValueError(
            f"Separation needs both groups and finite scores: {len(yes)} positives, {len(no)} "
            f"negatives, {int(scores.isnan().sum())} without a score."
        )
    again_yes, again_no = (
        group[torch.randint(len(group), (RESAMPLINGS, len(group)), generator=generator)]
        for group in (yes, no)
    )
    if min(len(yes), len(no)) < 2:
        both = float(area(yes, no)), float(true_positive_rate(yes, no))
        return Separation(
            both[0], torch.nan, torch.nan, both[1], torch.nan, torch.nan, len(yes), len(no)
        )
    ends = torch.tensor([0.025, 0.975], dtype=torch.float64)
    auc = torch.quantile(area(again_yes, again_no), ends).tolist()
    tpr = torch.quantile(true_positive_rate(again_yes, again_no), ends).tolist()
    return Separation(
        float(area(yes, no)),
        auc[0],
        auc[1],
        float(true_positive_rate(yes, no)),
        tpr[0],
        tpr[1],
        len(yes),
        len(no),
    )


def curve(scores: Tensor, positive: Tensor) -> tuple[list[float], list[float]]:
    """Return the ROC curve, false- and true-positive rates from (0, 0) to (1, 1)."""
    thresholds = torch.cat([torch.unique(scores).flip(0), torch.tensor([-torch.inf])])
    yes, no = scores[positive], scores[~positive]
    false = [0.0] + [float((no >= each).double().mean()) for each in thresholds]
    true = [0.0] + [float((yes >= each).double().mean()) for each in thresholds]
    return false, true
