"""Intervals, areas under curves, rank correlation and agreement, over scipy and scikit-learn.

One home for every statistic that a table, a chart or a sentence states. Libraries are imported
where they are used, since loading them takes longer than most commands do.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

#: The share of cases in which an interval is meant to hold the true value.
LEVEL = 0.95
#: Draws of weights behind the interval of a mean share, with one seed: equal values have equal
#: intervals.
SHARE_DRAWS, _SHARE_SEED = 4000, 1_117
#: The false-positive rate that is strict.
STRICT = 0.01
#: A share of a count that misses a whole number by less is that number.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Interval:
    """A figure with the ends of its 95 % interval, NaN where unknown or of one value only."""

    value: float
    low: float
    high: float

    def words(self) -> str:
        """Return the figure with the ends of its interval, a dash where it is unknown."""
        if math.isnan(self.value):
            return "-"
        if math.isnan(self.low):
            return f"{self.value:.3f} (no interval)"
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True)
class Separation:
    """The area under the ROC curve and the true-positive rate at 1 % false positives.

    Counted on `positives` and `negatives` prompts, each with a 95 % interval: of the area see
    `area_interval`; that of the rate is Clopper and Pearson's over the positives, at the threshold
    as the negatives set it. With fewer than 100 negatives the strict rate allows no false positive
    at all.
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
    def strict_rate(self) -> Interval:
        """Return the true-positive rate at 1 % false positives."""
        return Interval(self.tpr, self.tpr_low, self.tpr_high)


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


def rate_interval(count: int, among: int) -> Interval:
    """Return a rate with Clopper and Pearson's interval, one-sided where the count is 0 or all.

    There the other end is no question, and the 95 % go to one: 0 of n says at most
    `1 - .05^(1 / n)`, n of n at least `.05^(1 / n)` (Hanley and Lippman-Hand 1983). NaN without
    any case. Errors: those of `share_interval`.
    """
    both = share_interval(count, among)
    if not among or count not in (0, among):
        return both
    end = _least_of_all(among)
    return Interval(both.value, *((end, 1.0) if count else (0.0, 1 - end)))


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


def median_interval(values: Tensor) -> Interval:
    """Return the median of values (N,) with the order statistics that hold it in 95 % of cases.

    The ends are those of the sign test (Thompson 1936; Conover, "Practical nonparametric
    statistics", section 3.2), whatever the distribution: for fewer than six values none reach so
    far, and they are NaN. NaN values are left out; NaN without any.
    """
    from scipy.stats import binom

    present = values[~values.isnan()].double().sort().values
    count = len(present)
    if not count:
        return Interval(math.nan, math.nan, math.nan)
    middle = float((present[(count - 1) // 2] + present[count // 2]) / 2)
    outside = int(binom.ppf((1 - LEVEL) / 2, count, 0.5))
    if float(binom.cdf(outside, count, 0.5)) > (1 - LEVEL) / 2:
        outside -= 1
    if outside < 0:
        return Interval(middle, math.nan, math.nan)
    return Interval(middle, float(present[outside]), float(present[count - 1 - outside]))


def gamma_rate_interval(total: float, terms: int) -> Interval:
    """Return the rate of `terms` exponential variables from their sum, with a 95 % interval.

    The sum has a Gamma distribution, so the ends are its quantiles over the sum; the value,
    `(terms - 1) / total`, is without bias.
    """
    from scipy.special import gammaincinv

    tail = (1 - LEVEL) / 2
    low, high = (float(gammaincinv(terms, share)) / total for share in (tail, 1 - tail))
    return Interval((terms - 1) / total, low, high)


def mean_interval(values: Tensor) -> Interval:
    """Return the mean of values (N,) with a 95 % interval that allows for skewness.

    The wider at each end of Student's t and of t through Hall's cubic transformation (Hall 1992,
    "On the removal of skewness by transformation", J. R. Stat. Soc. B 54). NaN values are left
    out. Caveat: a few values say nothing of a tail that none of them is in; for values of a known
    range, such as shares, `mean_share_interval` holds whatever the distribution.
    """
    present = values[~values.isnan()].double()
    count = len(present)
    if count < 2:
        return Interval(float(present[0]) if count else math.nan, math.nan, math.nan)
    mean, spread = float(present.mean()), float(present.std())
    half = half_width(spread / math.sqrt(count), count)
    if spread == 0:
        return Interval(mean, mean, mean)
    skewness = float(((present - mean) / spread).pow(3).mean())
    low, high = (
        mean - spread * _without_skewness(sign * half / spread, skewness, count)
        for sign in (1, -1)
    )
    return Interval(mean, min(mean - half, low), max(mean + half, high))


def _without_skewness(value: float, skewness: float, count: int) -> float:
    """Return the inverse of Hall's `g(w) = w + s w^2 / 3 + s^2 w^3 / 27 + s / 6 n` at a value."""
    if abs(skewness) < _ROUNDING:
        return value
    inside = 1 + skewness * (value - skewness / (6 * count))
    return 3 / skewness * (math.copysign(abs(inside) ** (1 / 3), inside) - 1)


def mean_share_interval(values: Tensor, low: float = 0.0, high: float = 1.0) -> Interval:
    """Return the mean of values (N,) in [low, high] with Gaffke's 95 % interval.

    Each end is a quantile of means under uniformly distributed weights, with one more value at
    `low` or `high` (Gaffke 2005; Learned-Miller and Thomas 2019, arXiv 1905.06208): it is
    conjectured to hold for any distribution over the range and any N, and is Clopper and Pearson's
    for values that are 0 or 1. Four shares of 0 say at most .60. NaN values are left out. Errors:
    ValueError for a value outside the range.
    """
    measured = values[~values.isnan()].double()
    if not len(measured):
        return Interval(math.nan, math.nan, math.nan)
    if float(measured.min()) < low - _ROUNDING or float(measured.max()) > high + _ROUNDING:
        raise ValueError(f"Values must lie from {low:g} to {high:g}, got {measured.tolist()}.")
    weights = _uniform_weights(len(measured) + 1)
    others = weights[:, :-1] @ measured.sort().values
    lower, _ = percentile_interval(others + low * weights[:, -1])
    _, upper = percentile_interval(others + high * weights[:, -1])
    mean = float(measured.mean())
    return Interval(mean, max(low, min(lower, mean)), min(high, max(upper, mean)))


@functools.lru_cache(maxsize=8)
def _uniform_weights(count: int) -> Tensor:
    """Return weights (draws, count) that are uniform among all that add up to 1."""
    generator = torch.Generator().manual_seed(_SHARE_SEED)
    draws = torch.rand(SHARE_DRAWS, count, dtype=torch.float64, generator=generator)
    weights = -torch.log1p(-draws)
    return weights / weights.sum(1, keepdim=True)


def paired_interval(after: Tensor, before: Tensor) -> Interval:
    """Return the mean of `after - before` (N,) with the interval of a mean over the N pairs."""
    return mean_interval(after.double() - before.double())


def paired_share_interval(after: Tensor, before: Tensor) -> Interval:
    """Return the mean change of shares (N,), which lies from -1 to 1, with Gaffke's interval."""
    return mean_share_interval(after.double() - before.double(), -1.0, 1.0)


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


def true_positive_rate(positive: Tensor, negative: Tensor, rate: float = STRICT) -> Tensor:
    """Return the share of positives above the threshold that lets at most `rate` negatives pass.

    The threshold is the order statistic number `floor(rate N)` from above, which must not itself
    pass: no interpolation.
    """
    allowed = math.floor(rate * negative.shape[-1] + _ROUNDING)
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
    end = _least_of_all(pairs)
    return Interval(area, *((min(low, end), 1.0) if area else (0.0, max(high, 1 - end))))


def _wider_on_logit(area: float, low: float, high: float, half: float) -> Interval:
    """Return an area with the wider, at each end, of an interval and of a half width on the logit.

    The half width is that of the area, carried over by the delta method.
    """
    center, half = math.log(area / (1 - area)), half / (area * (1 - area))
    ends = [1 / (1 + math.exp(-(center + sign * half))) for sign in (-1, 1)]
    return Interval(area, min(low, ends[0]), max(high, ends[1]))


def _least_of_all(count: int) -> float:
    """Return the rate of which `count` of `count` cases are at least the sign, one-sided."""
    return float((1 - LEVEL) ** (1 / count))


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
    low = 0.0 if area <= 0 else brentq(excess, 0.0, min(area, 1 - _ROUNDING))
    high = 1.0 if area >= 1 else brentq(excess, max(area, _ROUNDING), 1.0)
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
    if spread <= _ROUNDING * len(first):
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
    """Return the mean of the shares (N,) bool called right in both groups; NaN without one."""
    return (called[true].double().mean() + (~called[~true]).double().mean()) / 2


def mean_recall(right: Tensor, truths: Sequence[Hashable]) -> Interval:
    """Return the balanced accuracy over any number of classes, with a 95 % interval.

    `right` (N,) bool is whether an answer is that of its class in `truths`. Wilson's intervals of
    the shares, put together by MOVER (Zou and Donner 2008, Stat. Med. 27): the distances to their
    ends add up as squares. NaN without any case.
    """
    groups = [
        right[torch.tensor([truth == group for truth in truths])]
        for group in dict.fromkeys(truths)
    ]
    if not groups:
        return Interval(math.nan, math.nan, math.nan)
    shares = [share_interval(int(group.sum()), len(group), "wilson") for group in groups]
    mean = sum(share.value for share in shares) / len(shares)
    low = math.hypot(*(share.value - share.low for share in shares)) / len(shares)
    high = math.hypot(*(share.high - share.value for share in shares)) / len(shares)
    return Interval(mean, mean - low, mean + high)


def clustered_recall(
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
    if not shares:
        return Interval(math.nan, math.nan, math.nan)
    means = [
        mean_share_interval(torch.tensor([sum(each) / len(each) for each in part.values()]))
        for part in shares.values()
    ]
    mean = sum(each.value for each in means) / len(means)
    low = math.hypot(*(each.value - each.low for each in means)) / len(means)
    high = math.hypot(*(each.high - each.value for each in means)) / len(means)
    return Interval(mean, mean - low, mean + high)


@dataclass(frozen=True)
class ReliabilityBin:
    """Answers of like confidence: its mean, the share that was right (Wilson), and how many."""

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
        ReliabilityBin(
            float(part.mean()), share_interval(int(hit.sum()), len(hit), "wilson"), len(hit)
        )
        for part, hit in parts
        if len(part)
    )
    error = sum(each.count * abs(each.confidence - each.right.value) for each in made)
    return made, error / len(values)
