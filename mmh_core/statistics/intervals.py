"""95 % intervals of shares, means, medians and rates, over scipy.

Libraries are imported where they are used, since loading them takes longer than most commands do.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

#: The share of cases in which an interval is meant to hold the true value.
LEVEL = 0.95
#: Monte Carlo draws of Gaffke's interval, and their seed, which makes it deterministic.
SHARE_DRAWS, _SHARE_SEED = 4000, 1_117
#: Tolerance for rounding errors in comparisons.
ROUNDING = 1e-9


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


def axis_ends(figures: Sequence[Interval], room: float) -> tuple[float, float]:
    """Return the limits of a chart's axis: the range of all values and interval ends, widened.

    `room` is the share of the range that is added at each side, of 0.1 where the range is empty.
    """
    parts = (part for each in figures for part in (each.value, each.low, each.high))
    finite = [part for part in parts if math.isfinite(part)]
    low, high = min(finite), max(finite)
    spare = room * ((high - low) or 0.1)
    return low - spare, high + spare


def share_interval(count: int, among: int) -> Interval:
    """Return a share with the exact interval of Clopper and Pearson (1934).

    It holds in 95 % of cases at least, whatever the share and the number of cases, where the
    coverage of Wilson's falls to 83 % for shares near 0 or 1, and that of an interval that is
    one-sided at a count of 0 or all to 92.8 %. Without any case nothing is known: NaN. Errors:
    ValueError for a count that is not from 0 to `among`.
    """
    from scipy.stats import binomtest

    if not 0 <= count <= among:
        raise ValueError(f"A count is from 0 to the {among} cases, got {count}.")
    if not among:
        return Interval(math.nan, math.nan, math.nan)
    ends = binomtest(count, among).proportion_ci(LEVEL, "exact")
    return Interval(count / among, float(ends.low), float(ends.high))


def least_of_all(count: int) -> float:
    """Return the one-sided 95 % lower bound of a rate when all of `count` cases have succeeded.

    It is `0.05^(1 / count)`: at that rate, all of them succeed in 5 % of samples.
    """
    return float((1 - LEVEL) ** (1 / count))


def half_width(standard_error: float, count: int | None, level: float = LEVEL) -> float:
    """Return half the interval of a mean of `count` independent values, by Student's t.

    NaN for fewer than two values, and for an unknown number.
    """
    # The quantile alone: scipy.stats takes a second to import, scipy.special a tenth of it.
    from scipy.special import stdtrit

    if count is None or count < 2:
        return math.nan
    return float(stdtrit(count - 1, 0.5 + level / 2)) * standard_error


def percentile_interval(resampled: Tensor | Sequence[float]) -> tuple[float, float]:
    """Return the 95 % interval of a figure's resampled values (R,), NaN among them left out."""
    tail = (1 - LEVEL) / 2
    ends = torch.tensor([tail, 1 - tail], dtype=torch.float64)
    low, high = torch.nanquantile(torch.as_tensor(resampled).double(), ends).tolist()
    return low, high


def median_interval(values: Tensor) -> Interval:
    """Return the median of values (N,) with the order statistics that hold it in 95 % of cases.

    The ends are those of the sign test (Thompson 1936; Conover, "Practical nonparametric
    statistics", section 3.2), whatever the distribution: of fewer than six values no order
    statistics hold it so often, and the ends are NaN. NaN values are left out; NaN without any.
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
    """Return the inverse of Hall's `g(w) = w + s w^2 / 3 + s^2 w^3 / 27 + s / (6 n)`."""
    if abs(skewness) < ROUNDING:
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
    if float(measured.min()) < low - ROUNDING or float(measured.max()) > high + ROUNDING:
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


def mean_rate_interval(values: Tensor) -> Interval:
    """Return the mean of rates (N,) of a few networks that hardly differ, with a 95 % interval.

    That of `mean_interval`, clipped to [0, 1]: `mean_share_interval` holds whatever the rates are
    and is far too wide for a few that are nearly equal. It is used only where all are equal, which
    leaves the other no width.
    """
    interval = mean_interval(values)
    if interval.low == interval.high:
        return mean_share_interval(values)
    return Interval(interval.value, max(interval.low, 0.0), min(interval.high, 1.0))


def paired_interval(after: Tensor, before: Tensor) -> Interval:
    """Return the mean of `after - before` (N,) with the interval of a mean over the N pairs."""
    return mean_interval(after.double() - before.double())


def paired_share_interval(after: Tensor, before: Tensor) -> Interval:
    """Return the mean change of shares (N,), which lies from -1 to 1, with Gaffke's interval."""
    return mean_share_interval(after.double() - before.double(), -1.0, 1.0)


def share_difference(share: Interval, other: Interval) -> Interval:
    """Return `share - other` with the interval that follows from those of independent shares.

    Each end adds the distances to the ends of the two in squares (MOVER: Zou and Donner 2008,
    "Construction of confidence limits about effect measures", eq. 5), at the level of the two.
    """
    value = share.value - other.value
    below = math.hypot(share.value - share.low, other.high - other.value)
    above = math.hypot(share.high - share.value, other.value - other.low)
    return Interval(value, value - below, value + above)
