"""Rank correlation, agreement and calibration, over scipy and scikit-learn."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mmh_core.statistics.intervals import (
    ROUNDING,
    Interval,
    half_width,
    mean_share_interval,
    share_interval,
)


def rank_correlation(first: Tensor, other: Tensor) -> float:
    """Return Spearman's correlation of two lists (N,), ties at mean ranks.

    Pairs with a NaN are left out. NaN for fewer than three pairs, and for a list of equal values.
    """
    from scipy.stats import spearmanr

    kept = ~(first.isnan() | other.isnan())
    lists = [values[kept].double().numpy(force=True) for values in (first, other)]
    if int(kept.sum()) < 3 or any(bool((values == values[0]).all()) for values in lists):
        return math.nan
    return float(spearmanr(*lists).statistic)


def partial_rank_correlation(first: Tensor, other: Tensor, cells: Tensor) -> float:
    """Return Spearman's partial correlation of two lists (N,) given their cells (N,).

    Pearson's correlation of the ranks (ties at mean ranks) after the mean of each cell is taken
    off, which is the partial correlation given indicators of the cells: a constant for each cell
    explains nothing of it. NaN where nothing varies within a cell.
    """
    from scipy.stats import rankdata

    numbers = torch.unique(cells, return_inverse=True)[1]
    counts = torch.bincount(numbers).double()
    left = []
    for values in (first, other):
        ranks = torch.from_numpy(rankdata(values.double().numpy(force=True)))
        means = torch.bincount(numbers, ranks) / counts
        left.append(ranks - means[numbers])
    spread = float(left[0].norm() * left[1].norm())
    if spread <= ROUNDING * len(first):
        return math.nan
    return float(left[0] @ left[1]) / spread


def correlation_interval(value: float, without_each: Tensor) -> Interval:
    """Return a correlation with a 95 % interval over independent groups of pairs.

    `without_each` (G,) is the correlation without each of the groups: the jackknife's error on
    Fisher's scale, and Student's t with G - 1 degrees of freedom. NaN ends for fewer than three
    groups, and where a correlation is NaN or of size 1.
    """
    every = torch.cat([torch.tensor([value]).double(), without_each.double()])
    groups = len(without_each)
    if groups < 3 or not bool((every.abs() < 1).all()):
        return Interval(value, math.nan, math.nan)
    scale = every.atanh()
    error = math.sqrt((groups - 1) ** 2 / groups * float(scale[1:].var()))
    half = half_width(error, groups)
    return Interval(value, *(math.tanh(float(scale[0]) + sign * half) for sign in (-1, 1)))


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
    places = {rating: rank for rank, rating in enumerate(dict.fromkeys([*first, *second]))}
    if len(places) < 2:
        return math.nan
    numbers = [[places[rating] for rating in ratings] for ratings in (first, second)]
    return float(cohen_kappa_score(*numbers))


def balanced_accuracy(called: Tensor, true: Tensor) -> Tensor:
    """Return the mean of sensitivity and specificity; NaN without a case of both kinds.

    `called` and `true` (N,) bool are what each case was called and what it is.
    """
    return (called[true].double().mean() + (~called[~true]).double().mean()) / 2


def balanced_accuracy_interval(right: Tensor, truths: Sequence[Hashable]) -> Interval:
    """Return the balanced accuracy over any number of classes, with a 95 % interval.

    `right` (N,) bool is whether an answer is that of its class in `truths`. Exact intervals
    of the shares, put together by MOVER (Zou and Donner 2008, Stat. Med. 27): the distances to
    their ends add up as squares. NaN without any case.
    """
    groups = [
        right[torch.tensor([truth == group for truth in truths])]
        for group in dict.fromkeys(truths)
    ]
    return _mean_of([share_interval(int(group.sum()), len(group)) for group in groups])


def clustered_balanced_accuracy(
    right: Tensor, groups: Sequence[Hashable], clusters: Sequence[Hashable]
) -> Interval:
    """Return the balanced accuracy over groups of answers that come in clusters.

    Answers (N,) bool of one cluster, such as those on one caption, are dependent: in a group each
    cluster counts by its share of right ones. Gaffke's intervals of the groups' means, put
    together by MOVER (Zou and Donner 2008), as if no cluster stood in two groups. NaN without any
    answer.
    """
    shares: dict[Hashable, dict[Hashable, list[bool]]] = {}
    for answer, group, cluster in zip(right.tolist(), groups, clusters, strict=True):
        shares.setdefault(group, {}).setdefault(cluster, []).append(answer)
    return _mean_of(
        [
            mean_share_interval(torch.tensor([sum(each) / len(each) for each in part.values()]))
            for part in shares.values()
        ]
    )


def _mean_of(parts: Sequence[Interval]) -> Interval:
    """Return the mean of independent figures by MOVER; NaN without any."""
    if not parts:
        return Interval(math.nan, math.nan, math.nan)
    count = len(parts)
    mean = sum(part.value for part in parts) / count
    low = math.hypot(*(part.value - part.low for part in parts)) / count
    high = math.hypot(*(part.high - part.value for part in parts)) / count
    return Interval(mean, mean - low, mean + high)


@dataclass(frozen=True)
class ReliabilityBin:
    """Answers of like confidence: its mean, the share that was right, and how many."""

    confidence: float
    right: Interval
    count: int


def reliability(
    confidence: Tensor, right: Tensor, bins: int = 5
) -> tuple[tuple[ReliabilityBin, ...], float]:
    """Return answers in bins of like confidence, and the expected calibration error.

    `confidence` (N,) and `right` (N,) bool. Bins hold equal numbers, so that each can be read; the
    error is the mean over answers of the distance between a bin's confidence and its share right
    (Naeini et al. 2015, "Obtaining well calibrated probabilities using Bayesian binning"). Answers
    without a confidence are left out; NaN without any.
    """
    kept = ~confidence.isnan()
    order = confidence[kept].double().argsort(stable=True)
    values, hits = confidence[kept].double()[order], right[kept][order]
    if not len(values):
        return (), math.nan
    parts = zip(values.tensor_split(bins), hits.tensor_split(bins), strict=True)
    made = tuple(
        ReliabilityBin(float(part.mean()), share_interval(int(hit.sum()), len(hit)), len(hit))
        for part, hit in parts
        if len(part)
    )
    error = sum(each.count * abs(each.confidence - each.right.value) for each in made)
    return made, error / len(values)
