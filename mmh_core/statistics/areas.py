"""Areas under ROC curves and true-positive rates with their intervals, over scipy."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mmh_core.statistics.intervals import (
    LEVEL,
    ROUNDING,
    Interval,
    half_width,
    least_of_all,
    share_interval,
)

#: The false-positive rate at which true-positive rates are compared.
ONE_PERCENT = 0.01


@dataclass(frozen=True)
class Separation:
    """The area under the ROC curve and the true-positive rate at 1 % false positives.

    Counted on `positives` and `negatives` prompts, each with a 95 % interval: of the area see
    `area_interval`; that of the rate is Clopper and Pearson's over the positives, at the threshold
    as the negatives set it. With fewer than 100 negatives no false positive at all is allowed.
    """

    auc: float
    auc_low: float
    auc_high: float
    tpr: float
    tpr_low: float
    tpr_high: float
    positives: int
    negatives: int

    @property
    def area(self) -> Interval:
        """Return the area under the ROC curve."""
        return Interval(self.auc, self.auc_low, self.auc_high)

    @property
    def tpr_at_1_percent(self) -> Interval:
        """Return the true-positive rate at 1 % false positives."""
        return Interval(self.tpr, self.tpr_low, self.tpr_high)


def area_under_curve(positive: Tensor, negative: Tensor) -> Tensor:
    """Return the share of pairs in which the positive scores higher, ties one half.

    The area under the ROC curve is Mann and Whitney's U over `P N`; `positive` (..., P) and
    `negative` (..., N) give (...). Errors: ValueError where a group is empty or a score is NaN.
    """
    from scipy.stats import mannwhitneyu

    pairs = positive.shape[-1] * negative.shape[-1]
    if not pairs or bool(positive.isnan().any()) or bool(negative.isnan().any()):
        raise ValueError("An area under the curve needs scores of both groups, none of them NaN.")
    sides = (scores.double().numpy(force=True) for scores in (positive, negative))
    # The method concerns the p-value, which is not read: "exact" would take long.
    return torch.as_tensor(mannwhitneyu(*sides, axis=-1, method="asymptotic").statistic / pairs)


def true_positive_rate(positive: Tensor, negative: Tensor, rate: float = ONE_PERCENT) -> Tensor:
    """Return the share of positives above the threshold that lets at most `rate` negatives pass.

    The threshold is the (floor(rate N) + 1)-th highest negative, without interpolation; what
    equals it does not pass.
    """
    allowed = math.floor(rate * negative.shape[-1] + ROUNDING)
    threshold = negative.sort(-1, descending=True).values[..., allowed]
    return (positive > threshold[..., None]).double().mean(-1)


def area_interval(positive: Tensor, negative: Tensor) -> Interval:
    """Return the area of scores (P,) and (N,) with a 95 % interval, wide enough near 1 as well.

    The wider at each end of two: Newcombe's method 5 (2006, "Confidence intervals for an effect
    size measure based on the Mann-Whitney statistic", Stat. Med. 25), which turns Hanley and
    McNeil's variance into a test as Wilson does, and DeLong's (1988) on the logit, which holds
    where the groups differ in spread. An area of exactly 1 has the end `.05^(1 / n)`, one-sided,
    `n` the smaller group: that many independent pairs were all in order. NaN ends where a group
    has one score. Errors: ValueError where a group is empty or a score is NaN.
    """
    area = float(area_under_curve(positive, negative))
    pairs = min(len(positive), len(negative))
    if pairs < 2:
        return Interval(area, math.nan, math.nan)
    low, high = _newcombe(area, len(positive), len(negative))
    if area in (0.0, 1.0):
        return _extreme_area(area, low, high, pairs)
    return _wider_on_logit(area, low, high, _half_width_normal(_delong(positive, negative)))


def clustered_area_interval(scores: Tensor, positive: Tensor, cluster: Tensor) -> Interval:
    """Return the area of scores (N,) whose rows come in clusters, with a 95 % interval.

    `positive` (N,) bool, `cluster` (N,) the number of each row's cluster, such as the prompt of
    an image: images of one prompt are no independent cases. Obuchowski's variance (1997,
    "Nonparametric analysis of clustered ROC curve data", Biometrics 53), which adds up the
    components of DeLong over clusters, on the logit with Student's t; the wider at each end of
    this and of Newcombe's interval for as many cases as clusters hold a case. NaN ends where
    fewer than two clusters do. Errors: those of `area_under_curve`.
    """
    yes, no = scores[positive].double(), scores[~positive].double()
    area = float(area_under_curve(yes, no))
    counts = [len(set(cluster[side].tolist())) for side in (positive, ~positive)]
    pairs = min(counts)
    if pairs < 2:
        return Interval(area, math.nan, math.nan)
    low, high = _newcombe(area, *counts)
    if area in (0.0, 1.0):
        return _extreme_area(area, low, high, pairs)
    error = _obuchowski(scores.double(), positive, cluster, area)
    return _wider_on_logit(area, low, high, half_width(error, pairs))


def _extreme_area(area: float, low: float, high: float, pairs: int) -> Interval:
    """Return an area of 0 or 1 with the wider end of two: a given one, and that of the pairs."""
    end = least_of_all(pairs)
    return Interval(area, *((min(low, end), 1.0) if area else (0.0, max(high, 1 - end))))


def _wider_on_logit(area: float, low: float, high: float, half: float) -> Interval:
    """Return an area with the wider, at each end, of an interval and of a half width on the logit.

    The half width is that of the area, carried over by the delta method.
    """
    center, half = math.log(area / (1 - area)), half / (area * (1 - area))
    ends = [1 / (1 + math.exp(-(center + sign * half))) for sign in (-1, 1)]
    return Interval(area, min(low, ends[0]), max(high, ends[1]))


def _obuchowski(scores: Tensor, positive: Tensor, cluster: Tensor, area: float) -> float:
    """Return the standard error of the area of clustered scores."""
    yes, no = scores[positive], scores[~positive]
    above = (yes[:, None] > no).double() + (yes[:, None] == no).double() / 2
    numbers = {number: rank for rank, number in enumerate(dict.fromkeys(cluster.tolist()))}
    place = torch.tensor([numbers[number] for number in cluster.tolist()])
    sums = []
    for shares, side in ((above.mean(1), positive), (above.mean(0), ~positive)):
        total = torch.zeros(len(numbers), dtype=torch.float64)
        count = total.clone()
        total.index_add_(0, place[side], shares)
        count.index_add_(0, place[side], torch.ones_like(shares))
        sums.append((total - count * area, count))
    (first, ones), (other, zeros) = sums
    parts = [
        int((count > 0).sum()) / (int((count > 0).sum()) - 1) * float(residual.square().sum())
        for residual, count in sums
    ]
    clusters = len(first)
    shared = clusters / (clusters - 1) * float((first * other).sum())
    positives, negatives = float(ones.sum()), float(zeros.sum())
    variance = parts[0] / positives**2 + parts[1] / negatives**2
    variance += 2 * shared / (positives * negatives)
    return math.sqrt(max(variance, 0.0))


def _newcombe(area: float, positives: int, negatives: int) -> tuple[float, float]:
    """Return the areas that differ from the measured one by just the normal quantile."""
    from scipy.optimize import brentq

    half = (positives + negatives) / 2 - 1

    def excess(true: float) -> float:
        ties = (1 - true) / (2 - true) + true / (1 + true)
        variance = true * (1 - true) * (1 + half * ties) / (positives * negatives)
        return abs(true - area) - _half_width_normal(math.sqrt(variance))

    # At the measured area itself the excess is below 0, at 0 and at 1 it is not.
    low = 0.0 if area <= 0 else brentq(excess, 0.0, min(area, 1 - ROUNDING))
    high = 1.0 if area >= 1 else brentq(excess, max(area, ROUNDING), 1.0)
    return float(low), float(high)


def _delong(positive: Tensor, negative: Tensor) -> float:
    """Return DeLong's standard error of the area, from each score's own share of pairs."""
    above = (positive[:, None] > negative).double() + (positive[:, None] == negative).double() / 2
    sides = (above.mean(1), above.mean(0))
    return math.sqrt(sum(float(side.var()) / len(side) for side in sides))


def _half_width_normal(standard_error: float) -> float:
    """Return half the interval of an estimate with a known, normal error."""
    from scipy.special import ndtri

    return float(ndtri(0.5 + LEVEL / 2)) * standard_error


def separation(scores: Tensor, positive: Tensor) -> Separation:
    """Return the figures of scores (P,) with `positive` (P,) bool; higher = positive.

    Errors: ValueError where a group is empty or a score is NaN.
    """
    yes, no = scores[positive].double(), scores[~positive].double()
    if not len(yes) or not len(no) or bool(scores.isnan().any()):
        raise ValueError(
            f"Separation needs both groups and finite scores: {len(yes)} positives, {len(no)} "
            f"negatives, {int(scores.isnan().sum())} without a score."
        )
    area = area_interval(yes, no)
    caught = round(float(true_positive_rate(yes, no)) * len(yes))
    rate = share_interval(caught, len(yes))
    if min(len(yes), len(no)) < 2:
        rate = Interval(rate.value, math.nan, math.nan)
    return Separation(
        *(area.value, area.low, area.high),
        *(rate.value, rate.low, rate.high),
        len(yes),
        len(no),
    )


def roc_points(scores: Tensor, positive: Tensor) -> tuple[list[float], list[float]]:
    """Return the ROC curve, false- and true-positive rates from (0, 0) to (1, 1).

    Every distinct score has its point.
    """
    from sklearn.metrics import roc_curve

    false, true, _ = roc_curve(positive.numpy(), scores.numpy(), drop_intermediate=False)
    return false.tolist(), true.tolist()
