"""Intervals hold the true value in 93 % of experiments at least, at the sizes they are used at."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.stats import binom, binomtest
from torch import Tensor

from mmh_core.statistics.agreement import (
    balanced_accuracy_interval,
    clustered_balanced_accuracy,
    correlation_interval,
    rank_correlation,
)
from mmh_core.statistics.areas import (
    area_interval,
    area_under_curve,
    clustered_area_interval,
)
from mmh_core.statistics.intervals import (
    Interval,
    gamma_rate_interval,
    half_width,
    mean_interval,
    mean_rate_interval,
    mean_share_interval,
    median_interval,
    paired_interval,
    paired_share_interval,
    share_difference,
    share_interval,
)

#: Experiments of each kind, and the least share of them that must hold the truth: .93 less three
#: standard errors of a share near .95.
RUNS = 300
LEAST = 0.93 - 3 * math.sqrt(0.95 * 0.05 / RUNS)

Draw = Callable[[int, torch.Generator], Tensor]


def covers(interval: Callable[[torch.Generator], Interval], truth: float) -> float:
    """Return the share of experiments whose interval holds the truth."""
    generator = torch.Generator().manual_seed(3)
    held = 0
    for _ in range(RUNS):
        drawn = interval(generator)
        held += drawn.low - 1e-9 <= truth <= drawn.high + 1e-9
    return held / RUNS


def bernoulli(share: float) -> Draw:
    return lambda count, g: (torch.rand(count, generator=g) < share).double()


def of_four_seeds(share: float) -> Draw:
    return lambda count, g: (torch.rand(count, 4, generator=g) < share).double().mean(1)


def of_uneven_captions(count: int, g: torch.Generator) -> Tensor:
    """Return shares over four seeds of captions of which a fifth is copied always, most never."""
    rates = torch.where(torch.rand(count, generator=g) < 0.2, 0.95, 0.02)
    return (torch.rand(4, count, generator=g) < rates).double().mean(0)


SHARES: list[tuple[str, Draw, float]] = [
    ("rare", bernoulli(0.05), 0.05),
    ("even", bernoulli(0.5), 0.5),
    ("usual", bernoulli(0.95), 0.95),
    ("four seeds, rare", of_four_seeds(0.05), 0.05),
    ("four seeds", of_four_seeds(0.6), 0.6),
    ("uneven captions", of_uneven_captions, 0.2 * 0.95 + 0.8 * 0.02),
]


@pytest.mark.parametrize("count", [4, 8, 36])
@pytest.mark.parametrize(("name", "draw", "truth"), SHARES, ids=[one[0] for one in SHARES])
def test_mean_shares(name: str, draw: Draw, truth: float, count: int) -> None:
    """Hold for any distribution, where a bootstrap over 8 captions at 5 % holds in 56 %."""
    assert covers(lambda g: mean_share_interval(draw(count, g)), truth) >= LEAST


def held_shares(interval: Callable[[int, int], Interval], among: int) -> float:
    """Return the least probability, over true shares, that the interval of a count holds it."""
    true = np.linspace(0.001, 0.999, 999)
    ends = [interval(count, among) for count in range(among + 1)]
    low, high = (np.array([getattr(one, end) for one in ends]) for end in ("low", "high"))
    held = (low[:, None] <= true + 1e-9) & (true <= high[:, None] + 1e-9)
    return float((binom.pmf(np.arange(among + 1)[:, None], among, true) * held).sum(0).min())


@pytest.mark.parametrize("among", [1, 2, 4, 5, 7, 8, 12, 16, 24, 36, 53, 113, 200])
def test_shares(among: int) -> None:
    """Hold in every case, by the binomial law and not by drawing."""
    assert held_shares(share_interval, among) >= 0.95


def test_the_law_tells_an_interval_that_holds_too_seldom() -> None:
    """Wilson's holds in 84 % at 12 cases, for shares near 0."""

    def wilson(count: int, among: int) -> Interval:
        ends = binomtest(count, among).proportion_ci(0.95, "wilson")
        return Interval(count / among, ends.low, ends.high)

    assert held_shares(wilson, 12) == pytest.approx(0.844, abs=5e-3)


@pytest.mark.parametrize("draw", [torch.randn, torch.rand], ids=["normal", "uniform"])
@pytest.mark.parametrize("count", [6, 11, 53, 200])
def test_medians(draw: Callable[..., Tensor], count: int) -> None:
    truth = 0.5 if draw is torch.rand else 0.0
    assert covers(lambda g: median_interval(draw(count, generator=g)), truth) >= LEAST


@pytest.mark.parametrize("terms", [2, 4, 9, 19])
def test_rates_of_exponential_variables(terms: int) -> None:
    """Hold for the data LID of a neighborhood, the rate of so many logarithms of distances."""

    def interval(g: torch.Generator) -> Interval:
        total = torch.empty(terms).exponential_(6.0, generator=g).sum()
        return gamma_rate_interval(float(total), terms)

    assert covers(interval, 6.0) >= LEAST


@pytest.mark.parametrize("count", [4, 8, 24])
def test_paired_means(count: int) -> None:
    def interval(g: torch.Generator) -> Interval:
        before = torch.randn(count, generator=g) * 3
        skewed = (torch.randn(count, generator=g) / 2).exp() - math.exp(1 / 8)
        return paired_interval(before + 0.5 + skewed, before)

    assert covers(interval, 0.5) >= LEAST


@pytest.mark.parametrize(("first", "other"), [(0.9, 0.05), (0.5, 0.5), (1.0, 0.02)])
@pytest.mark.parametrize("count", [4, 8, 24])
def test_paired_shares(first: float, other: float, count: int) -> None:
    def interval(g: torch.Generator) -> Interval:
        before, after = (of_four_seeds(share)(count, g) for share in (first, other))
        return paired_share_interval(after, before)

    assert covers(interval, other - first) >= LEAST


@pytest.mark.parametrize("rate", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("spread", [5.0, 50.0])
@pytest.mark.parametrize("networks", [3])
def test_means_of_rates_over_networks(rate: float, spread: float, networks: int) -> None:
    """Hold for rates of 36 prompts on networks whose own rates differ."""

    def interval(g: torch.Generator) -> Interval:
        draws = np.random.default_rng(int(torch.randint(2**31, (1,), generator=g)))
        own = draws.beta(spread * rate, spread * (1 - rate), networks)
        return mean_rate_interval(torch.from_numpy(draws.binomial(36, own) / 36))

    assert covers(interval, rate) >= LEAST


MEANS: list[tuple[str, Draw, float, tuple[int, ...]]] = [
    ("normal", lambda n, g: torch.randn(n, generator=g), 0, (2, 3, 4, 8, 24)),
    ("uniform", lambda n, g: torch.rand(n, generator=g), 0.5, (4, 8, 24)),
    ("skewed", lambda n, g: (torch.randn(n, generator=g) / 2).exp(), math.exp(1 / 8), (4, 8, 24)),
    ("long tails", lambda n, g: torch.empty(n).exponential_(1, generator=g), 1, (8, 24, 36)),
]


@pytest.mark.parametrize(
    ("draw", "truth", "count"),
    [(draw, truth, n) for _, draw, truth, counts in MEANS for n in counts],
    ids=[f"{name}, {n}" for name, *_, counts in MEANS for n in counts],
)
def test_means(draw: Draw, truth: float, count: int) -> None:
    assert covers(lambda g: mean_interval(draw(count, g)), truth) >= LEAST


@pytest.mark.parametrize("probes", [2, 4, 8])
def test_estimates_from_few_probes(probes: int) -> None:
    """Hold by Student's t, where 1.96 standard errors hold in 79 to 95 %."""

    def interval(g: torch.Generator) -> Interval:
        drawn = torch.randn(probes, generator=g)
        mean, error = float(drawn.mean()), float(drawn.std()) / math.sqrt(probes)
        half = half_width(error, probes)
        return Interval(mean, mean - half, mean + half)

    assert covers(interval, 0.0) >= LEAST


@pytest.mark.parametrize("spread", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("area", [0.6, 0.85, 0.95, 0.99, 0.999])
@pytest.mark.parametrize(("positives", "negatives"), [(36, 113), (12, 53), (6, 20)])
def test_areas(positives: int, negatives: int, area: float, spread: float) -> None:
    """Hold near 1 and for groups of unequal spread, where a bootstrap holds in 62 to 85 %."""
    standard = torch.distributions.Normal(0.0, 1.0)
    apart = float(standard.icdf(torch.tensor(area))) * math.hypot(1, spread)

    def interval(g: torch.Generator) -> Interval:
        yes = torch.randn(positives, generator=g) * spread + apart
        return area_interval(yes, torch.randn(negatives, generator=g))

    assert covers(interval, area) >= LEAST


@pytest.mark.parametrize("area", [0.8, 0.9, 0.95, 0.98])
@pytest.mark.parametrize(("positives", "negatives"), [(36, 113), (12, 53), (6, 20)])
def test_areas_of_few_values(positives: int, negatives: int, area: float) -> None:
    """Hold where all negatives are equal, so that an area of 1 is a binomial count of all."""

    def interval(g: torch.Generator) -> Interval:
        yes = (torch.rand(positives, generator=g) < area).double() - 0.5
        return area_interval(yes, torch.zeros(negatives))

    assert covers(interval, area) >= LEAST


@pytest.mark.parametrize(("prompts", "shift"), [(12, 1.0), (24, 1.0), (60, 2.0)])
def test_areas_of_clusters(prompts: int, shift: float) -> None:
    """Four images of a prompt share half their score's variance and most of their truth."""
    cluster = torch.arange(prompts).repeat_interleave(4)

    def sample(many: int, g: torch.Generator) -> tuple[Tensor, Tensor]:
        share = torch.rand(many, prompts, 1, generator=g)
        positive = torch.rand(many, prompts, 4, generator=g) < share
        common = torch.randn(many, prompts, 1, generator=g)
        own = torch.randn(many, prompts, 4, generator=g)
        return (common + own + shift * positive).flatten(1), positive.flatten(1)

    scores, positive = sample(24_000 // prompts, torch.Generator().manual_seed(5))
    truth = float(area_under_curve(scores[positive][:20000], scores[~positive][:20000]))

    def interval(g: torch.Generator) -> Interval:
        row, side = sample(1, g)
        return clustered_area_interval(row[0], side[0], cluster)

    assert covers(interval, truth) >= LEAST


@pytest.mark.parametrize("count", [40])
def test_correlations_over_images(count: int) -> None:
    """Hold where every pair is a case, as for held-out images with true LID in steps."""

    def pairs(many: int, g: torch.Generator) -> tuple[Tensor, Tensor]:
        true = torch.randint(0, 9, (many,), generator=g).double()
        return true + 2 * torch.randn(many, generator=g), true

    truth = rank_correlation(*pairs(20_000, torch.Generator().manual_seed(1)))

    def interval(g: torch.Generator) -> Interval:
        lid, true = pairs(count, g)
        every = torch.arange(count)
        without = [rank_correlation(lid[every != one], true[every != one]) for one in every]
        return correlation_interval(rank_correlation(lid, true), torch.tensor(without))

    assert covers(interval, truth) >= LEAST


@pytest.mark.parametrize("rates", [(0.9, 0.9), (0.99, 0.7), (0.5, 0.5), (0.98, 0.98, 0.98)])
@pytest.mark.parametrize("count", [8, 12])
def test_balanced_accuracies(rates: tuple[float, ...], count: int) -> None:
    true = torch.arange(count * len(rates)) // count

    def interval(g: torch.Generator) -> Interval:
        right = torch.rand(len(true), generator=g) < torch.tensor(rates)[true]
        return balanced_accuracy_interval(right, true.tolist())

    assert covers(interval, sum(rates) / len(rates)) >= LEAST


@pytest.mark.parametrize("rates", [(0.9, 0.7), (0.99, 0.95)])
@pytest.mark.parametrize("captions", [6, 12])
def test_balanced_accuracies_over_captions(rates: tuple[float, float], captions: int) -> None:
    """Hold for answers of which four on a caption are alike: most captions all right or none."""
    clusters = [*range(2 * captions)] * 4
    groups = [place % 2 for place in clusters]

    def interval(g: torch.Generator) -> Interval:
        own = torch.rand(2 * captions, generator=g) < torch.tensor(rates * captions)
        fresh = torch.rand(8 * captions, generator=g) < torch.tensor(rates * 4 * captions)
        alike = torch.rand(8 * captions, generator=g) < 0.8
        right = torch.where(alike, own.repeat(4), fresh)
        return clustered_balanced_accuracy(right, groups, clusters)

    assert covers(interval, sum(rates) / 2) >= LEAST


@pytest.mark.parametrize("shared", [0.0, 0.5])
@pytest.mark.parametrize("captions", [8, 12])
def test_correlations_over_captions(captions: int, shared: float) -> None:
    """Hold for cells of captions that differ by a part which all cells of a caption share."""

    def cells(count: int, g: torch.Generator) -> Tensor:
        base = torch.randn(count, 1, 2, generator=g)
        one = torch.randn(count, 10, 1, generator=g)
        own = 0.8 * one + 0.6 * torch.randn(count, 10, 2, generator=g)
        return own + shared * base

    many = cells(20_000, torch.Generator().manual_seed(1)).flatten(0, 1)
    truth = rank_correlation(many[:, 0], many[:, 1])

    def interval(g: torch.Generator) -> Interval:
        drawn = cells(captions, g)

        def spearman(kept: Tensor) -> float:
            rows = drawn[kept].flatten(0, 1)
            return rank_correlation(rows[:, 0], rows[:, 1])

        every = torch.arange(captions)
        without = torch.tensor([spearman(every != i) for i in range(captions)])
        return correlation_interval(spearman(every >= 0), without)

    assert covers(interval, truth) >= LEAST


@pytest.mark.parametrize(("many", "few"), [(30, 20)])
@pytest.mark.parametrize(("share", "other"), [(0.5, 0.5), (0.05, 0.05), (0.9, 0.3), (0.02, 0.4)])
def test_a_difference_of_shares_holds_the_true_one_over_every_possible_count(
    share: float, other: float, many: int, few: int
) -> None:
    first = [share_interval(count, many) for count in range(many + 1)]
    second = [share_interval(count, few) for count in range(few + 1)]
    weights = np.outer(
        binom.pmf(range(many + 1), many, share), binom.pmf(range(few + 1), few, other)
    )
    held = 0.0
    for i, one in enumerate(first):
        for j, two in enumerate(second):
            difference = share_difference(one, two)
            assert difference.low <= difference.value == i / many - j / few <= difference.high
            held += weights[i, j] * (difference.low <= share - other <= difference.high)
    assert held >= 0.95
    swapped, same = share_difference(second[3], first[7]), share_difference(first[7], second[3])
    assert (swapped.low, swapped.high) == pytest.approx((-same.high, -same.low))
