"""Intervals hold the true value in 93 % of experiments at least, at the sizes they are used at."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mmh_core.statistics.agreement import correlation_interval, mean_recall, rank_correlation
from mmh_core.statistics.areas import area_interval
from mmh_core.statistics.intervals import (
    Interval,
    half_width,
    mean_interval,
    mean_share_interval,
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


@pytest.mark.parametrize(("share", "among"), [(0.05, 8), (0.5, 4), (0.95, 36), (0.99, 53)])
def test_shares(share: float, among: int) -> None:
    def interval(g: torch.Generator) -> Interval:
        return share_interval(int((torch.rand(among, generator=g) < share).sum()), among)

    assert covers(interval, share) >= LEAST


MEANS: list[tuple[str, Draw, float, tuple[int, ...]]] = [
    ("normal", lambda n, g: torch.randn(n, generator=g), 0, (2, 4, 8, 24)),
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


@pytest.mark.parametrize(("first", "second"), [(0.9, 0.9), (0.99, 0.7), (0.5, 0.5)])
def test_balanced_accuracies(first: float, second: float) -> None:
    true = torch.arange(24) < 12

    def interval(g: torch.Generator) -> Interval:
        right = torch.rand(24, generator=g) < torch.where(true, first, second)
        return mean_recall(right, true.tolist())

    assert covers(interval, (first + second) / 2) >= LEAST


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
