"""Intervals, areas under curves, rank correlation and agreement, over scipy and scikit-learn.

One home for every statistic that a table, a chart or a sentence states. Libraries are imported
where they are used, since loading them takes longer than most commands do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

#: The share of cases in which an interval is meant to hold the true value.
LEVEL = 0.95
#: Resamplings behind the interval of a mean, with one seed: equal values have equal intervals.
MEAN_RESAMPLINGS, _MEAN_SEED = 2000, 1_117
#: Resamplings behind the intervals of an ROC curve, and its false-positive rate that is strict.
ROC_RESAMPLINGS, STRICT = 1000, 0.01
#: Values of a group below which the bootstrap's intervals are clearly too narrow.
FEW = 30
#: A share of a count that misses a whole number by less is that number.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Interval:
    """Hold a figure with the ends of its 95 % interval, NaN where unknown or of one value only."""

    value: float
    low: float
    high: float


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


def share_interval(
    count: int, among: int, method: Literal["exact", "wilson"] = "exact"
) -> Interval:
    """Return a share with the interval of Clopper & Pearson 1934 ("exact") or of Wilson 1927.

    Without any case nothing is known: NaN. Errors: ValueError for a count that is not from 0 to
    `among`.
    """
    from scipy.stats import binomtest

    if not 0 <= count <= among:
        raise ValueError(f"A count is from 0 to the {among} cases, got {count}.")
    if not among:
        return Interval(math.nan, math.nan, math.nan)
    ends = binomtest(count, among).proportion_ci(LEVEL, method)
    return Interval(count / among, float(ends.low), float(ends.high))


def half_width(standard_error: float, draws: int | None, level: float = LEVEL) -> float:
    """Return half the interval of a mean of `draws` independent values, by Student's t.

    NaN for fewer than two values, and for an unknown number.
    """
    # The quantile alone: scipy.stats takes a second to import, scipy.special a tenth of it.
    from scipy.special import stdtrit

    if draws is None or draws < 2:
        return math.nan
    return float(stdtrit(draws - 1, 0.5 + level / 2)) * standard_error


def percentile_interval(resampled: Tensor | Sequence[float]) -> tuple[float, float]:
    """Return the 95 % interval of a figure's resampled values (R,), NaN among them left out."""
    tail = (1 - LEVEL) / 2
    ends = torch.tensor([tail, 1 - tail], dtype=torch.float64)
    low, high = torch.nanquantile(torch.as_tensor(resampled).double(), ends).tolist()
    return low, high


def mean_interval(values: Tensor) -> Interval:
    """Return the mean of values (N,) with a 95 % interval, percentile bootstrap over the N.

    NaN values are left out. Caveat: over few values, such as four seeds, the interval is too
    narrow, and values that agree give an interval of no width.
    """
    known = values[~values.isnan()].double()
    count = len(known)
    if count < 2:
        return Interval(float(known[0]) if count else math.nan, math.nan, math.nan)
    generator = torch.Generator().manual_seed(_MEAN_SEED)
    rows = torch.randint(count, (MEAN_RESAMPLINGS, count), generator=generator)
    return Interval(float(known.mean()), *percentile_interval(known[rows].mean(-1)))


def paired_interval(after: Tensor, before: Tensor) -> Interval:
    """Return the mean of `after - before` (N,), with a bootstrap over the N pairs."""
    return mean_interval(after.double() - before.double())


def area_under_curve(positive: Tensor, negative: Tensor) -> Tensor:
    """Return the share of pairs in which the positive scores higher, ties one half.

    The area under the ROC curve is Mann and Whitney's U over `P N`; `positive` (..., P) and
    `negative` (..., N) give (...). Errors: ValueError where a group is empty or a score is NaN.
    """
    from scipy.stats import mannwhitneyu

    pairs = positive.shape[-1] * negative.shape[-1]
    if not pairs or bool(positive.isnan().any()) or bool(negative.isnan().any()):
        raise ValueError("An area under the curve needs scores of both groups, none of them NaN.")
    sides = (each.double().numpy(force=True) for each in (positive, negative))
    # The method concerns the p-value, which is not read: "exact" would take long.
    return torch.as_tensor(mannwhitneyu(*sides, axis=-1, method="asymptotic").statistic / pairs)


def true_positive_rate(positive: Tensor, negative: Tensor, rate: float = STRICT) -> Tensor:
    """Return the share of positives above the threshold that lets at most `rate` negatives pass.

    The threshold is the order statistic number `floor(rate N)` from above, which must not itself
    pass: no interpolation.
    """
    allowed = math.floor(rate * negative.shape[-1] + _ROUNDING)
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
    again = [
        group[torch.randint(len(group), (ROC_RESAMPLINGS, len(group)), generator=generator)]
        for group in (yes, no)
    ]

    def figure(read: Callable[[Tensor, Tensor], Tensor]) -> tuple[float, float, float]:
        known = min(len(yes), len(no)) >= 2
        ends = percentile_interval(read(*again)) if known else (math.nan, math.nan)
        return float(read(yes, no)), *ends

    return Separation(*figure(area_under_curve), *figure(true_positive_rate), len(yes), len(no))


def roc_points(scores: Tensor, positive: Tensor) -> tuple[list[float], list[float]]:
    """Return the ROC curve, false- and true-positive rates from (0, 0) to (1, 1).

    Every distinct score has its point.
    """
    from sklearn.metrics import roc_curve

    false, true, _ = roc_curve(positive.numpy(), scores.numpy(), drop_intermediate=False)
    return false.tolist(), true.tolist()


def rank_correlation(one: Tensor, other: Tensor) -> float:
    """Return Spearman's correlation of two lists (N,), ties at mean ranks.

    Pairs with a NaN are left out. NaN for fewer than three pairs, and for a list of equal values.
    """
    from scipy.stats import spearmanr

    kept = ~(one.isnan() | other.isnan())
    lists = [each[kept].double().numpy(force=True) for each in (one, other)]
    if int(kept.sum()) < 3 or any(bool((each == each[0]).all()) for each in lists):
        return math.nan
    return float(spearmanr(*lists).statistic)


def cohen_kappa(first: Sequence[Hashable], second: Sequence[Hashable]) -> float:
    """Return the agreement of two raters beyond chance, `(p_o - p_e) / (1 - p_e)`.

    Cohen 1960, "A coefficient of agreement for nominal scales". NaN without items, and where both
    gave one and the same rating throughout: chance alone agrees then, and nothing can be said.
    Errors: ValueError for lists of different lengths.
    """
    from sklearn.metrics import cohen_kappa_score

    if len(first) != len(second):
        raise ValueError(f"{len(first)} ratings cannot be compared with {len(second)}.")
    # Ratings by number, in order of appearance: scikit-learn sorts labels, which may not mix.
    places = {rating: place for place, rating in enumerate(dict.fromkeys([*first, *second]))}
    if len(places) < 2:
        return math.nan
    numbers = [[places[rating] for rating in each] for each in (first, second)]
    return float(cohen_kappa_score(*numbers))


def balanced_accuracy(called: Tensor, true: Tensor) -> Tensor:
    """Return the mean of the shares (N,) bool called right in both groups; NaN without one."""
    return (called[true].double().mean() + (~called[~true]).double().mean()) / 2
